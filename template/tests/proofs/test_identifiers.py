"""Proofs of identity/users.py: an email address names one account and one mailbox, however it is spelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import accounts, signs_in
from .harness import edit, harm, protects, works
from .logins import cheap_user
from .mails import waiting

if TYPE_CHECKING:
    from .running import Service


ROW = "identifier-normalised"
STORED = "alice@example.com"
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # as an Asian keyboard types ASCII


@protects(
    ROW,
    register=edit("identity/registration.py", "links.ACTIVATE, email)", "links.ACTIVATE, typed)"),
    login=edit("identity/login.py", "    subject = normalised(identifier)\n", "    subject = identifier\n"),
)
def test_another_spelling_of_an_address_is_neither_another_account_nor_another_mailbox(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    user = cheap_user(service, STORED)
    works(signs_in(service, STORED, user.password), "the user signs in with the stored spelling")
    for number, typed in enumerate(("Alice@EXAMPLE.com", STORED.translate(WIDE), "al\u0131ce@example.com"), 2):
        service.client(address=f"192.0.{number}.1").register(typed)
        noted = {email for _, email in waiting(service)}
        harm(noted - {STORED}, f"a mail is queued for another mailbox: {noted}")
    assert accounts(service) == 1
    harm(not signs_in(service, "ALICE@example.com", user.password), "capital letters locked the owner out")
