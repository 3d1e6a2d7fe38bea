"""Proofs of request/problem.py: each error is a problem document with fixed members that points to the invalid value.

They stop an attacker from reading internal details in an added member, and a client from guessing.
"""

from __future__ import annotations

import uuid

from ...harness import edit, harm, protects, works
from ...logins import WRONG, attempt, cheap_user
from ...running import Service
from ..test_errors import STATUSES, add_failures

MEMBERS = {"type", "title", "status", "instance"}


@protects(
    "errors-one-format",
    members=edit(
        "request/problem.py",
        '"instance": _urn(request_id)}',
        '"instance": _urn(request_id), "exception": repr(__import__("sys").exc_info()[1])}',
    ),
)
def test_a_problem_has_no_member_that_tells_what_happened_inside(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "the operation answers a valid request")
    too_large = str(service.app.extensions["bastion"].limits.body_bytes + 1)
    answers = [
        *((code, client.get(f"/abort/{code}")) for code in STATUSES),
        (500, client.get("/view")),
        (500, client.get("/open?at=teardown")),
        (404, client.get("/nowhere")),
        (413, client.post("/fine", headers={"Content-Length": too_large})),
        (401, service.client().get("/fine")),
        (400, client.send("POST", "/auth/refresh", body=b"{", content_type="application/json")),
        (415, client.send("POST", "/auth/refresh", body=b"a=b", content_type="application/x-www-form-urlencoded")),
    ]
    for code, answer in answers:
        assert answer.status == code
        assert answer.mimetype == "application/problem+json"
        harm(set(answer.json) - MEMBERS, f"{code} has undeclared members {sorted(set(answer.json) - MEMBERS)}")
        assert set(answer.json) == MEMBERS
        assert answer.json["status"] == code
        assert answer.json["type"] == "about:blank"
        assert answer.json["instance"] == uuid.UUID(answer.request_id or "").urn


@protects(
    "errors-one-format",
    pointer=edit("jwt/api.py", "errors=faults_of(error, in_query=False)", "errors=error.errors(include_context=False)"),
)
def test_an_invalid_value_is_pointed_to_and_not_repeated(service: Service) -> None:
    probe = service.adds_probe()
    client = service.client(service.user()).login()
    works(probe.create(client, title="apples").status == 201, "a valid body is accepted")
    wrong = probe.create(client, title="", body={"canary": 1}, **{"<script>canary": 1})
    harm("canary" in wrong.text, "the answer repeats the client's input")
    assert wrong.status == 422
    assert set(wrong.json) == {*MEMBERS, "errors"}
    assert sorted(error["pointer"] for error in wrong.json["errors"]) == ["#", "#/body", "#/title"]
    assert {frozenset(error) for error in wrong.json["errors"]} == {frozenset({"pointer", "detail"})}
    assert probe.count() == 1


@protects("errors-one-format", scheme=edit("jwt/__init__.py", "if response.status_code == 401 and", "if False and"))
def test_every_401_says_how_to_sign_in_and_no_other_answer_does(service: Service) -> None:
    """Client libraries send a token where WWW-Authenticate asks for one (RFC 9110, 15.5.2)."""
    user = cheap_user(service)
    client, stranger = service.client(user).login(), service.client()
    works(client.get("/auth/me").status == 200, "a signed-in user is answered")
    wrong = attempt(stranger, user.email, WRONG)
    harm(wrong.header("WWW-Authenticate") is None, "a 401 answer lacks WWW-Authenticate")
    assert (wrong.status, wrong.header("WWW-Authenticate")) == (401, "Bearer")
    assert stranger.get("/auth/me").headers_named("WWW-Authenticate") == ["Bearer"]
    assert [client.get(path).header("WWW-Authenticate") for path in ("/auth/me", "/nowhere", "/auth/users")] == [
        None
    ] * 3
