"""Proofs of database/: what a visitor types is a value, never SQL; and what a refusal writes stays written."""

from __future__ import annotations

import uuid
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from . import place
from .harness import edit, harm, insert, protects, refused, works
from .logins import SIGNED_IN, WRONG, HashSpy, attempt, cheap_user, fails_afterwards, sessions_of
from .probe_model import model
from .service import DATABASE, PACKAGE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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


@protects("sql-parameterised", like=edit("database/queries.py", "autoescape=True", "autoescape=False"))
def test_a_search_for_a_wildcard_finds_only_what_holds_it(service: Service) -> None:
    probe = service.adds_probe()
    owner = service.client(service.user()).login()
    for title in ("100% wool", "snake_case", "and/or", "plain"):
        probe.add(owner.user, title)
    works(probe.titles(probe.list(owner, q="wool")) == ["100% wool"], "a part of a title finds it")
    found = {letter: probe.titles(probe.list(owner, q=letter)) for letter in ("%", "_", "/")}
    harm([letter for letter, titles in found.items() if "plain" in titles], "a wildcard found everything")
    assert found == {"%": ["100% wool"], "_": ["snake_case"], "/": ["and/or"]}


@protects(
    "sql-parameterised",
    sort=edit("database/queries.py", "order = allowed.get(wanted)", f"order = {TEXT}(wanted)"),
)
def test_an_order_taken_from_the_address_answers_no_question_about_another_user(service: Service) -> None:
    def view() -> Any:
        """A list of a team that declares no names: sort_by() is the only thing between the address and ORDER BY."""
        from flask import request

        queries, database = service.module("database.queries"), service.module("database")
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
    works((by_title, by_body) == (["first", "second"], ["second", "first"]), "the public names sort")
    question = "CASE WHEN (SELECT count(*) FROM auth_user WHERE email LIKE '{}%') > 0 THEN title ELSE body END"
    answers = [thief.get("/sorted", query={"sort": question.format(guess)}) for guess in (victim.email[:6], "nobody")]
    orders = [one.json["titles"] if one.ok else None for one in answers]
    harm(orders[0] != orders[1], "the order tells whether an account exists")
    for one in answers:
        refused(one, 422, "sql-parameterised")
    refused(probe.list(thief, sort="(SELECT 1)"), 422, "input-validated-typed")


@protects(
    "sql-parameterised",
    login=edit(
        "identity/login.py",
        'connection.execute(_BY_EMAIL, {"email": subject})',
        f"connection.execute(select(_u.id, _u.password_hash, _u.active).where({TEXT}(f\"email = '{{subject}}'\")))",
    ),
)
def test_a_login_with_sql_in_it_is_a_login_of_nobody(service: Service) -> None:
    mallory, victim = cheap_user(service, "mallory@example.com"), cheap_user(service, "v@example.com")
    HashSpy(service, quick=True)
    driver = Driver(service)
    answer = attempt(service.client(), mallory.email, mallory.password)
    works(answer.status == SIGNED_IN, "the right password signs in")
    before = counts(service)
    # The account of the victim beside the password of the attacker, who knows that one.
    swapped = (
        "zq7' union select v.id, m.password_hash, m.active from auth_user v, auth_user m"
        " where v.email='v@example.com' and m.email='mallory@example.com'--"
    )
    pairs = [(payload, mallory.password) for payload in (*PAYLOADS, swapped)]
    pairs += [(f"nobody-{number}@example.com", payload) for number, payload in enumerate(PAYLOADS)]
    # Each from an address of its own, so that no limit of a network is met first.
    answers = [attempt(service.client(address=f"198.51.100.{n}"), *pair) for n, pair in enumerate(pairs)]
    harm(sessions_of(service, victim), "the attacker is signed in as another user")
    harm(driver.marked(), "what was typed became part of a statement")
    harm(counts(service) != before, "what was typed changed rows")
    assert service.rows("SELECT count(*) FROM auth_session") == [(1,)]
    for one in answers:
        refused(one, 401, "login-uniform-failure")
    quoted = cheap_user(service, "o'brien--x@example.com")
    assert attempt(service.client(), quoted.email, quoted.password).status == SIGNED_IN


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


