"""What a person holds beside the password: an authenticator app, and a device that Chromium plays for its pages.

It stops the journeys from asking the service whether its codes are right: they are made here, from RFC 6238 alone.
"""

from __future__ import annotations

import hmac
import time
from base64 import b32decode
from dataclasses import dataclass, field

from playwright.sync_api import CDPSession, Page

STEP = 30
ENOUGH = 10  # seconds that a code is still good when it is typed


@dataclass
class App:
    """An authenticator app: it shows the code of the present thirty seconds, and a person takes each of them once."""

    seed: str
    taken: set[int] = field(default_factory=set)

    def code(self) -> str:
        """A code that was not used yet and is good for a moment longer; the person waits for it."""
        while (step := int(time.time()) // STEP) in self.taken or time.time() % STEP > STEP - ENOUGH:
            time.sleep(0.2)
        self.taken.add(step)
        mac = hmac.digest(b32decode(self.seed.replace(" ", "")), step.to_bytes(8, "big"), "sha1")
        start = mac[-1] & 0x0F
        return f"{(int.from_bytes(mac[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


class Device:
    """A phone or laptop with passkeys, beside the pages of one profile."""

    def __init__(self, page: Page, *, suggests: bool = False) -> None:
        """`suggests`: it answers at once where the sign-in page offers passkeys, as if its owner chose the first."""
        if not suggests:
            page.add_init_script(
                "if (window.PublicKeyCredential) "
                "PublicKeyCredential.isConditionalMediationAvailable = async () => false"
            )
        self._cdp: CDPSession = page.context.new_cdp_session(page)
        self._cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        self._id = self._cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    def unlocks(self, willing: bool) -> None:
        """Whether its owner shows finger, face or PIN when it asks."""
        self._cdp.send("WebAuthn.setUserVerified", {"authenticatorId": self._id, "isUserVerified": willing})

    def passkeys(self) -> int:
        return len(self._cdp.send("WebAuthn.getCredentials", {"authenticatorId": self._id})["credentials"])
