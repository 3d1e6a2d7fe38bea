"""Attacks by JSON that can be read in two ways, or that costs more to read than to send.

The documents go to a bare view with `request.get_json()`, so what is proven holds for every view of the team.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, insert, protects, refused, works

if TYPE_CHECKING:
    from .running import Service
    from .service import Client
    from .wire import Response


ROW = "json-strict"
ORDINARY: tuple[Any, ...] = (
    {"name": "Zoë 漢字 😀", "list": [1, -1, 0.5, 1e3, True, None, ""], "quote": 'a "b" \\ [{', "empty": {}},
    [{"a": 2**53, "b": -(2**53), "c": 0.1 + 0.2, "d": float(2**53)}],
    {},
)


def adds_reader(service: Service) -> list[Any]:
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
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    for document in ORDINARY:
        works(sends(client, json.dumps(document).encode()).status == 200, "an ordinary document is read")
    works(sends(client, json.dumps(ORDINARY[0], ensure_ascii=False).encode()).status == 200, "in UTF-8 too")
    works(arrived == [*ORDINARY, ORDINARY[0]], "as it was sent")
    arrived.clear()
    return client, arrived


@protects(
    "json-strict", views=edit("__init__.py", "    strict_json.install(app)  # one reader of JSON for every view\n", "")
)
def test_no_view_of_the_team_reads_json_in_another_way(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in (b'{"role": "user", "role": "admin"}', b'{"a": NaN}')]
    harm(arrived, "a view that asks Flask for the JSON got what this service does not read")
    for answer in answers:
        refused(answer, 400, ROW)
    assert client.post("/probe", body=b'{"a": 1}', content_type="text/plain").status == 415
    assert arrived == []


@protects(
    "json-output-safe",
    callback=insert(
        "strict_json.py",
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
    works(plain.json == {"secret": "</script>canary\u2028"}, "an answer is read as it was meant")
    for name in ("callback", "jsonp"):
        answer = client.get("/probe", query={name: "steal"})
        harm(answer.body != plain.body, "an answer calls a function of the page that loads it")
        assert (answer.mimetype, answer.header("X-Content-Type-Options")) == ("application/json", "nosniff")
