"""Edges of the proofs in test_outbound.py: further attacks on the same protection."""

from __future__ import annotations

import functools
import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from ..harness import edit, harm, protects, works
from ..outbound import INSIDE, PUBLIC, REDIRECT, attempt, fetched, internet
from ..test_outbound import ROW

if TYPE_CHECKING:
    from pathlib import Path

    from ..running import Service

FILE = "request/outbound.py"
URL, SECURE = "http://public.example/", "https://public.example/"
PRIVATE = "The address leads to no public host."
UNANSWERED = "The host gave no valid answer in time."
NOT_PUBLIC = (
    *("10.0.0.5", "172.16.0.1", "192.168.0.1", INSIDE, "100.64.0.1", "127.0.0.1", "0.0.0.0", "198.18.0.1"),  # noqa: S104
    *("224.0.0.1", "240.0.0.1", "192.88.99.1", "::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff0e::1", "2001:db8::1"),
    *(
        "3fff::1",
        "2001::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::1",
    ),
)
REFUSED = (
    *("http://public.example:25/", "http://public.example:8000/", "http://user@public.example/", "http:///", ""),
    *("ftp://public.example/", "file:///etc/passwd", "gopher://public.example/", "//public.example/", "public.example"),
    *("http://public.example:x/", "http://[::1/", "http://@public.example/", f"http://public.example/{'x' * 2048}"),
)


def error(service: Service, url: str, **more: Any) -> str:
    """Return the text with which the address is refused."""
    with pytest.raises(service.module().FetchError) as caught:
        fetched(service, url, **more)
    return str(caught.value)


