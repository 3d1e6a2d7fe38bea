"""Edges of the proofs in test_server.py: further attacks on the same protections."""

from __future__ import annotations

import json
import re
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

from ..harness import edit, harm, protects, works
from ..header_table import TELLING, faults
from ..logins import PATH
from ..service import PACKAGE
from ..test_server import (
    CHUNKED,
    END,
    HAS_HOST,
    HEAD,
    HEADER_MAP,
    KEY,
    PATIENCE,
    PROBE,
    ROW,
    SERVER,
    TYPE,
    UNREAD,
    WITHIN,
    WORKER,
    answered,
    asks_for,
    connect,
    nobody_waits,
)
from ..wire import HOST, Response
from .slow_reader import slow_reader

if TYPE_CHECKING:
    import pytest
    from flask import Flask

    from ..real_server import RealServer
    from ..running import Service


SLOW = 10  # clients; two more than there are threads
LARGE = 8 * 2**20  # bytes of an answer; no kernel keeps so much for a client that reads nothing
LONG = HEAD + TYPE + b"Content-Length: 900000\r\nConnection: close\r\n\r\n"
ADDS_LARGE = f"""
from functools import wraps
from flask import Response
import {PACKAGE}.app as team
from {PACKAGE}.bastion import public, service
from {PACKAGE}.bastion.server import worker
made = team.create_app
@wraps(made.__wrapped__)
def with_large_answer(app):
    made.__wrapped__(app)
    app.add_url_rule("/large", "large", public(lambda: {{"large": "x" * {LARGE}}}))
    app.add_url_rule("/long", "long", public(lambda: Response((b" " * 8192 for _ in range({LARGE} // 8192)))))
team.create_app = service(made.settings_class)(with_large_answer)
worker.ANSWER_SECONDS = 1.0
"""


def opened(server: RealServer, stack: ExitStack, *sent: bytes) -> list[socket.socket]:
    """Slow clients: each has sent one of these, in turn, and then nothing."""
    clients = [stack.enter_context(connect(server)) for _ in range(SLOW)]
    for number, client in enumerate(clients):
        client.sendall(sent[number % len(sent)])
    return clients


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
    """A client may take a minute for a request, and would occupy a thread for that long."""
    server = service.real_server(first=f"from {PACKAGE}.bastion.server import worker; worker.READ_SECONDS = 60.0")
    works(nobody_waits(service, server), "the service answers without slow clients")
    status = served(service, server)
    works(status and asks_first(server, times=2) == [status] * 2, "a client that expects a 100 gets one and its answer")
    works(in_chunks(server) == status, "a client that sends chunks is served")
    works(in_chunks(server, b"Trailer: x\r\n", b"x: y\r\n") == status, "the request after the chunks is served too")
    half = b"GET /hea", b"", PROBE[:-2], HEAD + TYPE + b"Content-Length: 1000\r\n\r\n{"
    held_up = partial(holds_up, service, server)
    harm(held_up(*half), "half a request occupies a thread")
    form = HEAD + TYPE + b"Content-Length: 30000\r\n\r\n" + b"x" * 20_000
    harm(held_up(form), "half of a long form occupies a thread")
    odd = [HEAD + TYPE + b"Content-Length:%s1000\r\n\r\n{" % before for before in (b"0" * 9, b" " * 10)]
    harm(held_up(*odd), "half of a form whose length is written differently occupies a thread")
    works(goes_on(server) == [b"200"] * SLOW, "a client with a long form continues on the same connection")
    harm(held_up(LONG + b"x" * 70_000), "half of the longest form occupies all threads")
    harm(not form_is_answered(service, server), "an ordinary form waits for the longest ones")
    whole = service.raw(server, LONG + b"x" * 900_000)[9:12]
    works(whole in (b"400", b"413"), "the whole request is read and refused")
    harm(held_up(PROBE[:-2] + b"X-Long: " + b"x" * 70_000), "endless headers occupy a thread")
    harm(held_up(CHUNKED, CHUNKED + b"5\r\nabc", CHUNKED + b"0\r\n"), "announced chunks that never come hold a thread")
    pretending = CHUNKED + b"fff\r\nabc\r\n0\r\n\r\n", CHUNKED + b"0000000000fff\r\n0\r\n\r\n"
    harm(held_up(*pretending), "a false last chunk occupies a thread")
    harm(held_up(HEAD + TYPE + EXPECT + b"Content-Length: 1000\r\n\r\n"), "a client that awaits a 100 holds a thread")
    harm(held_up(PROBE, answer=b"HTTP/1.1 200 "), "a client that does not close blocks the main loop")
    assert "Traceback" not in server.output
    assert "Socket error" not in server.output


