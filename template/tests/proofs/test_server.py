"""The server in front of everything: slow clients stop nobody, its own log tells no secret, and it keeps its limits.

All of this is asked of the real gunicorn. Its worker reads its seconds when it starts, so a proof sets them there, to
fewer or more than in production, and never takes them away.
"""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from importlib.metadata import version
from platform import python_version
from select import select
from typing import TYPE_CHECKING

from werkzeug.test import create_environ

from .harness import edit, harm, protects, works
from .header_table import TELLING, faults
from .logins import PATH
from .service import AUTH, PACKAGE
from .wire import HOST, ORIGIN, Response

if TYPE_CHECKING:
    from flask import Flask

    from .real_server import RealServer
    from .running import Service


ROW = "slow-clients-hold-no-thread"
WORKER = "worker.py"
PATIENCE = 6  # seconds that others wait for an answer, which takes milliseconds
WITHIN = 30  # seconds for what is answered at once: a busy machine may need some of them
PROBE = b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n".encode()
TYPE = b"Content-Type: application/%s\r\n" % (b"x-www-form-urlencoded" if AUTH == "session" else b"json")
TYPE += f"Origin: {ORIGIN}\r\nSec-Fetch-Site: same-origin\r\n".encode()
CHUNKED = HEAD + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"}" if AUTH == "jwt" else b"</html>"  # of an answer
KEY = "KdzoD-9sRkP3"


def connect(server: RealServer, room: int | None = None) -> socket.socket:
    """A connection, whose client has `room` for so many bytes that it has not read yet."""
    client = socket.socket()
    if room is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    client.settimeout(WITHIN)
    client.connect(("127.0.0.1", server.port))
    return client


def nobody_waits(service: Service, server: RealServer) -> bool:
    """Whether somebody else gets an answer while the others are there."""
    pages = PROBE, HEAD.replace(b"POST", b"GET") + b"Connection: close\r\n\r\n"
    return all(service.raw(server, page, seconds=PATIENCE).startswith(b"HTTP/1.1 ") for page in pages)


def answered(client: socket.socket, seconds: float, end: bytes = b"") -> bytes:
    """What comes up to this end, with these seconds for each part; nothing when the server just closes."""
    client.settimeout(seconds)
    received = part = client.recv(4096)
    while part and end not in received:
        received += (part := client.recv(4096))
    return received


@protects(ROW, room=edit(WORKER, "        self.make_room()\n", ""))
def test_a_crowd_that_sends_nothing_more_keeps_nobody_out(service: Service) -> None:
    """Of sixty clients that a worker takes, not a thousand, and none of them has to hurry."""
    first = f"from {PACKAGE}.bastion import gunicorn, worker; worker.READ_SECONDS = 60.0; gunicorn.keepalive = 60"
    server = service.real_server(first=f"{first}; gunicorn.worker_connections = 60")
    works(nobody_waits(service, server), "a service with nobody in the way answers")
    with ExitStack() as stack:
        for _ in range(70):
            stack.enter_context(connect(server)).sendall(PROBE[:-2])
        harm(not nobody_waits(service, server), "who sends half a request keeps others out")
    with ExitStack() as stack:
        for _ in range(70):
            client = stack.enter_context(connect(server))
            client.sendall(PROBE.replace(b"Connection: close\r\n", b""))
            assert answered(client, PATIENCE, b"ok").startswith(b"HTTP/1.1 200 ")
        harm(not nobody_waits(service, server), "who is idle after a request keeps others out")
    assert "Traceback" not in server.output


def asks_for(path: bytes) -> bytes:
    return HEAD.replace(b"POST " + PATH.encode(), b"GET " + path) + b"Connection: close\r\n\r\n"


SERVER = "gunicorn.py"
HEADER_MAP = 'header_map = "drop"'
TWO_MEANINGS = {
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a list of lengths": b"Content-Length: 4, 5\r\n\r\nabcde",
    "a signed length": b"Content-Length: +5\r\n\r\nabcde",
    "a name and a space": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a half line's end": b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks of chunks": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks, and no more": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
}
"""What one server in a line may read in another way than the next: then a request hides in another's body."""


