"""Markup: templates and scripts escape user input, hold no unsafe construct and load only from this origin.

The scanner is shown a sample of each construct before it reads the service, so that an empty finding means something.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import escape

from .. import place
from ..harness import edit, harm, insert, protects, works

if TYPE_CHECKING:
    from ..running import Service


HARMLESS = """{# a remark on |safe #}<link rel="stylesheet" href="{{ url_for('static', filename='x.css') }}">
<a href="#{{ field.id }}">{{ name }}</a> <a href="https://elsewhere.example/">x</a> <a href="{{ address | link }}">y</a>
<form method="post" action="{{ url_for('notes.list') }}"><input name="x" value="{{ value }}"></form>
<script nonce="{{ csp_nonce() }}" type="application/json" id="data">{{ data | tojson }}</script>
<script nonce="{{ csp_nonce() }}" src="{{ url_for('static', filename='x.js') }}"></script>
<script nonce="{{ csp_nonce() }}">box.textContent = name; setTimeout(go, 1)</script>"""
BLIND = insert("/tests/proofs/markup_scan.py", after="value: str) -> None:\n", new="        return\n")


SAMPLES = {
    "markup": (
        *("<p>{{ name|safe }}</p>", "{% autoescape false %}", '<a href="{{ address }}">x</a>'),
        *('<p onclick="go()">x</p>', "<script>box.innerHTML = text</script>", "<script>eval(text)</script>"),
    ),
    "script": ('<script>const name = "{{ name }}"; const more = {{ more|tojson }}</script>',),
    "assets": ('<link rel="stylesheet" href="//fonts.example/x.css">', "<style>@import 'x.css';</style>"),
}
MAIN = '<main id="main" tabindex="-1">\n'


@protects(
    "no-unsafe-markup",
    scanner=BLIND,
    page=edit(
        "session/templates/bastion/_who.html",
        '<span class="unseen">Account: </span>{{ current_user.email -}}',
        '<span class="unseen">Account: </span>{{ current_user.email | safe -}}',
    ),
)
@protects(
    "json-output-safe",
    script=insert(
        "session/templates/bastion/base.html",
        after=MAIN,
        new='<script nonce="{{ csp_nonce() }}" type="application/json">{"title": "{{ service_name }}"}</script>\n',
    ),
)
@protects(
    "own-assets-only",
    script=insert(
        "session/templates/bastion/base.html", after=MAIN, new='<script src="https://cdn.example/x.js"></script>\n'
    ),
)
def test_no_template_or_script_runs_or_loads_what_it_must_not(service: Service) -> None:
    from ..markup_scan import Template, check

    works(Template(HARMLESS).faults == [], "the scanner accepts harmless markup")
    for kind, samples in SAMPLES.items():
        missed = [one for one in samples if kind not in {found for found, _ in Template(one).faults}]
        harm(missed, f"the scanner missed unsafe markup: {missed}")
    state = service.module("state").state_of(service.app)
    read, faults = check(place.source(), (*state.image_origins, *state.font_origins))
    assert {"bastion/session/templates/bastion/base.html", "app.py"} <= {*read}  # ours, and the team's
    harm(faults["markup"], f"unescaped user input could run: {faults['markup']}")
    harm(faults["script"], f"a template builds a script from text: {faults['script']}")
    harm(faults["assets"], f"a page loads from another origin: {faults['assets']}")


TEXTS = """
@public
def hello(name):
    if name == "Ada":
        return "<p>Hello %s</p>" % name, 404  # bad
    html = "<ul>"
    for note in notes:
        html += f"<li>{note.title}</li>"
    return html + "</ul>"  # bad

@public
def fine(name):
    if notes:
        return f"<p>{len(notes)} of {MOST}: {escape(name)}</p>"
    return {"title": f"<b>{name}</b>"}, render_template("fine.html", name=f"<{name}>")
"""


@protects(
    "no-unsafe-markup",
    text=insert(
        "session/pages.py",
        after="STATIC_SECONDS)\n",
        new='\n\n@public\ndef hello(name: str) -> ResponseReturnValue:\n    return f"<h1>{name}</h1>"\n',
    ),
)
def test_no_view_puts_a_page_together_from_text() -> None:
    import ast

    from ..request_scan import check, found, known

    tree = ast.parse(TEXTS)
    seen = {one.line for one in found(tree, known([tree])) if one.kind == "html"}
    bad = {number for number, line in enumerate(TEXTS.splitlines(), 1) if line.endswith("# bad")}
    works(seen == bad, "the checker reports unsafe pages, and accepts escaped text and text without markup")
    looked_at, faults = check(place.source())
    assert looked_at >= 400
    harm(faults["html"], f"unescaped user input could run: {faults['html']}")


# --- autoescape-all-templates -----------------------------------------------------------------------------------------

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
        works(page == '<p title="plain words">plain words</p>', f"{name} shows the text that the user typed")
        page = visitor.get(f"/shown/{name}", query={"text": hostile}).text
        harm("<img" in page, f"{name} rendered user input as an HTML element")
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
    works(len(names) >= 5, "the service has templates")
    works("bastion/_form.html" in names, "the form macros are among the templates")
    for name in names:
        source, _, _ = loader.get_source(environment, name)
        harm(unquoted(source), f"{name} has an unquoted attribute, in which a space injects another attribute")
