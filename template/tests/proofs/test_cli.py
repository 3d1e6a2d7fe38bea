"""Proofs of cli.py: an operator makes accounts, and neither he nor anything that he types holds a password in clear.

They stop a password from standing in a process list, a shell's history or a log, and from being weaker than others'.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from . import mails
from .accounts import ADMINISTRATOR, CHOSEN, DONE, account, administrator, lives, signs_in, with_app
from .harness import edit, harm, protects, works
from .logins import PATH, SIGNED_IN, attempt
from .service import PACKAGE, SECRETS
from .test_audit import events
from .test_factors import apps_of
from .test_settings import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from .running import Service

ROW = "cli-admin-no-argv-password"
CANARY = "canary of nine quiet owls"
EMAIL = "operator@example.com"
SIGNATURE = "def create_user(email: str, roles: tuple[str, ...], prompt: bool) -> None:"
MAILS_ONE = "    if not prompt:\n        began = now()\n"
PROMPT = '@click.option("--prompt", is_flag=True'
IN_DEVELOPMENT = "if token is not None and not state().settings.production:"
CREATES = "email, roles = address(email), known_roles(roles)\n    password_hash = checked_password(password, email)"
UNCHECKED = CREATES.replace("checked_password(password, email)", "state().passwords.hash(password)")


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *typed: str) -> list[bool]:
    """Somebody types this when he is asked; for each time, whether it was hidden, and asked for twice."""
    waiting, hidden = [*typed], list[bool]()

    def prompt(_text: str, *, hide_input: bool = False, confirmation_prompt: bool = False) -> str:
        hidden.append(hide_input and confirmation_prompt)
        return waiting.pop(0)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", prompt)
    return hidden


def parameters(commands: Iterator[click.Command]) -> Iterator[str]:
    """The names of everything that can be given to these commands, and to those below them."""
    for one in commands:
        yield from (f"{one.name} {name}" for param in one.params for name in (*param.opts, *param.secondary_opts))
        if isinstance(one, click.Group):
            yield from parameters(iter(one.commands.values()))


@protects(
    ROW,
    option=(
        edit("cli.py", PROMPT, f'@click.option("--password")\n{PROMPT}'),
        edit("cli.py", SIGNATURE, SIGNATURE.replace("bool)", "bool, password: str | None)")),
        edit("cli.py", MAILS_ONE, f"    if password:\n        users.create(email, password, roles=roles)\n{MAILS_ONE}"),
    ),
)
def test_no_argument_and_no_variable_gives_a_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.module("mail.transport"), "hand_over", service.mails.append)
    works(command(service, monkeypatch, "users", "create", "first@example.com")[0] == 0, "a link is mailed")
    code, text = command(service, monkeypatch, "users", "create", EMAIL, "--password", CANARY)
    harm(account(service, EMAIL), "the password came in the arguments, where every process of the machine reads it")
    assert code == 2
    assert "No such option" in text
    assert CANARY not in f"{text}{service.output}"
    monkeypatch.setenv("PASSWORD", CANARY)
    code, text = command(service, monkeypatch, "users", "create", EMAIL, "--prompt")  # from a pipe, without a terminal
    assert code == 1
    assert "there is none. Leave it out to mail a link." in text
    assert account(service, EMAIL) is None
    names = [*parameters(iter(service.module("cli").COMMANDS))]
    assert "create --prompt" in names
    assert [name for name in names if {"password", "token", "secret", "key"} & {*name.strip("-").split("-")}] == []


@protects(ROW, print=edit("mail/outbox.py", IN_DEVELOPMENT, "if token is not None:"))
def test_the_link_is_mailed_and_neither_printed_nor_logged(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.module("mail.transport"), "hand_over", service.mails.append)
    code, text = command(service, monkeypatch, "users", "create", EMAIL, "--role", "admin")
    works(code == 0, f"the command mails a link: {text}")
    [told] = [event["details"] for event in events(service) if event["kind"] == "user.invited"]
    assert told == {"roles": ["admin"], "by": "command"}
    assert account(service, EMAIL) is None  # nothing is there before its owner has chosen
    token = mails.token_for(service, EMAIL, "create")
    works(service.client().activate(token, CHOSEN).status == DONE["activate"], "whoever reads the mail makes it")
    works(attempt(service.client(), EMAIL, CHOSEN).status == SIGNED_IN, "and signs in")
    harm(token in f"{text}{service.output}", "the terminal of the operator, and his log, hold the key to the account")
    made = account(service, EMAIL)
    assert made is not None
    assert (made.active, made.roles) == (True, "admin")
    code, text = command(service, monkeypatch, "users", "create", EMAIL)
    assert code == 1
    assert "Error: There is already an account with this address." in text


@protects(
    ROW, expiry=edit("identity/links.py", "    if purpose == ACTIVATE:\n", "    if purpose in (ACTIVATE, CREATE):\n")
)
def test_the_link_that_an_operator_mails_is_good_for_minutes(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may make an administrator, and its reader is waiting for it: an invitation of days is sent by a page."""
    monkeypatch.setattr(service.module("mail.transport"), "hand_over", service.mails.append)
    minutes, tokens = service.limits.reset_minutes, {}
    for email in ("first@example.com", EMAIL):
        code, text = command(service, monkeypatch, "users", "create", email, "--role", "admin")
        assert (code, f"good for {minutes} minutes." in text) == (0, True)
        tokens[email] = mails.token_for(service, email, "create")
    service.travel(minutes=minutes, seconds=-5)
    works(service.client().activate(tokens["first@example.com"], CHOSEN).status == DONE["activate"], "it is used")
    service.travel(seconds=6)
    answer = service.client().activate(tokens[EMAIL], CHOSEN)
    harm(account(service, EMAIL), "an old mail made an administrator")
    assert answer.status == 410


