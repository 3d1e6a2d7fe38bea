"""Proofs of jwt/bearer.py: a token opens nothing by itself, and nothing at all outside its one header.

Where a login has ended, or never was the user's, the tokens are unexpired and correctly signed: only the row refuses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..harness import Edit, edit, harm, protects, refused, works
from ..wire import Response
from .forging import Key, claims_of, forged, ring_of, text

if TYPE_CHECKING:
    from ..jwt_client import Client
    from ..running import Service, User


ROW, HEADER_ONLY, MALFORMED = "jwt-sid-checked", "jwt-header-only", "jwt-malformed-is-401"
TOKENS = "jwt/tokens.py"
ROWS = "identity/sessions.py"
BY_ID = '_BY_ID: Final = _LIVE.where(_s.id == bindparam("session_id"), _s.user_id == bindparam("owner_id"))'
NO_ROW = edit(
    ROWS,
    BY_ID,
    "_BY_ID: Final = select(\n"
    '    _u.id, _u.created_at, _u.created_at.label("seen_at"), _u.created_at.label("verified_at"),\n'
    '    _u.id.label("user_id"), _u.email, _u.roles, _u.must_enrol, _u.email.label("methods"),\n'
    ').where(_u.id == bindparam("owner_id"), _u.active)',
)
REVOKED = edit(
    ROWS,
    '        _s.revoked_at.is_(None),\n        _s.seen_at > bindparam("alive_since"),\n',
    '        _s.seen_at > bindparam("alive_since"),\n',
)


class Logins:
    """A view that tells by whom it was called, and logins of two users that reach it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        [self.key] = ring_of(service, [service.module("jwt.keys").generate()])
        self.seen = service.adds_route("/probe", view=lambda: service.module().current_user.email)
        self.user: User = service.user()
        self.other = self.of(service.user())

    def of(self, user: User, agent: str = "") -> Client:
        """A new login, whose token reaches the view."""
        client = self.service.client(user)
        client.agent = agent
        client.login()
        works(client.get("/probe").text == user.email, "a new login reaches the view")
        self.seen.clear()
        return client

    def sign(self, client: Client, **claims: Any) -> Client:
        """The same client with a token by the service's own key, of which only these claims are changed."""
        changed = client.copy()
        changed.token = self.key.token({**claims_of(client.token), **claims})
        return changed

    def dead(self, client: Client, what: str) -> None:
        """The token of this client opens nothing, though it is correctly signed and has not ended."""
        assert self.service.now().timestamp() < claims_of(client.token)["exp"]
        for path in ("/probe", "/auth/me", "/auth/sessions"):
            answer = client.get(path)
            harm(self.seen, f"the view ran for {what}")
            refused(answer, 401, ROW)
            assert answer.header("WWW-Authenticate") == 'Bearer error="invalid_token"'

    def alive(self, client: Client) -> None:
        """The token of this client still reaches the view."""
        assert client.get("/probe").status == 200
        self.seen.clear()


def logs_out(_service: Service, client: Client, _second: Client) -> int:
    return client.post("/auth/logout").status


def ends_it_from_another(_service: Service, client: Client, second: Client) -> int:
    return second.delete(f"/auth/sessions/{claims_of(client.token)['sid']}").status


def ends_all_others(_service: Service, _client: Client, second: Client) -> int:
    return second.delete("/auth/sessions").status


def used_a_refresh_token_twice(service: Service, client: Client, _second: Client) -> int:
    body = {"refresh_token": client.refresh_token}
    first, again = (service.client().post("/auth/refresh", body).status for _ in range(2))
    assert (first, again) == (200, 401)
    return 204


def is_revoked_by_another_process(service: Service, client: Client, _second: Client) -> int:
    service.rows("UPDATE auth_session SET revoked_at = created_at WHERE agent = :agent", agent=client.agent)
    return 204


ENDS: dict[str, Callable[[Service, Client, Client], int]] = {
    "was logged out": logs_out,
    "was ended from another": ends_it_from_another,
    "was ended with all others": ends_all_others,
    "used a refresh token twice": used_a_refresh_token_twice,
    "was revoked by another process": is_revoked_by_another_process,
}


@protects(ROW, row=NO_ROW, revoked=REVOKED)
def test_the_token_of_a_login_that_has_ended_opens_nothing(service: Service) -> None:
    logins = Logins(service)
    for what, end in ENDS.items():
        client, second = logins.of(logins.user, what), logins.of(logins.user)
        thief = client.copy()  # has what the client has, and is told of nothing
        logins.alive(thief)
        assert end(service, client, second) == 204
        logins.dead(thief, f"a login that {what}")
        logins.alive(second)
        logins.alive(logins.other)


# --- where the token may stand ------------------------------------------------------------------------------------

FILE = "jwt/bearer.py"
HEADER = '    header = request.headers.get("Authorization")\n'


def also_from(place: str) -> Edit:
    """The token may stand in another place of the request, too."""
    return edit(FILE, HEADER, f"{HEADER}    if header is None and (other := {place}):\n        return str(other)\n")


