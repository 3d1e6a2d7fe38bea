"""Login: the same answer after the same work for every failure, against account enumeration.

A different or faster answer for an unknown address would let an attacker find out who has an account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, bindparam, select, true, update
from sqlalchemy.exc import SQLAlchemyError

from .. import audit, mail, throttle
from ..audit.refusal import refuse
from ..clock import now
from ..database import connect, transaction
from ..state import state
from . import attempts, devices, factors, flows, passkeys, sessions
from .models import AuthSession, User
from .passwords import Busy
from .principal import PASSKEY, PASSWORD, SECOND
from .sessions import Opened, open_session
from .users import normalised

USERS, SESSIONS = User.__table__.c, AuthSession.__table__.c
RESERVED: Final = SECOND | {PASSWORD}
_FOREIGN: Final = re.compile(r"\A[a-z][a-z0-9-]{0,39}\Z")
_BY_EMAIL: Final = select(USERS.id, USERS.password_hash, USERS.active).where(USERS.email == bindparam("email"))


@dataclass(frozen=True, slots=True)
class Arrival:
    """The context of a login: maximum session lifetime, client address, user agent, replaced session and device.

    An earlier login gave `device_token` to this device: its failures count apart from all others.
    """

    lifetime: timedelta
    address: str = ""
    agent: str = ""
    replaces: UUID | None = None
    device_token: str = field(default="", repr=False)


def with_password(identifier: str, password: str, arrival: Arrival) -> Opened | flows.Begun:
    """Open a session for the right password, or begin a login that waits for the account's second factor.

    Refuses with 401; with 429 or 503 before any hash is computed.
    """
    subject = normalised(identifier)
    network = attempts.spend()
    device = devices.find(arrival.device_token, subject) if arrival.device_token else None
    counter = (attempts.KIND, subject) if device is None else (attempts.DEVICE, device.hex)
    rate = throttle.spend(f"{counter[0]}-rate", subject, "login-throttle-account", attempts.RATE)
    booking = throttle.book(*counter, "login-throttle-account")
    attempt = attempts.Attempt(network, rate, booking, known=device is not None)
    begun: Opened | flows.Begun | None = None
    # Retry once if the stored hash changed during the comparison: a concurrent login may have stored a new hash of the
    # same password (`_rehash`). The second comparison fails if the password itself has changed.
    for _ in range(2):
        with connect() as connection:
            row = connection.execute(_BY_EMAIL, {"email": subject}).one_or_none()
        matched = attempts.matches(password, row, attempt)
        if row is None or not matched or not row.active:
            break
        unchanged = and_(USERS.password_hash == row.password_hash, USERS.email == subject)
        with transaction() as connection:
            begun = _begin(connection, row.id, arrival, device, [booking.before], unchanged)
        if begun is not None:
            break
    if begun is None:
        reason = "unknown" if row is None else "disabled" if not row.active else "password"
        audit.record("login.failure", user_id=row.id if row is not None else None, reason=reason)
        attempts.refuse_uniformly()
    attempt.succeeded()
    if isinstance(begun, flows.Begun):
        audit.record("login.pending", user_id=begun.user_id)
    else:
        _record_success(begun, PASSWORD)
    _rehash(row, password)
    return begun


def with_foreign(user_id: UUID, method: str, arrival: Arrival) -> Opened | flows.Begun:
    """Open a session for a user whom another service has authenticated; with a second factor, begin a login.

    401 for a disabled account. Raises ValueError for a `method` of this service: it would count as a second factor.
    """
    if not _FOREIGN.match(method) or method in RESERVED:
        raise ValueError("name the method in lower-case letters, such as oidc; password, totp and passkey are ours")
    with transaction() as connection:
        begun = _begin(connection, user_id, arrival, _device(user_id, arrival), [], true(), method)
    if begun is None:
        audit.record("login.failure", user_id=user_id, reason="disabled")
        attempts.refuse_uniformly()
    if isinstance(begun, flows.Begun):
        audit.record("login.pending", user_id=begun.user_id)
    else:
        _record_success(begun, method)
    return begun


def _begin(
    connection: Connection,
    user_id: UUID,
    arrival: Arrival,
    device: UUID | None,
    failures: Sequence[Mapping[str, Any]],
    unchanged: ColumnElement[bool],
    method: str = "",
) -> Opened | flows.Begun | None:
    """Open a session after the first factor; with a second factor, begin a login that waits for it.

    Locks the account's row: a second factor that is added at the same time is either seen here or ends this login.
    Returns None when the account is not `unchanged`.
    """
    sessions.hold(connection, user_id)
    if not factors.held(user_id, connection):
        return _open(connection, user_id, arrival, device, failures, method or PASSWORD, unchanged)
    same = select(USERS.id).where(USERS.id == user_id, USERS.active, unchanged)
    if connection.execute(same).first() is None:
        return None
    return flows.begin(connection, flows.LOGIN, user_id, data=method.encode())


def _open(
    connection: Connection,
    user_id: UUID,
    arrival: Arrival,
    device: UUID | None,
    failures: Sequence[Mapping[str, Any]],
    methods: str,
    only_if: ColumnElement[bool] | None = None,
) -> Opened | None:
    """Open the session; every login ends here. `failures` are the counts before this login."""
    opened = open_session(
        user_id,
        lifetime=arrival.lifetime,
        address=arrival.address,
        agent=arrival.agent,
        method=methods,
        replaces=arrival.replaces,
        only_if=only_if,
        connection=connection,
    )
    if opened is None:
        return None
    device_token, seen_at = devices.remember(connection, user_id, device, arrival.device_token)
    if any(throttle.failed_often(counted, seen_at) for counted in failures):
        attempts.notify(connection, user_id, mail.AFTER_FAILURES)
    elif seen_at is None and not _is_first(connection, opened):
        attempts.notify(connection, user_id, mail.NEW_DEVICE)
    return replace(opened, device_token=device_token)


def _failures(user_id: UUID, device: UUID | None) -> Sequence[Mapping[str, Any]]:
    """Return the failures counted for the account, or this device of it, and for its second factors."""
    with connect() as connection:
        email = connection.execute(select(USERS.email).where(USERS.id == user_id)).scalar()
    first = throttle.held(attempts.KIND, email or "") if device is None else throttle.held(attempts.DEVICE, device.hex)
    counters = {_counter_of(user_id, None), _counter_of(user_id, device)}
    return first, *(throttle.held(*counter) for counter in counters)


def _counter_of(user_id: UUID, device: UUID | None) -> tuple[str, str]:
    """Return the counter for wrong codes of this login: of the account, or of a known device."""
    return (attempts.FACTOR, user_id.hex) if device is None else (attempts.FACTOR_DEVICE, device.hex)


def _is_first(connection: Connection, opened: Opened) -> bool:
    """Return whether this is the account's first login. An old account with only purged sessions is not new."""
    created_at = select(USERS.created_at).where(USERS.id == opened.user_id)
    if connection.execute(created_at).scalar_one() < now() - sessions.KEPT:
        return False
    others = select(SESSIONS.id).where(SESSIONS.user_id == opened.user_id, SESSIONS.id != opened.id).limit(1)
    return connection.execute(others).first() is None


