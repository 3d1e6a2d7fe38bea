"""Read values of untrusted TOML: a missing value or one of another type is None or empty, never an exception."""

from __future__ import annotations

import functools
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .program import Files


def read_toml(files: Files, name: str) -> Any:
    """The value of a TOML file; None if it is missing or invalid."""
    return _parsed(files.read(name) or b"")


@functools.lru_cache(maxsize=4)
def _parsed(data: bytes) -> Any:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return None


def value_at(data: Any, *path: str) -> Any:
    """The value at a path of keys; None if it is missing."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def texts(data: Any) -> list[str]:
    """The texts in a list."""
    return [one for one in data if isinstance(one, str)] if isinstance(data, list) else []
