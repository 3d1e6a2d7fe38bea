"""Edges of the proofs in test_factors.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..accounts import (
    CHOSEN,
    administrator,
    lives,
    with_app,
    with_codes,
)
from ..authenticator import App, Authenticator
from ..harness import edit, harm, protects, refused, works
from ..logins import arrive, arrived, stored
from ..mails import token_for
from ..test_factors import (
    BEGIN,
    DONE,
    ENROL,
    FACTORS,
    FILE,
    METHODS,
    REMOVAL,
    REQUIRED,
    STALE,
    apps_of,
    not_fresh,
    open_to,
    signed_in,
    to_set_one_up,
)

if TYPE_CHECKING:
    import pytest

    from ..running import Service


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
