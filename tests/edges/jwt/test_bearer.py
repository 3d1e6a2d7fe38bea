"""Edges of the proofs in test_bearer.py: further attacks on the same protections."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ...harness import edit, harm, protects, refused, works
from ...jwt.forging import claims_of, forged, text
from ...jwt.test_bearer import (
    BY_ID,
    FILE,
    HEADER_ONLY,
    MALFORMED,
    NO_ROW,
    ROW,
    ROWS,
    TOKENS,
    Logins,
    Places,
    also_from,
    told,
)
from ...wire import HOST

if TYPE_CHECKING:
    import pytest

    from ...real_server import RealServer
    from ...running import Service


@protects(ROW, disabled=edit(ROWS, "        _u.active,\n", ""))
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
    expired=edit(ROWS, '        _s.expires_at > bindparam("moment"),\n        _u.active,\n', "        _u.active,\n"),
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


@protects(ROW, owner=edit(ROWS, BY_ID, '_BY_ID: Final = _LIVE.where(_s.id == bindparam("session_id"))'))
def test_a_token_names_no_login_but_its_own_users(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    theirs = claims_of(logins.other.token)
    logins.alive(logins.sign(client, sub=theirs["sub"], sid=theirs["sid"]))
    logins.dead(logins.sign(client, sid=theirs["sid"]), "one user by the login of another")
    logins.dead(logins.sign(client, sub=theirs["sub"]), "one user by his own login for another")
    logins.dead(logins.sign(client, sub=str(uuid.uuid4())), "a user who never was")


# --- where the token may stand ------------------------------------------------------------------------------------

COMMA = (
    '    if "," in header:  # servers join two headers of one name by a comma\n'
    "        raise InvalidToken(HEADER_ONLY)\n"
)
SCHEME = '    if scheme.lower() != "bearer":\n'


@protects(HEADER_ONLY, cookie=also_from('request.cookies.get("access_token_cookie")'))
def test_a_token_in_a_cookie_signs_nobody_in(service: Service) -> None:
    """A browser attaches a cookie by itself, whoever makes it send the request."""
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
    harm(places.seen, "the view ran for a token in a form")
    refused(posted, 415, "api-needs-json-preflight")
    for name in ("X-Access-Token", "X-Authorization", "Proxy-Authorization", "X-Auth-Token", "Authentication"):
        answer = places.stranger.get("/probe", headers={name: f"Bearer {places.client.token}"})
        places.ignored(answer, f"the header {name}")


@protects(HEADER_ONLY, scheme=edit(FILE, SCHEME, "    if False:\n"))
def test_a_token_under_another_scheme_signs_nobody_in(service: Service) -> None:
    places = Places(service)
    for scheme in ("Token", "JWT", "Basic", "DPoP", "Bearer:", "Bearer\t", "Bear", "Bearer=", "xBearer", ""):
        answer = places.stranger.get("/probe", headers={"Authorization": f"{scheme} {places.client.token}"})
        harm(places.seen, f"the view ran for the scheme {scheme!r}")
        refused(answer, 401, HEADER_ONLY)
    bare = places.stranger.get("/probe", headers={"Authorization": places.client.token})
    harm(places.seen, "the view ran for a token without a scheme")
    refused(bare, 401, HEADER_ONLY)


@protects(HEADER_ONLY, two=edit(FILE, COMMA, '    token = token.partition(",")[0].strip()\n'))
def test_two_authorization_headers_sign_nobody_in(service: Service) -> None:
    """The proxy in front could have looked at the other one."""
    places = Places(service)
    token = places.client.token
    for joined in (
        *(f"Bearer {token},Bearer {token}", f"Bearer {token}, Bearer x", f"Bearer {token},Basic eDp4"),
        *(f"Bearer {token},", f"Bearer x,Bearer {token}", f",Bearer {token}", f"Basic eDp4, Bearer {token}"),
    ):
        answer = places.stranger.get("/probe", headers={"Authorization": joined})
        harm(places.seen, "the view ran for one of two headers")
        refused(answer, 401, HEADER_ONLY)
    server = service.real_server()
    one = asks(service, server, f"Authorization: Bearer {token}")
    works(one.startswith(b"HTTP/1.1 200 "), "the real server passes one header on")
    for lines in (("Bearer x", f"Bearer {token}"), (f"Bearer {token}", "Bearer x"), (f"Bearer {token}",) * 2):
        found = asks(service, server, *(f"Authorization: {line}" for line in lines))
        harm(b" 200 " in found[:16], "the real server's application took one of two headers")
        assert found.startswith(b"HTTP/1.1 401 ")


def asks(service: Service, server: RealServer, *lines: str) -> bytes:
    """What the real server answers to whoever asks for his own sessions, with these header lines."""
    head = ("GET /auth/sessions HTTP/1.1", f"Host: {HOST}", "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.10")
    return service.raw(server, "\r\n".join([*head, *lines, "Connection: close", "", ""]).encode())


# --- what is no token ---------------------------------------------------------------------------------------------


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
    works(logins.sign(client, x="x" * (longest * 3 // 4 - 3)).get("/probe").status == 200, "a long one is good")
    works(len(decoded) >= 3, "and was decoded part by part")
    logins.seen.clear()
    decoded.clear()
    for more in (logins.sign(client, x="x" * longest), logins.sign(client, x="x" * 1_000_000)):
        answer = more.get("/probe")
        harm(decoded, "a token of any length is decoded")
        refused(answer, 401, MALFORMED)
    logins.alive(client)


@protects(MALFORMED, catch=edit(TOKENS, "    except Exception as error:", "    except jwt.PyJWTError as error:"))
def test_no_text_that_anybody_can_think_of_is_answered_in_another_way(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    claims = claims_of(client.token)
    good = str(client.token)
    known = told(service.client().get("/probe", headers={"Authorization": "Bearer no.known.token"}))
    works(known[0] == 401, "a client is told that its token is not valid")
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
    harm(logins.seen, "the view ran for a token that this service did not make")
    harm(found, f"another answer: {found[:3]}")
    assert len(tried) >= 75
    logins.alive(client)
