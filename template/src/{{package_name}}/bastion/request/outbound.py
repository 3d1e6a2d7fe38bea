"""SSRF protection: fetch an address that a user names from public hosts only.

It stops users from reading internal services or cloud metadata through this service: by a private address, a name that
resolves to one, DNS rebinding, or a redirect. Each name is resolved once and the checked address is connected to.
http.client reads no proxy settings and keeps no cookies. Source: ASVS 1.3.6, 15.3.2; CWE-918; RFC 6890.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from ..clock import seconds
from ..state import state

MAX_BYTES: Final = 1_048_576
MAX_REDIRECTS: Final = 3
MAX_URL: Final = 2048  # characters
TIMEOUT: Final = 10.0  # seconds, for all redirects together
PORTS: Final = {"http": 80, "https": 443}
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
GLOBAL_UNICAST: Final = ip_network("2000::/3")  # outside: IPv4-mapped, NAT64, link-local, unique local, multicast
# 6to4 and its relays, and addresses for documentation: some versions of Python count them as global.
NOT_PUBLIC: Final = tuple(ip_network(text) for text in ("192.88.99.0/24", "2002::/16", "3fff::/20"))
_PRINTABLE: Final = "!#$%&'()*+,/:;=?@[]~"


class FetchError(Exception):
    """The address is refused, or gave no usable answer. The text is safe to show: it names no address."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer: its status, media type without parameters in lower case, and body."""

    status: int
    media_type: str
    body: bytes = field(repr=False)


def safe_fetch(
    url: str, *, max_bytes: int = MAX_BYTES, timeout: float = TIMEOUT, ports: Collection[int] = tuple(PORTS.values())
) -> Fetched:
    """GET `url` from a public host, without credentials, cookies or proxy, and follow at most three redirects.

    `timeout` in seconds bounds everything but the name's resolution, which the system's resolver bounds. A body above
    `max_bytes` is an error. Raises FetchError; a status such as 404 is an answer.
    """
    deadline = seconds() + timeout
    for _ in range(MAX_REDIRECTS + 1):
        try:
            parts = _parsed(url, ports)
            found = _get(parts, deadline, max_bytes)
        except (OSError, http.client.HTTPException, ValueError):
            raise FetchError("The host gave no valid answer in time.") from None
        if isinstance(found, Fetched):
            return found
        url = urljoin(url, found)
        if parts.scheme == "https" and not url.lower().startswith("https:"):
            raise FetchError("The address redirects from https to http.")
    raise FetchError(f"The address redirects more than {MAX_REDIRECTS} times.")


def _parsed(url: str, ports: Collection[int]) -> SplitResult:
    with suppress(ValueError):  # an invalid port or IPv6 address
        parts = urlsplit(url)
        known = parts.scheme in PORTS and parts.hostname and "@" not in parts.netloc and len(url) <= MAX_URL
        if known and (parts.port or PORTS[parts.scheme]) in ports:
            return parts
    raise FetchError("Name an http or https address without a user name, at one of the usual ports.")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if any(address in network for network in NOT_PUBLIC) or address.is_multicast or not address.is_global:
        return False
    return address.version == 4 or address in GLOBAL_UNICAST


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to an address of this name; all of them must be public."""
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError:
        found = []  # the same error as for a private address: it reveals no internal name
    if not found or not all(_is_public(ip_address(a)) for a in found):
        raise FetchError("The address leads to no public host.")
    for address in found[:-1]:
        try:
            return socket.create_connection((address, port), _left(deadline))
        except OSError:  # such as an IPv6 address on a machine without IPv6
            continue
    return socket.create_connection((found[-1], port), _left(deadline))


def _get(parts: SplitResult, deadline: float, max_bytes: int) -> Fetched | str:
    """Return the answer, or the address that it redirects to."""
    host = (parts.hostname or "").encode("idna").decode()
    connection = http.client.HTTPConnection(host, parts.port or PORTS[parts.scheme])
    connection.sock = _connect(host, connection.port, deadline)
    try:
        connection.default_port = PORTS[parts.scheme]  # the Host header names another port only
        if parts.scheme == "https":
            connection.sock.settimeout(_left(deadline))
            connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
        target = quote(f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", safe=_PRINTABLE)
        headers = {"User-Agent": state().service_name, "Accept": "*/*", "Connection": "close"}
        connection.request("GET", target, headers=headers)
        response = http.client.HTTPResponse(_Timed(connection.sock, deadline), method="GET")  # type: ignore[arg-type]
        response.begin()
        location = response.getheader("Location")
        if location and response.status in REDIRECTS:
            return location
        body = response.read(max_bytes + 1)
    finally:
        connection.close()
    if len(body) > max_bytes:
        raise FetchError(f"The answer is larger than {max_bytes} bytes.")
    if response.length:
        raise http.client.IncompleteRead(body)
    return Fetched(response.status, response.headers.get_content_type(), body)


def _left(deadline: float) -> float:
    left = deadline - seconds()
    if left <= 0:
        raise TimeoutError
    return left


class _Timed(io.RawIOBase):
    """Reads of a socket, all before one deadline: the timeout of a socket is for each read, so a trickle never ends."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the stream that HTTPResponse reads."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read once, for at most the time that is left."""
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(buffer)
