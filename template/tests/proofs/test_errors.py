"""Proofs of errors.py: whatever goes wrong, the client learns a fixed text and a number to ask with, in one format.

They stop an attacker from reading in an answer how the service is built, and whether his guess came near.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from .harness import edit, harm, protects, refused, works
from .probe_model import model
from .running import Service
from .service import AUTH
from .wire import ORIGIN, Response

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
STATUSES = (400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429, 500, 503)


def fail(*_arguments: object, **_values: object) -> NoReturn:
    raise RuntimeError(SECRETIVE)


# --- nothing is revealed ---------------------------------------------------------------------------------------


@protects(
    "errors-reveal-nothing",
    text=edit("errors.py", "    return response(500)\n", "    return Response(str(error), 500)\n"),
)
def test_no_exception_of_the_app_tells_the_client_anything(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    honest = client.get("/fine")
    works(honest.status == 200, "the page answers")
    # Flask runs the hooks again for the error's own answer, so that a hook after the view fails twice.
    for path, traces in {"/view": 1, "/fine?at=before": 1, "/template": 1, "/json": 1, "/fine?at=after": 2}.items():
        answer = client.get(path)
        harm(revealed(answer), f"{path} tells {revealed(answer)}")
        assert answer.status == 500
        assert names(honest) <= names(answer)
        logged = [event for event in answer.events if "exception" in event]
        assert len(logged) == traces
        assert {event["request_id"] for event in logged} == {answer.request_id}
        assert {"test_errors.py" in event["exception"] for event in logged} == {True}
        assert client.get("/fine").status == 200  # the same process serves on


BOUND = "typed by somebody"
# --- one format ------------------------------------------------------------------------------------------------


@protects(
    "errors-one-format",
    handler=edit(
        "errors.py",
        '    return response(error.code, error.get_headers(request.environ), getattr(error, "errors", None))',
        "    return error",
    ),
)
def test_no_error_leaves_in_the_format_of_a_library(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "the page answers")
    too_large = str(service.app.extensions["bastion"].limits.body_bytes + 1)
    answers: list[tuple[int, Response]] = [
        *((code, client.get(f"/abort/{code}")) for code in STATUSES),
        (404, client.get("/nowhere")),
        (405, client.post("/fine")),
        (500, client.get("/view")),
        (500, client.get("/fine?at=teardown")),
        (400, client.get("/fine", headers={"Host": "evil.example"})),  # refused by the edge, before Flask
        (405, client.send("TRACE", "/fine")),
        (413, client.post("/fine", headers={"Content-Length": too_large})),
    ]
    service.take_database_away()
    answers.append((503, client.get("/fine")))
    for code, answer in answers:
        assert answer.status == code
        harm(foreign(answer), f"{code} is in the format of a library: {answer.text[:80]}")
        assert told(answer) == expected(service, code, answer)


# --- the status, and what belongs to it --------------------------------------------------------------------------


def add_statuses(service: Service) -> dict[str, tuple[int, dict[str, str]]]:
    """Routes that end in an error with headers of its own; address to status and headers."""
    from flask import abort, redirect
    from werkzeug.datastructures import WWWAuthenticate

    views: dict[str, Callable[..., Any]] = {
        "/waits": lambda: abort(429, retry_after=7),
        "/asks": lambda: abort(401, www_authenticate=WWWAuthenticate("newauth", {"realm": "probe"})),
        "/moved": lambda: abort(redirect("/fine", 303)),
        "/gone": lambda: abort(410),
        "/told": lambda: service.module("errors").refuse(403, "probe", retry_after=7, headers=[("X-Hint", "1")]),
        "/folder/": lambda: {},
    }
    for path, view in views.items():
        service.adds_route(path, view=view)
    return {
        "/waits": (429, {"Retry-After": "7"}),
        "/asks": (401, {"WWW-Authenticate": "Newauth realm=probe"}),
        "/moved": (303, {"Location": "/fine"}),
        # Programs are redirected nowhere, so the token style answers at both addresses.
        "/folder": (308, {"Location": "/folder/"}) if AUTH == "session" else (200, {}),
        "/gone": (410, {}),
        "/told": (403, {"Retry-After": "7", "X-Hint": "1"}),
        "/nowhere": (404, {}),
    }


@protects(
    "errors-keep-status",
    catch_all=edit("errors.py", "    app.register_error_handler(HTTPException, _on_http)\n", ""),
    headers=edit("errors.py", "error.get_headers(request.environ), getattr(", "[], getattr("),
)
def test_an_error_keeps_its_status_and_what_tells_the_client_how_to_go_on(service: Service) -> None:
    add_failures(service)
    wanted = add_statuses(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "the page answers")
    answers = {path: client.get(path) for path in wanted}
    answers["/fine"], wanted["/fine"] = client.post("/fine"), (405, {"Allow": "GET, HEAD"})
    for path, (status, headers) in wanted.items():
        answer = answers[path]
        harm(answer.status == 500, f"{path}: a {status} became a 500")
        assert answer.status == status
        for name, value in headers.items():
            found = answer.header(name) or ""
            harm(not found, f"{path}: {status} without {name}")
            assert {*found.removeprefix(ORIGIN).split(", ")} >= {*value.split(", ")}
    assert client.get("/view").status == 500


# --- a write that another request overtook -------------------------------------------------------------------------

CONFLICT = "_on_conflict(error) if dialect.is_conflict(error.orig) else _on_exception(error)"


@protects(
    "transaction-all-or-nothing",
    overtaken=edit("errors.py", "in (StaleDataError, ObjectDeletedError):", "in ():"),
    taken=edit("errors.py", CONFLICT, "_on_exception(error)"),
    fault=edit("errors.py", CONFLICT, "_on_conflict(error)"),
)
def test_a_write_that_was_overtaken_is_a_conflict(service: Service) -> None:
    """Each view is a team's; between its read and its write another connection does what another request would."""

    def view(race: str) -> dict[str, Any]:
        item, session = model(service), service.module("database").db.session
        mine = session.get_one(item, items[race])
        table, user = item.__table__, service.module().current_user.id

        def elsewhere(statement: Any) -> None:
            with service.engine.begin() as connection:
                connection.execute(statement)

        if race in ("deleted", "deleted-expired"):
            elsewhere(table.delete().where(table.c.id == mine.id))
        elif race == "taken":
            made = uuid.uuid4()
            elsewhere(table.insert().values(id=made, user_id=user, title="theirs", body=""))
            session.add(item(id=made, user_id=user, title="mine"))
        elif race == "parent-deleted":
            accounts = service.module("identity.models").User.__table__
            elsewhere(accounts.delete().where(accounts.c.id == parent.id))
            session.add(item(user_id=parent.id, title="mine"))
        elif race == "fault":
            session.add(item(user_id=user, title=None))
        if race == "deleted-expired":
            session.expire(mine)
        mine.body = f"{mine.title}, changed"
        session.commit()
        return {}

    probe = service.adds_probe()
    service.adds_route("/race/<race>", view=view)
    client, parent = service.client(service.user()).login(), service.user()
    races = ("deleted", "deleted-expired", "taken", "parent-deleted")
    items = {race: probe.add(client.user, "as it was") for race in ("none", "fault", *races)}
    works(client.get("/race/none").status == 200, "a change is written")
    works(probe.row(items["none"]) == ("as it was", "as it was, changed"), "and kept")
    for race in races:
        answer = client.get(f"/race/{race}")
        harm(answer.status == 500, f"{race}: the race of two requests is a failure of the service")
        refused(answer, 409, "transaction-all-or-nothing")
        assert told(answer) == expected(service, 409, answer)
    assert {probe.row(items[race]) for race in races} == {None, ("as it was", "")}
    fault = client.get("/race/fault")
    harm(fault.status != 500, "a fault of the code is taken for a race of two requests")
    assert "unhandled_exception" in [event["event"] for event in fault.events]


