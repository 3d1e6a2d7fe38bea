"""Proofs of cli.py: an operator creates accounts without a password in an argument, a variable or a log.

They stop a password from standing in a process list, a shell's history or a log, and from being weaker than others'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .accounts import account
from .harness import edit, harm, protects, works
from .test_settings import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from .running import Service


ROW = "cli-admin-no-argv-password"
CANARY = "canary of nine quiet owls"
EMAIL = "operator@example.com"
SIGNATURE = "def create_user(email: str, roles: tuple[str, ...], prompt: bool) -> None:"
MAILS_ONE = "    if not prompt:\n        began = now()\n"
PROMPT = '@click.option("--prompt", is_flag=True'


def parameters(commands: Iterator[click.Command]) -> Iterator[str]:
    """The names of everything that can be given to these commands, and to those below them."""
    for one in commands:
        yield from (f"{one.name} {name}" for param in one.params for name in (*param.opts, *param.secondary_opts))
        if isinstance(one, click.Group):
            yield from parameters(iter(one.commands.values()))


@protects(
    ROW,
    option=(
        edit("commands/users.py", PROMPT, f'@click.option("--password")\n{PROMPT}'),
        edit("commands/users.py", SIGNATURE, SIGNATURE.replace("bool)", "bool, password: str | None)")),
        edit(
            "commands/users.py",
            MAILS_ONE,
            f"    if password:\n        users.create(email, password, roles=roles)\n{MAILS_ONE}",
        ),
    ),
)
def test_no_argument_and_no_variable_gives_a_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.module("delivery.transport"), "hand_over", service.mails.append)
    works(command(service, monkeypatch, "users", "create", "first@example.com")[0] == 0, "the command mails a link")
    code, text = command(service, monkeypatch, "users", "create", EMAIL, "--password", CANARY)
    harm(account(service, EMAIL), "the command accepted a password as an argument, which other processes can read")
    assert code == 2
    assert "No such option" in text
    assert CANARY not in f"{text}{service.output}"
    monkeypatch.setenv("PASSWORD", CANARY)
    code, text = command(service, monkeypatch, "users", "create", EMAIL, "--prompt")  # from a pipe, without a terminal
    assert code == 1
    assert "there is none. Leave it out to mail a link." in text
    assert account(service, EMAIL) is None
    names = [*parameters(iter(service.module("commands.cli").COMMANDS))]
    assert "create --prompt" in names
    assert [name for name in names if {"password", "token", "secret", "key"} & {*name.strip("-").split("-")}] == []