def _record_success(opened: Opened, *methods: str, connection: Connection | None = None) -> None:
    audit.record(
        "login.success",
        user_id=opened.user_id,
        session_id=opened.id,
        connection=connection,
        factors=sorted(methods),
    )


def waiting(token: str) -> Any:
    """Return the login that waits for its second factor under this token. 401 for any other token."""
    flow = flows.find(flows.LOGIN, token)
    if flow is None:
        refuse(401, attempts.PENDING)
    return flow


def with_code(token: str, code: str, arrival: Arrival) -> Opened:
    """Complete a waiting login with an app code or a recovery code. 401 for a wrong code, 429 after too many."""
    network = attempts.spend()
    flow = waiting(token)
    device = _device(flow.user_id, arrival)
    failures = _failures(flow.user_id, device)

    def complete(connection: Connection, method: str) -> Opened:
        return _complete(connection, flow, arrival, device, failures, method)

    opened = attempts.try_code(flow.user_id, code, complete, _counter_of(flow.user_id, device), flow=flow)
    throttle.refund(network)
    return opened


def abandon(token: str) -> None:
    """End the waiting login of this token, if there is one."""
    flow = flows.find(flows.LOGIN, token)
    if flow is not None:
        with transaction() as connection:
            flows.spend(connection, flow)


def second_factor_options(token: str) -> passkeys.Asked:
    """Return the browser's options to complete the waiting login with a passkey. 401 for any other token."""
    flow = waiting(token)
    return passkeys.second_factor(flow.user_id, flow.id)


def with_second_passkey(token: str, text: str, answer: object, arrival: Arrival) -> Opened:
    """Complete a waiting login with a passkey of its account. 401 for every invalid answer."""
    network = attempts.spend()
    flow = waiting(token)
    if not flows.count(flow):
        refuse(401, attempts.PENDING)
    assertion = attempts.asserted(passkeys.SECOND, str(flow.id), text, answer, flow.user_id)
    device = _device(flow.user_id, arrival)
    failures = _failures(flow.user_id, device)

    def complete(connection: Connection) -> Opened:
        return _complete(connection, flow, arrival, device, failures, PASSKEY)

    opened = attempts.with_assertion(assertion, complete)
    throttle.refund(network)
    return opened


def with_passkey(text: str, answer: object, arrival: Arrival) -> Opened:
    """Open a session with a passkey and no password: a passkey is two factors. 401 for every invalid answer."""
    network = attempts.spend()
    assertion = attempts.asserted(passkeys.LOGIN, "", text, answer)
    device = _device(assertion.user_id, arrival)
    failures = _failures(assertion.user_id, device)

    def complete(connection: Connection) -> Opened:
        opened = _open(connection, assertion.user_id, arrival, device, failures, PASSKEY)
        if opened is None:
            attempts.refuse_uniformly()
        return opened

    opened = attempts.with_assertion(assertion, complete)
    throttle.refund(network)
    _record_success(opened, PASSKEY)
    return opened


def _complete(
    connection: Connection,
    flow: Any,
    arrival: Arrival,
    device: UUID | None,
    failures: Sequence[Mapping[str, Any]],
    method: str,
) -> Opened:
    """Open the session of a waiting login; 401, with nothing used up, when the login has ended before."""
    opened, first = None, flows.secret_of(flow).decode() if flow.data else PASSWORD
    if flows.spend(connection, flow):
        opened = _open(connection, flow.user_id, arrival, device, failures, f"{first} {method}")
    if opened is None:
        refuse(401, attempts.PENDING)
    _record_success(opened, first, method, connection=connection)
    return opened


def _device(user_id: UUID, arrival: Arrival) -> UUID | None:
    return devices.find(arrival.device_token, user_id=user_id) if arrival.device_token else None


def _rehash(row: Any, password: str) -> None:
    """Store a new hash when the stored one has outdated parameters. An error does not stop the login.

    Skips a password that has changed since. Ends no session and sends no mail: the password is the same.
    """
    passwords = state().passwords
    if not passwords.is_outdated(row.password_hash):
        return
    with suppress(Busy, SQLAlchemyError):
        values = {"password_hash": passwords.hash(password)}
        with transaction() as connection:
            unchanged = (USERS.id == row.id, USERS.password_hash == row.password_hash)
            connection.execute(update(User).where(*unchanged).values(**values))
