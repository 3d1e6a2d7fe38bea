"""Host header and HTTPS: a request for a foreign host, or in clear text, is refused before any code trusts it.

Flask has a check of its own, which comes later: the spies are what tells the two apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import edit, harm, protects, refused, works
from .logins import PATH, SIGNED_IN, cheap_user, sessions_of
from .service import AUTH
from .wire import HOST

if TYPE_CHECKING:
    from flask import Flask

    from .running import Service


ROW = "host-header-trusted"
TABLES = ("auth_user", "auth_session", "throttle_counter", "audit_event")
LAYER = edit(
    "edge/__init__.py",
    "            self._hosts.refuse(environ)  # before anything could believe the name\n            or ",
    "            ",
)


def adds_spy(service: Service) -> list[str]:
    """A function that runs before every view: the list to which it appends the Host that it saw."""
    seen: list[str] = []

    def add(app: Flask) -> None:
        @app.before_request
        def look() -> None:
            from flask import request

            seen.append(request.headers.get("Host", "none"))

    service.adds(add)
    return seen


def rows(service: Service) -> dict[str, int]:
    """How many rows each table has that a request could write to."""
    return {table: service.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}  # noqa: S608


@protects("host-header-trusted", layer=LAYER)
def test_no_row_is_written_for_a_request_for_another_host(service: Service) -> None:
    seen = adds_spy(service)
    user = service.user()
    client = service.client(user)
    fields = {"identifier": user.email, "password": "wrong" * 4}
    path = "/login" if AUTH == "session" else "/auth/login"
    works(client.post(path, fields).status == 401, "a wrong password is refused")
    works(rows(service)["throttle_counter"] == 1, "the failed login is counted")
    seen.clear()
    before = rows(service)

    answers = [client.post(path, fields, headers={"Host": "evil.example"}) for _ in range(3)]
    harm(rows(service) != before, "a request for a foreign host wrote a row")
    harm([host for host in seen if host != HOST], "application code ran for a foreign host")
    for number, answer in enumerate(answers, 1):
        refused(answer, 400, ROW)
        assert [event["count"] for event in answer.events if event["event"] == "refused"] == [number]  # one line each


# --- https alone -----------------------------------------------------------------------------------------------------


HTTPS_ROW = "https-only"
PAGES = AUTH == "session"
HTTPS_LAYER = edit(
    "edge/__init__.py", "            or self._https.refuse(environ)  # before a credential or body is read\n", ""
)


@protects(HTTPS_ROW, layer=HTTPS_LAYER)
def test_nothing_in_clear_text_is_answered_or_signs_in(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"), mark="public")
    user = cheap_user(service)
    client = service.client(user)
    fields = {"identifier": user.email, "password": user.password}
    works(client.post(PATH, fields).status == SIGNED_IN, "a user signs in over https")
    works(client.get("/probe").status == 200, "a view answers over https")
    seen.clear()
    sessions = sessions_of(service, user)
    answers = [client.post(PATH, fields, scheme="http"), client.post("/probe", scheme="http")]
    answers.append(client.get("/probe", headers={"Authorization": "Bearer canary"}, scheme="http"))
    harm(seen, "a view ran for a clear-text request")
    harm(sessions_of(service, user) != sessions, "a password sent in clear text opened a session")
    for answer in answers:
        refused(answer, 403, HTTPS_ROW)
    read = client.get("/probe", headers={"Authorization": None}, scheme="http")
    refused(read, 308 if AUTH == "session" else 403, HTTPS_ROW)  # only a service with pages moves anybody on
    assert seen == []
