"""Unit tests beside the proofs in test_notices.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import mails
from ..service import AUTH
from ..wire import ORIGIN

if TYPE_CHECKING:
    from ..running import Service


ASKED_FOR = {"session": ORIGIN, "jwt": "https://client.example/account#purpose="}[AUTH]
"""Where a notice leads whoever wants a new password."""


def test_each_notice_says_how_to_react_and_leaves_nothing_open(service: Service) -> None:
    letters: Any = service.module("mail.letters")
    happened_at = service.now()
    with service.app.app_context():
        contact = service.module("state").state().security_contact
        for purpose in sorted(service.module("mail").NOTICES):
            mail = letters.write(purpose, "a@example.com", None, happened_at=happened_at, origin="2001:db8::1")
            text = mails.text(mail)
            assert "the address 2001:db8::1." in text
            assert f"{happened_at:%Y-%m-%d %H:%M} UTC" in text
            assert "new password" in text or f"write to {contact}" in text
            assert ("new password" in text) == (ASKED_FOR in text), purpose
            assert "$" not in text + mail["Subject"]
            assert mails.link(mail) is None
