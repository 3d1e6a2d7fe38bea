"""What pages, scripts and styles must not hold, and where the addresses on them may lead or load from.

The scanner is shown a sample of each construct before it reads the service, so that an empty finding means something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import place
from ..harness import edit, harm, insert, protects, works
from .pages import Page, is_own, pages

if TYPE_CHECKING:
    from ..running import Service


MARKUP = (
    "<p>{{ name | safe }}</p>",
    "<p>{{ name|safe }}</p>",
    "{% autoescape false %}<p>{{ name }}</p>{% endautoescape %}",
    "{%- autoescape false %}",
    '<a href="{{ address }}">x</a>',
    '<a href="https://{{ host }}/">x</a>',
    '<img src="{{ picture }}">',
    '<form action="{{ target }}"></form>',
    '<a href="javascript:go()">x</a>',
    '<a href=" JaVa\nScript:go()">x</a>',
    '<p onclick="go()">x</p>',
    "<p ONMOUSEOVER=go()>x</p>",
    '<script nonce="{{ csp_nonce() }}">box.innerHTML = text</script>',
    "<script>document.write(text)</script>",
    "<script>box.insertAdjacentHTML('beforeend', text)</script>",
    "<script>setTimeout('go()', 1)</script>",
    "<script>new Function(text)()</script>",
    "<script>eval(text)</script>",
)
SCRIPT = (
    '<script nonce="{{ csp_nonce() }}">const name = "{{ name }}"</script>',
    '<script type="application/json">{"name": "{{ name }}", "more": {{ more|tojson }}}</script>',
    "<script>go({{ name | e }})</script>",
)
ASSETS = (
    '<script src="https://cdn.example/x.js"></script>',
    '<link rel="stylesheet" href="//fonts.example/x.css">',
    '<img src="http://pictures.example/x.png">',
    '<iframe src="https://video.example/"></iframe>',
    '<object data="/x.swf"></object>',
    '<embed src="/x.swf">',
    '<base href="https://evil.example/">',
    "<style>@import 'x.css';</style>",
    "<style>p { background: url(https://pictures.example/x.png) }</style>",
)
HARMLESS = """{# a remark on |safe #}<link rel="stylesheet" href="{{ url_for('static', filename='x.css') }}">
<a href="#{{ field.id }}">{{ name }}</a> <a href="https://elsewhere.example/">x</a> <a href="{{ address | link }}">y</a>
<form method="post" action="{{ url_for('notes.list') }}"><input name="x" value="{{ value }}"></form>
<script nonce="{{ csp_nonce() }}" type="application/json" id="data">{{ data | tojson }}</script>
<script nonce="{{ csp_nonce() }}" src="{{ url_for('static', filename='x.js') }}"></script>
<script nonce="{{ csp_nonce() }}">box.textContent = name; setTimeout(go, 1)</script>"""
BLIND = insert("/tests/proofs/markup_scan.py", after="value: str) -> None:\n", new="        return\n")
DEAF = edit("/tests/proofs/markup_scan.py", 'if self._inside == "script":', "if False:")


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
    code=insert(
        "session/templating.py",
        after="    service = state_of(app)\n",
        new='    from markupsafe import Markup\n\n    app.jinja_env.globals["name"] = Markup(service.service_name)\n',
    ),
)
def test_no_page_holds_a_way_to_run_what_somebody_typed() -> None:
    found = scans("markup", MARKUP)
    harm(found, f"what somebody typed could run: {found}")


TEXTS = """
@blueprint.get("/hello/<name>")
@public
def hello(name):
    if name == "Ada":
        return "<p>Hello %s</p>" % name, 404  # bad
    answer = make_response("<p>" + request.args["q"] + "</p>")  # bad
    answer = Response("<b>{}</b>".format(current_user.email), 200)  # bad
    html = "<ul>"
    for note in notes:
        html += f"<li>{note.title}</li>"
    if notes:
        return html + "</ul>"  # bad
    return f"<h1>{name}</h1>"  # bad

@blueprint.get("/fine/<name>")
@public
def fine(name):
    title = escape(name)
    if notes:
        return f"<p>{len(notes)} of {MOST}: {title} {escape(name)}</p>"
    if name:
        return Markup("<p>%s</p>") % name
    if title:
        return {"title": f"<b>{name}</b>"}, render_template("fine.html", name=f"<{name}>")
    return f"{name} < 3"

class Note:
    def __repr__(self):
        return f"<Note {self.id}>"
"""


@protects(
    "no-unsafe-markup",
    scanner=edit("/tests/proofs/request_scan.py", "return bool(_TAG.search(texts)) and any(", "return False and any("),
    text=insert(
        "session/pages.py",
        after="STATIC_SECONDS)\n",
        new='\n\n@public\ndef hello(name: str) -> ResponseReturnValue:\n    return f"<h1>{name}</h1>"\n',
    ),
)
def test_no_view_makes_a_page_of_text() -> None:
    import ast

    from ..request_scan import check, found, known

    tree, lines = ast.parse(TEXTS), TEXTS.splitlines()
    seen = {one.line for one in found(tree, known([tree])) if one.kind == "html"}
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# bad")}
    works(not seen - expected, f"text that holds no markup, and what is escaped, passes: {seen - expected}")
    missed = sorted(expected - seen)
    harm(missed, f"the checker does not see {[lines[line - 1].strip() for line in missed]}")
    looked_at, faults = check(place.source())
    assert looked_at >= 400
    harm(faults["html"], f"what somebody typed could run: {faults['html']}")


@protects(
    "json-output-safe",
    scanner=DEAF,
    script=insert(
        "session/templates/bastion/base.html",
        after='<main id="main" tabindex="-1">\n',
        new='<script nonce="{{ csp_nonce() }}" type="application/json">{"title": "{{ service_name }}"}</script>\n',
    ),
)
def test_no_script_is_filled_but_by_the_encoder_of_json() -> None:
    found = scans("script", SCRIPT)
    harm(found, f"a script is put together from text: {found}")


@protects(
    "own-assets-only",
    scanner=BLIND,
    script=insert(
        "session/templates/bastion/base.html",
        after='<main id="main" tabindex="-1">\n',
        new='<script src="https://cdn.example/x.js"></script>\n',
    ),
)
def test_no_template_loads_from_elsewhere(service: Service) -> None:
    origins = service.module("state").state_of(service.app).image_origins
    found = scans("assets", ASSETS, tuple(origins))
    harm(found, f"a page loads from another origin: {found}")


@protects(
    "own-assets-only",
    page=edit(
        "session/templates/bastion/base.html",
        "{{ url_for('bastion.static', filename='icon.svg') }}",
        "//cdn.example/i.svg",
    ),
)
def test_every_page_loads_files_of_this_service_that_are_there(service: Service) -> None:
    service.adds_probe()
    state = service.module("state").state_of(service.app)
    client = service.client(service.user(roles=tuple(state.team.roles))).login()
    answers = [
        *pages(client, "/", "/account", "/probe").values(),
        service.client().get("/login"),
        client.get("/missing"),
    ]
    loaded = {
        address for answer in answers if answer.mimetype == "text/html" for address in Page(answer.text).addresses()
    }
    works("/static/bastion/bastion.css" in loaded, "pages load their stylesheet")
    foreign = [one for one in loaded if not is_own(one) and not one.startswith(tuple(state.image_origins) or ("\0",))]
    harm(
        foreign, f"a page loads from elsewhere, which then knows who reads it, and may change what it loads: {foreign}"
    )
    assert {path: service.client().get(path).status for path in loaded if is_own(path)} == dict.fromkeys(loaded, 200)


# --- data for scripts ------------------------------------------------------------------------------------------


@protects(
    "json-output-safe",
    files=edit(
        "session/pages.py",
        "    return send_from_directory(STATIC, filename, max_age=STATIC_SECONDS)\n",
        "    answer = send_from_directory(STATIC, filename, max_age=STATIC_SECONDS)\n"
        "    answer.direct_passthrough = False\n    answer.set_data("
        'answer.get_data() + request.cookies.get("__Host-session", "").encode())\n'
        "    return answer\n",
    ),
)
def test_no_script_or_style_tells_another_site_who_is_signed_in(service: Service) -> None:
    client, visitor = service.client(service.user()).login(), service.client()
    static = service.bastion / "session" / "static"
    paths = [f"/static/bastion/{file.name}" for file in sorted(static.iterdir())]
    team = service.bastion.parent / "static"
    paths += [f"/static/{file.relative_to(team).as_posix()}" for file in sorted(team.rglob("*")) if file.is_file()]
    works({client.get(path).status for path in paths} == {200}, "each file is there")
    works(len(paths) >= 2, "there are some")
    differ = [path for path in paths if client.get(path).body != visitor.get(path).body]
    harm(differ, "a page of another site can load this file, and learn from it who is signed in")
    assert "/static/bastion/bastion.css" in paths
