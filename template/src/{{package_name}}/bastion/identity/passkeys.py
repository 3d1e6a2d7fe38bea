"""Passkeys (WebAuthn): the authenticator signs a challenge for this origin, after user verification.

This stops phishing: a forged page gets no usable signature, because the browser signs the page's origin. Every check is
explicit: by default the library accepts an answer without user verification. A challenge is signed, bound to one
session or login, and valid for five minutes. The first answer, right or wrong, spends it; a challenge that is only
shown adds no row. Source: Web Authentication Level 3; ASVS 6.3.3, 6.5.1, 6.6.2, 6.7.2.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from sqlalchemy import Connection, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    options_to_json,
    parse_client_data_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from ..clock import now
from ..crypto import signing
from ..database import connect, transaction
from ..state import state
from ..text import is_plain
from .models import Passkey, SpentChallenge, User
from .principal import Principal
from .sessions import digest
from .users import UserError

REGISTER: Final = "passkey-register"
LOGIN: Final = "passkey-login"  # without a password: the challenge is bound to no account
SECOND: Final = "passkey-second"  # bound to a login that waits
STEP_UP: Final = "passkey-step-up"  # bound to a session
GOOD_FOR: Final = timedelta(minutes=5)
CHALLENGE_BYTES: Final = 32
HANDLE_BYTES: Final = 64
MOST: Final = 10  # of one account
LONGEST_NAME: Final = 100
LEAST_RSA_BITS: Final = 2048
RSA_EXPONENT: Final = 65537
ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,  # the TPMs of Windows Hello make nothing else
]
PASSKEYS, USERS, CHALLENGES = Passkey.__table__.c, User.__table__.c, SpentChallenge.__table__.c


class Refusal(Exception):
    """The authenticator's answer is refused. Only the audit gets the reason: all refusals look the same."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Asked:
    """The browser's options for a ceremony, and the signed challenge that must come back with the answer."""

    options: dict[str, Any]
    state: str


@dataclass(frozen=True, slots=True)
class Assertion:
    """A verified answer: its passkey, the owner, and the new counter, which is not stored yet."""

    id: UUID
    user_id: UUID
    sign_count: int
    backed_up: bool


# ---- challenges ------------------------------------------------------------------------------------------------------


def _challenge(purpose: str, subject: str, handle: bytes = b"") -> tuple[bytes, str]:
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    return challenge, signing.sign(purpose, ":".join((_text(challenge), subject, _text(handle))))


def _spend(purpose: str, subject: str, text: str) -> tuple[bytes, bytes]:
    """Return the challenge and handle signed for this ceremony, and mark them as used before any other check."""
    value = signing.unsign(purpose, text, GOOD_FOR)
    if value is None:
        raise Refusal("challenge")
    challenge, bound, handle = value.split(":")
    if bound != subject:
        raise Refusal("challenge")
    try:
        with transaction() as connection:  # of its own, so that nothing that follows brings the challenge back
            spent = {"challenge_hash": digest(challenge), "expires_at": now() + GOOD_FOR}
            connection.execute(insert(SpentChallenge).values(**spent))
    except IntegrityError:
        raise Refusal("challenge") from None
    return _bytes(challenge), _bytes(handle)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text)


# ---- registering -----------------------------------------------------------------------------------------------------


def registration(user: Principal) -> Asked:
    """Return options for a new passkey; they list the user's present ones, so no device registers twice."""
    with connect() as connection:
        handle = connection.execute(select(USERS.passkey_handle).where(USERS.id == user.id)).scalar_one()
    handle = handle or secrets.token_bytes(HANDLE_BYTES)
    challenge, text = _challenge(REGISTER, str(user.session_id), handle)
    options = generate_registration_options(
        rp_id=_rp_id(),
        rp_name=state().service_name,
        user_id=handle,
        user_name=user.email,
        user_display_name=user.email,
        challenge=challenge,
        timeout=_milliseconds(),
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        supported_pub_key_algs=ALGORITHMS,
        exclude_credentials=_descriptors(_own(user.id)),
    )
    return Asked(json.loads(options_to_json(options)), text)


@dataclass(frozen=True, slots=True)
class Made:
    """A verified new passkey that is not stored yet."""

    values: dict[str, Any]
    handle: bytes


