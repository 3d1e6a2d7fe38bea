"""A stand-in for Azure Key Vault and a managed identity, run as a program, on loopback ports and in memory.

It answers as the REST reference says: a question without a token gets a challenge, the newest version counts, one that
is disabled is refused, one that has ended is given. `trustme` makes its certificate.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import trustme

ACCESS: Final = re.compile(r"/secrets/([0-9A-Za-z-]{1,127})/([0-9a-f]{32})?")
TOKEN_PATH: Final = "/metadata/identity/oauth2/token"
TENANT: Final = "00000000-0000-4000-8000-000000000001"
LASTS: Final = 86_400  # seconds, as long as a managed identity's token


@dataclass(slots=True)
class _Vault:
    """What both servers know."""

    admin: str = field(repr=False)
    token: str = field(repr=False)
    versions: dict[str, list[tuple[str, Mapping[str, Any]]]] = field(repr=False)
    """Name of the version and the version itself, for each secret; Key Vault's names know no case."""


class _Conversation(BaseHTTPRequestHandler):
    vault: _Vault

    def has(self, given: str) -> bool:
        return hmac.compare_digest(self.headers.get("Authorization", "").encode(), given.encode())

    def fail(self, status: int, code: str, inner: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        error: dict[str, Any] = {"code": code, "message": "as Key Vault would say it"}
        self.answer(status, {"error": error | ({"innererror": {"code": inner}} if inner else {})}, headers)

    def answer(self, status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        told = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body)), **(headers or {})}
        for name, text in told.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what it is asked for is nobody's business."""


class _OfSecrets(_Conversation):
    def do_GET(self) -> None:
        origin = f"https://{self.headers.get('Host')}"
        if not self.has(f"Bearer {self.vault.token}"):
            # The client compares the resource's host with the end of the vault's: 127.0.0.1 ends with .0.0.1
            resource = origin.replace("//127.", "//")
            challenge = f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="{resource}"'
            return self.fail(401, "Unauthorized", headers={"WWW-Authenticate": challenge})
        asked = ACCESS.fullmatch(urlsplit(self.path).path)
        if asked is None:  # the role Key Vault Secrets User allows nothing else
            return self.fail(403, "Forbidden", "ForbiddenByRbac")
        found = dict(self.vault.versions.get(asked[1].casefold(), []))
        version = asked[2] or next(reversed(found), "")
        if version not in found:
            return self.fail(404, "SecretNotFound")
        secret = found[version]
        if not secret["attributes"]["enabled"]:
            return self.fail(403, "Forbidden", "SecretDisabled")
        return self.answer(200, {**secret, "id": f"{origin}/secrets/{asked[1]}/{version}"})


class _OfIdentity(_Conversation):
    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path != TOKEN_PATH or self.headers.get("Metadata") != "true":  # no page in a browser can send it
            return self.fail(400, "invalid_request")
        resource, ends = parse_qs(asked.query).get("resource", [""])[0], int(time.time()) + LASTS
        token = {"access_token": self.vault.token, "token_type": "Bearer", "resource": resource}
        return self.answer(200, {**token, "expires_in": str(LASTS), "expires_on": str(ends)})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.has(self.vault.admin):
            return self.fail(403, "Forbidden")
        for name, given in json.loads(body).items():
            if given is None:
                self.vault.versions.pop(name.casefold(), None)
                continue
            moment = int(time.time())
            attributes = {"enabled": True, "created": moment, "updated": moment, **given.get("attributes", {})}
            version = (secrets.token_hex(16), {"value": given["value"], "attributes": attributes})
            self.vault.versions.setdefault(name.casefold(), []).append(version)
        return self.answer(200, {})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, conversation: type[_Conversation], vault: _Vault, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), type("Conversation", (conversation,), {"vault": vault, "timeout": 30}))
        self.port = int(self.server_address[1])
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def main() -> None:
    """Serve until standard input ends."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    vault = _Vault(secrets.token_urlsafe(32), secrets.token_urlsafe(32), {})
    with tempfile.TemporaryDirectory(prefix="stand-in-") as folder:
        ca = Path(folder, "authority.pem")
        authority.cert_pem.write_to_path(ca)
        ports = _Server(_OfSecrets, vault, context).port, _Server(_OfIdentity, vault, None).port
        print(*ports, vault.admin, ca, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
