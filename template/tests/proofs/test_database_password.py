"""Proofs of database/: after a rotation of the database password, the next connection uses the new one.

They stop a rotation from waiting for a restart, and a password that was stolen from staying for that long.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Callable
from typing import Any

from .environment import stubbed
from .harness import edit, harm, protects, works
from .running import Service
from .service import DATABASE

NAME = "DATABASE_PASSWORD"


def login_of_its_own(service: Service) -> tuple[str, str, Callable[[str], Any]]:
    """A login that no other proof uses: the address with it, its password, and what changes that on the server."""
    from sqlalchemy import make_url

    store: Any = service.baseline.store
    url = make_url(service.database.url)
    if DATABASE == "mysql":  # each database has its own
        return (
            service.database.url,
            service.database.password,
            lambda new: store._run(f"ALTER USER {url.username} IDENTIFIED BY '{new}'"),
        )
    name, password = f"own_{random.token_hex(6)}", random.token_urlsafe(32)
    store._run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {store.role}")
    text = url.set(username=name).render_as_string(hide_password=False)
    return text, password, lambda new: store._run(f"ALTER ROLE {name} PASSWORD '{new}'")


if DATABASE != "sqlite":

    @protects(
        "secret-rotation-picked-up",
        connection=edit(
            "database/__init__.py",
            "found = secrets.found(password)\n            options",
            "found = vars(engine).setdefault('found', secrets.found(password))\n            options",
        ),
        refused=edit("database/__init__.py", "if refreshed or not secrets.refresh(password, found.value):", "if True:"),
    )
    def test_a_password_of_the_database_is_exchanged_without_a_failed_request(service: Service) -> None:
        url, password, change = login_of_its_own(service)
        service.setting("DATABASE_URL", url)
        service.adds_route("/probe")
        with stubbed(service) as stub:
            stub.values[NAME] = password
            client = service.client(service.user()).login()
            works(client.get("/probe").status == 200, "the service connects with the first password")
            for wait in (
                1,
                11,
                301,
            ):  # the refusal tells of it, right after a question too; or the value is old by itself
                stub.values[NAME] = random.token_urlsafe(32)
                change(stub.values[NAME])
                service._dispose()  # whoever was connected stays so: the next connection signs in
                service.travel(seconds=wait)
                answer = client.get("/probe")
                harm(answer.status != 200, f"{wait} s after the rotation the service still used the old password")
            assert answer.status == 200
            change(random.token_urlsafe(32))
            service._dispose()
            service.travel(seconds=11)
            asked = stub.asked.count(NAME)
            away = client.get("/probe")
            assert (away.status, away.header("Retry-After")) == (503, "5")
            assert stub.asked.count(NAME) <= asked + 1
            assert stub.values[NAME] not in service.output
