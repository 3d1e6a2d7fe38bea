"""Unit tests beside the proofs in test_encryption.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..accounts import with_app
from ..edges.test_crypto import Vault, exchanged, flipped, new_key, outcome, reencrypt

if TYPE_CHECKING:
    import pytest

    from ..running import Service


# --- rotation ---------------------------------------------------------------------------------------------------


def test_a_rotation_that_is_interrupted_goes_on_and_leaves_what_no_key_reads(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, encryption = Vault(service), service.module("crypto.encryption")
    _, present, rows = exchanged(service, vault, 4)
    renew, calls = encryption._renew, list[Any]()

    def stops(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        renew(*arguments)

    def run() -> Any:
        with service.app.app_context():
            return encryption.renew()

    with monkeypatch.context() as patch:
        patch.setattr(encryption, "_renew", stops)
        assert isinstance(outcome(run), KeyboardInterrupt)
    under = [vault.stored(row)[:5] == vault.header(present) for row in rows]
    assert sum(under) == 2
    assert [vault.get(row).status for row in rows] == [200] * 4
    broken = rows[under.index(False)]
    vault.put(broken, lost := flipped(vault.stored(broken), 3))
    code, said = reencrypt(service, monkeypatch)
    assert code == 1
    assert said[:1] == ["Encrypted anew: 1."]
    assert said[1].startswith(f"No key reads {vault.place(broken)}: put back the key")
    assert vault.stored(broken) == lost
    assert [vault.get(row).status for row in rows if row != broken] == [200] * 3


# --- what is encrypted ------------------------------------------------------------------------------------------


def test_a_key_is_used_by_what_was_written_with_it_alone(service: Service) -> None:
    """Before a key goes it is asked for; ids are compared from both sides."""
    encryption, ring = service.module("crypto.encryption"), service.module("crypto.ring")
    with_app(service, service.user())

    def id_of(text: str) -> bytes:
        return bytes(encryption.header_of(ring.bytes_of(text)))

    with service.app.app_context():
        own = service.module("state").state().rings.get("DATA_KEY").texts()[0]
        below: dict[bool, str] = {}
        while len(below) < 2:  # of any fixed number of random ones all may be on one side
            other = new_key()
            below[id_of(other) < id_of(own)] = other
        assert encryption.is_used(own)
        assert [encryption.is_used(other) for other in below.values()] == [False, False]
