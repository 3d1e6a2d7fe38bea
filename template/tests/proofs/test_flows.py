"""Proofs of identity/flows.py: the right password alone opens nothing of an account that has a second factor.

The attacker here knows the password. What he lacks is the second factor, and he has only so many tries for it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from .accounts import CHOSEN, OTHER, live_sessions, lives, with_app
from .authenticator import App, Authenticator
from .harness import edit, harm, insert, protects, refused, works
from .logins import arrived
from .mails import token_for
from .routes import routes, stubbed
from .service import AUTH, Client

if TYPE_CHECKING:
    from .running import Service, User


PENDING = "mfa-pending-has-no-access"
ATTEMPTS = "mfa-attempts-5"
BOUND = "flow-state-bound-to-purpose"
COUNTER = "second-factor-counter-survives"
CANCELLED = "pending-flows-cancelled"
FLOWS, LOGIN = "identity/flows.py", "identity/login.py"
DONE = Client.DONE
NOT_SIGNED_IN = {"session": 303, "jwt": 401}[AUTH]
RIGHT_PASSWORD = "    attempt.succeeded()\n    if isinstance(begun, flows.Begun):\n"
_numbers = itertools.count(1)


def waits(service: Service, user: User, password: str | None = None) -> Client:
    """Somebody, from a network of his own, who has shown the right password and now is asked for the code."""
    number = next(_numbers)
    return arrived(service, user, f"198.{18 + number // 250 % 2}.{number % 250}.9", password)


def protected(service: Service, user: User) -> App:
    """Give the account an authenticator app, whose owner then signs in with it."""
    app = with_app(service, user)
    owner = waits(service, user)
    works(owner.send_code(app.code()).status == DONE["send_code"], "the owner signs in with the app's code")
    works(lives(owner), "and is in")
    return app


def is_asked(client: Client) -> bool:
    """Whether the right password led to the question for the second factor."""
    return bool(client.waiting)


def again(client: Client) -> tuple[str, str | None]:
    """What the client holds, to be put back later: the handle, and in the session style the cookie that it is in."""
    return client.waiting, client.cookie


def put_back(client: Client, held: tuple[str, str | None]) -> None:
    if AUTH == "jwt":
        client.waiting = held[0]
    else:
        client.cookie = held[1]


# --- mfa-pending-has-no-access ---------------------------------------------------------------------------------------


@protects(PENDING, early=edit(LOGIN, "    if not factors.held(user_id, connection):\n", "    if True:\n"))
def test_the_password_of_an_account_with_a_second_factor_opens_nothing(service: Service) -> None:
    user, other = service.user(), service.user()
    app = with_app(service, user)
    works(lives(waits(service, other)), "the password opens an account without a second factor")
    before = live_sessions(service, user.id)
    thief = waits(service, user)
    harm(live_sessions(service, user.id) - before, "a session began before the second factor was shown")
    harm(lives(thief), "the password alone opened the account")
    walked = [route for route in routes(service) if not route.access.public]
    assert len(walked) >= 10
    assert ("bastion.logout", "POST") in {(route.endpoint, route.method) for route in walked}
    for number, route in enumerate(walked):
        thief.address = f"192.0.2.{number % 250 + 1}"
        with stubbed(service, route.endpoint) as ran:
            answer = thief.send(route.method, route.path)
        harm(ran, f"{route} ran for a login that waits for its second factor")
        assert answer.status == NOT_SIGNED_IN
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


# --- mfa-attempts-5 --------------------------------------------------------------------------------------------------

STILL_COUNTS = edit(FLOWS, "values(tries=_f.tries + 1)", "values(tries=_f.tries)")
KEPT = (
    edit(FLOWS, "        _f.tries < MOST_TRIES,\n", ""),
    edit(FLOWS, "_f.expires_at > now(), _f.tries <= MOST_TRIES)", "_f.expires_at > now())"),
)
NO_CODE = "AAAAA-AAAAA-AAAAA-AAAAA-AAAAAA"
"""A recovery code that nobody has: the account's counter, which would hide the flow's own, takes no notice of it."""


@protects(ATTEMPTS, count=STILL_COUNTS, pending=KEPT)
def test_a_login_that_waits_takes_five_codes(service: Service) -> None:
    user = service.user()
    app = protected(service, user)
    client = waits(service, user)
    for _ in range(4):
        refused(client.send_code(NO_CODE), 401, ATTEMPTS)
    works(client.send_code(app.next_code()).status == DONE["send_code"], "four wrong codes are forgiven")
    thief = waits(service, user)
    for _ in range(4):
        refused(thief.send_code(NO_CODE), 401, ATTEMPTS)
    held = again(thief)
    refused(thief.send_code(NO_CODE), 401, ATTEMPTS)
    code = app.next_code()
    thief.send_code(code)
    harm(lives(thief), "a sixth code was looked at")
    put_back(thief, held)  # what the client holds counts nothing: an earlier state of it is worth no more
    thief.send_code(code)
    harm(lives(thief), "a sixth code was looked at, for a client that put its cookie back")
    assert waits(service, user).send_code(code).status == DONE["send_code"]


# --- flow-state-bound-to-purpose -------------------------------------------------------------------------------------


@protects(
    BOUND,
    owner=edit(FLOWS, "own = (_f.session_id == user.session_id, _f.user_id == user.id)", "own: tuple[Any, ...] = ()"),
)
def test_what_one_session_has_begun_no_other_completes(service: Service) -> None:
    alice, mallory = service.user(), service.user()
    works(is_asked(waits(service, alice)) is False, "an account without a second factor is not asked for one")
    hers, his = service.client(alice, "198.51.100.1").login(), service.client(mallory, "198.51.100.2").login()
    forgotten, app = (App(service, hers.seed_of(hers.begin_totp())) for _ in range(2))
    answer = his.confirm_totp(app.code())
    harm(answer.status == DONE["confirm_totp"], "an app was set up by a session that it was not shown to")
    refused(answer, 410, "mfa-enrol-confirmed")
    his.begin_totp()  # it ends what he has begun before, and nothing of hers
    copy = service.client(alice, "198.51.100.3").login()
    refused(copy.confirm_totp(app.code()), 410, "mfa-enrol-confirmed")
    assert hers.confirm_totp(forgotten.code()).status == 422  # she began anew
    assert hers.confirm_totp(app.code()).status == DONE["confirm_totp"]


# --- second-factor-counter-survives ----------------------------------------------------------------------------------


@protects(
    COUNTER,
    password=insert(LOGIN, after=RIGHT_PASSWORD, new="        throttle.forget(FACTOR, row.id.hex)\n"),
    reset=insert(
        "identity/recovery.py",
        after="    login.forgive(link.email)\n",
        new="    throttle.forget(login.FACTOR, link.user_id.hex)\n",
    ),
)
def test_no_new_login_and_no_reset_gives_new_tries_for_the_code(service: Service) -> None:
    user, other = service.user(), service.user()
    app, free = protected(service, user), protected(service, other)
    works(lives(waits(service, service.user())), "who has no second factor is not asked for one")
    for _ in range(4):
        refused(waits(service, user).send_code(app.wrong_code()), 401, ATTEMPTS)
    service.client(address="198.51.100.9").forgot(user.email)
    service.client(address="198.51.100.9").reset(token_for(service, user.email, "reset"), OTHER)
    refused(waits(service, user, OTHER).send_code(app.wrong_code()), 401, ATTEMPTS)
    thief = waits(service, user, OTHER)
    works(is_asked(thief), "the new password is the right one")
    answer = thief.send_code(app.next_code())
    harm(lives(thief), "the sixth code was looked at, of a login of its own and after a reset")
    refused(answer, 429, ATTEMPTS)
    service.restart()
    refused(waits(service, user, OTHER).send_code(app.next_code()), 429, ATTEMPTS)
    assert waits(service, other).send_code(free.next_code()).status == DONE["send_code"]


# --- pending-flows-cancelled -----------------------------------------------------------------------------------------


def reset(service: Service, user: User, password: str) -> None:
    """The owner chooses another password by mail."""
    owner = service.client(address="198.51.100.20")
    owner.forgot(user.email)
    works(owner.reset(token_for(service, user.email, "reset"), password).status == DONE["reset"], "the owner resets it")


PASSKEYS = "identity/passkeys.py"
OF_THE_ACCOUNT = (
    edit(PASSKEYS, "_challenge(REGISTER, str(user.session_id), handle)", "_challenge(REGISTER, str(user.id), handle)"),
    edit(PASSKEYS, "_spend(REGISTER, str(user.session_id), text)", "_spend(REGISTER, str(user.id), text)"),
)


@protects(CANCELLED, passkey=OF_THE_ACCOUNT)
def test_a_passkey_that_a_thief_began_to_add_ends_with_the_password(service: Service) -> None:
    user = service.user()
    mine, his = Authenticator(), Authenticator()
    owner = service.client(user, "198.51.100.40").login()
    options, state = owner.passkey_options()
    works(owner.add_passkey(state, mine.create(options)).status == DONE["add_passkey"], "the owner adds his")
    begun, its_state = owner.passkey_options()  # by a thief, who has a copy of this very session
    reset(service, user, CHOSEN)
    owner = waits(service, user, CHOSEN)
    options, state = owner.factor_passkey_options()
    works(owner.send_passkey(state, mine.get(options)).status == DONE["send_passkey"], "the owner signs in again")
    owner.add_passkey(its_state, his.create(begun))
    harm(len(owner.passkeys()) != 1, "the ceremony that the thief began was completed")
