"""SSRF: an address that a user names leads this service to no private host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from .harness import edit, harm, protects, works

if TYPE_CHECKING:
    from .running import Service

ROW = "outbound-requests-guarded"
PUBLIC, INSIDE = "93.184.215.14", "169.254.169.254"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\n\r\na page"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://private.example/\r\n\r\n"


@contextmanager
def internet(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> Iterator[tuple[list[str], dict[str, bytes]]]:
    """Resolve `<name>.example` to its addresses, one after another. Yield the reached ones, and what each answers."""
    resolve, connections, reached = socket.getaddrinfo, ExitStack(), list[str]()
    answers: dict[str, bytes] = {}

    def resolved(name: Any, *more: Any, **further: Any) -> Any:
        left = names.get(str(name).removesuffix(".example"), [name])
        found = left.pop(0) if len(left) > 1 else left[0]
        return [entry for address in found.split() for entry in resolve(address, *more, **further)]

    def connect(address: tuple[str, int], *_more: Any) -> socket.socket:
        reached.append(resolved(*address)[0][4][0])
        ours, theirs = socket.socketpair()
        connections.enter_context(theirs).sendall(answers.get(reached[-1], PAGE))
        theirs.shutdown(socket.SHUT_WR)
        return ours

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(socket, "create_connection", connect)
    with connections:
        yield reached, answers


def fetched(service: Service, url: str, **more: Any) -> Any:
    """Return the answer to the service's own request."""
    with service.app.app_context():
        return service.module().safe_fetch(url, **more)


@protects(
    ROW,
    address=edit("request/outbound.py", "not found or not all(_is_public(ip_address(a)) for a in found)", "not found"),
    redirect=edit(
        "request/outbound.py",
        "            return location\n",
        "            import urllib.request\n\n"
        "            followed = urllib.request.urlopen(urljoin(parts.geturl(), location))\n"
        '            return Fetched(200, "", followed.read())\n',
    ),
    rebinding=edit("request/outbound.py", "create_connection((found[-1], port)", "create_connection((host, port)"),
)
def test_users_reach_no_private_host_through_the_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    error = service.module().FetchError
    with internet(monkeypatch, public=[PUBLIC], private=[INSIDE], rebinding=[PUBLIC, INSIDE]) as (reached, answers):
        monkeypatch.setenv("http_proxy", f"http://{INSIDE}")
        answer = fetched(service, "http://public.example/a page")
        works((answer.status, answer.media_type, answer.body) == (200, "text/plain", b"a page"), "a page is fetched")
        for url in (f"http://{INSIDE}/", "http://private.example/", "http://127.1/", "http://rebinding.example/"):
            with suppress(error):
                fetched(service, url)
            harm({*reached} - {PUBLIC}, f"a user reached a private host by {url}")
        answers[PUBLIC] = REDIRECT
        with suppress(error):
            fetched(service, "http://public.example/")
        harm({*reached} - {PUBLIC}, "a user reached a private host by a redirect")
        for url in ("http://private.example/", "http://public.example/", "http://rebinding.example/"):
            with pytest.raises(error, match=r"^The address leads to no public host\.$"):
                fetched(service, url)
