"""Checks what people copy: infra/examples, and every AWS CLI command in documents, scripts and error messages.

    .tools/cloud/run infra/tools/examples.py [--schemas FOLDER]

FOLDER (.tools/schemas unless told) holds npm packages as they were published, one folder each: the types of Kubernetes and
of External Secrets Operator, and an engine for CEL, the language of Kyverno's and Gatekeeper's policies. Neither of both runs
here: their expressions are evaluated on the samples of the very file that `kyverno test` takes.
"""

import argparse
import collections
import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import botocore.session
import cfnlint.api
import cfnlint.decode.cfn_yaml
import jsonata
import yaml
from botocore import xform_name
from definitions import definition_of, misfits

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
EXAMPLES = INFRA / "examples"

problems = []


def problem(path, reason):
    problems.append(f"{path.relative_to(ROOT)}: {reason}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemas", type=Path, default=ROOT / ".tools/schemas")
    schemas = parser.parse_args().schemas
    if not schemas.is_dir() or not shutil.which("node"):
        sys.exit(f"examples: {schemas} (see tests/tools/install.py) or node is missing")
    types = Types(schemas)
    groups = collections.Counter()
    examples = {path for path in EXAMPLES.rglob("*") if path.is_file()}
    for path in sorted(examples.union(INFRA.rglob("*.json"), INFRA.rglob("*.md"), INFRA.glob("*.sh"))):
        groups[check_file(path, types)] += 1
    groups["policy verdicts"] = sum(check_verdicts(path, schemas) for path in EXAMPLES.rglob("kyverno-test.yaml"))
    groups["consumers"] = sum(check_consumer(path) for path in (EXAMPLES / "consumers").glob("*.yaml"))
    groups["AWS CLI commands"] = sum(check_commands(path) for path in command_files())
    for line in problems:
        print(f"examples: {line}", file=sys.stderr)
    print("examples:", ", ".join(f"{count} {group}" for group, count in groups.items()), "bad" if problems else "fine")
    return 1 if problems else 0


def check_file(path, types):
    text = path.read_text()
    try:
        match path.suffix:
            case ".json":
                json.loads(text, object_pairs_hook=without_duplicates)
                return "JSON"
            case ".tf":
                return "Terraform files, which terraform.py checks"
            case ".sh":
                check_shell(path, text)
                return "scripts"
            case ".py":
                done = subprocess.run([sys.executable, "-B", "-m", "doctest", path], capture_output=True, text=True)
                if done.returncode or ">>>" not in text:
                    problem(path, f"its examples fail, or there are none: {done.stdout}{done.stderr}")
                return "Python"
            case ".md":
                for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
                    check_shell(path, block)
                    check_pasted(path, block)
                return "documents"
            case ".yaml" if "\nAWSTemplateFormatVersion:" in text:
                for finding in cfnlint.api.lint_file(path):
                    problem(path, f"line {finding.linenumber}: {finding}")
                return "templates"
            case ".yaml":
                manifests = list(yaml.load_all(text, UniqueKeys))
                for manifest in manifests:
                    check_manifest(path, manifest, types)
                for user in manifests:
                    if user["kind"] == "AtlasDatabaseUser":
                        check_database_user(path, user, manifests)
                return "Kubernetes files"
        problem(path, "nothing here knows how to check such a file")
    except Exception as error:  # parsers differ in what they raise
        problem(path, f"{type(error).__name__}: {error}")
    return "files"


def check_shell(path, script):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    if done.returncode:
        problem(path, done.stderr.strip())


# In '...' an interactive shell leaves everything as it is; in "..." everything but the exclamation mark.
SINGLE_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*")|'[^']*'""")
DOUBLE_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')


def check_pasted(path, block):
    """What a script may contain, but not what is pasted into bash or zsh."""
    code = SINGLE_QUOTED.sub(lambda match: match[1] or "''", block)
    for event in re.findall(r"![^\s=\"]\S*", code):
        problem(path, f"{event} is looked up in the history when it is pasted")
    for comment in re.findall(r"(?:^|\s)#.*", DOUBLE_QUOTED.sub('""', code), re.MULTILINE):
        problem(path, f"zsh takes {comment.strip()!r} for a command when it is pasted")


