"""Edges of the proofs in test_factors.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import test_factors as core
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
from ..harness import at_once, edit, harm, protects, refused, works
from ..logins import SIGNED_IN, arrive, arrived, attempt, stored
from ..mails import sent, text, token_for
from ..service import AUTH
from ..test_factors import (
    CODES,
    CODES_FILE,
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
    TOTP,
    TOTP_DONE,
    TOTP_FILE,
    WRONG,
    apps_of,
    not_fresh,
    open_to,
    reset,
    signed_in,
    to_set_one_up,
    waits,
)
from .core import sabotages

if TYPE_CHECKING:
    import pytest

    from ..running import Service, User


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
    works((begun.header("Cache-Control"), len(seed)) == ("no-store", 32), "a seed of 160 bits is shown and not cached")
    table = service.module("identity.models").Flow.__table__
    with service.engine.connect() as connection:
        harm(seed.encode() in repr(connection.execute(table.select()).all()).encode(), "the flow stores it")
    works(client.confirm_totp(App(service, seed).code()).status == DONE["confirm_totp"], "its first code confirms it")
    totp = service.module("identity.models").Totp.__table__
    with service.engine.connect() as connection:
        stored = connection.execute(totp.select().where(totp.c.user_id == user.id)).one().secret
    harm(seed.encode() in bytes(stored), "the table stores the seed in clear text")
    # The stored seed of one account opens no other.
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
    works(client.confirm_totp(app.code()).status == DONE["confirm_totp"], "the user completes the enrolment")
    flows = service.rows("SELECT used_at, data FROM auth_flow")
    harm([row for row in flows if row.data is not None], "an ended flow still stores the seed")
    assert [row.used_at is None for row in flows] == [False, False]


@protects(ENROL, fresh=STALE)
def test_nobody_adds_an_app_in_a_session_that_was_left_open(service: Service) -> None:
    user = service.user()
    client = service.client(user, "198.51.100.1").login()
    begun = "SELECT count(*) FROM auth_flow"
    works(client.seed_of(client.begin_totp()), "a user with a fresh login is shown a seed")
    works(service.rows(begun)[0][0] == 1, "the pending enrolment is stored")
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    answer = client.post(BEGIN)
    harm(service.rows(begun)[0][0] > 1, "an enrolment began without a fresh login")
    not_fresh(answer)
    assert client.step_up(user.password).status == DONE["step_up"]
    app = App(service, client.seed_of(client.begin_totp()))
    assert client.confirm_totp(app.code()).status == DONE["confirm_totp"]


# --- pending-flows-cancelled -----------------------------------------------------------------------------------------


@protects("pending-flows-cancelled", factors=edit(FILE, "        links.cancel(connection, row.email, user_id)\n", ""))
def test_a_removal_by_an_administrator_ends_mailed_links(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the user sets up a new factor, the password and an earlier link would open the account."""
    manager, user, other = administrator(service, monkeypatch), service.user(), service.user()
    with_app(service, user)
    tokens = {}
    for one in (user, other):
        service.client().forgot(one.email)
        tokens[one.email] = token_for(service, one.email, "reset")
    before = stored(service, user.email)
    works(manager.reset_factors(user.id).status == DONE["reset_factors"], "an administrator resets the factors")
    works(service.client().reset(tokens[other.email], CHOSEN).status == DONE["reset"], "another user's link works")
    answer = service.client().reset(tokens[user.email], CHOSEN)
    harm(stored(service, user.email) != before, "an earlier link reset the password of an account without factors")
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
    works(lives(other) and lives(owner), "both sessions are valid")
    works(owner.remove_totp().status == DONE["remove_totp"], "the owner removes the app in one session")
    works(lives(owner), "that session stays valid")
    harm(lives(other), "another session survived the removal of the factor")


# --- mfa-required-for-admins -----------------------------------------------------------------------------------------


