"""`sessions purge`: what is over is deleted, with the addresses and names in it."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .. import audit, throttle
from ..audit import chain
from ..identity import devices, flows, links, sessions


@click.group("sessions")
def sessions_group() -> None:
    """Sessions: purge."""


@sessions_group.command("purge")
@with_appcontext
def purge_sessions() -> None:
    """Delete what is over: sessions since 30 days, devices since 400, counters since 2, links and flows since 1, audit
    events since a year.

    Anybody can make the service write counters and events, so run it every day.
    """
    ended = f"{sessions.purge()} sessions, {devices.purge()} devices, {throttle.purge()} counters"
    ended = f"{ended}, {links.purge()} links, {flows.purge()} flows"
    try:
        events = audit.purge()
    except chain.Broken as fault:
        click.echo(f"Deleted: {ended}.")
        raise click.ClickException(f"No audit event was deleted: {fault}.") from None
    click.echo(f"Deleted: {ended}, {events} audit events.")
