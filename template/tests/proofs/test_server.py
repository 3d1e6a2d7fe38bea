"""The server in front of everything: slow clients stop nobody, its own log tells no secret, and it keeps its limits.

All of this is asked of the real gunicorn. Its worker reads its seconds when it starts, so a proof sets them there, to
fewer or more than in production, and never takes them away.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from importlib.metadata import version
from platform import python_version
from select import select
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from werkzeug.test import create_environ

from .harness import edit, harm, protects, works
from .header_table import TELLING, faults
from .logins import PATH
from .pressure import slow_reader
from .service import AUTH, PACKAGE
from .wire import HOST, ORIGIN, Response

if TYPE_CHECKING:
    import pytest
    from flask import Flask

    from .real_server import RealServer
    from .running import Service

ROW = "slow-clients-hold-no-thread"
WORKER = "worker.py"
SLOW = 10  # clients; two more than there are threads
PATIENCE = 6  # seconds that others wait for an answer, which takes milliseconds
WITHIN = 30  # seconds for what is answered at once: a busy machine may need some of them
LARGE = 8 * 2**20  # bytes of an answer; no kernel keeps so much for a client that reads nothing
PROBE = b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n".encode()
TYPE = b"Content-Type: application/%s\r\n" % (b"x-www-form-urlencoded" if AUTH == "session" else b"json")
TYPE += f"Origin: {ORIGIN}\r\nSec-Fetch-Site: same-origin\r\n".encode()
CHUNKED = HEAD + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = HEAD + TYPE + b"Content-Length: 900000\r\nConnection: close\r\n\r\n"
END = b"}" if AUTH == "jwt" else b"</html>"  # of an answer
KEY = "KdzoD-9sRkP3"
ADDS_LARGE = f"""
from functools import wraps
from flask import Response
import {PACKAGE}.app as team
from {PACKAGE}.bastion import public, service, worker
made = team.create_app
@wraps(made.__wrapped__)
def with_large_answer(app):
    made.__wrapped__(app)
    app.add_url_rule("/large", "large", public(lambda: {{"large": "x" * {LARGE}}}))
    app.add_url_rule("/long", "long", public(lambda: Response((b" " * 8192 for _ in range({LARGE} // 8192)))))
team.create_app = service(made.settings_class)(with_large_answer)
worker.ANSWER_SECONDS = 1.0
"""


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


def opened(server: RealServer, stack: ExitStack, *sent: bytes) -> list[socket.socket]:
    """Slow clients: each has sent one of these, in turn, and then nothing."""
    clients = [stack.enter_context(connect(server)) for _ in range(SLOW)]
    for number, client in enumerate(clients):
        client.sendall(sent[number % len(sent)])
    return clients


def answered(client: socket.socket, seconds: float, end: bytes = b"") -> bytes:
    """What comes up to this end, with these seconds for each part; nothing when the server just closes."""
    client.settimeout(seconds)
    received = part = client.recv(4096)
    while part and end not in received:
        received += (part := client.recv(4096))
    return received


GATHERED = "(gone or too_long or unreader.is_gathered(received))"


@protects(
    ROW,
    send=edit(WORKER, f"        if not {GATHERED}:\n            return", "        if False:\n            return"),
    chunks=edit(WORKER, "None if _CHUNKED.search(head) else ", ""),
    chunk=edit(WORKER, "return self._has_all_chunks(received)", 'return b"\\r\\n0\\r\\n" in received'),
    expect=edit(WORKER, ">= self.length\n", '>= self.length or b"expect:" in received.lower()\n'),
    close=edit(WORKER, "        if not kept:\n", "        if False:\n"),
    form=edit(WORKER, "GATHERED_BYTES: Final = 65_536", "GATHERED_BYTES: Final = 16_384"),
    endless=edit(WORKER, "            unreader.deadline = 0.0  #", "            pass  #"),
    length=edit(WORKER, 'rb"\\r\\ncontent-length:[ \\t]*+0*+(\\d*+)', 'rb"\\r\\ncontent-length:[ \\t]{0,9}(\\d{1,9})'),
    long=edit(WORKER, "max(1, self.cfg.threads // 2)", "self.cfg.threads"),
)
def test_clients_that_do_not_go_on_hold_nobody_up(service: Service) -> None:
    """They may take a minute for a request: whatever held a thread meanwhile would hold it for that long."""
    server = service.real_server(first=f"from {PACKAGE}.bastion import worker; worker.READ_SECONDS = 60.0")
    works(nobody_waits(service, server), "a service with nobody in the way answers")
    status = served(service, server)
    works(status and asks_first(server, times=2) == [status] * 2, "who waits for a 100 is sent one, and served")
    works(in_chunks(server) == status, "who sends chunks is served")
    works(in_chunks(server, b"Trailer: x\r\n", b"x: y\r\n") == status, "with what follows them as well")
    half = b"GET /hea", b"", PROBE[:-2], HEAD + TYPE + b"Content-Length: 1000\r\n\r\n{"
    held_up = partial(holds_up, service, server)
    harm(held_up(*half), "half a request holds a thread")
    form = HEAD + TYPE + b"Content-Length: 30000\r\n\r\n" + b"x" * 20_000
    harm(held_up(form), "half of a long form holds a thread")
    odd = [HEAD + TYPE + b"Content-Length:%s1000\r\n\r\n{" % before for before in (b"0" * 9, b" " * 10)]
    harm(held_up(*odd), "half of a form whose length is written in another way holds a thread")
    works(goes_on(server) == [b"200"] * SLOW, "who has sent a long form goes on, on the same connection")
    harm(held_up(LONG + b"x" * 70_000), "half of the longest form holds all threads")
    harm(not form_is_answered(service, server), "an ordinary form waits for the longest ones")
    whole = service.raw(server, LONG + b"x" * 900_000)[9:12]
    works(whole in (b"400", b"413"), "the whole of it is read, and refused for what it is")
    harm(held_up(PROBE[:-2] + b"X-Long: " + b"x" * 70_000), "headers without an end hold a thread")
    harm(
        held_up(CHUNKED, CHUNKED + b"5\r\nabc", CHUNKED + b"0\r\n"),
        "who announces chunks and sends none holds a thread",
    )
    pretending = CHUNKED + b"fff\r\nabc\r\n0\r\n\r\n", CHUNKED + b"0000000000fff\r\n0\r\n\r\n"
    harm(held_up(*pretending), "what only looks like the last chunk holds a thread")
    harm(held_up(HEAD + TYPE + EXPECT + b"Content-Length: 1000\r\n\r\n"), "who waits for a 100 holds a thread")
    harm(held_up(PROBE, answer=b"HTTP/1.1 200 "), "who does not close holds the main loop")
    assert "Traceback" not in server.output
    assert "Socket error" not in server.output


class Looked(bytes):
    """What a client has sent so far, and how many bytes of it were looked at."""

    at = 0

    def find(self, wanted: Any, start: Any = None, end: Any = None) -> int:
        Looked.at += len(self) - (start or 0)
        return super().find(wanted, start, end)


class CountingPattern:
    """A pattern, and how many bytes it was given to look at."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.match = self.search = self._looked

    def _looked(self, text: bytes, start: int = 0) -> re.Match[bytes] | None:
        Looked.at += len(text) - start
        return self.pattern.search(text) if not start else self.pattern.match(text, start)


NEXT_CHUNK = "            self.next_chunk = size.end() + length + 2\n"
ONE_AT_A_TIME = 500  # bytes that a client sends each by itself
LONG_HEAD = HEAD + b"X-Long: " + b"x" * 8000 + b"\r\n"


@protects(
    ROW,
    again=edit(WORKER, "if not self.body_at and (end", "if (end"),
    behind=edit(WORKER, "max(start, self.looked - 3)", "start"),
    chunk_line=edit(
        WORKER, NEXT_CHUNK, f"            if size.end() + length > end:\n                return False\n{NEXT_CHUNK}"
    ),
)
def test_a_byte_is_not_looked_at_again_for_each_that_follows(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be in the main loop: fifty clients that send a byte now and then behind a long head stop everybody."""
    worker = service.module("worker")
    for name in ("_CHUNKED", "_LENGTH", "_SIZE", "_EXPECTS"):
        monkeypatch.setattr(worker, name, CountingPattern(getattr(worker, name)))

    def looked_at(begun: bytes, piece: bytes) -> tuple[int, list[bool]]:
        Looked.at, said = 0, []
        with socket.socket() as nobody:
            reader = worker._Unreader(nobody)
            reader.begin()
            for number in range(ONE_AT_A_TIME):
                sent = Looked(begun + piece * number)
                said.append(reader.waits_for_leave(sent) or reader.is_gathered(sent))
        return Looked.at, said

    at_once, said = looked_at(LONG_HEAD + b"Content-Length: %d\r\n\r\n" % (ONE_AT_A_TIME - 1), b"x")
    works(
        said == [False] * (ONE_AT_A_TIME - 1) + [True] and at_once >= len(LONG_HEAD),
        "a body is there with its last byte",
    )
    most = 20 * len(LONG_HEAD)
    harm(at_once > most, "the head is looked at again for each byte of the body")
    for begun, piece, what in (
        (LONG_HEAD, b"x", "an unfinished head"),
        (LONG_HEAD + b"Transfer-Encoding: chunked\r\n\r\n1000;" + b"x" * 8000 + b"\r\n", b"x", "the line of a chunk"),
        (
            LONG_HEAD + b"Transfer-Encoding: chunked\r\n\r\n0;" + b"x" * 8000 + b"\r\n",
            b"x",
            "the line of the last chunk",
        ),
    ):
        looked, said = looked_at(begun, piece)
        assert said == [False] * ONE_AT_A_TIME
        harm(looked > most, f"{what} is looked at again for each byte behind it")


def holds_up(service: Service, server: RealServer, *sent: bytes, answer: bytes = b"") -> bool:
    """Whether others wait while there are more of these clients than threads."""
    with ExitStack() as stack:
        clients = opened(server, stack, *sent)
        if answer:
            [answered(client, PATIENCE) for client in clients[:1]]
        return not nobody_waits(service, server)


def form_is_answered(service: Service, server: RealServer) -> bool:
    """Whether a form of 30 KB that comes in two parts is, while longer ones have all threads that they may have."""
    with ExitStack() as stack:
        opened(server, stack, LONG + b"x" * 70_000)
        client = stack.enter_context(connect(server))
        client.sendall(HEAD + TYPE + b"Content-Length: 30000\r\n\r\n" + b"x" * 20_000)
        nobody_waits(service, server)  # so the first part is read before the other one is sent
        client.sendall(b"x" * 10_000)
        return bool(select([client], [], [], PATIENCE)[0])


EXPECT = b"Expect: 100-continue\r\n"
BODY = b'{"identifier": "ada@probe.example", "password": "wrong but long enough"}'
SIZE = b"Content-Length: %d\r\n" % len(BODY)


IN_CHUNKS = b"5\r\nabc\r\n\r\n1e;x=y\r\n" + b"\r\n0\r\n\r\n".ljust(30, b"x") + b"\r\n0\r\n"


def test_a_thread_is_used_with_the_last_byte_of_a_short_request_and_not_before(service: Service) -> None:
    worker: Any = service.module("worker")

    def begun() -> Any:
        unreader = worker._Unreader.__new__(worker._Unreader)  # without a connection: it only looks
        unreader.begin()
        return unreader

    requests = (
        PROBE,
        HEAD + TYPE + SIZE + b"\r\n" + BODY,
        CHUNKED + IN_CHUNKS + b"\r\n",
        CHUNKED + IN_CHUNKS + b"x: y\r\n\r\n",
    )
    for request in requests:
        at_once = [begun().is_gathered(request[:length]) for length in range(len(request) + 1)]
        bit_by_bit, unreader = list[bool](), begun()
        for length in range(len(request) + 1):
            bit_by_bit.append(unreader.is_gathered(request[:length]))
        assert at_once == bit_by_bit == [False] * len(request) + [True]
    # What gunicorn refuses is not waited for, nor more than anybody with good intentions would send.
    to_be_refused = CHUNKED + b"5\r\nhello\r\nno size\r\n", CHUNKED + b"1;" + b"x" * 9_000
    too_long = (HEAD + SIZE + b"\r\n").ljust(70_000)
    assert [begun().is_gathered(request) for request in (*to_be_refused, too_long)] == [True] * 3
    for waited_for in (HEAD.ljust(70_000, b"x"), CHUNKED + b"1;" + b"x" * 8_000):
        assert not begun().is_gathered(waited_for)
    asks = HEAD + TYPE + SIZE + EXPECT + b"\r\n"
    unreader = begun()
    assert [unreader.waits_for_leave(asks[:-1]), unreader.waits_for_leave(asks)] == [False, True]
    assert not unreader.waits_for_leave(asks)  # it was told
    others = asks.replace(b"HTTP/1.1", b"HTTP/1.0"), asks + BODY, HEAD + SIZE + b"\r\n"
    assert [begun().waits_for_leave(one) for one in others] == [False] * 3


def test_after_its_deadline_nothing_more_is_read_of_a_request(service: Service) -> None:
    ours, client = socket.socketpair()
    with ours, client:
        unreader: Any = service.module("worker")._Unreader(ours)
        client.sendall(b"in time")
        unreader.begin()
        assert unreader.chunk() == b"in time"
        unreader.deadline = monotonic() + 0.01
        assert unreader.chunk() == b""  # whoever sends no more is waited for until then
        client.sendall(b"too late")
        for late in (0.1, 60.0):
            unreader.deadline = monotonic() - late
            assert unreader.chunk() == b""


def served(service: Service, server: RealServer) -> bytes:
    """The status with which the service answers this body; it was read for it."""
    return service.raw(server, HEAD + TYPE + SIZE + b"Connection: close\r\n\r\n" + BODY)[9:12]


def asks_first(server: RealServer, times: int) -> list[bytes]:
    """The statuses for a client that sends its body when it was told to, on one connection."""
    statuses = []
    with connect(server) as client:
        for number in range(1, times + 1):
            last = b"Connection: close\r\n" if number == times else b""
            client.sendall(HEAD + TYPE + SIZE + EXPECT + last + b"\r\n")
            assert answered(client, WITHIN, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
            client.sendall(BODY)
            received = answered(client, WITHIN, END)
            statuses.append(received.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")[9:12])
    return statuses


def goes_on(server: RealServer) -> list[bytes]:
    """The statuses of short requests behind a long one."""
    statuses = []
    with connect(server) as client:
        client.sendall(LONG.replace(b"Connection: close\r\n", b"") + b"x" * 900_000)
        assert answered(client, WITHIN, END)[9:12] in (b"400", b"413")
        for _ in range(SLOW):
            client.sendall(PROBE.replace(b"Connection: close\r\n", b""))
            statuses.append(answered(client, WITHIN, b"\r\n\r\nok")[9:12])
    return statuses


def in_chunks(server: RealServer, header: bytes = b"", trailer: bytes = b"") -> bytes:
    """The status for a client that sends its body piece by piece."""
    with connect(server) as client:
        client.sendall(CHUNKED[:-2] + header + b"Connection: close\r\n\r\n")
        for start in range(0, len(BODY), 20):
            piece = BODY[start : start + 20]
            client.sendall(b"%x;a=b\r\n%s\r\n" % (len(piece), piece))
        client.sendall(b"0\r\n" + trailer)
        client.sendall(b"\r\n")
        return answered(client, WITHIN)[9:12]


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


PATIENT = "            self.settimeout(max(self.patience, 0.001))\n"


@protects(ROW, read=edit(WORKER, PATIENT, "            self.settimeout(None)\n"))
@protects(ROW, trickle=edit(WORKER, PATIENT, "            self.settimeout(ANSWER_SECONDS)\n"))
def test_clients_that_do_not_read_their_answers_hold_nobody_up(service: Service) -> None:
    """One second instead of ten for each MiB, and public answers of eight: none of a new service is as large."""
    worker = service.module("worker")
    assert (worker.ANSWER_SECONDS, worker.PIECE_BYTES, worker.READ_SECONDS) == (10.0, 2**20, 10.0)
    server = service.real_server(first=ADDS_LARGE)
    for path in (b"/large", b"/long"):
        with connect(server, room=65_536) as slow:
            slow.sendall(asks_for(path))
            began, received = monotonic(), 0
            while part := slow.recv(65_536):
                received += len(part)
                sleep(max(0.0, began + received / (6 * 2**20) - monotonic()))  # 6 MiB a second, however busy it is here
        works(received > LARGE, f"who reads {path!r} slowly, for longer than a second in all, gets everything")
    with ExitStack() as stack:
        for _ in range(SLOW):
            stack.enter_context(connect(server, room=4096)).sendall(asks_for(b"/large"))
        harm(not nobody_waits(service, server), "clients that read nothing hold all threads")
    with ExitStack() as stack:
        for _ in range(SLOW):
            client = stack.enter_context(connect(server, room=4096))
            client.sendall(asks_for(b"/long"))
            stack.enter_context(slow_reader(client))  # 80 kB a second
        sleep(0.5)  # until all threads have something to do
        waited = not nobody_waits(service, server)
    harm(waited, "clients that read a little now and then hold all threads")
    assert "Traceback" not in server.output
    assert "Socket error" not in server.output


def asks_for(path: bytes) -> bytes:
    return HEAD.replace(b"POST " + PATH.encode(), b"GET " + path) + b"Connection: close\r\n\r\n"


LINE, FIELDS, FIELD = "limit_request_line = 4094", "limit_request_fields = 100", "limit_request_field_size = 8190"
SERVER = "gunicorn.py"


@protects(
    ROW,
    line=edit(SERVER, LINE, LINE.replace("4094", "0")),
    fields=edit(SERVER, FIELDS, FIELDS.replace("100", "32_768")),
    field=edit(SERVER, FIELD, FIELD.replace("8190", "65_536")),
)
def test_nobody_sends_a_long_line_or_many_or_large_headers(service: Service) -> None:
    """Each byte of them is read and kept before anything of ours may refuse it."""
    server = service.real_server()

    def status(*fields: bytes, line: int = 0) -> bytes:
        query = b"?" + b"x" * line if line else b""
        head = PROBE.replace(b"/healthz", b"/healthz" + query)
        return service.raw(server, head[:-2] + b"".join(one + b"\r\n" for one in fields) + b"\r\n")[9:12]

    def many(number: int) -> list[bytes]:
        return [b"X-%d: x" % one for one in range(number)]

    works(status(line=4000) == b"200", "a line of four thousand bytes is read")
    works(status(*many(95)) == b"200", "so are nearly a hundred fields")
    works(status(b"X-Long: " + b"x" * 8000) == b"200", "and one of eight thousand bytes")
    long, several, large = status(line=4100), status(*many(100)), status(b"X-Long: " + b"x" * 8200)
    harm(long == b"200", "a longer line was read")
    harm(several == b"200", "more fields were read")
    harm(large == b"200", "a larger field was read")
    assert (long, several, large) == (b"414", b"431", b"431")
    assert "Traceback" not in server.output


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


@protects("server-limits", bind=edit("guards.py", "if start.settings.proxy_hops == 0 and not", "if False and not"))
def test_no_other_machine_reaches_the_service_past_the_proxy_that_ends_tls(service: Service) -> None:
    behind = {"BASTION_PROXY_HOPS": "1", "BASTION_TRUSTED_PROXIES": "10.0.0.0/8"}
    alone = {"BASTION_PROXY_HOPS": "0", "BASTION_TRUSTED_PROXIES": None}
    works(service.start(BASTION_BIND="0.0.0.0:8000", **behind).app is not None, "behind a proxy it may listen")
    for here in ("127.0.0.1:8000", "[::1]:8000", "unix:/run/service.sock"):
        works(service.start(BASTION_BIND=here, **alone).app is not None, f"without one it may at {here}")
    for open_port in ("0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000", ":8000"):
        tried = service.start(BASTION_BIND=open_port, **alone)
        harm(tried.app is not None, f"other machines send passwords without TLS to {open_port}")
        assert [reason.partition(" ")[0] for reason in tried.reasons] == ["BASTION_BIND"]


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


def test_a_fault_of_the_servers_own_leaves_like_every_other_answer(service: Service) -> None:
    """None is known, so the worker is given one."""
    module = service.module("worker")
    worker = object.__new__(module.Worker)
    worker.wsgi, worker.log = service.app, service.module("log").get_logger("server")
    client, server = socket.socketpair()
    with client, server:
        worker.handle_error(None, server, ("192.0.2.1", 1), RuntimeError("no file is left"))
        answer = Response.parse(client.recv(LARGE))
    assert (answer.status, faults(service, answer)) == (500, [])
    assert "no file is left" not in answer.text
    assert (service.log[-1]["event"], service.log[-1]["level"]) == ("Error handling request", "error")


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


BOUNDS = {
    "timeout": (20, 60),  # more than a request may take to come, and a person waits for
    "graceful_timeout": (15, 29),  # for what runs; Kubernetes ends it after thirty
    "keepalive": (1, 10),
    "max_requests_jitter": (100, 50_000),
}
"""Setting of gunicorn to the least and the most of it: seconds, and requests by which the lives of workers differ."""


@protects(
    ROW,
    hang=edit(SERVER, "timeout = 30  #", "timeout = 0  #"),
    idle=edit(SERVER, "keepalive = 5  #", "keepalive = 3_600  #"),
    control=edit(SERVER, "control_socket_disable = True", "control_socket_disable = False"),
)
def test_the_server_is_told_to_wait_for_nothing_without_an_end(service: Service) -> None:
    """Asked of gunicorn's own reading of the settings: to wait for each of them would take minutes."""
    made, ours = import_module("gunicorn.config").Config(), vars(service.module("gunicorn"))
    told = [name for name in made.settings if name in ours]
    for name in told:
        made.set(name, ours[name])
    works({*BOUNDS, "bind", "worker_class"} <= {*told}, "the server reads the settings")
    beyond = {name: made.settings[name].get() for name in BOUNDS}
    harm(
        {name: value for name, value in beyond.items() if not BOUNDS[name][0] <= value <= BOUNDS[name][1]},
        "the server waits for something for ever, or not long enough",
    )
    harm(not made.control_socket_disable, "the server takes commands through a socket in the home folder")
    tolerant = ("permit_obsolete_folding", "strip_header_spaces", "casefold_http_method")
    assert not [name for name in tolerant if made.settings[name].get()]
    assert made.settings["header_map"].get() == "drop"


LOGS_MAX_REQUESTS = """
import os
from gunicorn.workers.base import Worker
os.environ["WEB_CONCURRENCY"] = "{workers}"
import {package}.bastion.gunicorn
os.environ["WEB_CONCURRENCY"] = "1"  # the guards of SQLite allow no more
starts = Worker.init_process
def logs(worker):
    print("max requests:", worker.max_requests, flush=True)
    starts(worker)
Worker.init_process = logs
"""


@protects(
    ROW,
    leak=edit(SERVER, "10_000 if workers > 1 else 0", "0"),
    only=edit(SERVER, " if workers > 1 else 0", ""),
)
def test_requests_do_not_end_the_only_worker(service: Service) -> None:
    """Refused requests count as well: an attacker would keep all clients waiting for its replacement."""
    limits = []
    for workers in (1, 2):
        server = service.real_server(first=LOGS_MAX_REQUESTS.format(package=PACKAGE, workers=workers))
        works(service.raw(server, PROBE).startswith(b"HTTP/1.1 200 "), f"a server with {workers} workers answers")
        limits.append([int(one) for one in re.findall("max requests: ([0-9]+)", server.output)])
    only, several = limits
    harm([limit for limit in only if limit < sys.maxsize], "requests end the only worker")
    harm([limit for limit in several if not 2_000 <= limit <= 50_000], "a leak grows for ever, or workers seldom serve")
    assert len(only) == 1
    assert several


def test_clients_that_are_odd_or_patient_are_answered(service: Service) -> None:
    """One server for all of them, in turn: starting one takes longer than any of these."""
    server = service.real_server(first=f"from {PACKAGE}.bastion import worker; worker.READ_SECONDS = 5.0")
    taking_ones_time_is_answered(service, server)
    several_requests_on_one_connection_are_answered(service, server)
    too_long_or_cut_off_gets_no_patience(service, server)
    the_servers_own_log_is_json_and_quotes_no_request(service, server)
    chunks_that_are_none_are_the_clients_fault(service, server)
    a_thread_is_lost_to_nobody_who_sends_no_more(service, server)
    who_is_told_to_quit_does_so_at_once(server)


def chunks_that_are_none_are_the_clients_fault(service: Service, server: RealServer) -> None:
    for body in (b"5\r\nabcdefgh\r\n0\r\n\r\n", b"x\r\n", b"5;,\r\nabcde\r\n0\r\n\r\n", b"0\r\nno trailer\r\n\r\n"):
        assert service.raw(server, CHUNKED + body).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in server.output


def a_thread_is_lost_to_nobody_who_sends_no_more(service: Service, server: RealServer) -> None:
    long = HEAD + TYPE + b"Content-Length: 900000\r\n\r\n" + b"x" * 70_000
    with ExitStack() as stack:
        clients = opened(server, stack, long)
        assert service.raw(server, PROBE, seconds=WITHIN).startswith(b"HTTP/1.1 200 ")
        assert [client for client in clients if not select([client], [], [], WITHIN)[0]] == []  # all are let go of
        assert nobody_waits(service, server)
    assert "Traceback" not in server.output
    assert "Socket error" not in server.output


def who_is_told_to_quit_does_so_at_once(server: RealServer) -> None:
    os.kill(server.process.pid, signal.SIGQUIT)
    server.process.wait(timeout=15)  # of the twenty seconds that a graceful stop may take


def taking_ones_time_is_answered(service: Service, server: RealServer) -> None:
    body = b'{"identifier": "ada@probe.example", "password": "wrong but long enough"}'
    request = HEAD + TYPE + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    at_once = service.raw(server, request)
    assert at_once[9:12].isdigit()
    with connect(server) as client:
        for start in range(0, len(request), 80):
            client.sendall(request[start : start + 80])
            if start + 80 < len(request):
                # Nothing comes before the request is whole: that is the pause between two pieces.
                assert select([client], [], [], 0.1)[0] == []
        assert answered(client, WITHIN)[9:12] == at_once[9:12]


def several_requests_on_one_connection_are_answered(service: Service, server: RealServer) -> None:
    kept = PROBE.replace(b"Connection: close\r\n", b"")
    assert service.raw(server, kept + kept + PROBE).count(b"HTTP/1.1 200 ") == 3
    with connect(server) as client:
        for _ in range(3):
            client.sendall(kept)
            assert answered(client, WITHIN, b"\r\n\r\nok").startswith(b"HTTP/1.1 200 ")


def too_long_or_cut_off_gets_no_patience(service: Service, server: RealServer) -> None:
    long = PROBE[:-2] + b"X-Long: " + b"x" * 200_000
    many = PROBE[:-2] + b"".join(b"X-%d: x\r\n" % number for number in range(101)) + b"\r\n"
    assert b" 200 " not in service.raw(server, long, seconds=4)[:16]
    assert service.raw(server, many).startswith(b"HTTP/1.1 431 ")
    with connect(server) as client:
        client.sendall(PROBE[:-2])
        client.shutdown(socket.SHUT_WR)
        assert answered(client, 4) == b""
    assert service.raw(server, PROBE).startswith(b"HTTP/1.1 200 ")


def the_servers_own_log_is_json_and_quotes_no_request(service: Service, server: RealServer) -> None:
    answers = said_by_the_server(service, server)
    assert [answer.status for answer in answers] == [status for status, _ in UNREADABLE.values()]
    assert KEY not in server.output
    entries = [json.loads(line) for line in server.output.splitlines()]
    told = [one["event"] for one in entries if one["level"] == "warning" and one["logger"] == "gunicorn.error"]
    kinds = [f"Invalid request from ip=127.0.0.1: {kind}" for _, kind in UNREADABLE.values()]
    assert told[-len(kinds) :] == kinds
    assert any(one["event"].startswith("Booting worker") for one in entries)


def test_a_proxy_on_a_unix_socket_says_who_asks_and_how(service: Service) -> None:
    socket_only = {"BASTION_BIND": "unix:/run/service.sock", "BASTION_PROXY_HOPS": "1", "BASTION_TRUSTED_PROXIES": None}
    app = service.start(**socket_only).app
    assert app is not None
    assert asked(app) == ("https", "198.51.100.7")
    open_port = service.start(**socket_only | {"BASTION_BIND": "0.0.0.0:8000"})
    assert "BASTION_TRUSTED_PROXIES" in open_port.text
    there = service.start(**socket_only | {"BASTION_BIND": "0.0.0.0:8000", "BASTION_TRUSTED_PROXIES": "10.0.0.0/8"}).app
    assert there is not None
    assert asked(there) == ("http", "")


def asked(app: Flask) -> tuple[str, str]:
    """Scheme and address that the service sees, when they are said by a peer that has no address."""
    said = {"HTTP_X_FORWARDED_FOR": "198.51.100.7", "HTTP_X_FORWARDED_PROTO": "https", "REMOTE_ADDR": ""}
    environ = create_environ("/", f"http://{HOST}", environ_overrides=said)
    for _ in app.wsgi_app(environ, lambda *_: lambda _: None):
        pass
    return environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]


def test_nothing_in_the_environment_overrides_the_servers_limits(service: Service) -> None:
    assert service.start(GUNICORN_CMD_ARGS=None).app is not None
    refusal = service.start(GUNICORN_CMD_ARGS="--workers 4 --limit-request-line 0")
    assert [reason.partition(" ")[0] for reason in refusal.reasons] == ["GUNICORN_CMD_ARGS"]
    assert "--workers" not in refusal.text
