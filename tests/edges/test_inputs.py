"""Edges of the proofs in test_inputs.py: further attacks on the same protections."""

from __future__ import annotations

import gzip
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, example, given, settings, strategies

from ..harness import edit, harm, insert, protects, refused, works
from ..service import AUTH, DATABASE
from ..test_inputs import CHARACTERS, LIMITS, METHODS, METHODS_ROW, OPEN, ROW, TWICE, TYPE, adds_reader, reads, sends

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
def test_path_values_that_no_database_can_hold_are_refused(service: Service) -> None:
    arrived: list[Any] = []

    def view(**values: Any) -> Any:
        arrived.append(values)
        return {"read": True}

    for path in ("/number/<int:value>", "/name/<value>", "/text/<string:value>", "/path/<path:value>"):
        service.adds_route(path, view=view)
    service.adds_route("/wide/<int(max=9000000000):value>", view=view)
    client = service.client(service.user()).login()
    for path in ("number/0", "number/2147483647", "name/Zo%C3%AB", "text/" + "x" * 255, "path/a/b", "wide/9000000000"):
        works(client.get(f"/{path}").status == 200, f"/{path[:40]} is accepted")
    works(arrived[1:3] == [{"value": 2_147_483_647}, {"value": "Zoë"}], "the view gets the decoded values")
    arrived.clear()

    answers = [client.get(f"/number/{text}") for text in NUMBERS]
    answers += [client.get(f"/{kind}/{text}") for kind in ("name", "text") for text in NAMES]
    answers += [client.get(f"/path/a/{text}") for text in (*NAMES[:-1], "x" * 1024)]
    harm(arrived, "a view received a number or text that it cannot store or show")
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
    works(service.rows("SELECT agent FROM auth_session") == [(client.agent,)], "the service stores a browser's name")

    client.agent = "x" * 8000
    client.login()
    longest = service.rows("SELECT max(length(agent)) FROM auth_session")[0][0]
    harm(longest > 200, "a client stored an overlong browser name")
    assert longest == 200


# --- patterns ---------------------------------------------------------------------------------------------------


def own_patterns(service: Service) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Yield every compiled pattern of the protections, with its module and name."""
    bastion = service.module()
    for info in pkgutil.walk_packages(bastion.__path__, f"{bastion.__name__}."):
        if ".migrations" in info.name or info.name.endswith(".gunicorn"):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
                if isinstance(one, re.Pattern):
                    yield f"{info.name.removeprefix(bastion.__name__ + '.')}.{name}.{number}", one


def nested(parsed: Any, inside: bool = False) -> bool:
    """Return whether an unbounded repetition contains another one, which takes exponential time on some text.

    A possessive repetition does not backtrack, and does not count.
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
        works(nested(parser.parse(bad)), f"{bad} is found")
    for good in (r"[a-z]+\d*", r"(?:a{1,5})+", r"(?>a+)b+", r"(?:[^\"]*+x)*+"):
        works(not nested(parser.parse(good)), f"{good} is accepted")
    found = dict(own_patterns(service))
    assert len(found) >= 10
    assert "text.strict_json._STRING.0" in found
    harm(
        [name for name, one in found.items() if nested(parser.parse(one.pattern, one.flags & ~re.UNICODE))],
        "a pattern of the protections takes exponential time on crafted text",
    )
    assert ("session.forms._NUMBER.0" in found) == (AUTH == "session")


# --- what a request says, it says once and in one way ----------------------------------------------------------


