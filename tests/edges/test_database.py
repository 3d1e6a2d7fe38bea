"""Edges of the proofs in test_database.py: further attacks on the same protections."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import text

from ..accounts import account, accounts
from ..harness import edit, harm, protects, refused, works
from ..logins import SIGNED_IN, WRONG, HashSpy, attempt, cheap_user, sessions_of
from ..probe_model import model
from ..service import DATABASE
from ..test_database import (
    ENDLESS,
    INEXACT,
    JOINED,
    LIMITS_ROW,
    MARK,
    QUICK,
    ROW,
    SEARCH,
    TEXT,
    UNCHECKED,
    counts,
    hurry,
    left_behind,
    migrated,
    recognised,
    said_to_come_back,
    things,
    writes_then,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ..running import Service
    from ..wire import Response


BAD = """
from sqlalchemy import literal_column, select, text
def search(session, connection, word, order):
    session.execute(text(f"SELECT title FROM note WHERE title = '{word}'"))  # bad
    session.execute(text("SELECT title FROM note WHERE title = '%s'" % word))  # bad
    session.execute(text("SELECT title FROM note ORDER BY " + order))  # bad
    session.execute(text("SELECT title FROM note ORDER BY {}".format(order)))  # bad
    session.scalars(select(Note).order_by(text(order)))  # bad
    session.scalars(select(Note, literal_column(f"'{word}'")))  # bad
    statement = "DELETE FROM note WHERE title = '" + word + "'"
    connection.execute(statement)  # bad
    statements = "SELECT title FROM note"
    statements += f" ORDER BY {order}"
    connection.exec_driver_sql(statements)  # bad
    session.scalars(select(Note).order_by(f"{order} DESC"))  # bad
"""
GOOD = """
from sqlalchemy import select, text
from psycopg import sql
ONE = "SELECT 1"
def search(session, connection, word, orders, order, response):
    session.execute(text("SELECT 1"))
    session.execute(text(ONE))
    session.execute(text("SELECT title FROM note" + " WHERE title = :word").bindparams(word=word))
    session.execute(text("SELECT title FROM note WHERE title LIKE :word"), {"word": f"%{word}%"})
    connection.execute("SELECT title FROM note WHERE title = ?", [word])
    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(word)))
    session.scalars(select(Note).where(Note.title == f"{word}!").order_by(orders[order].desc()))
    return response.text(word)
