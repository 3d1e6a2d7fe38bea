"""Proofs of identity/factors.py, methods.py, totp.py and recovery_codes.py: no flow bypasses a second factor.

They stop a login without it, its removal by a thief, and a code from being good twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import (
    CHOSEN,
    Hashing,
    administrator,
    lives,
    with_app,
    with_codes,
)
from .authenticator import App
from .harness import edit, harm, insert, protects, refused, works
from .logins import SIGNED_IN, arrive, arrived
from .mails import token_for
from .routes import routes, stubbed
from .service import AUTH, Client

if TYPE_CHECKING:
    import pytest

    from .running import Service, User
    from .wire import Response


ENROL = "mfa-enrol-confirmed"
REMOVAL = "mfa-removal-guarded"
REQUIRED = "mfa-required-for-admins"
RESET = "reset-keeps-mfa"
FILE, ATTEMPTS, METHODS = "identity/factors.py", "identity/attempts.py", "identity/principal.py"
DONE = Client.DONE
NO_FACTOR = {"session": 303, "jwt": 403}[AUTH]
STALE = edit("request/access.py", "if rule.fresh and abs(", "if rule.fresh and not MARK and abs(")


def apps_of(service: Service, user: User) -> int:
    """How many authenticator apps the account has in force."""
    table = service.module("identity.models").Totp.__table__
    with service.engine.connect() as connection:
        return len(connection.execute(table.select().where(table.c.user_id == user.id)).all())


def signed_in(service: Service, user: User, app: App, address: str) -> Client:
    """The owner, with password and code."""
    client = arrived(service, user, address)
    works(client.send_code(app.next_code()).status == DONE["send_code"], "the user signs in with password and code")
    return client


def not_fresh(answer: Response) -> None:
    assert answer.status == Client.NOT_FRESH
    assert [event["reason"] for event in answer.events if event["event"] == "refused"] in ([], ["fresh-login-5-min"])


# --- mfa-enrol-confirmed ---------------------------------------------------------------------------------------------


@protects(
    ENROL,
    confirm=insert(
        FILE,
        after="session_id=user.session_id, data=seed.encode())\n",
        new="        totp.store(connection, user.id, seed, 0)\n",
    ),
)
def test_no_app_is_in_force_before_it_has_shown_a_code(service: Service) -> None:
    user = service.user()
    client = service.client(user, "198.51.100.1").login()
    begun = client.begin_totp()
    app = App(service, client.seed_of(begun))
    works(begun.ok, "a user is shown the secret of a new app")
    wrong = client.confirm_totp(app.wrong_code())
    harm(apps_of(service, user), "an app became a second factor before its code was confirmed")
    assert wrong.status == 422
    done = client.confirm_totp(app.code())
    assert (done.status, len({*client.codes_of(done)})) == (DONE["confirm_totp"], 10)
    assert apps_of(service, user) == 1


# --- mfa-removal-guarded ---------------------------------------------------------------------------------------------

PASSWORD_IS_ENOUGH = (
    edit(ATTEMPTS, "    if factors.held(user.id):\n", "    if not user.id:\n"),
    edit(ATTEMPTS, "if factors.held(user.id, connection):  # added since", "if not user.id:"),
)


@protects(REMOVAL, fresh=STALE, factor=PASSWORD_IS_ENOUGH)
def test_a_second_factor_is_removed_by_itself_alone(service: Service) -> None:
    service.at_least(session_idle_minutes=20)
    happy, user = service.user(), service.user()
    owner = signed_in(service, happy, with_app(service, happy), "198.51.100.1")
    works(owner.remove_totp().status == DONE["remove_totp"], "the owner removes the app after a fresh login")
    works(apps_of(service, happy) == 0, "the app is removed from the account")
    thief = signed_in(service, user, with_app(service, user), "198.51.100.3")  # whose session was then taken over
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    answer = thief.remove_totp()
    harm(apps_of(service, user) == 0, "a thief removed the app without a fresh login")
    not_fresh(answer)
    answer = thief.step_up(user.password)
    thief.remove_totp()
    harm(apps_of(service, user) == 0, "a thief removed the app with only the password")
    refused(answer, 403, "mfa-attempts-5")


# --- mfa-required-for-admins -----------------------------------------------------------------------------------------


def open_to(service: Service, client: Client) -> set[str]:
    """The endpoints whose view runs for this client, of those that are not public."""
    ran = set()
    for number, route in enumerate(one for one in routes(service) if not one.access.public):
        client.address = f"192.0.2.{number % 250 + 1}"
        with stubbed(service, route.endpoint) as runs:
            client.send(route.method, route.path)
        ran |= {route.endpoint} if runs else set()
    return ran


def to_set_one_up(service: Service) -> set[str]:
    """The endpoints that say that they are there for a user who has yet to set up a second factor."""
    return {route.endpoint for route in routes(service) if route.access.without_factor}


@protects(
    REQUIRED,
    policy=edit(METHODS, 'wanted == "admins" and not', 'wanted == "off" and not'),
    session=edit(METHODS, "    if used & SECOND:\n", "    if used:\n"),
)
def test_the_password_alone_opens_nothing_to_an_administrator(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.at_least(requests_per_minute_and_session=120, sessions_per_account=2)
    manager = administrator(service, monkeypatch)
    works(manager.users().status == DONE["users"], "an administrator with two factors lists the accounts")
    works(lives(service.client(service.user()).login()), "an ordinary user needs no second factor")
    user = manager.user
    assert user is not None
    bare = service.client(user, "198.51.100.2")
    works(arrive(bare, user.email, user.password).status == SIGNED_IN, "the administrator's password is accepted")
    answer = bare.users()
    harm(answer.status == DONE["users"], "an administrator without a second factor listed the accounts")
    harm(open_to(service, bare) - to_set_one_up(service), "the password alone reached more than second-factor setup")
    assert answer.status == NO_FACTOR
    app = App(service, bare.seed_of(bare.begin_totp()))
    assert bare.confirm_totp(app.code()).status == DONE["confirm_totp"]
    assert bare.users().status == DONE["users"]


# --- reset-keeps-mfa -------------------------------------------------------------------------------------------------


def reset(service: Service, user: User, password: str) -> Response:
    """Choose another password, as a reader of the account's mail does."""
    client = service.client(address="198.51.100.20")
    client.forgot(user.email)
    return client.reset(token_for(service, user.email, "reset"), password)


