"""Strict JSON: no duplicate names, no NaN, no huge numbers, no deep nesting, UTF-8 only.

Two parsers that read one text differently let a request pass the check as a user and arrive as an administrator. A
hundred thousand brackets would crash the parser. A hundred thousand values, each refused by a schema, would cost
seconds of processor time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, NoReturn

DEEPEST: Final = 32  # levels
MOST_VALUES: Final = 2_000  # of all objects and lists; a schema's refusal of each costs 12 µs of the processor
# Larger numbers lose digits in a double, and so in every JavaScript client (RFC 8259, section 6).
LARGEST: Final = 2**53
# An unterminated string matches up to the end of the text. Otherwise each quote in it would be tried as a start, and a
# body of 1 MiB would take hours.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_LEVELS: Final = bytes.maketrans(b"{}", b"[]")
_NO_LEVELS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")


class InvalidJSON(ValueError):
    """The text is not acceptable JSON; the message is fixed and holds nothing of the text."""


def loads(
    data: bytes,
    *,
    top: type[dict[str, Any]] | type[list[Any]] = dict,
    most: int | None = None,
    most_values: int = MOST_VALUES,
) -> Any:
    """Parse one document whose top level is `top`, a list of at most `most` items; raise InvalidJSON.

    `most_values` limits the values of all its objects and lists together.
    """
    _check_shape(data, most_values)
    try:
        parsed = json.loads(
            data.decode("utf-8", errors="strict"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=partial(_number, float),
            parse_int=partial(_number, int),
        )
    except ValueError as error:
        raise InvalidJSON("not valid JSON in UTF-8") from error
    if type(parsed) is not top or (most is not None and len(parsed) > most):
        raise InvalidJSON("not the expected kind of document")
    for number, _value in enumerate(_values(parsed), 1):
        if number > most_values:
            raise InvalidJSON(f"more than {most_values} values")
    return parsed


def _check_shape(data: bytes, most_values: int) -> None:
    """Refuse depth and size that would exhaust the parser, which recurses on a stack of unknown size."""
    bare = _STRING.sub(b"", data)
    levels = bare.translate(_LEVELS, delete=_NO_LEVELS)
    if bare.count(b",") + len(levels) // 2 > 2 * most_values:  # an empty list is a value and no comma
        raise InvalidJSON(f"more than {most_values} values")
    for _ in range(DEEPEST):
        levels = levels.replace(b"[]", b"")  # the innermost level goes
    if levels:
        raise InvalidJSON(f"nested deeper than {DEEPEST} levels, or not balanced")


def _values(value: Any) -> Iterator[Any]:
    """Yield each value of an object or list, and the values inside it, lazily."""
    if isinstance(value, dict):
        _check_text("".join(value))
    elif isinstance(value, str):
        _check_text(value)
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield inner
            yield from _values(inner)


def _check_text(text: str) -> None:
    if _UNFIT.search(text):
        raise InvalidJSON("a text with NUL or half a surrogate pair")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidJSON("a name occurs twice in one object")
    return found


def _constant(_name: str) -> NoReturn:
    raise InvalidJSON("NaN and Infinity are no JSON")


def _number(kind: Callable[[str], float], digits: str) -> float:
    value = kind(digits)
    if not -LARGEST <= value <= LARGEST:
        raise InvalidJSON("a number beyond 2**53")
    return value
