"""`keys new KIND` and `keys rotate KIND`: a command makes and exchanges a key, so nobody puts one together by hand.

`new` writes a secret's text to standard output and changes nothing: where it is kept is the operator's to say. The
chosen style adds its kinds of keys to these groups.
"""

from __future__ import annotations

import secrets

import click
from flask.cli import with_appcontext

from . import audit, encryption


@click.group("keys")
def keys_group() -> None:
    """Keys: new, rotate."""


@keys_group.group("new")
def new() -> None:
    """Write a new key for a secret; nothing is changed."""


@keys_group.group("rotate")
def rotate() -> None:
    """Put a new key in the place of a former one; nobody is signed out."""


@new.command("data")
def new_data_key() -> None:
    """Write a new key for the secret DATA_KEY.

    Three steps put it in use: add it to DATA_KEY_FALLBACKS of every process; exchange the two, so that the former key
    is the fallback; run `keys rotate data`.
    """
    click.echo(secrets.token_urlsafe(32))


@rotate.command("data")
@with_appcontext
def rotate_data() -> None:
    """Encrypt under DATA_KEY what is in the database under DATA_KEY_FALLBACKS; safe to interrupt and to repeat.

    When it says that all is under DATA_KEY, and no process has the former key as its DATA_KEY any more, the former one
    is needed for backups, and for a year to verify the audit.
    """
    done = encryption.rotate()
    audit.record("key.rotated", purpose="data", renewed=done.renewed)
    click.echo(f"Encrypted anew: {done.renewed}.")
    for where in done.unreadable:
        click.echo(f"No key reads {where}: put back the key that it was written with.", err=True)
    if done.missed:
        click.echo(f"Written by somebody else meanwhile: {done.missed}.", err=True)
    if done.missed or done.unreadable:
        raise click.ClickException("Keep the former keys, and run this again.")
    click.echo("All is under DATA_KEY.")
