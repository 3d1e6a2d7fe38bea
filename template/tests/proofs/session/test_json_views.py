"""JSON views of the session style: a script reads problem documents, where a person is sent to a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, protects, works
from ..session_client import HEADER

if TYPE_CHECKING:
    from ..running import Service


ROW = "json-views-answer-problems"
PROBLEM = "application/problem+json"


@protects(
    ROW,
    errors=edit("request/errors.py", "problem.error_body if expects_json() else ", ""),
    redirects=edit("request/access.py", "return rule is not None and rule.json", 'return "probe" not in request.path'),
)
def test_a_script_is_refused_with_a_problem(service: Service) -> None:
    def view() -> Any:
        from flask import abort, request

        return {"name": request.get_json()["name"]} if request.is_json else abort(422)

    bastion = service.module()
    marked = bastion.answers_json(view)
    service.adds_route("/probe", methods=("POST",), view=marked)
    service.adds_route("/probe/fresh", methods=("POST",), view=marked, mark=bastion.login_required(fresh=True))
    script = service.client(service.user()).login()
    works(
        script.post("/probe/fresh", json={"name": "Zoë"}).json == {"name": "Zoë"}, "a script sends JSON and its token"
    )
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    expected = {
        "csrf": (400, script.post("/probe", json={}, headers={HEADER: None})),
        "login": (401, service.client().post("/probe", json={})),
        "fresh": (401, script.post("/probe/fresh", json={})),
        "view": (422, script.post("/probe", {})),
    }
    harm(
        [name for name, (_, answer) in expected.items() if answer.mimetype != PROBLEM],
        "a script got a page or a redirect",
    )
    for name, (status, answer) in expected.items():
        assert (answer.status, answer.json["status"]) == (status, status), name
    places = [expected[name][1].header("WWW-Authenticate") for name in ("login", "fresh")]
    assert places == ['Cookie form-action="/login"', 'Cookie form-action="/reauth"']
