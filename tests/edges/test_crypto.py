"""Edges of the proofs in test_crypto.py: further attacks on the same protections."""

from __future__ import annotations

import hashlib
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..harness import edit, harm, protects, refused, works
from ..rings import ring_of
from ..test_crypto import ENCRYPTION_ROW, MODULE, OTHER_SEED, ROW, SEED, forged, sign, unsign
from ..test_guards import MAKE_KEY
from ..test_settings import command

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from ..running import Service
    from ..wire import Response


@protects(ROW, age=edit("crypto/signing.py", " if now() - signed_at <= max_age else None", ""))
def test_no_value_is_taken_after_its_time(service: Service) -> None:
    text = sign(service, "reset", "value")
    service.travel(minutes=59)
    works(unsign(service, "reset", text) == "value", "the service accepts a value before it expires")
    service.travel(minutes=1, seconds=2)
    harm(unsign(service, "reset", text), "the service accepted an expired value")
    assert unsign(service, "reset", sign(service, "reset", "value")) == "value"


@protects(
    ROW,
    keys=edit(
        "crypto/signing.py",
        "_Signer(keys[::-1], ",
        "_Signer(keys, ",
    ),
)
def test_a_former_key_signs_nothing_any_more(service: Service) -> None:
    oldest, old, new = (secrets.token_urlsafe(32) for _ in range(3))
    service.restart(SECRET_KEY=old)
    before = sign(service, "reset", "before")
    service.restart(SECRET_KEY=ring_of(service, new, old, oldest))
    works(unsign(service, "reset", before) == "before", "a value signed before the rotation is accepted")
    works(unsign(service, "reset", forged(oldest, "reset", "x")) == "x", "values of every former key are accepted")
    after = sign(service, "reset", "after")
    by_whom = [
        key
        for key in (old, oldest)
        if after.rpartition(".")[2] == resigned(key, after.rpartition(".")[0]).rpartition(".")[2]
    ]
    harm(by_whom, "the service signed a value with a replaced key")
    service.restart(SECRET_KEY=new)
    assert unsign(service, "reset", after) == "after"
    assert unsign(service, "reset", before) is None


def resigned(key: str, stamped: str) -> str:
    """Sign the value and its time with this key."""
    from itsdangerous import Signer

    return Signer(key, salt="bastion-reset", key_derivation="hmac", digest_method=hashlib.sha256).sign(stamped).decode()


@protects(
    ROW,
    digest=edit("crypto/signing.py", "digest_method=hashlib.sha256", "digest_method=hashlib.sha1"),
    purpose=edit("crypto/signing.py", "salt=SALT + purpose", "salt=SALT"),
)
def test_value_signed_or_changed_in_another_way_is_refused(service: Service) -> None:
    key = service.environment.secrets["SECRET_KEY"]
    text = sign(service, "reset", "value")
    works(unsign(service, "reset", text) == "value", "the service accepts a value that it signed")
    works(sign(service, "reset", "Zoë 漢字").isascii() is False, "the service signs non-ASCII text unchanged")
    elsewhere = sign(service, "activate", "value")
    weak = [forged(key, "reset", "value", digest_method=digest) for digest in (hashlib.sha1, hashlib.md5)]
    weak += [forged(key, "reset", "value", key_derivation=way) for way in ("concat", "django-concat", "none")]
    weak += [forged(key, "reset", "value", salt=salt) for salt in ("bastion-", "reset", "itsdangerous.Signer", "")]
    weak.append(forged(secrets.token_urlsafe(32), "reset", "value"))
    harm(unsign(service, "reset", elsewhere), "a value signed for another purpose was accepted")
    harm([one for one in weak if unsign(service, "reset", one)], "a value signed in another way passed")
    changed = [text[:place] + chr(ord(letter) ^ 1) + text[place + 1 :] for place, letter in enumerate(text[:-1])]
    taken = [
        one for one in (*changed, text[:-2], f"{text}.", "", ".", "..", "x" * 5000) if unsign(service, "reset", one)
    ]
    harm(taken, "an altered value was accepted")
    assert unsign(service, "reset", forged(key, "reset", "value")) == "value"  # the forger above does it right


