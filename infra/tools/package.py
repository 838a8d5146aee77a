#!/usr/bin/env python3
"""Builds the functions for Lambda with cargo-lambda, checks what is in each and that the bare base image can run it, and zips it.

    package.py [arm64|x86_64]   this machine's architecture unless one is named

The zips go to target/lambda/<function>/bootstrap.zip, where infra/template.yaml looks for them, each with an SBOM beside it;
architecture.yaml says what they are for, which `make deploy` passes on. The binaries stay in target/lambda/packaged. The same
sources give the same zips, with the same Rust on the same architecture, in whatever folder.
"""

import calendar
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import sbom

CHECKOUT = Path(__file__).resolve().parents[2]
LAMBDA = CHECKOUT / "target/lambda"
TOOLS = CHECKOUT / ".tools/cargo-lambda"
SBOM = "bootstrap.cdx.json"
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}

# What no function may carry, and what it would leave in a binary. Each function's Cargo.toml has the same of what it does carry,
# which no other function may.
NOWHERE = {"AWS-LC": r"/aws-lc-", "hyper 0.14": r"/hyper-0\."}

# What provided.al2023 has: this version of glibc, and of libraries little more than glibc's own.
GLIBC = 34
LIBRARIES = re.compile(r"lib(c|m|dl|rt|util|pthread|gcc_s)\.so\.\d")


class Problem(Exception):
    """What a person has to put right, in one sentence."""


def main(arguments):
    here = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    architecture = (arguments or [here])[0]
    if architecture not in TARGETS or len(arguments) > 1:
        raise Problem(__doc__.strip())
    target_folder, functions, sources = workspace(TARGETS[architecture])
    rust = run("rustc", "--version").removeprefix("rustc ")
    names = folders(target_folder, sources)
    # What is deployed is whole, or there is nothing: zips of two architectures side by side would be half dead.
    (LAMBDA / "architecture.yaml").unlink(missing_ok=True)
    marks = NOWHERE | {crate: mark for settings in functions.values() for crate, mark in settings["carries"].items()}
    build(functions, architecture, target_folder, names)
    print(f"{'function':<17}{'binary':>8}{'zip':>9}   {'for':<8}{'glibc':<10}sha256 of the zip")
    for function, settings in functions.items():
        binary = (LAMBDA / "packaged" / function).read_bytes()
        glibc = check(function, binary, marks, settings["carries"].keys(), names)
        archive = LAMBDA / function / "bootstrap.zip"
        pack(binary, archive)
        zipped = archive.read_bytes()
        sbom.write(archive.with_name(SBOM), function, functions, TARGETS[architecture], rust, binary, zipped)
        digest = hashlib.sha256(zipped).hexdigest()[:16]
        print(f"{function:<17}{megabytes(binary)}{megabytes(zipped)}   {architecture:<8}2.{glibc:<8}{digest}")
    (LAMBDA / "architecture.yaml").write_text(f"Architecture: {architecture}\n")


