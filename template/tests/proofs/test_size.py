"""Attacks by length: a body that is longer than allowed, announced or not, must fill no memory and reach no view.

The streams count what is read of them: a limit that is looked at after the body was read is none.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from . import header_table
from .harness import edit, harm, protects, refused, works
from .service import AUTH
from .wire import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from .running import Service
    from .service import Client
    from .wire import Response

ROW = "body-limit-1-mib"
BLOCK = 65_536  # bytes that a reader may take at once beyond the limit
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
TYPES = (JSON, FORM) if AUTH == "session" else (JSON,)


class Endless(io.RawIOBase):
    """A body of `length` bytes that is made while it is read; `taken` says how many were."""

    def __init__(self, length: int, first: bytes = b"x") -> None:
        super().__init__()
        self.left = length
        self.taken = 0
        self._first = first

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        given = min(len(buffer), self.left)
        buffer[:given] = b"x" * given
        if self.taken == 0:
            start = self._first[:given]
            buffer[: len(start)] = start
        self.left -= given
        self.taken += given
        return given

    def readline(self, size: int | None = -1, /) -> bytes:
        """No line ends in it. RawIOBase would look for one byte by byte, which no server does."""
        return self.read(-1 if size is None else size) or b""


def limit(service: Service) -> int:
    """The service's limit: 1 MiB, or what exceptions.toml declares."""
    declared: int = service.module("state").state_of(service.app).limits.body_bytes
    return declared


def adds_reader(service: Service) -> list[int]:
    """A view that reads the whole body: the list to which it appends how many bytes it got."""
    arrived: list[int] = []

    def view() -> Any:
        from flask import request

        arrived.append(len(request.get_data()))
        return {"read": arrived[-1]}

    service.adds_route("/probe", methods=("POST",), view=view)
    return arrived


def sends(
    client: Client,
    stream: Endless,
    *,
    declared: int | None,
    content_type: str = JSON,
    ended: bool = True,
    path: str = "/probe",
) -> Response:
    """Send the stream; `declared` is its Content-Length, `ended` says that the server marks its end (chunked)."""
    chunked = {} if declared is not None else {"HTTP_TRANSFER_ENCODING": "chunked"}
    length = None if declared is None else str(declared)
    environ = {"wsgi.input": stream, "CONTENT_LENGTH": length, "wsgi.input_terminated": ended, **chunked}
    return client.post(path, body=b"", content_type=content_type, environ=environ)


