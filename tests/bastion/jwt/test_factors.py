"""Proofs of jwt/factors.py that concern JSON alone; the others are in ../test_factors.py and ../test_passkeys.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...edges.test_passkeys import DONE, REGISTER, Holder, passkeys_of

if TYPE_CHECKING:
    from ...running import Service


def test_the_answer_to_a_new_name_is_of_the_passkey_that_has_it(service: Service) -> None:
    holder = Holder(service).with_passkey()
    assert holder.adds().status == DONE[REGISTER]
    for row, name in zip(passkeys_of(service, holder.user), ("Laptop", "Phone"), strict=True):
        answer = holder.client.rename_passkey(row.id, name)
        assert (answer.json["id"], answer.json["name"], answer.json["suspended"]) == (str(row.id), name, False)
    assert sorted(one["name"] for one in holder.client.passkeys()) == ["Laptop", "Phone"]
