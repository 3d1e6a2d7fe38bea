"""A feature that a team might have written: things that belong to users, made with the helpers of bastion alone.

It stops proofs of ownership, search and paging from depending on the example feature, which a team may delete.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, String, Text, func, select
from sqlalchemy.orm import Mapped, mapped_column

if TYPE_CHECKING:
    from .running import Service, User
    from .wire import BaseClient, Response

TABLE = "proof_probe_item"


def model(service: Service) -> Any:
    """The class ProbeItem on the service's own Base; made once in a process."""
    base: Any = service.module("database").Base
    if TABLE in base.metadata.info:
        return base.metadata.info[TABLE]

    class ProbeItem(base):  # type: ignore[misc]
        """A thing with an owner, a title and a text."""

        __tablename__ = TABLE
        # No concern of the team's migrations, like the template's own tables.
        __table_args__ = {"info": {"owner": "bastion"}}  # noqa: RUF012

        id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
        user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)
        title: Mapped[str] = mapped_column(String(200))
        body: Mapped[str] = mapped_column(Text, default="")

    base.metadata.info[TABLE] = ProbeItem  # the registry alone would forget it
    return ProbeItem


def create_table(service: Service) -> None:
    """Make its table in the database of `service`."""
    model(service).__table__.create(service.engine)


class ProbeBase:
    """What the probes of both styles share; `service.adds_probe()` gives the one of this service's style."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def path(self, item: uuid.UUID) -> str:
        """The address of one thing."""
        return f"/probe/{item}"

    def add(self, user: User, title: str, body: str = "") -> uuid.UUID:
        """Write a thing of this user's to the database directly."""
        made = uuid.uuid4()
        table = model(self.service).__table__
        with self.service.engine.begin() as connection:
            connection.execute(table.insert().values(id=made, user_id=user.id, title=title, body=body))
        return made

    def row(self, item: uuid.UUID) -> tuple[str, str] | None:
        """Title and text as they are in the database, or None; through a connection of its own."""
        table = model(self.service).__table__
        statement = select(table.c.title, table.c.body).where(table.c.id == item)
        with self.service.engine.connect() as connection:
            found = connection.execute(statement).one_or_none()
        return None if found is None else (found.title, found.body)

    def count(self) -> int:
        """How many things there are, of all users."""
        with self.service.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(model(self.service).__table__)) or 0

    def list(self, client: BaseClient, **query: Any) -> Response:
        """The user's list; `q` to search for, `sort` ("title", "reverse"), `page`."""
        return client.get("/probe", query=query)

    def read(self, client: BaseClient, item: uuid.UUID) -> Response:
        return client.get(self.path(item))
