"""Checks the SBOMs that `make package` wrote: against CycloneDX's schema, against cargo, and against what they are of.

    .tools/cloud/run infra/tools/check_sbom.py
"""

import json
import re
import subprocess
import sys

import jsonschema
import package
import referencing
import sbom
from referencing.jsonschema import DRAFT7

SCHEMAS = package.CHECKOUT / ".tools/schemas/cyclonedx/res/schema"


def main():
    architecture = (package.LAMBDA / "architecture.yaml").read_text().split()[1]
    target = package.TARGETS[architecture]
    _, functions, _ = package.workspace(target)
    problems = []
    for function, settings in functions.items():
        path = package.LAMBDA / function / package.SBOM
        document = json.loads(path.read_text())
        found = differences(function, settings.get("features", []), target, document)
        problems += [f"{path.relative_to(package.CHECKOUT)}: {problem}" for problem in found]
    for problem in problems:
        print(f"check_sbom: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(f"check_sbom: the SBOMs of {', '.join(functions)} are fine")
    return 0


def differences(function, features, target, document):
    bom, *others = [f"{name}.SNAPSHOT.schema.json" for name in ("bom-1.5", "spdx", "jsf-0.82")]
    # They name each other by their files, in the folder of their id.
    named = [(f"http://cyclonedx.org/schema/{name}", DRAFT7.create_resource(schema(name))) for name in others]
    validator = jsonschema.Draft7Validator(schema(bom), registry=referencing.Registry().with_resources(named))
    for error in validator.iter_errors(document):
        yield f"{error.json_path}: {error.message}"

    binary = (package.LAMBDA / "packaged" / function).read_bytes()
    archive = (package.LAMBDA / function / "bootstrap.zip").read_bytes()
    described = document["metadata"]["component"]
    if [file["hashes"][0]["content"] for file in described["components"]] != [sbom.sha256(binary), sbom.sha256(archive)]:
        yield "it is of another binary or zip"

    seen = sbom.named(binary)
    if len(seen) < 10:
        yield f"the binary names files of {len(seen)} crates"
    # openssl-src is missing from these trees, since only a build script asks for it.
    crates = [crate for crate in [described, *document["components"]] if is_crate(crate) and crate["name"] != "openssl-src"]
    for edges, scopes in (("normal", ("excluded", None)), ("normal,no-proc-macro", (None,))):
        listed = {(crate["name"], crate["version"]) for crate in crates if crate.get("scope") in scopes}
        asked = told_by_cargo(function, features, target, edges) | seen
        if listed != asked:
            yield f"it differs from cargo tree --edges {edges} and the binary in {sorted(listed ^ asked)}"

    references = [component["bom-ref"] for component in [described, *described["components"], *document["components"]]]
    if len(references) != len(set(references)):
        yield "two components have the same bom-ref"
    used = {of["ref"] for of in document["dependencies"]} | {on for of in document["dependencies"] for on in of["dependsOn"]}
    if not used <= set(references):
        yield f"no component is {sorted(used - set(references))}"


def schema(name):
    return json.loads((SCHEMAS / name).read_text())


def is_crate(component):
    return component["bom-ref"].startswith("pkg:cargo/")


def told_by_cargo(function, features, target, edges):
    command = ["cargo", "tree", "--locked", "--package", function, "--features", ",".join(features), "--target", target]
    command += ["--edges", edges, "--prefix", "none"]
    done = subprocess.run(command, cwd=package.CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    return set(re.findall(r"^(\S+) v(\S+)", done.stdout, re.MULTILINE))


if __name__ == "__main__":
    sys.exit(main())
