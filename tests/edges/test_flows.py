"""Edges of the proofs in test_flows.py: further attacks on the same protections."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ..accounts import CHOSEN, NO_LOCK_AT_FIRST, OTHER, live_sessions, lives, with_app, with_codes
from ..authenticator import App, Authenticator
from ..harness import at_once, edit, harm, insert, protects, refused, works
from ..logins import DEVICE_COOKIE, WRONG, arrive, attempt, device_of
from ..mails import token_for
from ..routes import routes, stubbed
from ..service import AUTH, Client
from ..test_flows import (
    ATTEMPTS,
    BOUND,
    CANCELLED,
    COUNTER,
    DONE,
    FLOWS,
    LIVES_ON,
    LOGIN,
    NO_CODE,
    PENDING,
    RIGHT_PASSWORD,
    STILL_COUNTS,
    is_asked,
    protected,
    waits,
)

if TYPE_CHECKING:
    from ..running import Service, User
    from ..wire import Response


PASSKEYS = "identity/passkeys.py"


def again(client: Client) -> tuple[str, str | None]:
    """Return what the client holds to restore later: the handle, and in the session style its cookie."""
    return client.waiting, client.cookie


def put_back(client: Client, held: tuple[str, str | None]) -> None:
    if AUTH == "jwt":
        client.waiting = held[0]
    else:
        client.cookie = held[1]


KEPT = (
    edit(FLOWS, "        FLOWS.tries < MOST_TRIES,\n", ""),
    edit(FLOWS, "FLOWS.expires_at > now(), FLOWS.tries <= MOST_TRIES)", "FLOWS.expires_at > now())"),
)


def reset(service: Service, user: User, password: str) -> None:
    """Choose another password by mail, as the owner."""
    owner = service.client(address="198.51.100.20")
    owner.forgot(user.email)
    works(owner.reset(token_for(service, user.email, "reset"), password).status == DONE["reset"], "the owner resets")


OF_THE_ACCOUNT = (
    edit(PASSKEYS, "_challenge(REGISTER, str(user.session_id), handle)", "_challenge(REGISTER, str(user.id), handle)"),
    edit(PASSKEYS, "_spend(REGISTER, str(user.session_id), text)", "_spend(REGISTER, str(user.id), text)"),
)


def sends_from(client: Client, code: str, device: str) -> Response:
    """Complete the pending login from a known device; `device` is the value that device_of() returned."""
    more: dict[str, Any] = {"device_token": device} if AUTH == "jwt" else {}
    if AUTH == "session":
        client.cookies[DEVICE_COOKIE] = device
    return client.send_code(code, **more)


# --- mfa-pending-has-no-access ---------------------------------------------------------------------------------------


@protects(
    PENDING,
    race=(
        edit(LOGIN, "    sessions.hold(connection, user_id)\n    if not factors.held", "    if not factors.held"),
        *NO_LOCK_AT_FIRST,
    ),
)
def test_login_during_enrolment_needs_the_new_factor(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The login reads that there is no factor, then one is confirmed: the login must not open a session."""
    users = [service.user() for _ in range(3)]
    factors = service.module("identity.factors")
    real, here = factors.held, threading.local()
    looked, enrolled = threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        found = real(*arguments)
        if hasattr(here, "signs_in"):
            looked.set()
            enrolled.wait(0.5)
        return found

    def signs_in(client: Client, user: User) -> int:
        here.signs_in = True
        return arrive(client, user.email, user.password).status

    def confirms(client: Client, code: str) -> int:
        looked.wait(10)
        status = client.confirm_totp(code).status
        enrolled.set()
        return status

    works(lives(waits(service, users[0])), "the password opens an account without a second factor")
    monkeypatch.setattr(factors, "held", held)
    for number, user in enumerate(users[1:]):
        for one in (looked, enrolled):
            one.clear()
        owner, thief = service.client(user, f"198.51.100.{50 + number}").login(), service.client(user, "198.51.100.60")
        code = App(service, owner.seed_of(owner.begin_totp())).code()
        thief.honest("POST", {}, None, None, None)  # the page is open
        statuses = at_once([partial(confirms, owner, code), partial(signs_in, thief, user)])
        works(statuses[0] == DONE["confirm_totp"], "the owner sets up an app")
        harm(lives(thief), "a session opened by the password survived the enrolment")


def signs_in_elsewhere(service: Service, method: str = "oidc") -> None:
    """Add a route of the team that lets in the user whom another service names."""

    def callback(email: str) -> Any:
        bastion = service.module()
        account = bastion.find_user(email)
        return bastion.sign_in(account.id, method)

    def callback_of_programs(email: str) -> Any:
        answer = callback(email)
        return answer.model_dump(), 202 if hasattr(answer, "mfa_token") else 200

    view = callback if AUTH == "session" else callback_of_programs
    service.adds_route("/callback/<email>", mark="public", view=view)


