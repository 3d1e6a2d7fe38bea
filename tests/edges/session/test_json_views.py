"""Edges of the proofs in session/test_json_views.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, works
from ...session.test_json_views import PROBLEM, ROW

if TYPE_CHECKING:
    from ...running import Service


@protects(
    ROW,
    factor=edit(
        "session/pages.py",
        'return _send_to("bastion.factors", "mfa-required-for-admins")',
        'return redirect(url_for("bastion.factors"), 303)',
    ),
)
def test_a_script_without_a_second_factor_is_refused(service: Service) -> None:
    seen = service.adds_route("/probe", view=service.module().answers_json(lambda: {"read": True}))
    script = service.client(service.user()).login()
    works(script.get("/probe").json == {"read": True}, "a script reads JSON")
    seen.clear()
    service.restart(BASTION_REQUIRE_MFA="all")
    answer = script.get("/probe")
    harm(answer.mimetype != PROBLEM, "a script was redirected to a page")
    assert (answer.status, answer.header("WWW-Authenticate")) == (401, 'Cookie form-action="/account/factors"')
    assert seen == []


@protects(ROW, pages=edit("request/access.py", "return rule is not None and rule.json", "return True"))
def test_a_person_still_gets_pages(service: Service) -> None:
    service.adds_route("/probe/page")
    service.adds_route("/probe/script", view=service.module().answers_json(lambda: {"read": True}))
    person = service.client(service.user()).login()
    works(person.get("/probe/script").json == {"read": True}, "the view for scripts answers")
    answer = service.client().get("/probe/page")
    harm(answer.mimetype == PROBLEM, "a person got a problem document in place of the login page")
    assert (answer.status, answer.location) == (303, "/login?next=/probe/page")
    table = service.module("request.access").table(service.app)
    assert "| `/probe/script` | GET | login, answers JSON |" in table
