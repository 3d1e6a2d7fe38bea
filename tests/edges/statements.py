"""What the service asks its database for: counted, or kept in the order of its transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..running import Service


class Transactions:
    """What the service's transactions ask the database for, in order: with locks of rows, whichever database it is."""

    def __init__(self, service: Service) -> None:
        from sqlalchemy import event

        self.service = service
        self.found: list[list[Any]] = [[]]
        with service.app.app_context():
            engine = service.module("database").db.engine
        event.listen(engine, "begin", lambda _connection: self.found.append([]))
        event.listen(engine, "before_execute", lambda _, statement, *_more: self.found[-1].append(statement))

    def writing(self, *tables: str) -> list[list[Any]]:
        """Those that wrote one of these tables, and forget all."""
        found = [one for one in self.found if [s for s in one if s.is_dml and s.table.name in tables]]
        self.found = [[]]
        return found

    def held_by(self, statement: Any) -> list[Any]:
        """The ids of the rows that this statement locks; none for another one."""
        if getattr(statement, "_for_update_arg", None) is None:
            return []
        with self.service.engine.connect() as connection:
            return [row.id for row in connection.execute(statement)]


class Statements:
    """Counts what the service asks the database."""

    def __init__(self, service: Service) -> None:
        from sqlalchemy import event

        self.count = 0
        with service.app.app_context():
            event.listen(service.module("database").db.engine, "before_cursor_execute", self._count)

    def _count(self, *_arguments: object) -> None:
        self.count += 1
