"""Path parameters: a value that is too long, unprintable or out of range is answered with 404.

Flask's `<int:number>` takes any number of digits and `<name>` any character. A number that no database can hold ends as
an error 500. Text displayed in another order than stored (bidi controls) deceives readers. Source: ASVS 1.4.2, 2.2.1.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Flask
from werkzeug.routing import IntegerConverter, Map, PathConverter, UnicodeConverter, ValidationError

from ..text import is_plain
from .queries import LARGEST_NUMBER

LONGEST: Final = 255  # characters of one part
LONGEST_PATH: Final = 1024  # characters of a part that may hold slashes


class WholeNumber(IntegerConverter):
    """`<int:number>`: 0 to 2**31-1 in plain digits; a route may narrow that, or declare another `max` or `signed`."""

    def __init__(
        self,
        url_map: Map,
        fixed_digits: int = 0,
        min: int | None = None,
        max: int | None = LARGEST_NUMBER,
        signed: bool = False,
    ) -> None:
        super().__init__(url_map, fixed_digits, min, max, signed)

    def to_python(self, value: str) -> Any:
        """Return the number; a number out of range, or in another spelling, is not found."""
        if not value.isascii():
            raise ValidationError
        return super().to_python(value)


class PlainPart(UnicodeConverter):
    """`<name>`: at most 255 characters that can be shown safely."""

    def to_python(self, value: str) -> str:
        """Return the text if it may reach a view."""
        return _plain(value, LONGEST)


class PlainPath(PathConverter):
    """`<path:name>`: at most 1024 characters that can be shown safely, slashes included."""

    def to_python(self, value: str) -> str:
        """Return the text if it may reach a view."""
        return _plain(value, LONGEST_PATH)


def _plain(text: str, most: int) -> str:
    if len(text) > most:
        raise ValidationError
    if not is_plain(text):
        raise ValidationError
    return text


def install(app: Flask) -> None:
    """Make these the converters of every route that is added from now on."""
    app.url_map.converters = {
        **app.url_map.converters,
        "default": PlainPart,
        "string": PlainPart,
        "int": WholeNumber,
        "path": PlainPath,
    }