@protects(
    REQUIRED,
    removed=edit(FILE, "            methods -= SECOND\n", "            pass\n"),
)
def test_required_factor_must_be_replaced_after_its_removal(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = administrator(service, monkeypatch)
    user = manager.user
    assert user is not None
    app = with_app(service, user)
    owner = signed_in(service, user, app, "198.51.100.1")
    works(owner.users().status == DONE["users"], "an administrator with an app lists the accounts")
    without_app = arrived(service, user, "198.51.100.2")
    without_app.send_code(with_codes(service, user)[0])
    works(without_app.users().status == DONE["users"], "a recovery code suffices as well")
    works(owner.remove_totp().status == DONE["remove_totp"], "the administrator removes the app")
    harm(owner.users().status == DONE["users"], "an administrator without a second factor listed the accounts")
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
    assert manager.reset_factors(manager.user.id).status == 409  # a thief in their session could remove them
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
    works(service.rows(devices, email=user.email), "the user's device is known")
    works(manager.reset_factors(user.id).status == DONE["reset_factors"], "an administrator resets the factors")
    assert service.rows(devices, email=user.email) == []
    other = service.user()
    assert manager.reset_factors(other.id).status == DONE["reset_factors"]
    harm(lives(held), "a session survived the reset of its factors")
    works((apps_of(service, user), apps_of(service, manager.user)) == (0, 1), "the app is removed")
    with service.app.app_context():
        left, others = (service.module("identity.factors").held(one.id) for one in (user, unharmed))
    assert (others.totp, others.passkeys, others.suspended, others.recovery_codes) == (False, 1, 0, 10)
    assert service.rows(devices, email=free.email)
    assert (left.totp, left.passkeys, left.suspended, left.recovery_codes) == (False, 0, 0, 0)
    works(lives(arrived(service, free, "198.51.100.2")), "other users sign in as before")
    bare = arrived(service, user, "198.51.100.3")
    harm(open_to(service, bare) - to_set_one_up(service), "the password alone reached more than second-factor setup")
    again = App(service, bare.seed_of(bare.begin_totp()))
    assert bare.confirm_totp(again.code()).status == DONE["confirm_totp"]
    assert lives(bare)
    still = arrived(service, other, "198.51.100.5")
    assert still.account().status != DONE["account"]  # the other user still has to set one up
    assert [row.reset for row in service.rows("SELECT details AS reset FROM audit_event WHERE kind LIKE 'mfa.reset_%'")]
    service.restart(BASTION_REQUIRE_MFA="all")
    member = service.client(free, "198.51.100.4")
    arrive(member, free.email, free.password)
    harm(lives(member), "a user signed in without the second factor that all must have")


@protects(
    ENROL,
    **sabotages(core.test_no_app_is_in_force_before_it_has_shown_a_code, ENROL, "confirm"),
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
    works(apps_of(service, careless) == 0, "the other account has no app")
    harm(apps_of(service, user), "an app became a second factor before its code was confirmed")
    assert client.confirm_totp(app.wrong_code()).status == 422
    assert apps_of(service, user) == 0
    done = client.confirm_totp(app.code())
    works((done.status, len({*client.codes_of(done)})) == (DONE["confirm_totp"], 10), "the right code confirms the app")
    works(apps_of(service, user) == 1, "the app becomes a second factor")
    assert lives(signed_in(service, user, app, "198.51.100.4"))
    planted = "A" * 32
    mallory = service.client(careless, "198.51.100.2").login()
    answer = mallory.post(BEGIN, {"secret": planted, "seed": planted})
    harm(answer.ok and mallory.seed_of(answer) == planted, "the client chose the seed")


@protects(REMOVAL, fresh=STALE, factor=PASSWORD_IS_ENOUGH)
def test_a_second_factor_goes_by_itself_alone(service: Service) -> None:
    happy, user = service.user(), service.user()
    app, stolen = with_app(service, happy), with_app(service, user)
    _, codes = with_codes(service, happy), with_codes(service, user)
    owner = signed_in(service, happy, app, "198.51.100.1")
    service.travel(minutes=6)
    works(owner.step_up(happy.password, app.next_code()).status == DONE["step_up"], "password and code re-authenticate")
    works(owner.remove_totp().status == DONE["remove_totp"], "the user removes the app")
    works(apps_of(service, happy) == 0, "the app is removed from the account")
    with service.app.app_context():
        assert service.module("identity.factors").held(happy.id).recovery_codes == 0  # that were in its place
    works(lives(arrived(service, happy, "198.51.100.2")), "the next login asks for no code")

    thief = signed_in(service, user, stolen, "198.51.100.3")  # a thief then takes over this session
    service.travel(minutes=6)
    for removes in (thief.remove_totp, thief.new_codes):
        answer = removes()
        harm(apps_of(service, user) == 0, "a thief removed the app without a fresh login")
        not_fresh(answer)
    answer = thief.step_up(user.password)
    thief.remove_totp()
    harm(apps_of(service, user) == 0, "a thief removed the app with only the password")
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
    works(manager.users().status == DONE["users"], "an administrator with two factors lists the accounts")
    plain = service.client(service.user(), "198.51.100.1").login()
    works(lives(plain), "a user without a role needs no second factor")
    user = manager.user
    assert user is not None
    bare = service.client(user, "198.51.100.2")
    works(arrive(bare, user.email, user.password).status == SIGNED_IN, "the password is right")
    answer = bare.users()
    harm(answer.status == DONE["users"], "an administrator without a second factor listed the accounts")
    ran = open_to(service, bare)
    harm(ran - to_set_one_up(service), "the password alone reached more than second-factor setup")
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
    harm(looking.users().status == DONE["users"], "a reader of accounts listed them without a second factor")
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
    **sabotages(core.test_a_reader_of_the_mail_has_no_second_factor, RESET, "factor"),
    passkey=edit(FILE, "return self.totp or self.passkeys + self.suspended > 0", "return self.totp"),
)
def test_whoever_reads_the_mail_has_no_second_factor(service: Service) -> None:
    user, other, bare = service.user(), service.user(), service.user()
    app = with_app(service, user)
    device = Authenticator()
    client = service.client(other, "198.51.100.1").login()
    options, state = client.passkey_options()
    works(client.add_passkey(state, device.create(options)).status == DONE["add_passkey"], "a user has a passkey")
    works(reset(service, bare, CHOSEN).status == DONE["reset"], "a user resets the password")
    works(lives(arrived(service, bare, "198.51.100.2", CHOSEN)), "the user signs in with the new password")
    for number, victim in enumerate((user, other)):
        answer = reset(service, victim, CHOSEN)
        assert answer.status == DONE["reset"]
        reader = arrived(service, victim, f"198.51.100.{30 + number}", CHOSEN)
        harm(lives(reader), "a password reset bypassed the second factor")
    owner = arrived(service, user, "198.51.100.40", CHOSEN)
    assert owner.send_code(app.next_code()).status == DONE["send_code"]
    assert lives(owner)
    holder = arrived(service, other, "198.51.100.41", CHOSEN)
    options, state = holder.factor_passkey_options()
    assert holder.send_passkey(state, device.get(options)).status == DONE["send_passkey"]


# --- totp-one-use-no-drift --------------------------------------------------------------------------------------------

NO_CODE = "AAAAA-AAAAA-AAAAA-AAAAA-AAAAAA"  # a code of no account, which only the login counts
FULLWIDTH = {ord("0") + digit: 0xFF10 + digit for digit in range(10)}
ARABIC = {ord("0") + digit: 0x0660 + digit for digit in range(10)}


@protects(
    TOTP,
    window=edit(TOTP_FILE, "for_time=moment, valid_window=0", "for_time=moment, valid_window=1"),
)
def test_a_code_is_good_in_its_own_thirty_seconds_alone(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    works(waits(service, user, 1).send_code(app.code()).status == TOTP_DONE, "the owner's current code is accepted")
    app.next_code()
    for number in range(5):
        late = waits(service, user, 10 + number)
        answer = late.send_code(app.code(step=-1))
        harm(lives(late), "the service accepted an expired code")
        refused(answer, 401, WRONG)
    early = waits(service, user, 30)
    answer = early.send_code(app.code(step=1))
    harm(lives(early), "the service accepted a code before its time")
    refused(answer, 401, WRONG)
    # Late ones are no guesses: their owner typed them in their last second, and is not locked out.
    assert waits(service, user, 40).send_code(app.code()).status == TOTP_DONE
    slow = waits(service, user, 41)
    for _ in range(5):
        refused(slow.send_code(app.code(step=-1)), 401, WRONG)
    assert slow.send_code(app.next_code()).status == TOTP_DONE  # nor does the login that waits for it count them
    guesser = waits(service, user, 42)
    for number in range(6):
        refused(guesser.send_code(app.code(step=-1) if number == 4 else NO_CODE), 401, WRONG)
    guesser.send_code(app.next_code())
    harm(lives(guesser), "a late code returned more than the one try that it used")


@protects(TOTP, digits=edit(TOTP_FILE, 'r"[0-9]{6}"', r'r"\d{6}"'))
def test_a_code_is_six_ascii_digits(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    code = app.next_code()
    works(waits(service, user, 1).send_code(f"{code[:3]} {code[3:]}").status == TOTP_DONE, "a code with a space passes")
    code = app.next_code()
    for number, other in enumerate((code.translate(FULLWIDTH), code.translate(ARABIC), f"0{code}", f"{code}0")):
        client = waits(service, user, 10 + number)
        answer = client.send_code(other)
        harm(lives(client), f"the service accepted {other!r} in place of {code}")
        refused(answer, 401, WRONG)
    assert waits(service, user, 40).send_code(code).status == TOTP_DONE


@protects(
    TOTP,
    once=edit(
        TOTP_FILE, "later = (APPS.user_id == user_id, APPS.last_step < step)", "later = (APPS.user_id == user_id,)"
    ),
)
def test_a_code_is_good_once(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    owner, thief = waits(service, user, 1), waits(service, user, 2)
    code = app.code()
    works(owner.send_code(code).status == TOTP_DONE, "the owner's current code is accepted")
    works(lives(owner), "the owner is signed in")
    answer = thief.send_code(code)
    harm(lives(thief), "a thief reused a code to open the account")
    refused(answer, 401, WRONG)
    crowd = [waits(service, user, 10 + number) for number in range(10)]
    code = app.next_code()
    answers = at_once([lambda one=one: one.send_code(code) for one in crowd])
    inside = [one for one in crowd if lives(one)]
    harm(inside[1:], "several clients used one code at the same time")
    assert len(inside) == 1
    assert {answer.status for answer in answers} <= {TOTP_DONE, 401, 429}


# --- recovery-codes ---------------------------------------------------------------------------------------------------


def stored_codes(service: Service, user: User) -> list[Any]:
    """Return the rows of this account's recovery codes."""
    table = service.module("identity.models").RecoveryCode.__table__
    with service.engine.connect() as connection:
        return list(connection.execute(table.select().where(table.c.user_id == user.id)))


@protects(CODES, owner=edit(CODES_FILE, "good = (CODES.user_id == user_id, CODES.code_hash", "good = (CODES.code_hash"))
def test_recovery_code_needs_its_own_account_and_the_password(service: Service) -> None:
    alice, mallory = service.user(), service.user()
    for one in (alice, mallory):
        with_app(service, one)
    foreign, own = with_codes(service, mallory), with_codes(service, alice)
    works(waits(service, alice, 1).send_code(own[0]).status == DONE["send_code"], "a user's own code is accepted")
    with service.app.app_context():
        left = [service.module("identity.factors").held(one.id).recovery_codes for one in (alice, mallory)]
    assert left == [9, 10]  # no user learns of another's codes
    thief = waits(service, alice, 2)
    answer = thief.send_code(foreign[0])
    harm(lives(thief), "a recovery code of another account opened this one")
    refused(answer, 401, WRONG)
    stranger = service.client(alice, "203.0.113.3")
    attempt(stranger, alice.email, "not the password of any user")
    answer = stranger.send_code(own[1])
    harm(lives(stranger), "the service accepted a recovery code without the password")
    assert not answer.ok


@protects(CODES, bits=edit(CODES_FILE, "secrets.token_bytes(CODE_BYTES)", "secrets.token_bytes(4)"))
def test_a_recovery_code_has_128_bits(service: Service) -> None:
    user = service.user()
    with_app(service, user)
    codes = with_codes(service, user)
    works(waits(service, user, 1).send_code(codes[0]).status == DONE["send_code"], "a recovery code is accepted")
    letters = min(len(code.replace("-", "")) for code in codes)
    harm(letters < 26, f"a recovery code has {letters} letters of five bits: it can be guessed")


@protects(
    CODES,
    renewed=edit(CODES_FILE, "    remove(connection, user_id)\n    codes = [", "    codes = ["),
)
def test_a_new_set_makes_the_old_one_worthless(service: Service) -> None:
    user, plain = service.user(), service.client(service.user(), "203.0.113.4").login()
    refused(plain.new_codes(), 404, CODES)  # where no second factor is asked for, none would be looked at
    app = with_app(service, user)
    old = with_codes(service, user)
    owner = waits(service, user, 1)
    works(owner.send_code(app.code()).status == DONE["send_code"], "the owner signs in with the app")
    shown = owner.new_codes()
    new = owner.codes_of(shown)
    works(shown.status == DONE["new_codes"], "the owner gets a new set")
    works(len({*new}) == 10 and not {*new} & {*old}, "the set has ten new codes")
    works(waits(service, user, 2).send_code(new[0]).status == DONE["send_code"], "the new codes are accepted")
    thief = waits(service, user, 3)
    answer = thief.send_code(old[5])
    harm(lives(thief), "a code of the old set opened the account")
    refused(answer, 401, WRONG)
    again = owner.get({"session": "/account/factors", "jwt": "/auth/factors"}[AUTH])
    assert (again.status, [code for code in new if code in again.text]) == (200, [])  # shown once


@protects(CODES, hash=edit(CODES_FILE, '"code_hash": digest(_plain(code))', '"code_hash": _plain(code).encode()'))
def test_whoever_reads_the_table_has_no_code(service: Service) -> None:
    user = service.user()
    with_app(service, user)
    codes = with_codes(service, user)
    works(len(stored_codes(service, user)) == 10, "ten codes are stored")
    everything = repr(stored_codes(service, user))
    harm([code for code in codes if code.replace("-", "") in everything], "a recovery code is stored in clear text")
    thief = waits(service, user, 1)
    for row in stored_codes(service, user)[:3]:
        refused(thief.send_code(row.code_hash.hex()), 401, WRONG)
    assert not lives(thief)
    assert waits(service, user, 2).send_code(codes[3]).status == DONE["send_code"]
    mails = [text(mail) for mail in sent(service, user.email)]
    assert mails  # of the code that was used
    assert [mail for mail in mails if any(code in mail for code in codes)] == []


@protects(
    CODES,
    **sabotages(core.test_a_recovery_code_opens_an_account_once, CODES, "once"),
)
def test_a_recovery_code_is_good_once(service: Service) -> None:
    user = service.user()
    with_app(service, user)
    codes = with_codes(service, user)
    assert len({*codes}) == 10
    first = waits(service, user, 1)
    works(first.send_code(f" {codes[0].lower().replace('-', ' ')} ").status == DONE["send_code"], "any spelling passes")
    works(lives(first), "the owner is signed in")
    works(len([row for row in stored_codes(service, user) if row.used_at is None]) == 9, "nine codes are left")
    thief = waits(service, user, 2)
    answer = thief.send_code(codes[0])
    harm(lives(thief), "a thief reused a recovery code to open the account")
    refused(answer, 401, WRONG)
    crowd = [waits(service, user, 10 + number) for number in range(4)]
    answers = at_once([lambda one=one: one.send_code(codes[1]) for one in crowd])
    inside = [one for one in crowd if lives(one)]
    harm(inside[1:], "several clients used one recovery code at the same time")
    assert len(inside) == 1
    assert {answer.status for answer in answers} <= {DONE["send_code"], 401, 429}
    assert waits(service, user, 30).send_code(codes[9]).status == DONE["send_code"]
