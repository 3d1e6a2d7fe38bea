"""What pages, scripts and styles must not hold, and where the addresses on them may lead or load from.

The scanner is shown a sample of each construct before it reads the service, so that an empty finding means something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def scans(kind: str, samples: tuple[str, ...], origins: tuple[str, ...] = ()) -> list[str]:
    """What the service holds of this kind, after the scanner was right about bad and harmless samples."""
    from ..markup_scan import Template, check

    works(Template(HARMLESS).faults == [], "harmless markup passes")
    missed = [one for one in samples if kind not in {found for found, _ in Template(one).faults}]
    harm(missed, f"the scanner does not see {missed}")
    read, faults = check(place.source(), origins)
    assert len([name for name in read if name.endswith(".html")]) >= 10
    assert "bastion/session/templates/bastion/base.html" in read
    assert "app.py" in read  # the team's
    return faults[kind]


@protects(
    "no-unsafe-markup",
    scanner=BLIND,
    page=edit(
        "session/templates/bastion/base.html",
        '<span class="unseen">Account: </span>{{ current_user.email -}}',
        '<span class="unseen">Account: </span>{{ current_user.email | safe -}}',
    ),
)
def test_no_template_or_script_can_run_what_a_user_typed() -> None:
    samples = (
        *("<p>{{ name|safe }}</p>", "{% autoescape false %}", '<a href="{{ address }}">x</a>'),
        *('<p onclick="go()">x</p>', "<script>box.innerHTML = text</script>", "<script>eval(text)</script>"),
    )
    found = scans("markup", samples)
    harm(found, f"what a user typed could run: {found}")


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
    works(seen == bad, "the checker sees what is bad, and nothing that is escaped or holds no markup")
    looked_at, faults = check(place.source())
    assert looked_at >= 400
    harm(faults["html"], f"what a user typed could run: {faults['html']}")


@protects(
    "json-output-safe",
    script=insert(
        "session/templates/bastion/base.html",
        after='<main id="main" tabindex="-1">\n',
        new='<script nonce="{{ csp_nonce() }}" type="application/json">{"title": "{{ service_name }}"}</script>\n',
    ),
)
def test_every_script_is_filled_by_the_encoder_of_json() -> None:
    found = scans(
        "script", ('<script type="application/json">{"name": "{{ name }}", "more": {{ more|tojson }}}</script>',)
    )
    harm(found, f"a script is put together from text: {found}")


@protects(
    "own-assets-only",
    script=insert(
        "session/templates/bastion/base.html",
        after='<main id="main" tabindex="-1">\n',
        new='<script src="https://cdn.example/x.js"></script>\n',
    ),
)
def test_no_template_loads_from_another_origin(service: Service) -> None:
    samples = ('<link rel="stylesheet" href="//fonts.example/x.css">', "<style>@import 'x.css';</style>")
    found = scans("assets", samples, tuple(service.module("state").state_of(service.app).image_origins))
    harm(found, f"a page loads from another origin: {found}")


# --- data for scripts ------------------------------------------------------------------------------------------