@protects(ROW, policy=edit("identity/users.py", CREATES, UNCHECKED))
def test_a_password_that_is_typed_obeys_the_same_rules(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = at_a_terminal(monkeypatch, CANARY, "passwordpassword")
    code, text = command(service, monkeypatch, "users", "create", "  Typed@EXAMPLE.com ", "--prompt")
    works(code == 0, f"a good password makes an account: {text}")
    works(attempt(service.client(), "typed@example.com", CANARY).status == SIGNED_IN, "that can sign in")
    code, text = command(service, monkeypatch, "users", "create", EMAIL, "--prompt")
    harm(account(service, EMAIL), "the account has a password that everybody tries first")
    assert code == 1
    assert text.startswith("Error: ")
    assert hidden == [True, True]
    assert CANARY not in f"{text}{service.output}"


# --- what an operator does in a hurry ---------------------------------------------------------------------------


@protects(
    "admin-disable-immediate",
    operator=edit("cli.py", 'users.find(email), False), "Disabled."', 'users.find(email), True), "Disabled."'),
)
def test_an_account_that_is_disabled_on_the_command_line_is_out_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, other = service.user(), service.user()
    thief, unharmed = service.client(user).login(), service.client(other, "192.0.2.12").login()
    works(lives(thief) and lives(unharmed), "two users are signed in")
    code, text = command(service, monkeypatch, "users", "disable", user.email)
    harm(lives(thief), "the operator was told that it is disabled, and it went on")
    assert (code, text.splitlines()[-1]) == (0, "Disabled.")
    assert lives(unharmed)
    assert not signs_in(service, user.email, user.password)
    code, text = command(service, monkeypatch, "users", "enable", user.email)
    assert (code, text.splitlines()[-1]) == (0, "Enabled.")
    assert not lives(thief)
    assert signs_in(service, user.email, user.password)
    for noun in ("disable", "enable", "reset-factors"):
        code, text = command(service, monkeypatch, "users", noun, "nobody@example.com")
        assert code == 1
        assert text.splitlines()[-1].startswith("Error: ")


@protects(
    "role-change-immediate",
    operator=edit("cli.py", "role, remove=remove), ", "role), "),
)
def test_a_role_that_is_taken_away_on_the_command_line_is_gone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    administrator(service, monkeypatch)  # somebody has to stay one
    user = service.user()

    def held() -> str:
        row = account(service, user.email)
        return "" if row is None else str(row.roles)

    code, _ = command(service, monkeypatch, "users", "permit", user.email, ADMINISTRATOR)
    works((code, held()) == (0, ADMINISTRATOR), "an operator gives somebody a role")
    code, text = command(service, monkeypatch, "users", "permit", user.email, ADMINISTRATOR, "--remove")
    harm(held(), "the operator was told that it is done, and the role was still there")
    assert (code, text.splitlines()[-1]) == (0, "Done.")
    assert command(service, monkeypatch, "users", "permit", user.email, "owner")[0] == 1
    assert held() == ""


@protects(
    "mfa-removal-guarded",
    operator=edit("cli.py", "_done(lambda: factors.reset(users.find(email)), ", "_done(lambda: users.find(email), "),
)
def test_what_an_operator_removes_of_a_lost_phone_opens_nothing_any_more(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, other = service.user(), service.user()
    with_app(service, user)
    with_app(service, other)
    finder = service.client(user).login()
    works(lives(finder) and apps_of(service, user) == 1, "whoever has the phone is signed in")
    code, text = command(service, monkeypatch, "users", "reset-factors", user.email)
    harm(apps_of(service, user), "the app on the lost phone is still in force")
    harm(lives(finder), "its session went on")
    assert (code, text.splitlines()[-1]) == (0, "Removed. At the next login a new one has to be set up.")
    assert apps_of(service, other) == 1


@protects(
    "deny-by-default",
    check=edit("cli.py", ' or access.TABLE_FILE.read_text(encoding="utf-8") != text:', ":"),
)
def test_no_route_is_opened_without_a_change_of_the_file_that_is_reviewed(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "docs" / "access.md"
    monkeypatch.setattr(service.module("access"), "TABLE_FILE", file)
    assert command(service, monkeypatch, "access", "--check")[0] == 1  # it is missing
    assert not file.exists()
    works(command(service, monkeypatch, "access")[0] == 0, "the table is written")
    works(command(service, monkeypatch, "access", "--check")[0] == 0, "and is up to date")
    reviewed = file.read_text(encoding="utf-8")
    assert reviewed == service.module("access").document(service.app)
    file.write_text(reviewed.replace("public", "login"), encoding="utf-8")
    code, text = command(service, monkeypatch, "access", "--check")
    harm(code == 0, "the check passes though the service opens more than was reviewed")
    assert code == 1
    assert "docs/access.md is not up to date" in text
    assert command(service, monkeypatch, "access")[0] == 0
    assert file.read_text(encoding="utf-8") == reviewed


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
ELSEWHERE = ("keys ", "routes ", "shell")  # key_commands.py's, and Flask's own


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
    commands = service.module("cli").COMMANDS
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
    monkeypatch.setattr(service.module("mail.transport"), "hand_over", hand_over)
    assert told("mail", "send") == (0, ["Sent: 0."])
    assert told("users", "create", EMAIL) == (0, [noted, "Sent."])
    with service.app.app_context():  # goes out beside the one that does not
        service.module("identity.registration").invite_by_operator(f"second-{EMAIL}", ())
    assert told("users", "create", EMAIL) == (
        1,
        [noted, "Error: No mail was sent: one went there a moment ago. Try again in a minute."],
    )
    outbox: Any = service.module("mail.outbox")
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
        service.module("audit_chain").seal()

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

    cli: Any = service.module("cli")
    refused = OperationalError("SELECT canary", {}, Exception("user=canary password=canary"))
    name = cli.NAME
    for error, words in {
        RuntimeError("It is not so."): "It is not so.\n",
        CommandError("No such revision."): "No such revision. Run `db upgrade`; if the file of an applied migration is "
        "gone, restore it.\n",
        refused: f"The database refused (OperationalError). Is it up to date? Run: {name} db upgrade\n",
        service.module("guards").ConfigError(["one thing", "another"]): "This service does not start:\n  - one thing\n"
        f"  - another\nFor development: {name} dev secrets list\n",
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(cli.overview, "lines", Raising(error))
            code, text = command(service, monkeypatch, "secrets", "list")
        assert (code, text.partition("}\n")[2] or text) == (1, words)
        assert "canary" not in text


def test_a_start_that_is_refused_keeps_nobody_from_the_help_and_waits_for_whoever_develops(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli: Any = service.module("cli")
    waited: list[tuple[object, ...]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.development, "wait_for_an_edit", lambda *told: waited.append(told))
    monkeypatch.setattr(cli, "_create", Raising(service.module("guards").ConfigError(["one thing"])))
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
    monkeypatch.setattr(service.module("development"), "pending", lambda _app: False)
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
    development: Any = service.module("development")
    monkeypatch.setattr(development, "pending", lambda _app: True)
    code, text = command(service, monkeypatch, "serve")
    assert (code, became) == (1, [])
    assert f"Error: The database has pending migrations. Run: {service.module('cli').NAME} db upgrade" in text
    monkeypatch.setattr(development, "pending", lambda _app: False)
    with monkeypatch.context() as patch:
        patch.setattr(development, "asked_for", lambda: True)
        patch.setattr(development, "prepare", lambda *_: 8000)
        code, text = command(service, monkeypatch, "serve")
    assert (code, became) == (1, [])
    assert "Unset BASTION_ENV for production." in text
    assert command(service, monkeypatch, "serve")[0] == 0
    ours = "-m", "gunicorn", "-c", f"python:{PACKAGE}.bastion.gunicorn", f"{PACKAGE}.app:create_app()"
    assert became == [[sys.executable, sys.executable, *ours]]
    if SECRETS == "env":  # what this start has taken out of the environment, the workers read once more
        assert {*service.environment.secrets} <= handed


def test_dev_runs_a_command_where_it_would_serve(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, upgraded = list[object](), list[str]()
    alembic: Any = service.module("cli").alembic
    really = alembic.upgrade

    def upgrade() -> None:
        upgraded.append("once")
        really()

    monkeypatch.setattr(alembic, "upgrade", upgrade)
    monkeypatch.setattr(service.module("development"), "serve", lambda *given: served.append(given[1:]))
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
    assert served == [(service.module("cli").NAME, 8001)]
    assert command(service, monkeypatch, "dev", "--port", "0")[0] == 2
