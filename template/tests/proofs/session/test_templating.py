"""What people type is shown as text on every page: it makes no element, no attribute and no expression of its own."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import escape

from ..harness import edit, harm, protects, works

if TYPE_CHECKING:
    from ..running import Service


ROW = "autoescape-all-templates"
AUTOESCAPE = edit(
    "session/templating.py",
    "    app.jinja_env.autoescape = True\n",
    "    app.jinja_env.autoescape = app.select_jinja_autoescape\n",
)


@protects(ROW, suffix=AUTOESCAPE)
def test_a_template_of_any_suffix_shows_what_was_typed_as_text(service: Service, tmp_path: Path) -> None:
    from flask import Blueprint, render_template, request

    def show(name: str) -> str:
        return render_template(name, text=request.args["text"])

    blueprint = Blueprint("shown", __name__, template_folder=str(tmp_path))
    blueprint.add_url_rule("/shown/<name>", "show", service.module().public(show))
    service.adds(lambda app: app.register_blueprint(blueprint))
    visitor, hostile = service.client(), "\"><img src=x onerror=alert(1)> ' y=' {{ 7777 * 7 }}"
    for name in ("a.html", "a.html.j2", "a.txt", "a"):
        (tmp_path / name).write_text('<p title="{{ text }}">{{ text }}</p>')
        page = visitor.get(f"/shown/{name}", query={"text": "plain words"}).text
        works(page == '<p title="plain words">plain words</p>', f"{name} shows what was typed")
        page = visitor.get(f"/shown/{name}", query={"text": hostile}).text
        harm("<img" in page, f"{name} made an element of what was typed")
        assert page == f'<p title="{escape(hostile)}">{escape(hostile)}</p>'


# --- attributes stand in quotes -----------------------------------------------------------------------------

_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_VALUE = "\x1a"  # stands for what a template puts in


def unquoted(source: str) -> list[str]:
    """The tags of a template in which a variable makes an attribute's value, or a part of it, without quotes."""
    plain = _JINJA.sub(lambda found: _VALUE if found[0].startswith("{{") else "", source)

    class Tags(HTMLParser):
        found: list[str] = []  # noqa: RUF012  made anew for each call

        def handle_starttag(self, _tag: str, _attributes: object) -> None:
            text = self.get_starttag_text() or ""
            outside = re.sub(r"\"[^\"]*\"|'[^']*'", "", text)
            if re.search(rf"=[^\s>]*{_VALUE}", outside):
                self.found.append(text.replace(_VALUE, "{{ }}"))

    reader = Tags()
    reader.feed(plain)
    reader.close()
    return reader.found


@protects(
    ROW,
    quotes=edit(
        "session/templates/bastion/_form.html",
        '<a href="#{{ control.id }}">',
        "<a href=#{{ control.id }}>",
    ),
)
def test_every_attribute_that_a_template_fills_stands_in_quotes(service: Service) -> None:
    environment = service.app.jinja_env
    loader = environment.loader
    assert loader is not None
    names = [name for name in environment.list_templates() if not name.endswith(".txt")]
    works(len(names) >= 5, "there are templates")
    works("bastion/_form.html" in names, "the forms' macros are among them")
    for name in names:
        source, _, _ = loader.get_source(environment, name)
        harm(unquoted(source), f"{name} has an attribute in which a space makes another attribute")