# --- encrypted columns -----------------------------------------------------------------------------------------------


def new_key() -> str:
    return secrets.token_urlsafe(32)


def flipped(stored: bytes, place: int) -> bytes:
    """Return the bytes with one bit changed."""
    return bytes((*stored[:place], stored[place] ^ 1, *stored[place + 1 :]))


# --- one value --------------------------------------------------------------------------------------------------


@protects(ENCRYPTION_ROW, failure=edit(MODULE, "        raise DecryptError\n", '        return b""\n'))
def test_tampered_encrypted_value_ends_the_request(service: Service) -> None:
    former = new_key()
    service.secret("DATA_KEY", ring_of(service, service.environment.secrets["DATA_KEY"], former))
    vault = Vault(service)
    row = vault.add()
    works(vault.get(row).status == 200, "the service reads an intact value")
    vault.read.clear()
    stored = vault.stored(row)
    changed = {
        "another key that is live": vault.header(former) + stored[5:],
        "an unknown key": flipped(stored, 3),
        "another layout": b"\x02" + stored[1:],
        "a bit of the nonce": flipped(stored, 5),
        "a bit of the text": flipped(stored, 17),
        "a bit of the tag": flipped(stored, len(stored) - 1),
        "the tag cut": stored[:-1],
        "the nonce cut": stored[:10],
        "nothing": b"",
        "the plain value": SEED,
    }
    for what, value in changed.items():
        vault.put(row, value)
        answer = vault.get(row)
        harm(vault.read, f"the request continued with a tampered value: {what}")
        refused(answer, 500, ENCRYPTION_ROW)
        assert SEED.decode() not in answer.text
    for place in range(len(stored)):
        for value in (flipped(stored, place), stored[:place], stored + bytes(place + 1)):
            tried = vault.opened(value, vault.place(row))
            harm(isinstance(tried, bytes), f"a value tampered with at byte {place} was decrypted")
            assert type(tried).__name__ == "DecryptError"


@protects(ENCRYPTION_ROW, nonce=edit(MODULE, "secrets.token_bytes(NONCE_BYTES)", "bytes(NONCE_BYTES)"))
def test_the_same_value_is_never_stored_the_same(service: Service) -> None:
    from base64 import urlsafe_b64decode

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    vault, place = Vault(service), "auth_totp|secret|1"
    key = service.environment.secrets["DATA_KEY"]
    values = [vault.encrypted(SEED, place) for _ in range(1000)]
    works({vault.opened(value, place) for value in values[:20]} == {SEED}, "the service decrypts each value")
    harm(len({*values}) < 1000, "two ciphertexts are equal: equal seeds show, and a repeated nonce reveals the key")
    assert len({value[5:17] for value in values}) == 1000
    first = values[0]
    assert first[:5] == vault.header(key)
    assert len(first) == 5 + 12 + len(SEED) + 16
    cipher = AESGCM(urlsafe_b64decode(f"{key}="))
    assert cipher.decrypt(first[5:17], first[17:], first[:5] + place.encode()) == SEED  # by the library alone