# --- a guard that fails ------------------------------------------------------------------------------------------

ASKS = "        return require_access(unauthenticated, factor_missing, not_fresh)\n"
SITE = "        refuse_cross_site(accept_without_origin=accept_without_origin)\n"
QUIETLY = "        from contextlib import suppress\n\n        with suppress(RuntimeError):\n    "
COUNTED = "            count_session(current_user.session_id)\n"


@protects(
    "errors-fail-closed",
    access=edit("access.py", ASKS, f"{QUIETLY}{ASKS}        return None\n"),
    site=edit("cross_site.py", SITE, f"{QUIETLY}{SITE}"),
    ceiling=edit("throttle.py", COUNTED, f"            with suppress(RuntimeError):\n    {COUNTED}"),
)
def test_a_guard_that_fails_lets_nobody_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    client = service.client(service.user()).login()
    origin = {"Origin": ORIGIN, "Sec-Fetch-Site": None}
    works(client.post("/probe", headers=origin).status == 200, "the view runs")
    guards: list[tuple[str, object, str]] = [
        ("the access rule", service.module("access"), "state"),
        ("where the request began", service.module("cross_site"), "expected_origin"),
        ("the ceiling of the session", service.module("edge.ceiling").Ceiling, "hit"),
        ("the host", service.module("edge.hosts").Hosts, "refuse"),
        ("the scheme", service.module("edge.https_only").HttpsOnly, "refuse"),
        ("the length of the body", service.module("edge.size").BodyLimit, "refuse"),
    ]
    seen.clear()
    for what, owner, name in guards:
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, fails_for_sessions if name == "hit" else fail)
            answer = client.post("/probe", headers=origin)
        harm(seen, f"{what} could not be checked, and the view ran")
        assert answer.status == 500
        assert revealed(answer) == []
    assert client.post("/probe", headers=origin).status == 200


