"""`mail send`: send due mails by hand."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..delivery import outbox


@click.group("mail")
def mail_group() -> None:
    """Mails: send."""


@mail_group.command("send")
@with_appcontext
def send_mails() -> None:
    """Send every mail that is due, once; a running service does so by itself, every two seconds."""
    click.echo(f"Sent: {outbox.drain()}.")
    tell_waiting()


def tell_waiting(address: str | None = None) -> None:
    """Print how many mails are left, to one address or to all."""
    if waiting := outbox.waiting(address):
        click.echo(f"Still waiting: {waiting}. The log says why; a running service tries again by itself.")
