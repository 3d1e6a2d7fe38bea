"""Edges of the proofs in test_factors.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..accounts import (
    CHOSEN,
    TAKES_ANYTHING,
    WHAT_WAS_SENT,
    administrator,
    lives,
    with_app,
    with_codes,
)
from ..authenticator import App, Authenticator
from ..harness import edit, harm, insert, protects, refused, works
from ..logins import SIGNED_IN, arrive, arrived, stored
from ..mails import token_for
from ..service import AUTH
from ..test_factors import (
    DONE,
    ENROL,
    FILE,
    METHODS,
    NO_FACTOR,
    PASSWORD_IS_ENOUGH,
    REMOVAL,
    REQUIRED,
    RESET,
    STALE,
    apps_of,
    not_fresh,
    open_to,
    reset,
    signed_in,
    to_set_one_up,
)

if TYPE_CHECKING:
    import pytest

    from ..running import Service


BEGIN = {"session": "/account/factors/totp", "jwt": "/auth/totp"}[AUTH]
FACTORS = {"session": "/account/factors", "jwt": "/auth/factors"}[AUTH]


# --- mfa-enrol-confirmed ---------------------------------------------------------------------------------------------


@protects(
    ENROL,
    encrypt=edit(
        "identity/totp.py", "secret=encryption.encrypt(seed.encode(), _place(user_id))", "secret=seed.encode()"
    ),
)
def test_whoever_reads_the_table_has_no_seed(service: Service) -> None:
    user, other = service.user(), service.user()
    client = service.client(user, "198.51.100.1").login()
    begun = client.begin_totp()
    seed = client.seed_of(begun)
    works((begun.header("Cache-Control"), len(seed)) == ("no-store", 32), "a seed of 160 bits is shown, and not kept")
    table = service.module("identity.models").Flow.__table__
    with service.engine.connect() as connection:
        harm(seed.encode() in repr(connection.execute(table.select()).all()).encode(), "it stands in the flow's row")
    works(client.confirm_totp(App(service, seed).code()).status == DONE["confirm_totp"], "its first code confirms it")
    totp = service.module("identity.models").Totp.__table__
    with service.engine.connect() as connection:
        stored = connection.execute(totp.select().where(totp.c.user_id == user.id)).one().secret
    harm(seed.encode() in bytes(stored), "the seed stands in the table as it is")
    # What is stored for one account opens no other.
    app, theirs = App(service, seed), with_app(service, other)
    with service.engine.begin() as connection:
        connection.execute(totp.update().where(totp.c.user_id == other.id).values(secret=stored))
    thief = arrived(service, other, "198.51.100.2")
    assert thief.send_code(app.next_code()).status == 500
    assert not lives(thief)
    assert thief.send_code(theirs.next_code()).status == 500
    assert seed not in service.client(user, "198.51.100.3").login().get(FACTORS).text


FLOWS = "identity/flows.py"


@protects(
    ENROL,
    used=edit(FLOWS, "used_at=now(), data=None)).rowcount == 1", "used_at=now())).rowcount == 1"),
    ended=edit(FLOWS, "*which).values(used_at=now(), data=None)", "*which).values(used_at=now())"),
)
def test_a_flow_that_has_ended_keeps_no_seed(service: Service) -> None:
    client = service.client(service.user(), "198.51.100.1").login()
    works(client.seed_of(client.begin_totp()), "an enrolment begins")
    app = App(service, client.seed_of(client.begin_totp()))  # and ends when another one does
    works(client.confirm_totp(app.code()).status == DONE["confirm_totp"], "which is completed")
    flows = service.rows("SELECT used_at, data FROM auth_flow")
    harm([row for row in flows if row.data is not None], "the row keeps a seed that it is not needed for any more")
    assert [row.used_at is None for row in flows] == [False, False]


@protects(ENROL, fresh=STALE)
def test_nobody_adds_an_app_in_a_session_that_was_left_open(service: Service) -> None:
    user = service.user()
    client = service.client(user, "198.51.100.1").login()
    begun = "SELECT count(*) FROM auth_flow"
    works(client.seed_of(client.begin_totp()), "who has just signed in is shown a seed")
    works(service.rows(begun)[0][0] == 1, "and what waits for its code is noted")
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    answer = client.post(BEGIN)
    harm(service.rows(begun)[0][0] > 1, "an app was begun in a session that was left open")
    not_fresh(answer)
    assert client.step_up(user.password).status == DONE["step_up"]
    app = App(service, client.seed_of(client.begin_totp()))
    assert client.confirm_totp(app.code()).status == DONE["confirm_totp"]


# --- pending-flows-cancelled -----------------------------------------------------------------------------------------


@protects("pending-flows-cancelled", factors=edit(FILE, "        links.cancel(connection, row.email, user_id)\n", ""))
def test_a_removal_by_an_administrator_ends_mailed_links(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a new factor is set up the password alone opens the account, and so would a link of before."""
    manager, user, other = administrator(service, monkeypatch), service.user(), service.user()
    with_app(service, user)
    tokens = {}
    for one in (user, other):
        service.client().forgot(one.email)
        tokens[one.email] = token_for(service, one.email, "reset")
    before = stored(service, user.email)
    works(manager.reset_factors(user.id).status == DONE["reset_factors"], "an administrator removes what was lost")
    works(service.client().reset(tokens[other.email], CHOSEN).status == DONE["reset"], "another user's link is good")
    answer = service.client().reset(tokens[user.email], CHOSEN)
    harm(stored(service, user.email) != before, "a link of before sets the password of an account without factors")
    refused(answer, 410, "reset-token-single-use")


