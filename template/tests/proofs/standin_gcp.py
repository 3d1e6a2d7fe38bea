"""A stand-in for Google Secret Manager and the metadata service, run as a program, on a loopback port and in memory.

It answers as the REST reference says: `latest` is the newest version, whatever its state, and without this workload's
token nothing is told.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import sys
import threading
from base64 import b64decode
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

TOKEN_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"
ACCESS: Final = re.compile(r"/v1/(projects/[^/]+/secrets/[^/:]+)/versions/(latest|[0-9]+):access")
NUMBER: Final = "100000000001"  # of every project; answers name it by its number
LASTS: Final = 3599  # seconds, as long as Google's tokens


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
