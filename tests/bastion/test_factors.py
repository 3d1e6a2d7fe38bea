"""Unit tests beside the proofs in test_factors.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..accounts import (
    CHOSEN,
    OTHER,
    administrator,
    lives,
    with_app,
)
from ..authenticator import App, Authenticator
from ..edges.statements import Transactions
from ..harness import refused
from ..logins import arrived
from ..mails import token_for
from ..routes import routes, stubbed
from ..service import AUTH
from ..test_factors import DONE, ENROL, REMOVAL, apps_of, not_fresh, signed_in

if TYPE_CHECKING:
    import pytest

    from ..running import Service
    from ..wire import Response


def test_a_change_of_factors_proves_nothing_about_who_made_it(service: Service) -> None:
    user = service.user()
    client = signed_in(service, user, with_app(service, user), "198.51.100.1")
    service.travel(seconds=service.limits.fresh_login_seconds - 60)
    assert client.new_codes().status == DONE["new_codes"]
    service.travel(seconds=61)
    not_fresh(client.new_codes())


# --- mfa-enrol-confirmed ---------------------------------------------------------------------------------------------


def test_an_app_that_was_begun_waits_for_its_code_for_ten_minutes(service: Service) -> None:
    slow, late = (service.client(service.user(), f"198.51.100.{number}").login() for number in (1, 2))
    app, forgotten = (App(service, client.seed_of(client.begin_totp())) for client in (slow, late))
    service.travel(minutes=9)  # and at most ten seconds until its code is a fresh one
    assert slow.confirm_totp(app.code()).status == DONE["confirm_totp"]
    service.travel(seconds=61)
    refused(late.confirm_totp(forgotten.code()), 410, ENROL)


# --- mfa-required-for-admins -----------------------------------------------------------------------------------------

LEFT_OPEN = {
    "session": {
        *("change_name", "change_password", "confirm_email", "confirm_totp", "logout", "reauthenticate"),
        "reauthenticate_with_passkey",
    },
    "jwt": {
        *("change_password", "confirm_email_change", "confirm_totp", "logout", "reauthenticate", "step_up_options"),
        *("step_up_with_passkey", "update_profile"),
    },
}[AUTH]
"""What an administrator's session can change that was left open: what asks for the password or a link by itself."""


