"""The SBOM of a function, as `make package` writes it beside the zip: CycloneDX 1.5 in JSON, of what is linked into the binary.
Macros, which run when it is compiled, are in it as well, with the scope "excluded".

The functions are built together, so a crate has the features that any of them asks for. Where such a feature brings another crate
into a binary that does not ask for it by itself, the SBOM has that crate if the binary names one of its files.

The same binary and zip make the same SBOM: it has no timestamp, and its serial number comes from the digest of the zip.
"""

import hashlib
import json
import re
import subprocess
import uuid
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

# Crates that bring Mozilla's list of authorities, for functions that do not read the list of the machine they run on.
ROOTS = ("webpki-roots", "webpki-root-certs")


def write(path, function, functions, target, rust, binary, archive):
    """`functions` are all that are built, with their settings; `rust` is rustc's version; `binary` and `archive` are what is in the
    files.
    """
    alone = {function: functions[function]}
    crates, edges = tree(alone, target, "normal")
    in_binary = tree(alone, target, "normal,no-proc-macro")[0].keys() | named(binary)
    together, together_edges = tree(functions, target, "normal,no-proc-macro")
    crates |= {key: together[key] for key in in_binary - crates.keys()}
    for key in in_binary:
        edges.setdefault(key, set()).update(together_edges[key] & crates.keys())
    checksums = locked()
    components = [crate(*key, licence, checksums, key in in_binary) for key, licence in crates.items()]
    depends = {reference(*of): {reference(*other) for other in others} for of, others in edges.items()}
    described = components.pop(0)
    root = described["bom-ref"]

    def add(made, needed_by):
        components.append(made)
        depends[made["bom-ref"]] = set()
        depends[needed_by].add(made["bom-ref"])

    add(standard_library(rust), root)
    add_openssl(add, crates, checksums, binary)
    for name, version in crates:
        if name in ROOTS:
            add(root_certificates(name, version), reference(name, version))

    described |= {
        "type": "application",
        "components": [file("bootstrap", binary), file("bootstrap.zip", archive)],
        "properties": [{"name": "keyturn:target", "value": target}],
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, sha256(archive))}",
        "version": 1,
        "metadata": {"component": described},
        "components": sorted(components, key=lambda component: component["bom-ref"]),
        "dependencies": [{"ref": of, "dependsOn": sorted(others)} for of, others in sorted(depends.items())],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def tree(functions, target, kinds):
    """The crates that the functions ask for, each with its licence, and which of them depend on which."""
    features = [f"{function}/{feature}" for function, settings in functions.items() for feature in settings.get("features", [])]
    command = ["cargo", "tree", "--locked", "--features", ",".join(features), "--target", target]
    command += [argument for function in functions for argument in ("--package", function)]
    command += ["--edges", kinds, "--prefix", "depth", "--format", " {p}|{l}"]
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    crates, edges, above = {}, {}, []
    for line in filter(None, done.stdout.splitlines()):
        depth, name, version, licence = re.fullmatch(r"(\d+) (\S+) v(\S+).*\|(.*?)(?: \(\*\))?", line).groups()
        del above[int(depth) :]
        if above:
            edges[above[-1]].add((name, version))
        above.append((name, version))
        crates[name, version] = licence
        edges.setdefault((name, version), set())
    return crates, edges


def named(binary):
    """The crates whose files a binary names: panics say where they come from."""
    found = re.findall(rb"/crates/([\w-]+?)-(\d[\w.+-]*)/", binary)
    return {(name.decode(), version.decode()) for name, version in found}


def locked():
    """The digest of each crate's archive, from Cargo.lock."""
    entry = re.compile(r'name = "(.*)"\nversion = "(.*)"\nsource = ".*"\nchecksum = "(.*)"')
    return {(name, version): checksum for name, version, checksum in entry.findall((CHECKOUT / "Cargo.lock").read_text())}


def crate(name, version, licence, checksums, in_binary=True):
    made = {"type": "library", "bom-ref": reference(name, version), "name": name, "version": version}
    made["licenses"] = [{"expression": re.sub(r" ?/ ?", " OR ", licence)}]
    if (name, version) in checksums:
        made["hashes"] = [{"alg": "SHA-256", "content": checksums[name, version]}]
        # Our own crates have none: on crates.io these names are somebody else's, or could be.
        made["purl"] = reference(name, version)
    if not in_binary:
        made["scope"] = "excluded"
    return made


def add_openssl(add, crates, checksums, binary):
    """OpenSSL is compiled from sources that come in a crate of their own, which a build script reads."""
    found = re.search(rb"OpenSSL (\d+\.\d+\.\d+) \d+ [A-Z][a-z]+ \d{4}", binary)
    if not found:
        return
    version = found[1].decode()
    bindings = next(key for key in crates if key[0] == "openssl-sys")
    sources = next(key for key in checksums if key[0] == "openssl-src" and key[1].endswith(f"+{version}"))
    add(crate(*sources, "MIT OR Apache-2.0", checksums), reference(*bindings))
    openssl = {"type": "library", "bom-ref": f"pkg:generic/openssl@{version}", "name": "openssl", "version": version}
    openssl |= {"licenses": [{"license": {"id": "Apache-2.0"}}], "purl": f"pkg:generic/openssl@{version}"}
    openssl["cpe"] = f"cpe:2.3:a:openssl:openssl:{version}:*:*:*:*:*:*:*"
    add(openssl, reference(*sources))


def standard_library(rust):
    version = rust.split()[0]
    made = {"type": "library", "bom-ref": f"rust-std@{version}", "name": "Rust's standard library", "version": rust}
    made["licenses"] = [{"expression": "MIT OR Apache-2.0"}]
    made["cpe"] = f"cpe:2.3:a:rust-lang:rust:{version}:*:*:*:*:*:*:*"
    return made


def root_certificates(name, version):
    made = {"type": "data", "bom-ref": f"{name}@{version}#certificates", "name": "Mozilla's root certificates", "version": version}
    made["description"] = f"compiled in, as they are in the crate {name} {version}"
    made["licenses"] = [{"license": {"id": "CDLA-Permissive-2.0"}}]
    return made


def file(name, content):
    return {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": sha256(content)}]}


def reference(name, version):
    return f"pkg:cargo/{name}@{version.replace('+', '%2B')}"


def sha256(content):
    return hashlib.sha256(content).hexdigest()
