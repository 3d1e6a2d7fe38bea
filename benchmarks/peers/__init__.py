"""Each module here is one way to serve the same protected answer; the driver knows nothing else about it.

A peer has `create_app()`, which takes its settings from the environment, and `sign_in(app, people)`, which makes
tables, users and sessions and gives for each person the headers that their browser or client would send. `PATH` is the
protected route: 200 with the person's e-mail from the database, and a refusal for anybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import flask

HOST = "bench.example.org"
AGENT = "benchmark"
TEMPLATES = Path(__file__).parent / "templates"


class Person(NamedTuple):
    """Somebody with an account, who always calls from the same address."""

    email: str
    address: str


def people(count: int) -> Iterator[Person]:
    """`count` persons with addresses of 198.18.0.0/15, which RFC 2544 sets aside for benchmarks; at most 60,000."""
    if not 1 <= count <= 60_000:
        raise ValueError("between 1 and 60,000 persons")
    for number in range(count):
        yield Person(f"person{number:05}@example.org", f"198.18.{number // 250}.{number % 250 + 1}")


def session_cookie(app: flask.Flask, person: Person, log_in: Callable[[], object]) -> dict[str, str]:
    """The Cookie header that a browser would hold after `log_in` ran in a request of this person's."""
    with app.test_request_context(
        "/login",
        base_url=f"https://{HOST}",
        headers={"User-Agent": AGENT},
        environ_base={"REMOTE_ADDR": person.address},
    ):
        log_in()
        response = app.make_response("")
        app.session_interface.save_session(app, flask.session, response)
    return {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
