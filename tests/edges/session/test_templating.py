"""Edges of the proofs in test_templating.py: further attacks on the same protections."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...harness import edit, harm, protects, works
from ...session.test_templating import AUTOESCAPE, ROW

if TYPE_CHECKING:
    from ...running import Service


HOSTILE = (
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
    """Elements and names of attributes as a browser sees them, and the texts."""

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
    """Whether a person reads this very text somewhere on the page, in an element or in a control."""
    seen = Structure(page)
    return any(text.strip() in one for one in (*seen.texts, "".join(seen.texts), *seen.values))


@protects(
    ROW,
    safe=edit("session/templates/bastion/account.html", "{{ session.agent }}", "{{ session.agent | safe }}"),
)
def test_no_page_makes_an_element_or_attribute_of_what_was_typed(service: Service) -> None:
    probe = service.adds_probe()

    def pages(text: str) -> Iterator[tuple[str, str]]:
        """Every page that shows what somebody typed, with this text everywhere."""
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
        works(holds(plain[what], "Tom & Jerry <3"), f"{what} shows what was typed as it was typed")
    for text in HOSTILE:
        for what, page in pages(text):
            made = [one for one in Structure(page).elements if one not in harmless[what]]
            harm(made, f"{what} made {made} of {text!r}")
            harm(COMPUTED in page, f"{what} computed {text!r}")


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
    works(visitor.get("/given").text == "closed", "a condition on a name that is there is followed")
    answer = visitor.get("/missing")
    harm("canary" in answer.text, "a misspelt name in a condition opened what it should have closed")
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
        works(page == '<p title="plain words">plain words</p>', f"{name} shows what was typed")
    for name in SUFFIXES:
        for text in HOSTILE:
            page = visitor.get(f"/shown/{name}", query={"text": text}).text
            seen = Structure(page)
            harm(seen.elements != [("p", ("title",))], f"{name} made something of {text!r}")
            assert seen.texts == [text]
            assert seen.values == [text]
        page = visitor.get(f"/shown/{name}", query={"text": "Tom & Jerry <3"}).text
        assert page == '<p title="Tom &amp; Jerry &lt;3">Tom &amp; Jerry &lt;3</p>', name  # escaped, and once
