"""Proofs of errors.py: every error has one format, a fixed text and a request ID, and reveals nothing.

They stop an attacker from reading in an answer how the service is built, and whether his guess came near.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any, NoReturn

from .harness import edit, harm, protects, refused, works
from .probe_model import model
from .running import Service
from .service import AUTH
from .wire import Response

if TYPE_CHECKING:
    import pytest
    from flask import Flask


SECRETIVE = "canary at /srv/app/settings.py: SELECT password FROM auth_user"
INSIDE = (
    "canary",
    "traceback",
    "runtimeerror",
    "/srv/app",
    "select ",
    "site-packages",
    "werkzeug",
    "sqlalche",
    ".py",
)
"""What a client never reads, in small letters."""


def fail(*_arguments: object, **_values: object) -> NoReturn:
    raise RuntimeError(SECRETIVE)


# --- nothing is revealed ---------------------------------------------------------------------------------------


@protects(
    "errors-reveal-nothing",
    text=edit("request/errors.py", "    return response(500)\n", "    return Response(str(error), 500)\n"),
)
def test_no_exception_of_the_app_tells_the_client_anything(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    honest = client.get("/fine")
    works(honest.status == 200, "a signed-in client gets the page")
    for path in ("/view", "/template", "/fine?fails"):
        answer = client.get(path)
        harm(revealed(answer), f"{path} revealed {revealed(answer)}")
        assert answer.status == 500
        assert names(honest) <= names(answer)
        logged = [
            (event["request_id"], SECRETIVE in event["exception"]) for event in answer.events if "exception" in event
        ]
        assert {*logged} == {(answer.request_id, True)}


# --- one format ------------------------------------------------------------------------------------------------


@protects(
    "errors-one-format",
    handler=edit(
        "request/errors.py",
        '    return response(error.code, error.get_headers(request.environ), getattr(error, "errors", None))',
        "    return error",
    ),
)
def test_no_error_leaves_in_the_format_of_a_library(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "a signed-in client gets the page")
    answers = [(code, client.get(f"/abort/{code}")) for code in (400, 403, 422, 500)]
    answers += [(404, client.get("/nowhere")), (405, client.post("/fine")), (500, client.get("/view"))]
    answers.append((400, client.get("/fine", headers={"Host": "evil.example"})))  # refused by the edge, before Flask
    service.take_database_away()
    answers.append((503, client.get("/fine")))
    for code, answer in answers:
        assert answer.status == code
        harm(foreign(answer), f"the {code} error has a library's format: {answer.text[:80]}")
        assert told(answer) == expected(service, code, answer)


# --- the status, and what belongs to it --------------------------------------------------------------------------


@protects(
    "errors-keep-status",
    catch_all=edit("request/errors.py", "    app.register_error_handler(HTTPException, _on_http)\n", ""),
    headers=edit("request/errors.py", "error.get_headers(request.environ), getattr(", "[], getattr("),
)
def test_an_error_keeps_its_status_and_what_tells_the_client_how_to_go_on(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "a signed-in client gets the page")
    missing, wrong, many = client.get("/nowhere"), client.post("/fine"), client.get("/waits")
    harm(500 in (missing.status, wrong.status, many.status), "a client error (4xx) became a server error (500)")
    harm(not (wrong.header("Allow") and many.header("Retry-After")), "an error lacks its Allow or Retry-After header")
    assert (missing.status, wrong.status, many.status) == (404, 405, 429)
    assert ({*str(wrong.header("Allow")).split(", ")}, many.header("Retry-After")) == ({"GET", "HEAD"}, "7")


# --- a write that another request overtook -------------------------------------------------------------------------


@protects(
    "transaction-all-or-nothing",
    taken=edit(
        "request/errors.py",
        "_on_conflict(error) if state().dialect.is_conflict(error.orig) else _on_exception(error)",
        "_on_exception(error)",
    ),
)
def test_a_write_that_was_overtaken_is_a_conflict(service: Service) -> None:
    """Another connection inserts the same row between the view's read and its write."""

    def view(race: str) -> dict[str, Any]:
        item, session = model(service), service.module("database").db.session
        made, user = uuid.uuid4(), service.module().current_user.id
        session.get(item, made)
        if race == "taken":
            with service.engine.begin() as other:
                other.execute(item.__table__.insert().values(id=made, user_id=user, title="theirs", body=""))
        session.add(item(id=made, user_id=user, title="mine"))
        session.commit()
        return {}

    service.adds_probe()
    service.adds_route("/race/<race>", view=view)
    client = service.client(service.user()).login()
    works(client.get("/race/none").status == 200, "the view writes an item")
    answer = client.get("/race/taken")
    harm(answer.status == 500, "a conflict of two requests was answered with 500")
    refused(answer, 409, "transaction-all-or-nothing")
    assert service.rows("SELECT title FROM proof_probe_item ORDER BY title") == [("mine",), ("theirs",)]


