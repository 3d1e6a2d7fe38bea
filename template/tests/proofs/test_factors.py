"""Proofs of identity/factors.py and methods.py: no way leads round a second factor, and who must have one has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import (
    CHOSEN,
    TAKES_ANYTHING,
    WHAT_WAS_SENT,
    administrator,
    lives,
    with_app,
    with_codes,
)
from .authenticator import App, Authenticator
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
FILE, LOGIN, METHODS = "identity/factors.py", "identity/login.py", "identity/methods.py"
DONE = Client.DONE
BEGIN = {"session": "/account/factors/totp", "jwt": "/auth/totp"}[AUTH]
FACTORS = {"session": "/account/factors", "jwt": "/auth/factors"}[AUTH]
NO_FACTOR = {"session": 303, "jwt": 403}[AUTH]
STALE = edit("access.py", "if rule.fresh and abs(", "if rule.fresh and not MARK and abs(")


def apps_of(service: Service, user: User) -> int:
    """How many authenticator apps the account has in force."""
    table = service.module("identity.models").Totp.__table__
    with service.engine.connect() as connection:
        return len(connection.execute(table.select().where(table.c.user_id == user.id)).all())


def signed_in(service: Service, user: User, app: App, address: str) -> Client:
    """The owner, with password and code."""
    client = arrived(service, user, address)
    works(client.send_code(app.next_code()).status == DONE["send_code"], "password and code sign in")
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
    seed=(
        edit(FILE, "    seed = totp.new_seed()\n", f'    seed = {WHAT_WAS_SENT}.get("secret") or totp.new_seed()\n'),
        *TAKES_ANYTHING,
    ),
)
def test_an_app_is_in_force_with_its_first_code_and_not_before(service: Service) -> None:
    user, careless = service.user(), service.user()
    client = service.client(user, "198.51.100.1").login()
    begun = client.begin_totp()
    app = App(service, client.seed_of(begun))
    works(apps_of(service, careless) == 0, "nobody else has one")
    harm(apps_of(service, user), "the app was in force before it had shown a code")
    assert client.confirm_totp(app.wrong_code()).status == 422
    assert apps_of(service, user) == 0
    done = client.confirm_totp(app.code())
    works((done.status, len({*client.codes_of(done)})) == (DONE["confirm_totp"], 10), "the right code confirms it")
    works(apps_of(service, user) == 1, "and puts it in force")
    assert lives(signed_in(service, user, app, "198.51.100.4"))
    planted = "A" * 32
    mallory = service.client(careless, "198.51.100.2").login()
    answer = mallory.post(BEGIN, {"secret": planted, "seed": planted})
    harm(answer.ok and mallory.seed_of(answer) == planted, "the seed is one that the client chose")


# --- mfa-removal-guarded ---------------------------------------------------------------------------------------------

PASSWORD_IS_ENOUGH = (
    edit(LOGIN, "    if factors.held(user.id):\n", "    if not user.id:\n"),
    edit(LOGIN, "if factors.held(user.id, connection):  # added since", "if not user.id:"),
)


@protects(REMOVAL, fresh=STALE, factor=PASSWORD_IS_ENOUGH)
def test_a_second_factor_goes_by_itself_alone(service: Service) -> None:
    happy, user = service.user(), service.user()
    app, his = with_app(service, happy), with_app(service, user)
    _, codes = with_codes(service, happy), with_codes(service, user)
    owner = signed_in(service, happy, app, "198.51.100.1")
    service.travel(minutes=6)
    works(owner.step_up(happy.password, app.next_code()).status == DONE["step_up"], "password and code are fresh")
    works(owner.remove_totp().status == DONE["remove_totp"], "and remove the app")
    works(apps_of(service, happy) == 0, "which is gone")
    with service.app.app_context():
        assert service.module("identity.factors").held(happy.id).recovery_codes == 0  # that were in its place
    works(lives(arrived(service, happy, "198.51.100.2")), "the next login asks for no code")

    thief = signed_in(service, user, his, "198.51.100.3")  # whose session somebody then takes over
    service.travel(minutes=6)
    for removes in (thief.remove_totp, thief.new_codes):
        answer = removes()
        harm(apps_of(service, user) == 0, "the app was removed in a session that was left open")
        not_fresh(answer)
    answer = thief.step_up(user.password)
    thief.remove_totp()
    harm(apps_of(service, user) == 0, "the app was removed by somebody who knew the password")
    refused(answer, 403, "mfa-attempts-5")
    assert thief.step_up(user.password, codes[0]).status == DONE["step_up"]
    assert len(thief.codes_of(thief.new_codes())) == 10


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
    """The endpoints that say that they are there for whoever has yet to set up a second factor."""
    return {route.endpoint for route in routes(service) if route.access.without_factor}


@protects(
    REQUIRED,
    policy=edit(METHODS, 'wanted == "admins" and not', 'wanted == "off" and not'),
    session=edit(METHODS, "    if used & SECOND:\n", "    if used:\n"),
)
def test_an_administrator_gets_nowhere_without_a_second_factor(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = administrator(service, monkeypatch)
    works(manager.users().status == DONE["users"], "an administrator who showed two factors sees the accounts")
    plain = service.client(service.user(), "198.51.100.1").login()
    works(lives(plain), "nobody else is asked for one")
    user = manager.user
    assert user is not None
    bare = service.client(user, "198.51.100.2")
    works(arrive(bare, user.email, user.password).status == SIGNED_IN, "his password is right")
    answer = bare.users()
    harm(answer.status == DONE["users"], "the password alone showed the accounts")
    ran = open_to(service, bare)
    harm(ran - to_set_one_up(service), "more is open than what sets up a second factor")
    assert {"bastion.logout"} <= ran
    assert answer.status == NO_FACTOR
    assert bare.get(FACTORS).status == 200  # what there is to set up
    app = App(service, bare.seed_of(bare.begin_totp()))
    assert bare.confirm_totp(app.code()).status == DONE["confirm_totp"]
    assert bare.users().status == DONE["users"]
    reader = service.user(roles=("proof-reader",))
    looking = service.client(reader, "198.51.100.4")
    roles = type(service.module("state").state_of(service.app).team)
    permissions = frozenset({service.module("identity.users").READ})
    monkeypatch.setattr(roles, "roles", {**roles.roles, "proof-reader": permissions})
    arrive(looking, reader.email, reader.password)
    harm(looking.users().status == DONE["users"], "who may look at accounts and no more saw them by a password")
    other = administrator(service, monkeypatch, "192.0.2.91").user
    assert other is not None
    with_passkey = service.client(other, "198.51.100.3")
    assert arrive(with_passkey, other.email, other.password).status == SIGNED_IN
    assert with_passkey.users().status == NO_FACTOR
    options, state = with_passkey.passkey_options()
    assert with_passkey.add_passkey(state, Authenticator().create(options)).status == DONE["add_passkey"]
    assert with_passkey.users().status == DONE["users"]


# --- reset-keeps-mfa -------------------------------------------------------------------------------------------------


def reset(service: Service, user: User, password: str) -> Response:
    """Whoever reads the account's mail chooses another password."""
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
    passkey=edit(FILE, "return self.totp or self.passkeys + self.suspended > 0", "return self.totp"),
)
def test_whoever_reads_the_mail_has_no_second_factor(service: Service) -> None:
    user, other, bare = service.user(), service.user(), service.user()
    app = with_app(service, user)
    device = Authenticator()
    client = service.client(other, "198.51.100.1").login()
    options, state = client.passkey_options()
    works(client.add_passkey(state, device.create(options)).status == DONE["add_passkey"], "another has a passkey")
    works(reset(service, bare, CHOSEN).status == DONE["reset"], "a password is chosen anew")
    works(lives(arrived(service, bare, "198.51.100.2", CHOSEN)), "and opens an account without a second factor")
    for number, victim in enumerate((user, other)):
        answer = reset(service, victim, CHOSEN)
        assert answer.status == DONE["reset"]
        reader = arrived(service, victim, f"198.51.100.{30 + number}", CHOSEN)
        harm(lives(reader), "the mail and the new password opened an account with a second factor")
    owner = arrived(service, user, "198.51.100.40", CHOSEN)
    assert owner.send_code(app.next_code()).status == DONE["send_code"]
    assert lives(owner)
    holder = arrived(service, other, "198.51.100.41", CHOSEN)
    options, state = holder.factor_passkey_options()
    assert holder.send_passkey(state, device.get(options)).status == DONE["send_passkey"]