def verify_registration(user: Principal, text: str, answer: object, name: str) -> Made:
    """Verify the authenticator's answer to `registration`. Raises Refusal, and UserError for an invalid name."""
    shown = checked_name(name)
    challenge, handle = _spend(REGISTER, str(user.session_id), text)
    try:
        _refuse_cross_origin(answer)
        made = verify_registration_response(
            credential=answer,  # type: ignore[arg-type]  # looked at above
            expected_challenge=challenge,
            expected_rp_id=_rp_id(),
            expected_origin=state().settings.public_origin,
            require_user_verification=True,
            supported_pub_key_algs=ALGORITHMS,
        )
        _require_strong(made.credential_public_key)
    except Exception as error:  # parsers of untrusted input fail in many ways; every failure is a refusal
        raise Refusal(_reason(error)) from None
    values = {
        "id": uuid4(),
        "user_id": user.id,
        "credential_hash": _hash(made.credential_id),
        "credential_id": made.credential_id,
        "public_key": made.credential_public_key,
        "sign_count": made.sign_count,
        "transports": _transports(answer),
        "backup_eligible": made.credential_device_type.value == "multi_device",
        "backed_up": made.credential_backed_up,
        "name": shown,
        "created_at": now(),
    }
    return Made(values, handle)


def store(connection: Connection, user_id: UUID, made: Made) -> None:
    """Store a passkey. Raises UserError above the limit, and Refusal for a credential that is already registered."""
    if len(connection.execute(select(PASSKEYS.id).where(PASSKEYS.user_id == user_id)).all()) >= MOST:
        raise UserError(f"An account has at most {MOST} passkeys. Remove one first.")
    mine = (USERS.id == user_id, or_(USERS.passkey_handle.is_(None), USERS.passkey_handle == made.handle))
    if connection.execute(update(User).where(*mine).values(passkey_handle=made.handle)).rowcount != 1:
        raise Refusal("handle")  # another ceremony made one since
    try:
        connection.execute(insert(Passkey).values(**made.values))
    except IntegrityError:
        raise Refusal("taken") from None


def checked_name(typed: str) -> str:
    """Return the passkey's name. Raises UserError when it is empty, too long or cannot be shown safely."""
    name = typed.strip()
    if not name or len(name) > LONGEST_NAME or not is_plain(name, lines=False):
        raise UserError(f"Use 1 to {LONGEST_NAME} ordinary characters.", "name")
    return name


def _require_strong(public_key: bytes) -> None:
    """Require RSA keys of at least 2048 bits with the usual exponent. ASVS 11.6.1; NIST SP 800-57 Part 1, 5.6.1."""
    key = decoded_public_key_to_cryptography(decode_credential_public_key(public_key))
    if isinstance(key, RSAPublicKey) and (key.key_size < LEAST_RSA_BITS or key.public_numbers().e != RSA_EXPONENT):
        raise Refusal("algorithm")


def _transports(answer: object) -> str:
    """Return the browser's hints how to reach the authenticator next time; only known words."""
    given = answer["response"].get("transports") if isinstance(answer, Mapping) else None
    known = {transport.value for transport in AuthenticatorTransport}
    if not isinstance(given, list):
        return ""
    return " ".join(sorted(known & {word for word in given if isinstance(word, str)}))


# ---- signing in ------------------------------------------------------------------------------------------------------


def login() -> Asked:
    """Return options for a login by passkey; they name no account and are the same for every client."""
    return _ask(LOGIN, "", ())


def second_factor(user_id: UUID, flow_id: UUID) -> Asked:
    """Return options for a passkey of the account whose password was right."""
    return _ask(SECOND, str(flow_id), _own(user_id))


def step_up(user: Principal) -> Asked:
    """Return options for a passkey of the signed-in user."""
    return _ask(STEP_UP, str(user.session_id), _own(user.id))