"""


@protects("sql-no-string-building", checker=UNCHECKED)
def test_the_checker_sees_every_way_to_put_sql_together() -> None:
    recognised(BAD, GOOD)


@protects("sql-parameterised", like=edit("request/queries.py", "autoescape=True", "autoescape=False"))
def test_a_search_for_a_wildcard_finds_only_what_holds_it(service: Service) -> None:
    probe = service.adds_probe()
    owner = service.client(service.user()).login()
    for title in ("100% wool", "snake_case", "and/or", "plain"):
        probe.add(owner.user, title)
    works(probe.titles(probe.list(owner, q="wool")) == ["100% wool"], "a search by part of the title works")
    found = {letter: probe.titles(probe.list(owner, q=letter)) for letter in ("%", "_", "/")}
    harm([letter for letter, titles in found.items() if "plain" in titles], "a wildcard matched every title")
    assert found == {"%": ["100% wool"], "_": ["snake_case"], "/": ["and/or"]}


@protects(
    "sql-parameterised",
    sort=edit("request/queries.py", "order = allowed.get(wanted)", f"order = {TEXT}(wanted)"),
)
def test_sort_order_from_the_query_reveals_no_other_user(service: Service) -> None:
    def view() -> Any:
        """Sort a list without declared names: only sort_by() stands between the query string and ORDER BY."""
        from flask import request

        queries, database = service.module("request.queries"), service.module("database")
        item = model(service)
        order = queries.sort_by({"title": item.title.asc(), "body": item.body.asc()}, request.args["sort"])
        rows = database.db.session.scalars(service.module().owned(item).order_by(order))
        return {"titles": [row.title for row in rows]}

    service.adds_route("/sorted", view=view)
    probe = service.adds_probe()
    thief, victim = service.client(service.user()).login(), service.user("victim@example.com")
    for title, body in (("first", "2"), ("second", "1")):
        probe.add(thief.user, title, body)
    by_title, by_body = (thief.get("/sorted", query={"sort": name}).json["titles"] for name in ("title", "body"))
    works((by_title, by_body) == (["first", "second"], ["second", "first"]), "the declared names sort the list")
    question = "CASE WHEN (SELECT count(*) FROM auth_user WHERE email LIKE '{}%') > 0 THEN title ELSE body END"
    answers = [thief.get("/sorted", query={"sort": question.format(guess)}) for guess in (victim.email[:6], "no-one")]
    orders = [one.json["titles"] if one.ok else None for one in answers]
    harm(orders[0] != orders[1], "the order reveals whether an account exists")
    for one in answers:
        refused(one, 422, "sql-parameterised")
    refused(probe.list(thief, sort="(SELECT 1)"), 422, "input-validated-typed")


@protects(
    "sql-parameterised",
    login=edit(
        "identity/login.py",
        'connection.execute(_BY_EMAIL, {"email": subject})',
        "connection.execute(select(USERS.id, USERS.password_hash, USERS.active)"
        f".where({TEXT}(f\"email = '{{subject}}'\")))",
    ),
)
def test_a_login_with_sql_in_it_is_a_login_of_nobody(service: Service) -> None:
    mallory, victim = cheap_user(service, "mallory@example.com"), cheap_user(service, "v@example.com")
    HashSpy(service, quick=True)
    driver = Driver(service)
    answer = attempt(service.client(), mallory.email, mallory.password)
    works(answer.status == SIGNED_IN, "a correct login succeeds")
    before = counts(service)
    # The account of the victim beside the password of the attacker, who knows that one.
    swapped = (
        "zq7' union select v.id, m.password_hash, m.active from auth_user v, auth_user m"
        " where v.email='v@example.com' and m.email='mallory@example.com'--"
    )
    pairs = [(payload, mallory.password) for payload in (*PAYLOADS, swapped)]
    pairs += [(f"unknown-{number}@example.com", payload) for number, payload in enumerate(PAYLOADS)]
    # Each from an address of its own, so that no limit of a network is met first.
    answers = [attempt(service.client(address=f"198.51.100.{n}"), *pair) for n, pair in enumerate(pairs)]
    harm(sessions_of(service, victim), "the attacker signed in as another user")
    harm(driver.marked(), "user input became part of a statement")
    harm(counts(service) != before, "SQL injection changed rows")
    assert service.rows("SELECT count(*) FROM auth_session") == [(1,)]
    for one in answers:
        refused(one, 401, "login-uniform-failure")
    quoted = cheap_user(service, "o'brien--x@example.com")
    assert attempt(service.client(), quoted.email, quoted.password).status == SIGNED_IN


@protects("refusal-writes-survive", counter=JOINED)
def test_refused_login_keeps_its_count_and_audit_row(service: Service) -> None:
    def view() -> Any:
        database, bastion = service.module("database"), service.module()
        database.db.session.add(model(service)(user_id=bastion.current_user.id, title="left behind"))
        database.db.session.flush()
        raise RuntimeError("after its own write")

    service.adds_route("/broken", view=view)
    victim, most = cheap_user(service), service.limits.login_failures
    works(attempt(service.client(), victim.email, victim.password).status == SIGNED_IN, "a correct login succeeds")
    answer = service.client(victim).login().get("/broken")
    works((answer.status, counts(service)[1]) == (500, 0), "a view that fails leaves no row of its own")
    answers = [attempt(service.client(), victim.email, WRONG) for _ in range(most)]
    harm(left_behind(service) != (most, most), "the refusal rolled back the count or the audit of the attempt")
    for one in answers:
        refused(one, 401, "login-uniform-failure")
    refused(attempt(service.client(), victim.email, victim.password), 429, "login-throttle-account")


# --- one request, one transaction --------------------------------------------------------------------------------


@protects(
    "transaction-all-or-nothing",
    commit_early=edit(
        "identity/recovery.py",
        "        sessions.end_all(link.user_id, connection=connection)\n",
        "    with transaction() as connection:\n        sessions.end_all(link.user_id, connection=connection)\n",
    ),
)
def test_a_reset_that_fails_halfway_has_changed_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from ..accounts import CHOSEN, DONE, signs_in
    from ..test_recovery import link_for

    user, other = service.user(), service.user()
    client = service.client(address="192.0.2.72")
    works(client.reset(link_for(service, other), CHOSEN).status == DONE["reset"], "a link sets a password")
    token = link_for(service, user)

    def fail(*_arguments: object, **_values: object) -> None:
        raise RuntimeError("before the sessions were ended")

    with monkeypatch.context() as broken:
        broken.setattr(service.module("identity.sessions"), "end_all", fail)
        answer = client.reset(token, CHOSEN)
    harm(signs_in(service, user.email, CHOSEN), "the password changed but the thief's sessions were not ended")
    assert answer.status == 500
    assert signs_in(service, user.email, user.password)
    assert client.reset(token, CHOSEN).status == DONE["reset"]  # the link was not used up


@protects(
    "transaction-all-or-nothing",
    unique=edit(
        "database/migrations/0001_accounts.py",
        '        sa.UniqueConstraint("email", name="uq_auth_user_email"),\n',
        "",
    ),
)
def test_the_database_itself_holds_one_account_for_an_address(service: Service) -> None:
    migrated(service)
    first = service.user("ada@example.com")
    works(service.user("bob@example.com").id != first.id, "another address is another account")
    past_everything_that_looks_first = (
        "INSERT INTO auth_user (id, email, active, roles, created_at, display_name)"
        " SELECT :id, email, active, roles, created_at, display_name FROM auth_user WHERE email = :email"
    )
    service.rows(
        past_everything_that_looks_first.replace("INSERT", "INSERT IGNORE")
        if DATABASE == "mysql"
        else f"{past_everything_that_looks_first} ON CONFLICT DO NOTHING",
        id=uuid.uuid4().hex if DATABASE == "sqlite" else uuid.uuid4(),
        email=first.email,
    )
    found = service.rows("SELECT count(*) FROM auth_user WHERE email = :email", email=first.email)[0][0]
    harm(found > 1, "two accounts have one address, and either password opens it")
    assert found == 1


# --- the address of the database, and its files: tests, no proofs of a row -----------------------------------------


if DATABASE == "sqlite":
    OTHERS = "DATABASE_URL: others than its owner may use the SQLite file. Run `chmod 600` on it, its -wal and -shm."

    @protects(
        "boot-refuse-per-process-stores",
        workers=edit("database/sqlite.py", "    if settings.workers > 1:\n", "    if settings.workers > 99:\n"),
    )
    def test_one_file_is_not_written_by_several_processes(service: Service) -> None:
        works(service.start(WEB_CONCURRENCY="1").app is not None, "the service starts with one worker process")
        tried = service.start(WEB_CONCURRENCY="2")
        harm(tried.app is not None, "the service started with two processes on one SQLite file")
        assert tried.reasons == [
            "WEB_CONCURRENCY is over 1: SQLite serves one worker process. Set it to 1, or move to PostgreSQL."
        ]

    @protects(
        "boot-refuse-per-process-stores", mode=edit("database/sqlite.py", ".st_mode) & 0o077:", ".st_mode) & 0o7000:")
    )
    def test_the_file_is_its_owners_alone(service: Service, tmp_path: Path) -> None:
        file = tmp_path / "new.sqlite"
        works(service.start(DATABASE_URL=f"sqlite:///{file}").app is not None, "the service creates a new file")
        works(file.stat().st_mode & 0o777 == 0o600, "only its owner may read it, whatever the umask")
        for mode in (0o640, 0o604, 0o620, 0o602):
            file.chmod(mode)
            tried = service.start(DATABASE_URL=f"sqlite:///{file}")
            harm(tried.app is not None, f"the service started with a file of mode {mode:o}")
            assert tried.reasons == [OTHERS]
            assert str(tmp_path) not in tried.text
        file.chmod(0o600)
        assert service.start(DATABASE_URL=f"sqlite:///{file}").app is not None
        sqlite3: Any = import_module("sqlite3")  # no service with another database knows it
        with closing(sqlite3.connect(file)) as reader, closing(sqlite3.connect(file, timeout=0)) as writer:
            writer.execute("CREATE TABLE canary AS SELECT value FROM json_each('[1, 2, 3]')")
            reading = reader.execute("SELECT value FROM canary")
            assert reading.fetchone() == (1,)
            with writer:  # a write during a read, such as a backup or a long list
                writer.execute("DELETE FROM canary")
            assert reading.fetchall() == [(2,), (3,)]

    @protects(
        "boot-refuse-per-process-stores",
        place=edit("database/sqlite.py", ".resolve().is_relative_to(CODE):", ".resolve() == CODE:"),
    )
    def test_the_file_does_not_lie_beside_what_is_served(
        service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        static = tmp_path / "package" / "static"
        static.mkdir(parents=True)
        monkeypatch.setattr(service.module("database.sqlite"), "CODE", tmp_path / "package")
        works(service.start(DATABASE_URL=f"sqlite:///{tmp_path}/data.sqlite").app is not None, "it starts outside")
        (tmp_path / "link").symlink_to(static)
        for folder in (static, static.parent, tmp_path / "link"):
            tried = service.start(DATABASE_URL=f"sqlite:///{folder}/data.sqlite")
            harm(tried.app is not None, "the service started with a database that the static folder serves")
            assert tried.reasons == [
                "DATABASE_URL: the SQLite file lies in the package, beside what is served. Name a folder outside of it."
            ]


USUAL = ("admin", "root", "test", "user", "guest", "administrator", "admin@example.com", "root@localhost")


PASSWORDS = ("admin", "password", "changeme", "secret", "admin-admin-admin", "correct horse battery staple")


@protects("no-default-accounts")
def test_no_usual_name_and_password_sign_in_to_a_new_database(service: Service) -> None:
    migrated(service)
    service.restart()
    for table in ("auth_session", "auth_link", "mail_outbox", "auth_refresh_token"):
        assert service.rows(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608  (names of our own)
    HashSpy(service, quick=True)
    made = cheap_user(service)
    works(attempt(service.client(address="203.0.113.9"), made.email, made.password).status == SIGNED_IN, "a user is in")
    for number, name in enumerate(USUAL):
        for password in PASSWORDS[number % 2 :: 2][:3]:
            attempted = attempt(service.client(address=f"198.51.100.{number}"), name, password)
            harm(attempted.status == SIGNED_IN, f"{name} signed in with a default password")
            assert attempted.status == 401


# --- what the database takes for the same ----------------------------------------------------------------------------


if DATABASE == "mysql":

    @protects(ROW, length=edit("database/mysql.py", "sql_mode = 'TRADITIONAL'", "sql_mode = ''"))
    def test_too_long_address_is_not_cut_to_another_users(service: Service) -> None:
        def view() -> Any:
            """Import an address as a view of a team that forgot to check its length."""
            from flask import request

            database, users = service.module("database"), service.module("identity.users")
            with database.transaction() as connection:
                users.insert_user(connection, request.args["email"], "no hash")
            return "made"

        service.adds_route("/import", view=view, mark="public")
        client, theirs = service.client(), f"{'a' * 242}@example.com"
        works(
            client.get("/import", query={"email": "bob@example.com"}).text == "made", "an address that fits is stored"
        )
        answer = client.get("/import", query={"email": f"{theirs}.attacker.example"})
        harm(account(service, theirs), "a truncated address made an account for another user's address")
        assert (answer.status, accounts(service)) == (500, 1)


# --- the end of every wait -------------------------------------------------------------------------------------------


WAITS = {
    "sqlite": edit("database/sqlite.py", '"pool_timeout": BUSY_SECONDS', '"pool_timeout": 60'),
    "postgresql": edit("database/postgresql.py", '"pool_timeout": POOL_SECONDS', '"pool_timeout": 60'),
    "mysql": edit("database/mysql.py", '"pool_timeout": POOL_SECONDS', '"pool_timeout": 60'),
}
POOL = {"sqlite": "BUSY_SECONDS", "postgresql": "POOL_SECONDS", "mysql": "POOL_SECONDS"}


@protects(LIMITS_ROW, pool=WAITS[DATABASE])
def test_exhausted_connection_pool_answers_503_with_retry_after(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.module(f"database.{DATABASE}"), POOL[DATABASE], QUICK)
    service.setting("BASTION_THREADS", "2")
    service.adds_route("/probe")
    client = service.client(service.user()).login()
    works(client.get("/probe").status == 200, "the page answers with a free connection")
    answers: list[Response] = []
    asks = threading.Thread(target=lambda: answers.append(client.get("/probe")), daemon=True)
    with all_taken(service):
        asks.start()
        asks.join(timeout=10)
        harm(not answers, "a request kept waiting for a connection and held its thread")
    asks.join(timeout=10)
    said_to_come_back(answers[0])
    assert client.get("/probe").status == 200


@contextmanager
def all_taken(service: Service) -> Iterator[None]:
    """Take every connection of the pool."""
    with service.app.app_context():
        engine = service.module("database").db.engine
    size = engine.pool.size() + engine.pool._max_overflow
    assert size == 6  # two threads and two, and half again
    with ExitStack() as taken:
        for _ in range(size):
            taken.enter_context(engine.connect())
        yield


if DATABASE == "postgresql":

    @protects(
        LIMITS_ROW,
        idle=edit(
            "database/postgresql.py",
            '"idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MILLISECONDS',
            '"idle_in_transaction_session_timeout": 0',
        ),
    )
    def test_a_transaction_that_does_nothing_lets_go_of_its_locks(
        service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hurry(service, monkeypatch)
        idle = writes_then(service, "/idle", lambda _session: time.sleep(QUICK * 5))
        quick = writes_then(service, "/quick", lambda session: session.scalar(text("SELECT 1")))
        client = service.client(service.user()).login()
        works((client.get("/quick").status, quick) == (200, ["/quick"]), "a transaction in use is committed")
        answer = client.get("/idle")
        harm(idle, "an idle transaction kept its locks for five times its limit")
        said_to_come_back(answer)
        assert things(service) == 1
        assert client.get("/quick").status == 200


LONGER = ENDLESS["sqlite"].replace("9000000", "20000")  # of so many steps that SQLite checks the time while it runs


if DATABASE == "sqlite":

    @protects(LIMITS_ROW)
    def test_a_long_statement_within_its_time_comes_to_its_end(service: Service) -> None:
        longer = writes_then(service, "/longer", lambda session: session.scalar(text(LONGER)))
        client = service.client(service.user()).login()
        works(client.get("/longer").status == 200, "a statement within its limit completes")
        harm(longer != ["/longer"], "a statement within its time limit was ended")


PAYLOADS = (
    "zq7' OR '1'='1",
    "zq7'; DROP TABLE auth_user;--",
    "zq7' UNION SELECT password_hash FROM auth_user--",
    "zq7'||pg_sleep(0.1)||'",
    "zq7' OR randomblob(1000000) IS NOT NULL--",
    "zq7' OR title LIKE '%",
)


class Driver:
    """Record what reaches the database driver: statements, and separately their parameters."""

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
        """Return the statements that contain part of a payload."""
        return [statement for statement in self.statements if MARK in statement]


@protects(
    "sql-parameterised",
    filter=edit("request/queries.py", SEARCH, f"return {TEXT}(f\"title LIKE '%{{wanted}}%'\")"),
)
def test_sql_in_a_search_or_id_finds_no_other_users_object(service: Service) -> None:
    probe = service.adds_probe()
    thief = service.client(service.user()).login()
    probe.add(service.user(), "canary of another user")
    probe.add(thief.user, "O'Brien--x; 100%")
    driver = Driver(service)
    works(probe.titles(probe.list(thief, q="Brien")) == ["O'Brien--x; 100%"], "a search by part of it works")
    before = counts(service)
    answers = [probe.list(thief, q=payload) for payload in PAYLOADS]
    answers += [thief.get(f"/probe/{quote(payload)}") for payload in PAYLOADS]
    harm([one for one in answers if "canary" in one.text], "SQL injection read another user's item")
    harm(driver.marked(), "user input became part of a statement")
    harm(counts(service) != before, "SQL injection changed rows")
    assert probe.titles(probe.list(thief, q="o'brien--X; 1")) == ["O'Brien--x; 100%"]
    assert [one.status for one in answers] == [200] * len(PAYLOADS) + [404] * len(PAYLOADS)
    assert [probe.titles(one) for one in answers[: len(PAYLOADS)]] == [[]] * len(PAYLOADS)
    assert len([one for one in driver.parameters if MARK in one]) >= len(PAYLOADS)  # there, and nowhere else


# What the usual collations of MySQL and MariaDB take for `alice@example.com`, and what a pattern would.
ALIKE = ("\u00e1lice@example.com", "alic\u0113@example.com", "al_ce@example.com", "a%e@example.com")


@protects(ROW, **INEXACT)
def test_collation_equal_identifier_opens_no_other_account(service: Service) -> None:
    migrated(service)
    HashSpy(service, quick=True)
    alice = cheap_user(service, "alice@example.com")
    works(attempt(service.client(), alice.email, alice.password).status == SIGNED_IN, "the exact identifier passes")
    before = sessions_of(service, alice)
    answers = [attempt(service.client(address=f"198.51.100.{n}"), name, alice.password) for n, name in enumerate(ALIKE)]
    harm(sessions_of(service, alice) != before, "an identifier that only resembles the user's opened the account")
    assert [one.status for one in answers] == [401] * len(ALIKE)
    for number, name in enumerate(ALIKE):  # both live side by side
        other = cheap_user(service, name)
        assert attempt(service.client(address=f"203.0.113.{number}"), name, other.password).status == SIGNED_IN
        assert sessions_of(service, other) == 1
    assert sessions_of(service, alice) == before
