"""Edges of the proofs in test_bearer.py: further attacks on the same protections."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ...harness import edit, harm, protects, refused, works
from ...jwt.forging import Key, claims_of, forged, text
from ...jwt.test_bearer import (
    BY_ID,
    FILE,
    HEADER_ONLY,
    MALFORMED,
    NO_ROW,
    REVOKED,
    ROW,
    ROWS,
    TOKENS,
    Logins,
    also_from,
    told,
)
from ...wire import HOST, Response

if TYPE_CHECKING:
    import pytest

    from ...jwt_client import Client
    from ...real_server import RealServer
    from ...running import Service


@protects(ROW, disabled=edit(ROWS, "        USERS.active,\n", ""))
def test_the_token_of_a_user_who_was_disabled_opens_nothing(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    service.rows("UPDATE auth_user SET active = FALSE WHERE email = :email", email=logins.user.email)
    logins.dead(client, "a user who was disabled")
    logins.alive(logins.other)
    service.rows("UPDATE auth_user SET active = TRUE WHERE email = :email", email=logins.user.email)
    logins.alive(client)
    with service.app.app_context():
        for active in (False, True):  # what the command does ends the logins as well: they don't come back
            service.module("identity.users").set_active(logins.user.id, active)
            logins.dead(client, "a user who was disabled by the command")
    logins.alive(logins.of(logins.user))


@protects(
    ROW,
    expired=edit(
        ROWS, '        SESSIONS.expires_at > bindparam("moment"),\n        USERS.active,\n', "        USERS.active,\n"
    ),
)
def test_a_token_does_not_outlive_its_login(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    service.rows(
        "UPDATE auth_session SET expires_at = created_at WHERE user_id IN"
        " (SELECT id FROM auth_user WHERE email = :email)",
        email=logins.user.email,
    )
    logins.dead(client, "a login past its end")
    logins.alive(logins.other)


@protects(ROW, row=NO_ROW)
def test_a_token_whose_login_is_nowhere_opens_nothing(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    logins.alive(logins.sign(client, jti="made by hand"))
    for sid in (str(uuid.uuid4()), str(uuid.UUID(int=0)), claims_of(client.token)["sub"]):
        logins.dead(logins.sign(client, sid=sid), "a login that never was")
    service.rows("DELETE FROM auth_refresh_token")
    service.rows("DELETE FROM auth_session")
    logins.dead(client, "a login whose row is gone")


@protects(ROW, owner=edit(ROWS, BY_ID, '_BY_ID: Final = _LIVE.where(SESSIONS.id == bindparam("session_id"))'))
def test_a_token_names_no_login_but_its_own_users(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    theirs = claims_of(logins.other.token)
    logins.alive(logins.sign(client, sub=theirs["sub"], sid=theirs["sid"]))
    logins.dead(logins.sign(client, sid=theirs["sid"]), "one user by the login of another")
    logins.dead(logins.sign(client, sub=theirs["sub"]), "one user by their own login for another")
    logins.dead(logins.sign(client, sub=str(uuid.uuid4())), "a user who never was")


# --- where the token may stand ------------------------------------------------------------------------------------

COMMA = (
    '    if "," in header:  # servers join two headers of one name by a comma\n'
    "        raise InvalidToken(HEADER_ONLY)\n"
)
SCHEME = '    if scheme.lower() != "bearer":\n'


@protects(HEADER_ONLY, cookie=also_from('request.cookies.get("access_token_cookie")'))
def test_a_token_in_a_cookie_signs_nobody_in(service: Service) -> None:
    """A browser attaches cookies automatically, also to requests that another site causes."""
    places = Places(service)
    for name in ("access_token_cookie", "access_token", "__Host-session", "session", "Authorization", "jwt", "token"):
        cookie = {"Cookie": f"{name}={places.client.token}"}
        for answer in (places.stranger.get("/probe", headers=cookie), places.stranger.post("/probe", headers=cookie)):
            places.ignored(answer, f"the cookie {name}")


@protects(HEADER_ONLY, body=also_from('(request.get_json(silent=True) or {}).get("access_token")'))
def test_a_token_in_a_body_or_another_header_signs_nobody_in(service: Service) -> None:
    places = Places(service)
    for name in ("access_token", "token", "jwt", "Authorization"):
        places.ignored(places.stranger.post("/probe", {name: places.client.token}), f"the field {name} of a body")
    form = f"access_token={places.client.token}".encode()
    posted = places.stranger.post("/probe", body=form, content_type="application/x-www-form-urlencoded")
    harm(places.seen, "the view ran for a token in a form body")
    refused(posted, 415, "api-needs-json-preflight")
    for name in ("X-Access-Token", "X-Authorization", "Proxy-Authorization", "X-Auth-Token", "Authentication"):
        answer = places.stranger.get("/probe", headers={name: f"Bearer {places.client.token}"})
        places.ignored(answer, f"the header {name}")


@protects(HEADER_ONLY, scheme=edit(FILE, SCHEME, "    if False:\n"))
def test_a_token_under_another_scheme_signs_nobody_in(service: Service) -> None:
    places = Places(service)
    for scheme in ("Token", "JWT", "Basic", "DPoP", "Bearer:", "Bearer\t", "Bear", "Bearer=", "xBearer", ""):
        answer = places.stranger.get("/probe", headers={"Authorization": f"{scheme} {places.client.token}"})
        harm(places.seen, f"the view ran for a token under the scheme {scheme!r}")
        refused(answer, 401, HEADER_ONLY)
    bare = places.stranger.get("/probe", headers={"Authorization": places.client.token})
    harm(places.seen, "the view ran for a token without a scheme")
    refused(bare, 401, HEADER_ONLY)


@protects(HEADER_ONLY, two=edit(FILE, COMMA, '    token = token.partition(",")[0].strip()\n'))
def test_two_authorization_headers_sign_nobody_in(service: Service) -> None:
    """The proxy in front may have checked the other header."""
    places = Places(service)
    token = places.client.token
    for joined in (
        *(f"Bearer {token},Bearer {token}", f"Bearer {token}, Bearer x", f"Bearer {token},Basic eDp4"),
        *(f"Bearer {token},", f"Bearer x,Bearer {token}", f",Bearer {token}", f"Basic eDp4, Bearer {token}"),
    ):
        answer = places.stranger.get("/probe", headers={"Authorization": joined})
        harm(places.seen, "the view ran for one of two Authorization headers")
        refused(answer, 401, HEADER_ONLY)
    server = service.real_server()
    one = asks(service, server, f"Authorization: Bearer {token}")
    works(one.startswith(b"HTTP/1.1 200 "), "the real server passes a single Authorization header on")
    for lines in (("Bearer x", f"Bearer {token}"), (f"Bearer {token}", "Bearer x"), (f"Bearer {token}",) * 2):
        found = asks(service, server, *(f"Authorization: {line}" for line in lines))
        harm(b" 200 " in found[:16], "the real server accepted one of two headers")
        assert found.startswith(b"HTTP/1.1 401 ")


def asks(service: Service, server: RealServer, *lines: str) -> bytes:
    """Return the real server's answer to GET /auth/sessions with these header lines."""
    head = ("GET /auth/sessions HTTP/1.1", f"Host: {HOST}", "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.10")
    return service.raw(server, "\r\n".join([*head, *lines, "Connection: close", "", ""]).encode())


