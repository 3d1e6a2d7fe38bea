"""Proofs of session/templating.py: an error page has only fixed texts and repeats nothing of the request.

They stop a link that a victim opens from running a script in this service's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from jinja2 import FileSystemLoader

from ... import header_table
from ...harness import edit, harm, protects, works
from ...running import Service

if TYPE_CHECKING:
    import pytest
    from flask import Flask


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


@protects(
    "errors-one-format",
    plain=edit(
        "session/templating.py",
        "        except Exception as error:  # such",
        "        except KeyError as error:  # such",
    ),
)
def test_the_navigation_of_an_error_page_hides_no_error(service: Service) -> None:
    failing: list[str] = []

    def hook() -> dict[str, str]:
        if failing:
            raise RuntimeError("the team's hook fails")
        return {}

    def add(app: Flask) -> None:
        app.context_processor(hook)

    service.adds(add)
    user = service.user()
    client = service.client(user).login()
    shown = client.get("/missing")
    works((shown.status, user.email in shown.text) == (404, True), "a signed-in user keeps the navigation")
    assert user.email not in service.client().get("/missing").text
    failing.append("now")
    answer = client.get("/missing")
    harm(answer.status != 404, "a failing hook of the team took the place of the answer")
    assert user.email not in answer.text
    assert "There is nothing at this address." in answer.text


@protects("errors-one-format")
def test_a_team_replaces_the_error_page(service: Service, tmp_path: Path) -> None:
    (tmp_path / "bastion").mkdir()
    page = tmp_path / "bastion" / "error.html"
    page.write_text(
        "<h1>Lost at sea</h1><p>{{ status }} {{ title }} {{ text }} {{ request_id }} {{ service_name }}</p>"
    )
    service.adds(lambda app: setattr(app, "jinja_loader", FileSystemLoader(tmp_path)))
    answers = [
        service.client().get("/missing"),
        service.client(service.user()).login().get("/missing"),
        service.client().get("/", headers={"Host": "evil.example"}),
    ]
    works([answer.status for answer in answers] == [404, 404, 400], "the errors keep their status")
    assert ["Lost at sea" in answer.text for answer in answers] == [True] * 3
    harm([one for one in answers if header_table.faults(service, one)], "the team's error page lost a security header")
