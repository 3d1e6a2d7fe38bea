"""Development alone: a stand-in for Google Secret Manager and the metadata service, on a loopback port and in memory.

It answers as the REST reference says: `latest` is the newest version, whatever its state, and without this workload's
token nothing is told. It ends with the process that started it. Run as a program it is the server; it needs the
standard library alone.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import subprocess
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

TOKEN_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105
ACCESS: Final = re.compile(r"/v1/(projects/[^/]+/secrets/[^/:]+)/versions/(latest|[0-9]+):access")
NUMBER: Final = "100000000001"  # of every project; answers name it by its number
LASTS: Final = 3599  # seconds, as long as Google's tokens


# --- for who starts it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StandIn:
    """The running stand-in."""

    port: int
    admin: str
    process: subprocess.Popen[str]

    def variables(self, project: str, prefix: str) -> dict[str, str]:
        """The environment variables that lead a service to the secrets of this project."""
        url = f"http://127.0.0.1:{self.port}"
        names = {"BASTION_GCP_ENDPOINT": url, "BASTION_GCP_METADATA": url}
        return {**names, "BASTION_GCP_PROJECT": project, "BASTION_GCP_PREFIX": prefix}

    def put(self, project: str, secrets: Mapping[str, bytes | None], state: str = "ENABLED") -> None:
        """Add a version to each of these secrets; None deletes one with all its versions."""
        told = {
            f"projects/{project}/secrets/{name}": None if value is None else b64encode(value).decode()
            for name, value in secrets.items()
        }
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", f"/{state}", json.dumps(told), {"Authorization": self.admin})
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise RuntimeError(f"the stand-in of Google Secret Manager answers {status}")

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
        raise RuntimeError("The stand-in for Google Secret Manager did not start. Name a project: BASTION_GCP_PROJECT.")
    return StandIn(int(told[0]), told[1], process)


# --- the server ------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.admin, self.token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.versions: dict[str, list[tuple[str, str]]] = {}
        """State and data (base64) of each version of each secret."""


class _Conversation(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path == TOKEN_PATH:
            if self.headers.get("Metadata-Flavor") != "Google":  # no page in a browser can send it
                return self._fail(403, "PERMISSION_DENIED")
            return self._answer(200, {"access_token": self.server.token, "expires_in": LASTS, "token_type": "Bearer"})
        if not self._has(f"Bearer {self.server.token}"):
            return self._fail(401, "UNAUTHENTICATED")
        asked = ACCESS.fullmatch(self.path.partition("?")[0])
        if asked is None:  # the role secretAccessor allows nothing else
            return self._fail(403, "PERMISSION_DENIED")
        secret, versions = asked[1], self.server.versions.get(asked[1], [])
        number = len(versions) if asked[2] == "latest" else int(asked[2])
        if not 0 < number <= len(versions):
            return self._fail(404, "NOT_FOUND")
        state, data = versions[number - 1]
        if state != "ENABLED":
            return self._fail(400, "FAILED_PRECONDITION")
        name = re.sub(r"\Aprojects/[^/]+", f"projects/{NUMBER}", secret)
        payload = {"data": data, "dataCrc32c": str(_crc32c(data))}
        return self._answer(200, {"name": f"{name}/versions/{number}", "payload": payload})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._has(self.server.admin):
            return self._fail(403, "PERMISSION_DENIED")
        for secret, data in json.loads(body).items():
            if data is None:
                self.server.versions.pop(secret, None)
            else:
                self.server.versions.setdefault(secret, []).append((self.path.strip("/"), data))
        return self._answer(200, {})

    def _has(self, given: str) -> bool:
        return hmac.compare_digest(self.headers.get("Authorization", "").encode(), given.encode())

    def _fail(self, status: int, reason: str) -> None:
        self._answer(status, {"error": {"code": status, "message": "as Google would say it", "status": reason}})

    def _answer(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what it is asked for is nobody's business."""


def _crc32c(data: str) -> int:
    """Bit by bit, unlike the service's: an error in one of them shows."""
    crc = 0xFFFFFFFF
    for byte in b64decode(data):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def main() -> None:
    """Serve until standard input ends."""
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], server.admin, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