class Looked(bytes):
    """The bytes that a client has sent so far, and how many of them were scanned."""

    at = 0

    def find(self, wanted: Any, start: Any = None, end: Any = None) -> int:
        Looked.at += len(self) - (start or 0)
        return super().find(wanted, start, end)


class CountingPattern:
    """A pattern, and how many bytes it has scanned."""

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
    """Scanning is in the main loop: fifty clients that send single bytes behind a long head would stop all others."""
    worker = service.module("server.worker")
    for name in ("_CHUNKED", "_LENGTH", "_SIZE", "_EXPECTS"):
        monkeypatch.setattr(worker, name, CountingPattern(getattr(worker, name)))

    def looked_at(begun: bytes, piece: bytes) -> tuple[int, list[bool]]:
        Looked.at, said = 0, []
        with socket.socket() as unused:
            reader = worker._Unreader(unused)
            reader.begin()
            for number in range(ONE_AT_A_TIME):
                sent = Looked(begun + piece * number)
                said.append(reader.waits_for_leave(sent) or reader.is_gathered(sent))
        return Looked.at, said

    at_once, said = looked_at(LONG_HEAD + b"Content-Length: %d\r\n\r\n" % (ONE_AT_A_TIME - 1), b"x")
    works(said == [False] * (ONE_AT_A_TIME - 1) + [True] and at_once >= len(LONG_HEAD), "the last byte completes it")
    most = 20 * len(LONG_HEAD)
    harm(at_once > most, "the head is scanned again for each byte of the body")
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
        harm(looked > most, f"{what} is scanned again for each byte behind it")


def holds_up(service: Service, server: RealServer, *sent: bytes, answer: bytes = b"") -> bool:
    """Return whether other clients wait while there are more of these clients than threads."""
    with ExitStack() as stack:
        clients = opened(server, stack, *sent)
        if answer:
            [answered(client, PATIENCE) for client in clients[:1]]
        return not nobody_waits(service, server)


def form_is_answered(service: Service, server: RealServer) -> bool:
    """Return whether a 30 KB form in two parts waits while longer ones have all their threads."""
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


def served(service: Service, server: RealServer) -> bytes:
    """Return the status for this body, after checking that it was read."""
    return service.raw(server, HEAD + TYPE + SIZE + b"Connection: close\r\n\r\n" + BODY)[9:12]


def asks_first(server: RealServer, times: int) -> list[bytes]:
    """Return the statuses for a client that sends its body after a 100, on one connection."""
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
    """Return the statuses of short requests behind a long one."""
    statuses = []
    with connect(server) as client:
        client.sendall(LONG.replace(b"Connection: close\r\n", b"") + b"x" * 900_000)
        assert answered(client, WITHIN, END)[9:12] in (b"400", b"413")
        for _ in range(SLOW):
            client.sendall(PROBE.replace(b"Connection: close\r\n", b""))
            statuses.append(answered(client, WITHIN, b"\r\n\r\nok")[9:12])
    return statuses


def in_chunks(server: RealServer, header: bytes = b"", trailer: bytes = b"") -> bytes:
    """Return the status for a client that sends its body in pieces."""
    with connect(server) as client:
        client.sendall(CHUNKED[:-2] + header + b"Connection: close\r\n\r\n")
        for start in range(0, len(BODY), 20):
            piece = BODY[start : start + 20]
            client.sendall(b"%x;a=b\r\n%s\r\n" % (len(piece), piece))
        client.sendall(b"0\r\n" + trailer)
        client.sendall(b"\r\n")
        return answered(client, WITHIN)[9:12]


