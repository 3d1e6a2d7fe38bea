"""Edges of the proofs in test_markup.py: further attacks on the same protections."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import place
from ...harness import edit, harm, insert, protects, works
from ...session import test_markup as core
from ...session.pages import Page, is_own, pages
from ...session.test_markup import AUTOESCAPE, BLIND, HARMLESS, ROW
from ..core import sabotages

if TYPE_CHECKING:
    from flask import Flask

    from ...running import Service


def scans(kind: str, samples: tuple[str, ...], origins: tuple[str, ...] = ()) -> list[str]:
    """Return the service's faults of this kind, after checking the scanner with bad and harmless samples."""
    from ...markup_scan import Template, check

    works(Template(HARMLESS).faults == [], "harmless markup passes")
    missed = [one for one in samples if kind not in {found for found, _ in Template(one).faults}]
    harm(missed, f"the scanner missed unsafe markup: {missed}")
    read, faults = check(place.source(), origins)
    assert len([name for name in read if name.endswith(".html")]) >= 10
    assert "bastion/session/templates/bastion/base.html" in read
    assert "app.py" in read  # the team's
    return faults[kind]


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
DEAF = edit("/tests/proofs/markup_scan.py", 'if self._inside == "script":', "if False:")


# --- links that a user typed -----------------------------------------------------------------------------------

GOOD = (
    "https://example.com/a?b=c#d",
    "http://example.com",
    "mailto:ada@example.com",
    "/account?x=1",
    "HTTPS://example.com",
    f"https://example.com/{'long/' * 400}",
)
EVIL = (
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "java\tscript:x"),
    *("\x01javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "//evil.example", "/\\evil"),
    *(
        "file:///etc/passwd",
        "blob:https://app.example/x",
        "view-source:x",
        "evil.example",
        "",
        "#x",
        "https:evil",
        "x" * 3000,
    ),
)


@protects(
    "no-unsafe-markup",
    link=insert(
        "session/redirects.py",
        after='A `javascript:` address would run here.\n    """\n',
        new="    return address\n",
    ),
)
def test_user_supplied_link_runs_nothing(service: Service) -> None:
    from flask import render_template_string, request

    def shows() -> Any:
        return render_template_string('<a href="{{ address | link }}">x</a>', address=request.args.get("to", ""))

    def add(app: Flask) -> None:
        app.add_url_rule("/link", "link", service.module().public(shows))

    service.adds(add)
    client = service.client()
    filtered: Any = service.module("session.redirects").safe_link

    def target(address: str) -> str:
        return Page(client.get("/link", query={"to": address}).text).elements[0][1]["href"]

    works([target(address) for address in GOOD] == [*GOOD], "links to a page, a mailbox and a path work")
    shown = {address: filtered(address) for address in EVIL}
    harm([address for address, found in shown.items() if found != "#"], "a typed link runs code or leads away")
    assert [target(address) for address in EVIL if address.isprintable()] == ["#"] * sum(map(str.isprintable, EVIL))


# --- data for scripts ------------------------------------------------------------------------------------------

HOSTILE = (
    "</script><script>alert(1)</script>",
    "\u2028\u2029",
    "'\"`${x}",
    "<!--<script>",
    "]]>",
    "\\u003c/script>",
    "&lt;",
)


@protects(
    "json-output-safe",
    encoder=insert(
        "session/templating.py",
        after="    app.jinja_env.undefined = StrictUndefined\n",
        new='    app.jinja_env.filters["tojson"] = lambda value: __import__("markupsafe").Markup('
        "app.json.dumps(value))\n",
    ),
)
def test_data_for_a_script_stays_data(service: Service) -> None:
    from flask import render_template_string, request

    page = '<script nonce="{{ csp_nonce() }}" type="application/json">{{ text | tojson }}</script>'

    def shows() -> Any:
        return render_template_string(page, text=request.get_json()["text"])

    service.adds_route("/data", methods=("POST",), view=shows)
    client = service.client(service.user()).login()

    def answer(text: str) -> str:
        return client.post("/data", json={"text": text}).text

    def content(shown: str) -> str:
        return shown.partition(">")[2].rpartition("</script>")[0]

    works(json.loads(content(answer("Zoë"))) == "Zoë", "the script reads the user's text")
    shown = {text: answer(text) for text in HOSTILE}
    harm([text for text, page in shown.items() if page.lower().count("<script") != 1], "user input became a script")
    assert {text: json.loads(content(page)) for text, page in shown.items()} == {text: text for text in HOSTILE}


