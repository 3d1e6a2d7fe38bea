"""Edges of the proofs in test_errors.py: further attacks on the same protections."""

from __future__ import annotations

import io
import re
import sys
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import SimpleHandler

from ..harness import edit, harm, protects, works
from ..running import Service
from ..service import AUTH
from ..test_errors import BOUND, SECRETIVE, STATUSES, add_failures, fail, names, revealed
from ..wire import HOST, Response

if TYPE_CHECKING:
    import pytest


# --- nothing is revealed ---------------------------------------------------------------------------------------


@protects("log-redaction", parameters=edit("database/__init__.py", '"hide_parameters": True, ', ""))
@protects(
    "errors-reveal-nothing",
    database=edit(
        "errors.py",
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
    works(client.get("/fine").status == 200, "the page answers")
    wrong = client.get("/sql")
    harm(BOUND in service.output, "what was bound to a statement that failed is in the log")
    kept, broken = client.get("/lost/0"), client.get("/lost/1")
    service.take_database_away()
    away = client.get("/fine")
    harm(revealed(away), f"without a database it tells {revealed(away)}")
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
    works(said == "", "and has nothing to report")
    for path in ("/open?at=middleware", "/open?at=teardown", "/stream", "/header"):
        before = len(service.log)
        answer, said = served(service, path)
        harm("canary" in said, f"{path}: the server got the exception, and logs it as it is")
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
    harm("canary" in said, "the server got the exception, and logs it as it is")
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
def test_what_fails_after_the_last_piece_tells_the_server_nothing(service: Service) -> None:
    add_failures(service)
    honest, said = served(service, "/open")
    works((honest.status, said) == (200, ""), "the server sends the page")
    answer, said = served(service, "/closing")
    harm("canary" in said, "the server got the exception, and logs it as it is")
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
def test_an_error_whose_own_text_cannot_be_made_tells_nobody_anything(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_failures(service)
    edge: Any = service.app.wsgi_app
    honest, said = served(service, "/open")
    works((honest.status, said) == (200, ""), "the server sends the page")
    monkeypatch.setattr(edge, "_settings", replace(edge._settings, error_body=fail))
    answer, said = served(service, "/stream")
    harm("canary" in said, "the server got the exception, and logs it as it is")
    assert (answer.status, answer.mimetype, answer.text, said) == (500, "text/plain", "Something went wrong.", "")
    assert names(honest) <= names(answer)
    assert [event["event"] for event in service.log if "exception" in event] == ["unhandled_exception"] * 2


@protects(
    "errors-reveal-nothing",
    http=edit(
        "errors.py",
        '    return response(error.code, error.get_headers(request.environ), getattr(error, "errors", None))',
        "    return Response(error.description, error.code)",
    ),
)
def test_what_a_view_says_with_an_error_is_not_sent(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()
    works(client.get("/fine").status == 200, "the page answers")
    for code in STATUSES:
        answer = client.get(f"/abort/{code}")
        harm(revealed(answer), f"{code} tells {revealed(answer)}")
        assert answer.status == code
    missing = client.get("/missing-key")
    assert (missing.status, revealed(missing)) == (400, [])
    client.cookie = "canary-of-nobody"
    stranger = client.get("/fine")
    assert (stranger.status, revealed(stranger)) == ({"session": 303, "jwt": 401}[AUTH], [])


# --- one format ------------------------------------------------------------------------------------------------


@protects(
    "errors-one-format",
    same=edit(
        "database/queries.py",
        'refuse(404, "ownership-404", about',
        'refuse(404 if db.session.get(model, ident) is None else 403, "ownership-404", about',
    ),
)
def test_what_is_not_yours_looks_like_what_is_not_there(service: Service) -> None:
    probe = service.adds_probe()
    alice, bob = service.user(), service.user()
    item = probe.add(alice, "a secret")
    works(probe.read(service.client(alice).login(), item).status == 200, "the owner reads it")
    stranger = service.client(bob).login()
    not_yours, not_there = probe.read(stranger, item), probe.read(stranger, uuid.uuid4())
    no_route = stranger.get("/nowhere")
    harm(without_id(not_yours) != without_id(not_there), "an object of somebody else can be told from none")
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
    harm(held() != "reader", "a role was taken away, and nothing tells of it")
    kinds = [kind for (kind,) in service.rows("SELECT kind FROM audit_event ORDER BY at")]
    assert kinds == ["user.role_given"]


def pytest_raises() -> Any:
    import pytest

    return pytest.raises(RuntimeError, match="canary")


# --- what fails ------------------------------------------------------------------------------------------------


class Server(SimpleHandler):
    """The standard library's WSGI server for one request: what it would write to its own log is kept."""

    os_environ: dict[str, str] = {}  # noqa: RUF012  (the base class has it)

    def handle_error(self) -> None:
        """As other servers do it: whose answer is out already is sent no other one."""
        if getattr(self, "environ", None) is None:  # gone with the answer: see BaseHandler.close
            self.log_exception(sys.exc_info())
        else:
            super().handle_error()


def served(service: Service, path: str) -> tuple[Response, str]:
    """The answer that a server sends, and what the server itself reports."""
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


# --- what is read out of an answer -----------------------------------------------------------------------------

_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


def without_id(answer: Response) -> tuple[int, str]:
    """Status and body, without what differs from request to request."""
    return answer.status, _ID.sub("id", answer.text)


def dialect(service: Service) -> str:
    """The database's kind, as SQLAlchemy calls it."""
    return service.engine.dialect.name