# --- mfa-removal-guarded ---------------------------------------------------------------------------------------------


@protects(
    REMOVAL,
    sessions=edit(FILE, "    sessions.end_all(user.id, but=user.session_id, connection=connection)\n", ""),
)
def test_with_a_factor_go_all_other_sessions(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    other, owner = signed_in(service, user, app, "198.51.100.1"), signed_in(service, user, app, "198.51.100.2")
    works(lives(other) and lives(owner), "two sessions live")
    works(owner.remove_totp().status == DONE["remove_totp"], "the owner removes the app in one")
    works(lives(owner), "which goes on")
    harm(lives(other), "the other session outlived the removal of the factor")


# --- mfa-required-for-admins -----------------------------------------------------------------------------------------


@protects(
    REQUIRED,
    removed=edit(FILE, "            methods -= SECOND\n", "            pass\n"),
)
def test_whoever_must_have_a_factor_and_removes_the_last_sets_up_another(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = administrator(service, monkeypatch)
    user = manager.user
    assert user is not None
    app = with_app(service, user)
    owner = signed_in(service, user, app, "198.51.100.1")
    works(owner.users().status == DONE["users"], "with the app he sees the accounts")
    without_app = arrived(service, user, "198.51.100.2")
    without_app.send_code(with_codes(service, user)[0])
    works(without_app.users().status == DONE["users"], "with a recovery code as well")
    works(owner.remove_totp().status == DONE["remove_totp"], "he may remove it")
    harm(owner.users().status == DONE["users"], "he still sees the accounts, without any second factor")
    assert owner.begin_totp().status == DONE["begin_totp"]


@protects(
    REQUIRED,
    reset=edit(METHODS, "    return must_enrol or ", "    return "),
    everybody=edit(METHODS, 'wanted == "all" or ', ""),
)
def test_whose_factors_were_removed_sets_up_a_new_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = administrator(service, monkeypatch)
    user, free = service.user(), service.user()
    app = with_app(service, user)
    held = signed_in(service, user, app, "198.51.100.1")
    assert manager.user is not None
    with_app(service, manager.user)
    assert manager.reset_factors(manager.user.id).status == 409  # a thief in his session would be rid of them
    assert apps_of(service, manager.user) == 1
    options, state = held.passkey_options()
    assert held.add_passkey(state, Authenticator().create(options)).status == DONE["add_passkey"]
    with_codes(service, user)
    keeps = service.client(unharmed := service.user(), "198.51.100.7").login()
    options, state = keeps.passkey_options()
    assert keeps.add_passkey(state, Authenticator().create(options)).status == DONE["add_passkey"]
    devices = "SELECT auth_device.id FROM auth_device JOIN auth_user ON user_id = auth_user.id WHERE email = :email"
    signed_in(service, user, app, "198.51.100.6")
    arrived(service, free, "198.51.100.8")
    works(service.rows(devices, email=user.email), "his device is known")
    works(manager.reset_factors(user.id).status == DONE["reset_factors"], "an administrator removes what was lost")
    assert service.rows(devices, email=user.email) == []
    other = service.user()
    assert manager.reset_factors(other.id).status == DONE["reset_factors"]
    harm(lives(held), "a session outlived its factors")
    works((apps_of(service, user), apps_of(service, manager.user)) == (0, 1), "the app is gone")
    with service.app.app_context():
        left, others = (service.module("identity.factors").held(one.id) for one in (user, unharmed))
    assert (others.totp, others.passkeys, others.suspended, others.recovery_codes) == (False, 1, 0, 10)
    assert service.rows(devices, email=free.email)
    assert (left.totp, left.passkeys, left.suspended, left.recovery_codes) == (False, 0, 0, 0)
    works(lives(arrived(service, free, "198.51.100.2")), "others sign in as before")
    bare = arrived(service, user, "198.51.100.3")
    harm(open_to(service, bare) - to_set_one_up(service), "the password alone opened the account from then on")
    again = App(service, bare.seed_of(bare.begin_totp()))
    assert bare.confirm_totp(again.code()).status == DONE["confirm_totp"]
    assert lives(bare)
    still = arrived(service, other, "198.51.100.5")
    assert still.account().status != DONE["account"]  # whoever else has yet to set one up
    assert [row.told for row in service.rows("SELECT details AS told FROM audit_event WHERE kind LIKE 'mfa.reset_%'")]
    service.restart(BASTION_REQUIRE_MFA="all")
    anybody = service.client(free, "198.51.100.4")
    arrive(anybody, free.email, free.password)
    harm(lives(anybody), "somebody got in without a second factor where all must have one")


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
