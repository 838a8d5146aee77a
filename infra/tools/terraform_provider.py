"""Stands in for Terraform's AWS provider, so that `terraform validate` and `terraform plan` work without it and without AWS.

It has the real provider's schema: which arguments there are, their types, and which of them must be. It plans what it is told to
plan, names the ARNs that AWS would give out, and never applies. Terraform speaks gRPC with it, which is HTTP/2 with protobuf messages;
of protobuf and of msgpack this has what is needed here. The messages are described in Terraform's docs/plugin-protocol.
"""

import asyncio
import contextlib
import functools
import json
import os
import re
import struct
import sys
import tarfile
import threading

from hypercorn.asyncio import serve
from hypercorn.config import Config

ACCOUNT, REGION, PARTITION = "123456789012", "eu-west-1", "aws"
KEY_ARN = f"arn:{PARTITION}:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
FUNCTION_URL = f"https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.{REGION}.on.aws/"

# What data sources read.
READ = {
    "aws_caller_identity": {"account_id": ACCOUNT},
    "aws_partition": {"partition": PARTITION, "dns_suffix": "amazonaws.com"},
    "aws_region": {"region": REGION},
    "aws_db_instance": {
        "master_user_secret": [
            {
                "kms_key_id": KEY_ARN,
                "secret_arn": f"arn:{PARTITION}:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-orders-AbCdEf",
                "secret_status": "active",
            }
        ]
    },
}

# What AWS calls what it makes: service, and the rest of the ARN with the resource's own arguments.
ARNS = {
    "aws_cloudwatch_log_group": "logs:{region}:{account}:log-group:{name}",
    "aws_iam_role": "iam::{account}:role/{name}",
    "aws_lambda_alias": "lambda:{region}:{account}:function:{function_name}:{name}",
    "aws_lambda_function": "lambda:{region}:{account}:function:{function_name}",
    "aws_sns_topic": "sns:{region}:{account}:{name}",
    "aws_sqs_queue": "sqs:{region}:{account}:{name}",
    "aws_secretsmanager_secret": "secretsmanager:{region}:{account}:secret:{name}-AbCdEf",
}


def made_by_aws(kind, argument, values):
    """What AWS says of a new resource, where it is known what that would be."""
    if argument == "url" and kind == "aws_sqs_queue":
        return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{values['name']}"
    if argument == "function_url" and kind == "aws_lambda_function_url":
        return FUNCTION_URL
    if kind == "aws_kms_key":
        return {"arn": KEY_ARN, "key_id": KEY_ARN.rpartition("/")[2]}.get(argument)
    if argument in ("arn", "id") and kind in ARNS:
        return f"arn:{PARTITION}:" + ARNS[kind].format(**values | {"region": REGION, "account": ACCOUNT})
    return None


# The schema, from JavaScript that was generated from the provider's own: how each argument is written, and which of them must be.


def read_schemas(archive, resources, data):
    """The arguments of the provider, and by name those of each resource and of each data source that it has."""
    provider, of_resources, of_data = {}, {}, {}
    folders = {"provider": (provider, "aws")}
    folders |= {kind.removeprefix("aws_").replace("_", "-"): (of_resources, kind) for kind in resources}
    folders |= {f"data-{kind.replace('_', '-')}": (of_data, kind) for kind in data}
    texts = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, path = member.name.partition("package/lib/")
            folder, _, file = path.partition("/")
            if folder in folders and file in ("index.js", "index.d.ts"):
                texts[folder, file] = tar.extractfile(member).read().decode()
    for folder, (found, kind) in folders.items():
        if (folder, "index.js") in texts:
            found[kind] = Source(texts[folder, "index.js"], texts[folder, "index.d.ts"]).resource()
    return provider["aws"], of_resources, of_data


class Source:
    ARGUMENT = re.compile(r'^ +(\w+): \{\s+value: (.+),\s+isBlock: (\w+),\s+type: "(\w+)",\s+storageClassType: "(\w+)"', re.MULTILINE)
    MADE = re.compile(r"// (\w+) - computed: true, optional: false, required: false\n(?:.*\n)?? +(?:return|this\.\w+ =) (.+);")
    SIMPLE = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}

    def __init__(self, script, types):
        self.script, self.types = script, types

    def resource(self):
        name = re.search(r"^class (\w+) extends cdktf\.Terraform(?:Resource|DataSource|Provider) ", self.script, re.MULTILINE)[1]
        body = self.body(rf"^class {name} extends")
        found = self.arguments(body, f"{name}Config")
        for argument, made in self.MADE.findall(body):
            found[argument] = {"type": self.type_of_made(made), "required": False, "optional": False, "computed": True}
        if "id" in found:
            found["id"] = {"type": "string", "required": False, "optional": True, "computed": True}
        return found

    def arguments(self, body, interface):
        declared = re.search(rf"^export interface {interface}\b.*?^\}}", self.types, re.MULTILINE | re.DOTALL)[0]
        found = {}
        for argument, value, is_block, nesting, storage in self.ARGUMENT.findall(body):
            property = re.search(r"(?:this\._|struct\.)(\w+)", value)[1]
            required = f"readonly {property}:" in declared
            if is_block == "true":
                inner = re.search(r"(\w+)ToHclTerraform", value)[1]
                block = self.arguments(self.body(rf"^function {inner}ToHclTerraform\("), inner[0].upper() + inner[1:])
                found[argument] = {"block": block, "nesting": nesting, "required": required, "single": "listMapper" not in value}
            else:
                optional = {"optional": not required, "computed": not required}  # AWS may choose what is not told
                found[argument] = {"type": self.type_of(nesting, storage), "required": required, **optional}
        return found

    def type_of(self, nesting, storage):
        if nesting == "simple":
            return self.SIMPLE[storage]
        return [nesting, self.SIMPLE.get(re.sub(r"(List|Map)$", "", storage), "dynamic")]

    def type_of_made(self, made):
        if inner := re.match(r"new (\w+)List\(", made):
            body = self.body(rf"^class {inner[1]}OutputReference extends")
            return ["list", ["object", {name: self.type_of_made(value) for name, value in self.MADE.findall(body)}]]
        simple = re.search(r"get(String|Number|Boolean)(List|Map)?Attribute|getListAttribute", made)
        if simple is None:
            return "dynamic"
        kind = self.SIMPLE[(simple[1] or "string").lower()]
        if "getListAttribute" in made:
            return ["list", kind]
        return [simple[2].lower(), kind] if simple[2] else kind

    def body(self, start):
        return re.search(rf"{start}.*?^\}}", self.script, re.MULTILINE | re.DOTALL)[0]


