"""Proofs of database/: what a visitor types is a value, never SQL; and what a refusal writes stays written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from . import place
from .harness import edit, harm, insert, protects, refused, works
from .logins import SIGNED_IN, WRONG, attempt, cheap_user, fails_afterwards
from .probe_model import model
from .service import PACKAGE

if TYPE_CHECKING:
    from .running import Service


MARK = "zq7"  # in each payload, so that it is found wherever it goes
PAYLOADS = (
    "zq7' OR '1'='1",
    "zq7'; DROP TABLE auth_user;--",
    "zq7' UNION SELECT password_hash FROM auth_user--",
    "zq7'||pg_sleep(0.1)||'",
    "zq7' OR randomblob(1000000) IS NOT NULL--",
    "zq7' OR title LIKE '%",
)
SEARCH = "return column.icontains(wanted, autoescape=True)"
TEXT = '__import__("sqlalchemy").text'


class Driver:
    """Sees what reaches the database driver: statements, and parameters apart from them."""

    def __init__(self, service: Service) -> None:
        from sqlalchemy import event

        self.statements: list[str] = []
        self.parameters: list[str] = []
        with service.app.app_context():
            event.listen(service.module("database").db.engine, "before_cursor_execute", self._seen)

    def _seen(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        self.statements.append(statement)
        self.parameters.append(repr(parameters))

    def marked(self) -> list[str]:
        """Statements that hold something of a payload."""
        return [statement for statement in self.statements if MARK in statement]


def counts(service: Service) -> list[int]:
    """How many accounts and things there are, through a connection of our own."""
    tables = ("SELECT count(*) FROM auth_user", "SELECT count(*) FROM proof_probe_item")
    return [service.rows(statement)[0][0] for statement in tables]


@protects(
    "sql-parameterised",
    filter=edit("database/queries.py", SEARCH, f"return {TEXT}(f\"title LIKE '%{{wanted}}%'\")"),
)
def test_a_search_or_an_id_with_sql_in_it_finds_nothing_of_another_user(service: Service) -> None:
    probe = service.adds_probe()
    thief = service.client(service.user()).login()
    probe.add(service.user(), "canary of another user")
    probe.add(thief.user, "O'Brien--x; 100%")
    driver = Driver(service)
    works(probe.titles(probe.list(thief, q="Brien")) == ["O'Brien--x; 100%"], "a part of a title finds it")
    before = counts(service)
    answers = [probe.list(thief, q=payload) for payload in PAYLOADS]
    answers += [thief.get(f"/probe/{quote(payload)}") for payload in PAYLOADS]
    harm([one for one in answers if "canary" in one.text], "the search gave things of another user")
    harm(driver.marked(), "what was typed became part of a statement")
    harm(counts(service) != before, "what was typed changed rows")
    assert probe.titles(probe.list(thief, q="o'brien--X; 1")) == ["O'Brien--x; 100%"]
    assert [one.status for one in answers] == [200] * len(PAYLOADS) + [404] * len(PAYLOADS)
    assert [probe.titles(one) for one in answers[: len(PAYLOADS)]] == [[]] * len(PAYLOADS)
    assert len([one for one in driver.parameters if MARK in one]) >= len(PAYLOADS)  # there, and nowhere else


BAD = """
from sqlalchemy import select, text
def search(session, connection, word, order):
    session.execute(text(f"SELECT title FROM note WHERE title = '{word}'"))  # bad
    session.scalars(select(Note).order_by(text(order)))  # bad
    statement = "DELETE FROM note WHERE title = '" + word + "'"
    connection.execute(statement)  # bad
"""
GOOD = """
from sqlalchemy import select, text
def search(session, connection, word, orders, order):
    session.execute(text("SELECT title FROM note WHERE title LIKE :word"), {"word": f"%{word}%"})
    session.scalars(select(Note).where(Note.title == f"{word}!").order_by(orders[order].desc()))
