"""Body size limit: an oversized body, with or without Content-Length, fills no memory and reaches no view.

The streams count what is read of them: a limit that is looked at after the body was read is none.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, refused, works
from .service import AUTH
from .wire import HOST

if TYPE_CHECKING:
    from .running import Service
    from .service import Client
    from .wire import Response


ROW = "body-limit-1-mib"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class CountedBody(io.RawIOBase):
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
    stream: CountedBody,
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
        edit("edge/__init__.py", "            or self._size.refuse(environ)  # last, since it reads the body\n", ""),
        edit("edge/__init__.py", 'app.config["MAX_CONTENT_LENGTH"] =', "_ ="),
    ),
)
def test_no_body_is_read_that_announces_more_than_the_limit(service: Service) -> None:
    arrived = adds_reader(service)
    client = service.client(service.user()).login()
    most = limit(service)
    works(sends(client, CountedBody(most), declared=most).json == {"read": most}, "a body of exactly the limit is read")
    arrived.clear()
    stream = CountedBody(most + 1)
    answer = sends(client, stream, declared=most + 1)
    harm(arrived, "a view received a body above the limit")
    refused(answer, 413, ROW)
    assert stream.taken == 0


@protects("body-limit-1-mib")
def test_the_real_server_cuts_a_body_in_chunks_off(service: Service) -> None:
    server, most = service.real_server(), limit(service)
    path, content_type = ("/csp-report", "application/csp-report") if AUTH == "session" else ("/auth/login", JSON)
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.10\r\n"
    head += f"Connection: close\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"

    def status(*parts: bytes) -> int:
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        return int(service.raw(server, head.encode() + chunks + b"0\r\n\r\n").split(b" ", 2)[1])

    small = status(b"{}")
    works(small == (204 if AUTH == "session" else 422), "a small chunked body is accepted")
    long = status(b'{"a": "', *[b"x" * 32_768] * (most // 32_768 + 1), b'"}')
    harm(long == small, "the server read a chunked body above the limit")
    assert long == 413
