"""Proofs of what the database itself does with what it is given: it compares exactly, cuts nothing, and loses no half.

They stop a service from being right on the database of its authors alone.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, works
from .logins import SIGNED_IN, HashSpy, attempt, cheap_user, sessions_of
from .probe_model import model
from .service import DATABASE
from .test_database import migrated

if TYPE_CHECKING:
    from .running import Service


ROW = "database-exact-compare"
# What the usual collations of MySQL and MariaDB take for `alice@example.com`, and what a pattern would.
OTHERS = ("\u00e1lice@example.com", "alic\u0113@example.com", "al_ce@example.com", "a%e@example.com")
INEXACT = (
    {"collation": (edit("database/mysql.py", '("collate", EXACT[server])', '("collate", "utf8mb4_general_ci")'),)}
    if DATABASE == "mysql"
    else {
        "pattern": (
            edit("identity/login.py", '_u.email == bindparam("email"))', '_u.email.like(bindparam("email")))'),
            edit(
                "identity/login.py",
                "row.password_hash, _u.email == subject)",
                "row.password_hash, _u.email.like(subject))",
            ),
        )
    }
)


@protects(ROW, **INEXACT)
def test_no_other_name_opens_an_account_or_has_its_guesses_counted_apart(service: Service) -> None:
    migrated(service)
    HashSpy(service, quick=True)
    alice = cheap_user(service, "alice@example.com")
    works(attempt(service.client(), alice.email, alice.password).status == SIGNED_IN, "the exact identifier signs in")
    before = sessions_of(service, alice)
    answers = [
        attempt(service.client(address=f"198.51.100.{n}"), name, alice.password) for n, name in enumerate(OTHERS)
    ]
    harm(sessions_of(service, alice) != before, "another name opened the account, and each has guesses of its own")
    assert [one.status for one in answers] == [401] * len(OTHERS)
    for number, name in enumerate(OTHERS):  # both live side by side
        other = cheap_user(service, name)
        assert attempt(service.client(address=f"203.0.113.{number}"), name, other.password).status == SIGNED_IN
        assert sessions_of(service, other) == 1
    assert sessions_of(service, alice) == before


if DATABASE == "mysql":

    @protects(
        "transaction-all-or-nothing",
        given_up=edit("database/mysql.py", "if error.args and error.args[0] in GIVEN_UP:", "if not error.args:"),
    )
    def test_work_of_which_the_server_gave_up_a_part_can_only_be_given_up(service: Service) -> None:
        taken: list[uuid.UUID] = []

        def view() -> Any:
            import pytest
            from flask import request
            from sqlalchemy import text, update
            from sqlalchemy.exc import OperationalError

            session, item = service.module("database").db.session, model(service)
            session.add(item(user_id=service.module().current_user.id, title="taken from one"))
            session.flush()
            session.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
            give = update(item).where(item.id == taken[0]).values(title="given to the other")
            if request.args.get("goes") == "on":
                with pytest.raises(OperationalError):
                    session.execute(give)
            else:
                session.execute(give)
            session.commit()
            return "both"

        service.adds_route("/move", view=view)
        probe = service.adds_probe()
        client = service.client(service.user()).login()
        taken.append(probe.add(client.user, "the other"))
        works(client.get("/move").text == "both", "with no lock in its way all of it is done")
        table = model(service).__table__
        with service.engine.connect() as somebody:
            somebody.execute(table.update().where(table.c.id == taken[0]).values(title="locked"))
            stopped, went_on = client.get("/move"), client.get("/move", query={"goes": "on"})
            somebody.rollback()
        harm(probe.count() != 2, "half of the work is in the database")
        assert (stopped.status, stopped.header("Retry-After"), went_on.status) == (503, "5", 500)
        assert client.get("/move").text == "both"