@protects(
    RESET,
    factor=insert(
        "identity/recovery.py",
        after="        links.consume_once(connection, link)\n",
        new="        __import__('importlib').import_module('..totp', __name__).remove(connection, link.user_id)\n",
    ),
)
def test_a_reader_of_the_mail_has_no_second_factor(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, bare = service.user(), service.user()
    Hashing(service, monkeypatch, cheap=True)
    app = with_app(service, user)
    works(reset(service, bare, CHOSEN).status == DONE["reset"], "a user resets the password")
    works(lives(arrived(service, bare, "198.51.100.2", CHOSEN)), "the user signs in with the new password")
    assert reset(service, user, CHOSEN).status == DONE["reset"]
    reader = arrived(service, user, "198.51.100.30", CHOSEN)
    harm(lives(reader), "a password reset bypassed the second factor")
    assert reader.send_code(app.next_code()).status == DONE["send_code"]
    assert lives(reader)


# --- totp-one-use-no-drift --------------------------------------------------------------------------------------------

TOTP = "totp-one-use-no-drift"
TOTP_FILE = "identity/totp.py"
WRONG = "mfa-attempts-5"
TOTP_DONE = Client.DONE["send_code"]


def waits(service: Service, user: User, number: int) -> Client:
    """Sign in with the password, from a network of its own; the client is now asked for the code."""
    return arrived(service, user, f"203.0.113.{number}")


@protects(
    TOTP,
    once=edit(
        TOTP_FILE, "later = (APPS.user_id == user_id, APPS.last_step < step)", "later = (APPS.user_id == user_id,)"
    ),
)
def test_a_code_opens_an_account_once(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    owner, thief = waits(service, user, 1), waits(service, user, 2)
    code = app.code()
    works(owner.send_code(code).status == TOTP_DONE, "the owner's current code is accepted")
    works(lives(owner), "the owner is signed in")
    answer = thief.send_code(code)
    harm(lives(thief), "a thief reused a code to open the account")
    refused(answer, 401, WRONG)


# --- recovery-codes ---------------------------------------------------------------------------------------------------

CODES = "recovery-codes"
CODES_FILE = "identity/recovery_codes.py"


@protects(
    CODES,
    once=edit(
        CODES_FILE,
        "CODES.code_hash == digest(_plain(code)), CODES.used_at.is_(None))",
        "CODES.code_hash == digest(_plain(code)))",
    ),
)
def test_a_recovery_code_opens_an_account_once(service: Service) -> None:
    user = service.user()
    with_app(service, user)
    code = with_codes(service, user)[0]
    owner, thief = waits(service, user, 1), waits(service, user, 2)
    works(owner.send_code(code).status == DONE["send_code"], "the owner's recovery code is accepted")
    works(lives(owner), "the owner is signed in")
    answer = thief.send_code(code)
    harm(lives(thief), "a thief reused a recovery code to open the account")
    refused(answer, 401, WRONG)
