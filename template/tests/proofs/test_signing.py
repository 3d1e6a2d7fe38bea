"""What the service gave out and takes back is worth something for its purpose, for its time, and unchanged alone."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, works

if TYPE_CHECKING:
    from .running import Service


ROW = "signed-values-sha256"
HOUR = timedelta(hours=1)


def sign(service: Service, purpose: str, value: str) -> str:
    with service.app.app_context():
        return str(service.module("signing").sign(purpose, value))


def unsign(service: Service, purpose: str, text: str) -> Any:
    """What the service believes of this text, not older than an hour."""
    with service.app.app_context():
        return service.module("signing").unsign(purpose, text, HOUR)


def forged(key: str, purpose: str, value: str, **differently: Any) -> str:
    """The value as the key's owner would sign it, but for one thing."""
    from itsdangerous import TimestampSigner

    options = {"salt": f"bastion-{purpose}", "key_derivation": "hmac", "digest_method": hashlib.sha256, **differently}
    return TimestampSigner(key, **options).sign(value).decode()


@protects(
    ROW,
    digest=edit("signing.py", "digest_method=hashlib.sha256", "digest_method=hashlib.sha1"),
    purpose=edit("signing.py", "salt=SALT + purpose", "salt=SALT"),
)
def test_no_value_is_taken_that_was_signed_in_another_way_or_for_another_purpose(service: Service) -> None:
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