def without_duplicates(pairs):
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} stands twice")
    return dict(pairs)


class UniqueKeys(yaml.SafeLoader):
    """YAML in which no key stands twice."""

    def construct_mapping(self, node, deep=False):
        return without_duplicates([(self.construct_object(k, True), self.construct_object(v, True)) for k, v in node.value])


UniqueKeys.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node))


# Kubernetes: TypeScript declarations say which fields there are, which of them must be, and of what type they are.


class Types:
    FIELD = re.compile(r'^    "([^"]+)"(\?)?: (.+?);$', re.MULTILINE | re.DOTALL)

    def __init__(self, folder):
        self.folder = folder

    def check(self, value, kind, module, where):
        """What is wrong with a value of this type, as it is written in this module."""
        kind = kind.strip()
        if kind.startswith("Array<"):
            if not isinstance(value, list):
                return [f"{where} is no list"]
            element = kind.removeprefix("Array<").removesuffix(">")
            return [line for i, item in enumerate(value) for line in self.check(item, element, module, f"{where}[{i}]")]
        if kind.startswith("{"):
            if not isinstance(value, dict):
                return [f"{where} is no map"]
            element = re.search(r"\]: ([^;]+)", kind)[1]
            return [line for key, item in value.items() for line in self.check(item, element, module, f"{where}.{key}")]
        if " | " in kind:
            found = [self.check(value, option, module, where) for option in kind.split(" | ")]
            return [] if [] in found else [f"{where} is none of {kind}"]
        if kind.startswith('"'):
            return [] if value == kind.strip('"') else [f"{where} is not {kind}"]
        if kind in ("string", "number", "boolean"):
            expected = {"string": str, "number": (int, float), "boolean": bool}[kind]
            fits = isinstance(value, expected) and (kind == "boolean" or not isinstance(value, bool))
            return [] if fits else [f"{where} is no {kind}"]
        return self.check_named(value, *self.imported(kind, module), where)

    def check_named(self, value, module, where):
        text = module.read_text()
        alias = re.search(r"^export type \w+ = ([^{;]+);", text, re.MULTILINE)
        interface = re.search(r"^export interface \w+(?: extends \w+)? \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
        if not interface:
            return self.check(value, alias[1], module, where)
        if not isinstance(value, dict):
            return [f"{where} is no map"]
        body = re.sub(r"^\s*/\*\*.*?\*/\n", "", interface[1], flags=re.MULTILINE | re.DOTALL)
        fields = {name: (bool(optional), kind) for name, optional, kind in self.FIELD.findall(body)}
        wrong = [f"{where}.{name} is no field of it" for name in value.keys() - fields.keys()]
        for name, (is_optional, kind) in fields.items():
            if name in value:
                wrong += self.check(value[name], kind, module, f"{where}.{name}")
            elif not is_optional:
                wrong.append(f"{where}.{name} is missing")
        return wrong

    def imported(self, name, module):
        source = re.search(rf'import {{[^}}]*\b{name}\b[^}}]*}} from "([^"]+)"', module.read_text())[1]
        source = re.sub(r"\.js$", "", source) + ".d.ts"
        if source.startswith("."):
            return [module.parent / source]
        return [self.folder / source.removeprefix("@kubernetes-models/")]

    def of(self, api_version, kind):
        group = "external-secrets" if "external-secrets.io" in api_version else "kubernetes-models"
        return self.folder / group / api_version / f"{kind}.d.ts"


def check_manifest(path, manifest, types):
    kind, api_version = manifest["kind"], manifest["apiVersion"]
    where = f"{kind} {manifest['metadata']['name']}"
    if api_version.startswith("cli.kyverno.io/"):
        return  # check_verdicts reads these
    if kind == "ValidatingPolicy":
        # A superset of Kubernetes's own policy, says Kyverno; what it adds is looked at here.
        spec = dict(manifest["spec"])
        actions, evaluation = spec.pop("validationActions"), spec.pop("evaluation")
        if not set(actions) <= {"Deny", "Audit", "Warn"} or evaluation != {"background": {"enabled": False}}:
            problem(path, f"{where}: validationActions or evaluation is not as expected here")
        module = types.of("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicySpec")
        wrong = types.check_named(spec, module, f"{where}.spec")
    elif definition := definition_of(api_version, kind):
        metadata = types.folder / "apimachinery/apis/meta/v1/ObjectMeta.d.ts"
        rest = {name: value for name, value in manifest.items() if name not in ("apiVersion", "kind", "metadata")}
        wrong = types.check_named(manifest["metadata"], metadata, f"{where}.metadata")
        wrong += misfits(rest, {"spec!": definition}, where)
        if kind == "ConstraintTemplate" and not wrong:
            made = manifest["spec"]["crd"]["spec"]["names"]["kind"]
            if manifest["metadata"]["name"] != made.lower():
                wrong.append(f"{where} is not named as its kind, {made}, in lower case")
    else:
        module = types.of(api_version, kind)
        wrong = types.check_named(manifest, module, where) if module.exists() else [f"{where} is of no known kind"]
    for line in wrong:
        problem(path, line)


def check_database_user(path, user, manifests):
    """Whether the Atlas Kubernetes Operator finds the password in what an ExternalSecret of the same file delivers."""
    where = (user["metadata"]["namespace"], user["spec"]["passwordSecretRef"]["name"])
    if user["metadata"].get("annotations", {}).get("mongodb.com/atlas-resource-policy") != "keep":
        problem(path, f"{user['metadata']['name']} is deleted at Atlas with its object")
    for delivered in manifests:
        target = delivered["spec"].get("target", {})
        if (delivered["metadata"]["namespace"], target.get("name")) == where:
            template = target["template"]
            if template["metadata"]["labels"].get("atlas.mongodb.com/type") != "credentials":
                problem(path, f"the operator does not see the Secret {where[1]}")
            if "password" not in template["data"]:
                problem(path, f"the Secret {where[1]} has no key password")
            return
    problem(path, f"nothing delivers the Secret {where[1]} in {where[0]}")


# Policies: Kyverno's, and Gatekeeper's that bear the same names

EVALUATE = """
import { evaluate } from "%s";
const plain = value => JSON.parse(value, (_, v) => Number.isInteger(v) ? BigInt(v) : v);
const cases = plain(await new Response(process.stdin).text());
const verdict = ({ rules, object, namespaceObject }) => {
  const context = { object, namespaceObject, variables: {} };
  if (!rules.conditions.every(({ expression }) => evaluate(expression, context) === true)) return "skip";
  for (const { name, expression } of rules.variables) context.variables[name] = evaluate(expression, context);
  return rules.validations.every(({ expression }) => evaluate(expression, context) === true) ? "pass" : "fail";
};
console.log(JSON.stringify(cases.map(verdict)));
"""


def check_verdicts(path, schemas):
    """Runs the test file's cases by both engines' policies; a sample that is in none, or a policy without both verdicts, is a
    problem too."""

    def load(names):
        return [document for name in names for document in yaml.safe_load_all((path.parent / name).read_text())]

    test = load([path.name])[0]
    kyverno = {policy["metadata"]["name"]: kyverno_rules(policy) for policy in load(test["policies"])}
    gatekeeper = gatekeeper_rules(load(["../gatekeeper/templates.yaml"]), load(["../gatekeeper/constraints.yaml"]))
    for name in kyverno.keys() ^ gatekeeper.keys():
        problem(path, f"{name} is a policy of one engine only, or its template is missing")
        return 0
    samples = {(sample["kind"], sample["metadata"]["name"]): sample for sample in load(test["resources"])}
    labels = {entry["name"]: entry["labels"] for entry in load([test["variables"]])[0]["namespaceSelector"]}
    cases, expected = [], []
    for result in test["results"]:
        policy = result["policy"]
        for name in result["resources"]:
            sample = samples.get((result["kind"], name))
            if sample is None or policy not in kyverno:
                problem(path, f"there is no {result['kind']} {name}, or no policy {policy}")
                continue
            namespace = sample["metadata"]["namespace"]
            namespace_object = {"metadata": {"name": namespace, "labels": labels[namespace]}}
            for engine, rules in (("Kyverno", kyverno[policy]), ("Gatekeeper", gatekeeper[policy])):
                if not rules["matches"](sample):
                    problem(path, f"{policy} ({engine}) does not look at {name}")
                expressions = {part: rules[part] for part in ("conditions", "variables", "validations")}
                cases.append({"rules": expressions, "object": sample, "namespaceObject": namespace_object})
                expected.append((policy, engine, result["kind"], name, result["result"]))
    program = EVALUATE % (schemas / "cel-js/lib/index.js").resolve().as_uri()
    command = ["node", "--input-type=module", "--eval", program]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "Error: " in line), done.stderr)
        problem(path, f"the expressions cannot be evaluated: {reason}")
        return 0
    for (policy, engine, _, name, wanted), found in zip(expected, json.loads(done.stdout), strict=True):
        if wanted != found:
            problem(path, f"{policy} ({engine}) on {name}: {found}, not {wanted}")
    for kind, name in samples.keys() - {(kind, name) for _, _, kind, name, _ in expected}:
        problem(path, f"{kind} {name} is in no result")
    for policy in kyverno:
        if {verdict for tried, _, _, _, verdict in expected if tried == policy} != {"pass", "fail"}:
            problem(path, f"{policy} needs samples that pass and samples that fail")
    return len(cases)


