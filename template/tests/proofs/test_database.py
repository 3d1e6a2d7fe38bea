"""Proofs of database/: what a visitor types is a value, never SQL; and what a refusal writes stays written."""

from __future__ import annotations

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
    answers = [attempt(service.client(), payload, mallory.password) for payload in (*PAYLOADS, swapped)]
    answers += [attempt(service.client(), f"nobody-{n}@example.com", payload) for n, payload in enumerate(PAYLOADS)]
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
        "    return db.engine.begin()\n",
        "    from contextlib import nullcontext\n"
        "    from flask import has_request_context\n"
        "    return nullcontext(db.session.connection()) if has_request_context() else db.engine.begin()\n",
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


# --- the address of the database, and its files: tests, no proofs of a row -----------------------------------------


if DATABASE == "postgresql":

    def test_no_option_of_the_address_replaces_the_password_or_the_user(service: Service) -> None:
        address = service.database.url + ("&" if "?" in service.database.url else "?")
        assert service.start(DATABASE_URL=f"{address}sslmode=prefer&application_name=proof").app is not None
        for name in ("password", "passfile", "user", "service", "options", "sslpassword", "connect_timeout"):
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
        local = service.module("database.local_postgresql")
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

    def test_the_file_is_its_owners_alone(service: Service, tmp_path: Path) -> None:
        file = tmp_path / "new.sqlite"
        assert service.start(DATABASE_URL=f"sqlite:///{file}").app is not None
        assert file.stat().st_mode & 0o777 == 0o600  # whatever the umask
        for mode in (0o640, 0o604, 0o620, 0o602):
            file.chmod(mode)
            tried = service.start(DATABASE_URL=f"sqlite:///{file}")
            assert tried.app is None
            [reason] = tried.reasons
            assert reason.startswith("DATABASE_URL: others than its owner may use the SQLite file. Run `chmod 600`")
            assert str(tmp_path) not in tried.text
        file.chmod(0o600)
        assert service.start(DATABASE_URL=f"sqlite:///{file}").app is not None