@protects(
    PENDING,
    foreign=edit(LOGIN, "not factors.held(user_id, connection):", "method or not factors.held(user_id, connection):"),
    first=edit(LOGIN, "flows.secret_of(flow).decode() if flow.data else PASSWORD", "PASSWORD"),
)
def test_a_foreign_sign_in_leads_round_no_second_factor(service: Service) -> None:
    signs_in_elsewhere(service)
    plain, careful = service.user(), service.user()
    app = with_app(service, careful)
    client = service.client(plain)
    entered(client, client.get(f"/callback/{plain.email}"))
    works(lives(client), "a user without a second factor is signed in")
    works(methods(service, plain) == ["oidc"], "the session says how")
    client = service.client(careful)
    answer = client.get(f"/callback/{careful.email}")
    entered(client, answer)
    harm(live_sessions(service, careful.id), "a foreign sign-in opened a session without the second factor")
    assert answer.status == {"session": 303, "jwt": 202}[AUTH]
    assert client.send_code(app.code()).status == DONE["send_code"]
    harm(methods(service, careful) != ["oidc totp"], "the session says that a password was entered")
    assert kinds(service, careful) == ["login.pending", "login.success"]


@protects(PENDING, reserved=edit(LOGIN, "method in RESERVED", "False"))
@pytest.mark.parametrize("method", ["passkey", "totp", "recovery-code"])
def test_a_foreign_sign_in_is_no_second_factor(service: Service, method: str) -> None:
    service.setting("BASTION_REQUIRE_MFA", "all")
    signs_in_elsewhere(service, method)
    user = service.user()
    works(service.client(user).login() is not None, "a user signs in with a password")
    before = live_sessions(service, user.id)
    service.client(user).get(f"/callback/{user.email}")
    harm(live_sessions(service, user.id) != before, f"a foreign sign-in counts as {method}")
    for name in (method, "password", "Oidc", "o idc", "", "x" * 41):
        with service.app.test_request_context(), pytest.raises(ValueError, match="name the method"):
            service.module().sign_in(user.id, name)


def test_a_disabled_account_is_not_signed_in(service: Service) -> None:
    signs_in_elsewhere(service)
    user = service.user()
    with service.app.app_context():
        service.module("identity.users").set_active(user.id, False)
        assert service.module().find_user(user.id).active is False
    refused(service.client(user).get(f"/callback/{user.email}"), 401, "login-uniform-failure")
    assert not live_sessions(service, user.id)


def entered(client: Client, answer: Response) -> None:
    """Keep what the answer gave, as the style's own client does."""
    if AUTH == "jwt" and answer.status == 202:
        client.waiting = answer.json["mfa_token"]
    elif AUTH == "jwt":
        client.cookie = answer.json["access_token"]


def methods(service: Service, user: User) -> list[str]:
    """Return how the account's live sessions say that they were opened."""
    table = service.module("identity.models").AuthSession.__table__
    with service.engine.connect() as connection:
        rows = connection.execute(table.select().where(table.c.user_id == user.id, table.c.revoked_at.is_(None)))
        return [row.methods for row in rows]


def kinds(service: Service, user: User) -> list[str]:
    """Return the kinds of the account's audit events, oldest first."""
    table = service.module("audit.tables").AuditEvent.__table__
    with service.engine.connect() as connection:
        rows = connection.execute(table.select().where(table.c.user_id == user.id).order_by(table.c.at))
        return [row.kind for row in rows]


# --- mfa-attempts-5 --------------------------------------------------------------------------------------------------

ENDLESS = (
    edit(FLOWS, "        FLOWS.expires_at > now(),\n", ""),
    edit(
        FLOWS, "FLOWS.used_at.is_(None), FLOWS.expires_at > now(), FLOWS.tries", "FLOWS.used_at.is_(None), FLOWS.tries"
    ),
)


@protects(ATTEMPTS, end=ENDLESS)
def test_a_login_waits_for_five_minutes(service: Service) -> None:
    user = service.user()
    app = protected(service, user)
    slow = waits(service, user)
    service.travel(minutes=4, seconds=45)  # and at most ten until its code is a fresh one
    works(slow.send_code(app.code()).status == DONE["send_code"], "a slow user completes the login")
    thief = waits(service, user)
    service.travel(minutes=5, seconds=1)
    thief.send_code(app.code())
    harm(lives(thief), "a login pending for more than five minutes was completed")


