"""Second factors: enrolment, who must have one, and the rule that no recovery flow bypasses it.

This stops an attacker with a mailed link, a changed address or an unlocked computer from removing a second factor. A
change of them needs a login proved with one, ends all other sessions and is mailed. Source: ASVS 6.3.4, 6.3.7, 6.5.6,
7.4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from .. import audit, mail, throttle
from ..audit.refusal import refuse
from ..clock import now
from ..database import connect, transaction
from . import devices, flows, links, passkeys, recovery_codes, sessions, totp, users
from .models import Passkey, RecoveryCode, Totp, User
from .principal import PASSKEY, RECOVERY, SECOND, TOTP, Principal
from .sessions import Opened

CHANGES: Final = throttle.Allowance(20, timedelta(hours=1))  # of one account
USERS = User.__table__.c


@dataclass(frozen=True, slots=True)
class Held:
    """The second factors of one account; true when it has any. A suspended passkey counts, but cannot be used."""

    totp: bool
    passkeys: int
    suspended: int
    recovery_codes: int

    def __bool__(self) -> bool:
        return self.totp or self.passkeys + self.suspended > 0


def held(user_id: UUID, connection: Connection | None = None) -> Held:
    """Return the account's present second factors; with `connection`, as that transaction sees them."""
    if connection is None:
        with connect() as own:
            return held(user_id, own)
    p, r = Passkey.__table__.c, RecoveryCode.__table__.c
    mine = (p.user_id == user_id,)
    count = select(func.count()).select_from
    row = connection.execute(
        select(
            count(Totp.__table__).where(Totp.__table__.c.user_id == user_id).scalar_subquery(),
            count(Passkey.__table__).where(*mine, p.suspended_at.is_(None)).scalar_subquery(),
            count(Passkey.__table__).where(*mine, p.suspended_at.is_not(None)).scalar_subquery(),
            count(RecoveryCode.__table__).where(r.user_id == user_id, r.used_at.is_(None)).scalar_subquery(),
        )
    ).one()
    return Held(row[0] > 0, row[1], row[2], row[3])


def holders(user_ids: Iterable[UUID]) -> frozenset[UUID]:
    """Return those of these accounts that have a second factor."""
    wanted = [*user_ids]
    apps, keys = Totp.__table__.c.user_id, Passkey.__table__.c.user_id
    both = select(apps).where(apps.in_(wanted)).union(select(keys).where(keys.in_(wanted)))
    with connect() as connection:
        return frozenset(connection.execute(both).scalars())


# ---- enrolling -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An authenticator app that waits for its first code: the seed to type and the QR code's text; shown once."""

    seed: str = field(repr=False)
    uri: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An active factor: the renewed session, and the recovery codes if it is the account's first factor."""

    opened: Opened
    recovery_codes: list[str] = field(repr=False)


def begin_totp(user: Principal) -> Enrolment:
    """Make a seed for this session. The login of the account does not change before `confirm_totp`."""
    _spend(user)
    seed = totp.new_seed()
    with transaction() as connection:
        flows.begin(connection, flows.ENROL, user.id, session_id=user.session_id, data=seed.encode())
    return Enrolment(seed, totp.uri(seed, user.email))


def confirm_totp(user: Principal, code: str) -> Enrolled:
    """Activate the app after its first code; it replaces a former app. 410 when no enrolment waits for a code.

    Raises UserError for a wrong code.
    """
    flow = flows.find_own(flows.ENROL, user)
    if flow is None or not flows.count(flow):
        refuse(410, "mfa-enrol-confirmed")
    seed = flows.secret_of(flow).decode()
    step = totp.step_of(seed, code, now())
    if step is None:
        raise users.UserError("This is not the present code of the app. Wait for the next one.", "code")

    def change(connection: Connection) -> None:
        if not flows.spend(connection, flow):
            refuse(410, "mfa-enrol-confirmed")
        if totp.remove(connection, user.id):  # replacing an app is mailed and recorded as a removal too
            mail.enqueue(connection, mail.FACTOR_REMOVED, user.email)
            audit.record("mfa.totp_removed", user_id=user.id, session_id=user.session_id, connection=connection)
        totp.store(connection, user.id, seed, step)

    return _enrolled(user, TOTP, "mfa.totp_added", change)


