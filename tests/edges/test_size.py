"""Edges of the proofs in test_size.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import header_table
from ..harness import edit, harm, protects, refused, works
from ..service import AUTH
from ..test_size import FORM, JSON, ROW, CountedBody, adds_reader, limit, sends

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..running import Service
    from ..wire import Response


BLOCK = 65_536  # bytes that a reader may take at once beyond the limit


@protects(
    "body-limit-1-mib",
    chunked=(
        edit("edge/size.py", "            length = self._most + 1\n", "            return None\n"),
        edit("edge/__init__.py", 'app.config["MAX_CONTENT_LENGTH"] =', "_ ="),
    ),
)
def test_chunked_bodies_above_the_limit_are_refused(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    most = limit(service)
    works(
        sends(client, CountedBody(most), declared=None).json == {"read": most},
        "a chunked body of exactly the limit is accepted",
    )
    arrived.clear()

    streams = {kind: CountedBody(2 * most, b"a=") for kind in TYPES}
    answers = [sends(client, stream, declared=None, content_type=kind) for kind, stream in streams.items()]
    over = CountedBody(most + 1)
    answers.append(sends(client, over, declared=None))
    harm(arrived, "a view received a body above the limit")
    for answer in answers:
        refused(answer, 413, ROW)
        assert header_table.faults(service, answer) == []
    assert [name for name, stream in streams.items() if stream.taken > most + BLOCK] == []
    assert over.taken <= most + 1


@protects("body-limit-1-mib")
def test_no_byte_beyond_the_announced_length_is_read(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    works(sends(client, CountedBody(10), declared=10).json == {"read": 10}, "a body of ten bytes is accepted")
    arrived.clear()

    lying, unmarked = CountedBody(4 * limit(service)), CountedBody(4 * limit(service))
    answer = sends(client, lying, declared=10)
    sends(client, unmarked, declared=None, ended=False)  # where the end is not marked, the next request would follow
    harm([number for number in arrived if number > 10], "a view received more than the announced length")
    assert answer.json == {"read": 10}
    assert (lying.taken, unmarked.taken) == (10, 0)


@protects(
    "body-limit-1-mib",
    stream=(
        edit("edge/size.py", "            length = int(declared)\n", "            length = 20\n"),
        edit("edge/size.py", "MALFORMED if declared and len(body) < length else None", "None"),
    ),
)
def test_the_stream_of_a_view_ends_at_the_limit(service: Service) -> None:
    readers: dict[str, Callable[[Any], Any]] = {
        "read": lambda stream: [stream.read()],
        "read-all": lambda stream: [stream.read(-1)],
        "read-none": lambda stream: [stream.read(None)],
        "read-more": lambda stream: [stream.read(2 * most)],
        "line": lambda stream: [stream.readline()],
        "lines": lambda stream: stream.readlines(),
        "each-line": list,
    }
    arrived: list[int] = []

    def view(reader: str) -> Any:
        from flask import request

        arrived.append(sum(len(piece) for piece in readers[reader](request.environ["wsgi.input"])))
        return {"read": arrived[-1]}

    service.adds_route("/raw/<reader>", methods=("POST",), view=view)
    client, most = service.client(service.user()).login(), limit(service)

    def asks(reader: str, stream: CountedBody, declared: int | None) -> Response:
        return sends(client, stream, declared=declared, path=f"/raw/{reader}")

    whole = [asks(reader, CountedBody(10), declared) for reader in readers for declared in (10, None)]
    works([answer.json for answer in whole] == [{"read": 10}] * len(whole), "every reader gets a whole body")
    arrived.clear()

    lying = {reader: CountedBody(4 * most) for reader in readers}
    answers = [asks(reader, stream, 10) for reader, stream in lying.items()]
    harm([number for number in arrived if number > 10], "a view read the bytes after its body")
    assert [answer.json for answer in answers] == [{"read": 10}] * len(readers)
    assert [stream.taken for stream in lying.values()] == [10] * len(readers)
    arrived.clear()
    endless = {reader: CountedBody(4 * most) for reader in readers}
    answers = [asks(reader, stream, None) for reader, stream in endless.items()]
    harm(arrived, "a view received a body above the limit")
    for answer in answers:
        refused(answer, 413, ROW)
    assert [stream.taken for stream in endless.values()] == [most + 1] * len(readers)


@protects(
    "body-limit-1-mib", short=edit("edge/size.py", "MALFORMED if declared and len(body) < length else None", "None")
)
def test_truncated_bodies_reach_no_view(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    works(sends(client, CountedBody(1_000), declared=1_000).json == {"read": 1_000}, "a whole body is accepted")
    arrived.clear()
    kinds = [(kind, sent) for kind in TYPES for sent in (0, 1, 999)]
    answers = [sends(client, CountedBody(sent), declared=1_000, content_type=kind) for kind, sent in kinds]
    harm(arrived, "a view took a truncated body for a whole one")
    for answer in answers:
        refused(answer, 400, ROW)
        assert header_table.faults(service, answer) == []


TYPES = (JSON, FORM) if AUTH == "session" else (JSON,)


@protects(
    "body-limit-1-mib",
    limit=(
        edit("edge/__init__.py", "            or self._size.refuse(environ)  # last, since it reads the body\n", ""),
        edit("edge/__init__.py", 'app.config["MAX_CONTENT_LENGTH"] =', "_ ="),
    ),
)
def test_no_body_of_any_type_or_length_is_read_beyond_the_limit(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    most = limit(service)
    fits = CountedBody(most)
    works(sends(client, fits, declared=most).json == {"read": most}, "a body of exactly the limit is accepted")
    works(fits.taken == most, "the view gets all of it")
    arrived.clear()

    streams = {kind: CountedBody(most + 1) for kind in TYPES}
    answers = [sends(client, stream, declared=most + 1, content_type=kind) for kind, stream in streams.items()]
    harm(arrived, "a view received a body above the limit")
    assert [stream.taken for stream in streams.values()] == [0] * len(TYPES)
    for declared in (2 * most, 10**17, 10**40):
        answers.append(sends(client, CountedBody(10), declared=declared))
    for answer in answers:
        refused(answer, 413, ROW)
        assert header_table.faults(service, answer) == []
    for length in ("-1", "1e3", "0x10", "1 0", "+5", "\u0661"):
        answer = client.post("/probe", body=b"", content_type=JSON, headers={"Content-Length": length})
        refused(answer, 400, ROW)
    assert arrived == []
