"""Proofs of encryption.py: what is encrypted is read in its own place, unchanged and by who has the key, or not at all.

They stop a backup from holding everybody's second factor, and whoever can write a row from choosing what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from .harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from .running import Service


ROW = "data-encryption-authenticated"
MODULE = "encryption.py"
SEED = b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OTHER_SEED = b"KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"


# --- one value --------------------------------------------------------------------------------------------------


@protects(
    ROW,
    place=(
        edit(MODULE, ".encrypt(nonce, plain, header + place.encode())", ".encrypt(nonce, plain, header)"),
        edit(MODULE, ".decrypt(nonce, text, header + place.encode())", ".decrypt(nonce, text, header)"),
    ),
)
def test_a_value_is_read_in_its_own_place_alone(service: Service) -> None:
    stored: dict[UUID, bytes] = {}
    read: list[bytes] = []

    def view(row_id: UUID) -> dict[str, str]:
        read.append(service.module("encryption").decrypt(stored[row_id], f"auth_totp|secret|{row_id}"))
        return {}

    service.adds_route("/seed/<uuid:row_id>", mark="public", view=view)
    mine, victims = UUID(int=1), UUID(int=2)
    with service.app.app_context():
        for row_id, seed in ((mine, SEED), (victims, OTHER_SEED)):
            stored[row_id] = service.module("encryption").encrypt(seed, f"auth_totp|secret|{row_id}")
    client = service.client()
    works(client.get(f"/seed/{victims}").status == 200, "each seed is read in its row")
    works(read == [OTHER_SEED], "as it was written")
    read.clear()
    stored[victims] = stored[mine]  # as a thief does it who can write to the database
    answer = client.get(f"/seed/{victims}")
    harm(read, "whoever can write rows puts his own seed into another account, and has its second factor")
    refused(answer, 500, ROW)
