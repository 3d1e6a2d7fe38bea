"""Rings of keys, for the proofs: as texts of a secret, turned by the service's own command, and in several processes.

It stops proofs of a rotation from knowing one backend alone, or one process, where nothing can disagree.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from .test_settings import command

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from flask import Flask

    from .running import Service

KNOWN = 361
"""Seconds after which every process knows a key that was published; see WAIT in crypto/ring.py."""
HOUR = 3600


def new_key() -> str:
    """A plain key, as every ring begins."""
    return secrets.token_urlsafe(32)


def text_of(service: Service, *keys: tuple[str, str], ago: float = 0) -> str:
    """The text of a ring: each key with its status, which it has since so many seconds."""
    since = int(service.now().timestamp() - ago)
    listed = [{"kty": "oct", "k": key, "status": status, "since": since} for key, status in keys]
    return json.dumps({"keys": listed})


def ring_of(service: Service, active: str, *retired: str, ago: float = 0) -> str:
    """The text of a ring whose keys were exchanged so many seconds ago."""
    return text_of(service, (active, "active"), *((key, "retired") for key in retired), ago=ago)


def keys_of(text: str) -> list[tuple[str, str]]:
    """Each key of a ring with its status, in the order of the text."""
    return [(jwk["k"], jwk["status"]) for jwk in json.loads(text)["keys"]]


def rotate(service: Service, monkeypatch: pytest.MonkeyPatch, kind: str) -> tuple[object, str]:
    """What `keys rotate KIND` ends with, and the ring that it writes, or the refusal that it says."""
    code, text = command(service, monkeypatch, "keys", "rotate", kind)
    lines = [line for line in text.splitlines() if line.startswith('{"keys"') or not line.startswith("{")]
    return code, lines[-1]


def within(app: Flask, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call something of the service's own in this process of it."""
    with app.app_context():
        return function(*arguments)


def signs(service: Service, app: Flask, value: str) -> str:
    """The value as this process signs it."""
    return str(within(app, service.module("crypto.signing").sign, "proof", value))


def accepts(service: Service, app: Flask, text: str) -> bool:
    """Whether this process takes it for its own, not older than two days: no end of a value hides that of a key."""
    signing = service.module("crypto.signing")
    return within(app, signing.unsign, "proof", text, signing.timedelta(days=2)) is not None


def stolen(service: Service, key: str, value: str = "forged") -> str:
    """A value as somebody signs it at this moment who has the key."""
    from itsdangerous import TimestampSigner

    class Now(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(service.now().timestamp())

    made = Now(key, salt="bastion-proof", key_derivation="hmac", digest_method=hashlib.sha256).sign(value)
    return str(made.decode())


def signed_by(text: str, *keys: str) -> list[str]:
    """Those of these keys under which the signature of a text is right."""
    from itsdangerous import Signer

    def is_right(key: str) -> bool:
        signer = Signer(key, salt="bastion-proof", key_derivation="hmac", digest_method=hashlib.sha256)
        return bool(signer.validate(text))

    return [key for key in keys if is_right(key)]