def test_a_session_that_was_left_open_changes_nothing_that_matters(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, ran = administrator(service, monkeypatch), set[str]()
    unsafe = [one for one in routes(service) if not one.access.public and one.method not in ("GET", "HEAD", "OPTIONS")]
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    for number, route in enumerate(one for one in unsafe if one.endpoint.startswith("bastion")):
        manager.address = f"192.0.2.{number % 250 + 1}"
        with stubbed(service, route.endpoint) as runs:
            manager.send(route.method, route.path)
        ran |= {route.endpoint.partition(".")[2]} if runs else set()
    assert ran == LEFT_OPEN
    assert len(unsafe) > 3 * len(LEFT_OPEN)


def test_whoever_was_overtaken_changes_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the change somebody else used the flow, or ended the session."""
    user = service.user()
    client = service.client(user, "198.51.100.1").login()
    app = App(service, client.seed_of(client.begin_totp()))

    def before(what: str, comes: object) -> tuple[int, int]:
        with monkeypatch.context() as meanwhile:
            module, _, name = what.rpartition(".")
            meanwhile.setattr(service.module(module), name, lambda *_, **_more: comes)
            return client.confirm_totp(app.code()).status, apps_of(service, user)

    assert before("identity.flows.spend", False) == (410, 0)
    assert before("identity.flows.count", False) == (410, 0)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(service.module("identity.sessions"), "renew", lambda *_, **_more: None)
        assert client.change_password(user.password, CHOSEN).status == 401
        assert client.step_up(user.password).status == 401
    assert (lives(client), client.confirm_totp(app.code()).status) == (True, DONE["confirm_totp"])
    assert not arrived(service, user, "198.51.100.2", CHOSEN).waiting
    device = Authenticator()
    options, state = client.passkey_options()
    assert client.add_passkey(state, device.create(options)).status == 200
    late = arrived(service, user, "198.51.100.3")
    options, state = late.factor_passkey_options()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(service.module("identity.flows"), "count", lambda _flow: False)
        assert late.send_passkey(state, device.get(options)).status == 401
    assert not lives(late)
    [own] = client.passkeys()
    with monkeypatch.context() as meanwhile:
        for module, name in (("totp", "remove"), ("passkeys", "remove"), ("passkeys", "rename")):
            meanwhile.setattr(service.module(f"identity.{module}"), name, lambda *_: False)
        refused(client.remove_totp(), 404, "ownership-404")
        refused(client.remove_passkey(own["id"]), 404, "ownership-404")
        refused(client.rename_passkey(own["id"], "Mine"), 404, "ownership-404")
    assert lives(client)


def test_a_login_that_was_overtaken_opens_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the change the account was disabled, the login given up, or a factor added."""
    user, device = service.user(), Authenticator()
    client = service.client(user, "198.51.100.1").login()
    options, state = client.passkey_options()
    assert client.add_passkey(state, device.create(options)).status == DONE["add_passkey"]
    app, login = with_app(service, user), service.module("identity.login")
    visitor, late = service.client(user, "198.51.100.2"), arrived(service, user, "198.51.100.3")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(login, "open_session", lambda *_, **_more: None)
        options, state = visitor.login_passkey_options()
        refused(visitor.login_with_passkey(state, device.get(options)), 401, "login-uniform-failure")
        refused(late.send_code(app.code()), 401, "mfa-pending-has-no-access")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(service.module("identity.flows"), "count", lambda _flow: False)
        for _ in range(6):  # none of them was looked at, so none is counted as a guess
            refused(late.send_code(app.code()), 401, "mfa-pending-has-no-access")
    assert not lives(visitor)
    assert late.send_code(app.code()).status == DONE["send_code"]
    other = service.user()
    bare = service.client(other, "198.51.100.4").login()
    with monkeypatch.context() as meanwhile:
        none = service.module("identity.factors").Held(False, 0, 0, 0)
        meanwhile.setattr(login.factors, "held", lambda _user_id, connection=None: connection is not None or none)
        refused(bare.step_up(other.password), 403, "mfa-attempts-5")


def test_a_session_without_the_factor_that_its_account_has_changes_none(service: Service) -> None:
    user, bare = service.user(), service.user()
    client = service.client(user, "198.51.100.1").login()
    options, state = client.passkey_options()
    begun = App(service, client.seed_of(client.begin_totp()))
    with_app(service, user)
    for answer in (
        client.remove_totp(),
        client.new_codes(),
        client.add_passkey(state, Authenticator().create(options)),
        client.confirm_totp(begun.code()),
    ):
        refused(answer, 403, REMOVAL)
    assert apps_of(service, user) == 1
    refused(service.client(bare, "198.51.100.2").login().new_codes(), 404, "recovery-codes")


def test_a_change_of_factors_and_other_links_leave_the_way_to_another_password(service: Service) -> None:
    """A thief in a session would keep the owner from it for ever."""
    user = service.user()
    client, owner = service.client(user, "198.51.100.1").login(), service.client(address="198.51.100.2")
    client.ask_email("other@example.com")
    asked = token_for(service, "other@example.com", "email")
    owner.forgot(user.email)
    token = token_for(service, user.email, "reset")

    def good() -> list[bool]:
        with service.app.app_context():
            look = service.module("identity.links").look
            return [look(asked, "email") is not None, look(token, "reset") is not None]

    assert good() == [True, True]  # a mail ends the links of its own kind that went before it, and no others
    owner.forgot(user.email)
    app = App(service, client.seed_of(client.begin_totp()))
    assert client.confirm_totp(app.code()).status == DONE["confirm_totp"]
    purposes = [row.purpose for row in service.rows("SELECT purpose FROM mail_outbox")]
    assert "reset" in purposes
    assert good() == [False, True]
    assert owner.reset(token, CHOSEN).status == DONE["reset"]


def test_whatever_changes_what_opens_an_account_holds_its_row_before_it_looks(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that meet would decide by what the other one changes: the last factor goes while a login needs none yet."""
    manager = administrator(service, monkeypatch)
    user, device, done = service.user(), Authenticator(), Transactions(service)
    client = service.client(user, "198.51.100.1").login()
    app, tables = App(service, client.seed_of(client.begin_totp())), ("auth_user", "auth_totp", "auth_passkey")

    def holds(answer: Response) -> None:
        assert answer.status < 400
        [statements, *more] = done.writing(*tables, "auth_recovery_code")
        assert (done.held_by(statements[0]), more) == ([user.id], [])

    done.writing()
    holds(client.confirm_totp(app.code()))
    holds(client.new_codes())
    options, state = client.passkey_options()
    holds(client.add_passkey(state, device.create(options)))
    [passkey] = client.passkeys()
    holds(client.remove_passkey(passkey["id"]))
    holds(client.remove_totp())
    holds(client.change_password(user.password, CHOSEN))
    client.ask_email("other@example.com")
    holds(client.confirm_email(token_for(service, "other@example.com", "email")))
    client.forgot("other@example.com")
    holds(client.reset(token_for(service, "other@example.com", "reset"), OTHER))
    for change in (manager.reset_factors, manager.disable, manager.enable):
        # With those of all administrators, or two who disable each other leave none.
        done.writing()
        assert change(user.id).status < 400
        [statements] = done.writing(*tables)
        assert sorted(done.held_by(statements[0])) == sorted([user.id, manager.user.id])  # type: ignore[union-attr]
