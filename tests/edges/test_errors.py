"""Edges of the proofs in test_errors.py: further attacks on the same protections."""

from __future__ import annotations

import io
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import SimpleHandler

from .. import test_errors as core
from ..harness import edit, harm, protects, refused, works
from ..probe_model import model
from ..running import Service
from ..service import AUTH
from ..test_errors import SECRETIVE, expected, fail, foreign, names, revealed, told
from ..wire import HOST, ORIGIN, Response
from .core import sabotages

if TYPE_CHECKING:
    import pytest
    from flask import Flask


# --- nothing is revealed ---------------------------------------------------------------------------------------


@protects("log-redaction", parameters=edit("database/__init__.py", '"hide_parameters": True, ', ""))
@protects(
    "errors-reveal-nothing",
    database=edit(
        "request/errors.py",
        "\n    return _come_back()\n\n\ndef _on_statement",
        "\n    return Response(str(error), 503)\n\n\ndef _on_statement",
    ),
)
def test_no_error_of_the_database_tells_the_client_anything(service: Service) -> None:
    add_failures(service)

    def lost(invalidated: int) -> Any:
        from sqlalchemy.exc import DatabaseError

        raise DatabaseError(SECRETIVE, {}, Exception(SECRETIVE), connection_invalidated=bool(invalidated))

    service.adds_route("/lost/<int:invalidated>", view=lost)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "a signed-in client gets the page")
    wrong = client.get("/sql")
    harm(BOUND in service.output, "the log contains a parameter of the failed statement")
    kept, broken = client.get("/lost/0"), client.get("/lost/1")
    service.take_database_away()
    away = client.get("/fine")
    harm(revealed(away), f"without a database the answer reveals {revealed(away)}")
    assert away.status == 503
    assert away.header("Retry-After") == "5"
    assert [event["event"] for event in away.events if "exception" in event] == ["database_unavailable"]
    # A wrong statement is our fault in PostgreSQL and MySQL; SQLite reports it as a database that can't be used.
    assert wrong.status == {"sqlite": 503, "postgresql": 500, "mysql": 500}[dialect(service)]
    assert revealed(wrong) == []
    # Whatever the driver calls it: whose connection is lost may come back, and anything else is a fault of ours.
    assert [(one.status, one.header("Retry-After")) for one in (kept, broken)] == [(500, None), (503, "5")]
    assert revealed(kept) + revealed(broken) == []


@protects(
    "errors-reveal-nothing",
    outer=edit(
        "edge/__init__.py", "except Exception as error:  # the last resort", "except ZeroDivisionError as error:"
    ),
)
def test_no_exception_outside_the_app_reaches_the_server(service: Service) -> None:
    add_failures(service)
    honest, said = served(service, "/open")
    works(honest.status == 200, "the server sends the page")
    works(said == "", "the server reports no error")
    for path in ("/open?at=middleware", "/open?at=teardown", "/stream", "/header"):
        before = len(service.log)
        answer, said = served(service, path)
        harm("canary" in said, f"{path}: the server logged the unredacted exception")
        assert said == ""
        assert answer.status == 500
        assert revealed(answer) == []
        assert names(honest) <= names(answer)
        logged = [event for event in service.log[before:] if "exception" in event]
        assert [event["event"] for event in logged] == ["unhandled_exception"]
        assert logged[0]["request_id"] == answer.request_id
        assert served(service, "/open")[0].status == 200
    edge: Any = service.app.wsgi_app
    edge._app = lambda *_: [b"without a status"]
    answer, said = served(service, "/open")
    assert (answer.status, said) == (500, "")
    assert "without a status" not in answer.text


@protects(
    "errors-reveal-nothing",
    cut=edit("edge/last_resort.py", "            raise AnswerCut from None", "            raise"),
)
def test_an_answer_that_breaks_off_tells_the_server_nothing(service: Service) -> None:
    add_failures(service)
    honest, said = served(service, "/open")
    works((honest.status, said) == (200, ""), "the server sends the page")
    answer, said = served(service, "/cut")
    harm("canary" in said, "the server logged the unredacted exception")
    assert "AnswerCut" in said  # that it broke off has to be noticed, and is
    assert answer.body == b"the first piece"
    assert [event["event"] for event in service.log if "exception" in event] == ["unhandled_exception"]


