"""Signed and encrypted values are accepted only unchanged, unexpired, for their own purpose and in their own row."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from .running import Service


ROW = "signed-values-sha256"
HOUR = timedelta(hours=1)


def sign(service: Service, purpose: str, value: str) -> str:
    with service.app.app_context():
        return str(service.module("crypto.signing").sign(purpose, value))


def unsign(service: Service, purpose: str, text: str) -> Any:
    """What the service believes of this text, not older than an hour."""
    with service.app.app_context():
        return service.module("crypto.signing").unsign(purpose, text, HOUR)


def forged(key: str, purpose: str, value: str, **differently: Any) -> str:
    """The value as the key's owner would sign it, but for one thing."""
    from itsdangerous import TimestampSigner

    options = {"salt": f"bastion-{purpose}", "key_derivation": "hmac", "digest_method": hashlib.sha256, **differently}
    return TimestampSigner(key, **options).sign(value).decode()


@protects(ROW, purpose=edit("crypto/signing.py", "salt=SALT + purpose", "salt=SALT"))
def test_no_value_is_taken_that_was_changed_or_signed_for_another_purpose(service: Service) -> None:
    text = sign(service, "reset", "value")
    works(unsign(service, "reset", text) == "value", "the service accepts a value that it signed")
    harm(unsign(service, "reset", sign(service, "activate", "value")), "a value signed for another purpose was taken")
    weak = forged(service.environment.secrets["SECRET_KEY"], "reset", "value", digest_method=hashlib.sha1)
    harm(unsign(service, "reset", weak), "a value signed with SHA-1 was accepted")
    harm(unsign(service, "reset", text.replace("value", "other")), "an altered value was accepted")


# --- what is encrypted -----------------------------------------------------------------------------------------------


ENCRYPTION_ROW = "data-encryption-authenticated"
MODULE = "crypto/encryption.py"
SEED = b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OTHER_SEED = b"KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"


# --- one value --------------------------------------------------------------------------------------------------


@protects(
    ENCRYPTION_ROW,
    place=(
        edit(MODULE, ".encrypt(nonce, plain, header + place.encode())", ".encrypt(nonce, plain, header)"),
        edit(MODULE, ".decrypt(nonce, text, header + place.encode())", ".decrypt(nonce, text, header)"),
    ),
)
def test_a_value_is_read_in_its_own_place_alone(service: Service) -> None:
    stored: dict[UUID, bytes] = {}
    read: list[bytes] = []

    def view(row_id: UUID) -> dict[str, str]:
        read.append(service.module("crypto.encryption").decrypt(stored[row_id], f"auth_totp|secret|{row_id}"))
        return {}

    service.adds_route("/seed/<uuid:row_id>", mark="public", view=view)
    mine, victims = UUID(int=1), UUID(int=2)
    with service.app.app_context():
        for row_id, seed in ((mine, SEED), (victims, OTHER_SEED)):
            stored[row_id] = service.module("crypto.encryption").encrypt(seed, f"auth_totp|secret|{row_id}")
    client = service.client()
    works(client.get(f"/seed/{victims}").status == 200, "the service decrypts a seed in its own row")
    works(read == [OTHER_SEED], "the decrypted seed is the stored one")
    read.clear()
    stored[victims] = stored[mine]  # as a thief does it who can write to the database
    answer = client.get(f"/seed/{victims}")
    harm(read, "an attacker who can write rows moved their own seed into another account")
    refused(answer, 500, ENCRYPTION_ROW)
