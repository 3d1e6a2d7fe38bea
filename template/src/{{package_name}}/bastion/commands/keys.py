"""`keys new KIND` and `keys rotate KIND`: make and rotate keys by command, so that no operator edits one by hand.

A hand-edited key is weak, or unknown to half of the processes. Both commands write a secret's text to standard output
and instructions to standard error, and change no secret: the operator stores the text. `add_rotation` and
`new.add_command` add the kinds of keys of the chosen style.
"""

from __future__ import annotations

from collections.abc import Callable

import click
from flask.cli import with_appcontext

from .. import audit, log
from ..crypto import encryption, ring
from ..state import state


@click.group("keys")
def keys_group() -> None:
    """Keys: new, rotate, reencrypt."""


@keys_group.group("new")
def new() -> None:
    """Write a new key for a secret; no secret is changed."""


@keys_group.group("rotate")
def rotate() -> None:
    """Rotate a secret's keys by one step: first a next key is added, then it becomes active. No user is signed out.

    Store the text as the secret, at once. Six minutes later (eleven for jwt) the other step is possible.
    """


def write_rotated(name: str, turn: Callable[[], ring.Turned]) -> None:
    """Write the rotated ring of `turn` to standard output, and instructions to standard error."""
    try:
        turned = turn()
    except ring.TooEarly as early:
        told = f"Not every process knows the next key yet. Run this again in {early.wait} s."
        raise click.ClickException(told) from None
    log.to_standard_error()  # what stands on standard output is stored as the secret
    audit.record("key.rotated", purpose=name, step=turned.step)
    click.echo(f"In this text a key is {turned.step}. Store it as the secret {name} within five minutes.", err=True)
    click.echo(turned.text)


def _rotated(name: str) -> ring.Turned:
    read = state()
    for key in read.rings.get(name).overdue():
        if ring.PURPOSES[name].exact and encryption.is_used(key.text):
            raise click.ClickException(f"{key.name} has to go, and is still in use. Run `keys reencrypt` first.")
    return ring.rotated(name, read.secrets.found(name))


def _add_commands(kind: str, name: str) -> None:
    @new.command(kind, help=f"Write a new key for the secret {name}.")
    def new_key() -> None:
        click.echo(ring.new_key())

    add_rotation(kind, name, lambda: _rotated(name))


def add_rotation(kind: str, name: str, turn: Callable[[], ring.Turned]) -> None:
    """Add `keys rotate KIND` for the secret `name`; `turn` returns its next text."""

    @rotate.command(kind, help=f"Write the ring of the secret {name} one step on.")
    @with_appcontext
    def rotate_ring() -> None:
        write_rotated(name, turn)


for _name, _purpose in ring.PURPOSES.items():
    _add_commands(_purpose.command, _name)


@keys_group.command("reencrypt")
@with_appcontext
def reencrypt() -> None:
    """Re-encrypt stored values of former keys under the active DATA_KEY; safe to interrupt and to repeat.

    Afterwards a retired key is needed for backups, and for a year to verify the audit; then `keys rotate data` removes
    it.
    """
    if wait := state().rings.get(encryption.SECRET).spreads_for():
        raise click.ClickException(f"Some process may still encrypt under the former key. Run this again in {wait} s.")
    done = encryption.renew()
    audit.record("data.reencrypted", renewed=done.renewed)
    click.echo(f"Encrypted anew: {done.renewed}.")
    for where in done.unreadable:
        click.echo(f"No key reads {where}: put back the key that it was written with.", err=True)
    if done.missed:
        click.echo(f"Written by somebody else meanwhile: {done.missed}.", err=True)
    if done.missed or done.unreadable:
        raise click.ClickException("Keep the former keys, and run this again.")
    click.echo("All is under DATA_KEY.")
