"""Unit tests beside the proofs in test_server.py."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import ExitStack
from select import select
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..edges.test_server import BODY, EXPECT, LARGE, SIZE, UNREADABLE, asked, opened, said_by_the_server
from ..header_table import faults
from ..service import PACKAGE
from ..test_server import (
    CHUNKED,
    HEAD,
    KEY,
    PROBE,
    TYPE,
    WITHIN,
    answered,
    connect,
    nobody_waits,
)
from ..wire import ORIGIN, Response

if TYPE_CHECKING:
    from ..real_server import RealServer
    from ..running import Service


TYPE += f"Origin: {ORIGIN}\r\nSec-Fetch-Site: same-origin\r\n".encode()
IN_CHUNKS = b"5\r\nabc\r\n\r\n1e;x=y\r\n" + b"\r\n0\r\n\r\n".ljust(30, b"x") + b"\r\n0\r\n"


def test_a_thread_is_used_with_the_last_byte_of_a_short_request_and_not_before(service: Service) -> None:
    worker: Any = service.module("server.worker")

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
        unreader: Any = service.module("server.worker")._Unreader(ours)
        client.sendall(b"in time")
        unreader.begin()
        assert unreader.chunk() == b"in time"
        unreader.deadline = monotonic() + 0.01
        assert unreader.chunk() == b""  # whoever sends no more is waited for until then
        client.sendall(b"too late")
        for late in (0.1, 60.0):
            unreader.deadline = monotonic() - late
            assert unreader.chunk() == b""


# --- what the server itself says ----------------------------------------------------------------------------------


def test_a_fault_of_the_servers_own_leaves_like_every_other_answer(service: Service) -> None:
    """None is known, so the worker is given one."""
    module = service.module("server.worker")
    worker = object.__new__(module.Worker)
    worker.wsgi, worker.log = service.app, service.module("log").get_logger("server")
    client, server = socket.socketpair()
    with client, server:
        worker.handle_error(None, server, ("192.0.2.1", 1), RuntimeError("no file is left"))
        answer = Response.parse(client.recv(LARGE))
    assert (answer.status, faults(service, answer)) == (500, [])
    assert "no file is left" not in answer.text
    assert (service.log[-1]["event"], service.log[-1]["level"]) == ("Error handling request", "error")


def test_clients_that_are_odd_or_patient_are_answered(service: Service) -> None:
    """One server for all of them, in turn: starting one takes longer than any of these."""
    server = service.real_server(first=f"from {PACKAGE}.bastion.server import worker; worker.READ_SECONDS = 5.0")
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


def test_nothing_in_the_environment_overrides_the_servers_limits(service: Service) -> None:
    assert service.start(GUNICORN_CMD_ARGS=None).app is not None
    refusal = service.start(GUNICORN_CMD_ARGS="--workers 4 --limit-request-line 0")
    assert [reason.partition(" ")[0] for reason in refusal.reasons] == ["GUNICORN_CMD_ARGS"]
    assert "--workers" not in refusal.text