def fails_for_sessions(_self: object, key: str) -> None:
    """As the general ceiling for an address, and broken for a session, whose key is a UUID."""
    if re.fullmatch(r"[0-9a-f]{32}", key):
        fail()


# --- what fails ------------------------------------------------------------------------------------------------


def add_failures(service: Service) -> None:
    """Routes and hooks that fail in every place in which something of a team's can fail."""
    from flask import Response as Answer
    from flask import abort, jsonify, render_template_string, request

    def pieces(*before: bytes) -> Iterator[bytes]:
        yield from before
        fail()

    def statement() -> None:
        from sqlalchemy import text

        broken = text("SELECT canary FROM nowhere WHERE name = :name")
        service.module("database").db.session.execute(broken, {"name": BOUND})

    class Unclosable:
        close = fail

        def __iter__(self) -> Iterator[bytes]:
            yield b"all of it"

    class Odd:
        def __repr__(self) -> str:
            return SECRETIVE

    views: dict[str, Callable[..., Any]] = {
        "/view": fail,
        "/template": lambda: render_template_string("{{ fail() }}", fail=fail),
        "/json": lambda: jsonify(odd=Odd(), then=fail()),
        "/sql": statement,
        "/stream": pieces,
        "/cut": lambda: Answer(pieces(b"the first piece"), mimetype="text/plain"),
        "/closing": lambda: Answer(Unclosable(), mimetype="text/plain"),
        "/header": lambda: Answer("fine", headers={"X-Canary": "no server sends \u0107anary"}),
        "/missing-key": lambda: request.args["canary"],
        "/abort/<int:code>": lambda code: abort(code, description=SECRETIVE),
    }
    public = ("/stream", "/cut", "/closing", "/header")
    service.adds_route("/fine")
    service.adds_route("/open", mark="public")
    for path, view in views.items():
        service.adds_route(path, view=view, mark="public" if path in public else "login_required")
    service.adds(add_hooks)


def add_hooks(app: Flask) -> None:
    """Hooks and a middleware that fail where `?at=` says, for whoever is signed in or not."""
    from flask import request

    inner = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["QUERY_STRING"] == "at=middleware":
            fail()
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]

    @app.before_request
    def before() -> None:
        if request.args.get("at") == "before":
            fail()

    @app.after_request
    def after(response: Any) -> Any:
        if request.args.get("at") == "after":
            fail()
        return response

    @app.teardown_request
    def teardown(_error: BaseException | None) -> None:
        if request.args.get("at") == "teardown":
            fail()


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
    title, text = service.module("errors").TEXTS[code]
    if AUTH == "jwt":
        assert answer.request_id is not None
        return {"type": "about:blank", "title": title, "status": code, "instance": uuid.UUID(answer.request_id).urn}
    assert (answer.request_id or "none") in answer.text
    return [(str(code), title, text)]
