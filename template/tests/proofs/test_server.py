"""The server in front of everything: slow clients stop nobody, its own log tells no secret, and it keeps its limits.

These are tests of the real gunicorn, no proofs of a protection's row.
"""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from select import select
from typing import TYPE_CHECKING

from werkzeug.test import create_environ

from .logins import PATH
from .service import AUTH, PACKAGE
from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    from flask import Flask

    from .real_server import RealServer
    from .running import Service

SLOW = 9  # clients; one more than there are threads
PROBE = b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n".encode()
TYPE = b"Content-Type: application/%s\r\n" % (b"x-www-form-urlencoded" if AUTH == "session" else b"json")
TYPE += f"Origin: {ORIGIN}\r\nSec-Fetch-Site: same-origin\r\n".encode()
KEY = "KdzoD-9sRkP3"


def connect(server: RealServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


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


def test_no_client_however_slow_or_odd_stops_the_others(service: Service) -> None:
    """One server for all of them, in turn: starting one takes longer than any of these."""
    # Two seconds instead of ten: the limit is the same line of code.
    server = service.real_server(first=f"from {PACKAGE}.bastion import worker; worker.READ_SECONDS = 2.0")
    slow_to_send_holds_no_thread(service, server)
    never_closing_does_not_hold_the_main_loop(service, server)
    taking_ones_time_is_answered(service, server)
    several_requests_on_one_connection_are_answered(service, server)
    too_long_or_cut_off_gets_no_patience(service, server)
    the_servers_own_log_is_json_and_quotes_no_request(service, server)
    a_thread_is_lost_to_nobody_who_sends_no_more(service, server)


def slow_to_send_holds_no_thread(service: Service, server: RealServer) -> None:
    with ExitStack() as stack:
        slow = (b"GET /hea", b"", PROBE[:-2], HEAD + TYPE + b"Content-Length: 1000\r\n\r\n{")
        opened(server, stack, *slow)
        assert service.raw(server, PROBE, seconds=4).startswith(b"HTTP/1.1 200 ")


def a_thread_is_lost_to_nobody_who_sends_no_more(service: Service, server: RealServer) -> None:
    chunked = HEAD + TYPE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"
    long = HEAD + TYPE + b"Content-Length: 900000\r\n\r\n" + b"x" * 70_000
    expecting = HEAD + TYPE + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
    with ExitStack() as stack:
        opened(server, stack, chunked, long, expecting)
        # Two seconds, and the queue of eight threads.
        assert service.raw(server, PROBE, seconds=5).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in server.output
    assert "Socket error" not in server.output


def never_closing_does_not_hold_the_main_loop(service: Service, server: RealServer) -> None:
    with ExitStack() as stack:
        for client in opened(server, stack, PROBE):
            assert answered(client, 4).startswith(b"HTTP/1.1 200 ")
        assert service.raw(server, PROBE, seconds=4).startswith(b"HTTP/1.1 200 ")


def taking_ones_time_is_answered(service: Service, server: RealServer) -> None:
    body = b'{"identifier": "ada@probe.example", "password": "wrong but long enough"}'
    request = HEAD + TYPE + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    at_once = service.raw(server, request)
    assert at_once[9:12].isdigit()
    with connect(server) as client:
        for start in range(0, len(request), 40):
            client.sendall(request[start : start + 40])
            if start + 40 < len(request):
                # Nothing comes before the request is whole: that is the pause between two pieces.
                assert select([client], [], [], 0.1)[0] == []
        assert answered(client, 5)[9:12] == at_once[9:12]


def several_requests_on_one_connection_are_answered(service: Service, server: RealServer) -> None:
    kept = PROBE.replace(b"Connection: close\r\n", b"")
    assert service.raw(server, kept + kept + PROBE).count(b"HTTP/1.1 200 ") == 3
    with connect(server) as client:
        for _ in range(3):
            client.sendall(kept)
            assert answered(client, 5, b"\r\n\r\nok").startswith(b"HTTP/1.1 200 ")


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
    broken = (
        f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization Bearer {KEY}\r\n\r\n",
        f"GET  /?token={KEY} x y HTTP/1.1\r\n\r\n",
        f"GET /?token={KEY} HTTP/9.9\r\n\r\n",
    )
    for request in broken:
        assert service.raw(server, request.encode()).startswith(b"HTTP/1.1 400 ")
    assert KEY not in server.output
    entries = [json.loads(line) for line in server.output.splitlines()]
    told = [one["event"] for one in entries if one["level"] == "warning" and one["logger"] == "gunicorn.error"]
    assert told[-3:] == [
        f"Invalid request from ip=127.0.0.1: {kind}"
        for kind in ("InvalidHeader", "InvalidRequestLine", "InvalidHTTPVersion")
    ]
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