@protects(
    "compare-constant-time", outcome=edit(MODULE, "except (KeyError, InvalidTag, ValueError):", "except InvalidTag:")
)
def test_nobody_learns_why_a_value_is_not_read(service: Service) -> None:
    vault = Vault(service)
    row = vault.add()
    works(vault.get(row).status == 200, "the service reads an intact value under the right key")
    stored, place = vault.stored(row), vault.place(row)
    changed = [
        flipped(stored, len(stored) - 1),
        flipped(stored, 2),
        b"\x00" + stored[1:],
        stored[:9],
        b"",
        stored[:-20],
    ]
    seen: set[tuple[Any, ...]] = set()
    for value in changed:
        vault.put(row, value)
        answer = vault.get(row)
        shown = re.sub(r"[0-9a-f-]{32,36}", "", answer.text)
        logged = [(event.get("event"), event.get("reason")) for event in answer.events if "reason" in event]
        seen.add((type(error := vault.opened(value, place)), str(error), answer.status, shown, *logged))
    harm(len(seen) != 1, "the answer or the log distinguishes a wrong key from a tampered value")
    [(kind, text, *_)] = seen
    assert (kind.__name__, text) == ("DecryptError", "a stored value can't be decrypted")
    signing = service.module("crypto.signing")
    with service.app.app_context():
        signed = signing.sign("proof", "value")
        day = signing.timedelta(days=1)
        assert signing.unsign("proof", signed, day) == "value"
        tried = (signed[:-1], signed + "x", signed.partition(".")[0], "", f"x{signed}")
        assert {signing.unsign("proof", text, day) for text in tried} == {None}


# --- keys -------------------------------------------------------------------------------------------------------


@protects(ENCRYPTION_ROW, key=edit("start/guards.py", "    check_keys,\n", ""))
def test_a_key_is_256_random_bits_of_its_own(service: Service) -> None:
    present = service.environment.secrets["DATA_KEY"]
    cure, put_back = MAKE_KEY.removeprefix(". "), "Remove it, or put back the key that was used."
    for key in (secrets.token_hex(32), new_key(), f"{new_key()}="):
        works(service.start(DATA_KEY=key).app is not None, "the service starts with a key of 32 random bytes")
    works(service.start(DATA_KEY=ring_of(service, present, new_key(), new_key())).app is not None, "former keys pass")
    no_key = "is not 32 bytes as base64url (43 characters) or hex (64 digits)"
    wrong = {
        secrets.token_urlsafe(48): no_key,
        secrets.token_hex(48): no_key,
        f"+{secrets.token_urlsafe(32)[1:]}": no_key,
        secrets.token_urlsafe(16): "is shorter than 32 random bytes (64 hex digits or 43 base64url characters)",
        service.environment.secrets["SECRET_KEY"]: "equals SECRET_KEY; one key is for one purpose",
    }
    for key, fault in wrong.items():
        tried = service.start(DATA_KEY=key)
        harm(tried.app is not None, f"the service started with a DATA_KEY that {fault}")
        assert tried.reasons == [f"DATA_KEY {fault}. {cure}"]
        assert key not in tried.text
        tried = service.start(DATA_KEY=ring_of(service, present, key))
        harm(tried.app is not None, f"the service started with a former key that {fault}")
        assert tried.reasons == [f"DATA_KEY: key 2 {fault}. {put_back}"]
        assert key not in tried.text
    tried = service.start(DATA_KEY=ring_of(service, present, present))
    harm(tried.app is not None, "the service started with a rotation that changed no key")
    assert tried.reasons == [f"DATA_KEY: key 2 equals DATA_KEY: key 1. {put_back}"]


@protects(
    ENCRYPTION_ROW,
    present=edit(
        MODULE,
        "next(iter(_by_header(state().rings.get(SECRET).texts()).items()))",
        "next(reversed(_by_header(state().rings.get(SECRET).texts()).items()))",
    ),
)
def test_former_keys_read_and_never_write(service: Service) -> None:
    oldest, old, new = (new_key() for _ in range(3))
    vault = Vault(service)
    rows = []
    for keys in ((oldest,), (old, oldest), (new, old, oldest)):
        service.restart(DATA_KEY=ring_of(service, *keys))
        rows += [vault.add()]
        works([vault.get(row).status for row in rows] == [200] * len(rows), "values under former keys are readable")
    under = [vault.stored(row)[:5] for row in rows]
    harm(under[2] != vault.header(new), "the service encrypted with a replaced key")
    assert under == [vault.header(oldest), vault.header(old), vault.header(new)]
    service.restart(DATA_KEY=ring_of(service, new, oldest))
    assert [vault.get(row).status for row in rows] == [200, 500, 200]


