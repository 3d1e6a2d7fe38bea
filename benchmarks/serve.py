"""What runs in a child process, one peer each: make accounts, serve blocks of requests, or only start.

`prepare PEER N` makes tables, N accounts and sessions, and writes the callers' headers to callers.json; `serve PEER`
answers blocks of requests in process, asked for line by line on standard input; `boot PEER` makes the app and ends;
`profile PEER N` prints where the time of N requests goes. Under gunicorn `serve:application` is the app.
"""

from __future__ import annotations

import cProfile
import gc
import importlib
import io
import json
import os
import pstats
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

CALLERS = Path("callers.json")
WARM_UP = 100
REFUSED = frozenset({302, 303, 401, 403})  # how an anonymous visitor may be sent away


class Peer(Protocol):
    PATH: str

    def create_app(self) -> Flask: ...

    def sign_in(self, app: Flask, people: Any) -> list[dict[str, str]]: ...


class Caller(NamedTuple):
    """One signed-in client, as the driver and the children pass it on."""

    email: str
    address: str
    headers: dict[str, str]


def peer(name: str) -> Peer:
    return cast("Peer", importlib.import_module(f"peers.{name}"))


def callers() -> list[Caller]:
    return [Caller(*row) for row in json.loads(CALLERS.read_text("utf-8"))]


def prepare(name: str, count: int) -> None:
    from peers import people

    persons = list(people(count))
    made = peer(name)
    headers = made.sign_in(made.create_app(), persons)
    rows = [Caller(person.email, person.address, own) for person, own in zip(persons, headers, strict=True)]
    CALLERS.write_text(json.dumps(rows), "utf-8")


def environ_of(path: str, caller: Caller) -> WSGIEnvironment:
    from werkzeug.test import EnvironBuilder

    from peers import AGENT, HOST

    headers: dict[str, str] = {"User-Agent": AGENT, "Accept": "*/*", **caller.headers}
    builder = EnvironBuilder(
        path,
        base_url=f"https://{HOST}",
        headers=[*headers.items()],
        environ_base={"REMOTE_ADDR": caller.address},
    )
    environ = builder.get_environ()
    builder.close()
    return environ


def answer(app: Flask, environ: WSGIEnvironment) -> tuple[str, bytes]:
    """Status and body, as a server would get them; the environ is copied, since layers write into it."""
    got: list[str] = []

    def start_response(status: str, _headers: list[tuple[str, str]], _exc_info: Any = None) -> Any:
        got.append(status)

    chunks = app({**environ, "wsgi.input": io.BytesIO()}, start_response)
    try:
        body = b"".join(chunks)
    finally:
        if close := getattr(chunks, "close", None):
            close()
    return got[-1], body


class Block:
    """Serves requests of one caller after another, each answer checked, and knows how much CPU that took."""

    def __init__(self, name: str) -> None:
        path, known = peer(name).PATH, callers()
        self.app = peer(name).create_app()
        stranger = known[0]._replace(headers={})
        status, body = answer(self.app, environ_of(path, stranger))
        if int(status[:3]) not in REFUSED or b"@" in body:
            raise RuntimeError(f"{name} answers an anonymous visitor with {status}")
        requests = [(environ_of(path, caller), caller.email.encode()) for caller in known]
        self.requests: Iterator[tuple[WSGIEnvironment, bytes]] = cycle(requests)
        self.run(WARM_UP)

    def run(self, count: int) -> int:
        """Nanoseconds of CPU of this process, all threads, for `count` requests; RuntimeError at a wrong answer."""
        chosen = list(islice(self.requests, count))
        app = self.app
        gc.collect()
        begin = time.process_time_ns()
        for environ, email in chosen:
            status, body = answer(app, environ)
            if status != "200 OK" or email not in body:
                raise RuntimeError(f"a wrong answer: {status} {body[:300]!r}")
        return time.process_time_ns() - begin


def serve(name: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a peer prints is no answer to the driver
    block = Block(name)
    print("ready", file=answers)
    for line in sys.stdin:
        print(block.run(int(line)), file=answers)


def profile(name: str, count: int) -> None:
    block = Block(name)
    profiler = cProfile.Profile()
    profiler.enable()
    block.run(count)
    profiler.disable()
    for order in ("tottime", "cumulative"):
        pstats.Stats(profiler).sort_stats(order).print_stats(45)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["prepare", name, count]:
            prepare(name, int(count))
        case ["serve", name]:
            serve(name)
        case ["profile", name, count]:
            profile(name, int(count))
        case ["boot", name]:
            peer(name).create_app()
        case _:
            raise SystemExit(__doc__)


def __getattr__(name: str) -> Any:
    """`application` for gunicorn, made when it is first asked for."""
    if name == "application":
        return peer(os.environ["BENCHMARK_PEER"]).create_app()
    raise AttributeError(name)


if __name__ == "__main__":
    main(sys.argv[1:])
