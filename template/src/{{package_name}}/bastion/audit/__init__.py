"""Audit log: keep security events of accounts and sessions, and refusals, for a year, even after a roll-back.

An attack that ends in an error page must leave its trace, and no client may fill the disk. Events that a client can
cause in masses take one row a minute, with a count. Each kind of event is a row of kinds.csv, and listed in
docs/bastion/audit.md; audit/chain.py makes tampering detectable.

Source: ASVS 16.2.1, 16.3.
"""

from __future__ import annotations

import csv
import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from flask import Flask, g, has_request_context, request
from sqlalchemy import Connection, bindparam, exists, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from .. import log
from ..clock import now
from ..database import db, transaction
from ..edge.address import CLIENT, Client
from ..secrets import SecretUnavailable
from ..state import state
from . import chain
from .tables import AuditEvent

KEPT: Final = timedelta(days=365)  # as PCI DSS 4.0, 10.5.1: twelve months of audit history
SUCCESS, FAILURE = "success", "failure"
with Path(__file__).with_name("kinds.csv").open(newline="", encoding="utf-8") as _file:
    _KINDS: Final = [*csv.DictReader(_file)]
FAILURES: Final = frozenset(one["kind"] for one in _KINDS if one["outcome"] == "failure")
"""Kinds of events of failed attempts; all other kinds are successes."""
COUNTED: Final = frozenset(one["kind"] for one in _KINDS if one["counted"])
"""Kinds that one client can cause in masses: one row for each minute and source, with a count."""
BY_OTHERS: Final = frozenset(one["kind"] for one in _KINDS if one["by"])
"""Kinds that an administrator caused; their origin is hidden from the account's owner."""
SHOWN: Final[Mapping[str, str]] = {one["kind"]: one["seen"] for one in _KINDS if one["seen"]}
"""Kinds that an account's owner sees in their list of events, with the text shown."""
REFUSALS: Final[Mapping[tuple[int, str], str]] = {
    (400, "csrf-token-required"): "csrf.refused",
    (403, "csrf-cross-site-blocked"): "cross_site.refused",
    (403, "role-required"): "access.denied",
    (403, "deny-by-default"): "access.denied",
    (403, "webhook-signature-required"): "webhook.refused",
    (403, "webhook-replay-refused"): "webhook.refused",
    (404, "ownership-404"): "access.not_owned",
    (404, "scope-shared-rows"): "access.not_owned",
}
"""Maps status and reason of a refusal to its kind of event."""
# These report an invalid token. Not an expired one, which every client has all the time, nor a reused one, which has an
# event of its own.
TOKENS: Final = ("jwt-", "refresh-")
ORDINARY: Final = frozenset(("jwt-access-10-min", "refresh-lifetimes", "refresh-reuse-revokes-family"))
EVENTS = AuditEvent.__table__.c
_WRITTEN: Final = (*chain.SIGNED, "mac", "bucket", "times")
_UNLESS_THERE: Final = insert(AuditEvent).from_select(
    _WRITTEN,
    select(*(bindparam(name, type_=EVENTS[name].type) for name in _WRITTEN)).where(
        ~exists().where(EVENTS.bucket == bindparam("bucket"))
    ),
)
_COUNT: Final = (
    update(AuditEvent)
    .where(EVENTS.bucket == bindparam("sought"))
    .values(times=EVENTS.times + 1, bucket=bindparam("kept", type_=EVENTS.bucket.type))
)
_log = log.get_logger("bastion.audit")


def record(
    kind: str,
    *,
    user_id: UUID | None = None,
    session_id: UUID | None = None,
    connection: Connection | None = None,
    outcome: str | None = None,
    **details: Any,
) -> None:
    """Write one audit row and log line. `kind` is a dotted name such as `login.failure`; details hold no secret.

    `user_id` is the affected user. The actor is the signed-in user; without one, the affected user if it succeeded.
    `session_id` is the affected login; by default the actor's. `outcome` is SUCCESS or FAILURE; the default depends on
    whether the kind is in FAILURES.

    With `connection` the row is part of that transaction: no change without its row, no row without its change.
    Otherwise it is committed at once, in a transaction of its own. If `db.session` has uncommitted writes, the row
    joins them instead: it would wait for their lock, on SQLite until the request is answered with 503. A failure is
    written after the request's end and roll-back, so no roll-back removes it.
    """
    row = _row(kind, user_id, session_id, details, outcome)
    _log.info(kind, user_id=str(user_id) if user_id else None, ip=row["address"], **details)
    if connection is None and row["outcome"] == FAILURE and has_request_context():
        _later(row)
    elif (work := connection or _unfinished_work()) is not None:
        work.execute(insert(AuditEvent).values(**{**row, "bucket": None}))
    else:
        _keep(row)


def refused(status: int, reason: str, about: Mapping[str, object]) -> None:
    """Record a refusal if it is a security event. The log has its line; `about` goes to both."""
    kind = _kind_of(status, reason)
    if kind is None or not has_request_context():
        return
    rule, who = request.url_rule, g.get("principal")
    # Only ids of the address: a text in it may be a token.
    ids = {name: str(value) for name, value in (request.view_args or {}).items() if isinstance(value, (UUID, int))}
    details = {**ids, "reason": reason, "method": request.method, "route": rule.rule if rule else None, **about}
    signed_in = who is not None and who.is_authenticated
    _later(_row(kind, who.id if signed_in else None, who.session_id if signed_in else None, details))


def backend_unavailable(name: str, fault: str) -> None:
    """Record that the secrets backend does not answer for this name; log a failure to record it."""
    try:
        record("secret.backend_unavailable", name=name, fault=fault)
    except (SQLAlchemyError, SecretUnavailable) as error:  # to sign a row takes a secret as well
        _log.error("audit_row_lost", kind="secret.backend_unavailable", error=type(error).__name__)


