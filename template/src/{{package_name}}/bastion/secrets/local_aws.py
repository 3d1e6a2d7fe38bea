"""Development alone: moto, a stand-in for AWS Secrets Manager, on a loopback port and in memory.

It gives credentials of a role, as ECS does, to whoever knows their address, and answers nobody else: other people of
this machine and pages in a browser can reach the port, too. It ends with the process that started it. Run as a program
it is the server.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib import import_module
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import urlsplit

REGION: Final = "us-east-1"
CREDENTIALS: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_started: Final[list[StandIn]] = []  # an input that nobody holds is closed


# --- for who starts it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StandIn:
    """The running stand-in."""

    port: int
    key: str
    process: subprocess.Popen[str]

    def variables(self, prefix: str) -> dict[str, str]:
        """The environment variables that lead a service to the secrets below this prefix."""
        url = f"http://127.0.0.1:{self.port}"
        names = {"BASTION_AWS_ENDPOINT": url, CREDENTIALS: f"{url}/{self.key}"}
        return {**names, "BASTION_AWS_REGION": REGION, "BASTION_AWS_PREFIX": prefix}

    def stop(self) -> None:
        """End it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start() -> StandIn:
    """Start it in a process of its own, which ends when this one does: then nobody holds its standard input open."""
    process = subprocess.Popen(  # noqa: S603  (this file)
        [sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    told = process.stdout.readline().split() if process.stdout is not None else []
    if len(told) != 2:
        raise RuntimeError("moto does not start. Install the development group: uv sync. Or name BASTION_AWS_REGION.")
    _started.append(StandIn(int(told[0]), told[1], process))
    return _started[-1]


def put(variables: Mapping[str, str], secrets: Mapping[str, str | None]) -> None:
    """Give each of these secrets a new version, in the place that these variables name; None deletes one at once."""
    for name, text in secrets.items():
        secret = f"{variables['BASTION_AWS_PREFIX']}/{name}"
        if text is None:
            ask(variables, "DeleteSecret", SecretId=secret, ForceDeleteWithoutRecovery=True)
        elif ask(variables, "CreateSecret", Name=secret, SecretString=text)[0] != 200:
            ask(variables, "PutSecretValue", SecretId=secret, SecretString=text)


def ask(variables: Mapping[str, str], action: str, **parameters: object) -> tuple[int, dict[str, Any]]:
    """Call an action of Secrets Manager: status and answer. The signature is none, as moto looks at none."""
    key = urlsplit(variables[CREDENTIALS]).path.removeprefix("/")
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20200101/{REGION}/secretsmanager/aws4_request",
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"secretsmanager.{action}",
    }
    port = urlsplit(variables["BASTION_AWS_ENDPOINT"]).port
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/", json.dumps(parameters), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


# --- the server ------------------------------------------------------------------------------------------------


def _serve() -> None:
    """Tell port and key, and answer until nobody holds standard input open."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    key = secrets.token_hex(16)
    role = {"AccessKeyId": key, "SecretAccessKey": key, "Token": key, "Expiration": "2999-01-01T00:00:00Z"}
    manager = import_module("moto.server").create_backend_app("secretsmanager")
    one_at_a_time = Lock()  # moto searches its secrets without one: a secret added meanwhile makes it answer 500

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == f"/{key}":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(role).encode()]
        if f"Credential={key}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            start_response("403 Forbidden", [])
            return []
        with one_at_a_time:
            answered: Iterable[bytes] = manager(environ, start_response)
        return answered

    logging.getLogger("werkzeug").disabled = True
    server = import_module("werkzeug.serving").make_server("127.0.0.1", 0, answer, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, key, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
