"""Read values of a stranger's TOML: what is missing or of another kind is None or nothing, never an exception."""

from __future__ import annotations

import functools
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .program import Files


def read_toml(files: Files, name: str) -> Any:
    """The value of a TOML file; None if there is none, or it is no TOML."""
    return _parsed(files.read(name) or b"")


@functools.lru_cache(maxsize=4)
def _parsed(data: bytes) -> Any:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return None


def value_at(data: Any, *path: str) -> Any:
    """The value at a path of keys; None if there is none."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def texts(data: Any) -> list[str]:
    """The texts in a list."""
    return [one for one in data if isinstance(one, str)] if isinstance(data, list) else []
