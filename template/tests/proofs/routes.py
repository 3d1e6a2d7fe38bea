"""Every route of the service, the team's included, with an address that reaches it: for proofs that leave none out.

It stops walks from being shorter than they look: a rule for which no address is found is an error, not an omission.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .harness import HarnessError
from .service import AUTH
from .wire import HOST

if TYPE_CHECKING:
    from .running import Service, User
    from .service import Client

_PART = re.compile(r"<(?:(?P<kind>\w+)(?:\((?P<arguments>[^)]*)\))?:)?(?P<name>\w+)>")
ANY_ID = str(uuid.UUID(int=2**96 + 7, version=4))
"""Stands for every id in an address."""
_VALUES = (ANY_ID, "1", "1.5", "x", "2024-01-01")


@dataclass(frozen=True, slots=True)
class Route:
    """One rule and method, an address that reaches it, and the access rule that it carries."""

    endpoint: str
    method: str
    path: str
    access: Any

    @property
    def name(self) -> tuple[str, str]:
        return self.endpoint, self.method

    @property
    def not_signed_in(self) -> int:
        """The status for a client without a session: a redirect to the login page, or 401 where a program calls."""
        return 401 if AUTH == "jwt" or self.access.json else 303

    def __str__(self) -> str:
        return f"{self.method} {self.path} ({self.endpoint})"


def routes(service: Service) -> list[Route]:
    """All rules and methods of the finished app. Raises HarnessError for a rule that no address was found for."""
    rules = service.module("state").state_of(service.app).rules
    found = []
    for rule in sorted(service.app.url_map.iter_rules(), key=lambda one: (one.rule, one.endpoint)):
        for method in sorted(rule.methods or ()) if not rule.build_only else ():
            reached = {endpoint: path for path, endpoint in _reached(service, rule, method)}
            if rule.endpoint in reached:
                found.append(Route(rule.endpoint, method, reached[rule.endpoint], rules[rule.endpoint]))
            elif method != "OPTIONS" or not reached:  # of two views at one address only one can answer OPTIONS
                raise HarnessError(f"no address was found for {rule.rule}; routes.py needs a value for it")
    return found


def _reached(service: Service, rule: Any, method: str) -> Iterator[tuple[str, str]]:
    """Addresses that the rule could have, and the endpoint that each leads to."""
    adapter = service.app.url_map.bind(HOST, url_scheme="https")
    parts = list(_PART.finditer(rule.rule))
    words = [word for part in parts for word in re.findall(r"\w+", part["arguments"] or "")]
    for values in itertools.product((*_VALUES, *words), repeat=len(parts)):
        path = rule.rule
        for value in values:
            path = _PART.sub(value, path, count=1)
        if adapter.test(path, method):
            yield path, adapter.match(path, method)[0]


def walkers(service: Service, user: User, *, requests: int) -> Iterator[Client]:
    """A signed-in client of this user for each route of a walk: the next one before a ceiling is met.

    `requests` are as many as are sent to one route at most.
    """
    limits = service.limits
    most = min(limits.requests_per_minute_and_session, limits.requests_per_minute_and_address)
    routes_each = max(1, int(most) // requests)
    for number in itertools.count():
        client = service.client(user, f"198.51.{100 + number // 250 % 2}.{number % 250 + 1}").login()
        yield from itertools.repeat(client, routes_each)


@contextmanager
def stubbed(service: Service, endpoint: str) -> Iterator[list[str]]:
    """Put a view that only records the methods of its runs in the place of this one: nobody's code has side effects.

    Everything that stands before the view is as it was.
    """
    ran: list[str] = []

    def stub(**_values: Any) -> str:
        from flask import request

        ran.append(request.method)
        return "ran"

    views = service.app.view_functions
    kept, views[endpoint] = views[endpoint], stub
    try:
        yield ran
    finally:
        views[endpoint] = kept
