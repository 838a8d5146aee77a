"""Checks infra/template.yaml: lints it, translates it as CloudFormation would, and lints what comes out, for security as well.

    .tools/cloud/run infra/tools/validate.py

The translation stays in target/infra/template.json.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import cfnlint.api
from cfnlint.config import ManualArgs
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATE = CHECKOUT / "infra/template.yaml"
TRANSLATED = CHECKOUT / "target/infra/template.json"
REGION = "eu-west-1"  # any will do: the template names none


class ManagedPolicies:
    """The roles name no policy of AWS's, so that nothing has to be looked up."""

    def load(self):
        return {}


def main():
    problems = lint(TEMPLATE)
    if not problems:
        template = yaml_parse(TEMPLATE.read_text())
        translate(template)
        resources = json.loads(TRANSLATED.read_text())["Resources"]
        problems = lint(TRANSLATED) + check_security(template)
    for problem in problems:
        print(f"validate: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(f"validate: infra/template.yaml and the {len(resources)} resources that it becomes are fine")
    return 0


def lint(path):
    found = cfnlint.api.lint(path.read_text(), config=ManualArgs(regions=[REGION]))
    return [f"{path.relative_to(CHECKOUT)}:{match.linenumber}: {match.rule.id} {match.message}" for match in found]


def translate(template):
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            # What `sam deploy` puts there once it has uploaded the zip.
            resource["Properties"]["CodeUri"] = {"Bucket": "bucket", "Key": name}
    os.environ["AWS_DEFAULT_REGION"] = REGION
    translated = transform(template, {}, ManagedPolicies())
    TRANSLATED.parent.mkdir(parents=True, exist_ok=True)
    TRANSLATED.write_text(json.dumps(translated, indent=1))


def check_security(template):
    """What checkov finds, and each exception in the template that it has no use for."""
    command = [CHECKOUT / ".tools/checkov/run", "-m", "checkov.main", "--file", TRANSLATED.name, "--framework", "cloudformation"]
    command += ["--output", "json", "--compact", "--skip-download"]
    done = subprocess.run(command, cwd=TRANSLATED.parent, stdout=subprocess.PIPE, text=True)
    try:
        results = json.loads(done.stdout)["results"]
    except (ValueError, KeyError, TypeError):
        return [f"checkov failed: {done.stdout}"]
    problems = [f"{check['resource']}: {check['check_id']} {check['check_name']}" for check in results["failed_checks"]]
    used = {(check["resource"].split(".")[1], check["check_id"]) for check in results["skipped_checks"]}
    for name, resource in template["Resources"].items():
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
            if (name, skip["id"]) not in used:
                problems.append(f"{name}: {skip['id']} is skipped, and would not be found")
    return problems


if __name__ == "__main__":
    sys.exit(main())
