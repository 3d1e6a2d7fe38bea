"""Where the service lies that is being attacked: the original, or in a sabotaged run the scratch copy.

It stops proofs from reading the original's files while they attack the copy.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from .service import PACKAGE

root = Path(__file__).resolve().parents[2]
"""The service's root; `sabotage.move_to` changes it in a child."""


def source() -> Path:
    """The folder of the service's package."""
    return root / "src" / PACKAGE


def bastion() -> Path:
    """The folder of the protections."""
    return source() / "bastion"


def loaded(path: str) -> Any:
    """A module of the protections, loaded as a file: the parent of a sabotage never imports the service."""
    spec = spec_from_file_location(Path(path).stem, bastion() / path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules.setdefault(module.__name__, module)  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module
