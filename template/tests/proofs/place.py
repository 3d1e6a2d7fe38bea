"""Where the service lies that is being attacked: the original, or in a sabotaged run the scratch copy.

It stops proofs from reading the original's files while they attack the copy.
"""

from __future__ import annotations

from pathlib import Path

from .service import PACKAGE

root = Path(__file__).resolve().parents[2]
"""The service's root; `sabotage.move_to` changes it in a child."""


def source() -> Path:
    """The folder of the service's package."""
    return root / "src" / PACKAGE


def bastion() -> Path:
    """The folder of the protections."""
    return source() / "bastion"
