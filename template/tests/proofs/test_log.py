"""Proofs of log.py: no log entry contains a password, token or key, whichever code writes it.

They stop whoever may read the log, and that are many, from signing in as somebody.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from .harness import edit, harm, protects, works
from .running import PASSWORD, Service
from .wire import BaseClient

if TYPE_CHECKING:
    from flask import Flask


@pytest.fixture
def sql_echo() -> Iterator[None]:
    """Every statement and row in the log, as somebody does it who looks for a fault."""
    logger = logging.getLogger("sqlalchemy.engine")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(before)


@protects("log-redaction", filter=edit("log/__init__.py", "            _redact_event,\n", ""))
@pytest.mark.usefixtures("sql_echo")
def test_signing_in_at_debug_with_sql_echo_leaves_no_secret_in_the_log(service: Service) -> None:
    service.setting("BASTION_LOG_LEVEL", "DEBUG")
    service.adds_route("/account-of-the-probe", methods=("GET", "POST"))
    service.adds_route("/failing", view=fail_with_the_request)
    user = service.user()
    client = service.client(user).login(through_form=True)
    client.get("/account-of-the-probe", query={"reset": "canary-in-a-query"})
    client.get("/account-of-the-probe", headers={"Referer": "https://app.example/?code=canary-in-a-referer"})
    client.post("/account-of-the-probe", {"text": "canary-in-a-body"})
    failed = client.get("/failing")
    with_wrong_password = service.client(user)
    with_wrong_password.user = type(user)(user.id, user.email, "canary-of-a-wrong-password")
    wrong = sign_in(with_wrong_password)
    success = [event for event in service.log if event["event"] == "login.success"]
    works(wrong == 401, "a wrong password is refused")
    works([event["user_id"] for event in success] == [str(user.id)], "the log names the user who signed in")
    works("SELECT auth_user" in service.output, "the log contains SQL statements")
    works([event for event in service.log if str(event["event"]).startswith("Row ")], "the log contains rows")
    works([event["event"] for event in failed.events if "exception" in event] == ["unhandled_exception"], "and errors")
    known = {**service.environment.secrets, **held(client), "hash": service.baseline.password_hash}
    written = [name for name, value in known.items() if value in service.output]
    harm(written, f"the log contains secrets: {', '.join(written)}")
    assert PASSWORD not in service.output
    assert "canary" not in service.output


# --- one line of JSON, to one place ----------------------------------------------------------------------------

FORGED = 'order 7\r\n{"event": "login.success", "user_id": "1"}\n\x1b[2J\x9b31m\u2028{"event": "login.success"}\u2029'
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@protects(
    "log-json-one-line",
    format=edit(
        "log/__init__.py", "Formatter(formatter(readable=readable))", 'Formatter(logging.Formatter("%(message)s"))'
    ),
    terminal=edit("log/__init__.py", "processors.JSONRenderer()", "processors.JSONRenderer(ensure_ascii=False)"),
)
def test_nothing_that_was_sent_forges_an_entry_or_commands_a_terminal(service: Service) -> None:
    say = logger(service, "probe")
    say.warning("three apples")
    works("three apples" in service.output, "a log entry is written")
    say.warning(FORGED, note=FORGED)
    logging.getLogger("team").warning(FORGED)
    harm([event for event in service.log if event["event"] == "login.success"], "a client forged a login event")
    harm([line for line in service.recorder.lines if CONTROL.search(line)], "a log line contains control characters")
    assert [event["event"] for event in service.log] == ["three apples", FORGED, FORGED]  # whole, once it is parsed


@protects(
    "log-destination-fixed",
    handler=edit(
        "start/guards.py", "in sorted({name for name, _handler in log.outlets() - before.outlets}):", "in ():"
    ),
)
def test_no_handler_of_the_teams_gets_the_entries_before_secrets_are_taken_out(
    service: Service, tmp_path: Path
) -> None:
    added: list[logging.Handler] = [logging.NullHandler()]

    def add(_app: Flask) -> None:
        for one in added:
            logging.getLogger("a.library").addHandler(one)

    service.adds(add)
    works(service.start().app is not None, "the service starts with a library that uses a NullHandler")
    added[:] = [logging.FileHandler(tmp_path / "app.log")]
    tried = service.start()
    logging.getLogger("a.library").removeHandler(added[0])
    added[0].close()
    harm(tried.app is not None, "the service started with a handler that receives unredacted entries")
    told = "logging: the logger 'a.library' got a handler of its own, to which entries go with the secrets in them"
    assert [reason.partition(". ")[0] for reason in tried.reasons] == [told]


def fail_with_the_request() -> NoReturn:
    """A view that fails and tells everything it knows, as a team's own exception does it sooner or later."""
    from flask import request

    raise ValueError(f"could not work with {request.headers}")


# --- helpers ---------------------------------------------------------------------------------------------------


def logger(service: Service, name: str) -> Any:
    """A logger of the service, which has started and whose log so far is forgotten."""
    service.app  # noqa: B018
    service.recorder.lines.clear()
    service.recorder.events.clear()
    return service.module("log").get_logger(name)


def held(client: BaseClient) -> dict[str, str]:
    """Everything with which this client could be impersonated."""
    secret = dict(client.cookies)
    content: dict[str, Any] = getattr(client, "content", dict)()
    secret |= {name: value for name, value in content.items() if isinstance(value, str)}
    for name in ("cookie", "refresh_token"):
        if value := getattr(client, name, None):
            secret[name] = value
    assert secret
    return secret


def sign_in(client: BaseClient) -> int:
    """The status of a sign-in with this client's user, through the front door of the style."""
    assert client.user is not None
    path = "/login" if hasattr(client, "csrf_token") else "/auth/login"
    return client.post(path, {"identifier": client.user.email, "password": client.user.password}).status