@protects(
    "body-limit-1-mib",
    limit=(
        edit("edge/__init__.py", "            or self._size.refuse(environ)  # before the app can read the body\n", ""),
        edit("edge/__init__.py", 'app.config["MAX_CONTENT_LENGTH"] =', "_ ="),
    ),
)
def test_no_body_is_read_that_announces_more_than_the_limit(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    most = limit(service)
    fits = Endless(most)
    works(sends(client, fits, declared=most).json == {"read": most}, "a body of exactly the limit is read")
    works(fits.taken == most, "all of it")
    arrived.clear()

    streams = {kind: Endless(most + 1) for kind in TYPES}
    answers = [sends(client, stream, declared=most + 1, content_type=kind) for kind, stream in streams.items()]
    harm(arrived, "a view got more than the limit")
    assert [stream.taken for stream in streams.values()] == [0] * len(TYPES)
    for declared in (2 * most, 10**17, 10**40):
        answers.append(sends(client, Endless(10), declared=declared))
    for answer in answers:
        refused(answer, 413, ROW)
        assert header_table.faults(service, answer) == []
    for length in ("-1", "1e3", "0x10", "1 0", "+5", "\u0661"):
        answer = client.post("/probe", body=b"", content_type=JSON, headers={"Content-Length": length})
        refused(answer, 400, ROW)
    assert arrived == []


@protects(
    "body-limit-1-mib",
    chunked=(
        edit("edge/size.py", 'body = LimitedBody(environ["wsgi.input"], self._most, declared=False)', "return None"),
        edit("edge/__init__.py", 'app.config["MAX_CONTENT_LENGTH"] =', "_ ="),
    ),
)
def test_no_view_gets_more_than_the_limit_of_a_body_without_a_length(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    most = limit(service)
    works(
        sends(client, Endless(most), declared=None).json == {"read": most}, "exactly the limit is read, in chunks too"
    )
    arrived.clear()

    streams = {kind: Endless(2 * most, b"a=") for kind in TYPES}
    answers = [sends(client, stream, declared=None, content_type=kind) for kind, stream in streams.items()]
    over = Endless(most + 1)
    answers.append(sends(client, over, declared=None))
    harm(arrived, "a view got more than the limit")
    for answer in answers:
        refused(answer, 413, ROW)
        assert header_table.faults(service, answer) == []
    assert [name for name, stream in streams.items() if stream.taken > most + BLOCK] == []
    assert over.taken <= most + 1


@protects("body-limit-1-mib")
def test_no_byte_beyond_the_announced_length_is_read(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    works(sends(client, Endless(10), declared=10).json == {"read": 10}, "a body of ten bytes is read")
    arrived.clear()

    lying, unmarked = Endless(4 * limit(service)), Endless(4 * limit(service))
    answer = sends(client, lying, declared=10)
    sends(client, unmarked, declared=None, ended=False)  # where the end is not marked, the next request would follow
    harm([number for number in arrived if number > 10], "a view got more than was announced")
    assert answer.json == {"read": 10}
    assert (lying.taken, unmarked.taken) == (10, 0)


@protects(
    "body-limit-1-mib",
    stream=edit("edge/size.py", "if size is None or size < 0 or size >", "if size is None or not self._left or size >"),
)
def test_no_view_that_reads_the_stream_itself_gets_more_than_the_limit(service: Service) -> None:
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

    def asks(reader: str, stream: Endless, declared: int | None) -> Response:
        return sends(client, stream, declared=declared, path=f"/raw/{reader}")

    whole = [asks(reader, Endless(10), declared) for reader in readers for declared in (10, None)]
    works([answer.json for answer in whole] == [{"read": 10}] * len(whole), "every reader gets a whole body")
    arrived.clear()

    lying = {reader: Endless(4 * most) for reader in readers}
    answers = [asks(reader, stream, 10) for reader, stream in lying.items()]
    harm([number for number in arrived if number > 10], "a view read what follows its body")
    assert [answer.json for answer in answers] == [{"read": 10}] * len(readers)
    assert [stream.taken for stream in lying.values()] == [10] * len(readers)
    arrived.clear()
    endless = {reader: Endless(4 * most) for reader in readers}
    answers = [asks(reader, stream, None) for reader, stream in endless.items()]
    harm(arrived, "a view got more than the limit")
    for answer in answers:
        refused(answer, 413, ROW)
    assert [stream.taken for stream in endless.values()] == [most + 1] * len(readers)


@protects("body-limit-1-mib", short=edit("edge/size.py", "if size and not data and self._declared:", "if False:"))
def test_no_view_gets_the_first_part_of_a_body_that_was_cut_on_its_way(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    works(sends(client, Endless(1_000), declared=1_000).json == {"read": 1_000}, "a whole body is read")
    arrived.clear()
    kinds = [(kind, sent) for kind in TYPES for sent in (0, 1, 999)]
    answers = [sends(client, Endless(sent), declared=1_000, content_type=kind) for kind, sent in kinds]
    harm(arrived, "a view took what came for all that was sent")
    for answer in answers:
        refused(answer, 400, ROW)
        assert header_table.faults(service, answer) == []


class Failing(Endless):
    """A body of which the server can make nothing, or whose connection is lost."""

    def __init__(self, error: Exception) -> None:
        super().__init__(10)
        self._error = error

    def readinto(self, _buffer: Any) -> int:
        raise self._error


def test_a_body_that_the_server_cannot_read_is_the_clients_fault(service: Service) -> None:
    arrived, client = adds_reader(service), service.client(service.user()).login()
    for error in (ValueError("no chunk"), RuntimeError("no chunk"), ConnectionResetError("gone")):
        assert sends(client, Failing(error), declared=None).status == 400
        assert sends(client, Failing(error), declared=10).status == 400
    assert arrived == []


def test_a_body_that_came_past_the_edge_is_cut_off_by_flask(service: Service) -> None:
    from flask import request
    from werkzeug.exceptions import RequestEntityTooLarge

    most = limit(service)
    with service.app.test_request_context("/", method="POST", data=b"x" * most):
        assert len(request.get_data()) == most
    with (
        service.app.test_request_context("/", method="POST", data=b"x" * (most + 2)),
        pytest.raises(RequestEntityTooLarge),
    ):
        request.get_data()


@protects("body-limit-1-mib")
def test_the_real_server_cuts_a_body_in_chunks_off(service: Service) -> None:
    server = service.real_server()
    path, content_type = ("/csp-report", "application/csp-report") if AUTH == "session" else ("/auth/login", JSON)
    proxied = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.10\r\nConnection: close\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{proxied}Content-Type: {content_type}\r\n"

    def asks(more: str, body: bytes) -> int:
        return int(service.raw(server, f"{head}{more}\r\n\r\n".encode() + body).split(b" ", 2)[1])

    def chunks(data: bytes, size: int = 32_768) -> bytes:
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"

    small = asks("Transfer-Encoding: chunked", chunks(b"{}"))
    works(small == (204 if AUTH == "session" else 422), "a small body in chunks is read")

    long = b'{"a": "' + b"x" * 2 * 1_048_576 + b'"}'
    statuses = [asks("Transfer-Encoding: chunked", chunks(long)), asks(f"Content-Length: {len(long)}", long)]
    harm([status for status in statuses if status == small], "a body of 2 MiB was read")
    assert statuses == [413, 413]
    logged = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    assert [event["reason"] for event in logged if event["event"] == "refused"][-2:] == [ROW, ROW]


def test_lines_are_read_until_they_are_as_many_bytes_as_were_asked_for(service: Service) -> None:
    body, text = service.module("edge.size").LimitedBody, b"one\ntwo\nthree\n"
    for hint, lines in {-1: 3, 0: 3, 1: 1, 4: 1, 5: 2, 8: 2, 9: 3, 100: 3}.items():
        found = body(io.BytesIO(text), len(text), declared=True).readlines(hint)
        assert (hint, b"".join(found)) == (hint, b"".join(text.splitlines(keepends=True)[:lines]))
    assert body(io.BytesIO(text), len(text), declared=True).readlines() == text.splitlines(keepends=True)
