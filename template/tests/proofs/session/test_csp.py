"""Content Security Policy: markup that an attacker injects into a page runs nothing and loads nothing.

The policy is taken apart and compared whole, and each page is parsed for what the policy would block.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .. import header_table
from ..harness import edit, harm, insert, protects, works
from ..header_table import NONCE, directives
from .pages import Page, pages

if TYPE_CHECKING:
    from flask import Flask

    from ..running import Service
    from ..session_client import Client
    from ..wire import Response


PAGE_WITH_SCRIPT = """{% extends "bastion/base.html" %}
{% block content %}<script nonce="{{ csp_nonce() }}" src="/static/probe.js"></script>{% endblock %}"""


def policies_of(answer: Response) -> list[dict[str, str]]:
    return [directives(policy) for policy in answer.headers_named("Content-Security-Policy")]


def nonce_of(answer: Response) -> str:
    """The nonce in the policy of this answer."""
    found = NONCE.search(answer.header("Content-Security-Policy") or "")
    assert found is not None, "the policy has no nonce of 128 bits"
    return found[1]


def adds_answers(service: Service) -> None:
    """Views that move on with a body, that fail, and that show what a user wrote."""

    def add(app: Flask) -> None:
        from flask import redirect, render_template_string

        public: Any = service.module().public

        def raises() -> Any:
            raise RuntimeError("the view fails")

        def shows() -> Any:
            return render_template_string(PAGE_WITH_SCRIPT)

        app.add_url_rule("/probe/moves", "probe_moves", public(lambda: redirect("/elsewhere")))
        app.add_url_rule("/probe/raises", "probe_raises", public(raises))
        app.add_url_rule("/probe/script", "probe_script", public(shows))

    service.adds(add)


@protects(
    "csp-html-exact",
    inline=edit("edge/headers.py", "script-src 'nonce-{nonce}'", "script-src 'unsafe-inline' 'nonce-{nonce}'"),
)
def test_no_page_has_a_policy_that_lets_in_more_than_its_own_files(service: Service) -> None:
    client = service.client(service.user()).login()
    answers = {"login": service.client().get("/login"), **pages(client, "/", "/account")}
    answers["/missing"] = client.get("/missing")
    answers["bad host"] = client.get("/account", headers={"Host": "evil.example"})
    shown = {name: answer for name, answer in answers.items() if answer.mimetype == "text/html"}
    works(shown["/account"].status == 200, "the account page is shown")
    expected = header_table.page_policy(service)
    other = [name for name, answer in shown.items() if policies_of(answer) != [expected]]
    harm(other, "a page was sent with a different policy")
    assert {name: shown[name].status for name in ("/missing", "bad host")} == {"/missing": 404, "bad host": 400}


@protects(
    "csp-html-exact",
    handler=edit("session/templates/bastion/base.html", '<main id="main"', '<main onclick="go()" id="main"'),
)
def test_no_page_holds_what_its_policy_blocks(service: Service) -> None:
    probe, user = service.adds_probe(), service.user()
    client = service.client(user).login()
    item = probe.add(user, "<script>alert(1)</script>", "<img src=x onerror=alert(1)>")
    sheet = client.get("/static/bastion/bastion.css")
    works((sheet.status, sheet.mimetype) == (200, "text/css"), "the stylesheet loads")
    answers = {"login": service.client().get("/login"), **pages(client, "/", "/account", "/probe", f"/probe/{item}")}
    answers["wrong input"] = client.post("/probe", {"title": ""})
    shown = {name: answer for name, answer in answers.items() if answer.mimetype == "text/html"}
    images = tuple(service.module("state").state_of(service.app).image_origins)
    blocked = {name: found for name, one in shown.items() if (found := Page(one.text).blocked(nonce_of(one), images))}
    harm(blocked, "a page contains something that its policy blocks")
    assert {"login", f"/probe/{item}", "wrong input"} <= shown.keys()


# --- the nonce -------------------------------------------------------------------------------------------------

DRAWN = "        nonce = environ[_NONCE] = secrets.token_hex(16)\n"


@protects(
    "csp-nonce-per-response",
    once=(
        edit("edge/headers.py", DRAWN, "        nonce = environ[_NONCE] = _ONCE\n"),
        insert(
            "edge/headers.py",
            after='_NONCE: Final = "bastion.csp_nonce"\n',
            new="_ONCE: Final = secrets.token_hex(16)\n",
        ),
    ),
)
def test_a_nonce_that_was_seen_lets_no_other_script_run(service: Service) -> None:
    adds_answers(service)
    answers = [service.client().get("/probe/script") for _ in range(2)]
    nonces = [nonce_of(answer) for answer in answers]
    works([{*Page(one.text).nonces()} for one in answers] == [{nonce} for nonce in nonces], "the page's script runs")
    harm(nonces[0] == nonces[1], "two pages were sent with the same nonce")


# --- reports ---------------------------------------------------------------------------------------------------

REPORTS = "csp-report-endpoint"
RAW = 'return value.partition("?")[0][:LONGEST]'
OLDER = {
    "csp-report": {
        "blocked-uri": "https://evil.example/tracker.js",
        "disposition": "enforce",
        "document-uri": "https://app.example/notes",
        "effective-directive": "script-src-elem",
        "original-policy": "default-src 'none'; script-src 'nonce-x'; report-uri /csp-report; report-to csp",
        "referrer": "",
        "script-sample": "",
        "status-code": 200,
        "violated-directive": "script-src-elem",
    }
}


def sends(client: Client, document: object, content_type: str = "application/reports+json", **environ: Any) -> Response:
    """As a browser sends it: without a token, and from wherever the page was embedded."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    bare = {"X-CSRFToken": None, "Origin": None, "Referer": None, "Cookie": None, "Sec-Fetch-Site": "cross-site"}
    return client.post("/csp-report", body=body, content_type=content_type, headers=bare, environ=environ)


def logged(answer: Response) -> list[dict[str, Any]]:
    return [event for event in answer.events if event["event"] == "csp_violation"]


@protects(REPORTS, escape=edit("session/csp_report.py", 'return _plain(value.partition("?")[0][:LONGEST])', RAW))
def test_no_report_writes_to_the_terminal_of_a_reader_of_the_log(service: Service) -> None:
    client = service.client()
    passed = sends(client, OLDER, "application/csp-report")
    works([event["blocked"] for event in logged(passed)] == ["https://evil.example/tracker.js"], "a report is logged")
    body = {"documentURL": "\r\n\x1b[2Jwiped \u202elive", "effectiveDirective": "x", "blockedURL": "x"}
    [event] = logged(sends(client, [{"type": "csp-violation", "body": body}]))
    harm(not event["page"].isprintable(), "a client wrote control characters into the log")
    assert event["page"] == r"\r\n\x1b[2Jwiped \u202elive"