@protects(
    "sql-no-string-building",
    checker=insert(
        "/tests/proofs/sql_text.py", after="def visit_Call(self, node: ast.Call) -> None:\n", new="        return\n"
    ),
    service=(
        edit("database/queries.py", "import ColumnElement, Select, ", "import Select, text, "),
        edit("database/queries.py", SEARCH, "return text(f\"title LIKE '%{wanted}%'\")"),
    ),
)
def test_no_statement_is_put_together_from_text_anywhere_in_the_service() -> None:
    from .sql_text import Checker, check

    works(Checker(GOOD).faults == [], "literals and bound parameters are accepted")
    marked = {number for number, line in enumerate(BAD.splitlines(), 1) if line.endswith("# bad")}
    reported = {int(fault.partition(":")[0]) for fault in Checker(BAD).faults}
    harm(marked - reported, "the checker does not see SQL that is put together from text")
    looked_at, faults = check(place.root / "src" / PACKAGE)
    harm(faults, f"the service puts SQL together from text: {faults}")
    assert reported == marked
    assert len(marked) >= 6
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
def test_the_refusal_of_a_password_does_not_roll_back_that_it_was_counted(service: Service) -> None:
    def view() -> Any:
        database, bastion = service.module("database"), service.module()
        database.db.session.add(model(service)(user_id=bastion.current_user.id, title="left behind"))
        database.db.session.flush()
        raise RuntimeError("after its own write")

    service.adds_route("/broken", view=view)
    victim, most = cheap_user(service), service.limits.login_failures
    works(attempt(service.client(), victim.email, victim.password).status == SIGNED_IN, "the right password signs in")
    answer = service.client(victim).login().get("/broken")
    works((answer.status, counts(service)[1]) == (500, 0), "a view that fails leaves nothing of its own behind")
    answers = [attempt(service.client(), victim.email, WRONG) for _ in range(most)]
    harm(left_behind(service) != (most, most), "the answer rolled back the count, or the audit, of the attempt")
    for one in answers:
        refused(one, 401, "login-uniform-failure")
    refused(attempt(service.client(), victim.email, victim.password), 429, "login-throttle-account")


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


@protects(
    "transaction-all-or-nothing",
    commit_early=edit(
        "identity/recovery.py",
        "        sessions.end_all(link.user_id, connection=connection)\n",
        "    with transaction() as connection:\n        sessions.end_all(link.user_id, connection=connection)\n",
    ),
)
def test_a_reset_that_fails_halfway_has_changed_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from .accounts import CHOSEN, DONE, signs_in
    from .test_recovery import link_for

    user, other = service.user(), service.user()
    client = service.client(address="192.0.2.72")
    works(client.reset(link_for(service, other), CHOSEN).status == DONE["reset"], "a link sets a password")
    token = link_for(service, user)

    def fail(*_arguments: object, **_values: object) -> None:
        raise RuntimeError("before the sessions were ended")

    with monkeypatch.context() as broken:
        broken.setattr(service.module("identity.sessions"), "end_all", fail)
        answer = client.reset(token, CHOSEN)
    harm(signs_in(service, user.email, CHOSEN), "the password is new, and the sessions of the thief are still there")
    assert answer.status == 500
    assert signs_in(service, user.email, user.password)
    assert client.reset(token, CHOSEN).status == DONE["reset"]  # the link was not used up


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
    harm(found > 1, "two accounts have one address, and either's password opens it")
    assert found == 1


# --- accounts that nobody made ------------------------------------------------------------------------------------