PATIENT = "            self.settimeout(max(self.patience, 0.001))\n"


@protects(ROW, read=edit(WORKER, PATIENT, "            self.settimeout(None)\n"))
@protects(ROW, trickle=edit(WORKER, PATIENT, "            self.settimeout(ANSWER_SECONDS)\n"))
def test_clients_that_do_not_read_their_answers_hold_nobody_up(service: Service) -> None:
    """One second instead of ten for each MiB, and public answers of 8 MiB: larger than those of a new service."""
    worker = service.module("server.worker")
    assert (worker.ANSWER_SECONDS, worker.PIECE_BYTES, worker.READ_SECONDS) == (10.0, 2**20, 10.0)
    server = service.real_server(first=ADDS_LARGE)
    for path in (b"/large", b"/long"):
        with connect(server, room=65_536) as slow:
            slow.sendall(asks_for(path))
            began, received = monotonic(), 0
            while part := slow.recv(65_536):
                received += len(part)
                sleep(max(0.0, began + received / (6 * 2**20) - monotonic()))  # 6 MiB a second, however busy it is here
        works(received > LARGE, f"a client that reads {path!r} slowly, for over a second, gets everything")
    with ExitStack() as stack:
        for _ in range(SLOW):
            stack.enter_context(connect(server, room=4096)).sendall(asks_for(b"/large"))
        harm(not nobody_waits(service, server), "clients that read nothing occupy all threads")
    with ExitStack() as stack:
        for _ in range(SLOW):
            client = stack.enter_context(connect(server, room=4096))
            client.sendall(asks_for(b"/long"))
            stack.enter_context(slow_reader(client))  # 80 kB a second
        sleep(0.5)  # until all threads have something to do
        waited = not nobody_waits(service, server)
    harm(waited, "slow readers occupy all threads")
    assert "Traceback" not in server.output
    assert "Socket error" not in server.output


LINE, FIELDS, FIELD = "limit_request_line = 4094", "limit_request_fields = 100", "limit_request_field_size = 8190"


@protects(
    ROW,
    line=edit(SERVER, LINE, LINE.replace("4094", "0")),
    fields=edit(SERVER, FIELDS, FIELDS.replace("100", "32_768")),
    field=edit(SERVER, FIELD, FIELD.replace("8190", "65_536")),
)
def test_nobody_sends_a_long_line_or_many_or_large_headers(service: Service) -> None:
    """The server reads and keeps every byte of them before the application can refuse the request."""
    server = service.real_server()

    def status(*fields: bytes, line: int = 0) -> bytes:
        query = b"?" + b"x" * line if line else b""
        head = PROBE.replace(b"/healthz", b"/healthz" + query)
        return service.raw(server, head[:-2] + b"".join(one + b"\r\n" for one in fields) + b"\r\n")[9:12]

    def many(number: int) -> list[bytes]:
        return [b"X-%d: x" % one for one in range(number)]

    works(status(line=4000) == b"200", "a line of four thousand bytes is accepted")
    works(status(*many(95)) == b"200", "nearly a hundred fields are accepted")
    works(status(b"X-Long: " + b"x" * 8000) == b"200", "a field of eight thousand bytes is accepted")
    long, several, large = status(line=4100), status(*many(100)), status(b"X-Long: " + b"x" * 8200)
    harm(long == b"200", "a longer line was accepted")
    harm(several == b"200", "more fields were accepted")
    harm(large == b"200", "a larger field was accepted")
    assert (long, several, large) == (b"414", b"431", b"431")
    assert "Traceback" not in server.output