def register_passkey(user: Principal, text: str, answer: object, name: str) -> Enrolled:
    """Activate a new passkey (see passkeys.registration). Raises UserError for an invalid name or answer."""
    try:
        made = passkeys.verify_registration(user, text, answer, name)
        return _enrolled(
            user,
            PASSKEY,
            "passkey.added",
            lambda connection: passkeys.store(connection, user.id, made),
            passkey=str(made.values["id"]),
        )
    except passkeys.Refusal as refused:
        audit.record("passkey.refused", user_id=user.id, session_id=user.session_id, reason=refused.reason)
        raise users.UserError("This passkey was not accepted. Try again.", "credential") from None


def _enrolled(
    user: Principal, method: str, kind: str, change: Callable[[Connection], None], **details: str
) -> Enrolled:
    _spend(user)
    with transaction() as connection:
        sessions.hold(connection, user.id)  # a concurrent login comes first and ends here, or needs the factor
        _require_factor(connection, user)
        first = not held(user.id, connection)
        change(connection)
        codes = recovery_codes.make(connection, user.id) if first else []
        connection.execute(update(User).where(USERS.id == user.id).values(must_enrol=False))
        opened = _factor_changed(connection, user, user.methods | {method})
        mail.enqueue(connection, mail.FACTOR_ADDED, user.email)
        audit.record(kind, user_id=user.id, session_id=opened.id, connection=connection, **details)
        if codes:
            audit.record("mfa.codes_made", user_id=user.id, session_id=opened.id, connection=connection)
    return Enrolled(opened, codes)


def _spend(user: Principal) -> None:
    """Limit changes of factors: each adds rows and a session that no other limit has counted, and most send mails."""
    throttle.spend("factor-change", user.id.hex, "default-throttle", CHANGES)


# ---- removing --------------------------------------------------------------------------------------------------------


def remove_totp(user: Principal) -> Opened:
    """Remove the authenticator app and end all other sessions. 404 when there is none."""
    return _removed(user, "mfa.totp_removed", lambda connection: totp.remove(connection, user.id))


def remove_passkey(user: Principal, passkey_id: UUID) -> Opened:
    """Remove one of the user's own passkeys and end all other sessions. 404 when the account has no such passkey."""
    return _removed(
        user,
        "passkey.removed",
        lambda connection: passkeys.remove(connection, user.id, passkey_id),
        passkey=str(passkey_id),
    )


def _removed(user: Principal, kind: str, change: Callable[[Connection], bool], **details: str) -> Opened:
    _spend(user)
    with transaction() as connection:
        sessions.hold(connection, user.id)
        _require_factor(connection, user)
        if not change(connection):
            refuse(404, "ownership-404")
        methods = user.methods
        if not held(user.id, connection):
            # This session no longer has a second factor: a user who must have one has to set up a new one.
            recovery_codes.remove(connection, user.id)
            methods -= SECOND
        opened = _factor_changed(connection, user, methods)
        mail.enqueue(connection, mail.FACTOR_REMOVED, user.email)
        audit.record(kind, user_id=user.id, session_id=opened.id, connection=connection, **details)
    return opened


def renew_codes(user: Principal) -> Enrolled:
    """Replace the recovery codes, which ends the old codes and all other sessions. 404 without a second factor."""
    _spend(user)
    with transaction() as connection:
        sessions.hold(connection, user.id)
        _require_factor(connection, user)
        if not held(user.id, connection):
            refuse(404, "recovery-codes")
        codes = recovery_codes.make(connection, user.id)
        opened = _factor_changed(connection, user, user.methods)
        mail.enqueue(connection, mail.CODES_MADE, user.email)
        audit.record("mfa.codes_made", user_id=user.id, session_id=opened.id, connection=connection)
    return Enrolled(opened, codes)


