"""JSON means one thing: no duplicate names, no NaN, no huge numbers, no deep nesting, UTF-8 only.

Two parsers that read one text differently let a request pass the check as a user and arrive as an administrator; a
hundred thousand brackets end in a crash instead of an answer. What is deep, long or of too many parts is refused
before anything is parsed.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

DEEPEST: Final = 32  # levels
# Of all brackets of a document, so half as many objects and arrays. Half a million of them fit into 1 MiB, and each
# costs what a hundred letters cost: counting levels, parsing and checking would take a second of the processor.
MOST_BRACKETS: Final = 20_000
MOST_VALUES: Final = 2_000  # that a comma stands before; a schema's refusal of each costs 12 µs of the processor
MOST_DIGITS: Final = 32
LARGEST: Final = (
    2**53
)  # beyond it a double, and so every JavaScript client, loses the last digits (RFC 8259, section 6)

# A string without an end matches too, up to the end of the text: where it did not, each quote in it would be tried as a
# beginning of its own, and a body of 1 MiB would take hours.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_LONG_NUMBER: Final = re.compile(rb"[0-9.]{%d}" % (MOST_DIGITS + 1))
_LEVELS: Final = bytes.maketrans(b"{}", b"[]")
_NO_LEVELS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")


class InvalidJSON(ValueError):
    """The text is not the JSON that this service reads; the message is fixed and holds nothing of the text."""


def loads(
    data: bytes,
    *,
    top: type[dict[str, Any]] | type[list[Any]] = dict,
    most: int | None = None,
    most_values: int = MOST_VALUES,
) -> Any:
    """Parse one document whose top level is `top`, a list of at most `most` items; raises InvalidJSON.

    `most_values` are the names and items of all its objects and lists together.
    """
    _check_shape(data, most_values)
    try:
        text = data.decode("utf-8", errors="strict")
        parsed = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidJSON("not valid JSON in UTF-8") from error
    _check_text(parsed)
    if type(parsed) is not top or (most is not None and len(parsed) > most):
        raise InvalidJSON("not the expected kind of document")
    return parsed


def _check_shape(data: bytes, most_values: int) -> None:
    """Brackets, depth, values and digits, counted in the bytes: the parser proper never sees what would exhaust it."""
    bare = _STRING.sub(b"", data)
    levels = bare.translate(_LEVELS, delete=_NO_LEVELS)
    if len(levels) > MOST_BRACKETS:
        raise InvalidJSON(f"more than {MOST_BRACKETS} brackets")
    for _ in range(DEEPEST):
        levels = levels.replace(b"[]", b"")  # the innermost level goes
    if levels:
        raise InvalidJSON(f"nested deeper than {DEEPEST} levels, or not balanced")
    if bare.count(b",") >= most_values:
        raise InvalidJSON(f"more than {most_values} values")
    if _LONG_NUMBER.search(bare):
        raise InvalidJSON(f"a number of more than {MOST_DIGITS} digits")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidJSON("a name occurs twice in one object")
    return found


def _constant(_name: str) -> NoReturn:
    raise InvalidJSON("NaN and Infinity are no JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if not -LARGEST <= value <= LARGEST:
        raise InvalidJSON("a number beyond 2**53")
    return value


def _int(digits: str) -> int:
    value = int(digits)
    if not -LARGEST <= value <= LARGEST:
        raise InvalidJSON("a number beyond 2**53")
    return value


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if _UNFIT.search(value):
            raise InvalidJSON("a text with NUL or half a surrogate pair")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(name)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
