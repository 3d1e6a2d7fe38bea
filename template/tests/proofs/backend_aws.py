"""AWS Secrets Manager, for the proofs: a stand-in (standin_aws.py), with a prefix for each service.

It stops proofs from putting a secret where this service does not look for it. Nothing is asked of AWS.
"""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .faulty_backend import StandIn

ROTATES = True
REGION: Final = "us-east-1"
CREDENTIALS: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"


class Backend:
    """Where the secrets of the proofs' services lie."""

    def __init__(self) -> None:
        self._standin = StandIn("standin_aws.py")
        port, self.key = self._standin.told
        self.port = int(port)

    def variables(self, prefix: str) -> dict[str, str]:
        """The environment variables that lead a service to the secrets below this prefix."""
        url = f"http://127.0.0.1:{self.port}"
        names = {"BASTION_AWS_ENDPOINT": url, CREDENTIALS: f"{url}/{self.key}"}
        return {**names, "BASTION_AWS_REGION": REGION, "BASTION_AWS_PREFIX": prefix}

    def write(self, _folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        variables = self.variables(f"proofs/{random.token_hex(8)}")
        self.change(variables, secrets)
        return variables

    def change(self, variables: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Add new versions, or delete (None) at once, below the prefix that these variables name."""
        for name, text in changes.items():
            secret = f"{variables['BASTION_AWS_PREFIX']}/{name}"
            if text is None:
                ask(variables, "DeleteSecret", SecretId=secret, ForceDeleteWithoutRecovery=True)
            elif ask(variables, "CreateSecret", Name=secret, SecretString=text)[0] != 200:
                ask(variables, "PutSecretValue", SecretId=secret, SecretString=text)

    def close(self) -> None:
        """End the stand-in."""
        self._standin.stop()


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