# --- malformed tokens ---------------------------------------------------------------------------------------------


@protects(MALFORMED, length=edit(TOKENS, "        if len(token) > LONGEST:\n", "        if False:\n"))
def test_nothing_is_decoded_of_a_token_that_is_longer_than_any(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    tokens = service.module("jwt.tokens")
    real, decoded = tokens.urlsafe_b64decode, []

    def spy(part: str) -> bytes:
        decoded.append(part)
        return bytes(real(part))

    monkeypatch.setattr(tokens, "urlsafe_b64decode", spy)
    claims = claims_of(client.token)
    longest = 4096 - len(logins.key.token({**claims, "x": ""}))
    works(logins.sign(client, x="x" * (longest * 3 // 4 - 3)).get("/probe").status == 200, "a long token is accepted")
    works(len(decoded) >= 3, "the service decoded its parts")
    logins.seen.clear()
    decoded.clear()
    for more in (logins.sign(client, x="x" * longest), logins.sign(client, x="x" * 1_000_000)):
        answer = more.get("/probe")
        harm(decoded, "the service decoded a token above the maximum length")
        refused(answer, 401, MALFORMED)
    logins.alive(client)


@protects(MALFORMED, catch=edit(TOKENS, "    except Exception as error:", "    except jwt.PyJWTError as error:"))
def test_generated_invalid_tokens_all_get_the_same_answer(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    claims = claims_of(client.token)
    good = str(client.token)
    known = told(service.client().get("/probe", headers={"Authorization": "Bearer no.known.token"}))
    works(known[0] == 401, "a client with an invalid token gets error=invalid_token")
    characters = st.characters(codec="latin-1", exclude_characters="\r\n\0")  # what a server passes on
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    name = st.sampled_from([*claims, "typ", "alg", "kid", "crit", "jwk", "x"])
    members = st.dictionaries(name, value, max_size=3)
    spoilt = st.tuples(st.integers(0, len(good) - 1), characters).map(
        lambda where: f"{good[: where[0]]}{where[1]}{good[where[0] + 1 :]}"
    )
    other = [
        st.text(characters, max_size=80),
        st.lists(st.binary(max_size=40).map(text), min_size=1, max_size=5).map(".".join),
        spoilt.filter(lambda token: token != good),
        st.tuples(members, members).map(
            lambda both: forged({**logins.key.header, **both[0]}, {**claims, "exp": 0, **both[1]}, logins.key.sign)
        ),
    ]
    headers = st.text(characters, max_size=60) | st.one_of(other).map(lambda token: f"Bearer {token}")
    found: list[str] = []
    tried: list[int] = []

    @settings(max_examples=100, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(headers)
    def shows(header: str) -> None:
        tried.append(1)
        stranger = service.client(address=f"198.51.100.{len(tried) % 250}")
        answer = stranger.get("/probe", headers={"Authorization": header})
        reasons = [event["reason"] for event in answer.events if event["event"] == "refused"]
        if told(answer) != known or len(reasons) != 1:
            found.append(f"{answer.status} {reasons} for {header!r}")

    shows()
    harm(logins.seen, "the view ran for a token that this service did not sign")
    harm(found, f"an invalid token got a different answer: {found[:3]}")
    assert len(tried) >= 75
    logins.alive(client)


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
def test_the_token_of_an_ended_login_opens_nothing(service: Service) -> None:
    logins = Logins(service)
    for what, end in ENDS.items():
        client, second = logins.of(logins.user, what), logins.of(logins.user)
        thief = client.copy()  # has the client's tokens, but not its answers
        logins.alive(thief)
        assert end(service, client, second) == 204
        logins.dead(thief, f"a login that {what}")
        logins.alive(second)
        logins.alive(logins.other)


class Places:
    """A view for GET and POST, and a client whose token in the Authorization header reaches it."""

    def __init__(self, service: Service) -> None:
        self.seen = service.adds_route("/probe", methods=("GET", "POST"))
        self.client = service.client(service.user()).login()
        for scheme in ("Bearer", "bearer", "BEARER"):
            answer = self.client.get("/probe", headers={"Authorization": f"{scheme} {self.client.token}"})
            works(answer.status == 200, f"the scheme {scheme} reaches the view")
        works(self.client.post("/probe").status == 200, "a POST with the token reaches the view")
        self.seen.clear()
        self.stranger = service.client()

    def ignored(self, answer: Response, where: str) -> None:
        """Check that the token was ignored: the request is unauthenticated, and the 401 asks for a Bearer token."""
        harm(self.seen, f"the view ran for a token in {where}")
        refused(answer, 401, "deny-by-default")
        assert answer.header("WWW-Authenticate") == "Bearer"


@protects(HEADER_ONLY, query=also_from('(request.args.get("access_token") or request.args.get("jwt"))'))
def test_a_token_in_any_parameter_signs_nobody_in(service: Service) -> None:
    """URLs end up in logs, browser histories and Referer headers (RFC 6750, 5.3)."""
    places = Places(service)
    for name in ("access_token", "jwt", "token", "Authorization", "bearer", "auth"):
        for value in (places.client.token, f"Bearer {places.client.token}"):
            places.ignored(places.stranger.get("/probe", query={name: value}), f"the parameter {name}")
    assert places.client.get("/probe").status == 200


def part(content: bytes | object) -> str:
    """Return one part of a token: these bytes, or this object as JSON."""
    return text(content if isinstance(content, bytes) else json.dumps(content).encode())


def malformed(good: str) -> Iterator[str]:
    """Yield texts in the place of a token, none of which is well-formed."""
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
    """Yield correctly signed tokens whose times or ids are not valid values."""
    for name in ("exp", "nbf", "iat"):
        for value in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 30, "9" * 400, '"9"', "[[]]", "1e2", "{}"):
            body = json.dumps({**claims, name: 0}).replace(f'"{name}": 0', f'"{name}": {value}').encode()
            yield forged(key.header, body, key.sign)
    for name in ("sub", "sid"):
        for value in ("x", "0", " ", "{}", "\u0661", "urn:uuid:", "1" * 33, "../../x", "' OR 1=1"):
            yield key.token({**claims, name: value})


@protects(
    MALFORMED,
    catch=edit(TOKENS, "    except Exception as error:", "    except jwt.PyJWTError as error:"),
    reason=edit(
        FILE,
        "    refuse(401, fault, headers=INVALID_TOKEN)",
        '    refuse(401, fault, headers=INVALID_TOKEN, errors=[{"detail": fault}])',
    ),
)
def test_malformed_tokens_all_get_the_same_answer(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    stranger = service.client()
    known = told(stranger.get("/probe", headers={"Authorization": "Bearer no.known.token"}))
    works(known[:2] == (401, 'Bearer error="invalid_token"'), "a client with an invalid token gets error=invalid_token")
    fixed = {"type": "about:blank", "title": "Not signed in", "status": 401, "instance": "x"}
    harm(known[2] != fixed, "the answer reveals why a token is not valid")
    tokens = [*malformed(str(client.token)), *odd_times(logins.key, claims_of(client.token))]
    assert len(tokens) >= 100
    for number, token in enumerate(tokens):
        stranger = service.client(address=f"198.51.100.{number % 250}")
        answer = stranger.get("/probe", headers={"Authorization": f"Bearer {token}"})
        shown = f"{token[:60]!r} ({len(token)} characters)"
        harm(logins.seen, f"the view ran for the malformed token {shown}")
        harm(answer.status >= 500, f"the service failed with a 5xx status for {shown}")
        harm(told(answer) != known, f"{shown} got a different answer than other invalid tokens")
    assert "Traceback" not in service.output
    logins.alive(client)
