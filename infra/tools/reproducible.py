#!/usr/bin/env python3
"""Builds the functions once more, in another folder, and shows that the zips and SBOMs are those that `make package` made here.

    reproducible.py [arm64|x86_64]   what `make package` made here; this machine's architecture unless one is named

The other folder has a target folder and a cargo home of its own, so that tools, crates and caches are not shared. It is gone
afterwards.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def main(arguments):
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keyturn-") as scratch:
        checkout = Path(scratch) / "another/folder"
        copy_sources(checkout)
        places = {"CARGO_HOME": f"{scratch}/cargo", "CARGO_TARGET_DIR": f"{scratch}/built/elsewhere"}
        command = ["make", "package", *(f"ARCHITECTURE={name}" for name in arguments)]
        subprocess.run(command, cwd=checkout, env=os.environ | places, check=True)
        here, there = digests(CHECKOUT), digests(checkout)
    print(f"reproducible: built elsewhere in {time.monotonic() - began:.0f} s")
    for name in sorted(here | there):
        print(f"{name:<35}{here.get(name)}")
        if here.get(name) != there.get(name):
            print(f"{'   elsewhere':<35}{there.get(name)}")
    if here != there:
        sys.exit("reproducible: they differ")
    print("reproducible: the zips and SBOMs are the same in both folders")


def copy_sources(folder):
    folder.mkdir(parents=True)
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True).stdout
    pack = ["tar", "-c", "--null", "-T", "-"]
    packed = subprocess.run(pack, cwd=CHECKOUT, input=names, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=packed, check=True)


def digests(checkout):
    made = checkout / "target/lambda"
    files = [*made.glob("*/bootstrap.zip"), *made.glob("*/bootstrap.cdx.json")]
    return {str(file.relative_to(made)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


if __name__ == "__main__":
    main(sys.argv[1:])
