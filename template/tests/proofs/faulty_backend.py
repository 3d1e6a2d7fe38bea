"""A front of TLS that is a secrets backend, or stands before a real one: it answers, fails or cheats as it is told.

It stops proofs from believing a stub of a vendor's client: what counts is what went over the wire, and to whom.

    with Front(("127.0.0.1", 8200)) as front:     # or Front(handler): what the backend would answer, without one
        ...                                       # front.url and, to verify it by, the file front.ca
        front.mode = "down"                       # from the next request on; see Mode
        front.script = ["500", "works"]           # or: the next two requests alone
        ...                                       # front.requests, front.connections

Each request has a connection of its own, so that another mode counts at once.
"""

from __future__ import annotations

import json
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final, Literal, Self

import trustme

from .databases import NoServer

Mode = Literal[
    "works",
    "down",  # each connection is closed before a word is said
    "slow",  # nothing is said for `Front.delay` seconds
    "403",
    "500",
    "malformed",  # 200, and half of a JSON object
    "redirect",  # 307 to `Front.location`: to ELSEWHERE on this one, unless a proof says otherwise
    "other name",  # the certificate is for another name, by the right authority
    "other authority",  # the right name, by an authority that nobody trusts
    "expired",
]
CANARY: Final = "canary-of-the-backend"
"""In the text of each failure, as vendors put paths, values and tokens there: the service shows it to nobody."""
ELSEWHERE: Final = "/elsewhere"
OTHER_NAME: Final = "other.example"
_HOP_BY_HOP: Final = frozenset({"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Request:
    """What came; the names of headers are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


Handler = Callable[[Request], Answer]


class Front:
    """Listens on a free loopback port until the end of its `with` block.

    `upstream` is the address of a server without TLS, or a function that answers in its place. `name` is what the
    service calls this one; a name needs mail_server.resolves_here(). Without `tls` it speaks http, as metadata services
    and proxies do.
    """

    def __init__(self, upstream: tuple[str, int] | Handler, *, name: str = "127.0.0.1", tls: bool = True) -> None:
        self.mode: Mode = "works"
        self.script: list[Mode] = []
        """Modes of the next requests, one each; then `mode` again."""
        self.delay = 30.0
        self.location = ELSEWHERE
        self.requests: list[Request] = []
        """All that were read, whatever was answered."""
        self.connections = 0
        """Those that were closed before a request, too."""
        self.name = name
        self._tls = tls
        self._answer: Handler = upstream if callable(upstream) else _passing_on_to(upstream)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="proof-front-")
        self.ca = str(Path(self._folder.name, "authority.pem"))
        """The file of its authority's certificate (PEM)."""
        _authority(trusted=True).cert_pem.write_to_path(self.ca)
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.front = self
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if self._tls else 'http'}://{self.name}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
        self._folder.cleanup()

    def context(self, mode: Mode) -> ssl.SSLContext | None:
        """What it speaks TLS with in this mode."""
        return _context(self.name, mode) if self._tls else None

    def answer(self, mode: Mode, request: Request) -> Answer | None:
        """What is answered in this mode; None: nothing."""
        if mode == "slow":
            self._over.wait(self.delay)
            return None
        if mode == "redirect":
            return Answer(404) if request.path == ELSEWHERE else Answer(307, headers={"Location": self.location})
        if mode in ("403", "500"):
            return Answer(int(mode), b'{"errors": ["%s"], "message": "%s"}' % (CANARY.encode(), CANARY.encode()))
        if mode == "malformed":
            return Answer(200, b'{"data": "%s' % CANARY.encode())
        return self._answer(request)


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def handle(self) -> None:
        front: Front = self.server.front  # type: ignore[attr-defined]
        front.connections += 1
        self._mode: Mode = front.script.pop(0) if front.script else front.mode
        if self._mode == "down":
            return
        with suppress(OSError):  # the client went away, or did not like the certificate
            if (context := front.context(self._mode)) is not None:
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
            self.handle_one_request()

    def finish(self) -> None:
        with suppress(OSError, ValueError):  # what was not sent yet
            super().finish()
        self.connection.close()

    def _talk(self) -> None:
        front: Front = self.server.front  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, {name.lower(): text for name, text in self.headers.items()}, body)
        front.requests.append(request)
        if (answer := front.answer(self._mode, request)) is None:
            return
        self.send_response(answer.status)
        for name, text in {**answer.headers, "Content-Length": str(len(answer.body)), "Connection": "close"}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_LIST = do_CONNECT = _talk

    def log_message(self, _format: str, *_arguments: Any) -> None:
        """Nothing: the requests are kept."""


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    front: Front


def _passing_on_to(upstream: tuple[str, int]) -> Handler:
    """Ask the real server, with what was sent as it is."""

    def answer(request: Request) -> Answer:
        connection = HTTPConnection(*upstream, timeout=30)
        try:
            connection.request(request.method, request.path, request.body or None, dict(request.headers))
            given = connection.getresponse()
            kept = {name: text for name, text in given.getheaders() if name.lower() not in _HOP_BY_HOP}
            return Answer(given.status, given.read(), kept)
        except (OSError, HTTPException):
            return Answer(502)
        finally:
            connection.close()

    return answer


@cache
def _authority(*, trusted: bool) -> trustme.CA:  # noqa: ARG001  two of them
    return trustme.CA()


@cache
def _context(name: str, mode: Mode) -> ssl.SSLContext:
    authority = _authority(trusted=mode != "other authority")
    not_after = datetime(2020, 1, 1, tzinfo=UTC) if mode == "expired" else None
    certificate = authority.issue_cert(OTHER_NAME if mode == "other name" else name, not_after=not_after)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class StandIn:
    """A program of this folder that stands in for a backend, in a process of its own that ends when this one does."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  a file of ours
            [sys.executable, "-I", Path(__file__).with_name(program)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.told = self._process.stdout.readline().split()
        """Its ports, and whatever else opens it."""
        if not self.told:
            self.stop()
            raise NoServer(f"{program} does not start: install the development group (`uv sync`)")

    def post(self, port: int, path: str, content: Mapping[str, Any], authorization: str) -> None:
        """Tell it what it holds from now on."""
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", path, json.dumps(content), {"Authorization": authorization})
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise RuntimeError(f"the stand-in answers {status}")

    def stop(self) -> None:
        """End it: it runs for as long as somebody holds its input open."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
