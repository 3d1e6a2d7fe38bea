"""Edges of the proofs in test_inputs.py: further attacks on the same protections."""

from __future__ import annotations

import gzip
import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, protects, refused, works
from ..service import AUTH, DATABASE
from ..test_inputs import CHARACTERS, LIMITS, METHODS, TWICE, TYPE, adds_reader

if TYPE_CHECKING:
    from ..running import Service


NUMBERS = (
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "9" * 4000,
    "-1",
    "1.0",
    "%2B1",
    "%EF%BC%91",
    "0x1",
)
NAMES = ("a%00b", "%E2%80%AEa", "a%E2%81%A6", "a%1B", "a%0Ab", "%C2%85", "%E2%80%A8", "x" * 256)


@protects(
    "input-validated-typed",
    paths=edit("__init__.py", "    paths.install(app)  # before the first route\n", ""),
)
def test_no_view_gets_a_part_of_an_address_that_no_database_can_hold(service: Service) -> None:
    arrived: list[Any] = []

    def view(**values: Any) -> Any:
        arrived.append(values)
        return {"read": True}

    for path in ("/number/<int:value>", "/name/<value>", "/text/<string:value>", "/path/<path:value>"):
        service.adds_route(path, view=view)
    service.adds_route("/wide/<int(max=9000000000):value>", view=view)
    client = service.client(service.user()).login()
    for path in ("number/0", "number/2147483647", "name/Zo%C3%AB", "text/" + "x" * 255, "path/a/b", "wide/9000000000"):
        works(client.get(f"/{path}").status == 200, f"/{path[:40]} is read")
    works(arrived[1:3] == [{"value": 2_147_483_647}, {"value": "Zoë"}], "as it is meant")
    arrived.clear()

    answers = [client.get(f"/number/{text}") for text in NUMBERS]
    answers += [client.get(f"/{kind}/{text}") for kind in ("name", "text") for text in NAMES]
    answers += [client.get(f"/path/a/{text}") for text in (*NAMES[:-1], "x" * 1024)]
    harm(arrived, "a view got a number or a text that it can't keep or show")
    refusals = {CHARACTERS: 400, None: 404}  # control characters are refused everywhere, by inputs.py
    reasons = [next((event["reason"] for event in answer.events if "reason" in event), None) for answer in answers]
    assert [answer.status for answer in answers] == [refusals[reason] for reason in reasons]
    assert reasons.count(None) >= len(NUMBERS) + 8


# Other databases refuse a text that is longer than its column: there the sabotaged service fails instead.
LONG_HEADER = (
    {"header": edit("identity/sessions.py", "agent=agent[:200]", "agent=agent")} if DATABASE == "sqlite" else {}
)


@protects("input-validated-typed", **LONG_HEADER)
def test_no_header_is_kept_longer_than_its_column(service: Service) -> None:
    client = service.client(service.user())
    client.login()
    works(service.rows("SELECT agent FROM auth_session") == [(client.agent,)], "a browser's name is kept")

    client.agent = "x" * 8000
    client.login()
    longest = service.rows("SELECT max(length(agent)) FROM auth_session")[0][0]
    harm(longest > 200, "somebody's browser filled the table")
    assert longest == 200


# --- patterns ---------------------------------------------------------------------------------------------------