class Places:
    """A view of both kinds of method, and a client whose token reaches it by the header."""

    def __init__(self, service: Service) -> None:
        self.seen = service.adds_route("/probe", methods=("GET", "POST"))
        self.client = service.client(service.user()).login()
        for scheme in ("Bearer", "bearer", "BEARER"):
            answer = self.client.get("/probe", headers={"Authorization": f"{scheme} {self.client.token}"})
            works(answer.status == 200, f"by the scheme {scheme} it reaches the view")
        works(self.client.post("/probe").status == 200, "also with a body")
        self.seen.clear()
        self.stranger = service.client()

    def ignored(self, answer: Response, where: str) -> None:
        """The token was not looked at: the request is anybody's, and is told how to sign in."""
        harm(self.seen, f"the view ran for a token in {where}")
        refused(answer, 401, "deny-by-default")
        assert answer.header("WWW-Authenticate") == "Bearer"


@protects(HEADER_ONLY, query=also_from('(request.args.get("access_token") or request.args.get("jwt"))'))
def test_a_token_in_an_address_signs_nobody_in(service: Service) -> None:
    """An address is kept in logs and histories, and sent on as Referer (RFC 6750, 5.3)."""
    places = Places(service)
    for name in ("access_token", "jwt", "token", "Authorization", "bearer", "auth"):
        for value in (places.client.token, f"Bearer {places.client.token}"):
            places.ignored(places.stranger.get("/probe", query={name: value}), f"the parameter {name}")
    assert places.client.get("/probe").status == 200


# --- what is no token ---------------------------------------------------------------------------------------------


def part(content: bytes | object) -> str:
    """One part of a token that holds these bytes, or the JSON of this."""
    return text(content if isinstance(content, bytes) else json.dumps(content).encode())


def malformed(good: str) -> Iterator[str]:
    """What somebody could put in the place of a token: none of it has the form of one."""
    header, payload, signature = good.split(".")
    yield from ("", ".", "..", "...", "a.b.c", "null", "undefined", "Bearer", " ", f" {good}", f"{header}.{payload}")
    yield from ("\xe9", "\xf0\x9f\x98\x80", "\xff\xfe.\x80.\xc3", f"{header}.\xc3\xa9.{signature}", "a.b.c\x7f", "%00")
    yield from (f"Bearer {good}", f"{good} {good}", f'"{good}"', f"{good};", f"<{good}>")
    yield from ("x" * 4096, "x" * 4097, "x" * 1_000_000, f"{good}{'x' * 4096}", "." * 4096, f"{header}.{'x' * 9_000}.x")
    heads: tuple[Any, ...] = (
        *([], [1], "text", 1, None, True, {}, {"alg": None}, {"typ": "at+jwt"}, [["alg", "EdDSA"]], {"": ""}),
        *(b"[" * 900, b'{"a":' * 900, b'{"typ":"at+jwt","typ":"x"}', b"\xff", b"{", b"", b'{"alg":NaN}'),
    )
    for head in heads:
        yield f"{part(head)}.{payload}.{signature}"
    bodies: tuple[Any, ...] = ([], 1, "text", None, {}, b"[" * 900, b"\xff", b'{"exp":NaN}', b'{"exp":1e999}', b"{}x")
    for body in bodies:
        yield f"{header}.{part(body)}.{signature}"


def odd_times(key: Key, claims: dict[str, Any]) -> Iterator[str]:
    """Well signed, but for what a clock can't be compared with."""
    for name in ("exp", "nbf", "iat"):
        for value in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 30, "9" * 400, '"9"', "[[]]", "1e2", "{}"):
            body = json.dumps({**claims, name: 0}).replace(f'"{name}": 0', f'"{name}": {value}').encode()
            yield forged(key.header, body, key.sign)
    for name in ("sub", "sid"):
        for value in ("x", "0", " ", "{}", "\u0661", "urn:uuid:", "1" * 33, "../../x", "' OR 1=1"):
            yield key.token({**claims, name: value})


def told(answer: Response) -> tuple[int, str | None, dict[str, Any]]:
    """What a client learns from an answer, but for the name of his request."""
    return answer.status, answer.header("WWW-Authenticate"), {**answer.json, "instance": "x"}


@protects(
    MALFORMED,
    catch=edit(TOKENS, "    except Exception as error:", "    except jwt.PyJWTError as error:"),
    reason=edit(
        FILE,
        "    refuse(401, fault, headers=INVALID_TOKEN)",
        '    refuse(401, fault, headers=INVALID_TOKEN, errors=[{"detail": fault}])',
    ),
)
def test_whatever_is_no_token_is_answered_in_one_way(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    stranger = service.client()
    known = told(stranger.get("/probe", headers={"Authorization": "Bearer no.known.token"}))
    works(known[:2] == (401, 'Bearer error="invalid_token"'), "a client is told that its token is not valid")
    fixed = {"type": "about:blank", "title": "Not signed in", "status": 401, "instance": "x"}
    harm(known[2] != fixed, "a client is told why its token is not valid")
    tokens = [*malformed(str(client.token)), *odd_times(logins.key, claims_of(client.token))]
    assert len(tokens) >= 100
    for number, token in enumerate(tokens):
        stranger = service.client(address=f"198.51.100.{number % 250}")
        answer = stranger.get("/probe", headers={"Authorization": f"Bearer {token}"})
        shown = f"{token[:60]!r} ({len(token)} characters)"
        harm(logins.seen, f"the view ran for {shown}")
        harm(answer.status >= 500, f"an error of ours for {shown}")
        harm(told(answer) != known, f"another answer for {shown}")
    assert "Traceback" not in service.output
    logins.alive(client)
