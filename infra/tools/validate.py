"""Checks the templates: lints them, translates them as CloudFormation would, lints what comes out, for security as well, and computes
the limits of AWS that the largest configuration the manual promises has to stay under.

    .tools/cloud/run infra/tools/validate.py

The translations are release artifacts: without a transform, they take StackSets and `aws cloudformation deploy`. They find the zips in
the bucket that the parameter CodeBucket names. They go to target/infra/keyturn-<template>.json.
"""

import copy
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cfnlint.api
from cfnlint.config import ManualArgs
from rules import check_rules
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

CHECKOUT = Path(__file__).resolve().parents[2]
INFRA = CHECKOUT / "infra"
TRANSLATED = CHECKOUT / "target/infra"
REGION = "eu-west-1"  # any will do: the templates name none

# Deployed by CloudFormation as they are.
PLAIN = ["watch"]
# Translated.
SERVERLESS = ["rotation", "oncall", "break-glass"]

# Where the translated templates find the zips.
CODE = {
    "CodeBucket": {
        "Type": "String",
        "AllowedPattern": "[a-z0-9.-]{3,63}",
        "Description": "Bucket of this region that the zips of a release were copied to.",
    },
    "CodePrefix": {
        "Type": "String",
        "Default": "",
        "AllowedPattern": "|.+/",
        "Description": "What the names of the zips there begin with, up to a slash: one folder for each release.",
    },
}

# The largest configuration that infra/README.md promises ("Limits of the deployment"), with the longest names that AWS has.
ACCOUNT, LONGEST_REGION, PARTITION = "123456789012", "ap-southeast-1", "aws-us-gov"
ARN = f"arn:{PARTITION}:secretsmanager:{LONGEST_REGION}:{ACCOUNT}:secret:{'n' * 60}-AbCdEf"
KEY = f"arn:{PARTITION}:kms:{LONGEST_REGION}:{ACCOUNT}:key/6b1f0f3c-0000-4000-8000-00000000c0de"
LARGEST = {
    "PostgresAdminSecretArns": [ARN] * 12,
    "MongoAdminSecretArns": [ARN] * 12,
    "CheckSecretArns": [ARN] * 10,
    "PostgresMirrorSecretArns": [ARN] * 16,
    "PostgresIamAdmins": [f"arn:{PARTITION}:rds-db:{LONGEST_REGION}:{ACCOUNT}:dbuser:cluster-{'A' * 26}/{'u' * 30}"] * 8,
    "AtlasProjectIds": ["0123456789abcdef01234567"] * 20,
    "AdminSecretArns": [ARN] * 30,
    "SecretsKeyArns": [KEY] * 6,
}

# Of AWS: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, IAM's and CloudFormation's quotas.
VARIABLES_BYTES = 4096
POLICY_CHARACTERS = 10240  # all inline policies of a role, white space apart
TEMPLATE_BYTES = 51200
PARAMETERS = 200
NAME_CHARACTERS = {
    ("AWS::IAM::Role", "RoleName"): 64,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::SQS::Queue", "QueueName"): 80,
    ("AWS::SNS::Topic", "TopicName"): 256,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::CloudWatch::Dashboard", "DashboardName"): 255,
    ("AWS::Events::Rule", "Name"): 64,
    ("AWS::Scheduler::Schedule", "Name"): 64,
    ("AWS::SSM::Parameter", "Name"): 1011,
}


class ManagedPolicies:
    """The roles name no policy of AWS's, so that nothing has to be looked up."""

    def load(self):
        return {}


def main():
    problems, lines = [], []
    for name in PLAIN:
        problems += lint(INFRA / f"{name}.yaml")
    for name in SERVERLESS:
        source = INFRA / f"{name}.yaml"
        found = lint(source)
        if not found:
            template = yaml_parse(source.read_text())
            translated = TRANSLATED / f"keyturn-{name}.json"
            translate(template, translated)
            made = json.loads(translated.read_text())
            measured, over = limits(name, translated, made)
            lines += measured
            found = over + lint(translated) + check_security(template, made) + check_rules(name, template, made)
        problems += found
    for problem in problems:
        print(f"validate: {problem}", file=sys.stderr)
    if problems:
        return 1
    for line in lines:
        print(f"validate: {line}")
    print(f"validate: infra/ {', '.join(SERVERLESS + PLAIN)} are fine")
    return 0


def lint(path):
    found = cfnlint.api.lint(path.read_text(), config=ManualArgs(regions=[REGION]))
    return [f"{path.relative_to(CHECKOUT)}:{match.linenumber}: {match.rule.id} {match.message}" for match in found]


# The translator counts what it does, for AWS's own service, and complains that nobody asks.
logging.getLogger("samtranslator.metrics.metrics").setLevel(logging.ERROR)


