"""Edges of the proofs in test_signing.py: further attacks on the same protections."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works
from ..test_signing import ROW, forged, sign, unsign

if TYPE_CHECKING:
    from ..running import Service


@protects(ROW, age=edit("signing.py", " if now() - signed_at <= max_age else None", ""))
def test_no_value_is_taken_after_its_time(service: Service) -> None:
    text = sign(service, "reset", "value")
    service.travel(minutes=59)
    works(unsign(service, "reset", text) == "value", "a value is good for its time")
    service.travel(minutes=1, seconds=2)
    harm(unsign(service, "reset", text), "a value was good after its time")
    assert unsign(service, "reset", sign(service, "reset", "value")) == "value"


@protects(
    ROW,
    keys=edit(
        "signing.py",
        "_Signer(keys[::-1], ",
        "_Signer(keys, ",
    ),
)
def test_a_former_key_signs_nothing_any_more(service: Service) -> None:
    oldest, old, new = (secrets.token_urlsafe(32) for _ in range(3))
    service.restart(SECRET_KEY=old)
    before = sign(service, "reset", "before")
    service.restart(SECRET_KEY=new, BASTION_SECRET_KEY_FALLBACKS=f"{old},{oldest}")
    works(unsign(service, "reset", before) == "before", "what was given out before a rotation is still taken")
    works(unsign(service, "reset", forged(oldest, "reset", "x")) == "x", "with every former key")
    after = sign(service, "reset", "after")
    by_whom = [
        key
        for key in (old, oldest)
        if after.rpartition(".")[2] == resigned(key, after.rpartition(".")[0]).rpartition(".")[2]
    ]
    harm(by_whom, "a value was signed with a key that was replaced")
    service.restart(SECRET_KEY=new, BASTION_SECRET_KEY_FALLBACKS=None)
    assert unsign(service, "reset", after) == "after"
    assert unsign(service, "reset", before) is None


def resigned(key: str, stamped: str) -> str:
    """The value and its time, signed with this key."""
    from itsdangerous import Signer

    return Signer(key, salt="bastion-reset", key_derivation="hmac", digest_method=hashlib.sha256).sign(stamped).decode()
