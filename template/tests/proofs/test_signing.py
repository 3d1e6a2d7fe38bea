"""What the service gave out and takes back is worth something for its purpose, for its time, and unchanged alone."""

from __future__ import annotations

import hashlib
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


@protects(ROW, purpose=edit("signing.py", "salt=SALT + purpose", "salt=SALT"))
def test_no_value_is_taken_that_was_changed_or_signed_for_another_purpose(service: Service) -> None:
    text = sign(service, "reset", "value")
    works(unsign(service, "reset", text) == "value", "a value that the service signed comes back")
    harm(unsign(service, "reset", sign(service, "activate", "value")), "a value for one purpose was taken for another")
    weak = forged(service.environment.secrets["SECRET_KEY"], "reset", "value", digest_method=hashlib.sha1)
    harm(unsign(service, "reset", weak), "a value was taken that was not signed with SHA-256")
    harm(unsign(service, "reset", text.replace("value", "other")), "an altered value was taken")
