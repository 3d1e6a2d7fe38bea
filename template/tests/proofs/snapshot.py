"""All rows of all tables, the team's included: whether an attack changed anything, wherever that is kept.

It stops proofs from looking only where they expect a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .running import Service

MOVING = frozenset({"seen_at", "expires_at"})
"""Columns that any request of a signed-in user may write."""


def everything(service: Service) -> dict[str, list[str]]:
    """Table to its rows, read through a connection of the proofs' own."""
    tables: Any = service.module("database").Base.metadata.sorted_tables
    found: dict[str, list[str]] = {}
    with service.engine.connect() as connection:
        for table in tables:
            kept = [column for column in table.columns if column.name not in MOVING]
            found[table.name] = sorted(repr(row) for row in connection.execute(table.select().with_only_columns(*kept)))
    return found


def changed(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """The tables that differ."""
    return [name for name in before if before[name] != after.get(name)]