def kyverno_rules(policy):
    spec = policy["spec"]

    def matches(sample):
        plural = sample["kind"].lower() + "s"
        rules = spec["matchConstraints"]["resourceRules"]
        return any(group_of(sample) in rule["apiGroups"] and {plural, "*"} & set(rule["resources"]) for rule in rules)

    conditions, variables = spec.get("matchConditions", []), spec.get("variables", [])
    return {"matches": matches, "conditions": conditions, "variables": variables, "validations": spec["validations"]}


def gatekeeper_rules(templates, constraints):
    """By the constraint's name. Gatekeeper wants a template named as its kind, in lower case."""
    sources = {template["metadata"]["name"]: template["spec"]["targets"][0]["code"][0]["source"] for template in templates}

    def rules(constraint):
        def matches(sample):
            rules = constraint["spec"]["match"]["kinds"]
            return any(group_of(sample) in rule["apiGroups"] and {sample["kind"], "*"} & set(rule["kinds"]) for rule in rules)

        source = sources[constraint["kind"].lower()]
        conditions, variables = source.get("matchCondition", []), source.get("variables", [])
        return {"matches": matches, "conditions": conditions, "variables": variables, "validations": source["validations"]}

    known = [constraint for constraint in constraints if constraint["kind"].lower() in sources]
    return {constraint["metadata"]["name"]: rules(constraint) for constraint in known}


