"""Request ceiling per network and minute, on every path, so that one neighbour can't exhaust the service.

Each request costs a thread, and a script that fetches missing pages never meets a limit that hangs on routes. Above the
ceiling, requests of signed-in sessions are counted per session, so that a flooder can't shut out users of its network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from threading import Lock
from typing import Final
from wsgiref.types import WSGIEnvironment

from .. import clock
from .address import CLIENT, Client
from .answers import Refusal

ROW: Final = "default-throttle"
WINDOW: Final = 60.0  # seconds
# An IPv6 /48 may ask as much as five /64: a site with many subnets works, and a hoster's customer gains little.
WIDE: Final = 5
SIGNED_IN: Final = 10  # times as much may all sessions of a network ask together, or many ended ones would add up
OVER: Final = "bastion.over_ceiling"  # environ key of requests that passed only for their session: seconds to wait
KEYS: Final = 10_000  # counters kept, about 4 MiB; with few, a botnet would push its own full counters out


class Ceiling:
    """Counts requests per key (a network, a session) and minute, in this process; protects resources, not accounts.

    A window begins with a key's first request and ends a minute later, so at most twice the number passes within any
    minute. When `keys` counters exist, the least recently used one goes, never all: filling the table resets no key
    that keeps asking. Source: ASVS 2.4.1, 15.2.2.
    """

    def __init__(self, per_minute: int, keys: int = KEYS) -> None:
        self._most = per_minute
        self._keys = keys
        self._windows: OrderedDict[str, list[float]] = OrderedDict()  # key: [end of its window, requests, refusals]
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._windows)

    def hit(self, key: str) -> int | None:
        """Count one request; return None if it may pass, else the whole seconds until the key's window ends."""
        return self._count(key, self._most)

    def _count(self, key: str, most: int) -> int | None:
        now = clock.seconds()
        with self._lock:
            window = self._windows.get(key)
            # The second comparison ends a window that a clock, once set back, would keep shut for as long.
            if window is None or not now < window[0] <= now + WINDOW:
                window = self._windows[key] = [now + WINDOW, 0, 0]
                if len(self._windows) > self._keys:
                    self._windows.popitem(last=False)
            self._windows.move_to_end(key)
            window[1] += 1
            end, used, _ = window
        return None if used <= most else ceil(end - now)


class NetworkCeiling(Ceiling):
    """Counts each network in the edge; above its ceiling, counts each session of the network's requests.

    `session_of` verifies the signature of a request's cookie or token and returns its session, without the database. An
    unsigned request costs no more than that. throttle/__init__.py checks later that the session is still active.
    """

    def __init__(self, per_minute: int, per_session: int, session_of: Callable[[WSGIEnvironment], str | None]) -> None:
        super().__init__(per_minute)
        self._per_session = per_session
        self._session_of = session_of

    def refuse(self, environ: WSGIEnvironment) -> Refusal | None:
        """Count the client's network, an IPv6 client's /48 too; refuse with 429 and Retry-After (RFC 6585, 4)."""
        client: Client = environ[CLIENT]
        network = client.network
        over = self._count(network, self._most)
        if over is None and client.wide is not None:
            network = client.wide
            over = self._count(network, self._most * WIDE)
        if over is None:
            return None
        if self._is_signed_in(environ, network):
            environ[OVER] = over
            return None
        # One line a window: a flood must not become a flood of log lines.
        first = self._is_first_refusal(network)
        return Refusal(429, ROW, (("Retry-After", str(over)),), {"network": network}, logged=first)

    def _is_signed_in(self, environ: WSGIEnvironment, network: str) -> bool:
        session = self._session_of(environ)
        return (
            session is not None
            and self._count(session, self._per_session) is None
            and self._count(f"{network} signed in", self._most * SIGNED_IN) is None
        )

    def _is_first_refusal(self, network: str) -> bool:
        with self._lock:
            window = self._windows[network]
            window[2] += 1
            return window[2] == 1
