"""Edges of the proofs in test_strict_json.py: further attacks on the same protections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, example, given, settings, strategies

from ..harness import edit, harm, insert, protects, refused, works
from ..test_strict_json import ROW, reads, sends

if TYPE_CHECKING:
    from ..running import Service


PHASES = (Phase.explicit, Phase.generate)  # without shrinking: what was found is told as it is
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
DIGITS = (
    b'{"a": 0.' + b"1" * 31 + b"}",
    b'{"a": 1.' + b"0" * 100 + b"}",
    b'{"a": 0.' + b"0" * 1_000_000 + b"}",
    b'{"a": ' + b"9" * 1_000_000 + b"}",
    b'{"a": 1e' + b"0" * 1_000_000 + b"1}",
)
LARGE = (b'{"a": 1e999}', b'{"a": -1e999}', b'{"a": 9007199254740993}', b'{"a": -9007199254740993}', b'{"a": 1e16}')
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


def nested(levels: int) -> bytes:
    """A document of so many levels, objects and arrays in turn."""
    opened = [b'{"a": ' if number % 2 == 0 else b"[" for number in range(levels)]
    closed = [b"}" if number % 2 == 0 else b"]" for number in range(levels)]
    return b"".join(opened) + b"1" + b"".join(reversed(closed))


@protects("json-strict", duplicates=edit("strict_json.py", "            object_pairs_hook=_object,\n", ""))
def test_no_name_is_read_that_occurs_twice(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in DUPLICATES]
    harm(arrived, "one of two values was taken")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict", constants=edit("strict_json.py", "            parse_constant=_constant,\n", ""))
def test_no_number_is_read_that_is_none(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in (*CONSTANTS, *LARGE)]
    harm(arrived, "NaN, infinity or a number that loses digits was read")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict", encoding=edit("strict_json.py", 'errors="strict"', 'errors="replace"'))
def test_no_text_is_read_that_is_not_utf_8(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in ENCODINGS]
    harm(arrived, "bytes were read as something that nobody sent")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict")
def test_no_document_is_read_that_is_malformed_or_of_another_kind(service: Service) -> None:
    client, arrived = reads(service)
    answers = [sends(client, document) for document in MALFORMED]
    harm(arrived, "a document was read that is none")
    for answer in answers:
        refused(answer, 400, ROW)


class CountedParser:
    """Stands for the json module in strict_json.py, and counts what reaches the parser proper."""

    JSONDecodeError = json.JSONDecodeError

    def __init__(self) -> None:
        self.parsed: list[int] = []

    def loads(self, text: str, **options: Any) -> Any:
        self.parsed.append(len(text))
        return json.loads(text, **options)


@protects("json-strict", depth=edit("strict_json.py", "    if levels:\n", "    if False:\n"))
def test_no_depth_reaches_the_parser(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client, arrived = reads(service)
    parser = CountedParser()
    monkeypatch.setattr(service.module("strict_json"), "json", parser)
    works(sends(client, nested(32)).status == 200, "a document of 32 levels is read")
    works(sends(client, b"[" + b",".join([nested(31)] * 100) + b"]").status == 200, "of many levels side by side too")
    works(len(parser.parsed) == 2, "by the parser proper")
    parser.parsed.clear()
    arrived.clear()

    answers = [
        sends(client, document)
        for document in (
            nested(33),
            nested(1_000),
            b"[" * 33 + b"]" * 33,
            b'{"a":' * 33 + b"1" + b"}" * 33,
            b'["' + b"]" * 40 + b'",' + b"[" * 40 + b"]" * 41,  # closed in a text alone
            b"[" * 200_000,
            b'{"a":' * 200_000,
            b"]" * 200_000,
        )
    ]
    harm(arrived, "a document of more than 32 levels was read")
    harm(parser.parsed, "the parser was given what exhausts it")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict", brackets=edit("strict_json.py", "    if len(levels) > MOST_BRACKETS:\n", "    if False:\n"))
def test_no_heap_of_brackets_reaches_the_parser(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client, arrived = reads(service)
    parser = CountedParser()
    monkeypatch.setattr(service.module("strict_json"), "json", parser)
    texts = b'["' + b"[]{}" * 100_000 + b'"]'
    works(sends(client, heap(b"[" * 31 + b"]" * 31, 322)).status == 200, "almost 20,000 brackets are read")
    works(sends(client, heap(b"[" * 30 + b"{}" + b"]" * 30, 322)).status == 200, "of objects too")
    works(sends(client, texts).status == 200, "those in a text are not counted")
    works(len(parser.parsed) == 3, "by the parser proper")
    parser.parsed.clear()
    arrived.clear()

    answers = [
        sends(client, document)
        for document in (
            heap(b"[" * 31 + b"]" * 31, 323),
            heap(b"[" * 30 + b"{}" + b"]" * 30, 323),
            heap(b'{"a":' * 30 + b"[]" + b"}" * 30, 323),
            heap(b"[" * 29 + b"]" * 29, 17_000),
            heap(b"[]", 340_000),
        )
    ]
    harm(arrived, "a document of more than 20,000 brackets was read")
    harm(parser.parsed, "the parser was given what costs it a second")
    for answer in answers:
        refused(answer, 400, ROW)


@protects("json-strict", values=edit("strict_json.py", '    if bare.count(b",") >= most_values:\n', "    if False:\n"))
def test_no_long_list_of_values_reaches_the_parser(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client, arrived = reads(service)
    parser, most = CountedParser(), service.limits.json_values_per_body
    monkeypatch.setattr(service.module("strict_json"), "json", parser)
    works(sends(client, heap(b"1", most)).status == 200, "a list of so many is read")
    works(sends(client, names(most)).status == 200, "and an object of so many names")
    works(sends(client, b'{"a": "' + b"," * 9 * most + b'"}').status == 200, "commas in a text are not counted")
    works(len(parser.parsed) == 3, "by the parser proper")
    parser.parsed.clear()
    arrived.clear()

    half = most // 2 + 1
    documents = (
        heap(b"1", most + 1),
        names(most + 1),
        b'{"a": %s, "b": %s}' % (heap(b"1", half), names(half)),
        heap(b'{"a": 1, "b": 2}', half),
        b"[" + b"," * most + b"]",
        heap(b"1", 500_000),
    )
    answers = [sends(client, document) for document in documents]
    harm(arrived, "a document of too many values was read")
    harm(parser.parsed, "the parser was given what costs it, and every check after it, a second")
    for answer in answers:
        refused(answer, 400, ROW)


def heap(part: bytes, times: int) -> bytes:
    """An array of so many of this."""
    return b"[" + b",".join([part] * times) + b"]"


@protects("json-strict", digits=edit("strict_json.py", "    if _LONG_NUMBER.search(bare):\n", "    if False:\n"))
def test_no_long_number_reaches_the_parser(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client, arrived = reads(service)
    parser = CountedParser()
    monkeypatch.setattr(service.module("strict_json"), "json", parser)
    works(sends(client, b'{"a": 0.' + b"1" * 30 + b', "b": "' + b"9" * 99 + b'"}').status == 200, "32 digits are read")
    works(len(parser.parsed) == 1, "by the parser proper")
    parser.parsed.clear()
    arrived.clear()

    answers = [sends(client, document) for document in DIGITS]
    harm(arrived, "a number of more than 32 digits was read")
    harm(parser.parsed, "the parser was given a number of a million digits")
    for answer in answers:
        refused(answer, 400, ROW)


@protects(
    "json-strict",
    quotes=edit("strict_json.py", '(?:"|\\\\?\\Z)', '"'),
)
def test_no_text_without_an_end_is_looked_at_again_from_each_quote_in_it(service: Service) -> None:
    client, arrived = reads(service)
    strings: Any = service.module("strict_json")._STRING
    works(strings.sub(b"", b'{"a\\"b": "c"}') == b"{: }", "texts are left out of what is counted")

    hostile = b'{"a": "' + b'\\"' * 2_000
    harm(strings.sub(b"", hostile) != b"{: ", "each of the quotes was tried as a beginning: the square of the length")
    assert strings.sub(b"", hostile + b"\\") == b"{: "
    refused(sends(client, hostile), 400, ROW)
    refused(sends(client, b'{"a": "' + b'\\"' * 500_000), 400, ROW)
    assert arrived == []


@protects(
    "json-output-safe",
    encoded=insert(
        "strict_json.py",
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
    works(client.get("/plain").json == {"text": "Zoë"}, "an answer is read as it was meant")
    answer = client.get("/probe")
    harm("admin" in answer.json, "what was typed became a member of the answer")
    assert answer.json == {"text": text}


class Pairs(list[Any]):
    """An object as it is written: its names may be there twice."""


def pairs(inner: Any) -> Any:
    """Objects of such values."""
    return strategies.lists(strategies.tuples(strategies.text(max_size=3), inner), max_size=4).map(Pairs)


def written(value: Any) -> str:
    """The document as somebody writes it."""
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(name)}: {written(one)}" for name, one in value) + "}"
    return f"[{', '.join(map(written, value))}]" if isinstance(value, list) else json.dumps(value)


def twice(value: Any) -> bool:
    """Whether an object in it has a name twice."""
    if isinstance(value, Pairs):
        return len({name for name, _ in value}) < len(value) or bool([one for _, one in value if twice(one)])
    return isinstance(value, list) and bool([one for one in value if twice(one)])


@protects("json-strict", duplicates=edit("strict_json.py", "            object_pairs_hook=_object,\n", ""))
def test_a_document_that_is_read_means_to_every_other_reader_the_same(service: Service) -> None:
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
        harm(arrived and twice(value), "one of two equal names was read")
        assert [*arrived] == ([json.loads(text)] if asked[-1] == 200 else [])
        assert asked[-1] == (200 if arrived else 400)

    is_read_in_one_way()
    assert asked.count(200) >= 10


@protects("json-strict", encoding=edit("strict_json.py", 'errors="strict"', 'errors="replace"'))
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
        harm([one for one in arrived if "\ufffd" in str(one)], "bytes were read as something that nobody sent")
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
    """An object of so many names."""
    return b"{" + b",".join(b'"%d": 1' % number for number in range(count)) + b"}"
