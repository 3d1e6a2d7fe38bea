"""`keys new jwt` and `keys rotate jwt`: the ring is made and turned by a command, so nobody pastes a key together.

Both write the secret's new text to standard output and change nothing: where it is kept is the operator's to say.
"""

from __future__ import annotations

from typing import Final

import click
from flask.cli import with_appcontext

from ..state import state
from . import keys

_KIND: Final = click.argument("kind", type=click.Choice(["jwt"]))


@click.group("keys")
def keys_group() -> None:
    """Signing keys: new, rotate."""


@keys_group.command("new")
@_KIND
@click.option("--algorithm", type=click.Choice([*keys.KINDS.values()]), default="EdDSA", show_default=True)
def new(kind: str, algorithm: str) -> None:  # noqa: ARG001  (there is one choice so far)
    """Write a new ring for the secret JWT_KEYS; every access token of a former ring ends with it."""
    click.echo(keys.new_ring(algorithm))


@keys_group.command("rotate")
@_KIND
@with_appcontext
def rotate(kind: str) -> None:  # noqa: ARG001
    """Write the ring one step on: first a next key is added, then it becomes active. Nobody is signed out.

    Store the text as JWT_KEYS; it is in use some seconds later (at the next start, if the environment holds it). Wait
    at least ten minutes between two steps.
    """
    click.echo(keys.rotated(state().secrets.get(keys.SECRET).reveal()))


COMMANDS: Final[tuple[click.Command, ...]] = (keys_group,)
