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


@protects(
    ROW,
    digest=edit("signing.py", "digest_method=hashlib.sha256", "digest_method=hashlib.sha1"),
    purpose=edit("signing.py", "salt=SALT + purpose", "salt=SALT"),
)
def test_no_value_is_taken_that_was_signed_or_changed_in_any_other_way(service: Service) -> None:
    key = service.environment.secrets["SECRET_KEY"]
    text = sign(service, "reset", "value")
    works(unsign(service, "reset", text) == "value", "a value that the service signed comes back")
    works(sign(service, "reset", "Zoë 漢字").isascii() is False, "as it is, of any text")
    elsewhere = sign(service, "activate", "value")
    weak = [forged(key, "reset", "value", digest_method=digest) for digest in (hashlib.sha1, hashlib.md5)]
    weak += [forged(key, "reset", "value", key_derivation=way) for way in ("concat", "django-concat", "none")]
    weak += [forged(key, "reset", "value", salt=salt) for salt in ("bastion-", "reset", "itsdangerous.Signer", "")]
    weak.append(forged(secrets.token_urlsafe(32), "reset", "value"))
    harm(unsign(service, "reset", elsewhere), "a value for one purpose was taken for another")
    harm([one for one in weak if unsign(service, "reset", one)], "a value was taken that was not signed with SHA-256")
    changed = [text[:place] + chr(ord(letter) ^ 1) + text[place + 1 :] for place, letter in enumerate(text[:-1])]
    taken = [
        one for one in (*changed, text[:-2], f"{text}.", "", ".", "..", "x" * 5000) if unsign(service, "reset", one)
    ]
    harm(taken, "an altered value was taken")
    assert unsign(service, "reset", forged(key, "reset", "value")) == "value"  # the forger above does it right
