"""Unit tests beside the proofs in test_errors.py."""

from __future__ import annotations

import json

from ...running import Service


def test_nothing_of_the_request_is_echoed_as_it_is(service: Service) -> None:
    probe = service.adds_probe()
    client = service.client(service.user()).login()
    script = "<script>alert(1)</script>"
    assert probe.create(client, title=script).json["title"] == script  # data is data, in JSON
    answers = [
        client.get(f"/{script}"),
        client.get("/nowhere", query={"q": script}),
        client.get("/probe", query={script: script}),
        client.get("/nowhere", headers={"Host": script}),
        client.send("POST", "/probe", body=script.encode(), content_type="application/json"),
        probe.create(client, **{script: script}),
    ]
    assert [answer.status for answer in answers] == [404, 404, 400, 400, 400, 422]
    assert [answer.text for answer in answers if "<" in answer.text] == []


def test_a_refusal_that_no_request_has_a_number_for_is_a_problem_too(service: Service) -> None:
    for unknown in ("", "-", "no number"):
        kind, body = service.module("jwt.problem").error_body(400, "Bad request", "a text", unknown)
        assert kind == "application/problem+json"
        assert json.loads(body) == {
            "type": "about:blank",
            "title": "Bad request",
            "status": 400,
            "instance": "urn:uuid:00000000-0000-0000-0000-000000000000",
        }


def test_what_is_refused_points_to_the_field_that_was_sent(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()
    weak = client.change_password(user.password, "password password")
    assert (weak.status, {*weak.json["errors"][0]}) == (422, {"pointer", "detail"})
    assert weak.json["errors"][0]["pointer"] == "#/new_password"
    named = client.rename("x" * 101)
    assert [one["pointer"] for one in named.json["errors"]] == ["#/display_name"]