@protects(
    "server-limits",
    space=edit(SERVER, HEADER_MAP, f"{HEADER_MAP}\nstrip_header_spaces = True"),
    fold=edit(SERVER, HEADER_MAP, f"{HEADER_MAP}\npermit_obsolete_folding = True"),
)
def test_a_request_that_can_be_read_in_two_ways_is_not_read(service: Service) -> None:
    server = service.real_server()
    hidden = PROBE.replace(b"/healthz", b"/readyz")
    head = HEAD.replace(PATH.encode(), b"/healthz")
    one = service.raw(server, head + b"Content-Length: 5\r\n\r\nabcde" + hidden)
    works(one.count(b"HTTP/1.1 ") == 2, "two requests on one connection get two answers")
    answers = {name: service.raw(server, head + rest + hidden) for name, rest in TWO_MEANINGS.items()}
    harm([name for name, answer in answers.items() if answer[9:12] != b"400"], "one server's body is another's request")
    assert {answer.count(b"HTTP/1.1 ") for answer in answers.values()} == {1}  # and what follows is not read at all
    assert "Traceback" not in server.output


UNREAD = HEAD.replace(b"POST " + PATH.encode(), b"GET /nowhere") + b"%s\r\n"
UNFINISHED = {
    "a body that its view read in part": HEAD + TYPE + b"Content-Length: 200000\r\n\r\n" + b"x" * 70_000,
    "chunks that their view read in part": CHUNKED + b"no size\r\n",
    "a body that was refused unread": (UNREAD % b"Content-Length: 66000\r\n").ljust(65_536, b"x"),
    "chunks that were refused unread": UNREAD % b"Transfer-Encoding: chunked\r\n" + b"no size\r\n",
}
"""Requests whose bodies end before their declared end. A proxy takes what follows for the rest of the body."""


@protects(
    "server-limits",
    rest=edit(WORKER, "            self.is_cut = True\n", "            pass\n"),
    unread=edit(WORKER, " and not conn.parser.unreader.is_cut", ""),
    stray=edit(WORKER, "        with suppress(errors.ParseException):", "        with suppress():"),
    close=edit(WORKER, " or self.req.unreader.is_cut", ""),
    faulty=edit(WORKER, " or self.req.body.failed", ""),
)
def test_nothing_is_answered_behind_an_unfinished_body(service: Service) -> None:
    """A second answer would go to the next visitor whose request the proxy sends on this connection."""
    first = f"from {PACKAGE}.bastion import gunicorn, worker; worker.READ_SECONDS = 2.0; gunicorn.keepalive = 60"
    server = service.real_server(first=first)
    whole = UNREAD % b"Content-Length: 5\r\n" + b"abcde", UNREAD % b"Transfer-Encoding: chunked\r\n" + b"0\r\n\r\n"
    works(all(service.raw(server, one + PROBE).count(b"HTTP/1.1 ") == 2 for one in whole), "whole bodies are followed")
    answers, kept = dict.fromkeys(UNFINISHED, b""), list[str]()
    with ExitStack() as stack:
        clients = {name: stack.enter_context(connect(server)) for name in UNFINISHED}
        for name, client in clients.items():
            client.sendall(UNFINISHED[name])
        for name, client in clients.items():
            answers[name] += answered(client, WITHIN, END)
            if not select([client], [], [], PATIENCE)[0]:
                kept.append(name)
                client.sendall(PROBE)
            answers[name] += answered(client, WITHIN)
    harm([name for name, answer in answers.items() if answer.count(b"HTTP/1.1 ") > 1], "a rest was read as a request")
    assert kept == []
    assert {answer[9:12] for answer in answers.values()} == {b"400"}
    announced = [answer for answer in [*answers.values()][:2] if b"Connection: keep-alive" in answer]
    harm(announced, "a proxy is told to send another visitor's request on this connection")
    assert "Traceback" not in server.output


# --- what the server itself says ----------------------------------------------------------------------------------

