"""`keys new jwt` and `keys rotate jwt`: the ring is made and turned by a command, so nobody pastes a key together.

Both write the secret's new text to standard output and change nothing: where it is kept is the operator's to say.
"""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..key_commands import new, rotate, write_rotated
from ..state import state
from . import keys


@new.command("jwt")
@click.option("--algorithm", type=click.Choice([*keys.KINDS.values()]), default="EdDSA", show_default=True)
def new_ring(algorithm: str) -> None:
    """Write a new ring for the secret JWT_KEYS; every access token of a former ring ends with it."""
    click.echo(keys.new_ring(algorithm))


@rotate.command("jwt")
@with_appcontext
def rotate_ring() -> None:
    """Write the ring of the secret JWT_KEYS one step on."""
    write_rotated(keys.SECRET, lambda: keys.rotated(state().secrets.found(keys.SECRET)))