@protects(
    "errors-reveal-nothing",
    closing=edit(
        "edge/last_resort.py",
        "    try:\n        close()\n    except Exception as error:\n        report(error)",
        "    close()",
    ),
)
def test_failure_after_the_last_chunk_reveals_nothing(service: Service) -> None:
    add_failures(service)
    honest, said = served(service, "/open")
    works((honest.status, said) == (200, ""), "the server sends the page")
    answer, said = served(service, "/closing")
    harm("canary" in said, "the server logged the unredacted exception")
    assert (answer.status, answer.body, said) == (200, b"all of it", "")
    assert [event["event"] for event in service.log if "exception" in event] == ["unhandled_exception"]


@protects(
    "errors-reveal-nothing",
    fallback=edit(
        "edge/__init__.py",
        "        except Exception as error:\n            report(error)\n            content_type, body = FALLBACK",
        "        except ZeroDivisionError:\n            content_type, body = FALLBACK",
    ),
)
def test_error_in_the_error_page_reveals_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    add_failures(service)
    edge: Any = service.app.wsgi_app
    honest, said = served(service, "/open")
    works((honest.status, said) == (200, ""), "the server sends the page")
    monkeypatch.setattr(edge, "_settings", replace(edge._settings, error_body=fail))
    answer, said = served(service, "/stream")
    harm("canary" in said, "the server logged the unredacted exception")
    assert (answer.status, answer.mimetype, answer.text, said) == (500, "text/plain", "Something went wrong.", "")
    assert names(honest) <= names(answer)
    assert [event["event"] for event in service.log if "exception" in event] == ["unhandled_exception"] * 2


@protects(
    "errors-reveal-nothing",
    http=edit(
        "request/errors.py",
        '    return response(error.code, error.get_headers(request.environ), getattr(error, "errors", None))',
        "    return Response(error.description, error.code)",
    ),
)
def test_what_a_view_says_with_an_error_is_not_sent(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "a signed-in client gets the page")
    for code in STATUSES:
        answer = client.get(f"/abort/{code}")
        harm(revealed(answer), f"{code} reveals {revealed(answer)}")
        assert answer.status == code
    missing = client.get("/missing-key")
    assert (missing.status, revealed(missing)) == (400, [])
    client.cookie = "canary-of-no-session"
    stranger = client.get("/fine")
    assert (stranger.status, revealed(stranger)) == ({"session": 303, "jwt": 401}[AUTH], [])


# --- one format ------------------------------------------------------------------------------------------------


@protects(
    "errors-one-format",
    same=edit(
        "request/queries.py",
        'refuse(404, "ownership-404", about',
        'refuse(404 if db.session.get(model, ident) is None else 403, "ownership-404", about',
    ),
)
def test_what_is_not_yours_looks_like_what_is_not_there(service: Service) -> None:
    probe = service.adds_probe()
    alice, bob = service.user(), service.user()
    item = probe.add(alice, "a secret")
    works(probe.read(service.client(alice).login(), item).status == 200, "the owner reads the object")
    stranger = service.client(bob).login()
    not_yours, not_there = probe.read(stranger, item), probe.read(stranger, uuid.uuid4())
    no_route = stranger.get("/nowhere")
    harm(without_id(not_yours) != without_id(not_there), "another user's object is distinguishable from a missing one")
    assert not_yours.status == not_there.status == no_route.status == 404
    assert without_id(not_yours) == without_id(no_route)


# --- a guard that fails ------------------------------------------------------------------------------------------


