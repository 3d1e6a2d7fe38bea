"""A feature that a team might have written: things that belong to users, made with the helpers of bastion alone.

It stops proofs of ownership, search and paging from depending on the example feature, which a team may delete.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

if TYPE_CHECKING:
    from .running import Service

TABLE = "proof_probe_item"


def model(service: Service) -> Any:
    """The class ProbeItem on the service's own Base; made once in a process."""
    base: Any = service.module("database").Base
    for mapper in base.registry.mappers:
        if mapper.class_.__name__ == "ProbeItem":
            return mapper.class_

    class ProbeItem(base):  # type: ignore[misc]
        """A thing with an owner, a title and a text."""

        __tablename__ = TABLE
        # No concern of the team's migrations, like the template's own tables.
        __table_args__ = {"info": {"owner": "bastion"}}  # noqa: RUF012

        id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
        user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)
        title: Mapped[str] = mapped_column(String(200))
        body: Mapped[str] = mapped_column(Text, default="")

    return ProbeItem


def create_table(service: Service) -> None:
    """Make its table in the database of `service`."""
    model(service).__table__.create(service.engine)
