"""Client address: only trusted proxies may set it, in one canonical spelling; no client header changes it.

A forged X-Forwarded-For gives every guess a new throttle counter and a false address in the audit trail. A forged
X-Forwarded-Proto makes a clear-text request look like https.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple
from wsgiref.types import WSGIEnvironment

from .. import clock, log

CLIENT: Final = "bastion.client"  # environ key of the `Client`
LONGEST_ADDRESS: Final = 60  # characters; the longest real one is an IPv6 address with zone, brackets and port
CACHED: Final = 4096  # parsed texts kept; each is at most LONGEST_ADDRESS long, so the cache stays below 2 MiB
LOG_EVERY: Final = 60.0  # seconds between two lines about unreadable addresses, so that junk can't fill the log
# settle() reads two of these from a trusted proxy, then removes all: code inside can't trust a missing header.
FORGEABLE: Final = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_X_FORWARDED_SCHEME",
    "HTTP_X_FORWARDED_SSL",
    "HTTP_X_FORWARDED",
    "HTTP_FORWARDED",
    "HTTP_X_REAL_IP",
    "HTTP_X_CLIENT_IP",
    "HTTP_X_CLUSTER_CLIENT_IP",
    "HTTP_CF_CONNECTING_IP",
    "HTTP_TRUE_CLIENT_IP",
)


class Client(NamedTuple):
    """The client: canonical address, its network (which is counted), and for IPv6 also the counted /48 around it."""

    address: str
    network: str
    wide: str | None = None


# A unix socket has no address: all its clients are one.
LOCAL: Final = Client("", "local")


@lru_cache(maxsize=CACHED)
def _parse(text: str) -> Client | None:
    text = text.strip()
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port[0] == ":" and port[1:].isdecimal())):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdecimal():
            return None
    try:
        address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            # One customer usually holds a whole /64, often a /48: a counter of single addresses would never fill.
            wide = f"{IPv6Address(int(address) >> 80 << 80)}/48"
            return Client(str(address), f"{IPv6Address(int(address) >> 64 << 64)}/64", wide)
        address = address.ipv4_mapped
    return Client(str(address), str(address))


def parse(text: str) -> Client | None:
    """Return the client that an address text names, or None if it names none.

    Port, brackets, zone and the mapped form `::ffff:a.b.c.d` are removed, so that no spelling counts as a second
    client. Source: RFC 4291, 2.5.5.2; RFC 6177 (size of a site); ASVS 2.4.1.
    """
    return _parse(text) if len(text) <= LONGEST_ADDRESS else None


class ProxyRule:
    """Determines client and scheme from the TCP peer and, if that is a trusted proxy, from the headers it added.

    `hops` counts the proxies in front (0 to 3). The outermost of them wrote entry number `hops` from the right.
    `networks` are the proxies' own; `unix_socket` trusts the peer on a unix socket as one of them. Source: RFC 7239,
    8.1; ASVS 4.1.3.
    """

    def __init__(self, hops: int, networks: Sequence[IPv4Network | IPv6Network], *, unix_socket: bool = False) -> None:
        self._hops = hops
        self._networks = tuple(networks)
        self._unix_socket = unix_socket
        self._known = lru_cache(maxsize=1024)(self._is_listed)
        self._next_line = 0.0

    def peer_is_trusted(self, peer: Client) -> bool:
        """Return whether this TCP peer may set the client's address."""
        return self._known(peer.address)

    def settle(self, environ: WSGIEnvironment) -> None:
        """Set the `Client`, canonical REMOTE_ADDR and scheme in the environ, and remove forgeable headers."""
        client = parse(environ.get("REMOTE_ADDR", "")) or LOCAL
        if self._hops and self.peer_is_trusted(client):
            client = self._client_behind(client, environ.get("HTTP_X_FORWARDED_FOR"))
            # The nearest proxy's value: it overwrites the header, so there is one value whatever the number of hops.
            if scheme := environ.get("HTTP_X_FORWARDED_PROTO"):
                environ["wsgi.url_scheme"] = "https" if scheme.rpartition(",")[2].strip().lower() == "https" else "http"
        environ[CLIENT] = client
        environ["REMOTE_ADDR"] = client.address
        for name in FORGEABLE:
            if name in environ:
                del environ[name]

    def _client_behind(self, proxy: Client, forwarded: str | None) -> Client:
        if forwarded is None:
            return proxy
        entries = forwarded.rsplit(",", self._hops)
        client = parse(entries[-self._hops]) if len(entries) >= self._hops else None
        if client is None:
            self._report(proxy)
        return client or proxy

    def _report(self, proxy: Client) -> None:
        now = clock.seconds()
        if not now < self._next_line <= now + LOG_EVERY:
            self._next_line = now + LOG_EVERY
            log.refused("client-address-canonical", proxy=proxy.address)

    def _is_listed(self, address: str) -> bool:
        if not address:
            return self._unix_socket
        parsed = ip_address(address)
        return any(parsed in network for network in self._networks if network.version == parsed.version)
