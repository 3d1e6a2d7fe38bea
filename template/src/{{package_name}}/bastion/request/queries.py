"""Ownership queries: read, page, sort and search the signed-in user's rows, only with bound parameters.

An object that is found only by its id can be read by every user (IDOR); a sort order from the address can inject SQL. A
feature of the team uses these helpers and needs no security code of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from flask import request, url_for
from sqlalchemy import ColumnElement, Select, false, func, select
from sqlalchemy.orm import InstrumentedAttribute

from ..audit.refusal import refuse
from ..database import Owned, db
from .authentication import current_user

LARGEST_NUMBER: Final = 2**31 - 1  # of a page: what fits every database's integer
PAGE_SIZE: Final = 20
LARGEST_PAGE_SIZE: Final = 100
MOST_LISTED: Final = 10_000  # items that pages reach, and that are counted: each of them is read for the last page

M = TypeVar("M", bound=Owned)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list: its items, its number (from 1), how many pages and items there are (at most MOST_LISTED)."""

    items: Sequence[T]
    page: int
    pages: int
    total: int

    @property
    def previous(self) -> str | None:
        """Return the address of the page before this one, with the query of this request; None on the first page."""
        return self._address(self.page - 1) if self.has_previous else None

    @property
    def next(self) -> str | None:
        """Return the address of the page after this one, with the query of this request; None on the last page."""
        return self._address(self.page + 1) if self.has_next else None

    def _address(self, number: int) -> str:
        path = url_for(str(request.endpoint), **(request.view_args or {}))  # the query could hold url_for's own names
        return f"{path}?{urlencode({**request.args, 'page': number})}"

    @property
    def has_previous(self) -> bool:
        """Return whether there is a page before this one."""
        return self.page > 1

    @property
    def has_next(self) -> bool:
        """Return whether there is a page after this one."""
        return self.page < self.pages


def owned(model: type[M]) -> Select[M]:
    """Select the rows of `model` that belong to the signed-in user, as the start of lists, counts and searches."""
    if not current_user.is_authenticated:  # an anonymous user's id is None, like that of rows without an owner
        return select(model).where(false())
    return select(model).where(model.user_id == current_user.id)


def owned_or_404(model: type[M], ident: UUID) -> M:
    """Return the row of this id if the signed-in user owns it; otherwise 404, whether it exists or not."""
    row = db.session.scalars(owned(model).where(model.id == ident)).first()
    if row is None:
        refuse(404, "ownership-404", about={"object": model.__name__, "id": str(ident)})
    return row


def page_of(rows: Select[T], number: int, *, size: int = PAGE_SIZE) -> Page[T]:
    """Return page `number` (1 to 2**31-1) of `rows`, `size` items each (1 to 100); raise ValueError beyond these.

    A page beyond MOST_LISTED items is empty: users find later items by searching or by another order.
    """
    if not 1 <= number <= LARGEST_NUMBER or not 1 <= size <= LARGEST_PAGE_SIZE:
        raise ValueError("page or size out of range")
    counted = rows.order_by(None).limit(MOST_LISTED).subquery()
    total = db.session.execute(select(func.count()).select_from(counted)).scalar_one()
    start = (number - 1) * size
    items = db.session.scalars(rows.limit(min(size, total - start)).offset(start)).all() if start < total else []
    return Page(items, number, max(1, -(-total // size)), total)


def contains(column: InstrumentedAttribute[str], wanted: str) -> ColumnElement[bool]:
    """Match rows whose text contains `wanted`, case-insensitively; % and _ are ordinary characters."""
    return column.icontains(wanted, autoescape=True)


def sort_by(allowed: Mapping[str, Any], wanted: str) -> Any:
    """Return the order for the public name `wanted`; refuse with 422 a name that `allowed` does not have."""
    order = allowed.get(wanted)
    if order is None:
        refuse(422, "sql-parameterised")
    return order
