"""Edges of the proofs in test_csp.py: further attacks on the same protections."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import render_template_string

from ... import header_table, place
from ...databases import changed, everything
from ...harness import edit, harm, insert, protects, refused, works
from ...header_table import directives
from ...session import test_csp as core
from ...session.pages import Page, pages
from ...session.test_csp import DRAWN, OLDER, RAW, REPORTS, adds_answers, logged, nonce_of, policies_of, sends
from ..core import sabotages
from ..test_exceptions import REASON, UNTIL, declare

if TYPE_CHECKING:
    from ...running import Service


SAID = re.compile(r"script-src 'nonce-([^']*)'")


@protects(
    "csp-html-exact",
    script=edit("edge/headers.py", "nonce = environ[_NONCE] = secrets.token_hex(16)", "nonce = secrets.token_hex(16)"),
)
def test_no_script_runs_but_one_with_the_nonce_of_its_own_answer(service: Service) -> None:
    adds_answers(service)
    client = service.client(service.user()).login()
    answers = [client.get("/probe/script") for _ in range(3)]
    works([answer.status for answer in answers] == [200, 200, 200], "a page with a script is shown")
    nonces = [nonce_of(answer) for answer in answers]
    works(len(set(nonces)) == 3, "each answer has its own nonce, so an attacker cannot reuse one")
    works(len(nonces[0]) == 32, "the nonce has 128 bits")

    found = [Page(answer.text).nonces() for answer in answers]
    harm(found != [[nonce] * 2 for nonce in nonces], "the policy blocks a page's own script")
    assert [Page(answer.text).blocked(nonce) for answer, nonce in zip(answers, nonces, strict=True)] == [[], [], []]


@protects("csp-html-exact")
def test_exception_for_images_loosens_nothing_else(service: Service) -> None:
    headers = service.module("edge.headers")
    own = directives(headers.page_policy("0" * 32))
    works(own == header_table.PAGE_POLICY, "without an exception the policy is the default")

    lists = {"img-src": "'self' https://i.example", "font-src": "'self' https://f.example"}
    lists["frame-ancestors"] = "https://p.example"
    widened = directives(
        headers.page_policy("0" * 32, ("https://i.example",), ("https://f.example",), ("https://p.example",))
    )
    harm(
        [name for name in own if name not in lists and widened[name] != own[name]],
        "an exception for images, fonts or frames loosened another directive",
    )
    assert widened == {**own, **lists}


ANCESTORS = f'[[frame_ancestors]]\norigin = "https://portal.example"\n{REASON}{UNTIL}'
FRAME = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}


@protects(
    "csp-html-exact",
    accounts=edit("request/cross_site.py", ' or request.endpoint.startswith("bastion."):', ":"),
    embedded=edit("request/cross_site.py", '    if how != ("GET", "navigate", "iframe"):\n        return False\n', ""),
)
def test_a_named_origin_frames_pages_of_the_team_only(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(service, monkeypatch, tmp_path / "exceptions.toml", ANCESTORS)

    def page() -> Any:
        return render_template_string('{% extends "bastion/base.html" %}')

    service.adds_route("/board", mark="public", view=page)
    client = service.client()
    framed = client.get("/board", headers=FRAME)
    said = directives(framed.header("Content-Security-Policy") or "")["frame-ancestors"]
    works((framed.status, said) == (200, "https://portal.example"), "the named origin frames the team's page")
    assert framed.headers_named("X-Frame-Options") == []
    answers = [
        client.get("/login", headers=FRAME),
        *(client.get("/board", headers={**FRAME, "Sec-Fetch-Dest": kind}) for kind in ("object", "embed", "image")),
        client.get("/board", headers={**FRAME, "Sec-Fetch-Mode": "no-cors"}),
    ]
    harm([one for one in answers if one.ok], "another site embedded a page of accounts, or a page as another thing")
    for answer in answers:
        refused(answer, 403, "csrf-cross-site-blocked")
    own = [client.get("/board"), client.get("/login")]
    assert [header_table.faults(service, answer) for answer in own] == [[], []]


@protects("csp-html-exact")
def test_the_example_of_a_library_loads_under_the_policy(service: Service, tmp_path: Path) -> None:
    text = (place.root / "docs" / "bastion" / "features.md").read_text("utf-8")
    [example] = [block for block in text.split("```html\n")[1:] if "chart.js" in block.partition("```")[0]]
    for name in ("chart.css", "chart.js", "figures.js"):
        (tmp_path / name).write_text("/* of the team */", "utf-8")

    def figures() -> Any:
        return render_template_string(example.partition("```")[0], values=[1, "</canvas>"])

    service.adds_route("/figures", mark="public", view=figures)
    service.app.static_folder = str(tmp_path)
    client = service.client()
    answer = client.get("/figures")
    loaded = [one for one in Page(answer.text).addresses() if one.startswith("/static/") and "/bastion/" not in one]
    works(len(loaded) == 3, "the page loads the library")
    harm(Page(answer.text).blocked(nonce_of(answer)), "the policy blocks the documented example")
    assert all("?v=" in address for address in loaded)
    types = [client.get(address).header("Content-Type") for address in loaded]
    assert types == ["text/css; charset=utf-8", "text/javascript; charset=utf-8", "text/javascript; charset=utf-8"]


# --- reports ---------------------------------------------------------------------------------------------------

EVEN_LARGER = " > 10**9 or len(data := request.get_data(cache=False)) > 10**9:"
# As Chromium sends them: by Reporting-Endpoints several in a list, by report-uri one at a time.
FROM_CHROMIUM: dict[str, Any] = {
    "age": 2,
    "body": {
        "blockedURL": "https://evil.example/tracker.js",
        "columnNumber": 39,
        "disposition": "enforce",
        "documentURL": "https://app.example/notes?q=private",
        "effectiveDirective": "script-src-elem",
        "lineNumber": 121,
        "originalPolicy": "default-src 'none'; script-src 'nonce-x'; report-uri /csp-report; report-to csp",
        "referrer": "https://app.example/",
        "sample": "",
        "sourceFile": "https://app.example/notes",
        "statusCode": 200,
    },
    "type": "csp-violation",
    "url": "https://app.example/notes",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36",
}


def report(number: int) -> dict[str, Any]:
    body = {"documentURL": f"https://app.example/{number}?secret=1", "effectiveDirective": "img-src"}
    return {"type": "csp-violation", "body": body}


CHUNKED: dict[str, Any] = {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
"""Part of a WSGI environment: a body that comes in chunks, as gunicorn hands it over."""


@protects(
    REPORTS,
    size=edit(
        "session/csp_report.py", " > LARGEST or len(data := request.get_data(cache=False)) > LARGEST:", EVEN_LARGER
    ),
    kind=edit("session/csp_report.py", "    if request.mimetype not in KINDS:\n", "    if False:\n"),
    chunked=edit("session/csp_report.py", ".get_data(cache=False)) > LARGEST", ".get_data(cache=False)) > 10**9"),
)
def test_oversized_or_malformed_report_is_refused(service: Service) -> None:
    client = service.client()
    before = everything(service)
    passed = sends(client, [FROM_CHROMIUM])
    works((passed.status, len(logged(passed))) == (204, 1), "a report is logged")
    assert logged(passed)[0]["page"] == "https://app.example/notes"  # without its query
    works(sends(client, [FROM_CHROMIUM], **CHUNKED).status == 204, "a chunked report is logged")

    too_long = [{"body": {"documentURL": "x" * 16_384}}]
    answers = {
        "another type": sends(client, OLDER, "text/plain"),
        "JSON": sends(client, OLDER, "application/json"),
        "a form": sends(client, b"a=1", "application/x-www-form-urlencoded"),
        "too long": sends(client, too_long),
        "too long, in chunks": sends(client, too_long, **CHUNKED),
    }
    harm([event for answer in answers.values() for event in logged(answer)], "an invalid report was logged")
    for kind in ("another type", "JSON", "a form"):
        refused(answers[kind], 415, REPORTS)
    for kind in ("too long", "too long, in chunks"):
        refused(answers[kind], 413, REPORTS)
    assert [table for table in changed(before, everything(service)) if table != "audit_event"] == []


@protects(REPORTS, limit=edit("session/csp_report.py", "Ceiling(PER_MINUTE)", "Ceiling(PER_MINUTE * 100)"))
def test_a_network_sends_ten_reports_a_minute(service: Service) -> None:
    client = service.client()
    passed = [sends(client, [FROM_CHROMIUM]) for _ in range(10)]
    works([(answer.status, len(logged(answer))) for answer in passed] == [(204, 1)] * 10, "ten reports are logged")
    answer = sends(client, [FROM_CHROMIUM])
    harm(logged(answer), "an eleventh report was logged")
    refused(answer, 429, REPORTS)
    assert 1 <= int(answer.header("Retry-After") or 0) <= 60
    assert sends(service.client(address="203.0.113.5"), [FROM_CHROMIUM]).status == 204
    service.travel(seconds=61)
    assert sends(client, [FROM_CHROMIUM]).status == 204


@protects(
    "json-strict",
    reports=edit("session/csp_report.py", "loads(data, top=list, most=MOST)", "loads(data, top=list)"),
)
def test_no_more_than_twenty_reports_are_read_at_once(service: Service) -> None:
    client = service.client()
    passed = sends(client, [FROM_CHROMIUM] * 20)
    works((passed.status, [event["reports"] for event in logged(passed)]) == (204, [20]), "20 are one line")
    single = sends(client, {"csp-report": {"document-uri": "https://app.example/"}}, "application/csp-report")
    works((single.status, len(logged(single))) == (204, 1), "a report in the older format is one line")

    many = sends(client, [report(number) for number in range(21)])
    harm(logged(many), "a twenty-first report of one request was read")
    refused(many, 400, "json-strict")
    for document in (b'{"body": {}}', b"[] []", b'[{"body": {}, "body": {}}]', b"[" * 16_000):
        refused(sends(client, document), 400, "json-strict")


@protects(
    "csp-html-exact",
    inline=edit("edge/headers.py", "script-src 'nonce-{nonce}'", "script-src 'unsafe-inline' 'nonce-{nonce}'"),
    frames=edit(
        "edge/headers.py",
        '        " ".join(("frame-ancestors", *(frame_ancestors or ("\'none\'",)))),\n',
        "",
    ),
)
def test_every_page_policy_allows_only_own_files(service: Service) -> None:
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
        "a page was sent with a different policy",
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
    loaded = {address.partition("?")[0] for address in Page(form.text).addresses()}
    works("/static/bastion/bastion.css" in loaded, "it links its stylesheet")
    sheet = client.get("/static/bastion/bastion.css")
    works((sheet.status, sheet.mimetype) == (200, "text/css"), "the stylesheet loads")

    client.post("/account/sessions/end-others")  # leaves a message for the next page
    answers = {"login": form, **pages(client, "/", "/account", "/probe", f"/probe/{item}")}
    answers["wrong input"] = client.post("/probe", {"title": ""})
    answers["failure"] = client.get("/missing")
    shown = {name: answer for name, answer in answers.items() if answer.mimetype == "text/html"}
    harm(
        {name: found for name, answer in shown.items() if (found := Page(answer.text).blocked(nonce_of(answer)))},
        "a page contains something that its policy blocks",
    )
    assert len(shown) >= 7
    assert f"/probe/{item}" in shown
    assert "&lt;script&gt;" in shown[f"/probe/{item}"].text
    assert shown["wrong input"].status == 422


@protects(
    "csp-nonce-per-response",
    **sabotages(core.test_a_nonce_that_was_seen_lets_no_other_script_run, "csp-nonce-per-response", "once"),
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
    works([{*Page(one.text).nonces()} for one in answers] == [{nonce} for nonce in nonces], "the page's script runs")
    works(len(nonces) == 20, "each page's script runs")

    harm(len(set(nonces)) < 20, "two pages were sent with the same nonce")
    harm([nonce for nonce in nonces if len(nonce) < 22], "a nonce has fewer than 128 bits: it can be guessed")
    harm([nonce for nonce in nonces if nonce in service.output], "the log contains the nonce")
    shown = [client.get(f"/probe/{item}"), client.get("/probe")]
    harm([one for one in shown if len(Page(one.text).nonces()) > 1], "user input became a script beside ours")
    assert ["&lt;script" in answer.text for answer in shown] == [True, True]
    assert {answer.header("Cache-Control") for answer in (*answers, *shown)} == {"no-store"}


@protects(REPORTS, escape=edit("session/csp_report.py", 'return _plain(value.partition("?")[0][:LONGEST])', RAW))
def test_report_writes_no_control_characters_to_the_log(service: Service) -> None:
    client = service.client()
    passed = sends(client, OLDER, "application/csp-report")
    works([event["blocked"] for event in logged(passed)] == ["https://evil.example/tracker.js"], "a report is logged")
    hostile = "\r\n\x1b[2Jwiped \u202elive \x85 end"
    body = {"documentURL": hostile, "effectiveDirective": hostile, "blockedURL": hostile + "x" * 5_000}
    [event] = logged(sends(client, [{"type": "csp-violation", "body": body}]))
    shown = [event[name] for name in ("page", "directive", "blocked")]
    harm([text for text in shown if not text.isprintable()], "a client wrote control characters into the log")
    assert shown[0] == r"\r\n\x1b[2Jwiped \u202elive \x85 end"
    assert len(shown[2]) < 250
    deep = b'{"csp-report": ' + b"[" * 100 + b"]" * 100 + b"}"
    refused(sends(client, deep, "application/csp-report"), 400, "json-strict")
