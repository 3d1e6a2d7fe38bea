"""Edges of the proofs in test_refresh.py: further attacks on the same protections."""

from __future__ import annotations

import threading
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ...harness import at_once, edit, harm, protects, refused, works
from ...jwt.forging import claims_of
from ...jwt.test_refresh import FILE, LIVES, ONCE, ONE_USE, REUSE, Theft, exchange, live_logins, tokens_of
from ..test_throttle import fill

if TYPE_CHECKING:
    import pytest

    from ...jwt_client import Client
    from ...running import Service
    from ...wire import Response


LOOKED_AT_FIRST = (
    ONCE,
    edit(
        FILE,
        "    with transaction() as connection:\n        spent = connection.execute(_SPEND, values).rowcount == 1",
        "    with connect() as connection:\n"
        '        used = select(TOKENS.used_at).where(TOKENS.token_hash == values["spent"])\n'
        "        unused = connection.execute(used).scalar() is None\n"
        "    with transaction() as connection:\n"
        "        spent = unused and connection.execute(_SPEND, values).rowcount == 1",
    ),
)
ROUNDS, RACERS = 4, 10  # of races in which all meet each time
# --- used once -------------------------------------------------------------------------------------------------


def test_an_exchange_with_its_access_token_passes_the_ceiling(service: Service) -> None:
    client = service.client(service.user()).login()
    fill(service, client.address)
    refused(exchange(service, client.refresh_token, client.address), 429, "default-throttle")
    assert client.post("/auth/refresh", {"refresh_token": client.refresh_token}).status == 200


@protects(
    "default-throttle",
    exchange=edit(FILE, "            throttle.count_session(family.session_id)", "            pass"),
)
def test_refreshes_count_towards_the_rate_limit(service: Service) -> None:
    """Each exchange creates a row and needs no access token, so it has its own rate limit."""
    client = service.client(service.user()).login()
    assert client.user is not None
    token, most = client.refresh_token, service.limits.requests_per_minute_and_session
    for number in range(most):
        answer = exchange(service, token, f"192.0.2.{number % 4}")
        works(answer.status == 200, "exchanges up to the limit succeed")
        token = answer.json["refresh_token"]
    before = tokens_of(service, client.user)
    answer = exchange(service, token, "203.0.113.77")
    harm(tokens_of(service, client.user) != before, "an exchange above the limit succeeded")
    refused(answer, 429, "default-throttle")
    assert 1 <= int(answer.header("Retry-After") or 0) <= 60
    other = service.client(service.user()).login()
    assert exchange(service, other.refresh_token).status == 200
    service.travel(seconds=61)
    assert exchange(service, token).status == 200


