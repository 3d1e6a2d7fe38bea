"""`users ...`: the operator's actions on accounts, without access to their passwords.

A password in a command's arguments is in the shell's history and in every process list: a hidden prompt asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
from flask.cli import with_appcontext

from ..clock import now
from ..delivery import outbox
from ..identity import factors, links, registration, users
from ..state import state
from .mail import tell_waiting


@click.group("users")
def users_group() -> None:
    """Accounts: create, disable, enable, permit, reset-factors."""


def _done(action: Callable[[], object], message: str) -> None:
    try:
        action()
    except users.UserError as error:
        raise click.ClickException(str(error)) from None
    click.echo(message)


@users_group.command("create")
@click.argument("email")
@click.option("--role", "roles", multiple=True, help="A role of settings.py; can be given more than once.")
@click.option("--prompt", is_flag=True, help="Ask for the password here, hidden, instead of mailing a link.")
@with_appcontext
def create_user(email: str, roles: tuple[str, ...], prompt: bool) -> None:
    """Mail a link that makes an account: the reader of the mail chooses the password."""
    if not prompt:
        began = now()
        noted = f"Noted: a mail with a link, good for {state().limits.reset_minutes} minutes."
        _done(lambda: registration.invite_by_operator(email, roles), noted)
        address = users.address(email)
        sent = address in outbox.send_due()  # mails to others may have been due, or wait on
        waiting = outbox.waiting(address)
        if sent or (not waiting and links.made_since(began, address)):  # a running service was quicker
            click.echo("Sent.")
        elif not waiting:
            raise click.ClickException("No mail was sent: one went there a moment ago. Try again in a minute.")
        tell_waiting(address)
        return
    if not sys.stdin.isatty():
        raise click.ClickException("--prompt asks on a terminal, and there is none. Leave it out to mail a link.")
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    _done(lambda: users.create(email, password, roles=roles), "Created. The account can sign in.")


@users_group.command("disable")
@click.argument("email")
@with_appcontext
def disable_user(email: str) -> None:
    """Disable an account and end its sessions, from the next request on."""
    _done(lambda: users.set_active(users.find(email), False), "Disabled.")


@users_group.command("enable")
@click.argument("email")
@with_appcontext
def enable_user(email: str) -> None:
    """Enable an account again."""
    _done(lambda: users.set_active(users.find(email), True), "Enabled.")


@users_group.command("permit")
@click.argument("email")
@click.argument("role")
@click.option("--remove", is_flag=True, help="Take the role away.")
@with_appcontext
def permit_user(email: str, role: str, remove: bool) -> None:
    """Give an account a role of settings.py, or take it away; valid from the next request on."""
    _done(lambda: users.permit(users.find(email), role, remove=remove), "Done.")


@users_group.command("reset-factors")
@click.argument("email")
@with_appcontext
def reset_factors(email: str) -> None:
    """Remove all second factors of a user who lost them, and end their sessions. Verify their identity first."""
    _done(lambda: factors.reset(users.find(email)), "Removed. At the next login a new one has to be set up.")