@protects(
    "server-limits", bind=edit("start/guards.py", "if start.settings.proxy_hops == 0 and not", "if False and not")
)
def test_the_service_is_unreachable_past_its_tls_proxy(service: Service) -> None:
    behind = {"BASTION_PROXY_HOPS": "1", "BASTION_TRUSTED_PROXIES": "10.0.0.0/8"}
    without = {"BASTION_PROXY_HOPS": "0", "BASTION_TRUSTED_PROXIES": None}
    works(service.start(BASTION_BIND="0.0.0.0:8000", **behind).app is not None, "the service starts behind a proxy")
    for here in ("127.0.0.1:8000", "[::1]:8000", "unix:/run/service.sock"):
        works(service.start(BASTION_BIND=here, **without).app is not None, f"without a proxy it starts at {here}")
    for open_port in ("0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000", ":8000"):
        tried = service.start(BASTION_BIND=open_port, **without)
        harm(tried.app is not None, f"other machines can send passwords without TLS to {open_port}")
        assert [reason.partition(" ")[0] for reason in tried.reasons] == ["BASTION_BIND"]


# --- what the server itself says ----------------------------------------------------------------------------------

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
    """Checks gunicorn's own reading of the settings, because waiting for each timeout would take minutes."""
    made, ours = import_module("gunicorn.config").Config(), vars(service.module("server.gunicorn"))
    known = [name for name in made.settings if name in ours]
    for name in known:
        made.set(name, ours[name])
    works({*BOUNDS, "bind", "worker_class"} <= {*known}, "the server reads the settings")
    beyond = {name: made.settings[name].get() for name in BOUNDS}
    harm(
        {name: value for name, value in beyond.items() if not BOUNDS[name][0] <= value <= BOUNDS[name][1]},
        "the server has a missing or too short timeout",
    )
    harm(not made.control_socket_disable, "the server accepts commands through a socket in the home folder")
    tolerant = ("permit_obsolete_folding", "strip_header_spaces", "casefold_http_method")
    assert not [name for name in tolerant if made.settings[name].get()]
    assert made.settings["header_map"].get() == "drop"


LOGS_MAX_REQUESTS = """
import os
from gunicorn.workers.base import Worker
os.environ["WEB_CONCURRENCY"] = "{workers}"
import {package}.bastion.server.gunicorn
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
    """Refused requests count too: an attacker would keep all clients waiting for the worker's replacement."""
    limits = []
    for workers in (1, 2):
        server = service.real_server(first=LOGS_MAX_REQUESTS.format(package=PACKAGE, workers=workers))
        works(service.raw(server, PROBE).startswith(b"HTTP/1.1 200 "), f"a server with {workers} workers answers")
        limits.append([int(one) for one in re.findall("max requests: ([0-9]+)", server.output)])
    only, several = limits
    harm([limit for limit in only if limit < sys.maxsize], "requests end the only worker")
    harm([limit for limit in several if not 2_000 <= limit <= 50_000], "workers restart never or too often")
    assert len(only) == 1
    assert several