@protects(
    "errors-fail-closed",
    audit=edit(
        "identity/users.py",
        "        audit.record(kind, user_id=user_id, connection=connection, role=role,",
        "    audit.record(kind, user_id=user_id, role=role,",
    ),
)
def test_no_role_changes_without_its_trace(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = type(service.module("state").state_of(service.app).team)
    monkeypatch.setattr(roles, "roles", {"reader": frozenset({"probe.read"})})
    user, users, audit = service.user(), service.module("identity.users"), service.module("audit")

    def held() -> str:
        [(found,)] = service.rows("SELECT roles FROM auth_user WHERE email = :email", email=user.email)
        return str(found)

    with service.app.app_context():
        users.permit(user.id, "reader")
        works(held() == "reader", "a role is given")
        monkeypatch.setattr(audit, "insert", fail)
        with pytest_raises():
            users.permit(user.id, "reader", remove=True)
    harm(held() != "reader", "a role was removed without an audit row")
    kinds = [kind for (kind,) in service.rows("SELECT kind FROM audit_event ORDER BY at")]
    assert kinds == ["user.role_given"]


def pytest_raises() -> Any:
    import pytest

    return pytest.raises(RuntimeError, match="canary")


# --- what fails ------------------------------------------------------------------------------------------------


class Server(SimpleHandler):
    """The standard library's WSGI server for one request; it records what it would write to its own log."""

    os_environ: dict[str, str] = {}  # noqa: RUF012  (the base class has it)

    def handle_error(self) -> None:
        """Send no second answer once one has begun, as other servers do."""
        if getattr(self, "environ", None) is None:  # gone with the answer: see BaseHandler.close
            self.log_exception(sys.exc_info())
        else:
            super().handle_error()


def served(service: Service, path: str) -> tuple[Response, str]:
    """Return the answer that a server sends, and what the server itself reports."""
    target, _, query = path.partition("?")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": target, "QUERY_STRING": query, "HTTP_HOST": HOST, "HTTPS": "on"}
    environ |= {"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000", "SERVER_PROTOCOL": "HTTP/1.1"}
    environ |= {"REMOTE_ADDR": "192.0.2.10", "SCRIPT_NAME": "", "RAW_URI": path}
    sent, reported = io.BytesIO(), io.StringIO()
    Server(io.BytesIO(), sent, reported, environ).run(service.app)
    head, _, body = sent.getvalue().partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Response(int(first.split(" ")[1]), first.split(" ", 2)[2], headers, body), reported.getvalue()


# --- the content of an answer ----------------------------------------------------------------------------------

_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


def without_id(answer: Response) -> tuple[int, str]:
    """Return status and body without the parts that differ by request."""
    return answer.status, _ID.sub("id", answer.text)


def dialect(service: Service) -> str:
    """Return SQLAlchemy's name of the database."""
    return service.engine.dialect.name


@protects(
    "errors-reveal-nothing",
    text=edit("request/errors.py", "    return response(500)\n", "    return Response(str(error), 500)\n"),
)
def test_failure_anywhere_in_team_code_reveals_nothing(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    honest = client.get("/fine")
    works(honest.status == 200, "a signed-in client gets the page")
    # Flask runs the hooks again for the error's own answer, so that a hook after the view fails twice.
    for path, traces in {"/view": 1, "/fine?at=before": 1, "/template": 1, "/json": 1, "/fine?at=after": 2}.items():
        answer = client.get(path)
        harm(revealed(answer), f"{path} revealed {revealed(answer)}")
        assert answer.status == 500
        assert names(honest) <= names(answer)
        logged = [event for event in answer.events if "exception" in event]
        assert len(logged) == traces
        assert {event["request_id"] for event in logged} == {answer.request_id}
        assert {"test_errors.py" in event["exception"] for event in logged} == {True}
        assert client.get("/fine").status == 200  # the same process serves on


BOUND = "typed by a user"


@protects(
    "errors-one-format",
    **sabotages(core.test_no_error_leaves_in_the_format_of_a_library, "errors-one-format", "handler"),
)
def test_every_error_status_has_the_services_own_format(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "a signed-in client gets the page")
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
        harm(foreign(answer), f"the {code} error has a library's format: {answer.text[:80]}")
        assert told(answer) == expected(service, code, answer)


def add_statuses(service: Service) -> dict[str, tuple[int, dict[str, str]]]:
    """Add routes that end in an error with headers of its own; return status and headers by path."""
    from flask import abort, redirect
    from werkzeug.datastructures import WWWAuthenticate

    views: dict[str, Callable[..., Any]] = {
        "/waits": lambda: abort(429, retry_after=7),
        "/asks": lambda: abort(401, www_authenticate=WWWAuthenticate("newauth", {"realm": "probe"})),
        "/moved": lambda: abort(redirect("/fine", 303)),
        "/gone": lambda: abort(410),
        "/refused": lambda: service.module("audit.refusal").refuse(
            403, "probe", retry_after=7, headers=[("X-Hint", "1")]
        ),
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
        "/refused": (403, {"Retry-After": "7", "X-Hint": "1"}),
        "/nowhere": (404, {}),
    }


@protects(
    "errors-keep-status",
    catch_all=edit("request/errors.py", "    app.register_error_handler(HTTPException, _on_http)\n", ""),
    headers=edit("request/errors.py", "error.get_headers(request.environ), getattr(", "[], getattr("),
)
def test_error_keeps_its_status_and_its_response_headers(service: Service) -> None:
    add_failures(service)
    wanted = add_statuses(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "a signed-in client gets the page")
    answers = {path: client.get(path) for path in wanted}
    answers["/fine"], wanted["/fine"] = client.post("/fine"), (405, {"Allow": "GET, HEAD"})
    for path, (status, headers) in wanted.items():
        answer = answers[path]
        harm(answer.status == 500, f"{path}: a {status} became a 500")
        assert answer.status == status
        for name, value in headers.items():
            found = answer.header(name) or ""
            harm(not found, f"{path}: a {status} answer lacks {name}")
            assert {*found.removeprefix(ORIGIN).split(", ")} >= {*value.split(", ")}
    assert client.get("/view").status == 500


CONFLICT = "_on_conflict(error) if state().dialect.is_conflict(error.orig) else _on_exception(error)"


@protects(
    "transaction-all-or-nothing",
    overtaken=edit("request/errors.py", "in (StaleDataError, ObjectDeletedError):", "in ():"),
    taken=edit("request/errors.py", CONFLICT, "_on_exception(error)"),
    fault=edit("request/errors.py", CONFLICT, "_on_conflict(error)"),
)
def test_lost_write_race_is_a_conflict_and_a_fault_is_not(service: Service) -> None:
    """Between the read and the write of each view, another connection does what a concurrent request would do."""

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
    works(probe.row(items["none"]) == ("as it was", "as it was, changed"), "the change is stored")
    for race in races:
        answer = client.get(f"/race/{race}")
        harm(answer.status == 500, f"{race}: a race of two requests was answered as an internal error")
        refused(answer, 409, "transaction-all-or-nothing")
        assert told(answer) == expected(service, 409, answer)
    assert {probe.row(items[race]) for race in races} == {None, ("as it was", "")}
    fault = client.get("/race/fault")
    harm(fault.status != 500, "a programming error was answered as a conflict")
    assert "unhandled_exception" in [event["event"] for event in fault.events]


ASKS = "        return require_access(unauthenticated, factor_missing, not_fresh)\n"


SITE = "        refuse_cross_site(accept_without_origin=accept_without_origin)\n"


QUIETLY = "        from contextlib import suppress\n\n        with suppress(RuntimeError):\n    "


COUNTED = "            count_session(current_user.session_id)\n"


@protects(
    "errors-fail-closed",
    access=edit("request/access.py", ASKS, f"{QUIETLY}{ASKS}        return None\n"),
    site=edit("request/cross_site.py", SITE, f"{QUIETLY}{SITE}"),
    ceiling=edit(
        "request/authentication.py",
        COUNTED,
        f'            with __import__("contextlib").suppress(RuntimeError):\n    {COUNTED}',
    ),
)
def test_whichever_guard_fails_it_lets_nobody_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    client = service.client(service.user()).login()
    origin = {"Origin": ORIGIN, "Sec-Fetch-Site": None}
    works(client.post("/probe", headers=origin).status == 200, "the view runs for a signed-in client")
    guards: list[tuple[str, object, str]] = [
        ("the access rule", service.module("request.access"), "state"),
        ("where the request began", service.module("request.cross_site"), "expected_origin"),
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
        harm(seen, f"the view ran although {what} could not be checked")
        assert answer.status == 500
        assert revealed(answer) == []
    assert client.post("/probe", headers=origin).status == 200


def fails_for_sessions(_self: object, key: str) -> None:
    """Pass for the rate limit of an address, and fail for that of a session, whose key is a UUID."""
    if re.fullmatch(r"[0-9a-f]{32}", key):
        fail()


def add_failures(service: Service) -> None:
    """Add routes and hooks that fail in every place in which code of a team can fail."""
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
    """Add hooks and a middleware that fail where `?at=` says, for anonymous and signed-in clients."""
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


STATUSES = (400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429, 500, 503)
