"""Attacks through input that no form declares: paths, queries, headers, JSON, and texts that slow patterns down.

What reaches a view that a team wrote must fit into a database and be shown safely, whoever forgot to look.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, insert, protects, refused, works
from .routes import routes, walkers

if TYPE_CHECKING:
    from .running import Service
    from .service import Client
    from .wire import Response


SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CHARACTERS = "control-characters-refused"


@protects("input-validated-typed")
def test_no_route_fails_on_a_hostile_query_or_body(service: Service) -> None:
    service.adds_probe()
    roles: tuple[str, ...] = tuple(service.module("state").state_of(service.app).team.roles)
    user = service.user(roles=roles)
    works(service.client(user).login().get("/probe").status == 200, "a user opens a list")
    found = [route for route in routes(service) if route.method not in ("HEAD", "OPTIONS")]
    assert len(found) >= 8
    assert "/probe" in {route.path for route in found}

    texts = {
        "page": "9" * 400,
        "q": "a\ufffe\u202e",
        "sort": "title; --\u2028",
        "next": "//evil.example",
        "id": "-1",
    }
    failed = []
    reader = walkers(service, user, requests=1)
    for number, route in enumerate(found):
        fresh = service.client(user, f"192.0.2.{number % 200 + 20}")  # for what may end his session
        client = next(reader) if route.method in SAFE else fresh.login()
        answers = [client.send(route.method, route.path, query=texts)]
        if route.method not in SAFE:
            answers += [
                client.send(route.method, route.path, texts),
                client.send(route.method, route.path, json=[texts]),
            ]
            answers += [client.send(route.method, route.path, body=b"\xff\x00" * 100, content_type="application/json")]
        # 502 and 504 nobody says but the team's own code, of a partner that it asks in vain: here it has none.
        failed += [f"{route}: {one.status}" for one in answers if one.status >= 500 and one.status not in (502, 504)]
    harm(failed, "a hostile query or body made a route fail")


# --- what a request says, it says once and in one way ----------------------------------------------------------

LIMITS, TYPE, TWICE = "form-field-limits", "content-type-strict", "duplicate-parameters-refused"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def adds_reader(service: Service, *lists: str) -> list[Any]:
    """A bare view that reads its path and query: the list to which it appends what they were."""
    arrived: list[Any] = []

    def view(**parts: Any) -> Any:
        from flask import request

        arrived.append((parts.get("name", ""), request.args.to_dict(flat=False)))
        return {"read": True}

    service.adds_route("/read", methods=METHODS, view=view)
    service.adds_route("/read/<name>", methods=METHODS, view=view)
    service.adds_route("/lists", view=service.module().takes_lists(*lists)(lambda: view()))
    return arrived


@protects(LIMITS, query=edit("request/inputs.py", '    if query.count(b"&") >= MOST_FIELDS:\n', "    if False:\n"))
def test_no_view_gets_a_query_of_many_parts(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    works(client.get("/read?" + "&".join(f"n{n}=" for n in range(100))).status == 200, "100 parameters are accepted")
    arrived.clear()
    answer = client.get("/read?" + "&".join(f"n{n}=" for n in range(101)))
    harm(arrived, "a view received a query with more than 100 parameters")
    refused(answer, 413, LIMITS)


@protects(
    TYPE, encoding=edit("request/inputs.py", '"identity").strip().lower() != "identity"', '"identity").strip() == "?"')
)
def test_no_view_runs_for_a_compressed_body(service: Service) -> None:
    seen = service.adds_route("/bare", methods=METHODS)
    client = service.client(service.user()).login()
    works(client.post("/bare", json={"a": 1}).status == 200, "an uncompressed body is accepted")
    seen.clear()
    bomb = gzip.compress(b'{"a": "' + b"x" * 1_000_000 + b'"}')
    answer = client.post("/bare", body=bomb, content_type="application/json", headers={"Content-Encoding": "gzip"})
    harm(seen, "a view ran for a compressed body that expands a thousandfold")
    refused(answer, 415, TYPE)


@protects(
    TWICE,
    parameters=edit("request/inputs.py", "        if name in seen and name not in lists():\n", "        if False:\n"),
)
def test_no_view_gets_one_of_two_equal_names(service: Service) -> None:
    arrived = adds_reader(service, "tag")
    client = service.client(service.user()).login()
    works(client.get("/lists?tag=a&tag=b&page=1").status == 200, "a declared repeated parameter is accepted")
    arrived.clear()
    for query in ("role=user&role=admin", "role=user&r%6fle=admin"):
        answer = client.get(f"/read?{query}")
        harm(arrived, "a view received a duplicate parameter, which a check and the view may read differently")
        refused(answer, 400, TWICE)


@protects(CHARACTERS, utf8=edit("request/inputs.py", 'errors="strict"', 'errors="replace"'))
@protects(
    CHARACTERS,
    control=edit("request/inputs.py", "    if _CONTROL.search(text_of(query)):\n", "    if text_of(query) is None:\n"),
)
def test_no_view_gets_what_cant_be_seen_or_is_no_text(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    works(client.get("/read?q=Zo%C3%AB%20%2541").status == 200, "percent-encoded text is accepted")
    works(arrived.pop() == ("", {"q": ["Zo\u00eb %41"]}), "the text is decoded once")
    for text in ("%00", "%0d%0aSet-Cookie:x=1", "%C2%85", "%ff"):
        answer = client.get(f"/read?q={text}")
        harm(arrived, "a view received a control character or invalid UTF-8")
        refused(answer, 400, CHARACTERS)


# --- JSON that means one thing ---------------------------------------------------------------------------------------


ROW = "json-strict"
ORDINARY: tuple[Any, ...] = (
    {"name": "Zoë 漢字 😀", "list": [1, -1, 0.5, 1e3, True, None, ""], "quote": 'a "b" \\ [{', "empty": {}},
    [{"a": 2**53, "b": -(2**53), "c": 0.1 + 0.2, "d": float(2**53)}],
    {},
)


def adds_json_reader(service: Service) -> list[Any]:
    """A bare view that takes JSON: the list to which it appends what it read."""
    arrived: list[Any] = []

    def view() -> Any:
        from flask import request

        arrived.append(request.get_json())
        return {"read": True}

    service.adds_route("/probe", methods=("POST",), view=view)
    return arrived


def sends(client: Client, document: bytes) -> Response:
    return client.post("/probe", body=document, content_type="application/json")


def reads(service: Service) -> tuple[Client, list[Any]]:
    """A client of the bare view, after ordinary documents have been read by it."""
    arrived = adds_json_reader(service)
    client = service.client(service.user()).login()
    for document in ORDINARY:
        works(sends(client, json.dumps(document).encode()).status == 200, "a view reads an ordinary JSON document")
    works(sends(client, json.dumps(ORDINARY[0], ensure_ascii=False).encode()).status == 200, "UTF-8 JSON is accepted")
    works(arrived == [*ORDINARY, ORDINARY[0]], "the view receives the documents unchanged")
    arrived.clear()
    return client, arrived


@protects(
    "json-strict", views=edit("__init__.py", "    json_body.install(app)  # one reader of JSON for every view\n", "")
)
def test_no_view_of_the_team_reads_json_in_another_way(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in (b'{"role": "user", "role": "admin"}', b'{"a": NaN}')]
    harm(arrived, "a view received JSON with duplicate names or NaN through Flask")
    for answer in answers:
        refused(answer, 400, ROW)
    assert client.post("/probe", body=b'{"a": 1}', content_type="text/plain").status == 415
    assert arrived == []


@protects(
    "json-output-safe",
    callback=insert(
        "request/json_body.py",
        after='    """Make every view read JSON in this one way."""\n',
        new="\n    @app.after_request\n    def call(answer: Any) -> Any:\n"
        "        from flask import request\n\n"
        '        if answer.is_json and (name := request.args.get("callback")):\n'
        '            answer.set_data(f"{name}({answer.get_data(as_text=True)})")\n'
        '            answer.mimetype = "text/javascript"\n        return answer\n',
    ),
)
def test_no_answer_becomes_a_script_that_another_site_can_load(service: Service) -> None:
    service.adds_route("/probe", view=lambda: {"secret": "</script>canary\u2028"})
    client = service.client(service.user()).login()
    plain = client.get("/probe")
    works(plain.json == {"secret": "</script>canary\u2028"}, "the client reads the JSON answer unchanged")
    for name in ("callback", "jsonp"):
        answer = client.get("/probe", query={name: "steal"})
        harm(answer.body != plain.body, "an answer became a script that calls a function (JSONP)")
        assert (answer.mimetype, answer.header("X-Content-Type-Options")) == ("application/json", "nosniff")


# --- methods ---------------------------------------------------------------------------------------------------------


METHODS_ROW = "methods-closed"
OPEN = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


@protects(METHODS_ROW, guard=edit("edge/request_line.py", "not in METHODS:", "is None:"))
def test_no_unknown_method_reaches_a_view(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "TRACE", "FOO"))
    client = service.client(service.user()).login()
    works(client.get("/probe").status == 200, "a declared method reaches the view")
    seen.clear()
    for method in ("TRACE", "FOO"):
        answer = client.send(method, "/probe")
        harm(seen, f"the view ran for the method {method}")
        refused(answer, 405, METHODS_ROW)
        assert answer.header("Allow") == OPEN
