"""Edges of the proofs in test_https_only.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..harness import Edit, edit, harm, protects, refused, works
from ..logins import PATH, SIGNED_IN, cheap_user, sessions_of
from ..test_https_only import LAYER, PAGES, ROW

if TYPE_CHECKING:
    from ..running import Service


HTTPS = "            or self._https.refuse(environ)  # before a credential or body is read\n"
CEILING = "            or self._ceiling.refuse(environ)  # before work is done for the request\n"
TARGET = "            or target.refuse(environ)  # before a route is looked for\n"


@protects(ROW, counted=edit("edge/__init__.py", HTTPS + CEILING, CEILING + HTTPS))
@protects("default-throttle", target=edit("edge/__init__.py", CEILING + TARGET, TARGET + CEILING))
def test_clear_text_is_not_counted_and_odd_targets_are(service: Service) -> None:
    """Otherwise a page of another site uses up a visitor's allowance, or odd addresses are asked for without end."""
    seen, client = service.adds_route("/probe", mark="public"), service.client()
    for _ in range(service.limits.requests_per_minute_and_address - 2):
        service.app.wsgi_app._ceiling.hit(client.address)  # type: ignore[attr-defined]
    works(client.get("/probe").status == 200, "one of the last two requests of the minute is answered")
    for _ in range(2):
        client.get("/probe", scheme="http")
    last = client.get("/probe")
    harm(len(seen) < 2, "requests in clear text used up the allowance of those over https")
    odd = client.get("/probe%2fx")
    harm(odd.status == 400, "addresses with a hidden slash are asked for without a limit")
    refused(odd, 429, "default-throttle")
    assert last.status == 200


# Only a service with pages moves anybody on.
MOVED: dict[str, Edit] = (
    {
        "api": edit(
            "edge/https_only.py",
            'environ["REQUEST_METHOD"] in _READING and not in_clear and not self._is_api(environ)',
            'environ["REQUEST_METHOD"] != "OPTIONS"',
        )
    }
    if PAGES
    else {}
)


def counters(service: Service) -> list[Any]:
    """How many counters there are of attempts and of uses, and how often they were written."""
    attempts = service.rows("SELECT count(*), sum(version) FROM throttle_counter")
    return attempts + service.rows("SELECT count(*), sum(version) FROM throttle_use")


@protects(ROW, layer=LAYER, **MOVED)
def test_nothing_of_any_kind_in_clear_text_is_answered_read_or_counted(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    api = service.adds_route("/api/probe")
    user = cheap_user(service)
    client = service.client(user)
    fields = {"identifier": user.email, "password": user.password}
    works(client.post(PATH, fields).status == SIGNED_IN, "signing in over https works")
    client.login()
    for path in ("/probe", "/api/probe"):
        works(client.get(path).status == 200, f"{path} is answered over https")
    seen.clear()
    api.clear()
    sessions, counted = sessions_of(service, user), counters(service)

    bearer = {"Authorization": "Bearer canary"}
    answers = {
        "login": client.post(PATH, fields, scheme="http"),
        "post": client.post("/probe", scheme="http"),
        "api": client.get("/api/probe", scheme="http"),
        "bearer": client.get("/probe", headers=bearer, scheme="http"),
        "put": client.put("/probe", scheme="http"),
        "options": client.send("OPTIONS", "/probe", scheme="http"),
    }
    harm(seen + api, "a view ran in clear text")
    harm(sessions_of(service, user) != sessions, "a password that was sent in clear text signed in")
    moved = {name: one.location for name, one in answers.items() if one.location}
    harm(moved, "a program is moved on, and sends its token in clear text each time")
    for answer in answers.values():
        refused(answer, 403, ROW)
        assert answer.set_cookies == []
    [told] = [event for event in answers["bearer"].events if event["event"] == "refused"]
    assert (told["identified_in_clear"], told["count"]) == (True, 4)
    assert "canary" not in service.output
    assert counters(service) == counted
    read = client.get("/probe", headers={"Authorization": None}, scheme="http")
    refused(read, 308 if PAGES else 403, ROW)
    assert (seen, client.get("/healthz", scheme="http").status) == ([], 200)