@protects(ROW, room=edit(WORKER, "        self.make_room()\n", ""))
def test_a_crowd_that_is_idle_after_a_request_keeps_nobody_out(service: Service) -> None:
    """A worker here takes sixty clients instead of a thousand, and none of them has to hurry."""
    first = (
        f"from {PACKAGE}.bastion.server import gunicorn, worker; worker.READ_SECONDS = 60.0; gunicorn.keepalive = 60"
    )
    server = service.real_server(first=f"{first}; gunicorn.worker_connections = 60")
    works(nobody_waits(service, server), "the service answers without slow clients")
    with ExitStack() as stack:
        for _ in range(70):
            stack.enter_context(connect(server)).sendall(PROBE[:-2])
        harm(not nobody_waits(service, server), "clients with half-sent requests kept other clients out")
    with ExitStack() as stack:
        for _ in range(70):
            client = stack.enter_context(connect(server))
            client.sendall(PROBE.replace(b"Connection: close\r\n", b""))
            assert answered(client, PATIENCE, b"ok").startswith(b"HTTP/1.1 200 ")
        harm(not nobody_waits(service, server), "idle clients locked others out")
    assert "Traceback" not in server.output


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
def test_a_request_that_can_be_read_in_any_two_ways_is_not_read(service: Service) -> None:
    server = service.real_server()
    hidden = PROBE.replace(b"/healthz", b"/readyz")
    head = HEAD.replace(PATH.encode(), b"/healthz")
    one = service.raw(server, head + b"Content-Length: 5\r\n\r\nabcde" + hidden)
    works(one.count(b"HTTP/1.1 ") == 2, "two requests on one connection get two answers")
    answers = {name: service.raw(server, head + rest + hidden) for name, rest in TWO_MEANINGS.items()}
    harm([name for name, answer in answers.items() if answer[9:12] != b"400"], "the server read an ambiguous request")
    assert {answer.count(b"HTTP/1.1 ") for answer in answers.values()} == {1}  # and what follows is not read at all
    assert "Traceback" not in server.output


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
    unread=(
        edit(WORKER, " and not conn.parser.unreader.is_cut", ""),
        edit(WORKER, " or self.req.unreader.is_cut", ""),
    ),
    stray=(
        edit(WORKER, "        with suppress(errors.ParseException):", "        with suppress():"),
        edit(WORKER, " or self.req.body.failed", ""),
    ),
    close=edit(WORKER, " or self.req.unreader.is_cut", ""),
    faulty=edit(WORKER, " or self.req.body.failed", ""),
)
def test_nothing_is_answered_behind_any_unfinished_body(service: Service) -> None:
    """The proxy would send a second answer to the next client that uses this connection."""
    first = f"from {PACKAGE}.bastion.server import gunicorn, worker; worker.READ_SECONDS = 2.0; gunicorn.keepalive = 60"
    server = service.real_server(first=first)
    whole = UNREAD % b"Content-Length: 5\r\n" + b"abcde", UNREAD % b"Transfer-Encoding: chunked\r\n" + b"0\r\n\r\n"
    works(all(service.raw(server, one + PROBE).count(b"HTTP/1.1 ") == 2 for one in whole), "requests follow bodies")
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
    harm(
        [name for name, answer in answers.items() if answer.count(b"HTTP/1.1 ") > 1],
        "a body's rest was read as a request",
    )
    assert kept == []
    assert {answer[9:12] for answer in answers.values()} == {b"400"}
    announced = [answer for answer in [*answers.values()][:2] if b"Connection: keep-alive" in answer]
    harm(announced, "the connection stays open after an unfinished body")
    assert "Traceback" not in server.output


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
    """Return the server's refusals of these requests."""
    return [Response.parse(service.raw(server, request.encode())) for request in UNREADABLE]


@protects(
    "headers-on-every-response",
    server=edit(WORKER, "    def handle_error(self, _req: Any", "    def never_called(self, _req: Any"),
)
def test_refusals_of_the_server_have_the_security_headers(service: Service) -> None:
    server = service.real_server()
    works(service.raw(server, PROBE).startswith(b"HTTP/1.1 200 "), "a readable request is answered")
    answers = said_by_the_server(service, server)
    harm([wrong for answer in answers if (wrong := faults(service, answer))], "a server refusal lacks security headers")
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
def test_no_page_and_no_refusal_tells_what_sent_it(service: Service) -> None:
    server = service.real_server()
    requests = *(asks_for(path) for path in (b"/nowhere", b"/", PATH.encode())), PROBE
    asked = [Response.parse(service.raw(server, one)) for one in requests]
    works(asked[0].status == 404, "the service answers")
    answers = [*asked, *said_by_the_server(service, server)]
    telling = [header for answer in answers for header in answer.headers if header[0] in (*TELLING, "Via")]
    harm(telling, "an answer names the server software")
    libraries = "flask", "werkzeug", "gunicorn", "jinja2", "sqlalchemy"
    versions = {python_version(), *(version(name) for name in libraries)}
    said = [f"{answer.headers} {answer.text}" for answer in answers]
    harm([text for text in said if any(one in text for one in versions)], "an answer reveals a version")
    assert [answer.headers for answer in answers if "gunicorn" in f"{answer.headers}".lower()] == []


def asked(app: Flask) -> tuple[str, str]:
    """Return the scheme and address that the service sees for a peer without an address."""
    said = {"HTTP_X_FORWARDED_FOR": "198.51.100.7", "HTTP_X_FORWARDED_PROTO": "https", "REMOTE_ADDR": ""}
    environ = create_environ("/", f"http://{HOST}", environ_overrides=said)
    for _ in app.wsgi_app(environ, lambda *_: lambda _: None):
        pass
    return environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]