@protects(
    "no-unsafe-markup",
    **sabotages(core.test_no_template_or_script_runs_or_loads_what_it_must_not, "no-unsafe-markup", "scanner", "page"),
    code=insert(
        "session/templating.py",
        after="    service = state_of(app)\n",
        new='    from markupsafe import Markup\n\n    app.jinja_env.globals["name"] = Markup(service.service_name)\n',
    ),
)
def test_no_page_holds_a_way_to_run_what_somebody_typed() -> None:
    found = scans("markup", MARKUP)
    harm(found, f"user input could run: {found}")


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
    **sabotages(core.test_no_view_puts_a_page_together_from_text, "no-unsafe-markup", "text"),
    scanner=edit("/tests/proofs/request_scan.py", "return bool(_TAG.search(texts)) and any(", "return False and any("),
)
def test_no_view_makes_a_page_of_text() -> None:
    import ast

    from ...request_scan import check, found, known

    tree, lines = ast.parse(TEXTS), TEXTS.splitlines()
    seen = {one.line for one in found(tree, known([tree])) if one.kind == "html"}
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# bad")}
    works(not seen - expected, f"safe text passes the checker: {seen - expected}")
    missed = sorted(expected - seen)
    harm(missed, f"the checker missed {[lines[line - 1].strip() for line in missed]}")
    looked_at, faults = check(place.source())
    assert looked_at >= 400
    harm(faults["html"], f"user input could run: {faults['html']}")


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
    harm(found, f"a script is built from text: {found}")


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
    state = service.module("state").state_of(service.app)
    found = scans("assets", ASSETS, (*state.image_origins, *state.font_origins))
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
    works(any(one.startswith("/static/bastion/bastion.css?v=") for one in loaded), "pages load their stylesheet")
    foreign = [one for one in loaded if not is_own(one) and not one.startswith(tuple(state.image_origins) or ("\0",))]
    harm(foreign, f"a page loads from another origin, which learns its readers and may change the file: {foreign}")
    assert {path: service.client().get(path).status for path in loaded if is_own(path)} == dict.fromkeys(loaded, 200)


@protects("own-assets-only", version=edit("session/assets.py", "if given == version(", "if given and version("))
def test_a_cache_keeps_a_file_only_under_its_own_hash(service: Service) -> None:
    client = service.client()
    own = next(one for one in Page(client.get("/login").text).addresses() if "bastion.css?v=" in one)
    kept = client.get(own).header("Cache-Control")
    works(kept == "public, max-age=31536000, immutable", "a browser keeps the stylesheet for a year")
    path, _, found = own.partition("?v=")
    answers = [client.get(f"{path}?v={given}") for given in ("0" * 16, found[:-1], found.upper() + "0", "")]
    harm([one for one in answers if "public" in (one.header("Cache-Control") or "")], "a cache keeps another version")
    assert {one.header("Cache-Control") for one in answers} == {"no-store"}
    assert client.get(path).header("Cache-Control") == "public, max-age=3600"
    scripts = [found for tag, found in Page(client.get("/login").text).elements if tag == "script"]
    for script in scripts:
        digest = hashlib.sha384(client.get(script["src"]).body).digest()
        assert script["integrity"] == f"sha384-{b64encode(digest).decode()}"
    assert len(scripts) == 2


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
    works({client.get(path).status for path in paths} == {200}, "each file is served")
    works(len(paths) >= 2, "there are static files")
    differ = [path for path in paths if client.get(path).body != visitor.get(path).body]
    harm(differ, "another site can load this file and learn who is signed in")
    assert "/static/bastion/bastion.css" in paths


# --- autoescape-all-templates -----------------------------------------------------------------------------------------

ESCAPE_HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover=alert(1) y='",
    '" onmouseover="alert(1)" y="',
    " onmouseover=alert(1) ",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "<!--><svg onload=alert(1)>",
    "{{ 7777 * 7 }}",
    "{% raw %}{{ config }}",
    "${7777*7} #{7777*7} <%= 7777*7 %>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
)
SUFFIXES = ("a.html.j2", "a.jinja", "a.txt", "a.htm", "a.html", "a", "a.svg.jinja2", "a.md")