def translate(template, path):
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            # What `sam deploy` puts there once it has uploaded the zip.
            resource["Properties"]["CodeUri"] = {"Bucket": "bucket", "Key": name}
    os.environ["AWS_DEFAULT_REGION"] = REGION
    translated = transform(template, {}, ManagedPolicies())
    for resource in translated["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            function = resource["Properties"]["FunctionName"]["Fn::Sub"].removeprefix("${Name}-")
            key = {"Fn::Sub": "${CodePrefix}keyturn-" + function + "-${Architecture}.zip"}
            resource["Properties"]["Code"] = {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": key}
        resource.get("Metadata", {}).pop("SamResourceId", None)
    translated["Parameters"].update(CODE)
    groups = translated["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    groups.insert(0, {"Label": {"default": "Where the zips are"}, "Parameters": list(CODE)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(translated, separators=(",", ":")))


def check_security(template, translated):
    """What checkov finds where everything is on, and each exception in the template that it has no use for."""
    everything = copy.deepcopy(translated)
    for parameter in everything["Parameters"].values():
        if "on" in parameter.get("AllowedValues", []):
            parameter["Default"] = "on"
    with tempfile.TemporaryDirectory(dir=TRANSLATED) as folder:
        (Path(folder) / "template.json").write_text(json.dumps(everything))
        command = [CHECKOUT / ".tools/checkov/run", "-m", "checkov.main", "--file", "template.json", "--framework", "cloudformation"]
        command += ["--output", "json", "--compact", "--skip-download"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)
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


def limits(name, path, template):
    """What the largest configuration comes to, and what of it is more than AWS takes."""
    values = {
        parameter: LARGEST.get(parameter) or largest_text(parameter, declared)
        for parameter, declared in template["Parameters"].items()
    }
    pseudo = {"AWS::Partition": PARTITION, "AWS::Region": LONGEST_REGION, "AWS::AccountId": ACCOUNT, "AWS::URLSuffix": "amazonaws.com"}
    stack = Evaluated(template, {**values, **pseudo})
    figures = [("template", "bytes", len(path.read_bytes()), TEMPLATE_BYTES)]
    figures.append(("template", "parameters", len(template["Parameters"]), PARAMETERS))
    for logical, resource in template["Resources"].items():
        properties = stack.of(resource["Properties"])
        if resource["Type"] == "AWS::Lambda::Function":
            variables = properties["Environment"]["Variables"]
            figures.append((logical, "bytes of variables", len(json.dumps(variables, separators=(",", ":"))), VARIABLES_BYTES))
        if resource["Type"] == "AWS::IAM::Role":
            policies = [json.dumps(policy["PolicyDocument"], separators=(",", ":")) for policy in properties["Policies"]]
            figures.append((logical, "characters of policy", sum(map(len, policies)), POLICY_CHARACTERS))
        for (kind, property), most in NAME_CHARACTERS.items():
            if kind == resource["Type"] and property in properties:
                figures.append((logical, f"characters of {property}", len(properties[property]), most))
    over = [f"{name}: {logical} has {size} {what}, and AWS takes {most}" for logical, what, size, most in figures if size > most]
    tight = [figure for figure in figures if not figure[1].startswith("characters of ") or figure[1].endswith(("policy", "RoleName"))]
    return [f"{name}: {logical}, {size:,} of {most:,} {what}" for logical, what, size, most in tight], over


def largest_text(name, parameter):
    """A text as long as the parameter takes; whatever switches something on is on."""
    if "AllowedValues" in parameter:
        on = [value for value in parameter["AllowedValues"] if value in ("on", "Active", "all")]
        return on[0] if on else str(parameter["AllowedValues"][-1])
    if name == "Name":
        return "n" * 20
    if name.endswith("Settings"):
        return "s" * parameter["MaxLength"]
    return "x" * parameter.get("MaxLength", len(ARN) if name.endswith("SecretArn") else 80)


class Evaluated:
    """A template with values for its parameters, as far as limits need it: what another resource is called stands for itself."""

    def __init__(self, template, values):
        self.conditions = template["Conditions"]
        self.values = values

    def of(self, value):
        if isinstance(value, list):
            found = [self.of(item) for item in value]
            return [item for item in found if item is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(function, argument)] = value.items()
            match function:
                case "Ref":
                    return None if argument == "AWS::NoValue" else self.values.get(argument, "r" * 120)
                case "Fn::Sub":
                    for name, text in self.values.items():
                        argument = argument.replace(f"${{{name}}}", text if isinstance(text, str) else ",".join(text))
                    return argument
                case "Fn::GetAtt":
                    return "r" * 120
                case "Fn::Join":
                    return argument[0].join(self.of(argument[1]))
                case "Fn::If":
                    return self.of(argument[1] if self.condition(argument[0]) else argument[2])
        found = {key: self.of(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item is not None}

    def condition(self, name):
        return self.is_true(self.conditions[name])

    def is_true(self, expression):
        [(function, argument)] = expression.items()
        match function:
            case "Fn::Equals":
                return self.of(argument[0]) == self.of(argument[1])
            case "Fn::Not":
                return not self.is_true(argument[0])
        raise ValueError(f"{function} is no condition that is known here")


if __name__ == "__main__":
    sys.exit(main())
