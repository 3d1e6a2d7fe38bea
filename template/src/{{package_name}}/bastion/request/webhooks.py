"""Webhooks: a foreign system calls a view by an HMAC signature of the raw body, verified before anything is parsed.

Anyone can send a request to such an address, and acts as the foreign system if the signature is missing, made with a
guessed key, or of an earlier delivery that was recorded. Source: RFC 2104; ASVS 11.2.4, 11.4.1; CWE-294, CWE-345.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeVar

from flask import Flask, Response, g, request
from werkzeug.datastructures import Headers

from .. import throttle
from ..audit.refusal import refuse
from ..clock import seconds
from ..edge.ceiling import Ceiling
from ..secrets import same
from ..secrets.guessable import weakness
from ..state import state, state_of
from .access import AUTOMATIC, Rule, mark_with, marks_of
from .authentication import WEBHOOK

V = TypeVar("V", bound=Callable[..., Any])
TOLERANCE: Final = 300  # seconds between signing and arrival, either way; Stripe's and Standard Webhooks' value
UNDATED: Final = 86_400  # seconds that a delivery is remembered if its sender signs no time
PER_MINUTE: Final = 300  # genuine deliveries of one route and process
MIN_KEY_BYTES: Final = 24  # Standard Webhooks, "Signature scheme"
REPLAY: Final = "webhook-replay-refused"


class Delivery(NamedTuple):
    """A request's claim: the signed bytes, its signatures, and the signed time in seconds (None: no time is signed)."""

    message: bytes
    signatures: list[str]
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Verifier:
    """One sender's scheme, and the name of the secret with its key: two, with a space between, while it is changed."""

    scheme: str
    secret_name: str
    claimed: Callable[[Headers, bytes], Delivery | None]
    key: Callable[[str], bytes] = str.encode
    encode: Callable[[bytes], str] = bytes.hex
    per_minute: int = PER_MINUTE

    def verifies(self, delivery: Delivery) -> bool:
        """Return whether one of the secret's keys made one of the signatures; compare in constant time."""
        # A changed secret is read again at once, at most every ten seconds: any client can send a wrong signature.
        return self._matches(delivery) or (state().secrets.refresh(self.secret_name) and self._matches(delivery))

    def _matches(self, delivery: Delivery) -> bool:
        keys = state().secrets.get(self.secret_name).reveal().split()
        made = [self.encode(hmac.digest(self.key(key), delivery.message, "sha256")) for key in keys]
        return any(same(one, sent) for one in made for sent in delivery.signatures)


def github(secret: str) -> Verifier:
    """Verify X-Hub-Signature-256. GitHub signs no time, so a delivery is recognised as a replay for one day only."""

    def claimed(headers: Headers, body: bytes) -> Delivery | None:
        scheme, _, signature = headers.get("X-Hub-Signature-256", "").partition("=")
        return Delivery(body, [signature]) if scheme == "sha256" else None

    return Verifier("github", secret, claimed)


def stripe(secret: str) -> Verifier:
    """Verify Stripe-Signature, scheme v1, with the time `t`; the key is the endpoint's whole whsec_ text."""

    def claimed(headers: Headers, body: bytes) -> Delivery | None:
        parts = [part.partition("=")[::2] for part in headers.get("Stripe-Signature", "").split(",")]
        times = [value for name, value in parts if name == "t"]
        return _dated(times[0], b"", body, [value for name, value in parts if name == "v1"]) if times else None

    return Verifier("stripe", secret, claimed)


def standard_webhooks(secret: str) -> Verifier:
    """Verify webhook-id, -timestamp and -signature (Standard Webhooks 1.0); the key is base64 after whsec_."""

    def claimed(headers: Headers, body: bytes) -> Delivery | None:
        name, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        sent = [one.removeprefix("v1,") for one in headers.get("webhook-signature", "").split() if one[:3] == "v1,"]
        # A dot in the id could move the border between id and time.
        return _dated(moment, f"{name}.".encode(), body, sent) if name and "." not in name else None

    def key(text: str) -> bytes:
        return b64decode(text.removeprefix("whsec_"), validate=True)

    return Verifier("standard_webhooks", secret, claimed, key, lambda digest: b64encode(digest).decode())


