"""Proofs of identity/models.py: what the code says of a table is true of the table, which only a migration changes.

They stop a protection that is declared and not there: a uniqueness, a length, rows that go with their account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from .harness import works

if TYPE_CHECKING:
    from .running import Service


def test_the_tables_are_as_the_models_say(service: Service) -> None:
    models: Any = service.module("database").Base.metadata
    works({"auth_user", "auth_session", "audit_event"} <= models.tables.keys(), "there are models to compare with")

    def has_a_model(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name in models.tables

    with service.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": has_a_model})
        assert compare_metadata(context, models) == []
