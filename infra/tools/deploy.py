"""Deploys what `make package` built: `sam deploy`, with every parameter said.

    .tools/sam/run infra/tools/deploy.py [options of sam deploy]

SAM keeps the deployed value of a parameter that it is not told. So all are told: the template's defaults, what the zips were built
for, and after these what infra/samconfig.toml says. A guard that was overridden for a night is on again when its line is gone.
"""

import json
import os
import sys
from pathlib import Path

from samcli.yamlhelper import yaml_parse

CHECKOUT = Path(__file__).resolve().parents[2]
PARAMETERS = CHECKOUT / "target/infra/parameters.yaml"


def main(options):
    built_for = CHECKOUT / "target/lambda/architecture.yaml"
    if not built_for.exists():
        return "deploy: nothing to deploy: run make package, or unpack a release (infra/README.md)"
    template = yaml_parse((CHECKOUT / "infra/template.yaml").read_text())
    parameters = {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()}
    parameters.update(yaml_parse(built_for.read_text()))
    PARAMETERS.parent.mkdir(parents=True, exist_ok=True)
    PARAMETERS.write_text(json.dumps(parameters, indent=1))  # JSON is YAML
    os.environ["SAM_CLI_TELEMETRY"] = "0"
    if "AWS_REGION" in os.environ:
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]  # SAM knows the latter only
    os.chdir(CHECKOUT)
    sam = [sys.executable, "-s", "-m", "samcli", "deploy", "--config-file", str(CHECKOUT / "infra/samconfig.toml")]
    os.execv(sys.executable, sam + options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
