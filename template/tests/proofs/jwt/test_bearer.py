"""Proofs of jwt/bearer.py: a token needs a live session row, and is read only from the Authorization header.

Where a login has ended, or never was the user's, the tokens are unexpired and correctly signed: only the row refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..harness import Edit, edit, harm, protects, refused, works
from ..wire import Response
from .forging import claims_of, ring_of, text

if TYPE_CHECKING:
    from ..jwt_client import Client
    from ..running import Service, User


ROW, HEADER_ONLY, MALFORMED = "jwt-sid-checked", "jwt-header-only", "jwt-malformed-is-401"
TOKENS = "jwt/tokens.py"
ROWS = "identity/sessions.py"
BY_ID = '_BY_ID: Final = _LIVE.where(SESSIONS.id == bindparam("session_id"), SESSIONS.user_id == bindparam("owner_id"))'
NO_ROW = edit(
    ROWS,
    BY_ID,
    "_BY_ID: Final = select(\n"
    '    USERS.id, USERS.created_at, USERS.created_at.label("seen_at"), USERS.created_at.label("verified_at"),\n'
    '    USERS.id.label("user_id"), USERS.email, USERS.roles, USERS.must_enrol, USERS.email.label("methods"),\n'
    ').where(USERS.id == bindparam("owner_id"), USERS.active)',
)
REVOKED = edit(
    ROWS,
    '        SESSIONS.revoked_at.is_(None),\n        SESSIONS.seen_at > bindparam("alive_since"),\n',
    '        SESSIONS.seen_at > bindparam("alive_since"),\n',
)


class Logins:
    """A view that tells by whom it was called, and logins of two users that reach it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        [self.key] = ring_of(service, [service.module("jwt.keys").generate()])
        service.at_least(sessions_per_account=2)
        self.seen = service.adds_route("/probe", view=lambda: service.module().current_user.email)
        self.user: User = service.user()
        self.other = self.of(service.user())

    def of(self, user: User, agent: str = "") -> Client:
        """A new login, whose token reaches the view."""
        client = self.service.client(user)
        client.agent = agent
        client.login()
        works(client.get("/probe").text == user.email, "a token of a new login reaches the view")
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


@protects(ROW, row=NO_ROW, revoked=REVOKED)
def test_the_token_of_a_login_that_has_ended_opens_nothing(service: Service) -> None:
    logins = Logins(service)
    client, second = logins.of(logins.user), logins.of(logins.user)
    thief = client.copy()  # has what the client has, and is told of nothing
    assert client.post("/auth/logout").status == 204
    logins.dead(thief, "a login that was logged out")
    logins.alive(second)


# --- where the token may stand ------------------------------------------------------------------------------------

FILE = "jwt/bearer.py"
HEADER = '    header = request.headers.get("Authorization")\n'


def also_from(place: str) -> Edit:
    """The token may stand in another place of the request, too."""
    return edit(FILE, HEADER, f"{HEADER}    if header is None and (other := {place}):\n        return str(other)\n")


@protects(HEADER_ONLY, query=also_from('(request.args.get("access_token") or request.args.get("jwt"))'))
def test_a_token_in_an_address_signs_nobody_in(service: Service) -> None:
    """URLs end up in logs, browser histories and Referer headers (RFC 6750, 5.3)."""
    seen = service.adds_route("/probe")
    client = service.client(service.user()).login()
    works(client.get("/probe").status == 200, "a token in the Authorization header reaches the view")
    seen.clear()
    for name in ("access_token", "jwt"):
        answer = service.client().get("/probe", query={name: str(client.token)})
        harm(seen, f"the view ran for a token in the query parameter {name}")
        refused(answer, 401, "deny-by-default")


# --- what is no token ---------------------------------------------------------------------------------------------


def told(answer: Response) -> tuple[int, str | None, dict[str, Any]]:
    """What a client learns from an answer, but for the name of his request."""
    return answer.status, answer.header("WWW-Authenticate"), {**answer.json, "instance": "x"}


@protects(MALFORMED, catch=edit(TOKENS, "    except Exception as error:", "    except jwt.PyJWTError as error:"))
def test_whatever_is_no_token_is_answered_in_one_way(service: Service) -> None:
    logins = Logins(service)
    client, stranger = logins.of(logins.user), service.client()
    known = told(stranger.get("/probe", headers={"Authorization": "Bearer no.known.token"}))
    works(known[:2] == (401, 'Bearer error="invalid_token"'), "a client with an invalid token gets error=invalid_token")
    header, payload, signature = str(client.token).split(".")
    odd = logins.key.token({**claims_of(client.token), "sub": "x"})
    deep, infinite = text(b"[" * 900), text(b'{"exp":1e999}')
    tokens = (
        "",
        "..",
        "x" * 100_000,
        f"{header}.\xc3\xa9.{signature}",
        f"{header}.{payload}",
        f"{deep}.{payload}.x",
        odd,
    )
    for token in (*tokens, f"{header}.{infinite}.{signature}"):
        answer = stranger.get("/probe", headers={"Authorization": f"Bearer {token}"})
        shown = f"{token[:60]!r} ({len(token)} characters)"
        harm(logins.seen, f"the view ran for the malformed token {shown}")
        harm(answer.status >= 500, f"the service failed with a 5xx status for {shown}")
        harm(told(answer) != known, f"{shown} got a different answer than other invalid tokens")
    logins.alive(client)
