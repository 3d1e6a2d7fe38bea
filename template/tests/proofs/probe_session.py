"""The probe feature as pages and forms: made as a team would make it, with the helpers of bastion alone.

It stops proofs of ownership, search, paging and validation from depending on the example feature.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .probe_model import ProbeBase, model

if TYPE_CHECKING:
    from flask import Flask

    from .session_client import Client
    from .wire import Response

PAGE = """{% extends "bastion/base.html" %}
{% from "bastion/_form.html" import field, pager, problems, submit %}
{% block content %}
{% if page is defined %}
<ul>{% for item in page.items %}<li data-probe="{{ item.title }}">{{ item.title }}</li>{% endfor %}</ul>
{{ pager(page, "probe.index", **query.kept) }}
{% else %}
{{ problems(form) }}
<form method="post" action="{{ action }}">
  {{ form.hidden_tag() }}
  {{ field(form.title) }}
  {{ field(form.body) }}
  {{ submit("Save") }}
</form>
{% endif %}
{% endblock %}
"""
Mark = Callable[[Callable[..., Any]], Callable[..., Any]]
_TITLE = re.compile(r"data-probe=\"([^\"]*)\"")


class Probe(ProbeBase):
    """The probe's pages below /probe, and how an honest browser uses them."""

    def install(self, app: Flask) -> None:
        """Register the routes; run by the harness between the team's function and the seal."""
        from flask import Blueprint, redirect, render_template_string, url_for

        bastion, database = self.service.module(), self.service.module("database")
        login_required: Mark = bastion.login_required
        queries, forms = self.service.module("request.queries"), self.service.module("session.forms")
        item: Any = model(self.service)
        orders = {"title": item.title.asc(), "reverse": item.title.desc()}
        blueprint = Blueprint("probe", __name__, url_prefix="/probe")

        class ProbeForm(forms.SubmittedForm):  # type: ignore[misc, name-defined]
            title = forms.StringField("Title", [forms.InputRequired(), forms.Length(max=200), forms.PlainText()])
            body = forms.TextAreaField("Text", [forms.Length(max=1000), forms.PlainText(lines=True)])

        class ProbeQuery(forms.ListQuery):  # type: ignore[misc, name-defined]
            sorts = tuple(orders)

        @blueprint.get("")
        @login_required
        def index() -> Any:
            query = ProbeQuery.read()
            rows = bastion.owned(item).order_by(queries.sort_by(orders, query.sort.data), item.id)
            if query.q.data:
                rows = rows.where(queries.contains(item.title, query.q.data))
            page = queries.page_of(rows, query.page.number, size=query.size.number)
            return render_template_string(PAGE, page=page, query=query)

        @blueprint.post("")
        @login_required
        def create() -> Any:
            form = ProbeForm()
            if not form.validate():
                return render_template_string(PAGE, form=form, action=url_for("probe.create")), 422
            database.db.session.add(item(user_id=bastion.current_user.id, title=form.title.data, body=form.body.data))
            database.db.session.commit()
            return redirect(url_for("probe.index"), 303)

        @blueprint.get("/<uuid:item_id>")
        @login_required
        def read(item_id: UUID) -> Any:
            found = bastion.owned_or_404(item, item_id)
            action = url_for("probe.change", item_id=item_id)
            return render_template_string(PAGE, form=ProbeForm(obj=found), action=action)

        @blueprint.post("/<uuid:item_id>")
        @login_required
        def change(item_id: UUID) -> Any:
            found = bastion.owned_or_404(item, item_id)
            form = ProbeForm()
            if not form.validate():
                action = url_for("probe.change", item_id=item_id)
                return render_template_string(PAGE, form=form, action=action), 422
            form.populate_obj(found)
            database.db.session.commit()
            return redirect(url_for("probe.index"), 303)

        @blueprint.post("/<uuid:item_id>/delete")
        @login_required
        def delete(item_id: UUID) -> Any:
            database.db.session.delete(bastion.owned_or_404(item, item_id))
            database.db.session.commit()
            return redirect(url_for("probe.index"), 303)

        app.register_blueprint(blueprint)

    def titles(self, answer: Response) -> list[str]:
        """The titles on a page of the list, as a person reads them."""
        return [unescape(text) for text in _TITLE.findall(answer.text)]

    def create(self, client: Client, **fields: Any) -> Response:
        return client.post("/probe", {"title": "a title", "body": "", **fields})

    def change(self, client: Client, item: UUID, **fields: Any) -> Response:
        return client.post(self.path(item), {"title": "another title", "body": "", **fields})

    def delete(self, client: Client, item: UUID) -> Response:
        return client.post(f"{self.path(item)}/delete")