def own_patterns(service: Service) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every compiled pattern of the protections, by the module and the name that hold it."""
    bastion = service.module()
    for info in pkgutil.walk_packages(bastion.__path__, f"{bastion.__name__}."):
        if ".migrations" in info.name or info.name.endswith((".gunicorn", ".local_postgresql")):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
                if isinstance(one, re.Pattern):
                    yield f"{info.name.removeprefix(bastion.__name__ + '.')}.{name}.{number}", one


def nested(parsed: Any, inside: bool = False) -> bool:
    """Whether a repetition without an end holds another one, which together take exponential time on some text.

    One that is possessive gives nothing back, and is none of these.
    """
    for kind, argument in parsed:
        name = str(kind)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            endless = int(argument[1]) > 10_000
            if (endless and inside) or nested(argument[2], inside or endless):
                return True
        elif name == "POSSESSIVE_REPEAT":
            if nested(argument[2]):
                return True
        elif name == "BRANCH":
            if [branch for branch in argument[1] if nested(branch, inside)]:
                return True
        elif name == "SUBPATTERN":
            if nested(argument[3], inside):
                return True
        elif name in ("ASSERT", "ASSERT_NOT") and nested(argument[1], inside):
            return True
    return False


@protects("input-validated-typed")
def test_no_pattern_takes_exponential_time(service: Service) -> None:
    service.app  # noqa: B018  it imports what the service consists of
    parser = importlib.import_module("re._parser")
    for bad in (r"(a+)+$", r"(?:a*b*)*", r"(x|(?:a+))*", r"(?=(a+)+)"):
        works(nested(parser.parse(bad)), f"{bad} is seen to be one")
    for good in (r"[a-z]+\d*", r"(?:a{1,5})+", r"(?>a+)b+", r"(?:[^\"]*+x)*+"):
        works(not nested(parser.parse(good)), f"{good} is seen to be none")
    found = dict(own_patterns(service))
    assert len(found) >= 10
    assert "strict_json._STRING.0" in found
    harm(
        [name for name, one in found.items() if nested(parser.parse(one.pattern, one.flags & ~re.UNICODE))],
        "a pattern of the protections takes exponential time on a text made for it",
    )
    assert ("session.forms._NUMBER.0" in found) == (AUTH == "session")


# --- what a request says, it says once and in one way ----------------------------------------------------------


@protects(
    CHARACTERS,
    path=edit("inputs.py", "        refuse_path()\n", ""),
)
def test_no_path_holds_what_cant_be_seen_or_is_no_text(service: Service) -> None:
    arrived: list[Any] = []

    def view(name: str) -> Any:
        arrived.append(name)
        return {"read": True}

    def add(app: Any) -> None:  # a converter of the team's, which takes whatever it is given
        from werkzeug.routing import BaseConverter

        app.url_map.converters["anything"] = type("Anything", (BaseConverter,), {"regex": "[^/]*"})
        app.add_url_rule("/any/<anything:name>", "any", service.module().login_required(view))

    service.adds(add)
    client = service.client(service.user()).login()
    works(client.get("/any/Zo%C3%AB").status == 200, "an accent is read")
    works(arrived == ["Zoë"], "as it is meant")
    arrived.clear()
    bad = ("%00", "%0d%0aSet-Cookie:x=1", "%0a", "%1b", "%7f", "%ff", "%c0%af", "%ed%a0%80")
    answers = [client.get(f"/any/a{text}") for text in bad]
    harm(arrived, "a view got a control character, or something that nobody sent")
    for answer in answers:
        refused(answer, 400, CHARACTERS)


@protects(LIMITS, query=edit("inputs.py", '    if query.count(b"&") >= MOST_FIELDS:\n', "    if False:\n"))
@protects(LIMITS, length=edit("inputs.py", "    if len(query) > LONGEST_QUERY:\n", "    if False:\n"))
def test_no_view_gets_a_query_of_many_or_long_parts_however_written(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    hundred = {f"n{number}": "" for number in range(100)}
    works(client.get("/read", query=hundred).status == 200, "a query of 100 parts is read")
    works(client.get("/read?q=" + "x" * 8_190).status == 200, "so is one of 8 KiB")
    works([len(query) for _, query in arrived] == [100, 1], "by the view")
    arrived.clear()
    answers = [
        client.get("/read", query={**hundred, "n100": ""}),
        client.get("/read?" + "&" * 100),
        client.get("/read?" + "a&" * 4_000),
        client.get("/read?q=" + "x" * 8_191),
        client.get("/read?q=" + "%41" * 2_731),
        client.post("/read?q=" + "x" * 100_000),
    ]
    harm(arrived, "a view got a query of more than 100 parts, or of more than 8 KiB")
    for answer in answers:
        refused(answer, 413, LIMITS)


@protects(TYPE, encoding=edit("inputs.py", '"identity").strip().lower() != "identity"', '"identity").strip() == "?"'))
@protects(TYPE, body=edit("inputs.py", "    if request.method in SAFE:\n", "    if False:\n"))
def test_no_view_runs_for_a_body_in_any_coding_or_of_any_method_without(service: Service) -> None:
    seen = service.adds_route("/bare", methods=METHODS)
    client = service.client(service.user()).login()
    works(client.post("/bare", json={"a": 1}).status == 200, "a body as it is, is taken")
    works(client.post("/bare", json={"a": 1}, headers={"Content-Encoding": "identity"}).status == 200, "said or not")
    works(client.get("/bare").status == 200, "GET has none")
    works(seen == ["POST", "POST", "GET"], "the view ran")
    seen.clear()
    bomb = gzip.compress(b'{"a": "' + b"x" * 1_000_000 + b'"}')
    packed = [
        client.post("/bare", body=bomb, content_type="application/json", headers={"Content-Encoding": coding})
        for coding in ("gzip", "GZIP", "br", "deflate", "zstd", "identity, gzip", "x-gzip")
    ]
    harm(seen, "a view ran for a body that is a thousand times as long as it was announced")
    chunked = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    early = [
        client.get("/bare", body=b'{"a": 1}', content_type="application/json"),
        client.send("OPTIONS", "/bare", body=b'{"a": 1}', content_type="application/json"),
        client.get("/bare", body=b"{}", content_type="application/json", headers=chunked),
        client.send("HEAD", "/bare", body=b"a=1", content_type="application/x-www-form-urlencoded"),
    ]
    harm(seen, "a view ran for a GET with a body, which caches and proxies don't look at")
    for answer in packed:
        refused(answer, 415, TYPE)
    for answer in early:
        refused(answer, 400, TYPE)


@protects(
    TWICE, parameters=edit("inputs.py", "        if name in seen and name not in lists():\n", "        if False:\n")
)
def test_no_view_gets_one_of_two_equal_names_however_written(service: Service) -> None:
    arrived = adds_reader(service, "tag")
    client = service.client(service.user()).login()
    works(client.get("/lists?tag=a&tag=b&page=1").status == 200, "a list that the view declares is taken")
    works(client.get("/read?role=user&page=1").status == 200, "so are names that are there once")
    works(
        [query for _, query in arrived] == [{"tag": ["a", "b"], "page": ["1"]}, {"role": ["user"], "page": ["1"]}],
        "all",
    )
    arrived.clear()
    answers = [
        client.get("/read?role=user&role=admin"),
        client.get("/read?role=user&role=user"),
        client.get("/read?role=user&r%6fle=admin"),
        client.get("/read?role&role"),
        client.get("/lists?page=1&page=2"),
        client.get("/read?tag=a&tag=b"),
        client.post("/read?role=user&x=1&role=admin"),
    ]
    harm(arrived, "a view got a name twice: the check may look at the one and the work at the other")
    for answer in answers:
        refused(answer, 400, TWICE)


@protects(CHARACTERS, utf8=edit("inputs.py", 'errors="strict"', 'errors="replace"'))
@protects(
    CHARACTERS,
    control=edit("inputs.py", "    if _CONTROL.search(text_of(query)):\n", "    if text_of(query) is None:\n"),
)
def test_no_view_gets_any_character_that_cant_be_seen(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    for text in ("Zo%C3%AB", "%F0%9F%98%80", "100%25", "a+b", "%2541", "%252e%252e%252f"):
        works(client.get(f"/read?q={text}").status == 200, f"{text} is read")
    works(client.get("/read/100%25").status == 200, "a percent sign in a path too")
    works([query.get("q") for _, query in arrived][2:6] == [["100%"], ["a b"], ["%41"], ["%2e%2e%2f"]], "decoded once")
    works(arrived[-1][0] == "100%", "in a path too")
    arrived.clear()
    bad = ("%00", "a%00b", "%0d%0aSet-Cookie:x=1", "%0a", "%1b", "%7f", "%C2%85", "%ff", "%c0%af", "%ed%a0%80", "%C3")
    answers = [client.get(f"/read?q={text}") for text in bad]
    answers += [client.get(f"/read?{text}=1") for text in bad]
    answers += [client.post(f"/read?next={text}") for text in bad]
    harm([one for one in arrived if one], "a view got a control character, or something that nobody sent")
    for answer in answers:
        refused(answer, 400, CHARACTERS)
        assert answer.header("x") is None
