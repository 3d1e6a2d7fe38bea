"""Proofs of encryption.py: what is encrypted is read in its own place, unchanged and by who has the key, or not at all.

They stop a backup from holding everybody's second factor, and whoever can write a row from choosing what it says.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from collections.abc import Callable

    from .running import Service
    from .wire import Response


ROW = "data-encryption-authenticated"
MODULE = "encryption.py"
SEED = b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OTHER_SEED = b"KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the exception with which it ends."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(call)
        return done.exception() or done.result()


class Vault:
    """Seeds of authenticator apps in the database, and a route that reads the one of a row."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.read: list[bytes] = []
        service.adds_route("/seed/<uuid:row_id>", mark="public", view=self._view)

    def _view(self, row_id: UUID) -> dict[str, str]:
        plain = self.service.module("encryption").decrypt(self.stored(row_id), self.place(row_id))
        self.read.append(plain)
        return {"read": "yes"}

    @property
    def _table(self) -> Any:
        return self.service.module("identity.models").Totp.__table__

    def place(self, row_id: UUID) -> str:
        return f"auth_totp|secret|{row_id}"

    def encrypted(self, plain: bytes, place: str) -> bytes:
        with self.service.app.app_context():
            return bytes(self.service.module("encryption").encrypt(plain, place))

    def opened(self, stored: bytes, place: str) -> Any:
        """What the service reads there, or the exception."""

        def call() -> Any:
            with self.service.app.app_context():
                return self.service.module("encryption").decrypt(stored, place)

        return outcome(call)

    def add(self, plain: bytes = SEED) -> UUID:
        """A row of a new user's with this seed."""
        row_id = self.service.user().id
        values = {"user_id": row_id, "last_step": 0, "created_at": self.service.now()}
        with self.service.engine.begin() as connection:
            stored = self.encrypted(plain, self.place(row_id))
            connection.execute(self._table.insert().values(secret=stored, **values))
        return row_id

    def stored(self, row_id: UUID) -> bytes:
        from sqlalchemy import select

        with self.service.engine.connect() as connection:
            found = connection.execute(select(self._table.c.secret).where(self._table.c.user_id == row_id)).scalar_one()
        return bytes(found)

    def put(self, row_id: UUID, stored: bytes) -> None:
        """Write these bytes into the row, as somebody does who can write to the database."""
        with self.service.engine.begin() as connection:
            connection.execute(self._table.update().where(self._table.c.user_id == row_id).values(secret=stored))

    def get(self, row_id: UUID) -> Response:
        return self.service.client().get(f"/seed/{row_id}")

    def header(self, key: str) -> bytes:
        """What stands in front of a value under this key, by the proof's own reckoning."""
        import hashlib
        from base64 import urlsafe_b64decode

        return b"\x01" + hashlib.sha256(urlsafe_b64decode(f"{key}=")).digest()[:4]


# --- one value --------------------------------------------------------------------------------------------------


@protects(
    ROW,
    place=(
        edit(MODULE, ".encrypt(nonce, plain, header + place.encode())", ".encrypt(nonce, plain, header)"),
        edit(MODULE, ".decrypt(nonce, text, header + place.encode())", ".decrypt(nonce, text, header)"),
    ),
)
def test_a_value_is_read_in_its_own_place_alone(service: Service) -> None:
    vault = Vault(service)
    mine, victims = vault.add(SEED), vault.add(OTHER_SEED)
    works(vault.get(victims).status == 200, "each seed is read in its row")
    works(vault.read == [OTHER_SEED], "as it was written")
    vault.read.clear()
    vault.put(victims, vault.stored(mine))
    answer = vault.get(victims)
    harm(vault.read, "whoever can write rows puts his own seed into another account, and has its second factor")
    refused(answer, 500, ROW)
    for place in (f"auth_totp|seed|{mine}", f"auth_flow|secret|{mine}", f"auth_totp|secret|{mine}0", str(mine), ""):
        tried = vault.opened(vault.stored(mine), place)
        harm(isinstance(tried, bytes), f"it was read at {place!r}")
        assert type(tried).__name__ == "DecryptError"
