"""Attacks by what no form declares: the parts of an address, a query, a header, and texts made for slow patterns.

What reaches a view that a team wrote must fit into a database and be shown safely, whoever forgot to look.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, refused, works
from .routes import routes, walkers

if TYPE_CHECKING:
    from .running import Service


SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CHARACTERS = "control-characters-refused"


@protects("input-validated-typed")
def test_no_route_fails_on_a_hostile_query_or_body(service: Service) -> None:
    service.adds_probe()
    roles: tuple[str, ...] = tuple(service.module("state").state_of(service.app).team.roles)
    user = service.user(roles=roles)
    works(service.client(user).login().get("/probe").status == 200, "a list is shown")
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
    harm(failed, "a route failed on what anybody can send")


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


@protects(LIMITS, query=edit("inputs.py", '    if query.count(b"&") >= MOST_FIELDS:\n', "    if False:\n"))
def test_no_view_gets_a_query_of_many_parts(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    works(client.get("/read?" + "&".join(f"n{n}=" for n in range(100))).status == 200, "a query of 100 parts is read")
    arrived.clear()
    answer = client.get("/read?" + "&".join(f"n{n}=" for n in range(101)))
    harm(arrived, "a view got a query of more than 100 parts")
    refused(answer, 413, LIMITS)


@protects(TYPE, encoding=edit("inputs.py", '"identity").strip().lower() != "identity"', '"identity").strip() == "?"'))
def test_no_view_runs_for_a_compressed_body(service: Service) -> None:
    seen = service.adds_route("/bare", methods=METHODS)
    client = service.client(service.user()).login()
    works(client.post("/bare", json={"a": 1}).status == 200, "a body as it is, is taken")
    seen.clear()
    bomb = gzip.compress(b'{"a": "' + b"x" * 1_000_000 + b'"}')
    answer = client.post("/bare", body=bomb, content_type="application/json", headers={"Content-Encoding": "gzip"})
    harm(seen, "a view ran for a body that is a thousand times as long as it was announced")
    refused(answer, 415, TYPE)


@protects(
    TWICE, parameters=edit("inputs.py", "        if name in seen and name not in lists():\n", "        if False:\n")
)
def test_no_view_gets_one_of_two_equal_names(service: Service) -> None:
    arrived = adds_reader(service, "tag")
    client = service.client(service.user()).login()
    works(client.get("/lists?tag=a&tag=b&page=1").status == 200, "a list that the view declares is taken")
    arrived.clear()
    for query in ("role=user&role=admin", "role=user&r%6fle=admin"):
        answer = client.get(f"/read?{query}")
        harm(arrived, "a view got a name twice: the check may look at the one and the work at the other")
        refused(answer, 400, TWICE)


@protects(CHARACTERS, utf8=edit("inputs.py", 'errors="strict"', 'errors="replace"'))
@protects(
    CHARACTERS,
    control=edit("inputs.py", "    if _CONTROL.search(text_of(query)):\n", "    if text_of(query) is None:\n"),
)
def test_no_view_gets_what_cant_be_seen_or_is_no_text(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    works(client.get("/read?q=Zo%C3%AB%20%2541").status == 200, "a text is read")
    works(arrived.pop() == ("", {"q": ["Zo\u00eb %41"]}), "decoded once")
    for text in ("%00", "%0d%0aSet-Cookie:x=1", "%C2%85", "%ff"):
        answer = client.get(f"/read?q={text}")
        harm(arrived, "a view got a control character, or something that nobody sent")
        refused(answer, 400, CHARACTERS)