# --- flow-state-bound-to-purpose -------------------------------------------------------------------------------------


@protects(
    BOUND,
    once=(
        edit(FLOWS, "        FLOWS.used_at.is_(None),\n", ""),
        edit(FLOWS, "mine = (FLOWS.id == flow.id, FLOWS.used_at.is_(None), ", "mine = (FLOWS.id == flow.id, "),
    ),
)
def test_a_login_is_completed_once(service: Service) -> None:
    user = service.user()
    app = protected(service, user)
    client = waits(service, user)
    held = again(client)
    works(client.send_code(app.next_code()).status == DONE["send_code"], "the owner completes the login")
    thief = service.client(user, "203.0.113.77")
    put_back(thief, held)
    thief.send_code(app.next_code())
    harm(lives(thief), "the handle of a completed login opened a second session")


# --- second-factor-counter-survives ----------------------------------------------------------------------------------

A_DAY = 'throttle.take(f"{kind}-day", subject, WRONG_CODES)'


@protects(
    COUNTER,
    day=edit("identity/attempts.py", A_DAY, A_DAY.replace("WRONG_CODES", "throttle.Allowance(2000, WRONG_CODES.per)")),
)
def test_a_patient_guesser_has_twenty_codes_a_day(service: Service) -> None:
    user = service.user()
    app = protected(service, user)
    works(waits(service, user).send_code(app.next_code()).status == DONE["send_code"], "correct codes are not counted")
    attempts, throttle = service.module("identity.attempts"), service.module("throttle")
    with service.app.app_context():
        for _ in range(16):  # earlier guesses, as the service's own counter keeps them
            throttle.take(f"{attempts.FACTOR}-day", user.id.hex, attempts.WRONG_CODES)
    for _ in range(4):
        refused(waits(service, user).send_code(app.wrong_code()), 401, ATTEMPTS)
    service.travel(minutes=16)
    thief = waits(service, user)
    answer = thief.send_code(app.next_code())
    harm(lives(thief), "the service accepted a twenty-first code of one day")
    refused(answer, 429, ATTEMPTS)
    wait = int(answer.header("Retry-After") or 0)
    assert wait < timedelta(days=1).total_seconds()
    service.travel(seconds=wait)
    assert waits(service, user).send_code(app.next_code()).status == DONE["send_code"]


