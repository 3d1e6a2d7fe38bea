"""Attacks on the policy of pages: markup that somebody smuggled in must be able to do nothing at all.

The policy is taken apart and compared whole, and each page is parsed for what the policy would block.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from .. import header_table
from ..harness import edit, harm, insert, protects, refused, works
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
    """Views that move on with a body, that fail, and that show what somebody wrote."""

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
    frames=edit(
        "edge/headers.py",
        "        \"frame-ancestors 'none'\",\n        \"base-uri 'none'\",\n        \"object-src 'none'\",\n",
        "        \"base-uri 'none'\",\n        \"object-src 'none'\",\n",
    ),
)
def test_no_page_has_a_policy_that_lets_more_than_its_own_files_in(service: Service) -> None:
    adds_answers(service)
    client = service.client(service.user()).login()
    form = service.client().get("/login")
    works('name="csrf_token"' in form.text, "the login page shows its form")

    answers = {"login": form, **pages(client, "/", "/account")}
    for path in ("/probe/moves", "/probe/raises", "/probe/script", "/missing"):
        answers[path] = client.get(path)
    answers["no token"] = client.post("/logout", {"csrf_token": "wrong"})
    answers["bad host"] = client.get("/account", headers={"Host": "evil.example"})
    shown = {name: answer for name, answer in answers.items() if answer.mimetype == "text/html"}
    expected = header_table.page_policy(service)
    harm(
        {name: found for name, answer in shown.items() if (found := policies_of(answer)) != [expected]},
        "a page left with another policy",
    )
    statuses = {"/account": 200, "/probe/moves": 302, "/probe/raises": 500, "/missing": 404, "bad host": 400}
    assert {name: shown[name].status for name in statuses} == statuses
    assert len(shown) >= 9
    assert {answer.header("Reporting-Endpoints") for answer in shown.values()} == {'csp="/csp-report"'}


@protects(
    "csp-html-exact",
    handler=edit("session/templates/bastion/base.html", '<main id="main"', '<main onclick="go()" id="main"'),
)
def test_no_page_holds_anything_that_its_policy_blocks(service: Service) -> None:
    probe = service.adds_probe()
    user = service.user()
    client = service.client(user).login()
    item = probe.add(user, "<script>alert(1)</script>", "<img src=x onerror=alert(1)>")
    form = service.client().get("/login")
    works('name="csrf_token"' in form.text, "the login page shows its form")
    loaded = Page(form.text).addresses()
    works("/static/bastion/bastion.css" in loaded, "it asks for its stylesheet")
    sheet = client.get("/static/bastion/bastion.css")
    works((sheet.status, sheet.mimetype) == (200, "text/css"), "the stylesheet loads")

    client.post("/account/sessions/end-others")  # leaves a message for the next page
    answers = {"login": form, **pages(client, "/", "/account", "/probe", f"/probe/{item}")}
    answers["wrong input"] = client.post("/probe", {"title": ""})
    answers["failure"] = client.get("/missing")
    shown = {name: answer for name, answer in answers.items() if answer.mimetype == "text/html"}
    harm(
        {name: found for name, answer in shown.items() if (found := Page(answer.text).blocked(nonce_of(answer)))},
        "a page needs what the policy forbids, so one of both has to give way",
    )
    assert len(shown) >= 7
    assert f"/probe/{item}" in shown
    assert "&lt;script&gt;" in shown[f"/probe/{item}"].text
    assert shown["wrong input"].status == 422


# --- the nonce -------------------------------------------------------------------------------------------------

DRAWN = "        nonce = environ[_NONCE] = secrets.token_hex(16)\n"
SAID = re.compile(r"script-src 'nonce-([^']*)'")


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
    length=edit("edge/headers.py", DRAWN, "        nonce = environ[_NONCE] = secrets.token_hex(4)\n"),
    log=insert(
        "edge/headers.py",
        after=DRAWN,
        new="        from .. import log\n\n        log.get_logger('bastion.csp').warning('page', number=nonce)\n",
    ),
)
def test_a_nonce_that_somebody_saw_lets_no_script_of_his_run(service: Service) -> None:
    adds_answers(service)
    probe = service.adds_probe()
    user = service.user()
    client = service.client(user).login()
    item = probe.add(user, "<script nonce=1>alert(1)</script>", "<script nonce={{ csp_nonce() }}>alert(1)</script>")
    answers = [client.get("/probe/script") for _ in range(20)]
    nonces = [found[1] for answer in answers if (found := SAID.search(answer.header("Content-Security-Policy") or ""))]
    works([Page(answer.text).nonces() for answer in answers] == [[nonce] for nonce in nonces], "the own script runs")
    works(len(nonces) == 20, "on each page")

    harm(len(set(nonces)) < 20, "a page has the nonce of an earlier one")
    harm([nonce for nonce in nonces if len(nonce) < 22], "a nonce has fewer than 128 bits: it can be guessed")
    harm([nonce for nonce in nonces if nonce in service.output], "whoever reads the log knows the nonce")
    shown = [client.get(f"/probe/{item}"), client.get("/probe")]
    harm([answer for answer in shown if Page(answer.text).nonces()], "what somebody typed became a script")
    assert ["&lt;script" in answer.text for answer in shown] == [True, True]
    assert {answer.header("Cache-Control") for answer in (*answers, *shown)} == {"no-store"}


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
def test_nothing_in_a_report_reaches_the_terminal_of_who_reads_the_log(service: Service) -> None:
    client = service.client()
    passed = sends(client, OLDER, "application/csp-report")
    works([event["blocked"] for event in logged(passed)] == ["https://evil.example/tracker.js"], "one is kept as it is")
    hostile = "\r\n\x1b[2Jwiped \u202elive \x85 end"
    body = {"documentURL": hostile, "effectiveDirective": hostile, "blockedURL": hostile + "x" * 5_000}
    [event] = logged(sends(client, [{"type": "csp-violation", "body": body}]))
    told = [event[name] for name in ("page", "directive", "blocked")]
    harm([text for text in told if not text.isprintable()], "a stranger writes to the terminal of who reads the log")
    assert told[0] == r"\r\n\x1b[2Jwiped \u202elive \x85 end"
    assert len(told[2]) < 250
    deep = b'{"csp-report": ' + b"[" * 100 + b"]" * 100 + b"}"
    refused(sends(client, deep, "application/csp-report"), 400, "json-strict")
