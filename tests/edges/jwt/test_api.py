"""Edges of the proofs in test_api.py: further attacks on the same protections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ...harness import edit, harm, protects, refused, works
from ...jwt.annotated import Kinds
from ...jwt.test_api import BEFORE, FILE, ROW, sends_each_type_to_each_route
from ...logins import cheap_user, sessions_of

if TYPE_CHECKING:
    from ...running import Service


BODY = edit(FILE, "    require_json()\n    data = request.get_data()", "    data = request.get_data()")
PLAIN = edit(FILE, 'frozenset({"application/json"})', 'frozenset({"application/json", "text/plain"})')
OTHERS: dict[str, str] = {
    "two types": "application/json, text/plain",
    "two types, the other first": "text/plain, application/json",
    "another charset": "application/json; charset=utf-16",
    "another charset of one byte": "application/json; charset=iso-8859-1",
    "a parameter that JSON has not": "application/json; boundary=x",
    "text that looks like JSON": "text/json",
    "a relative of JSON": "application/problem+json",
    "another relative": "application/merge-patch+json",
    "a longer name": "application/jsonp",
    "XML": "application/xml",
    "bytes": "application/octet-stream",
}
JSON = ("application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON")


@protects(ROW, force=(BEFORE, BODY), type=PLAIN)
def test_a_form_on_another_site_can_neither_sign_in_nor_write(service: Service) -> None:
    probe: Any = service.adds_probe()
    user = cheap_user(service)
    client, visitor = service.client(user).login(), service.client()
    credentials = json.dumps({"identifier": user.email, "password": user.password}).encode()
    item = json.dumps({"title": "a title", "body": ""}).encode()
    for number, good in enumerate(JSON):
        works(visitor.post("/auth/login", body=credentials, content_type=good).status == 200, f"a login as {good}")
        works(client.post("/probe", body=item, content_type=good).status == 201, f"a client creates a row with {good}")
        works((sessions_of(service, user), probe.count()) == (number + 2, number + 1), "both are in the database")
    before = sessions_of(service, user), probe.count()
    for what, kind in {**SIMPLE, **OTHERS}.items():
        for sender, path, body in ((visitor, "/auth/login", credentials), (client, "/probe", item)):
            answer = sender.post(path, body=body, headers={"Content-Type": kind})
            harm((sessions_of(service, user), probe.count()) != before, f"{path} accepted a body sent as {what}")
            refused(answer, 415, ROW)
    disguised = b'{"identifier": "%s", "password": "%s", "x": "="}\r\n' % (user.email.encode(), user.password.encode())
    answer = visitor.post("/auth/login", body=disguised, content_type="text/plain")  # as such a form spells its fields
    harm(sessions_of(service, user) != before[0], "a form field was read as JSON")
    refused(answer, 415, ROW)


@protects(ROW, view=BEFORE, type=PLAIN)
def test_a_view_gets_no_body_that_a_cross_site_form_can_send(service: Service) -> None:
    """A team's view may parse any body: `force=True` is one way to ignore the content type."""
    read: list[Any] = []

    def bare() -> str:
        from flask import request

        read.append(request.get_json(force=True))
        return "read"

    seen = service.adds_route("/bare", methods=("POST", "PUT", "PATCH", "DELETE"), view=bare)
    client = service.client(service.user()).login()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        works(client.send(method, "/bare", json={"order": 1}).status == 200, f"{method} with JSON is accepted")
        works(client.send(method, "/bare", body=b"{}").status == 200, f"{method} with an empty JSON object is accepted")
    works(len(seen) == len(read) == 8, "the view read each body")
    seen.clear()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for what, kind in {**SIMPLE, **OTHERS}.items():
            answer = client.send(method, "/bare", body=b'{"order": 1}', headers={"Content-Type": kind})
            harm(seen, f"the view ran for a {method} sent as {what}")
            refused(answer, 415, ROW)
    chunked = client.send(
        "POST", "/bare", body=b'{"order": 1}',
        headers={"Content-Type": "text/plain", "Content-Length": None, "Transfer-Encoding": "chunked"},
    )  # fmt: skip
    harm(seen, "the view ran for a chunked text/plain body")
    refused(chunked, 415, ROW)


# --- what an operation may be -----------------------------------------------------------------------------------------


@protects(
    "input-validated-typed",
    declared=edit(
        FILE, "if found is not None and not (isinstance(found, type) and issubclass(found, base)):", "if False:"
    ),
)
def test_no_operation_takes_what_is_not_checked(service: Service) -> None:
    kinds = Kinds(service)
    for good in ({}, {"body": kinds.sent}, {"query": kinds.query}, {"body": kinds.sent, "query": kinds.query}):
        works(kinds.is_made({**good, "return": None}), f"an operation with {[*good]} is accepted")
    bodies = (dict, dict[str, str], str, bytes, Any, kinds.foreign, kinds.query, kinds.one, kinds.sent | kinds.other)
    queries = (dict, str, kinds.foreign, kinds.sent, list[kinds.query])  # type: ignore[name-defined]
    unchecked: list[tuple[str, Any]] = [("body", one) for one in bodies] + [("query", one) for one in queries]
    taken = [one for one in unchecked if kinds.is_made({one[0]: one[1], "return": None})]
    harm(taken, f"an operation accepts unvalidated input: {taken}")
    with pytest.raises(TypeError, match="annotate body with a subclass of Schema"):
        kinds.made({"body": dict, "return": None})
    with pytest.raises(TypeError, match="annotate query with a subclass of Query"):
        kinds.made({"query": dict, "return": None})


@protects(
    "response-fields-allow-list",
    declared=edit(
        FILE,
        "not all(isinstance(one, type) and issubclass(one, Answer) for one in (answer, *others)):",
        "not answer:",
    ),
)
def test_no_operation_answers_what_no_schema_names(service: Service) -> None:
    kinds = Kinds(service)
    one, other = kinds.one, kinds.other
    works(kinds.is_made({"return": one}) and kinds.is_made({"return": None}), "an Answer or None is accepted")
    works(kinds.is_made({"return": one | other}, also={202: other}), "two Answers with statuses are accepted")
    unnamed: list[Any] = [dict, str, bytes, kinds.foreign, kinds.sent, one | dict, dict | one, one | None]
    unnamed.append(list[one])  # type: ignore[valid-type]
    given = [answer for answer in unnamed if kinds.is_made({"return": answer})]
    harm(given, f"an operation may return fields that no schema lists: {given}")
    with pytest.raises(TypeError, match="annotate what it returns with a subclass of Answer, or None"):
        kinds.made({})
    for answer, also in ((one | other, {}), (one, {202: other}), (one | other, {202: one}), (one, {202: one})):
        with pytest.raises(TypeError, match="`also` names the status of each answer but the first"):
            kinds.made({"return": answer}, also=also)


SIMPLE: dict[str, str | None] = {
    "plain text": "text/plain",
    "plain text with a charset": "text/plain; charset=utf-8",
    "plain text that names JSON": "text/plain; application/json",
    "plain text that is called JSON": "text/plain; charset=application/json",
    "a form": "application/x-www-form-urlencoded",
    "a form with files": "multipart/form-data; boundary=application/json",
    "no type": None,
    "an empty type": "",
}
"""What needs no preflight (Fetch Standard, CORS-safelisted request-header), each accepted by some lenient parser."""


@protects(ROW, view=BEFORE)
def test_no_route_takes_any_type_that_needs_no_preflight(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    sends_each_type_to_each_route(service, monkeypatch, SIMPLE)