def workspace(target):
    """The folder that cargo builds into, the functions (each crate with a table [package.metadata.lambda-binary]), and the folders
    that cargo keeps the sources of other crates in.
    """
    told = json.loads(run("cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target))
    sources = {str(Path(package["manifest_path"]).parents[1]) for package in told["packages"] if package["source"]}
    tables = {package["name"]: (package["metadata"] or {}).get("lambda-binary") for package in told["packages"]}
    functions = {name: table for name, table in sorted(tables.items()) if table}
    return Path(told["target_directory"]), functions, sorted(sources)


def folders(target_folder, sources):
    """The folders that compilers would name in a binary, and what they are called there. Where several apply, the last does."""
    rustc = dict(line.split(": ") for line in run("rustc", "--version", "--verbose").splitlines() if ": " in line)
    standard = f"{run('rustc', '--print', 'sysroot')}/lib/rustlib/src/rust"
    named = {str(CHECKOUT): "/keyturn", str(target_folder): "/target", standard: f"/rustc/{rustc['commit-hash']}"}
    return named | {source: "/crates" for source in sources}


def build(functions, architecture, target_folder, names):
    """All functions at once, so that their dependencies are compiled once: with the features that any of the functions asks for,
    as the tests have them too. What a function does not call is left out when it is linked: `check` looks.
    """
    say(f"next: cargo builds {', '.join(functions)} for {architecture} (on 2 cores some 10 minutes at first, then what has changed)")
    environment = dict(os.environ)
    environment["CARGO_ZIGBUILD_ZIG_PATH"] = str(TOOLS / "ziglang/zig")
    # Before each of OpenSSL's thousand files it would ask this machine's Python first whether that has a zig.
    environment["CARGO_ZIGBUILD_PYTHON_PATH"] = str(TOOLS / "no-python")
    # Otherwise in the home folder.
    environment["CARGO_ZIGBUILD_CACHE_DIR"] = environment["ZIG_GLOBAL_CACHE_DIR"] = str(target_folder / "zig")
    # Of this machine's folders and clock nothing goes into the binaries. OpenSSL says when it was built, with which compiler, and
    # where it would be installed.
    renamed = [f"--remap-path-prefix={folder}={name}" for folder, name in names.items()]
    environment["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(renamed)
    environment["SOURCE_DATE_EPOCH"] = str(calendar.timegm((1980, 1, 1, 0, 0, 0)))
    openssl = ["ENGINESDIR=/usr/local/ssl/engines", "MODULESDIR=/usr/local/ssl/modules", "--eval=crypto/buildinf.h:CC=zigcc"]
    environment["GNUMAKEFLAGS"] = " ".join(openssl)
    features = [f"{function}/{feature}" for function, table in functions.items() for feature in table.get("features", [])]
    command = [TOOLS / "bin/cargo-lambda", "lambda", "build", "--release", "--features", ",".join(features)]
    command += [argument for function in functions for argument in ("--package", function)]
    # The release profile of Cargo.toml says it all; cargo-lambda's own would make a panic abort.
    command += ["--disable-optimizations", "--target", f"{TARGETS[architecture]}.2.{GLIBC}"]
    (LAMBDA / "packaged").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=LAMBDA) as made:
        if subprocess.run([*command, "--lambda-dir", made], cwd=CHECKOUT, env=environment).returncode != 0:
            raise Problem("cargo-lambda could not build the functions")
        for function in functions:
            (Path(made) / function / "bootstrap").replace(LAMBDA / "packaged" / function)


def check(function, binary, marks, wanted, names):
    """The newest version of glibc that is asked for. Whatever looks like a name of a version or library counts as asked for."""
    glibc = max((int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", binary)), default=0)
    if glibc > GLIBC:
        raise Problem(f"{function} needs glibc 2.{glibc}, and Lambda has 2.{GLIBC}")
    for name in re.findall(rb"\blib[\w+-]+\.so(?:\.\d+)*(?=\0)", binary):
        if not LIBRARIES.fullmatch(name.decode()):
            raise Problem(f"{function} needs {name.decode()}, which Lambda has not: link it statically")
    carried = {crate for crate, mark in marks.items() if re.search(mark.encode(), binary)}
    if carried != wanted:
        raise Problem(f"{function} carries {sorted(carried)}, and should carry {sorted(wanted)}")
    homes = [os.environ.get("CARGO_HOME", Path.home() / ".cargo"), os.environ.get("RUSTUP_HOME", Path.home() / ".rustup")]
    for folder in [*names, *map(str, [Path.home(), *homes])]:
        # Names as short as /src are in every binary: those of the folders in them will do.
        if folder.count("/") > 1 and f"{folder}/".encode() in binary:
            raise Problem(f"{function} has {folder} in it, so that it would be another one elsewhere (OpenSSL needs GNU make 4)")
    return glibc


def pack(binary, archive):
    archive.parent.mkdir(parents=True, exist_ok=True)
    entry = zipfile.ZipInfo("bootstrap")  # of 1980, as the format has no earlier year
    entry.external_attr = 0o100755 << 16
    entry.create_system = 3  # Unix, so that it is executable
    entry.compress_type = zipfile.ZIP_DEFLATED
    unfinished = archive.with_suffix(".new")
    with zipfile.ZipFile(unfinished, "w") as made:
        made.writestr(entry, binary, compresslevel=9)
    unfinished.replace(archive)


def run(*command):
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Problem(f"{' '.join(command[:2])} failed: is Rust installed?")
    return done.stdout.strip()


def say(line):
    print(f"package: {line}", file=sys.stderr, flush=True)


def megabytes(data):
    return f"{len(data) / 1e6:>5.1f} MB"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Problem as problem:
        sys.exit(f"package: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