HAS_HOST = f"HTTP/1.1\r\nHost: {HOST}\r\n"
UNREADABLE = {
    f"GET / {HAS_HOST}Authorization Bearer {KEY}\r\n\r\n": (400, "InvalidHeader"),
    f"GET  /?token={KEY} x y HTTP/1.1\r\n\r\n": (400, "InvalidRequestLine"),
    f"GET /?token={KEY} HTTP/9.9\r\n\r\n": (400, "InvalidHTTPVersion"),
    f"{KEY}@ / {HAS_HOST}\r\n": (400, "InvalidRequestMethod"),
    f"GET / {HAS_HOST}Cookie {KEY}: a\r\n\r\n": (400, "InvalidHeaderName"),
    f"POST / {HAS_HOST}Content-Length: {KEY}\r\n\r\n": (400, "InvalidHeader"),
    f"POST / {HAS_HOST}Expect: {KEY}\r\n\r\n": (417, "ExpectationFailed"),
    f"GET /{KEY}{'x' * 5000} {HAS_HOST}\r\n": (414, "LimitRequestLine"),
    f"GET / {HAS_HOST}X-{KEY}: {'x' * 9000}\r\n\r\n": (431, "LimitRequestHeaders"),
}
"""What the server can't read, each with a secret in it: the status, and what the log calls it."""


def said_by_the_server(service: Service, server: RealServer) -> list[Response]:
    """Its refusals of these."""
    return [Response.parse(service.raw(server, request.encode())) for request in UNREADABLE]


@protects(
    "headers-on-every-response",
    server=edit(WORKER, "    def handle_error(self, _req: Any", "    def never_called(self, _req: Any"),
)
def test_what_the_server_refuses_leaves_like_every_other_answer(service: Service) -> None:
    server = service.real_server()
    works(service.raw(server, PROBE).startswith(b"HTTP/1.1 200 "), "what can be read is answered")
    answers = said_by_the_server(service, server)
    harm(
        [wrong for answer in answers if (wrong := faults(service, answer))],
        "a refusal of the server's own left without the headers",
    )
    assert [answer.status for answer in answers] == [status for status, _ in UNREADABLE.values()]
    assert [answer.text for answer in answers if KEY in answer.text] == []
    logged = [json.loads(line) for line in server.output.splitlines()]
    ids = [one["request_id"] for one in logged if one["event"].startswith("Invalid request")]
    assert ids == [answer.header("X-Request-Id") for answer in answers]
    assert len({*ids}) == len(answers)


@protects(
    "server-version-hidden",
    server=edit(WORKER, "wsgi.Response = _Response", "_Response"),
    page=edit(
        "edge/__init__.py",
        "title, text = self._settings.texts[status]\n",
        'title, text = "Flask " + __import__("importlib.metadata").metadata.version("flask"), ""\n',
    ),
)
def test_no_answer_tells_what_sent_it(service: Service) -> None:
    server = service.real_server()
    requests = *(asks_for(path) for path in (b"/nowhere", b"/", PATH.encode())), PROBE
    asked = [Response.parse(service.raw(server, one)) for one in requests]
    works(asked[0].status == 404, "the service answers")
    answers = [*asked, *said_by_the_server(service, server)]
    telling = [header for answer in answers for header in answer.headers if header[0] in (*TELLING, "Via")]
    harm(telling, "an answer names its server")
    libraries = "flask", "werkzeug", "gunicorn", "jinja2", "sqlalchemy"
    versions = {python_version(), *(version(name) for name in libraries)}
    said = [f"{answer.headers} {answer.text}" for answer in answers]
    harm([text for text in said if any(one in text for one in versions)], "an answer tells a version")
    assert [answer.headers for answer in answers if "gunicorn" in f"{answer.headers}".lower()] == []


def asked(app: Flask) -> tuple[str, str]:
    """Scheme and address that the service sees, when they are said by a peer that has no address."""
    said = {"HTTP_X_FORWARDED_FOR": "198.51.100.7", "HTTP_X_FORWARDED_PROTO": "https", "REMOTE_ADDR": ""}
    environ = create_environ("/", f"http://{HOST}", environ_overrides=said)
    for _ in app.wsgi_app(environ, lambda *_: lambda _: None):
        pass
    return environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]