def group_of(sample):
    return sample["apiVersion"].split("/")[0]


# Consumers: templates with a rule for the event in event.json


def check_consumer(path):
    """Whether the rule takes event.json and nothing like it, and whether what it starts is an API call that there is."""
    text = path.read_text()
    if "\nAWSTemplateFormatVersion:" not in text:
        return 0
    template = cfnlint.decode.cfn_yaml.load(str(path))
    event = json.loads((path.parent / "event.json").read_text())
    rule = template["Resources"]["Rule"]["Properties"]
    other_arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:/preview/platform/orders-AbCdEf"
    for arns in ([], event["resources"]):
        pattern = resolved(rule["EventPattern"], {"SecretArns": arns, "SecretNamePrefix": "/prod/platform/"})
        if not takes(pattern, event):
            problem(path, f"the rule does not take event.json: {pattern}")
        for name, value in (("source", "aws.ecs"), ("detail-type", "AWS API Call via CloudTrail")):
            if takes(pattern, {**event, name: value}):
                problem(path, f"the rule takes an event whose {name} is {value}")
        if takes(pattern, {**event, "detail": {**event["detail"], "labelUpdated": "reviewed"}}):
            problem(path, "the rule takes an event about another label than AWSCURRENT")
        other = {**event, "resources": [other_arn], "detail": {**event["detail"], "name": "/preview/platform/orders"}}
        if takes(pattern, other):
            problem(path, "the rule takes an event about another secret")
    longest = resolved(rule["EventPattern"], {"SecretArns": ["a" * 115] * 15, "SecretNamePrefix": ""})
    if len(json.dumps(longest)) > 2048:
        problem(path, f"with 15 ARNs of 115 characters the pattern has {len(json.dumps(longest))}, and EventBridge takes 2,048")
    if transformer := rule["Targets"][0].get("InputTransformer"):
        values = {name: at(event, place) for name, place in transformer["InputPathsMap"].items()}
        message = json.loads(re.sub(r"<(\w+)>", lambda match: json.dumps(values[match[1]]), transformer["InputTemplate"]))
        secret = {"eventTime": event["time"], "requestParameters": {"secretId": event["detail"]["name"]}}
        if message != {"detail": secret}:
            problem(path, f"External Secrets Reloader does not find the secret's name and the time in {message}")
    if machine := template["Resources"].get("StateMachine"):
        for reason in wrong_with_machine(machine["Properties"]["Definition"], template["Resources"], event):
            problem(path, reason)
    return 1