# Protobuf: a message is a list of numbered fields.


def number(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(tag, value):
    if isinstance(value, (bool, int)):
        return number(tag << 3) + number(int(value)) if value else b""
    value = value.encode() if isinstance(value, str) else value
    return number(tag << 3 | 2) + number(len(value)) + value


def fields(data):
    """Those of a message that are texts, bytes or messages, each one once."""
    found, at = {}, 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = read()
        size = read()
        if tag & 7 == 2:
            found[tag >> 3] = data[at : at + size]
            at += size
    return found


def schema_message(arguments):
    return field(2, block_message(arguments))


def block_message(arguments):
    out = b""
    for name, argument in arguments.items():
        if "block" in argument:
            nesting = {"struct": 1, "list": 2, "set": 3}[argument["nesting"]]
            sizes = field(4, argument["required"]) + field(5, argument["single"]) if nesting > 1 else b""
            out += field(3, field(1, name) + field(2, block_message(argument["block"])) + field(3, nesting) + sizes)
        else:
            flags = field(4, argument["required"]) + field(5, argument["optional"]) + field(6, argument["computed"])
            out += field(2, field(1, name) + field(2, json.dumps(argument["type"])) + flags)
    return out


# Msgpack, in which Terraform writes values.


class Unpacked:
    SIZED = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}
    NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        self.at += size
        return self.data[self.at - size : self.at]

    def read(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        first = self.take(1)[0]
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 256
        if first in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[first]
        if first in self.NUMBERS:
            return self.read(self.NUMBERS[first])
        if first in self.SIZED:
            size = self.read(self.SIZED[first])
        elif first < 0xC0:
            size = first & (0x1F if first >= 0xA0 else 0x0F)
        else:
            raise ValueError(f"a value that is not known before it is applied ({first:#x})")
        if first < 0x90 or first in (0xDE, 0xDF):
            return {self.value(): self.value() for _ in range(size)}
        if first < 0xA0 or first in (0xDC, 0xDD):
            return [self.value() for _ in range(size)]
        return self.take(size).decode()


# What Terraform asks.


class Provider:
    def __init__(self, provider, resources, data):
        self.provider, self.resources, self.data = provider, resources, data

    def answer(self, method, request):
        asked = fields(request)
        match method:
            case "GetProviderSchema":
                out = field(1, schema_message(self.provider))
                for tag, known in ((2, self.resources), (3, self.data)):
                    for kind, arguments in known.items():
                        out += field(tag, field(1, kind) + field(2, schema_message(arguments)))
                return out
            case "PlanResourceChange":
                kind = asked[1].decode()
                planned = Unpacked(fields(asked[3])[1]).value()
                for name, argument in self.resources[kind].items():
                    if planned[name] is None and argument.get("computed"):
                        planned[name] = made_by_aws(kind, name, planned)
                return field(1, field(2, json.dumps(planned)))
            case "ReadDataSource":
                kind = asked[1].decode()
                return field(1, field(2, json.dumps(Unpacked(fields(asked[2])[1]).value() | READ[kind])))
        # Whatever it is about: nothing to object to.
        return b""


async def respond(provider, receive, send, path):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    service, _, method = path.strip("/").rpartition("/")
    known = service == "tfplugin6.Provider"
    try:
        answer, status, reason = provider.answer(method, body[5:]) if known else b"", 0 if known else 12, ""
    except Exception as error:  # Terraform is to tell it, as an error of this method
        answer, status, reason = b"", 2, f"{method}: {type(error).__name__} {error}"
    headers = [(b"content-type", b"application/grpc")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    if status == 0:
        await send({"type": "http.response.body", "body": b"\0" + len(answer).to_bytes(4, "big") + answer, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    trailers = [(b"grpc-status", str(status).encode()), (b"grpc-message", reason.encode())]
    await send({"type": "http.response.trailers", "headers": trailers})


@contextlib.contextmanager
def serving(provider):
    """What to set in the environment of Terraform, while the provider listens."""
    started, stop = threading.Event(), None
    config = Config()
    config.bind, config.loglevel = ["127.0.0.1:0"], "ERROR"
    config.keep_alive_max_requests, config.keep_alive_timeout = sys.maxsize, 600  # Terraform has one connection, and keeps it
    sockets = config.create_sockets()
    port = sockets.insecure_sockets[0].getsockname()[1]
    config.create_sockets = lambda: sockets

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await respond(provider, receive, send, scope["path"])

    async def run():
        nonlocal stop
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        stop = functools.partial(loop.call_soon_threadsafe, stopped.set)
        started.set()
        await serve(app, config, shutdown_trigger=stopped.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    started.wait()
    address = {"Network": "tcp", "String": f"127.0.0.1:{port}"}
    plugin = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
    try:
        yield {"TF_REATTACH_PROVIDERS": json.dumps({"registry.terraform.io/hashicorp/aws": plugin})}
    finally:
        stop()
        thread.join()
