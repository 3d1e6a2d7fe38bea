"""The probe feature as JSON operations: made as a team would make it, with the helpers of bastion alone.

It stops proofs of ownership, search, paging and validation from depending on the example feature.
"""

# No `from __future__ import annotations` here: the operations read the annotations of functions inside a function, and
# names that are local to it can't be looked up from text.
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from .probe_model import ProbeBase, model

if TYPE_CHECKING:
    from flask import Flask

    from .jwt_client import Client
    from .wire import Response

Mark = Callable[[Callable[..., Any]], Callable[..., Any]]


class Probe(ProbeBase):
    """The probe's operations below /probe, and how an honest client calls them."""

    def install(self, app: "Flask") -> None:
        """Register the routes; run by the harness between the team's function and the seal."""
        from flask import Blueprint
        from pydantic import Field

        bastion, database = self.service.module(), self.service.module("database")
        queries, schema = self.service.module("request.queries"), self.service.module("jwt.schema")
        api: Any = self.service.module("jwt.api")
        login_required: Mark = bastion.login_required
        operation: Mark = api.operation
        created: Mark = api.operation(status=201)
        item: Any = model(self.service)
        orders = {"title": item.title.asc(), "reverse": item.title.desc()}
        blueprint = Blueprint("probe", __name__, url_prefix="/probe")

        class ProbeBody(schema.Schema):  # type: ignore[misc, name-defined]
            title: Annotated[str, Field(min_length=1, max_length=200)]
            body: Annotated[schema.Text, Field(max_length=1000)] = ""  # type: ignore[name-defined]

        class ProbeQuery(schema.ListQuery):  # type: ignore[misc, name-defined]
            sort: Literal["title", "reverse"] = "title"

        class ProbeAnswer(schema.Answer):  # type: ignore[misc, name-defined]
            id: UUID
            title: str
            body: str

        @blueprint.get("")
        @login_required
        @operation
        def index(query: ProbeQuery) -> schema.PageAnswer[ProbeAnswer]:  # type: ignore[name-defined]
            rows = bastion.owned(item).order_by(queries.sort_by(orders, query.sort), item.id)
            if query.q:
                rows = rows.where(queries.contains(item.title, query.q))
            return schema.PageAnswer[ProbeAnswer].of_page(queries.page_of(rows, query.page, size=query.size))

        @blueprint.post("")
        @login_required
        @created
        def create(body: ProbeBody) -> ProbeAnswer:
            made = item(user_id=bastion.current_user.id, title=body.title, body=body.body)
            database.db.session.add(made)
            database.db.session.commit()
            return ProbeAnswer.of(made)  # type: ignore[no-any-return]

        @blueprint.get("/<uuid:item_id>")
        @login_required
        @operation
        def read(item_id: UUID) -> ProbeAnswer:
            return ProbeAnswer.of(bastion.owned_or_404(item, item_id))  # type: ignore[no-any-return]

        @blueprint.put("/<uuid:item_id>")
        @login_required
        @operation
        def change(item_id: UUID, body: ProbeBody) -> ProbeAnswer:
            found = bastion.owned_or_404(item, item_id)
            found.title, found.body = body.title, body.body
            database.db.session.commit()
            return ProbeAnswer.of(found)  # type: ignore[no-any-return]

        @blueprint.delete("/<uuid:item_id>")
        @login_required
        @operation
        def delete(item_id: UUID) -> None:
            database.db.session.delete(bastion.owned_or_404(item, item_id))
            database.db.session.commit()

        app.register_blueprint(blueprint)

    def titles(self, answer: "Response") -> list[str]:
        """The titles in a page of the list."""
        return [found["title"] for found in answer.json["items"]] if answer.ok else []

    def create(self, client: "Client", **fields: Any) -> "Response":
        return client.post("/probe", {"title": "a title", "body": "", **fields})

    def change(self, client: "Client", item: UUID, **fields: Any) -> "Response":
        return client.put(self.path(item), {"title": "another title", "body": "", **fields})

    def delete(self, client: "Client", item: UUID) -> "Response":
        return client.delete(self.path(item))
