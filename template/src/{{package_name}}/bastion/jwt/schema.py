"""Input validation: client input is declared with type, length and allowed values; undeclared input is refused.

This stops type confusion (a `"1"` that becomes 1), mass assignment, and bidirectional characters that get past other
checks. Source: ASVS 1.3, 2.2, 15.3.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Generic, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ..request.queries import LARGEST_NUMBER, LARGEST_PAGE_SIZE, PAGE_SIZE, Page
from ..text import is_plain

MOST_FAULTS: Final = 20  # in one answer; a list of a thousand wrong items must not make a huge one
LONGEST_TEXT: Final = 1_000  # characters of a text field that declares no max_length
LONGEST_SEARCH: Final = 100
# Pydantic messages that contain only numbers and names of the schema, and no input of the client.
_TELLABLE: Final = frozenset(
    """missing string_type string_too_short string_too_long bool_type int_type float_type list_type dict_type
    greater_than greater_than_equal less_than less_than_equal literal_error enum uuid_type datetime_type date_type
    plain_text whole_number value_error""".split()  # noqa: SIM905
)


class Lines:
    """Mark a field whose text may have several lines."""


Text = Annotated[str, Lines()]
"""A text of several lines, with line breaks and tabs. A plain `str` is one line."""


def _whole_number(value: object) -> object:
    # Pydantic would also accept " 1", "+1", "1.0" and "1_0" as 1.
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise PydanticCustomError("whole_number", "Use a whole number.")
    return value


PageNumber = Annotated[int, Field(ge=1, le=LARGEST_NUMBER), BeforeValidator(_whole_number)]
"""The number of a page in a query: 1 to 2**31-1, in plain digits."""
PageSize = Annotated[int, Field(ge=1, le=LARGEST_PAGE_SIZE), BeforeValidator(_whole_number)]
"""The number of items of a page in a query: 1 to 100, in plain digits."""
SearchText = Annotated[str, Field(max_length=LONGEST_SEARCH)]
"""A search text: one line of at most 100 characters."""


class _Sent(BaseModel):
    """Base of both kinds of input: no undeclared field, and no text that cannot be shown safely."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, str_max_length=LONGEST_TEXT)

    @field_validator("*")
    @classmethod
    def _plain_text(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        lines = field is not None and any(isinstance(mark, Lines) for mark in field.metadata)
        for text in _texts(value):
            if not is_plain(text, lines=lines):
                raise PydanticCustomError("plain_text", "This text holds characters that can't be shown safely.")
        return value


class Schema(_Sent):
    """Base of every body: strict types, so neither `"1"` nor `true` is a 1. Use SecretStr for secret values."""

    model_config = ConfigDict(strict=True)


class Query(_Sent):
    """Base of every query string: each parameter at most once, and only declared ones."""


class ListQuery(Query):
    """The query of a list: the page, its size and the search text. A subclass adds its order and filters as fields."""

    page: PageNumber = 1
    size: PageSize = PAGE_SIZE
    q: SearchText = ""


class Answer(BaseModel):
    """Base of every answer: it contains only declared fields, whatever the row holds."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    @classmethod
    def of(cls, row: object) -> Self:
        """Return the declared fields, read from the attributes of a row."""
        return cls.model_validate(row)


A = TypeVar("A", bound=Answer)


class PageAnswer(Answer, Generic[A]):
    """One page of a list: its items, its number (from 1), the number of pages and items, and the pages beside it.

    `previous` and `next` are addresses with the filters of this request, or null.
    """

    items: list[A]
    page: int
    pages: int
    total: int
    previous: str | None
    next: str | None

    @classmethod
    def of_page(cls, page: Page[Any]) -> Self:
        """Return the page that `page_of` found, with the declared fields of its items."""
        return cls.model_validate(page)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _texts(item)


def faults_of(error: ValidationError, *, in_query: bool) -> list[dict[str, str]]:
    """Return where the input is invalid (RFC 6901 pointer, or parameter) and the rule; never the input itself."""
    found: list[dict[str, str]] = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False)[:MOST_FAULTS]:
        kind, place = fault["type"], fault["loc"]
        if kind == "extra_forbidden":  # its name is the client's: point to where it stood
            place, detail = place[:-1], "There is a field that is not known."
        else:
            detail = fault["msg"].removeprefix("Value error, ") if kind in _TELLABLE else "This value is not valid."
        if in_query:
            found.append({"parameter": str(place[0]) if place else "", "detail": detail})
        else:
            found.append({"pointer": _pointer(place), "detail": detail})
    return found


def _pointer(place: tuple[int | str, ...]) -> str:
    """Return a JSON pointer as a URI fragment, as in `#/lines/0/amount` (RFC 6901, 6; RFC 9457, 3)."""
    parts = (quote(str(part).replace("~", "~0").replace("/", "~1"), safe="~!$&'()*+,;=:@") for part in place)
    return "#" + "".join(f"/{part}" for part in parts)