@protects(
    COUNTER,
    device=edit(
        LOGIN,
        "return (attempts.FACTOR, user_id.hex) if device is None else (attempts.FACTOR_DEVICE, device.hex)",
        "return attempts.FACTOR, user_id.hex",
    ),
    again=edit(
        "identity/attempts.py", "            (FACTOR_AGAIN, user.id.hex),\n", "            (FACTOR, user.id.hex),\n"
    ),
    codes=edit(
        "identity/attempts.py", "guess = _guess(*counter) if totp.is_code(code) else None", "guess = _guess(*counter)"
    ),
)
def test_whoever_knows_the_password_locks_nobody_out(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    codes = with_codes(service, user)
    owner = waits(service, user)
    answer = owner.send_code(app.next_code())
    works(answer.status == DONE["send_code"], "the owner signs in")
    device = device_of(answer)
    for _ in range(5):
        refused(waits(service, user).send_code(app.wrong_code()), 401, ATTEMPTS)
    thief = waits(service, user)
    works(thief.send_code(app.next_code()).status == 429, "an attacker with the password uses up the tries")
    answer = owner.step_up(user.password, app.next_code())
    harm(answer.status == 429, "the owner cannot re-authenticate in their own session")
    known = waits(service, user)
    answer = sends_from(known, app.next_code(), device)
    harm(answer.status == 429, "the owner is locked out of a known device")
    abroad = waits(service, user)
    answer = abroad.send_code(codes[0])
    harm(answer.status == 429, "the owner's recovery code is refused")
    assert lives(known)
    assert lives(abroad)
    for _ in range(5):
        refused(sends_from(waits(service, user), app.wrong_code(), device), 401, ATTEMPTS)
    refused(sends_from(waits(service, user), app.next_code(), device), 429, ATTEMPTS)


@protects(
    COUNTER,
    password_counter=insert(LOGIN, after=RIGHT_PASSWORD, new="        throttle.forget(*counter)\n"),
)
def test_the_right_password_alone_gives_no_new_guesses_of_it(service: Service) -> None:
    user = service.user()
    app = protected(service, user)
    for _ in range(4):
        assert attempt(waits(service, user), user.email, WRONG).status == 401
    works(is_asked(waits(service, user)), "the right password leads to the question for the code")
    assert attempt(service.client(address="198.51.100.10"), user.email, WRONG).status == 401
    answer = attempt(service.client(address="198.51.100.11"), user.email, user.password)
    harm(answer.status != 429, "the service compared a sixth password")
    service.travel(minutes=16)
    assert waits(service, user).send_code(app.next_code()).status == DONE["send_code"]


# --- pending-flows-cancelled -----------------------------------------------------------------------------------------


@protects(CANCELLED, login=LIVES_ON)
def test_a_login_that_waits_ends_with_the_password(service: Service) -> None:
    user, other = service.user(), service.user()
    app, others = protected(service, user), protected(service, other)
    held, unharmed = waits(service, user), waits(service, other)
    works(held.send_code(app.next_code()).status == DONE["send_code"], "a pending login without a reset is completed")
    thief = waits(service, user)
    works(is_asked(thief), "the thief's login waits for the code")
    reset(service, user, CHOSEN)
    thief.send_code(app.next_code())
    harm(lives(thief), "a thief completed a login begun with the old password")
    ended = waits(service, user, CHOSEN)
    owner = waits(service, user, CHOSEN)
    works(owner.send_code(app.next_code()).status == DONE["send_code"], "the owner signs in")
    works(owner.end_others().status == DONE["end_others"], "the owner ends all other sessions")
    ended.send_code(app.next_code())
    harm(lives(ended), "a pending login was completed after the owner ended all others")
    disabled = waits(service, user, CHOSEN)
    with service.app.app_context():
        for active in (False, True):
            service.module("identity.users").set_active(user.id, active)
    disabled.send_code(app.next_code())
    harm(lives(disabled), "a pending login was completed after its account was disabled and enabled")
    assert unharmed.send_code(others.next_code()).status == DONE["send_code"]  # and no other user's login ended with it


@protects(
    CANCELLED,
    email=(
        edit("identity/recovery.py", "        links.cancel(connection, link.email, link.user_id)\n", ""),
        edit(
            "identity/links.py",
            "SESSIONS.revoked_at.is_(None), SESSIONS.expires_at > moment",
            "SESSIONS.expires_at > moment",
        ),
    ),
)
def test_password_reset_cancels_a_thiefs_email_change(service: Service) -> None:
    user, happy = service.user(), service.user()
    client = service.client(happy, "198.51.100.30").login()
    client.ask_email("new@example.com")
    works(
        client.confirm_email(token_for(service, "new@example.com", "email")).status == DONE["confirm_email"],
        "without a reset the change is confirmed",
    )
    thief = service.client(user, "198.51.100.31").login()
    thief.ask_email("mallory@evil.example")
    token = token_for(service, "mallory@evil.example", "email")
    reset(service, user, CHOSEN)
    owner = service.client(user, "198.51.100.32").login()
    answer = owner.confirm_email(token)
    harm(service.rows("SELECT 1 FROM auth_user WHERE email LIKE 'mallory%'"), "the thief's address is the account's")
    assert answer.status == 410


@protects(PENDING, early=edit(LOGIN, "    if not factors.held(user_id, connection):\n", "    if True:\n"))
def test_password_alone_opens_nothing_with_a_second_factor(service: Service) -> None:
    user, other = service.user(), service.user()
    app = with_app(service, user)
    works(lives(waits(service, other)), "the password opens an account without a second factor")
    before = live_sessions(service, user.id)
    thief = waits(service, user)
    harm(live_sessions(service, user.id) - before, "the service opened a session before the second factor was verified")
    harm(lives(thief), "the password alone opened the account")
    walked = [route for route in routes(service) if not route.access.public]
    assert len(walked) >= 10
    assert ("bastion.logout", "POST") in {(route.endpoint, route.method) for route in walked}
    for number, route in enumerate(walked):
        thief.address = f"192.0.2.{number % 250 + 1}"
        with stubbed(service, route.endpoint) as ran:
            answer = thief.send(route.method, route.path)
        harm(ran, f"{route} ran before the second factor was verified")
        assert answer.status == route.not_signed_in
    if AUTH == "jwt":
        as_token = service.client(address="192.0.2.251")
        as_token.cookie = thief.waiting
        assert as_token.get("/auth/me").status == 401
        assert as_token.post("/auth/refresh", {"refresh_token": thief.waiting}).status == 401
    else:
        forger: Any = service.client(address="192.0.2.251")
        assert not lives(forger.forge(token=thief.waiting))
    assert thief.send_code(app.next_code()).status == DONE["send_code"]
    assert lives(thief)


@protects(ATTEMPTS, count=STILL_COUNTS, pending=KEPT)
def test_a_login_that_waits_takes_five_codes(service: Service) -> None:
    user = service.user()
    app = protected(service, user)
    client = waits(service, user)
    for _ in range(4):
        refused(client.send_code(NO_CODE), 401, ATTEMPTS)
    works(client.send_code(app.next_code()).status == DONE["send_code"], "four wrong codes are tolerated")
    thief = waits(service, user)
    for _ in range(4):
        refused(thief.send_code(NO_CODE), 401, ATTEMPTS)
    held = again(thief)
    refused(thief.send_code(NO_CODE), 401, ATTEMPTS)
    code = app.next_code()
    thief.send_code(code)
    harm(lives(thief), "the service accepted a sixth code")
    put_back(thief, held)  # what the client holds counts nothing: an earlier state of it is worth no more
    thief.send_code(code)
    harm(lives(thief), "the service accepted a sixth code from a client that restored its cookie")
    assert waits(service, user).send_code(code).status == DONE["send_code"]


@protects(
    BOUND,
    owner=edit(
        FLOWS, "own = (FLOWS.session_id == user.session_id, FLOWS.user_id == user.id)", "own: tuple[Any, ...] = ()"
    ),
)
def test_what_one_session_has_begun_no_other_completes(service: Service) -> None:
    alice, mallory = service.user(), service.user()
    works(is_asked(waits(service, alice)) is False, "an account without a second factor needs no code")
    owner, attacker = service.client(alice, "198.51.100.1").login(), service.client(mallory, "198.51.100.2").login()
    forgotten, app = (App(service, owner.seed_of(owner.begin_totp())) for _ in range(2))
    answer = attacker.confirm_totp(app.code())
    harm(answer.status == DONE["confirm_totp"], "another session completed the setup of the app")
    refused(answer, 410, "mfa-enrol-confirmed")
    attacker.begin_totp()  # it ends the attacker's earlier setup, and nothing of the owner's
    copy = service.client(alice, "198.51.100.3").login()
    refused(copy.confirm_totp(app.code()), 410, "mfa-enrol-confirmed")
    assert owner.confirm_totp(forgotten.code()).status == 422  # the owner began anew
    assert owner.confirm_totp(app.code()).status == DONE["confirm_totp"]


@protects(
    COUNTER,
    password=insert(LOGIN, after=RIGHT_PASSWORD, new="        throttle.forget(attempts.FACTOR, row.id.hex)\n"),
    reset=insert(
        "identity/recovery.py",
        after="    attempts.forgive(link.email)\n",
        new="    throttle.forget(attempts.FACTOR, link.user_id.hex)\n",
    ),
)
def test_no_new_login_and_no_reset_gives_new_tries_for_the_code(service: Service) -> None:
    user, other = service.user(), service.user()
    app, free = protected(service, user), protected(service, other)
    works(lives(waits(service, service.user())), "a user without a second factor needs no code")
    for _ in range(4):
        refused(waits(service, user).send_code(app.wrong_code()), 401, ATTEMPTS)
    service.client(address="198.51.100.9").forgot(user.email)
    service.client(address="198.51.100.9").reset(token_for(service, user.email, "reset"), OTHER)
    refused(waits(service, user, OTHER).send_code(app.wrong_code()), 401, ATTEMPTS)
    thief = waits(service, user, OTHER)
    works(is_asked(thief), "the new password is accepted")
    answer = thief.send_code(app.next_code())
    harm(lives(thief), "the service accepted a sixth code in a new login after a reset")
    refused(answer, 429, ATTEMPTS)
    service.restart()
    refused(waits(service, user, OTHER).send_code(app.next_code()), 429, ATTEMPTS)
    assert waits(service, other).send_code(free.next_code()).status == DONE["send_code"]


@protects(CANCELLED, passkey=OF_THE_ACCOUNT)
def test_password_reset_cancels_a_thiefs_passkey_enrolment(service: Service) -> None:
    user = service.user()
    mine, thiefs = Authenticator(), Authenticator()
    owner = service.client(user, "198.51.100.40").login()
    options, state = owner.passkey_options()
    works(owner.add_passkey(state, mine.create(options)).status == DONE["add_passkey"], "a passkey is added")
    begun, its_state = owner.passkey_options()  # by a thief, who has a copy of this very session
    reset(service, user, CHOSEN)
    owner = waits(service, user, CHOSEN)
    options, state = owner.factor_passkey_options()
    works(owner.send_passkey(state, mine.get(options)).status == DONE["send_passkey"], "the owner signs in")
    owner.add_passkey(its_state, thiefs.create(begun))
    harm(len(owner.passkeys()) != 1, "the thief completed the passkey enrolment after the reset")
