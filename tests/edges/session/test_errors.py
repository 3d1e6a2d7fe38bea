"""Proofs of session/templating.py: an error page has only fixed texts and repeats nothing of the request.

They stop a link that a victim opens from running a script in this service's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ...harness import edit, harm, protects, works
from ...running import Service

if TYPE_CHECKING:
    import pytest


SCRIPT = "<script>alert(1)</script>"
CAUGHT = "    except CSRFError:\n"
LEAD = '<p class="lead">{{ text }}</p>'


def fail() -> NoReturn:
    raise RuntimeError("canary")


@protects(
    "errors-fail-closed",
    csrf=edit("session/csrf.py", CAUGHT, f"    except RuntimeError:\n        return True\n{CAUGHT}"),
)
def test_a_check_of_form_tokens_that_fails_lets_nobody_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = service.adds_route("/probe", methods=("POST",))
    client = service.client(service.user()).login()
    works(client.post("/probe").status == 200, "a form with its token is accepted")
    seen.clear()
    monkeypatch.setattr(service.module("session.csrf").protect, "protect", fail)
    answer = client.post("/probe")
    harm(seen, "the view ran although the token could not be checked")
    assert answer.status == 500
    assert "canary" not in answer.text


@protects(
    "errors-one-format",
    echo=edit(
        "session/templates/bastion/error.html", LEAD, LEAD.replace("{{ text }}", "{{ text }} {{ request.path | safe }}")
    ),
)
def test_an_error_page_repeats_nothing_of_the_request(service: Service) -> None:
    service.adds_route("/fine", methods=("GET", "POST"))
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "the page answers")
    answers = [
        client.get(f"/{SCRIPT}"),
        client.get("/nowhere", query={"q": SCRIPT}),
        client.get("/nowhere", headers={"Referer": f"https://app.example/{SCRIPT}", "User-Agent": SCRIPT}),
        client.get(f"/fine/{SCRIPT}"),
        client.post("/fine", {"csrf_token": SCRIPT}),
        client.post("/fine", {SCRIPT: SCRIPT}, headers={"Origin": f"https://{SCRIPT}", "Sec-Fetch-Site": None}),
        client.get("/fine", headers={"Host": f"app.example/{SCRIPT}"}),
        client.send("PROPFIND", f"/{SCRIPT}"),
    ]
    for answer in answers:
        harm("<script" in answer.text, "the error page runs markup from the request")
        assert "alert(1)" not in answer.text
        assert answer.mimetype == "text/html"
    assert [answer.status for answer in answers] == [404, 404, 404, 404, 400, 403, 400, 405]