@protects(
    ROW,
    mapped=edit(FILE, "address.version == 4 or address in GLOBAL_UNICAST", "True"),
    gaps=edit(FILE, "any(address in network for network in NOT_PUBLIC) or ", ""),
    multicast=edit(FILE, "address.is_multicast or ", ""),
)
def test_no_address_that_is_not_public_is_reached(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with internet(service, monkeypatch, public=[PUBLIC], private=[*NOT_PUBLIC]) as (reached, _):
        works(fetched(service, URL).status == 200, "a public page is fetched")
        for address in NOT_PUBLIC:
            attempt(service, "http://private.example/")
            harm(reached[1:], f"{address} was reached")
        for address in NOT_PUBLIC:
            assert error(service, f"http://[{address}]/" if ":" in address else f"http://{address}/") == PRIVATE


@protects(ROW, mixed=edit(FILE, "not all(_is_public", "not any(_is_public"))
def test_a_name_with_one_private_address_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = [f"{PUBLIC} {INSIDE}", f"{INSIDE} {PUBLIC}"]
    with internet(service, monkeypatch, public=[PUBLIC], mixed=mixed) as (reached, _):
        works(fetched(service, URL).status == 200, "a public page is fetched")
        for _ in range(2):
            attempt(service, "http://mixed.example/")
        harm(reached[1:], "a name with a private address was connected to")
        # The same error for a name that does not exist: it reveals no internal name.
        assert {error(service, url) for url in ("http://mixed.example/", "http://a.invalid/")} == {PRIVATE}


@protects(
    ROW,
    port=edit(FILE, "(parts.port or PORTS[parts.scheme]) in ports", "True"),
    credentials=edit(FILE, ' and "@" not in parts.netloc', ""),
)
def test_only_plain_web_addresses_are_fetched(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with internet(service, monkeypatch, public=[PUBLIC]) as (reached, _):
        works(fetched(service, URL).status == 200, "a public page is fetched")
        works(fetched(service, URL.replace("e/", "e:8080/"), ports={8080}).status == 200, "a declared port is used")
        for url in REFUSED:
            attempt(service, url)
            harm(reached[2:], f"the service asked {url}")
            assert error(service, url).startswith("Name an http or https address")


@protects(ROW, hops=edit(FILE, "range(MAX_REDIRECTS + 1)", "range(20)"))
def test_no_redirect_is_followed_for_ever(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with internet(service, monkeypatch, public=[PUBLIC], private=["93.184.215.15"]) as (reached, answers):
        answers[PUBLIC] = REDIRECT
        works(fetched(service, URL).body == b"a page", "a redirect is followed")
        answers["93.184.215.15"] = REDIRECT
        attempt(service, URL)
        harm(reached[2 + 4 :], "more than three redirects were followed")
        assert error(service, URL) == "The address redirects more than 3 times."


@protects(
    ROW,
    size=edit(FILE, "    if len(body) > max_bytes:", "    if False:"),
    time=edit(FILE, "        self._connection.settimeout(_left(self._deadline))\n", ""),
)
def test_size_and_time_of_an_answer_are_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with internet(service, monkeypatch, public=[PUBLIC]) as (_, answers):
        answers[PUBLIC] = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 50_000
        works(len(fetched(service, URL, max_bytes=50_000).body) == 50_000, "a page of the size limit is fetched")
        harm(attempt(service, URL, max_bytes=49_999), "a larger body was read")
        assert error(service, URL, max_bytes=49_999) == "The answer is larger than 49999 bytes."
        clock = itertools.count(0, 4)  # seconds: a server that takes four for each part of its answer
        monkeypatch.setattr(service.module("request.outbound"), "seconds", lambda: next(clock))
        harm(attempt(service, URL), "a slow answer was read for longer than ten seconds")
        assert error(service, URL) == UNANSWERED


def test_a_broken_answer_is_an_error(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with internet(service, monkeypatch, public=[PUBLIC]) as (_, answers):
        for answer in (b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"):
            answers[PUBLIC] = answer
            assert error(service, URL) == UNANSWERED


# --- TLS -----------------------------------------------------------------------------------------------------------


class Host(HTTPServer):
    """A web server with TLS on this machine; each answer redirects if there is a `location`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.location, self.asked = "", 0
        self.socket = context.wrap_socket(self.socket, server_side=True)


class Conversation(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(302 if self.server.location else 200)
        self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, *_more: Any) -> None:
        """Print nothing."""


@contextmanager
def host(monkeypatch: pytest.MonkeyPatch, context: ssl.SSLContext) -> Iterator[Host]:
    """Run the server at PUBLIC."""
    elsewhere, connect = socket.create_connection, socket.socket.connect
    with Host(context) as server:

        def reach(address: tuple[str, int], *_more: Any) -> socket.socket:
            if address[0] != PUBLIC:
                return elsewhere(address)
            made = socket.socket()
            connect(made, ("127.0.0.1", server.server_port))
            return made

        monkeypatch.setattr(socket, "create_connection", reach)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def certified(name: str = "public.example", *, ca: trustme.CA, expired: bool = False) -> ssl.SSLContext:
    """Return a server's TLS with a certificate of this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name, not_after=datetime(2020, 1, 1, tzinfo=UTC) if expired else None).configure_cert(context)
    return context


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    """Return an authority that this process trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


@protects(ROW, tls=edit(FILE, "ssl.create_default_context()", "ssl._create_unverified_context()"))
def test_certificates_are_verified(service: Service, monkeypatch: pytest.MonkeyPatch, ca: trustme.CA) -> None:
    shown = certified(ca=ca)
    wrong = {
        "another name": certified("other.example", ca=ca),
        "another authority": certified(ca=trustme.CA()),
        "expired": certified(ca=ca, expired=True),
    }
    with internet(service, monkeypatch, public=[PUBLIC]), host(monkeypatch, shown) as server:
        works(fetched(service, SECURE).status == 200, "a public page is fetched over TLS")
        for name, context in wrong.items():
            shown.sni_callback = functools.partial(show, context)
            attempt(service, SECURE)
            harm(server.asked > 1, f"a server with a wrong certificate was asked: {name}")
            assert error(service, SECURE) == UNANSWERED


def show(context: ssl.SSLContext, connection: ssl.SSLObject, *_more: object) -> None:
    """Show another certificate."""
    connection.context = context


@protects(ROW, downgrade=edit(FILE, 'parts.scheme == "https" and not', "False and not"))
def test_no_redirect_leads_from_https_to_http(
    service: Service, monkeypatch: pytest.MonkeyPatch, ca: trustme.CA
) -> None:
    with (
        internet(service, monkeypatch, public=[PUBLIC], plain=["93.184.215.15"]) as (reached, _),
        host(monkeypatch, certified(ca=ca)) as server,
    ):
        works(fetched(service, SECURE).status == 200, "a public page is fetched over TLS")
        server.location = "http://plain.example/"
        attempt(service, SECURE)
        harm(reached, "a redirect led to a connection without TLS")
        assert error(service, SECURE) == "The address redirects from https to http."