def wrong_with_machine(definition, resources, event):
    task = definition["States"]["Each"]["ItemProcessor"]["States"]["Update"]
    service, action = re.search(r"aws-sdk:(\w+):(\w+)$", task["Resource"]["Fn::Sub"]).groups()
    operation = action[0].upper() + action[1:]
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
    known = {name[0].upper() + name[1:] for name in shape.members}
    states = {"input": "arn:aws:x:eu-west-1:111122223333:service/shop/orders", "context": {"Execution": {"Input": event}}}
    for name, value in task["Arguments"].items():
        if name not in known:
            yield f"{service}:{operation} has no argument {name}"
        elif isinstance(value, str):
            expression = jsonata.Jsonata(value.removeprefix("{%").removesuffix("%}"))
            expression.assign("states", states)
            text = expression.evaluate(None)
            if not isinstance(text, str) or ("versionId" in value and event["detail"]["versionId"] not in text):
                yield f"{name}: {value} gives {text}"
    statements = resources["StateMachineRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    if [statement["Action"] for statement in statements] != [f"{service}:{operation}"]:
        yield f"the state machine calls {service}:{operation}, and its role allows something else"


def resolved(value, parameters):
    """A value of a template: Ref and If on the parameter that the condition is named after (HasSecretArns)."""
    if isinstance(value, list):
        return [resolved(item, parameters) for item in value]
    if not isinstance(value, dict):
        return value
    if "Ref" in value:
        return parameters[value["Ref"]] if value["Ref"] != "AWS::NoValue" else None
    if "Fn::If" in value:
        condition, then, otherwise = value["Fn::If"]
        return resolved(then if parameters[condition.removeprefix("Has")] else otherwise, parameters)
    members = {name: resolved(item, parameters) for name, item in value.items()}
    return {name: item for name, item in members.items() if item is not None}


def at(event, place):
    """What stands at a place such as $.detail.name."""
    return functools.reduce(lambda found, key: found[key], place.split(".")[1:], event)


def takes(pattern, event):
    """Whether an event fits a pattern by EventBridge's rules, of which the examples use equal values and prefixes."""
    for name, wanted in pattern.items():
        found = event.get(name)
        if isinstance(wanted, dict):
            if not takes(wanted, found):
                return False
            continue
        values = found if isinstance(found, list) else [found]
        prefixes = tuple(test["prefix"] for test in wanted if isinstance(test, dict))
        if not any(value in wanted or value.startswith(prefixes) for value in values):
            return False
    return True


# AWS CLI commands, by the service models that the CLI itself is generated from

COMMAND = re.compile(r"\baws\s+([a-z][a-z0-9-]+)\s+([a-z][a-z0-9-]+)([^\n`]*)")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
GLOBAL = """region profile output query endpoint-url no-cli-pager cli-binary-format cli-input-json debug no-paginate
page-size max-items starting-token ca-bundle no-sign-request""".split()
# Commands that the CLI has of its own, or with options of its own.
OWN = {
    ("logs", "tail"): "since follow format filter-pattern log-stream-names log-stream-name-prefix".split(),
    ("s3", "cp"): "recursive sse sse-kms-key-id quiet no-progress".split(),
    ("cloudformation", "deploy"): "template-file stack-name capabilities parameter-overrides tags".split(),
    ("cloudformation", "wait"): ["stack-name"],
    ("ec2", "authorize-security-group-ingress"): "group-id protocol port source-group cidr".split(),
    ("configure", "get"): [],
    ("configure", "export-credentials"): ["format"],
    ("sso", "login"): ["profile"],
    ("rds", "generate-db-auth-token"): "hostname port username".split(),
    # `--zip-file` stands for the model's `--content`.
    ("lambda", "publish-layer-version"): "layer-name zip-file compatible-runtimes compatible-architectures".split(),
}


def command_files():
    yield ROOT / "README.md"
    for folder, kinds in ((INFRA, ("md", "sh", "yaml")), (ROOT / "functions", ("md", "rs")), (ROOT / "shared", ("md", "rs"))):
        yield from sorted(path for kind in kinds for path in folder.rglob(f"*.{kind}"))


def check_commands(path):
    text = path.read_text().replace("\\\n", " ")
    is_prose = path.suffix in (".rs", ".yaml")
    if path.suffix == ".rs":
        text = text.replace('\\"', "'").replace('"', "\n")  # a command ends with the message that it is in
    elif path.suffix == ".yaml":
        text = re.sub(r":\n +(aws )", r": \1", text)  # in a folded description
    commands = COMMAND.findall(text)
    for service, command, rest in commands:
        rest = re.split(r"(?<!\.)\. |; |\) |: |$" if is_prose else r" \| | && |; | #", rest)[0]
        for reason in wrong_with(service, command, rest, is_whole=not is_prose and "--" in rest):
            problem(path, f"aws {service} {command}: {reason}")
    return len(commands)


def wrong_with(service, command, rest, is_whole):
    used = set(OPTION.findall(rest)) - set(GLOBAL)
    if (service, command) in OWN:
        return [f"--{name} is no option of it" for name in used - set(OWN[service, command])]
    operations = operations_of(service)
    if operations is None:
        return ["there is no such service"]
    if command not in operations:
        return ["there is no such command"]
    options, required = operations[command]
    wrong = [f"--{name} is no option of it" for name in used - options.keys()]
    if is_whole and "--cli-input-json" not in rest:
        wrong += [f"--{name} is missing" for name in required - used]
    for name in used & options.keys():
        value = re.search(rf"--{name}[ =]([A-Za-z0-9_-]+)(?=[\s']|$)", rest)
        if value and options[name] and value[1] not in options[name]:
            wrong.append(f"--{name} takes {' '.join(options[name])}, not {value[1]}")
    return wrong


@functools.cache
def operations_of(service):
    """The commands of a service: the options of each, with their values where those are listed, and which ones must be."""
    loader = botocore.session.get_session()
    if service not in loader.get_available_services():
        return None
    model = loader.get_service_model(service)
    operations = {}
    for operation in model.operation_names:
        shape = model.operation_model(operation).input_shape
        options, required = {}, set()
        for name, member in (shape.members if shape else {}).items():
            option = xform_name(name, "-")
            options[option] = getattr(member, "enum", [])
            if member.type_name == "boolean":
                options[f"no-{option}"] = []
            if name in shape.required_members:
                required.add(option)
        operations[xform_name(operation, "-")] = (options, required)
    return operations


if __name__ == "__main__":
    sys.exit(main())
