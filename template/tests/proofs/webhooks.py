"""Foreign systems that call webhooks: they sign what the proofs' clients post, as GitHub, Stripe and others do.

It stops proofs from agreeing with a wrong verifier: the signatures are made here, with no code of the service.
"""

from __future__ import annotations

import base64
import hmac
import itertools
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from .running import Service

UNSIGNED = dict.fromkeys(("X-Hub-Signature-256", "Stripe-Signature", "webhook-signature"))
"""Headers that take the signature out of a request."""
_seconds = itertools.cycle(range(200))


def signature(service: Service, method: str, path: str, body: bytes) -> dict[str, str]:
    """The headers with which a webhook's sender signs this body now; {} for any other address."""
    rules = service.module("state").state_of(service.app).rules
    address, adapter = path.partition("?")[0], service.app.url_map.bind("app.example", url_scheme="https")
    if method != "POST" or not any(rule.webhook for rule in rules.values()) or not adapter.test(address, method):
        return {}
    verifier = rules[adapter.match(address, method)[0]].webhook
    if verifier is None:
        return {}
    key = service.environment.secrets[verifier.secret_name].split()[0]
    # Two deliveries of one body are never of the same second, or the second would be a replay.
    return signed(verifier.scheme, key, body, int(service.now().timestamp()) - next(_seconds))


def signed(scheme: str, key: str, body: bytes, at: int) -> dict[str, str]:
    """The headers of a delivery that is signed with this key at this time, in seconds."""
    if scheme == "github":
        return {"X-Hub-Signature-256": f"sha256={hmac.new(key.encode(), body, 'sha256').hexdigest()}"}
    if scheme == "stripe":
        digest = hmac.new(key.encode(), b"%d.%s" % (at, body), "sha256").hexdigest()
        return {"Stripe-Signature": f"t={at},v1={digest}"}
    name, secret = f"msg_{uuid4().hex}", base64.b64decode(key.removeprefix("whsec_"))
    made = hmac.new(secret, b"%s.%d.%s" % (name.encode(), at, body), "sha256").digest()
    text = base64.b64encode(made).decode()
    return {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": f"v1,{text}"}
