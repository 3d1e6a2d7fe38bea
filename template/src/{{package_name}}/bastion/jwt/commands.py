"""`keys new jwt` and `keys rotate jwt`: the ring is made and turned by a command, so nobody pastes a key together.

Both write the secret's new text to standard output and change nothing: where it is kept is the operator's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import click

from ..crypto.ring import Turned
from ..state import state
from . import keys


@click.command("jwt")
@click.option("--algorithm", type=click.Choice([*keys.KINDS.values()]), default="EdDSA", show_default=True)
def new_ring(algorithm: str) -> None:
    """Write a new ring for the secret JWT_KEYS; every access token of a former ring ends with it."""
    click.echo(keys.new_ring(algorithm))


def _rotated() -> Turned:
    return keys.rotated(state().secrets.found(keys.SECRET))


NEW_KEYS: Final[tuple[click.Command, ...]] = (new_ring,)
"""Of `keys new`, beside those of every service."""
ROTATED: Final[Mapping[str, tuple[str, Callable[[], Turned]]]] = {"jwt": (keys.SECRET, _rotated)}
"""Of `keys rotate`, beside those of every service: kind of key to its secret, and what makes the next text of it."""