def reset(user_id: UUID, *, by: UUID | None = None) -> None:
    """Remove all second factors of a user who lost them (by an administrator or operator); require a new one.

    Raises UserError for an unknown account, and for the administrator's own.
    """
    if user_id == by:
        raise users.UserError("Remove your own second factors on your account's page.")
    with users.changing(user_id) as (connection, row):
        totp.remove(connection, user_id)
        passkeys.remove_all(connection, user_id)
        recovery_codes.remove(connection, user_id)
        connection.execute(update(User).where(USERS.id == user_id).values(must_enrol=True))
        sessions.end_all(user_id, connection=connection)
        links.cancel(connection, row.email, user_id)
        devices.forget_all(connection, user_id)
        mail.enqueue(connection, mail.FACTORS_RESET, row.email)
        audit.record("mfa.reset_by_administrator", user_id=user_id, connection=connection, by=users.named(by))


def rename_passkey(user: Principal, passkey_id: UUID, name: str) -> None:
    """Rename one of the user's own passkeys. 404 when there is no such passkey; UserError for an invalid name."""
    _spend(user)
    if not passkeys.rename(user.id, passkey_id, name):
        refuse(404, "ownership-404")
    audit.record("passkey.renamed", user_id=user.id, session_id=user.session_id, passkey=str(passkey_id))


# ---- using -----------------------------------------------------------------------------------------------------------


def use_code(connection: Connection, user_id: UUID, code: str) -> str | None:
    """Use up an app code or a recovery code, in the caller's transaction; return its method, or None if it is wrong."""
    if totp.is_code(code):
        return TOTP if totp.use(connection, user_id, code) else None
    return RECOVERY if recovery_codes.use(connection, user_id, code) else None


def credentials_changed(
    connection: Connection,
    user: Principal,
    *,
    proved: bool,
    methods: frozenset[str] | None = None,
    cancels: Iterable[str] = links.ALL,
) -> Opened:
    """End all other sessions, half-finished flows and device records of the account; renew this session.

    Devices are deleted because one may belong to an attacker, who would have further guesses by it. `cancels` names the
    purposes of mailed links that end. 401 when another request has ended this session.
    """
    sessions.end_all(user.id, but=user.session_id, connection=connection)
    links.cancel(connection, user.email, user.id, purposes=cancels)
    devices.forget_all(connection, user.id)
    opened = sessions.renew(connection, user, proved=proved, methods=methods)
    if opened is None:
        refuse(401, "login-uniform-failure")
    return opened


def _factor_changed(connection: Connection, user: Principal, methods: frozenset[str]) -> Opened:
    """Call credentials_changed, but keep password reset links: they bypass no second factor, and an attacker in a
    session could otherwise block them for ever. Not `proved`: a change of factors does not prove who made it."""
    kept = links.ALL - {links.RESET}
    return credentials_changed(connection, user, proved=False, methods=methods, cancels=kept)


def _require_factor(connection: Connection, user: Principal) -> None:
    """Refuse with 403 a session without a second factor of an account that has one; no such session should exist."""
    if held(user.id, connection) and not user.methods & SECOND:
        refuse(403, "mfa-removal-guarded")


def export(user_id: UUID) -> dict[str, Any]:
    """Return the second factors for `account.export`: only that they exist, and their dates."""
    t, p, r = Totp.__table__.c, Passkey.__table__.c, RecoveryCode.__table__.c
    return {
        "authenticator_app": select(t.created_at).where(t.user_id == user_id),
        "passkeys": select(p.name, p.created_at, p.used_at, p.backed_up).where(p.user_id == user_id),
        "recovery_codes": select(r.created_at, r.used_at).where(r.user_id == user_id),
    }
