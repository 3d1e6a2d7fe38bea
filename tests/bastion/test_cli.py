"""Unit tests beside the proofs in test_cli.py."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from .. import place
from ..logins import PATH
from ..service import PACKAGE, SECRETS
from ..test_cli import EMAIL
from ..test_settings import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..running import Service


# --- the commands, as docs and scripts have them ----------------------------------------------------------------

COMMANDS = """
access --check!
audit restart --yes!
audit show --user --kind --since --last=1..1000 --json!
audit verify --head
db downgrade --yes!
db revision MESSAGE --empty!
db upgrade
dev COMMAND... --port=1..65535
doctor
mail send
run
secrets list
serve
sessions purge
users create EMAIL --role* --prompt!
users disable EMAIL
users enable EMAIL
users permit EMAIL ROLE --remove!
users reset-factors EMAIL
"""
"""What can be typed: `!` takes no value, `*` is given several times, `...` is all that follows."""
ELSEWHERE = ("keys ", "routes ", "shell")  # commands/keys.py's, and Flask's own


def typeable(commands: Iterator[click.Command], before: str = "") -> Iterator[str]:
    """Each command with all that it takes."""
    for one in commands:
        if isinstance(one, click.Group):
            yield from typeable(iter(one.commands.values()), f"{before}{one.name} ")
            continue
        words = [f"{before}{one.name}"]
        for param in one.params:
            bounds = f"={param.type.min}..{param.type.max}" if isinstance(param.type, click.IntRange) else ""
            if isinstance(param, click.Option):
                words.append(f"{param.opts[0]}{'!' * param.is_flag}{'*' * param.multiple}{bounds}")
            else:
                words.append(f"{(param.name or '').upper()}{'...' * (param.nargs == -1)}")
        yield " ".join(words)


def test_every_command_is_the_one_that_is_documented(service: Service) -> None:
    commands = service.module("commands.cli").COMMANDS
    elsewhere = (*ELSEWHERE, *(f"db {one.name}" for one in service.module("chosen").dialect.COMMANDS))
    found = [line for line in typeable(iter(commands)) if not line.startswith(elsewhere)]
    assert sorted(found) == COMMANDS.split("\n")[1:-1]
    assert {"routes", "shell", "keys"} <= {one.name for one in commands}
    [last] = [one for command in commands if command.name == "audit" for one in command.commands["show"].params][3:4]
    assert (last.name, last.default) == ("last", 50)


def test_an_operator_is_told_what_became_of_his_mail(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception] = []

    def hand_over(message: Any) -> None:
        if answers:
            raise answers[0]
        service.mails.append(message)

    def told(*arguments: str) -> tuple[object, list[str]]:
        code, text = command(service, monkeypatch, *arguments)
        return code, [line for line in text.splitlines() if not line.startswith("{")]

    noted = "Noted: a mail with a link, good for 10 minutes."
    waiting = "Still waiting: 1. The log says why; a running service tries again by itself."
    monkeypatch.setattr(service.module("delivery.transport"), "hand_over", hand_over)
    assert told("mail", "send") == (0, ["Sent: 0."])
    assert told("users", "create", EMAIL) == (0, [noted, "Sent."])
    with service.app.app_context():  # goes out beside the one that does not
        service.module("identity.registration").invite_by_operator(f"second-{EMAIL}", ())
    assert told("users", "create", EMAIL) == (
        1,
        [noted, "Error: No mail was sent: one went there a moment ago. Try again in a minute."],
    )
    outbox: Any = service.module("delivery.outbox")
    send_due = outbox.send_due
    with monkeypatch.context() as quicker:  # a running service has sent it when the command comes to it
        quicker.setattr(outbox, "send_due", lambda: send_due()[:0])
        assert told("users", "create", f"third-{EMAIL}") == (0, [noted, "Sent."])
    service.travel(minutes=1, seconds=1)
    assert told("users", "create", EMAIL) == (0, [noted, "Sent."])
    answers.append(OSError("the server is away"))
    assert told("users", "create", f"another-{EMAIL}") == (0, [noted, waiting])
    # Nothing is tried for this one, though the mail to somebody else waits on.
    assert told("users", "create", EMAIL)[1][-1] == (
        "Error: No mail was sent: one went there a moment ago. Try again in a minute."
    )
    service.travel(minutes=5)
    assert told("mail", "send") == (0, ["Sent: 0.", waiting])
    answers.clear()
    service.travel(hours=1)
    assert told("mail", "send") == (0, ["Sent: 1."])
    assert len(service.mails) == 5


def test_what_can_not_be_undone_is_asked_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with service.app.app_context():
        service.module("audit").record("report.sent")
        service.module("audit.chain").seal()

    def restarts(typed: str, *options: str) -> tuple[object, int]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code, _ = command(service, monkeypatch, "audit", "restart", *options)
        return code, len(service.rows("SELECT 1 FROM audit_event WHERE kind = 'audit.restarted'"))

    assert restarts("n\n") == restarts("") == (1, 0)
    assert restarts("y\n") == (0, 1)
    assert restarts("", "--yes") == (0, 2)


def test_a_command_that_can_not_go_on_says_why_and_nothing_that_is_secret(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic.util import CommandError
    from sqlalchemy.exc import OperationalError

    cli: Any = service.module("commands.cli")
    refused = OperationalError("SELECT canary", {}, Exception("user=canary password=canary"))
    name = cli.NAME
    for error, words in {
        RuntimeError("It is not so."): "It is not so.\n",
        CommandError("No such revision."): f"No such revision. Run `{name} db upgrade`; if the file of an applied "
        "migration is gone, restore it.\n",
        refused: f"The database refused (OperationalError). Is it up to date? Run: {name} db upgrade\n",
        service.module("settings").ConfigError(
            ["one thing", "another"]
        ): f"This service does not start:\n  - one thing\n  - another\nFor development: {name} dev secrets list\n",
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(service.module("commands.secrets"), "lines", Raising(error))
            code, text = command(service, monkeypatch, "secrets", "list")
        assert (code, text.partition("}\n")[2] or text) == (1, words)
        assert "canary" not in text


def test_a_start_that_is_refused_keeps_nobody_from_the_help_and_waits_for_whoever_develops(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli: Any = service.module("commands.cli")
    waited: list[tuple[object, ...]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.development, "wait_for_an_edit", lambda *told: waited.append(told))
    monkeypatch.setattr(cli, "_create", Raising(service.module("settings").ConfigError(["one thing"])))
    code, text = command(service, monkeypatch, "--help")
    assert (code, " audit " in text, "one thing" in text) == (0, True, False)
    reasons = "This service does not start:\n  - one thing"
    for arguments in (("dev",), ("dev", "audit", "show")):
        assert command(service, monkeypatch, *arguments) == (1, f"{reasons}\n")
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")  # from here on it is the process that a reload replaces
    assert command(service, monkeypatch, "dev", "audit", "show")[0] == 1
    assert waited == []
    assert command(service, monkeypatch, "dev", "--port", "8001") == (0, f"{reasons}\n")
    assert waited == [(reasons, 8001)]


def test_no_command_but_those_of_the_database_starts_as_whoever_owns_the_tables(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = importlib.import_module(f"{PACKAGE}.app")
    really, asked = app.create_app, list[bool]()

    def create_app(*, migrates: bool = False) -> Any:
        asked.append(migrates)
        return really(migrates=migrates)

    monkeypatch.setattr(app, "create_app", create_app)
    monkeypatch.setattr("os.execv", lambda *_: None)
    monkeypatch.setattr(service.module("commands.migrations"), "pending", lambda _app: False)
    for arguments in (("db", "upgrade"), ("audit", "show"), ("audit", "verify"), ("doctor",), ("serve",)):
        command(service, monkeypatch, *arguments)
        assert {*asked} == {arguments[0] == "db"}, arguments
        asked.clear()


class Raising:
    """Called, it fails."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, *_arguments: object) -> Any:
        raise self._error


