"""Unit tests beside the proofs in test_passkeys.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..accounts import with_app
from ..authenticator import Authenticator
from ..edges.test_passkeys import REGISTER, Holder, not_added, passkeys_of
from ..service import Client

if TYPE_CHECKING:
    from ..running import Service


# --- passkey-count-and-owner -----------------------------------------------------------------------------------------


def test_a_passkey_has_a_name_that_can_be_shown_and_the_handle_of_its_account(service: Service) -> None:
    holder = Holder(service)
    asked = holder.asks(REGISTER)
    service.rows("UPDATE auth_user SET passkey_handle = :handle", handle=b"h" * 64)  # by another ceremony, meanwhile
    not_added(asked.gets(holder.device.create(asked.options)), "handle")
    [own] = passkeys_of(service, holder.with_passkey().user)
    for name in ("", "  ", "x" * 101, "Key\u202e"):
        asked = holder.asks(REGISTER)
        answers = [holder.client.rename_passkey(own.id, name)]
        answers.append(holder.client.add_passkey(asked.state, Authenticator().create(asked.options), name))
        assert [answer.status for answer in answers] == [422, 422]
    assert [row.name for row in passkeys_of(service, holder.user)] == ["Key"]
    assert holder.client.rename_passkey(own.id, "x" * 100).status == Client.DONE["rename_passkey"]


# --- what any change of a factor costs, and what is counted ---------------------------------------------------------


def test_what_an_account_has_is_counted_by_what_is_in_force(service: Service) -> None:
    holder, other = Holder(service).with_passkey(), Holder(service)
    factors: Any = service.module("identity.factors")

    def held(one: Holder) -> tuple[bool, int, int, int, bool]:
        with service.app.app_context():
            found = factors.held(one.user.id)
        return found.totp, found.passkeys, found.suspended, found.recovery_codes, bool(found)

    assert (held(holder), held(other)) == ((False, 1, 0, 10, True), (False, 0, 0, 0, False))
    assert (len(holder.client.passkeys()), other.client.passkeys()) == (1, [])  # what is shown is one's own
    service.rows("UPDATE auth_passkey SET suspended_at = created_at")
    assert held(holder) == (False, 0, 1, 10, True)
    [(code,), *_] = service.rows("SELECT id FROM auth_recovery_code")
    service.rows("UPDATE auth_recovery_code SET used_at = created_at WHERE id = :id", id=code)
    with_app(service, other.user)
    assert (held(holder), held(other)) == ((False, 0, 1, 9, True), (True, 0, 0, 0, True))
