"""Edges of the proofs in test_markup.py: further attacks on the same protections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...harness import harm, insert, protects, works
from ...session.pages import Page

if TYPE_CHECKING:
    from flask import Flask

    from ...running import Service


# --- links that somebody typed ---------------------------------------------------------------------------------

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
def test_a_link_that_somebody_typed_leads_to_a_page_and_runs_nothing(service: Service) -> None:
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

    works([target(address) for address in GOOD] == [*GOOD], "a page, a mailbox and a path here are linked to")
    shown = {address: filtered(address) for address in EVIL}
    harm(
        [address for address, found in shown.items() if found != "#"], "a link runs what somebody typed, or leads away"
    )
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

    works(json.loads(content(answer("Zoë"))) == "Zoë", "a script reads what was typed")
    shown = {text: answer(text) for text in HOSTILE}
    harm([text for text, page in shown.items() if page.lower().count("<script") != 1], "what was typed made a script")
    assert {text: json.loads(content(page)) for text, page in shown.items()} == {text: text for text in HOSTILE}
