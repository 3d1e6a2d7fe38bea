"""Proofs of cli.py: an operator makes accounts, and neither he nor anything that he types holds a password in clear.

They stop a password from standing in a process list, a shell's history or a log, and from being weaker than others'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import mails
from .accounts import CHOSEN, DONE, account
from .harness import edit, harm, protects, works
from .logins import SIGNED_IN, attempt
from .test_settings import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from .running import Service

ROW = "cli-admin-no-argv-password"
CANARY = "canary of nine quiet owls"
EMAIL = "operator@example.com"
SIGNATURE = "def create_user(email: str, roles: tuple[str, ...], prompt: bool) -> None:"
MAILS_ONE = "    if not prompt:\n        _done(lambda: registration"
PROMPT = '@click.option("--prompt", is_flag=True'
IN_DEVELOPMENT = "if token is not None and not state().settings.production:"
CREATES = "email, roles = address(email), known_roles(roles)\n    password_hash = checked_password(password, email)"
UNCHECKED = CREATES.replace("checked_password(password, email)", "state().passwords.hash(password)")


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *typed: str) -> list[bool]:
    """Somebody types this when he is asked; for each time, whether it was hidden."""
    waiting, hidden = [*typed], list[bool]()

    def prompt(_text: str, *, hide_input: bool = False, **_more: Any) -> str:
        hidden.append(hide_input)
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
    assert "There is already an account with this address." in text


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
