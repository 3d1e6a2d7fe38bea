"""Proofs of expiring database users: each is replaced before it expires, and no connection outlives its user.

They stop a password that is stolen today from opening the database next year, and its end from failing a request.
"""

from __future__ import annotations

import secrets as random
from dataclasses import replace
from functools import partial
from typing import Any

from .environment import Stub, stubbed
from .harness import at_once, edit, harm, protects, works
from .running import Service
from .service import DATABASE

THREADS, EACH = 4, 5


class Users:
    """Users of PostgreSQL that a backend makes and ends, with the rights of the service's own role."""

    def __init__(self, service: Service, stub: Stub) -> None:
        self._run, self._role = service.baseline.store._run, service.baseline.store.role  # type: ignore[attr-defined]
        self.present = self.make()
        fetch = stub._fetch

        def fetch_with_user(name: str) -> Any:
            found = fetch(name)
            if name != "DATABASE_PASSWORD":
                return found
            user, password = self.present
            secret = service.module("secrets").Secret(password)
            return replace(found, value=secret, user=user, ends_at=service.now().timestamp() + 3600)

        stub._fetch = fetch_with_user  # type: ignore[method-assign]

    def make(self) -> tuple[str, str]:
        """Name and password of a new one."""
        name, password = f"v_{random.token_hex(6)}", random.token_urlsafe(32)
        self._run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {self._role}")
        return name, password

    def end(self, name: str) -> None:
        """As a lease that is over."""
        self._run(f"DROP ROLE {name}")


if DATABASE == "postgresql":

    @protects(
        "database-users-end",
        follow=edit(
            "database/__init__.py", "if user is not None and user != secrets.found(password).user:", "if False:"
        ),
    )
    def test_no_request_notices_that_the_database_user_has_ended(service: Service) -> None:
        service.adds_route("/probe")
        with stubbed(service) as stub:
            users = Users(service, stub)
            browsers = [service.client(service.user()) for _ in range(THREADS)]

            def ask(browser: Any) -> list[int]:
                return [browser.get("/probe").status for _ in range(EACH)]

            def statuses() -> set[int]:
                return {status for one in at_once([partial(ask, browser) for browser in browsers]) for status in one}

            def sign_in() -> None:  # which asks the backend, where it is time
                for browser in browsers:
                    browser.login()

            sign_in()
            works(statuses() == {200}, "all requests are answered")
            used = {name for (name,) in service.rows("SELECT usename FROM pg_stat_activity WHERE usename LIKE 'v_%'")}
            works(users.present[0] in used, "the service connects as the user that the backend created")
            for _ in range(3):
                former, users.present = users.present, users.make()
                service.travel(seconds=301)
                sign_in()
                users.end(former[0])
                seen = statuses()
                harm(seen != {200}, f"requests failed on connections of a deleted user: {sorted(seen)}")