class Structure(HTMLParser):
    """Elements and attribute names as a browser sees them, and the texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value for _, value in attrs if value]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


COMPUTED = str(7777 * 7)


def holds(page: str, text: str) -> bool:
    """Return whether the page shows this exact text, in an element or in a control."""
    seen = Structure(page)
    return any(text.strip() in one for one in (*seen.texts, "".join(seen.texts), *seen.values))


@protects(
    ROW,
    safe=edit("session/templates/bastion/account.html", "{{ session.agent }}", "{{ session.agent | safe }}"),
)
def test_no_page_makes_an_element_or_attribute_of_what_was_typed(service: Service) -> None:
    probe = service.adds_probe()

    def pages(text: str) -> Iterator[tuple[str, str]]:
        """Return every page that shows user input, with this text everywhere."""
        with service.app.app_context():
            user = service.user(f"{text}-{len(text)}@example.com")
        browser = service.client(user)
        browser.agent = "".join(c for c in text if c.isprintable())
        browser.login()
        item = probe.add(user, text, text)
        yield "the account", browser.get("/account").text
        yield "a list", probe.list(browser).text
        yield "a search", probe.list(browser, q=text[:100]).text
        yield "a form", probe.read(browser, item).text
        yield "a refused form", probe.create(browser, title=text + "x" * 200, body=text).text
        yield "a message", flashed(browser, text)
        yield "an error", browser.get("/nowhere", query={"q": text}).text
        yield "the login", service.client().post("/login", {"identifier": text, "password": ""}).text
        yield "a refused login", service.client().get("/login", query={"next": text}).text

    def flashed(browser: Any, text: str) -> str:
        kept = browser.copy()
        kept.forge(**browser.content(), _flashes=[("info", text), (text, "message")])
        return str(kept.get("/account").text)

    harmless = {what: Structure(page).elements for what, page in pages("harmless")}
    plain = dict(pages("Tom & Jerry <3"))
    for what in ("the account", "a list", "a form", "a refused form", "a message", "the login"):
        works(holds(plain[what], "Tom & Jerry <3"), f"{what} shows the text as the user typed it")
    for text in ESCAPE_HOSTILE:
        for what, page in pages(text):
            made = [one for one in Structure(page).elements if one not in harmless[what]]
            harm(made, f"{what} turned {text!r} into {made}")
            harm(COMPUTED in page, f"{what} evaluated {text!r}")


@protects(
    ROW,
    undefined=edit("session/templating.py", "    app.jinja_env.undefined = StrictUndefined\n", ""),
)
def test_a_condition_on_a_name_that_is_missing_shows_nothing(service: Service, tmp_path: Path) -> None:
    from flask import Blueprint, render_template

    (tmp_path / "guarded.html").write_text("{% if not blokced %}canary{% else %}closed{% endif %}")  # misspelt

    def show(**names: bool) -> str:
        return render_template("guarded.html", **names)

    blueprint = Blueprint("guarded", __name__, template_folder=str(tmp_path))
    public = service.module().public
    blueprint.add_url_rule("/given", "given", public(lambda: show(blokced=True)))
    blueprint.add_url_rule("/missing", "missing", public(lambda: show(blocked=True)))
    service.adds(lambda app: app.register_blueprint(blueprint))
    visitor = service.client()
    works(visitor.get("/given").text == "closed", "a condition on a defined name is followed")
    answer = visitor.get("/missing")
    harm("canary" in answer.text, "a misspelt name in a condition opened a protected part")
    assert answer.status == 500


@protects(ROW, suffix=AUTOESCAPE)
def test_a_template_of_any_name_shows_what_was_typed_as_text(service: Service, tmp_path: Path) -> None:
    from flask import Blueprint, render_template, request

    for name in SUFFIXES:
        (tmp_path / name).write_text('<p title="{{ text }}">{{ text }}</p>')

    def show(name: str) -> str:
        return render_template(name, text=request.args["text"])

    blueprint = Blueprint("shown", __name__, template_folder=str(tmp_path))
    blueprint.add_url_rule("/shown/<name>", "show", service.module().public(show))
    service.adds(lambda app: app.register_blueprint(blueprint))
    visitor = service.client()
    for name in SUFFIXES:
        page = visitor.get(f"/shown/{name}", query={"text": "plain words"}).text
        works(page == '<p title="plain words">plain words</p>', f"{name} shows the text that the user typed")
    for name in SUFFIXES:
        for text in ESCAPE_HOSTILE:
            page = visitor.get(f"/shown/{name}", query={"text": text}).text
            seen = Structure(page)
            harm(seen.elements != [("p", ("title",))], f"{name} changed or evaluated {text!r}")
            assert seen.texts == [text]
            assert seen.values == [text]
        page = visitor.get(f"/shown/{name}", query={"text": "Tom & Jerry <3"}).text
        assert page == '<p title="Tom &amp; Jerry &lt;3">Tom &amp; Jerry &lt;3</p>', name  # escaped, and once
