"""Proofs of identity/flows.py: the password alone opens nothing of an account with a second factor.

The attacker here knows the password. What he lacks is the second factor, and he has only so many tries for it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from .accounts import CHOSEN, Hashing, live_sessions, lives, with_app
from .authenticator import App
from .harness import edit, harm, insert, protects, refused, works
from .logins import arrived
from .routes import routes, stubbed
from .service import Client

if TYPE_CHECKING:
    from .running import Service, User


PENDING = "mfa-pending-has-no-access"
ATTEMPTS = "mfa-attempts-5"
BOUND = "flow-state-bound-to-purpose"
COUNTER = "second-factor-counter-survives"
CANCELLED = "pending-flows-cancelled"
FLOWS, LOGIN = "identity/flows.py", "identity/login.py"
DONE = Client.DONE
RIGHT_PASSWORD = "    attempt.succeeded()\n    if isinstance(begun, flows.Begun):\n"
_numbers = itertools.count(1)


def waits(service: Service, user: User, password: str | None = None) -> Client:
    """Sign in with the right password, from a network of its own; the client is now asked for the code."""
    number = next(_numbers)
    return arrived(service, user, f"198.{18 + number // 250 % 2}.{number % 250}.9", password)


def protected(service: Service, user: User) -> App:
    """Give the account an authenticator app, whose owner then signs in with it."""
    app = with_app(service, user)
    owner = waits(service, user)
    works(owner.send_code(app.code()).status == DONE["send_code"], "the owner signs in with the app's code")
    works(lives(owner), "the owner is signed in")
    return app


def is_asked(client: Client) -> bool:
    """Whether the right password led to the question for the second factor."""
    return bool(client.waiting)


# --- mfa-pending-has-no-access ---------------------------------------------------------------------------------------


@protects(PENDING, early=edit(LOGIN, "    if not factors.held(user_id, connection):\n", "    if True:\n"))
def test_a_login_that_waits_for_its_code_reaches_no_view(service: Service) -> None:
    user, other = service.user(), service.user()
    app = with_app(service, user)
    works(lives(waits(service, other)), "the password opens an account without a second factor")
    thief = waits(service, user)
    harm(live_sessions(service, user.id), "the service opened a session before the second factor was verified")
    walked = [route for route in routes(service) if not route.access.public]
    assert ("bastion.logout", "POST") in {(route.endpoint, route.method) for route in walked}
    for number, route in enumerate(walked):
        thief.address = f"192.0.2.{number % 250 + 1}"
        with stubbed(service, route.endpoint) as ran:
            answer = thief.send(route.method, route.path)
        harm(ran, f"{route} ran before the second factor was verified")
        assert answer.status == route.not_signed_in
    assert thief.send_code(app.next_code()).status == DONE["send_code"]
    assert lives(thief)


# --- mfa-attempts-5 --------------------------------------------------------------------------------------------------

STILL_COUNTS = edit(FLOWS, "values(tries=FLOWS.tries + 1)", "values(tries=FLOWS.tries)")
NO_CODE = "AAAAA-AAAAA-AAAAA-AAAAA-AAAAAA"
"""A recovery code of no account: the account's counter, which would hide the flow's own, takes no notice of it."""


@protects(ATTEMPTS, count=STILL_COUNTS)
def test_a_login_that_waits_takes_no_sixth_code(service: Service) -> None:
    user = service.user()
    app = protected(service, user)
    thief = waits(service, user)
    for _ in range(5):
        refused(thief.send_code(NO_CODE), 401, ATTEMPTS)
    code = app.next_code()
    thief.send_code(code)
    harm(lives(thief), "the service accepted a sixth code")
    assert waits(service, user).send_code(code).status == DONE["send_code"]


# --- flow-state-bound-to-purpose -------------------------------------------------------------------------------------


@protects(
    BOUND,
    owner=edit(
        FLOWS, "own = (FLOWS.session_id == user.session_id, FLOWS.user_id == user.id)", "own: tuple[Any, ...] = ()"
    ),
)
def test_what_one_user_has_begun_no_other_completes(service: Service) -> None:
    alice, mallory = service.user(), service.user()
    hers, his = service.client(alice, "198.51.100.1").login(), service.client(mallory, "198.51.100.2").login()
    begun = hers.begin_totp()
    works(hers.seed_of(begun), "a user begins to set up an authenticator app")
    app = App(service, hers.seed_of(begun))
    answer = his.confirm_totp(app.code())
    harm(answer.status == DONE["confirm_totp"], "another user's session completed the setup of the app")
    refused(answer, 410, "mfa-enrol-confirmed")
    assert hers.confirm_totp(app.code()).status == DONE["confirm_totp"]


# --- second-factor-counter-survives ----------------------------------------------------------------------------------


@protects(
    COUNTER,
    password=insert(LOGIN, after=RIGHT_PASSWORD, new="        throttle.forget(attempts.FACTOR, row.id.hex)\n"),
)
def test_no_new_login_gives_new_tries_for_the_code(service: Service) -> None:
    user = service.user()
    app = protected(service, user)
    for _ in range(service.limits.login_failures):
        refused(waits(service, user).send_code(app.wrong_code()), 401, ATTEMPTS)
    thief = waits(service, user)
    works(is_asked(thief), "the password is accepted and the code is requested")
    answer = thief.send_code(app.next_code())
    harm(lives(thief), "a new login gave the thief another try for the code")
    refused(answer, 429, ATTEMPTS)


# --- pending-flows-cancelled -----------------------------------------------------------------------------------------


LIVES_ON = (
    edit("identity/links.py", "        flows.cancel(connection, user_id)\n", "        pass\n"),
    edit("identity/sessions.py", "    connection.execute(_ending_flows(FLOWS.user_id == user_id))\n", ""),
)


@protects(CANCELLED, login=LIVES_ON)
def test_a_login_that_waits_does_not_outlive_the_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user = service.user()
    Hashing(service, monkeypatch, cheap=True)
    app, owner = protected(service, user), service.client(user).login()
    thief = waits(service, user)
    works(is_asked(thief), "a thief with the password is asked for the code")
    changed = owner.change_password(user.password, CHOSEN)
    works(changed.status == DONE["change_password"], "the owner changes the password")
    thief.send_code(app.next_code())
    harm(lives(thief), "a thief completed a login begun with the old password")