def test_serve_becomes_gunicorn_with_our_settings_once_the_tables_are_there(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    became, handed = list[list[str]](), set[str]()

    def execv(program: str, arguments: list[str]) -> None:
        became.append([program, *arguments])
        handed.update(os.environ)

    monkeypatch.setattr("os.execv", execv)
    development: Any = service.module("commands.dev")
    migrations: Any = service.module("commands.migrations")
    monkeypatch.setattr(migrations, "pending", lambda _app: True)
    code, text = command(service, monkeypatch, "serve")
    assert (code, became) == (1, [])
    assert f"Error: The database has pending migrations. Run: {service.module('commands.cli').NAME} db upgrade" in text
    monkeypatch.setattr(migrations, "pending", lambda _app: False)
    with monkeypatch.context() as patch:
        patch.setattr(development, "asked_for", lambda: True)
        patch.setattr(development, "prepare", lambda *_: 8000)
        code, text = command(service, monkeypatch, "serve")
    assert (code, became) == (1, [])
    assert "Unset BASTION_ENV for production." in text
    assert command(service, monkeypatch, "serve")[0] == 0
    ours = "-m", "gunicorn", "-c", f"python:{PACKAGE}.bastion.server.gunicorn", f"{PACKAGE}.app:create_app()"
    assert became == [[sys.executable, sys.executable, *ours]]
    if SECRETS == "env":  # what this start has taken out of the environment, the workers read once more
        assert {*service.environment.secrets} <= handed


def test_dev_runs_a_command_where_it_would_serve(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, upgraded = list[object](), list[str]()
    alembic: Any = service.module("commands.migrations").alembic
    really = alembic.upgrade

    def upgrade() -> None:
        upgraded.append("once")
        really()

    monkeypatch.setattr(alembic, "upgrade", upgrade)
    monkeypatch.setattr(service.module("commands.dev"), "serve", lambda *given: served.append(given[1:]))
    monkeypatch.chdir(tmp_path)
    for arguments, said in {
        ("db", "upgrade"): "Up to date.",
        ("routes", "--sort", "rule"): f" {PATH} ",
        ("audit", "show", "--help"): " --since ",
        ("users", "disable", "nobody@example.com"): "Error: ",
    }.items():
        code, text = command(service, monkeypatch, "dev", *arguments)
        assert (code, said in text) == (1 if "nobody@example.com" in arguments else 0, True), text
        assert upgraded == ["once"]  # by itself, or because it was asked for
        upgraded.clear()
    assert served == []
    assert command(service, monkeypatch, "dev", "--port", "8001")[0] == 0
    assert served == [(service.module("commands.cli").NAME, 8001)]
    assert command(service, monkeypatch, "dev", "--port", "0")[0] == 2
    monkeypatch.chdir(place.source())
    with pytest.raises(RuntimeError, match=f"Run this in the folder of the service, {place.root}: "):
        service.module("commands.dev").prepare(PACKAGE)
