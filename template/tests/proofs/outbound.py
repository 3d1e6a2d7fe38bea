"""Hosts of other people for the proofs of safe_fetch: their names, their addresses, and what each answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .running import Service

PUBLIC, INSIDE = "93.184.215.14", "169.254.169.254"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\n\r\na page"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://private.example/\r\n\r\n"


@contextmanager
def internet(
    service: Service, monkeypatch: pytest.MonkeyPatch, **names: list[str]
) -> Iterator[tuple[list[str], dict[str, bytes]]]:
    """Resolve `<name>.example` to its addresses, one after another. Yield the reached ones, and what each answers."""
    resolve, connections, reached = socket.getaddrinfo, ExitStack(), list[str]()
    answers: dict[str, bytes] = {}
    assert service.app is not None  # it starts with a real network: it asks its secrets backend

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


def attempt(service: Service, url: str, **more: Any) -> Any:
    """Return the answer, or None where the service refuses to fetch it."""
    with suppress(service.module().FetchError):
        return fetched(service, url, **more)
    return None