# --- rotation ---------------------------------------------------------------------------------------------------


def reencrypt(service: Service, monkeypatch: pytest.MonkeyPatch) -> tuple[object, list[str]]:
    """Run `keys reencrypt` and return its exit code and its lines other than log lines."""
    code, text = command(service, monkeypatch, "keys", "reencrypt")
    return code, [line for line in text.splitlines() if not line.startswith("{")]


def exchanged(service: Service, vault: Vault, count: int) -> tuple[str, str, list[UUID]]:
    """Write rows, then rotate the key; return the former key, the present key and the rows."""
    former, present = service.environment.secrets["DATA_KEY"], new_key()
    rows = [vault.add() for _ in range(count)]
    service.restart(DATA_KEY=ring_of(service, present, former, ago=600))
    return former, present, rows


@protects(
    ENCRYPTION_ROW,
    rotate=edit(
        MODULE,
        "    if stored.startswith(next(iter(_by_header(state().rings.get(SECRET).texts())))):\n",
        "    if stored:\n",
    ),
)
def test_after_a_rotation_the_former_key_reads_nothing_any_more(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(service)
    former, present, rows = exchanged(service, vault, 5)
    rows.append(vault.add(OTHER_SEED))
    works([vault.get(row).status for row in rows] == [200] * 6, "the service reads rows under either key")
    monkeypatch.setattr(service.module("crypto.encryption"), "BATCH", 2)
    done = reencrypt(service, monkeypatch)
    under = [vault.stored(row)[:5] for row in rows]
    harm(vault.header(former) in under, "the former key still decrypts a row after the re-encryption")
    assert done == (0, ["Encrypted anew: 5.", "All is under DATA_KEY."])
    assert service.rows("SELECT count(*) FROM audit_event WHERE kind = 'data.reencrypted'")[0][0] == 1
    assert under == [vault.header(present)] * 6
    service.restart(DATA_KEY=present)
    vault.read.clear()
    assert [vault.get(row).status for row in rows] == [200] * 6
    assert vault.read == [SEED] * 5 + [OTHER_SEED]
    before = [vault.stored(row) for row in rows]
    assert reencrypt(service, monkeypatch) == (0, ["Encrypted anew: 0.", "All is under DATA_KEY."])
    assert [vault.stored(row) for row in rows] == before
    code, text = command(service, monkeypatch, "keys", "new", "data")
    assert code == 0
    assert service.start(DATA_KEY=text.strip()).app is not None


@protects(ENCRYPTION_ROW, meanwhile=edit(MODULE, ".where(this, column == stored).", ".where(this)."))
def test_a_value_that_is_written_meanwhile_is_not_lost(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, encryption = Vault(service), service.module("crypto.encryption")
    _, _, [row] = exchanged(service, vault, 1)
    works(vault.get(row).status == 200, "the service reads a value under the former key")
    newer, encrypt = vault.encrypted(OTHER_SEED, vault.place(row)), encryption.encrypt

    def late(plain: bytes, place: str) -> bytes:
        vault.put(row, newer)  # the user sets up another app, between reading and writing
        return bytes(encrypt(plain, place))

    with monkeypatch.context() as patch:
        patch.setattr(encryption, "encrypt", late)
        code, said = reencrypt(service, patch)
    harm(vault.stored(row) != newer, "the re-encryption overwrote a newer seed with an old one")
    assert code == 1
    assert said[:2] == ["Encrypted anew: 0.", "Written by somebody else meanwhile: 1."]
    assert reencrypt(service, monkeypatch)[0] == 0


# --- encrypted columns ------------------------------------------------------------------------------------------


@protects(
    ENCRYPTION_ROW,
    stored=edit(
        "identity/totp.py", "secret=encryption.encrypt(seed.encode(), _place(user_id)),", "secret=seed.encode(),"
    ),
)
def test_what_is_to_be_read_again_is_encrypted_in_every_table(service: Service) -> None:
    totp, flows, database = (service.module(name) for name in ("identity.totp", "identity.flows", "database"))
    user = service.user()
    with service.app.app_context(), database.transaction() as connection:
        totp.store(connection, user.id, SEED.decode(), 0)
        flows.begin(connection, flows.ENROL, user.id, data=SEED)
    found = {
        str(column): service.rows(f"SELECT {column.name} FROM {column.table}")  # noqa: S608  (names of our own)
        for column in service.module("crypto.encryption").columns()
    }
    kept = {name: len(rows) for name, rows in found.items()}
    works(kept == {"auth_totp.secret": 1, "auth_flow.data": 1}, "the service stores both values")
    harm(
        [name for name, [(stored,)] in found.items() if SEED in bytes(stored)],
        "the database holds the seed of a second factor in clear text",
    )
    assert {len(bytes(stored)) for [(stored,)] in found.values()} == {17 + len(SEED) + 16}


def outcome(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the exception with which it ends."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(call)
        return done.exception() or done.result()


class Vault:
    """Seeds of authenticator apps in the database, and a route that reads the seed of a row."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.read: list[bytes] = []
        service.adds_route("/seed/<uuid:row_id>", mark="public", view=self._view)

    def _view(self, row_id: UUID) -> dict[str, str]:
        plain = self.service.module("crypto.encryption").decrypt(self.stored(row_id), self.place(row_id))
        self.read.append(plain)
        return {"read": "yes"}

    @property
    def _table(self) -> Any:
        return self.service.module("identity.models").Totp.__table__

    def place(self, row_id: UUID) -> str:
        return f"auth_totp|secret|{row_id}"

    def encrypted(self, plain: bytes, place: str) -> bytes:
        with self.service.app.app_context():
            return bytes(self.service.module("crypto.encryption").encrypt(plain, place))

    def opened(self, stored: bytes, place: str) -> Any:
        """Return the decrypted value, or the exception."""

        def call() -> Any:
            with self.service.app.app_context():
                return self.service.module("crypto.encryption").decrypt(stored, place)

        return outcome(call)

    def add(self, plain: bytes = SEED) -> UUID:
        """Insert a row of a new user with this seed."""
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
        """Write these bytes into the row, as an attacker with write access to the database does."""
        with self.service.engine.begin() as connection:
            connection.execute(self._table.update().where(self._table.c.user_id == row_id).values(secret=stored))

    def get(self, row_id: UUID) -> Response:
        return self.service.client().get(f"/seed/{row_id}")

    def header(self, key: str) -> bytes:
        """Return the header of a value under this key, computed independently."""
        import hashlib
        from base64 import urlsafe_b64decode

        return b"\x01" + hashlib.sha256(urlsafe_b64decode(f"{key}=")).digest()[:4]


@protects(
    ENCRYPTION_ROW,
    place=(
        edit(MODULE, ".encrypt(nonce, plain, header + place.encode())", ".encrypt(nonce, plain, header)"),
        edit(MODULE, ".decrypt(nonce, text, header + place.encode())", ".decrypt(nonce, text, header)"),
    ),
)
def test_a_value_is_read_in_no_other_place(service: Service) -> None:
    vault = Vault(service)
    mine, victims = vault.add(SEED), vault.add(OTHER_SEED)
    works(vault.get(victims).status == 200, "the service decrypts a seed in its own row")
    works(vault.read == [OTHER_SEED], "the decrypted seed is the stored one")
    vault.read.clear()
    vault.put(victims, vault.stored(mine))
    answer = vault.get(victims)
    harm(vault.read, "an attacker who can write rows moved their own seed into another account")
    refused(answer, 500, ENCRYPTION_ROW)
    for place in (f"auth_totp|seed|{mine}", f"auth_flow|secret|{mine}", f"auth_totp|secret|{mine}0", str(mine), ""):
        tried = vault.opened(vault.stored(mine), place)
        harm(isinstance(tried, bytes), f"the service decrypted the value in the place {place!r}")
        assert type(tried).__name__ == "DecryptError"