# --- a guard that fails ------------------------------------------------------------------------------------------

ASKS = "        return require_access(unauthenticated, factor_missing, not_fresh)\n"
QUIETLY = "        from contextlib import suppress\n\n        with suppress(RuntimeError):\n    "


@protects("errors-fail-closed", access=edit("request/access.py", ASKS, f"{QUIETLY}{ASKS}        return None\n"))
def test_a_guard_that_fails_lets_nobody_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = service.adds_route("/probe")
    client = service.client(service.user()).login()
    works(client.get("/probe").status == 200, "the view runs for a signed-in client")
    seen.clear()
    for owner, name in ((service.module("request.access"), "state"), (service.module("edge.hosts").Hosts, "refuse")):
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, fail)
            answer = client.get("/probe")
        harm(seen, f"the view ran although {name} of {owner} failed")
        assert (answer.status, revealed(answer)) == (500, [])


# --- what fails ------------------------------------------------------------------------------------------------


def add_failures(service: Service) -> None:
    """Routes and a hook that fail as a team's do."""
    from flask import abort, render_template_string, request

    service.adds_route("/fine")
    service.adds_route("/view", view=fail)
    service.adds_route("/template", view=lambda: render_template_string("{{ fail() }}", fail=fail))
    service.adds_route("/abort/<int:code>", view=lambda code: abort(code, description=SECRETIVE))
    service.adds_route("/waits", view=lambda: abort(429, retry_after=7))

    def add_hook(app: Flask) -> None:
        @app.after_request
        def after(response: Any) -> Any:
            return fail() if "fails" in request.args else response

    service.adds(add_hook)


# --- what is read out of an answer -----------------------------------------------------------------------------


def revealed(answer: Response) -> list[str]:
    """What of the inside is in the answer, head and body."""
    everything = "\n".join([*(f"{name}: {value}" for name, value in answer.headers), answer.text]).lower()
    return [word for word in INSIDE if word in everything]


def names(answer: Response) -> set[str]:
    """The names of the headers."""
    return {name.lower() for name, _ in answer.headers}


def foreign(answer: Response) -> bool:
    """Whether the answer is not in this service's own format of errors."""
    if AUTH == "jwt":
        return answer.mimetype != "application/problem+json"
    return not (answer.mimetype == "text/html" and '<p class="status">' in answer.text)


def told(answer: Response) -> Any:
    """What the answer tells: the members of the problem, or the words of the page that are not of its frame."""
    if AUTH == "jwt":
        return answer.json
    return re.findall(r'<p class="status">([^<]*)</p>\s*<h1>([^<]*)</h1>\s*<p class="lead">([^<]*)</p>', answer.text)


def expected(service: Service, code: int, answer: Response) -> object:
    """What an answer of this status tells, word by word."""
    title, text = service.module("request.errors").TEXTS[code]
    if AUTH == "jwt":
        assert answer.request_id is not None
        return {"type": "about:blank", "title": title, "status": code, "instance": uuid.UUID(answer.request_id).urn}
    assert (answer.request_id or "none") in answer.text
    return [(str(code), title, text)]