def _dated(moment: str, before: bytes, body: bytes, signatures: list[str]) -> Delivery | None:
    if not (moment.isascii() and moment.isdecimal() and len(moment) <= 10):
        return None
    return Delivery(before + moment.encode() + b"." + body, signatures, int(moment))


def _fault(verifier: Verifier, key: str) -> str | None:
    if verifier.scheme == "github":  # the team chose it; the others' keys are made by the sender
        return weakness(key)
    try:
        return None if len(verifier.key(key)) >= MIN_KEY_BYTES else f"is shorter than {MIN_KEY_BYTES} bytes"
    except ValueError:
        return "is not base64"


def webhook(verifier: Verifier, *, per_minute: int = PER_MINUTE) -> Callable[[V], V]:
    """Let only the system that holds the verifier's secret call this view, by POST; it is the route's access rule.

    The verifier's secret is named in `secrets` of settings.py. There is no user, CSRF token or check of the origin: no
    browser has the key. Errors are problem documents. Forged, old and repeated deliveries are refused with 403, more
    than `per_minute` genuine ones, in each process, with 429. A delivery that failed (4xx, 5xx) may be repeated.
    """
    return mark_with(Rule(public=True, json=True, webhook=replace(verifier, per_minute=per_minute)))


def faults(app: Flask) -> Iterator[str]:
    """Report webhooks that answer other methods than POST, and secrets that are undeclared or can be guessed."""
    declared, values = state_of(app).team.secrets, state_of(app).secrets
    for route in app.url_map.iter_rules():
        place = f"The webhook {route.endpoint!r}"
        for verifier in filter(None, (rule.webhook for rule in marks_of(app.view_functions.get(route.endpoint)))):
            name = verifier.secret_name
            if (route.methods or set()) - AUTOMATIC != {"POST"}:
                yield f"{place} answers other methods than POST. Only a body is signed: use POST."
            if name not in declared:
                yield f"{place} needs the secret {name}, which is not declared. Name it in `secrets` of settings.py."
                continue
            for fault in filter(None, (_fault(verifier, key) for key in values.get(name).reveal().split())):
                yield f"{name} {fault}. Give the sender and this service a random one."


def install(app: Flask) -> None:
    """Verify each request to a webhook before any other code reads its body, and forget deliveries that failed."""
    ceilings: dict[str, Ceiling] = {}

    @app.before_request
    def check_delivery() -> None:
        rule = state().rules.get(request.endpoint or "")
        if rule is not None and rule.webhook is not None:
            ceiling = ceilings.setdefault(str(request.endpoint), Ceiling(rule.webhook.per_minute, keys=1))
            setattr(g, WEBHOOK, accept(rule.webhook, ceiling))

    @app.after_request
    def allow_repetition(response: Response) -> Response:
        if response.status_code >= 400 and (spent := g.pop(WEBHOOK, None)):
            throttle.refund(spent)
        return response


def accept(verifier: Verifier, ceiling: Ceiling) -> throttle.Spent:
    """Return the mark of this request's delivery, which is now used; refuse with 403 or 429."""
    delivery = verifier.claimed(request.headers, request.get_data())
    if delivery is None or not verifier.verifies(delivery):
        refuse(403, "webhook-signature-required")
    if delivery.at is not None and abs(seconds() - delivery.at) > TOLERANCE:
        refuse(403, REPLAY)
    # One that was dated ahead stays valid for twice the tolerance.
    once = throttle.Allowance(1, timedelta(seconds=UNDATED if delivery.at is None else 2 * TOLERANCE))
    spent, _ = throttle.take("webhook", f"{request.endpoint} {hashlib.sha256(delivery.message).hexdigest()}", once)
    if spent is None:
        refuse(403, REPLAY)
    if (wait := ceiling.hit("")) is not None:  # after the replays, which would use up the limit
        throttle.refund(spent)
        refuse(429, "webhook-throttle", retry_after=wait)
    return spent