@protects(
    CHARACTERS,
    path=edit("request/inputs.py", "        refuse_path()\n", ""),
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
    works(client.get("/any/Zo%C3%AB").status == 200, "an accent is accepted")
    works(arrived == ["Zoë"], "the view gets the decoded text")
    arrived.clear()
    bad = ("%00", "%0d%0aSet-Cookie:x=1", "%0a", "%1b", "%7f", "%ff", "%c0%af", "%ed%a0%80")
    answers = [client.get(f"/any/a{text}") for text in bad]
    harm(arrived, "a view received a control character or invalid UTF-8")
    for answer in answers:
        refused(answer, 400, CHARACTERS)


@protects(LIMITS, query=edit("request/inputs.py", '    if query.count(b"&") >= MOST_FIELDS:\n', "    if False:\n"))
@protects(LIMITS, length=edit("request/inputs.py", "    if len(query) > LONGEST_QUERY:\n", "    if False:\n"))
def test_queries_with_too_many_or_long_parts_are_refused(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    hundred = {f"n{number}": "" for number in range(100)}
    works(client.get("/read", query=hundred).status == 200, "100 parameters are accepted")
    works(client.get("/read?q=" + "x" * 8_190).status == 200, "a query of 8 KiB is accepted")
    works([len(query) for _, query in arrived] == [100, 1], "the view gets all")
    arrived.clear()
    answers = [
        client.get("/read", query={**hundred, "n100": ""}),
        client.get("/read?" + "&" * 100),
        client.get("/read?" + "a&" * 4_000),
        client.get("/read?q=" + "x" * 8_191),
        client.get("/read?q=" + "%41" * 2_731),
        client.post("/read?q=" + "x" * 100_000),
    ]
    harm(arrived, "a view received a query of more than 100 parts or 8 KiB")
    for answer in answers:
        refused(answer, 413, LIMITS)


@protects(
    TYPE, encoding=edit("request/inputs.py", '"identity").strip().lower() != "identity"', '"identity").strip() == "?"')
)
@protects(TYPE, body=edit("request/inputs.py", "    if request.method in SAFE:\n", "    if False:\n"))
def test_compressed_bodies_and_bodies_of_get_are_refused(service: Service) -> None:
    seen = service.adds_route("/bare", methods=METHODS)
    client = service.client(service.user()).login()
    works(client.post("/bare", json={"a": 1}).status == 200, "an uncompressed body is accepted")
    works(
        client.post("/bare", json={"a": 1}, headers={"Content-Encoding": "identity"}).status == 200,
        "the coding identity too",
    )
    works(client.get("/bare").status == 200, "a GET without a body is answered")
    works(seen == ["POST", "POST", "GET"], "the view ran for each")
    seen.clear()
    bomb = gzip.compress(b'{"a": "' + b"x" * 1_000_000 + b'"}')
    packed = [
        client.post("/bare", body=bomb, content_type="application/json", headers={"Content-Encoding": coding})
        for coding in ("gzip", "GZIP", "br", "deflate", "zstd", "identity, gzip", "x-gzip")
    ]
    harm(seen, "a view ran for a compressed body that expands a thousandfold")
    chunked = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    early = [
        client.get("/bare", body=b'{"a": 1}', content_type="application/json"),
        client.send("OPTIONS", "/bare", body=b'{"a": 1}', content_type="application/json"),
        client.get("/bare", body=b"{}", content_type="application/json", headers=chunked),
        client.send("HEAD", "/bare", body=b"a=1", content_type="application/x-www-form-urlencoded"),
    ]
    harm(seen, "a view ran for a GET with a body, which caches and proxies ignore")
    for answer in packed:
        refused(answer, 415, TYPE)
    for answer in early:
        refused(answer, 400, TYPE)


@protects(
    TWICE,
    parameters=edit("request/inputs.py", "        if name in seen and name not in lists():\n", "        if False:\n"),
)
def test_no_view_gets_one_of_two_equal_names_however_written(service: Service) -> None:
    arrived = adds_reader(service, "tag")
    client = service.client(service.user()).login()
    works(client.get("/lists?tag=a&tag=b&page=1").status == 200, "a declared repeated parameter is accepted")
    works(client.get("/read?role=user&page=1").status == 200, "distinct names are accepted")
    works(
        [query for _, query in arrived] == [{"tag": ["a", "b"], "page": ["1"]}, {"role": ["user"], "page": ["1"]}],
        "all arrived",
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
    harm(arrived, "a view received a duplicate parameter, which a check and the view may read differently")
    for answer in answers:
        refused(answer, 400, TWICE)


@protects(CHARACTERS, utf8=edit("request/inputs.py", 'errors="strict"', 'errors="replace"'))
@protects(
    CHARACTERS,
    control=edit("request/inputs.py", "    if _CONTROL.search(text_of(query)):\n", "    if text_of(query) is None:\n"),
)
def test_no_view_gets_any_character_that_cant_be_seen(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    for text in ("Zo%C3%AB", "%F0%9F%98%80", "100%25", "a+b", "%2541", "%252e%252e%252f"):
        works(client.get(f"/read?q={text}").status == 200, f"{text} is accepted")
    works(client.get("/read/100%25").status == 200, "a percent sign in a path is accepted")
    works([query.get("q") for _, query in arrived][2:6] == [["100%"], ["a b"], ["%41"], ["%2e%2e%2f"]], "decoded once")
    works(arrived[-1][0] == "100%", "a path is decoded once")
    arrived.clear()
    bad = ("%00", "a%00b", "%0d%0aSet-Cookie:x=1", "%0a", "%1b", "%7f", "%C2%85", "%ff", "%c0%af", "%ed%a0%80", "%C3")
    answers = [client.get(f"/read?q={text}") for text in bad]
    answers += [client.get(f"/read?{text}=1") for text in bad]
    answers += [client.post(f"/read?next={text}") for text in bad]
    harm([one for one in arrived if one], "a view received a control character or invalid UTF-8")
    for answer in answers:
        refused(answer, 400, CHARACTERS)
        assert answer.header("x") is None


# --- JSON that means one thing ---------------------------------------------------------------------------------------


PHASES = (Phase.explicit, Phase.generate)  # without shrinking: a failing example is reported as it is
ENCODINGS = (
    b'{"a": "\xe9"}',  # latin-1
    b'{"a": "\xc0\xaf"}',  # a slash in two bytes
    b'{"a": "\xed\xa0\x80"}',  # half a surrogate pair
    b'{"a": "\xff"}',
    '{"a": 1}'.encode("utf-16"),
    '{"a": 1}'.encode("utf-16-le"),
    '{"a": 1}'.encode("utf-32"),
    b'\xef\xbb\xbf{"a": 1}',  # with a byte-order mark
)
LARGE = (
    *(b'{"a": 1e999}', b'{"a": -1e999}', b'{"a": 9007199254740993}', b'{"a": -9007199254740993}', b'{"a": 1e16}'),
    *(b'{"a": ' + b"9" * 1_000_000 + b"}", b'{"a": 1e' + b"9" * 1_000_000 + b"}"),
)
MALFORMED = (
    *(b"", b" ", b"nothing", b'{"a": 1} {"b": 2}', b'{"a": 1}]', b'{"a": 1,}', b"{'a': 1}", b'{"a": 01}', b'{"a": +1}'),
    *(
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": "\\u0000"}',
        b'{"a\\u0000": 1}',
        b'[["\\u0000"]]',
        b'{"a": [1, {"b": "\\ud800"}]}',
        b'{"a": "\x00"}',
        b'{"a": "\n"}',
    ),
    *(b'"text"', b"1", b"null", b"true", b"[1", b'{"a": [}]', b'{"a": "b', b'{"a": "b\\'),
    *(b'{"a": 1} // a remark', b'{"a": /**/ 1}', b"\x00", b'{"a": .5}', b'{"a": 0x10}', b'{"a": 1_000}'),
)


def nested_json(levels: int) -> bytes:
    """Return a document of this depth, objects and arrays in turn."""
    opened = [b'{"a": ' if number % 2 == 0 else b"[" for number in range(levels)]
    closed = [b"}" if number % 2 == 0 else b"]" for number in range(levels)]
    return b"".join(opened) + b"1" + b"".join(reversed(closed))


@protects("json-strict", duplicates=edit("text/strict_json.py", "            object_pairs_hook=_object,\n", ""))
def test_no_name_is_read_that_occurs_twice(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in DUPLICATES]
    harm(arrived, "one of two duplicate values was accepted")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict", constants=edit("text/strict_json.py", "            parse_constant=_constant,\n", ""))
def test_no_number_is_read_that_is_none(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in (*CONSTANTS, *LARGE)]
    harm(arrived, "NaN, infinity or a number that loses digits was accepted")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict", encoding=edit("text/strict_json.py", 'errors="strict"', 'errors="replace"'))
def test_no_text_is_read_that_is_not_utf_8(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in ENCODINGS]
    harm(arrived, "invalid UTF-8 was decoded with replacement characters")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict")
def test_malformed_json_is_refused(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in MALFORMED]
    harm(arrived, "a malformed document was accepted")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict", depth=edit("text/strict_json.py", "    if levels:\n", "    if False:\n"))
def test_json_nested_deeper_than_32_levels_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client, arrived = reads(service)
    parsed: list[str] = []

    def loads(text: str, **options: Any) -> Any:
        parsed.append(text)
        return json.loads(text, **options)

    monkeypatch.setattr(service.module("text.strict_json"), "json", SimpleNamespace(loads=loads))
    works(sends(client, nested_json(32)).status == 200, "a document of 32 levels is accepted")
    works(
        sends(client, b"[" + b",".join([nested_json(31)] * 50) + b"]").status == 200,
        "many such levels side by side too",
    )
    works(len(parsed) == 2, "the parser ran for both")
    arrived.clear()
    parsed.clear()

    answers = [
        sends(client, document)
        for document in (
            nested_json(33),
            b"[" * 33 + b"]" * 33,
            b'{"a":' * 33 + b"1" + b"}" * 33,
            b'["' + b"]" * 40 + b'",' + b"[" * 40 + b"]" * 41,  # closed in a text alone
            b"[" * 200_000,
            b"[" * 200_000 + b"]" * 200_000,
            b'{"a":' * 150_000 + b"1" + b"}" * 150_000,
            b"]" * 200_000,
        )
    ]
    harm(arrived, "a document of more than 32 levels was accepted")
    assert parsed == []  # its recursion would take a small stack with it, and the process
    for answer in answers:
        refused(answer, 400, ROW)


@protects(
    "json-strict", values=edit("text/strict_json.py", "        if number > most_values:\n", "        if False:\n")
)
def test_no_document_of_more_values_is_read(service: Service) -> None:
    client, arrived = reads(service)
    most = service.limits.json_values_per_body
    works(sends(client, heap(b"1", most)).status == 200, "a list of the maximum length is accepted")
    works(sends(client, names(most)).status == 200, "an object of that many names is accepted")
    works(sends(client, b'{"a": "' + b"," * 9 * most + b'"}').status == 200, "commas in a text are not counted")
    arrived.clear()

    half = most // 2 + 1
    documents = (
        heap(b"1", most + 1),
        names(most + 1),
        b'{"a": %s, "b": %s}' % (heap(b"1", half), names(half)),
        heap(b'{"a": 1, "b": 2}', half),
        heap(b"[[]]", half),
        b"[" + b"," * most + b"]",
        heap(b"1", 500_000),
    )
    answers = [sends(client, document) for document in documents]
    harm(arrived, "a document with too many values was accepted")
    for answer in answers:
        refused(answer, 400, ROW)


def heap(part: bytes, times: int) -> bytes:
    """Return an array with this many copies of the item."""
    return b"[" + b",".join([part] * times) + b"]"


@protects(
    "json-output-safe",
    encoded=insert(
        "request/json_body.py",
        after='    """Make every view read JSON in this one way."""\n',
        new="\n    @app.after_request\n    def unescape(answer: Any) -> Any:\n"
        "        if answer.is_json:\n"
        """            answer.set_data(answer.get_data().replace(b'\\\\"', b'"'))\n"""
        "        return answer\n",
    ),
)
def test_text_in_an_answer_adds_no_member(service: Service) -> None:
    text = 'a", "admin": "yes'
    service.adds_route("/probe", view=lambda: {"text": text})
    service.adds_route("/plain", view=lambda: {"text": "Zoë"})
    client = service.client(service.user()).login()
    works(client.get("/plain").json == {"text": "Zoë"}, "the client reads the JSON answer unchanged")
    answer = client.get("/probe")
    harm("admin" in answer.json, "user input became a member of the answer")
    assert answer.json == {"text": text}


class Pairs(list[Any]):
    """An object as JSON text, which may repeat names."""


def pairs(inner: Any) -> Any:
    """A strategy of objects of such values."""
    return strategies.lists(strategies.tuples(strategies.text(max_size=3), inner), max_size=4).map(Pairs)


def written(value: Any) -> str:
    """Return the document as a client may write it."""
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(name)}: {written(one)}" for name, one in value) + "}"
    return f"[{', '.join(map(written, value))}]" if isinstance(value, list) else json.dumps(value)


def twice(value: Any) -> bool:
    """Return whether any object in it repeats a name."""
    if isinstance(value, Pairs):
        return len({name for name, _ in value}) < len(value) or bool([one for _, one in value if twice(one)])
    return isinstance(value, list) and bool([one for one in value if twice(one)])


@protects("json-strict", duplicates=edit("text/strict_json.py", "            object_pairs_hook=_object,\n", ""))
def test_accepted_json_means_the_same_to_every_parser(service: Service) -> None:
    client, arrived = reads(service)
    numbers = strategies.integers(-(2**53), 2**53) | strategies.floats(-1e15, 1e15)
    leaves = strategies.none() | strategies.booleans() | numbers | strategies.text(max_size=4)
    values = strategies.recursive(leaves, lambda inner: strategies.lists(inner) | pairs(inner), max_leaves=8)
    asked: list[int] = []

    @settings(max_examples=60, derandomize=True, database=None, deadline=None, phases=PHASES)
    @example(Pairs([("role", "user"), ("role", "admin")]))
    @given(pairs(values))
    def is_read_in_one_way(value: Any) -> None:
        arrived.clear()
        text = written(value)
        asked.append(sends(client, text.encode()).status)
        harm(arrived and twice(value), "one of two duplicate names was accepted")
        assert [*arrived] == ([json.loads(text)] if asked[-1] == 200 else [])
        assert asked[-1] == (200 if arrived else 400)

    is_read_in_one_way()
    assert asked.count(200) >= 10


@protects("json-strict", encoding=edit("text/strict_json.py", 'errors="strict"', 'errors="replace"'))
def test_no_bytes_are_an_error_of_the_service(service: Service) -> None:
    client, arrived = reads(service)
    pieces = (
        b'{"',
        b'"',
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"\\",
        b"\\u00",
        b"e9",
        b"-",
        b"1",
        b".",
        b"null",
        b"\xff",
    )
    bodies = strategies.binary(max_size=60) | strategies.lists(strategies.sampled_from(pieces)).map(b"".join)

    @settings(max_examples=60, derandomize=True, database=None, deadline=None, phases=PHASES)
    @example(b'{"a": "\xff"}')
    @given(bodies)
    def is_read_or_refused(data: bytes) -> None:
        arrived.clear()
        answer = sends(client, data)
        expected = 200 if arrived else 400
        harm([one for one in arrived if "\ufffd" in str(one)], "invalid UTF-8 was decoded with replacement characters")
        assert answer.status == expected

    is_read_or_refused()


DUPLICATES = (
    b'{"role": "user", "role": "admin"}',
    b'{"role": "user", "r\\u006fle": "admin"}',
    b'{"user": {"role": "user", "role": "admin"}}',
    b'[{"role": "user", "role": "user"}]',
)


CONSTANTS = (b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": [NaN]}')


def names(count: int) -> bytes:
    """Return an object with this many names."""
    return b"{" + b",".join(b'"%d": 1' % number for number in range(count)) + b"}"


# --- methods ---------------------------------------------------------------------------------------------------------


@protects(
    METHODS_ROW,
    override=insert(
        "edge/request_line.py",
        after='    if environ["REQUEST_METHOD"] not in METHODS:\n        return _UNKNOWN\n',
        new='    environ["REQUEST_METHOD"] = environ.pop("HTTP_X_HTTP_METHOD_OVERRIDE", environ["REQUEST_METHOD"])\n',
    ),
)
def test_no_header_or_field_makes_another_method_of_a_request(service: Service) -> None:
    kept = {"thing"}

    def delete() -> Any:
        kept.discard("thing")
        return {"deleted": True}

    seen = service.adds_route("/thing", methods=("DELETE",), view=delete)
    posted = service.adds_route("/thing", methods=("POST",), endpoint="post_thing")
    client = service.client(service.user()).login()
    works(client.delete("/thing").json == {"deleted": True}, "a DELETE request deletes")
    works(kept == set(), "the item is deleted")
    kept.add("thing")
    seen.clear()
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        for method in ("POST", "GET"):
            answer = client.send(method, "/thing", headers={header: "DELETE"})
            harm(seen, f"{header} turned a {method} into a DELETE")
            refused(answer, 400, METHODS_ROW)
    field = client.post("/thing", {"_method": "DELETE"})
    assert (field.status, posted, seen, kept) == (200, ["POST"], [], {"thing"})
    query = client.post("/thing", query={"_method": "DELETE"})
    assert (query.status, seen) == (200, [])


@protects(
    METHODS_ROW, options=edit("__init__.py", '"PROVIDE_AUTOMATIC_OPTIONS": False', '"PROVIDE_AUTOMATIC_OPTIONS": True')
)
def test_a_view_answers_the_methods_that_it_names_and_no_other(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "PUT"), mark="public")
    service.adds_route("/asked", methods=("OPTIONS",), mark="public")
    client = service.client(service.user()).login()
    works([client.get("/probe").status, client.put("/probe").status] == [200, 200], "declared methods are answered")
    works(client.send("OPTIONS", "/asked").json == {"probe": "ran"}, "a declared OPTIONS is answered")
    seen.clear()
    paths = ("/probe", "/asked", "/missing", "/static/bastion/bastion.css", "/static/none.css")
    answers = {path: client.send("OPTIONS", path) for path in paths}
    harm([path for path, one in answers.items() if one.ok and path != "/asked"], "an undeclared OPTIONS was answered")
    assert (answers["/probe"].status, answers["/missing"].status) == (405, 404)
    assert set((answers["/probe"].header("Allow") or "").split(", ")) == {"GET", "HEAD", "PUT"}
    for method in ("POST", "PATCH", "DELETE"):
        answer = client.send(method, "/probe")
        assert (answer.status, seen) == (405, [])


@protects(METHODS_ROW, guard=edit("edge/request_line.py", "not in METHODS:", "is None:"))
def test_no_method_of_any_spelling_reaches_a_view_or_is_echoed(service: Service) -> None:
    def echo() -> Any:
        from flask import request

        return {"method": request.method, "canary": request.headers.get("X-Canary")}

    unknown = ("TRACE", "TRACK", "CONNECT", "PROPFIND", "FOO", "LOCK")
    seen = service.adds_route("/probe", methods=("GET", *unknown), view=echo)
    client = service.client(service.user()).login()
    works(client.get("/probe").json["method"] == "GET", "a declared method reaches the view")
    works(client.send("HEAD", "/probe").status == 200, "HEAD reaches the view")
    seen.clear()
    for method in (*unknown, "TRACE ", "A" * 200, "<script>"):
        answer = client.send(method, "/probe", headers={"X-Canary": "canary"})
        harm(seen, f"the view ran for the method {method}")
        refused(answer, 405, METHODS_ROW)
        assert (answer.header("Allow"), "canary" in answer.text) == (OPEN, False)
    lower = client.send("GET", "/probe", environ={"REQUEST_METHOD": "get"})
    refused(lower, 405, METHODS_ROW)
