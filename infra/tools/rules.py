"""Rules about the templates that the linters do not have, as a platform team's guard would state them. An exception stands in the
resource itself: Metadata, `keyturn`, the rule's name, and why."""

import re

# What may use "*" for a resource, since AWS takes nothing narrower.
UNBOUND = ("ec2:", "xray:")


def check_rules(name, template, translated):
    """What breaks a rule, and each exception that nothing needs."""
    problems, used = [], set()
    for logical, resource in translated["Resources"].items():
        own = template["Resources"].get(logical, {}).get("Metadata", {}).get("keyturn", {})
        for rule, reason in broken(resource):
            if rule in own:
                used.add((logical, rule))
            else:
                problems.append(f"{name}: {logical}: {rule}: {reason}")
    for logical, resource in template["Resources"].items():
        for rule in resource.get("Metadata", {}).get("keyturn", {}):
            if (logical, rule) not in used:
                problems.append(f"{name}: {logical}: {rule} is excepted, and would not be broken")
    return problems


def broken(resource):
    properties = resource["Properties"]
    match resource["Type"]:
        case "AWS::Logs::LogGroup":
            if "KmsKeyId" not in properties:
                yield "encrypted", "a log group without a key"
            if "RetentionInDays" not in properties:
                yield "retention", "a log group that is kept for ever"
            yield from kept(resource)
            if "Condition" in resource:
                yield "kept", "a log group under a condition goes with it, and stands in the way when it comes back"
        case "AWS::KMS::Key":
            if properties.get("EnableKeyRotation") is not True:
                yield "encrypted", "a key that is never turned"
            yield from kept(resource)
        case "AWS::SNS::Topic":
            if "KmsMasterKeyId" not in properties:
                yield "encrypted", "a topic without a key"
        case "AWS::SQS::Queue":
            if properties.get("SqsManagedSseEnabled") is not True and "KmsMasterKeyId" not in properties:
                yield "encrypted", "a queue in the clear"
        case "AWS::IAM::Role":
            yield from of_role(properties)
        case "AWS::Lambda::Function":
            for wanted in ("CodeSigningConfigArn", "KmsKeyArn", "TracingConfig", "LoggingConfig"):
                if wanted not in properties:
                    yield "choices", f"{wanted} cannot be chosen"
        case "AWS::Lambda::Permission":
            if "SourceAccount" not in properties:
                yield "deputy", "another account's service may invoke it"
        case "AWS::Lambda::Url":
            if properties["AuthType"] != "AWS_IAM":
                yield "asked", "a function URL for everybody"
            if "Cors" in properties:
                yield "asked", "a function URL for pages of a browser"
            if "Qualifier" not in properties:
                yield "asked", "a function URL without an alias of its own"
        case "AWS::CloudWatch::Alarm":
            if not properties.get("AlarmActions"):
                yield "told", "an alarm that tells nobody"
            if not re.search(r"Runbook infra/runbooks/\S+\.md$", properties["AlarmDescription"]):
                yield "told", "an alarm without a runbook"


def kept(resource):
    if resource.get("DeletionPolicy") != "RetainExceptOnCreate" or resource.get("UpdateReplacePolicy") != "Retain":
        yield "kept", "evidence that goes with the stack, or with a replacement"


def of_role(properties):
    if "RoleName" not in properties or "${AWS::Region}" not in str(properties["RoleName"]):
        yield "names", "a role whose name changes, or that two regions would share"
    if "PermissionsBoundary" not in properties:
        yield "choices", "PermissionsBoundary cannot be chosen"
    if properties.get("ManagedPolicyArns"):
        yield "least", "a managed policy"
    for policy in properties.get("Policies", []):
        for statement in policy["PolicyDocument"]["Statement"]:
            # What stands under a condition of the template counts as if it were there.
            statement = statement.get("Fn::If", [None, statement])[1]
            if statement["Effect"] != "Allow":
                continue
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            if "NotAction" in statement or "NotResource" in statement or any("*" in action for action in actions):
                yield "least", f"{statement['Sid']} allows actions that it does not name"
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            if "*" in resources and not all(action.startswith(UNBOUND) for action in actions):
                yield "least", f"{statement['Sid']} is for every resource"
            if ":secret:*" in str(resources) and "secretsmanager:resource/AllowRotationLambdaArn" not in str(statement.get("Condition")):
                yield "least", f"{statement['Sid']} is for every secret"