def _kind_of(status: int, reason: str) -> str | None:
    if kind := REFUSALS.get((status, reason)):
        return kind
    if status == 429:
        return "throttle.hit"
    if status == 410:
        return "link.refused"
    if status == 401 and reason.startswith(TOKENS) and reason not in ORDINARY:
        return "token.refused"
    if status in (400, 413, 415, 422) and has_request_context() and (request.endpoint or "").startswith("bastion"):
        return "input.refused"  # on the routes of accounts and signing in; the team's are the team's
    return None


def _row(
    kind: str,
    user_id: UUID | None,
    session_id: UUID | None,
    details: Mapping[str, Any],
    outcome: str | None = None,
) -> dict[str, Any]:
    who = g.get("principal") if has_request_context() else None
    outcome = outcome or (FAILURE if kind in FAILURES else SUCCESS)
    actor = user_id if has_request_context() and outcome == SUCCESS else None
    if who is not None and who.is_authenticated:
        actor = who.id
        session_id = session_id or who.session_id
    row: dict[str, Any] = {
        "id": uuid4(),
        "at": now(),
        "kind": kind,
        "outcome": outcome,
        "user_id": user_id,
        "actor_id": actor,
        "session_id": session_id,
        "address": ((request.remote_addr or "") if has_request_context() else "")[:45],
        "request_id": log.REQUEST_ID.get()[:36],
        "details": log.redact(details),
    }
    return {**row, "mac": chain.signature(row), "bucket": _bucket(row)}


def _bucket(row: Mapping[str, Any]) -> bytes | None:
    """Return the key that this event is counted under; None for an event with a row of its own.

    A signed-in user's events are counted by user and route, all others by network (an IPv4 address, an IPv6 /48). A
    customer of a hosting provider has 65,536 /64. A login failure counts without an account, or for the user's own.
    """
    signed_in = row["session_id"] is not None
    nobodys = row["outcome"] == FAILURE and row["user_id"] is None
    own = row["kind"] == "login.failure" and signed_in and row["user_id"] == row["actor_id"]
    if not has_request_context() or not (row["kind"] in COUNTED or nobodys or own):
        return None
    client: Client = request.environ.get(CLIENT) or Client(row["address"], row["address"])
    source = f"{row['actor_id']} {request.endpoint}" if signed_in else client.wide or client.network
    minute = int(row["at"].timestamp() // 60)
    return hashlib.sha256(f"{row['kind']} {row['user_id']} {source} {minute}".encode()).digest()


def _later(row: Mapping[str, Any]) -> None:
    """Queue the row until the request has ended: the refused request may hold a lock that it would wait for."""
    g.setdefault("bastion_audit", []).append(row)


def _keep(row: Mapping[str, Any]) -> None:
    """Commit the row, or count it in this minute's row.

    Timing equalisation: a failure takes the same two statements, counted or not. Otherwise the answer's time would
    reveal whether the account exists (account enumeration).
    """
    if row["bucket"] is None and row["outcome"] == SUCCESS:
        with transaction() as connection:
            connection.execute(insert(AuditEvent).values(**row))
        return
    sought = row["bucket"] or secrets.token_bytes(32)
    for last in (False, True):
        try:
            with transaction() as connection:
                connection.execute(_UNLESS_THERE, {**row, "bucket": sought, "times": 0})
                connection.execute(_COUNT, {"sought": sought, "kept": row["bucket"]})
            return
        except IntegrityError:  # of two that are the first in a minute, one counts in the other's row
            if last:
                raise


def _unfinished_work() -> Connection | None:
    """Return the connection of the request's session while it holds uncommitted writes, else None."""
    session = db.session
    if not session.in_transaction() or not session.is_active:
        return None
    connection = session.connection()
    return connection if state().dialect.has_written(connection) else None


def as_json(row: Mapping[Any, Any]) -> str:
    """Return a stored event as one line of ASCII JSON: no character in it controls a terminal."""
    fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
    return json.dumps(fields, default=str)


def as_line(row: Mapping[Any, Any]) -> str:
    """Return a stored event as a readable line, in ASCII as well: no text in it can imitate another field."""
    who = {"user": row["user_id"], "actor": row["actor_id"], "ip": row["address"] or None}
    details = {f"details.{name}" if name in who else name: value for name, value in row["details"].items()}
    times = f" x{row['times']}" if row["times"] > 1 else ""
    fields = [(name, value) for name, value in {**who, **details}.items() if value not in (None, "")]
    facts = " ".join(f"{_plain(name)}={_plain(value)}" for name, value in fields)
    return f"{row['at']:%Y-%m-%d %H:%M:%S} {_plain(row['kind'])} {_plain(row['outcome'])}{times} {facts}"


def _plain(value: object) -> str:
    """Return a plain word unchanged, and any other text or value as JSON."""
    text = json.dumps(value, default=str, separators=(",", ":"))
    word = text[1:-1]
    return word if text[0] == '"' and not {*' "='} & {*word} else text


def purge() -> int:
    """Delete the events older than a year; return their number. Raise chain.Broken if one was changed."""
    return chain.drop_before(now() - KEPT)


def install(app: Flask) -> None:
    """Write queued events at a request's end. Install it before the database, so that it runs after the roll-back.

    An unreachable database does not change a refusal's answer: the log has its line.
    """

    @app.teardown_appcontext
    def keep_waiting(_error: BaseException | None) -> None:
        for row in g.pop("bastion_audit", ()):
            try:
                _keep(row)
            except SQLAlchemyError as error:
                _log.error("audit_row_lost", kind=row["kind"], error=type(error).__name__)