class Gate:
    """Hold each exchange between its read and its write, until all have read."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self._barrier = threading.Barrier(1)
        self._passed: set[int] = set()
        refresh = service.module("jwt.refresh")
        self._real = refresh.transaction
        monkeypatch.setattr(refresh, "transaction", self._transaction)
        single = exchange(service, service.client(service.user()).login().refresh_token)
        works(single.status == 200, "a single exchange succeeds")
        works(self._passed == {threading.get_ident()}, "it passed this barrier")

    def _transaction(self) -> Any:
        if (thread := threading.get_ident()) not in self._passed:
            self._passed.add(thread)  # the second time it is about to end the login
            self._barrier.wait(timeout=30)
        return self._real()

    def race(self, calls: list[Callable[[], Response]]) -> list[Response]:
        """Return the answers to these calls, all of which wrote at the same moment."""
        self._barrier, self._passed = threading.Barrier(len(calls)), set()
        answers = at_once(calls)
        assert len(self._passed) == len(calls)
        self._barrier = threading.Barrier(1)
        return answers


def race(service: Service, gate: Gate, number: int) -> tuple[Client, list[Response]]:
    """One login, and ten clients that exchange its refresh token at the same moment."""
    address = f"198.51.100.{number + 1}"
    client = service.client(service.user(), address).login()
    calls = [lambda: exchange(service, client.refresh_token, address) for _ in range(RACERS)]
    return client, gate.race(calls)


@protects(ONE_USE, race=LOOKED_AT_FIRST)
def test_one_of_ten_parallel_refreshes_wins_and_the_login_ends(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(service, monkeypatch)
    for number in range(ROUNDS):
        client, answers = race(service, gate, number)
        assert client.user is not None
        harm([answer for answer in answers if answer.ok][1:], "two of ten parallel exchanges returned a pair")
        assert Counter(answer.status for answer in answers) == {200: 1, 401: RACERS - 1}
        for answer in answers:
            if answer.status == 401:
                refused(answer, 401, REUSE)
        assert tokens_of(service, client.user) == (2, 0)
        assert live_logins(service, client.user) == 0
    assert len(reuse_events(service)) == ROUNDS


@protects(ONE_USE, race=LOOKED_AT_FIRST)
def test_one_of_ten_parallel_refreshes_wins_in_the_grace_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.setting("BASTION_REFRESH_RACE_SECONDS", "10")
    gate = Gate(service, monkeypatch)
    for number in range(ROUNDS):
        client, answers = race(service, gate, number)
        assert client.user is not None
        winners = [answer for answer in answers if answer.ok]
        harm(winners[1:], "two of ten parallel exchanges returned a pair")
        assert Counter(answer.status for answer in answers) == {200: 1, 401: RACERS - 1}
        for answer in answers:
            if answer.status == 401:
                refused(answer, 401, ONE_USE)
        assert tokens_of(service, client.user) == (2, 1)  # the winner's is the only new one
        assert live_logins(service, client.user) == 1  # and the login lives on
        assert exchange(service, winners[0].json["refresh_token"], client.address).status == 200
    assert reuse_events(service) == []


@protects(
    ONE_USE,
    hash=edit(
        FILE,
        "from ..identity.sessions import TOKEN_BYTES, Opened, digest\n",
        # as much of it as MySQL's column holds
        "from ..identity.sessions import TOKEN_BYTES, Opened\n\n\n"
        "def digest(token: str) -> bytes:\n    return token.encode()[:32]\n",
    ),
)
def test_a_stored_refresh_token_hash_is_refused_as_a_token(service: Service) -> None:
    from sqlalchemy import select

    client = service.client(service.user()).login()
    renewed = exchange(service, client.refresh_token)
    works(renewed.status == 200, "the token itself is exchanged")
    works(len(renewed.json["refresh_token"]) == 43, "the token has 256 bits")
    column = service.module("identity.models").RefreshToken.__table__.c
    with service.engine.connect() as connection:  # a stolen copy of the database
        [stolen] = connection.scalars(select(column.token_hash).where(column.used_at.is_(None)))
    as_it_is = stolen.decode("latin-1")
    answer = exchange(service, as_it_is)
    harm(answer.ok, "the service accepted a stored value as the refresh token")
    assert answer.status == (400 if "\0" in as_it_is else 401)
    for written in (stolen.hex(), urlsafe_b64encode(stolen).decode(), urlsafe_b64encode(stolen).decode().rstrip("=")):
        answer = exchange(service, written)
        harm(answer.ok, "the service accepted another spelling of a stored value")
        refused(answer, 401, ONE_USE)
    assert len(stolen) == 32
    assert exchange(service, renewed.json["refresh_token"]).status == 200


QUERY = (
    edit("jwt/api.py", "        elif request.query_string:", "        elif False:"),
    edit(
        "jwt/endpoints.py",
        "refresh.exchange(body.refresh_token.get_secret_value())",
        'refresh.exchange(request.args.get("refresh_token") or body.refresh_token.get_secret_value())',
    ),
)


@protects(ONE_USE, query=QUERY)
def test_a_refresh_token_is_read_only_from_the_body(service: Service) -> None:
    """URLs end up in logs and histories; an attacker can make a browser attach a cookie."""
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    client = service.client(service.user()).login()
    works(exchange(service, client.refresh_token).status == 200, "the token in the body is exchanged")
    works(client.get("/probe").status == 200, "the view runs for the access token")
    seen.clear()
    client.login()
    token, anonymous = client.refresh_token, service.client()
    for body in ({"refresh_token": "x"}, {"refresh_token": "x" * 43}, {}):
        answer = anonymous.post("/auth/refresh", body, query={"refresh_token": token})
        harm(answer.ok, "a refresh token was read from the URL")
        refused(answer, 400, "input-validated-typed")
    for headers in (
        {"Authorization": f"Bearer {token}"},
        {"Cookie": f"refresh_token={token}; __Host-refresh_token={token}"},
        {"X-Refresh-Token": token},
    ):
        answer = anonymous.post("/auth/refresh", {"refresh_token": "x" * 43}, headers=headers)
        harm(answer.ok, f"a refresh token was read from {[*headers]}")
        refused(answer, 401, ONE_USE)
    for path in ("/probe", "/auth/me", "/auth/sessions"):
        answer = anonymous.get(path, headers={"Authorization": f"Bearer {token}"})
        harm(seen, "the view ran for a refresh token")
        refused(answer, 401, "jwt-malformed-is-401")
    logout = anonymous.post("/auth/logout", headers={"Authorization": f"Bearer {token}"})
    refused(logout, 401, "jwt-malformed-is-401")
    for other in (client.token, "", f" {token}", f"{token} ", f"{token}=", str(token).swapcase()):
        answer = exchange(service, other)
        harm(answer.ok, "another text was accepted as the refresh token")
        assert answer.status == (422 if other == "" else 401)
    assert exchange(service, token).status == 200  # none of this has used it


# --- used twice ------------------------------------------------------------------------------------------------


@protects(
    REUSE,
    family=edit(FILE, "    if race and now() - family.used_at < timedelta(seconds=race):", "    if race:"),
)
def test_a_bad_line_is_forgiven_for_seconds_only(service: Service) -> None:
    service.setting("BASTION_REFRESH_RACE_SECONDS", "10")
    theft = Theft(service)
    refused(theft.use(), 401, ONE_USE)
    assert live_logins(service, theft.user) == 2
    theft.renew(theft.owner)
    theft.seen.clear()
    service.travel(seconds=11)
    thief = theft.use()
    harm(thief.ok, "the thief exchanged the copied refresh token for a pair")
    theft.ended(ONE_USE)  # its revocation, too, has just happened
    refused(thief, 401, REUSE)
    assert len(reuse_events(service)) == 1
    theft.renew(theft.second)


def queued(service: Service) -> list[tuple[str, str]]:
    """Return the queued mails with their recipients."""
    return [(purpose, email) for purpose, email in service.rows("SELECT purpose, email FROM mail_outbox")]


NOTICE = "        mail.enqueue(connection, mail.TOKEN_REUSED, email)\n"


@protects(REUSE, notice=edit(FILE, NOTICE, ""))
def test_the_owner_of_a_copied_refresh_token_is_told_once(service: Service) -> None:
    theft = Theft(service)
    works(queued(service) == [], "an honest exchange sends no mail")
    thief = theft.use()
    harm(queued(service) != [("token-reused", theft.user.email)], "the owner got no mail about the reuse")
    refused(thief, 401, REUSE)
    for _ in range(3):
        refused(theft.use(), 401, REUSE)
    assert len(queued(service)) == 1  # a thief fills no mailbox


@protects("secrets-never-shown", pair=edit(FILE, "    access_token: str = field(repr=False)", "    access_token: str"))
def test_nothing_that_holds_a_token_shows_it(service: Service) -> None:
    """Debug output stays in logs for years."""
    client = service.client(service.user()).login(through_form=True)
    refresh = service.module("jwt.refresh")
    with service.app.app_context():
        pair = refresh.exchange(client.refresh_token)
        texts = f"{pair!r} {pair} {[pair]!r}"
    works(client.account().status == 200, "the tokens open the account")
    harm([one for one in (pair.access_token, pair.refresh_token) if one in texts], "printing a pair shows its tokens")
    assert str(pair.expires_in) in texts


# --- how long -------------------------------------------------------------------------------------------------


@protects(
    LIVES,
    idle=edit(
        FILE,
        'TOKENS.created_at > bindparam("alive_since"),',
        'TOKENS.created_at.is_not(None) | (TOKENS.created_at > bindparam("alive_since")),',
    ),
)
def test_a_refresh_token_that_nobody_used_for_an_hour_is_dead(service: Service) -> None:
    login = Login(service)
    service.travel(minutes=login.idle - 1)
    works(login.renew().status == 200, "the token is exchanged a minute before its idle limit")
    works(login.client.get("/probe").status == 200, "the new access token reaches the view")
    service.travel(minutes=login.idle, seconds=1)
    answer = login.renew()
    harm(answer.ok, "a refresh token past its idle limit was exchanged")
    refused(answer, 401, LIVES)
    refused(login.renew(), 401, LIVES)


@protects(
    LIVES, others=edit(FILE, "update(AuthSession).where(SESSIONS.id == family.session_id)", "update(AuthSession)")
)
def test_an_exchange_is_no_use_of_somebody_elses_login(service: Service) -> None:
    login, other = Login(service), service.user()
    service.client(other).login(through_form=True)
    used = "SELECT seen_at FROM auth_session JOIN auth_user ON auth_user.id = user_id WHERE email = :email"
    assert login.client.user is not None
    email = login.client.user.email
    before, own = service.rows(used, email=other.email), service.rows(used, email=email)
    service.travel(minutes=login.idle - 1)
    works(login.renew().status == 200, "the client exchanges its own token")
    works(service.rows(used, email=email) != own, "the exchange counts as a use of its own login")
    harm(service.rows(used, email=other.email) != before, "an exchange refreshed the idle time of another user's login")
    assert len(before) == 1


@protects(LIVES, access=edit(FILE, "refresh_token, family.expires_at)", "refresh_token, moment + timedelta(days=1))"))
def test_the_last_access_token_of_a_login_does_not_outlive_it(service: Service) -> None:
    """A service that verifies it with the published keys does not see the session row end."""
    login = Login(service)
    login.comes_back_until(3)
    last = claims_of(login.client.token)
    harm(last["exp"] > login.end, "an access token outlives its login")
    assert 150 <= last["exp"] - last["iat"] <= 180
    answer = login.renew()
    assert answer.json["expires_in"] <= 180  # the client gets the same time
    service.travel(minutes=3, seconds=1)
    login.is_over()


@protects(
    LIVES,
    renewed=edit("identity/sessions.py", "lifetime=row.expires_at - now(),", "lifetime=timedelta(days=1),"),
    first=edit(FILE, "refresh_token, opened.expires_at)", "refresh_token, now() + timedelta(days=1))"),
)
def test_reauthentication_does_not_extend_a_login(service: Service) -> None:
    login = Login(service)
    login.comes_back_until(3)
    former, before = login.client.copy(), claims_of(login.client.token)
    with service.app.app_context():
        sessions, models = service.module("identity.sessions"), service.module("database")
        owner = sessions.find_by_id(UUID(before["sid"]), UUID(before["sub"]))
        with models.transaction() as connection:
            opened = sessions.renew(connection, owner, proved=True)
        pair = service.module("jwt.refresh").first_pair(opened)
    login.client.token, login.client.refresh_token = pair.access_token, pair.refresh_token
    works(login.client.get("/probe").status == 200, "the new access token reaches the view")
    login.seen.clear()
    harm(login._end() - login.end > 1, "re-authentication moved the end of the login")
    harm(claims_of(login.client.token)["exp"] > login.end + 1, "the first access token outlives its login")
    refused(exchange(service, former.refresh_token), 401, LIVES)
    refused(former.get("/probe"), 401, "jwt-sid-checked")
    service.travel(minutes=3, seconds=1)
    answer = login.renew()
    harm(answer.ok, "the login outlived its absolute lifetime after re-authentication")
    refused(answer, 401, LIVES)
    login.is_over()


NOT_COMMITTED = edit(
    FILE,
    "    with transaction() as connection:\n        if not _revoke(",
    "    with connect() as connection:\n        if not _revoke(",
)


def reuse_events(service: Service) -> list[dict[str, Any]]:
    """Return the logged reuse events, after checking that the audit has as many rows."""
    logged = [event for event in service.log if event["event"] == "token.refresh_reuse"]
    [(written,)] = service.rows("SELECT count(*) FROM audit_event WHERE kind = 'token.refresh_reuse'")
    assert written == len(logged)
    return logged


@protects(ONE_USE, once=ONCE)
def test_a_refresh_token_of_a_chain_gives_no_second_pair(service: Service) -> None:
    client = service.client(service.user()).login(through_form=True)
    assert client.user is not None
    chain = [client.refresh_token]
    for _ in range(3):
        answer = exchange(service, chain[-1])
        works(answer.status == 200, "each token of the chain gives the next")
        chain.append(answer.json["refresh_token"])
        client.token = answer.json["access_token"]
        works(client.get("/auth/me").status == 200, "each access token opens the user's own account")
    works(len(set(chain)) == 4, "the tokens of the chain all differ")
    works(tokens_of(service, client.user) == (4, 1), "one token is unused")
    answer = exchange(service, chain[2])
    harm(answer.ok, "a used refresh token was exchanged for another pair")
    refused(answer, 401, REUSE)
    assert answer.header("WWW-Authenticate") == 'Bearer error="invalid_token"'
    assert tokens_of(service, client.user) == (4, 0)


@protects(
    REUSE,
    family=edit(FILE, "        if not _revoke(connection, session_id):", "        if session_id:"),
    session=edit(FILE, "    return connection.execute(ended).rowcount == 1", "    return ended is not None"),
    rollback=NOT_COMMITTED,
)
def test_reuse_of_a_refresh_token_revokes_its_login(service: Service) -> None:
    theft = Theft(service)
    thief = theft.use()
    harm(thief.ok, "the thief exchanged the copied refresh token for a pair")
    theft.ended()
    refused(thief, 401, REUSE)
    unknown = exchange(service, "x" * 43)
    assert {**thief.json, "instance": ""} == {**unknown.json, "instance": ""}  # the thief learns nothing
    refused(theft.use(), 401, REUSE)
    [event] = reuse_events(service)
    assert event["ip"] == "203.0.113.66"
    assert event["user_id"] == str(theft.user.id)
    assert event["family"]
    theft.renew(theft.second)  # the owner's other device goes on


class Login:
    """A login whose client refreshes in time, and which still ends at its absolute lifetime."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.seen = service.adds_route("/probe")
        self.client: Client = service.client(service.user()).login(through_form=True)
        self.minutes = service.limits.refresh_absolute_hours * 60
        self.idle = service.limits.refresh_idle_minutes
        self.end = self._end()

    def _end(self) -> float:
        """Return the end of this token's login from its row, in seconds since the epoch."""
        from sqlalchemy import select

        columns = self.service.module("identity.models").AuthSession.__table__.c
        with self.service.engine.connect() as connection:
            [end] = connection.scalars(select(columns.expires_at).where(columns.revoked_at.is_(None)))
        return float(end.timestamp())

    def renew(self) -> Response:
        """Exchange the newest token; the client keeps the new pair."""
        answer = exchange(self.service, self.client.refresh_token)
        if answer.ok:
            self.client.token, self.client.refresh_token = answer.json["access_token"], answer.json["refresh_token"]
        return answer

    def comes_back_until(self, minutes: int) -> None:
        """Refresh every 50 minutes, the last time this many minutes before the end of the login."""
        whole = self.minutes - minutes
        for step in (*[50] * (whole // 50), whole % 50):
            self.service.travel(minutes=step)
            works(self.renew().status == 200, "a client that refreshes within the hour continues")
        works(self.client.get("/probe").status == 200, "the new access token reaches the view")
        self.seen.clear()

    def is_over(self) -> None:
        """Check that the access token opens nothing any more, and that a new login works."""
        answer = self.client.get("/probe")
        harm(self.seen, "the view ran for the access token of an expired login")
        refused(answer, 401, "jwt-sid-checked")
        self.client.login(through_form=True)
        assert self.client.get("/probe").status == 200


@protects(
    LIVES,
    end=edit(FILE, ".values(seen_at=moment))", ".values(seen_at=moment, expires_at=moment + timedelta(hours=24)))"),
)
def test_refreshes_do_not_extend_the_absolute_lifetime(service: Service) -> None:
    login = Login(service)
    login.comes_back_until(10)
    service.travel(minutes=10, seconds=1)
    answer = login.renew()
    harm(answer.ok, "repeated refreshes extended a login beyond its absolute lifetime")
    refused(answer, 401, LIVES)
    login.is_over()
