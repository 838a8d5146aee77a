#!/usr/bin/env python3
"""AWS's own client behind standard input and output, for programs that have no SDK for every service.

Reads one JSON object a line, {"service": "lambda", "operation": "get_policy", "parameters": {...}, "credentials":
{"AccessKeyId": ..., "SecretAccessKey": ..., "SessionToken": ...}, "endpoint": ...} (the last two parts only to call as
somebody else, or elsewhere; the parameter "file" stands for a Body to be read from there), and answers each with one line: {"ok": ...}, or {"error": {"code": ..., "message": ...}}. Takes the endpoint, the region and
the usual credentials from the environment, as every AWS client does.
"""

import datetime
import functools
import json
import sys
from pathlib import Path

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody

SESSION = botocore.session.get_session()
# What fails here shall say so, not be tried again.
CONFIG = Config(retries={"total_max_attempts": 1}, read_timeout=300)


@functools.cache
def client(service, endpoint, access_key, secret_key, token):
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key, "aws_session_token": token}
    return SESSION.create_client(service, config=CONFIG, endpoint_url=endpoint, **keys)


def answer(line):
    request = json.loads(line)
    credentials = request.get("credentials") or {}
    parts = [credentials.get(part) for part in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    try:
        parameters = request.get("parameters", {})
        if "file" in parameters:
            parameters["Body"] = Path(parameters.pop("file")).read_bytes()
        reply = getattr(client(request["service"], request.get("endpoint"), *parts), request["operation"])(**parameters)
    except ClientError as error:
        told = error.response["Error"]
        return {"error": {"code": told.get("Code", ""), "message": told.get("Message", "")}}
    except BotoCoreError as error:
        return {"error": {"code": type(error).__name__, "message": str(error)}}
    reply.pop("ResponseMetadata", None)
    return {"ok": reply}


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, StreamingBody):
        value = value.read()
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


for line in sys.stdin:
    print(json.dumps(answer(line), default=plain), flush=True)