def _ask(purpose: str, subject: str, own: Sequence[Any]) -> Asked:
    challenge, text = _challenge(purpose, subject)
    options = generate_authentication_options(
        rp_id=_rp_id(),
        challenge=challenge,
        timeout=_milliseconds(),
        allow_credentials=_descriptors(own),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return Asked(json.loads(options_to_json(options)), text)


def verify(purpose: str, subject: str, text: str, answer: object, user_id: UUID | None = None) -> Assertion:
    """Verify the authenticator's answer to a challenge of this purpose and subject. Raises Refusal.

    With `user_id`, accepts only a passkey of this account. An assertion counts only after `use` has stored its counter.
    """
    challenge, _ = _spend(purpose, subject, text)
    row = _find(answer, user_id)
    if row is None:
        raise Refusal("unknown")
    try:
        _refuse_cross_origin(answer)
        verified = verify_authentication_response(
            credential=answer,  # type: ignore[arg-type]
            expected_challenge=challenge,
            expected_rp_id=_rp_id(),
            expected_origin=state().settings.public_origin,
            credential_public_key=row.public_key,
            credential_current_sign_count=0,  # compared when it is stored, so that no two answers race
            require_user_verification=True,
        )
    except Exception as error:
        raise Refusal(_reason(error)) from None
    return Assertion(row.id, row.user_id, verified.new_sign_count, verified.credential_backed_up)


def _find(answer: object, user_id: UUID | None) -> Any | None:
    """Return the active passkey that the answer names, of the account that it names; always one statement."""
    credential = _field(answer, "rawId")
    handle = _field(answer, "response", "userHandle")
    owner = USERS.passkey_handle == handle if user_id is None else PASSKEYS.user_id == user_id
    wanted = (
        select(PASSKEYS.id, PASSKEYS.user_id, PASSKEYS.public_key, USERS.passkey_handle)
        .join_from(Passkey.__table__, User.__table__, USERS.id == PASSKEYS.user_id)
        .where(PASSKEYS.credential_hash == _hash(credential), owner, USERS.active, PASSKEYS.suspended_at.is_(None))
    )
    with connect() as connection:
        row = connection.execute(wanted).one_or_none()
    return None if row is None or handle not in (b"", row.passkey_handle) else row


def use(connection: Connection, assertion: Assertion) -> bool:
    """Store the counter, in the caller's transaction; False when it did not increase.

    In that case two devices may share one key: the copy is a count behind. Authenticators without a counter always send
    0. Source: Web Authentication Level 3, 6.1.1.
    """
    counter = assertion.sign_count
    ahead = PASSKEYS.sign_count < counter if counter else PASSKEYS.sign_count == 0
    used = update(Passkey).where(PASSKEYS.id == assertion.id, PASSKEYS.suspended_at.is_(None), ahead)
    values = {"sign_count": counter, "backed_up": assertion.backed_up, "used_at": now()}
    return connection.execute(used.values(**values)).rowcount == 1


def suspend(connection: Connection, assertion: Assertion) -> None:
    """Suspend the passkey, which may have been copied. Its account still needs a second factor."""
    unsuspended = and_(PASSKEYS.id == assertion.id, PASSKEYS.suspended_at.is_(None))
    connection.execute(update(Passkey).where(unsuspended).values(suspended_at=now()))


# ---- one's own -------------------------------------------------------------------------------------------------------


def of(user_id: UUID) -> Sequence[Any]:
    """Return the account's passkeys, oldest first: id, name, created_at, used_at, suspended_at, backed_up."""
    shown = select(
        PASSKEYS.id, PASSKEYS.name, PASSKEYS.created_at, PASSKEYS.used_at, PASSKEYS.suspended_at, PASSKEYS.backed_up
    )
    with connect() as connection:
        return connection.execute(
            shown.where(PASSKEYS.user_id == user_id).order_by(PASSKEYS.created_at, PASSKEYS.id)
        ).all()


def rename(user_id: UUID, passkey_id: UUID, typed: str) -> bool:
    """Rename one of the user's own passkeys; False when there is no such passkey. UserError for an invalid name."""
    name = checked_name(typed)
    with transaction() as connection:
        mine = (PASSKEYS.id == passkey_id, PASSKEYS.user_id == user_id)
        return connection.execute(update(Passkey).where(*mine).values(name=name)).rowcount == 1


def remove(connection: Connection, user_id: UUID, passkey_id: UUID) -> bool:
    """Remove one of the user's own passkeys; False when there is no such passkey."""
    return (
        connection.execute(delete(Passkey).where(PASSKEYS.id == passkey_id, PASSKEYS.user_id == user_id)).rowcount == 1
    )


def remove_all(connection: Connection, user_id: UUID) -> None:
    """Remove every passkey of the account."""
    connection.execute(delete(Passkey).where(PASSKEYS.user_id == user_id))


# ---- parts -----------------------------------------------------------------------------------------------------------


def _rp_id() -> str:
    return urlsplit(state().settings.public_origin).hostname or ""


def _milliseconds() -> int:
    return int(GOOD_FOR.total_seconds() * 1000)


def _own(user_id: UUID) -> Sequence[Any]:
    with connect() as connection:
        own = select(PASSKEYS.credential_id, PASSKEYS.transports).where(
            PASSKEYS.user_id == user_id, PASSKEYS.suspended_at.is_(None)
        )
        return connection.execute(own.order_by(PASSKEYS.created_at, PASSKEYS.id)).all()


def _descriptors(own: Sequence[Any]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=row.credential_id, transports=[AuthenticatorTransport(word) for word in row.transports.split()] or None
        )
        for row in own
    ]


def _field(answer: object, *path: str) -> bytes:
    """Return the bytes under these names of the answer, or b"" if malformed: the answer is still untrusted here."""
    found = answer
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    try:
        return urlsafe_b64decode(f"{found}===") if isinstance(found, str) else b""
    except ValueError:
        return b""


def _hash(credential_id: bytes) -> bytes:
    return digest(_text(credential_id))


def _refuse_cross_origin(answer: object) -> None:
    """Refuse an answer that was signed in a cross-origin frame: no other site may frame our pages."""
    if parse_client_data_json(_field(answer, "response", "clientDataJSON")).cross_origin:
        raise Refusal("cross-origin")


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, Refusal) else "answer"