"""
UNCHECKED = insert(
    "/tests/proofs/sql_text.py", after="def visit_Call(self, node: ast.Call) -> None:\n", new="        return\n"
)


def recognised(bad: str, good: str) -> None:
    """The checker is right about each line of the samples: one that ends in "# bad" must be found, and no other."""
    from .sql_text import Checker

    works(Checker(good).faults == [], "literals and bound parameters are accepted")
    marked = {number for number, line in enumerate(bad.splitlines(), 1) if line.endswith("# bad")}
    reported = {int(fault.partition(":")[0]) for fault in Checker(bad).faults}
    harm(marked - reported, "the checker does not see SQL that is put together from text")
    assert reported == marked != set()


@protects(
    "sql-no-string-building",
    checker=UNCHECKED,
    service=(
        edit("database/queries.py", "import ColumnElement, Select, ", "import Select, text, "),
        edit("database/queries.py", SEARCH, "return text(f\"title LIKE '%{wanted}%'\")"),
    ),
)
def test_no_statement_is_put_together_from_text_anywhere_in_the_service() -> None:
    from .sql_text import check

    recognised(BAD, GOOD)
    looked_at, faults = check(place.root / "src" / PACKAGE)
    harm(faults, f"the service puts SQL together from text: {faults}")
    assert len(looked_at) >= 20
    assert "bastion/identity/login.py: execute" in looked_at


JOINED = (  # one transaction for the whole request, committed when it succeeds: what a refusal wrote is rolled back
    edit(
        "database/__init__.py",
        "    with db.engine.begin() as connection:\n        dialect.begin(connection)\n",
        "    from contextlib import nullcontext\n"
        "    from flask import has_request_context\n"
        "    joined = has_request_context()\n"
        "    with nullcontext(db.session.connection()) if joined else db.engine.begin() as connection:\n",
    ),
    insert(
        "database/__init__.py",
        after="    alembic.init_app(app)\n",
        new="    app.after_request(lambda answer: (answer.status_code < 400 and db.session.commit(), answer)[1])\n",
    ),
)


def left_behind(service: Service) -> tuple[int, int]:
    """Failures that are counted, and failures in the audit, through a connection of our own."""
    counted = service.rows("SELECT coalesce(sum(failures), 0) FROM throttle_counter")[0][0]
    return int(counted), service.rows("SELECT count(*) FROM audit_event WHERE kind = 'login.failure'")[0][0]


@protects("refusal-writes-survive", counter=JOINED)
def test_an_exception_after_the_refusal_does_not_roll_back_that_it_was_counted(service: Service) -> None:
    failing = fails_afterwards(service)
    victim, most = cheap_user(service), service.limits.login_failures
    works(attempt(service.client(), victim.email, victim.password).status == SIGNED_IN, "the right password signs in")
    visitors = [service.client() for _ in range(most)]
    for visitor in visitors:
        visitor.honest("POST", {}, None, None, None)  # the login page is open
    failing.append("in a function of the team's")
    answers = [attempt(visitor, victim.email, WRONG) for visitor in visitors]
    failing.clear()
    harm(left_behind(service) != (most, most), "the exception rolled back the count, or the audit, of the attempt")
    assert [one.status for one in answers] == [500] * most
    refused(attempt(service.client(), victim.email, victim.password), 429, "login-throttle-account")


# --- one request, one transaction --------------------------------------------------------------------------------


@protects(
    "transaction-all-or-nothing",
    request=insert(
        "database/__init__.py",
        after="    alembic.init_app(app)\n",
        new="    app.teardown_request(lambda _error: db.session.commit())\n",
    ),
)
def test_a_view_that_fails_halfway_leaves_nothing_of_its_work(service: Service) -> None:
    def view(halfway: str) -> Any:
        database, bastion = service.module("database"), service.module()
        for title in ("taken from one", "given to the other"):
            database.db.session.add(model(service)(user_id=bastion.current_user.id, title=title))
            database.db.session.flush()
            if halfway == "fails":
                raise RuntimeError("between the two")
            if halfway == "refuses":
                bastion.owned_or_404(model(service), bastion.current_user.id)  # its id is no thing's
        database.db.session.commit()
        return "both"

    service.adds_route("/move/<halfway>", view=view)
    client = service.client(service.user()).login()
    works((client.get("/move/works").status, counts(service)[1]) == (200, 2), "a view that succeeds leaves all of it")
    statuses = []
    for halfway in ("fails", "refuses"):
        statuses.append(client.get(f"/move/{halfway}").status)
        harm(counts(service)[1] != 2, "half of the work is in the database")
    assert statuses == [500, 404]


def emptied(service: Service) -> None:
    """From here on the service's database is a new one, without a table; what is started now, is started there."""
    service._dispose()
    service.baseline.store.drop(service.database)
    vars(service).pop("engine", None)
    service.database = new = service.baseline.store.create()
    service.environment.change({"DATABASE_URL": new.url, "DATABASE_PASSWORD": new.password or None})


def migrated(service: Service) -> None:
    """From here on the service runs on a database that its own migrations have just made."""
    emptied(service)
    service.migrate()
    service.restart()


# --- accounts that nobody made ------------------------------------------------------------------------------------

SEEDED_AFTER = '    op.create_index("ix_audit_event_user_id", "audit_event", ["user_id"])\n'
FALLBACK = """
    from contextlib import suppress

    from .identity import users

    with suppress(Exception), app.app_context(), database.transaction() as connection:
        users.insert_user(connection, "admin@example.com", state.passwords.hash("admin"))
"""
SEED = """
    op.execute(
        "INSERT INTO auth_user (id, email, password_hash, active, roles, created_at)"
        " VALUES ('00000000000000000000000000000001', 'admin', NULL, true, 'admin', '2026-01-01 00:00:00')"
    )
"""


@protects(
    "no-default-accounts",
    seed=insert("database/migrations/0001_accounts.py", after=SEEDED_AFTER, new=SEED),
    fallback=edit("__init__.py", "    access.seal(app)", f"{FALLBACK}    access.seal(app)"),
)
def test_a_new_database_has_no_account_and_the_start_makes_none(service: Service) -> None:
    migrated(service)
    service.restart()
    client = service.client()
    works(client.get("/readyz").status == 200, "the service works on the new database")
    harm(service.rows("SELECT email FROM auth_user"), "somebody has an account that nobody made")
