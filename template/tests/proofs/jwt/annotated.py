"""Views with annotations of every kind, and whether the service makes an operation of them.

It stops proofs of what may be declared from knowing only the views that a careful team writes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..running import Service


class Kinds:
    """Views as a team could annotate them."""

    def __init__(self, service: Service) -> None:
        from pydantic import BaseModel

        schema, self._operation = service.module("jwt.schema"), service.module("jwt.api").operation
        self.sent = type("Sent", (schema.Schema,), {})
        self.query = type("Asked", (schema.Query,), {})
        self.one, self.other = (type(name, (schema.Answer,), {}) for name in ("One", "Other"))
        self.foreign = type("Foreign", (BaseModel,), {})

    def made(self, annotations: dict[str, Any], **options: Any) -> Any:
        """The operation of a view that has these annotations. Raises what the service raises."""

        def view(**_values: Any) -> Any:
            """Do something."""
            return self.one()

        view.__annotations__ = annotations
        return self._operation(**options)(view)

    def is_made(self, annotations: dict[str, Any], **options: Any) -> bool:
        """Whether it becomes an operation; False when it is refused as what it is."""
        with suppress(TypeError):
            return callable(self.made(annotations, **options))
        return False
