"""Proofs of database/: user input never becomes SQL, and rows that a refusal writes are not rolled back."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import text

from . import place
from .harness import edit, harm, insert, protects, refused, works
from .logins import SIGNED_IN, WRONG, HashSpy, attempt, cheap_user, fails_afterwards, sessions_of
from .probe_model import model
from .service import DATABASE, PACKAGE

if TYPE_CHECKING:
    import pytest

    from .running import Service
    from .wire import Response


MARK = "zq7"  # in each payload, so that it is found wherever it goes
SEARCH = "return column.icontains(wanted, autoescape=True)"
TEXT = '__import__("sqlalchemy").text'


def counts(service: Service) -> list[int]:
    """How many accounts and things there are, through a connection of our own."""
    tables = ("SELECT count(*) FROM auth_user", "SELECT count(*) FROM proof_probe_item")
    return [service.rows(statement)[0][0] for statement in tables]


@protects(
    "sql-parameterised",
    filter=edit("request/queries.py", SEARCH, f"return {TEXT}(f\"title LIKE '%{{wanted}}%'\")"),
)
def test_a_search_or_an_id_with_sql_in_it_finds_nothing_of_another_user(service: Service) -> None:
    probe = service.adds_probe()
    thief = service.client(service.user()).login()
    probe.add(service.user(), "canary of another user")
    probe.add(thief.user, "O'Brien--x; 100%")
    works(probe.titles(probe.list(thief, q="Brien")) == ["O'Brien--x; 100%"], "a search by part of the title works")
    before = counts(service)
    for payload in ("zq7' OR title LIKE '%", "zq7' OR '1'='1", "zq7'; DROP TABLE auth_user;--"):
        found, by_id = probe.list(thief, q=payload), thief.get(f"/probe/{quote(payload)}")
        harm("canary" in f"{found.text}{by_id.text}", "SQL injection read another user's item")
        harm(counts(service) != before, "SQL injection changed rows")
        assert (found.status, probe.titles(found), by_id.status) == (200, [], 404)


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

    works(Checker(good).faults == [], "the checker accepts literals and bound parameters")
    marked = {number for number, line in enumerate(bad.splitlines(), 1) if line.endswith("# bad")}
    reported = {int(fault.partition(":")[0]) for fault in Checker(bad).faults}
    harm(marked - reported, "the checker missed SQL built from text")
    assert reported == marked != set()


@protects(
    "sql-no-string-building",
    checker=UNCHECKED,
    service=(
        edit("request/queries.py", "import ColumnElement, Select, ", "import Select, text, "),
        edit("request/queries.py", SEARCH, "return text(f\"title LIKE '%{wanted}%'\")"),
    ),
)
def test_no_statement_is_put_together_from_text_anywhere_in_the_service() -> None:
    from .sql_text import check

    recognised(BAD, GOOD)
    looked_at, faults = check(place.root / "src" / PACKAGE)
    harm(faults, f"the service builds SQL from text: {faults}")
    assert len(looked_at) >= 20
    assert "bastion/identity/login.py: execute" in looked_at


JOINED = (  # one transaction for the whole request, committed when it succeeds: what a refusal wrote is rolled back
    edit(
        "database/__init__.py",
        "    with db.engine.begin() as connection:\n        state().dialect.begin(connection)\n",
        "    from contextlib import nullcontext\n"
        "    from flask import has_request_context\n"
        "    joined = has_request_context()\n"
        "    with nullcontext(db.session.connection()) if joined else db.engine.begin() as connection:\n",
    ),
    insert(
        "database/__init__.py",
        after="    db.init_app(app)\n",
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
    works(attempt(service.client(), victim.email, victim.password).status == SIGNED_IN, "a correct login succeeds")
    visitors = [service.client() for _ in range(most)]
    for visitor in visitors:
        visitor.honest("POST", {}, None, None, None)  # the login page is open
    failing.append("in a function of the team's")
    answers = [attempt(visitor, victim.email, WRONG) for visitor in visitors]
    failing.clear()
    harm(left_behind(service) != (most, most), "the exception rolled back the failure count or the audit row")
    assert [one.status for one in answers] == [500] * most
    refused(attempt(service.client(), victim.email, victim.password), 429, "login-throttle-account")


# --- one request, one transaction --------------------------------------------------------------------------------


@protects(
    "transaction-all-or-nothing",
    request=insert(
        "database/__init__.py",
        after="    db.init_app(app)\n",
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
    works((client.get("/move/works").status, counts(service)[1]) == (200, 2), "a successful view commits all rows")
    statuses = []
    for halfway in ("fails", "refuses"):
        statuses.append(client.get(f"/move/{halfway}").status)
        harm(counts(service)[1] != 2, "a failed view left half of its work in the database")
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
    works(client.get("/readyz").status == 200, "the service is ready on the new database")
    harm(service.rows("SELECT email FROM auth_user"), "the new database contains a default account")


# --- what the database takes for the same ----------------------------------------------------------------------------


ROW = "database-exact-compare"
OTHERS = ("\u00e1lice@example.com", "al_ce@example.com", "a%e@example.com")
"""What the usual collations of MySQL and MariaDB take for `alice@example.com`, and what a pattern would."""
INEXACT = (
    {"collation": (edit("database/mysql.py", '("collate", EXACT[server])', '("collate", "utf8mb4_general_ci")'),)}
    if DATABASE == "mysql"
    else {
        "pattern": (
            edit("identity/login.py", 'USERS.email == bindparam("email"))', 'USERS.email.like(bindparam("email")))'),
            edit(
                "identity/login.py",
                "row.password_hash, USERS.email == subject)",
                "row.password_hash, USERS.email.like(subject))",
            ),
        )
    }
)


@protects(ROW, **INEXACT)
def test_no_other_name_opens_an_account_or_has_its_guesses_counted_apart(service: Service) -> None:
    migrated(service)
    HashSpy(service, quick=True)
    alice = cheap_user(service, "alice@example.com")
    works(attempt(service.client(), alice.email, alice.password).status == SIGNED_IN, "the exact identifier passes")
    before = sessions_of(service, alice)
    answers = [attempt(service.client(), name, alice.password) for name in OTHERS]
    harm(sessions_of(service, alice) != before, "an identifier that only resembles the user's opened the account")
    assert [one.status for one in answers] == [401] * len(OTHERS)
    assert cheap_user(service, OTHERS[0]).id != alice.id  # both live side by side


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
        works(client.get("/move").text == "both", "the view completes its work when no lock blocks it")
        table = model(service).__table__
        with service.engine.connect() as somebody:
            somebody.execute(table.update().where(table.c.id == taken[0]).values(title="locked"))
            stopped, went_on = client.get("/move"), client.get("/move", query={"goes": "on"})
            somebody.rollback()
        harm(probe.count() != 2, "a failed view left half of its work in the database")
        assert (stopped.status, stopped.header("Retry-After"), went_on.status) == (503, "5", 500)
        assert client.get("/move").text == "both"


# --- the end of every wait -------------------------------------------------------------------------------------------


LIMITS_ROW = "database-timeouts"
QUICK = 0.3  # seconds: the limits here, which are seconds in earnest
# Three seconds and more: ten times as long as it may take, and the end of it without a limit.
ENDLESS = {
    "sqlite": "WITH RECURSIVE n (x) AS (SELECT 1 UNION SELECT x + 1 FROM n WHERE x < 9000000) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(3)",
    "mysql": "SELECT sleep(3)",
}
UNLIMITED = {
    "sqlite": edit("database/sqlite.py", "+ STATEMENT_SECONDS if", "+ inf if"),
    "postgresql": edit("database/postgresql.py", "0 if migrates else STATEMENT_MILLISECONDS", "0"),
    "mysql": edit("database/mysql.py", "SESSION if migrates else SESSION + LIMIT", "SESSION"),
}
SECONDS = {"sqlite": ("STATEMENT_SECONDS",)}
MILLISECONDS = {"postgresql": ("STATEMENT_MILLISECONDS", "IDLE_IN_TRANSACTION_MILLISECONDS")}


def hurry(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are a fraction of a second from here on. Before the app is made."""
    dialect = service.module(f"database.{DATABASE}")
    for name in SECONDS.get(DATABASE, ()):
        monkeypatch.setattr(dialect, name, QUICK)
    for name in MILLISECONDS.get(DATABASE, ()):
        monkeypatch.setattr(dialect, name, int(QUICK * 1000))
    if DATABASE == "mysql":
        quick = dialect.LIMIT.replace("5000", str(int(QUICK * 1000))).replace("= 5 ", f"= {QUICK} ")
        monkeypatch.setattr(dialect, "LIMIT", quick)


