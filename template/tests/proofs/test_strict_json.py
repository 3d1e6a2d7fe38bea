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
DUPLICATES = (
    b'{"role": "user", "role": "admin"}',
    b'{"role": "user", "r\\u006fle": "admin"}',
    b'{"user": {"role": "user", "role": "admin"}}',
    b'[{"role": "user", "role": "user"}]',
)
CONSTANTS = (b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": [NaN]}')
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


def names(count: int) -> bytes:
    """An object of so many names."""
    return b"{" + b",".join(b'"%d": 1' % number for number in range(count)) + b"}"


@protects(
    "json-strict", views=edit("__init__.py", "    strict_json.install(app)  # one reader of JSON for every view\n", "")
)
def test_no_view_of_the_team_reads_json_in_another_way(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in (DUPLICATES[0], CONSTANTS[0])]
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
    names = ("callback", "jsonp", "cb", "_callback")
    answers = [client.get("/probe", query={name: "steal"}) for name in names]
    harm(
        [one.text for one in answers if one.body != plain.body], "an answer calls a function of the page that loads it"
    )
    assert [one.mimetype for one in answers] == ["application/json"] * len(names)
    assert answers[0].header("X-Content-Type-Options") == "nosniff"