SEEDED_AFTER = '    op.create_index("ix_audit_event_user_id", "audit_event", ["user_id"])\n'
FALLBACK = """
    from contextlib import suppress

    from .identity import users

    with suppress(Exception), app.app_context(), database.transaction() as connection:
        users.insert_user(connection, "admin@example.com", state.passwords.hash("admin"))
"""
USUAL = ("admin", "root", "test", "user", "guest", "administrator", "admin@example.com", "root@localhost")
PASSWORDS = ("admin", "password", "changeme", "secret", "admin-admin-admin", "correct horse battery staple")
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
    for table in ("auth_session", "auth_link", "mail_outbox", "auth_refresh_token"):
        assert service.rows(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608  (names of our own)
    HashSpy(service, quick=True)
    for number, name in enumerate(USUAL):
        for password in PASSWORDS[number % 2 :: 2][:3]:
            attempted = attempt(service.client(address=f"198.51.100.{number}"), name, password)
            assert attempted.status == 401
    made = cheap_user(service)
    assert attempt(service.client(address="203.0.113.9"), made.email, made.password).status == SIGNED_IN


# --- the address of the database, and its files: tests, no proofs of a row -----------------------------------------


REPLACING = {
    "postgresql": ("password", "passfile", "user", "service", "options", "sslpassword", "connect_timeout"),
    "mysql": (
        "password",
        "passwd",
        "user",
        "read_default_file",
        "init_command",
        "charset",
        "local_infile",
        "ssl_disabled",
    ),
}


if DATABASE != "sqlite":

    def test_no_option_of_the_address_replaces_the_password_or_the_user(service: Service) -> None:
        address = service.database.url + ("&" if "?" in service.database.url else "?")
        if DATABASE == "postgresql":
            assert service.start(DATABASE_URL=f"{address}sslmode=prefer&application_name=proof").app is not None
        for name in REPLACING[DATABASE]:
            tried = service.start(DATABASE_URL=f"{address}{name}=canary")
            assert tried.app is None
            [reason] = tried.reasons
            assert reason.startswith(f"DATABASE_URL has {name} after the `?`")
            assert "canary" not in tried.text

    def test_root_gives_nobody_no_folder_that_somebody_else_has_made(
        service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import os
        import pwd

        import pytest

        own = pwd.getpwuid(os.getuid())
        local = service.module(f"database.local_{DATABASE}")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(local, "_nobody", lambda: own)
        home = local._home(tmp_path / "project")
        assert local._home(tmp_path / "project") == home  # the second command finds it again
        assert home.stat().st_mode & 0o777 == 0o700
        home.rmdir()
        (tmp_path / "precious").mkdir()
        for target in ("precious", "missing"):
            home.symlink_to(tmp_path / target)
            with pytest.raises(RuntimeError, match="is a link or somebody else's"):
                local._home(tmp_path / "project")
            home.unlink()
        home.mkdir()
        monkeypatch.setattr(local, "_nobody", lambda: pwd.struct_passwd((*own[:2], own.pw_uid + 1, *own[3:])))
        if own.pw_uid == 0:
            os.chown(home, own.pw_uid + 2, -1)
        with pytest.raises(RuntimeError, match="is a link or somebody else's"):
            local._home(tmp_path / "project")


if DATABASE == "sqlite":
    OTHERS = "DATABASE_URL: others than its owner may use the SQLite file. Run `chmod 600` on it, its -wal and -shm."

    @protects(
        "boot-refuse-per-process-stores",
        workers=edit("database/sqlite.py", "    if settings.workers > 1:\n", "    if settings.workers > 99:\n"),
    )
    def test_one_file_is_not_written_by_several_processes(service: Service) -> None:
        works(service.start(WEB_CONCURRENCY="1").app is not None, "one worker process starts")
        tried = service.start(WEB_CONCURRENCY="2")
        harm(tried.app is not None, "it started for two processes, which count and write beside each other")
        assert tried.reasons == [
            "WEB_CONCURRENCY is over 1: SQLite serves one worker process. Set it to 1, or move to PostgreSQL."
        ]

    @protects(
        "boot-refuse-per-process-stores", mode=edit("database/sqlite.py", ".st_mode) & 0o077:", ".st_mode) & 0o7000:")
    )
    def test_the_file_is_its_owners_alone(service: Service, tmp_path: Path) -> None:
        file = tmp_path / "new.sqlite"
        works(service.start(DATABASE_URL=f"sqlite:///{file}").app is not None, "a new file is made")
        works(file.stat().st_mode & 0o777 == 0o600, "for its owner alone, whatever the umask")
        for mode in (0o640, 0o604, 0o620, 0o602):
            file.chmod(mode)
            tried = service.start(DATABASE_URL=f"sqlite:///{file}")
            harm(tried.app is not None, f"it started with a file of mode {mode:o}")
            assert tried.reasons == [OTHERS]
            assert str(tmp_path) not in tried.text
        file.chmod(0o600)
        assert service.start(DATABASE_URL=f"sqlite:///{file}").app is not None
        sqlite3: Any = import_module("sqlite3")  # no service with another database knows it
        with closing(sqlite3.connect(file)) as reader, closing(sqlite3.connect(file, timeout=0)) as writer:
            writer.execute("CREATE TABLE canary AS SELECT value FROM json_each('[1, 2, 3]')")
            reading = reader.execute("SELECT value FROM canary")
            assert reading.fetchone() == (1,)
            with writer:  # it is written while somebody reads, in a backup or a long list
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
        works(service.start(DATABASE_URL=f"sqlite:///{tmp_path}/data.sqlite").app is not None, "outside it starts")
        (tmp_path / "link").symlink_to(static)
        for folder in (static, static.parent, tmp_path / "link"):
            tried = service.start(DATABASE_URL=f"sqlite:///{folder}/data.sqlite")
            harm(tried.app is not None, "it started with a database that the static folder serves")
            assert tried.reasons == [
                "DATABASE_URL: the SQLite file lies in the package, beside what is served. Name a folder outside of it."
            ]

    def test_an_address_of_no_file_is_refused_with_its_cure(service: Service, tmp_path: Path) -> None:
        no_file = "DATABASE_URL must name a SQLite file, as in sqlite:////var/lib/my-service/data.sqlite."
        no_path = "DATABASE_URL must name a SQLite file by its absolute path (four slashes) and nothing else."
        no_folder = "the folder of the SQLite file does not exist. Make it, writable for the service alone."
        addresses = {
            "no address": no_file,
            "postgresql://127.0.0.1/app": no_file,
            "sqlite://": no_path,
            "sqlite:///data.sqlite": no_path,
            f"sqlite:///{tmp_path}/data.sqlite?mode=ro": no_path,
            f"sqlite:///{tmp_path}/missing/data.sqlite": f"DATABASE_URL: {no_folder}",
        }
        assert {one: service.start(DATABASE_URL=one).reasons for one in addresses} == {
            one: [reason] for one, reason in addresses.items()
        }
        tried = service.start(BASTION_MIGRATION_USER="owner")
        assert tried.reasons == ["BASTION_MIGRATION_USER is set, and SQLite has no users. Remove it."]

    def test_the_package_is_where_the_code_lies(service: Service) -> None:
        code = service.module("database.sqlite").CODE
        assert place.source().resolve() == code


def test_each_key_of_a_table_has_a_name_that_a_migration_can_call(service: Service) -> None:
    """A database makes up names of its own otherwise, and the next migration can't find what it has to change."""
    table = service.module("identity.models").Link.__table__
    names = {str(one.name) for one in (*table.constraints, *table.indexes)}
    assert names == {
        *(f"fk_auth_link_{one}" for one in ("user_id_auth_user", "session_id_auth_session", "inviter_id_auth_user")),
        *("pk_auth_link", "uq_auth_link_token_hash", "ix_auth_link_user_id", "ix_auth_link_email"),
    }