def things(service: Service) -> int:
    """How many things were written."""
    return int(service.rows("SELECT count(*) FROM proof_probe_item")[0][0])


def writes_then(service: Service, path: str, what: Callable[[Any], object]) -> list[str]:
    """A route that writes a thing and then does this with its session; and which of them came to their end."""
    ended: list[str] = []

    def view() -> Any:
        database, bastion = service.module("database"), service.module()
        database.db.session.add(model(service)(user_id=bastion.current_user.id, title=path))
        database.db.session.flush()
        what(database.db.session)
        database.db.session.commit()
        ended.append(path)
        return "done"

    service.adds_route(path, view=view)
    return ended


def said_to_come_back(answer: Response) -> None:
    assert answer.status == 503
    assert answer.header("Retry-After") == "5"


@protects(LIMITS_ROW, statement=UNLIMITED[DATABASE])
def test_a_statement_without_an_end_is_ended(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(service, monkeypatch)
    quick = writes_then(service, "/quick", lambda session: session.scalar(text("SELECT 1")))
    slow = writes_then(service, "/slow", lambda session: session.scalar(text(ENDLESS[DATABASE])))
    client = service.client(service.user()).login()
    works((client.get("/quick").status, quick) == (200, ["/quick"]), "a quick statement completes")
    answer = client.get("/slow")
    harm(slow, "a statement ran ten times as long as its timeout allows")
    said_to_come_back(answer)
    assert things(service) == 1  # what it had written before is rolled back
    assert client.get("/quick").status == 200


def test_a_connection_that_is_lost_in_the_middle_leaves_nothing(service: Service) -> None:
    if DATABASE == "sqlite":
        return  # a file has no connections

    def lose(session: Any) -> None:
        end_all(service)
        session.scalar(text("SELECT 1"))

    lost = writes_then(service, "/lost", lose)
    quick = writes_then(service, "/quick", lambda session: session.scalar(text("SELECT 1")))
    client = service.client(service.user()).login()
    said_to_come_back(client.get("/lost"))
    assert client.get("/quick").status == 200
    assert (lost, quick, things(service)) == ([], ["/quick"], 1)


def end_all(service: Service) -> None:
    """End every connection of the service to the database."""
    if DATABASE == "postgresql":
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        service.rows(f"SELECT pg_terminate_backend(pid) {others}")
    else:
        store: Any = service.baseline.store
        store._end_connections(service.database)
