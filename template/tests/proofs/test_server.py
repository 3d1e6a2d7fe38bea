"""The HTTP server: slow clients block no other client, its log contains no secret, and its limits hold.

All of this is asked of the real gunicorn. Its worker reads its seconds when it starts, so a proof sets them there, to
fewer or more than in production, and never takes them away.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from importlib.metadata import version
from platform import python_version
from select import select
from typing import TYPE_CHECKING

from .harness import edit, harm, protects, works
from .header_table import TELLING, faults
from .logins import PATH
from .service import AUTH, PACKAGE
from .wire import HOST, ORIGIN, Response

if TYPE_CHECKING:
    from .real_server import RealServer
    from .running import Service


ROW = "slow-clients-hold-no-thread"
WORKER = "server/worker.py"
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
    """The worker accepts twenty connections instead of a thousand, and has a long read timeout."""
    first = f"from {PACKAGE}.bastion.server import gunicorn, worker; worker.READ_SECONDS = 60.0"
    server = service.real_server(first=f"{first}; gunicorn.worker_connections = 20")
    works(nobody_waits(service, server), "the service answers without slow clients")
    with ExitStack() as stack:
        for _ in range(24):
            stack.enter_context(connect(server)).sendall(PROBE[:-2])
        harm(not nobody_waits(service, server), "clients with half-sent requests kept other clients out")
    assert "Traceback" not in server.output


def asks_for(path: bytes) -> bytes:
    return HEAD.replace(b"POST " + PATH.encode(), b"GET " + path) + b"Connection: close\r\n\r\n"


SERVER = "server/gunicorn.py"
HEADER_MAP = 'header_map = "drop"'
TWO_MEANINGS = {
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a name and a space": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
}
"""What one server in a line may read in another way than the next: then a request hides in another's body."""


@protects("server-limits", space=edit(SERVER, HEADER_MAP, f"{HEADER_MAP}\nstrip_header_spaces = True"))
def test_a_request_that_can_be_read_in_two_ways_is_not_read(service: Service) -> None:
    server = service.real_server()
    hidden, head = PROBE.replace(b"/healthz", b"/readyz"), HEAD.replace(PATH.encode(), b"/healthz")
    one = service.raw(server, head + b"Content-Length: 5\r\n\r\nabcde" + hidden)
    works(one.count(b"HTTP/1.1 ") == 2, "two requests on one connection get two answers")
    answers = {name: service.raw(server, head + rest + hidden) for name, rest in TWO_MEANINGS.items()}
    harm([name for name, answer in answers.items() if answer[9:12] != b"400"], "the server read an ambiguous request")
    assert {answer.count(b"HTTP/1.1 ") for answer in answers.values()} == {1}  # and what follows is not read at all


UNREAD = HEAD.replace(b"POST " + PATH.encode(), b"GET /nowhere") + b"%s\r\n"
UNREAD_IS_KEPT = tuple(edit(WORKER, f" {one}.unreader.is_cut", "") for one in ("and not conn.parser", "or self.req"))


@protects("server-limits", unread=UNREAD_IS_KEPT)
def test_nothing_is_answered_behind_an_unfinished_body(service: Service) -> None:
    """The proxy would send a second answer to the next client that uses this connection."""
    first = f"from {PACKAGE}.bastion.server import gunicorn, worker; worker.READ_SECONDS = 1.0; gunicorn.keepalive = 60"
    server = service.real_server(first=first)
    whole = UNREAD % b"Content-Length: 5\r\n" + b"abcde"
    works(service.raw(server, whole + PROBE).count(b"HTTP/1.1 ") == 2, "a request after a complete body is answered")
    with connect(server) as client:
        client.sendall((UNREAD % b"Content-Length: 66000\r\n").ljust(65_536, b"x"))
        answer = answered(client, WITHIN, END)
        kept = not select([client], [], [], PATIENCE)[0]
        client.sendall(PROBE if kept else b"")
        answer += answered(client, WITHIN)
    harm(answer.count(b"HTTP/1.1 ") > 1, "the server read the rest of a body as a request")
    assert (answer[9:12] in (b"400", b"413"), kept) == (True, False)


# --- what the server itself says ----------------------------------------------------------------------------------

HAS_HOST = f"HTTP/1.1\r\nHost: {HOST}\r\n"
UNREADABLE = {
    f"GET / {HAS_HOST}Authorization Bearer {KEY}\r\n\r\n": 400,
    f"GET /?token={KEY} HTTP/9.9\r\n\r\n": 400,
    f"GET /{KEY}{'x' * 5000} {HAS_HOST}\r\n": 414,
    f"GET / {HAS_HOST}X-{KEY}: {'x' * 9000}\r\n\r\n": 431,
}
"""What the server can't read, each with a secret in it, and the status."""


@protects(
    "headers-on-every-response",
    server=edit(WORKER, "    def handle_error(self, _req: Any", "    def never_called(self, _req: Any"),
)
@protects("server-version-hidden", server=edit(WORKER, "wsgi.Response = _Response", "_Response"))
def test_what_the_server_refuses_leaves_like_every_other_answer_and_names_no_server(service: Service) -> None:
    server = service.real_server()
    page = Response.parse(service.raw(server, asks_for(b"/none-of-this-name")))
    works(page.status == 404, "a readable request is answered")
    answers = [Response.parse(service.raw(server, request.encode())) for request in UNREADABLE]
    wrong = [found for answer in answers if (found := faults(service, answer))]
    harm(wrong, "the server's own refusal lacks the security headers")
    telling = [header for answer in (page, *answers) for header in answer.headers if header[0] in (*TELLING, "Via")]
    harm(telling, "an answer names the server software")
    assert [answer.status for answer in answers] == [*UNREADABLE.values()]
    versions = (python_version(), *(version(name) for name in ("flask", "werkzeug", "gunicorn", "jinja2")))
    assert [word for answer in (page, *answers) for word in (KEY, *versions) if word in answer.text] == []
    assert KEY not in server.output
