"""Proofs of what identity/users.py does with an address: one is one account, however it is spelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import accounts, signs_in
from .harness import edit, harm, protects, works
from .logins import cheap_user
from .mails import sent, waiting
from .service import Client

if TYPE_CHECKING:
    from .running import Service


ROW = "identifier-normalised"
STORED = "alice@example.com"
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # as an Asian keyboard types ASCII
SPELLINGS = ("Alice@EXAMPLE.com", " alice@example.com ", "alice@example.com".translate(WIDE), "alice@EXAMPLE。com")
LOOKALIKES = ("al\u0131ce@example.com", "al\u200dice@example.com", "alice@exam\u200bple.com", "\u202ealice@example.com")
ENQUEUES_RESET = "mail.enqueue(connection, links.RESET, email, trusted=trusted)"


@protects(
    ROW,
    register=edit(
        "identity/registration.py",
        "links.ACTIVATE, email)",
        "links.ACTIVATE, typed)",
    ),
    reset=edit(
        "identity/recovery.py",
        ENQUEUES_RESET,
        ENQUEUES_RESET.replace("email", "typed"),
    ),
    login=edit("identity/login.py", "    subject = normalised(identifier)\n", "    subject = identifier\n"),
)
def test_another_spelling_of_an_address_is_neither_another_account_nor_another_mailbox(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    user = cheap_user(service, STORED)
    works(signs_in(service, STORED, user.password), "the stored spelling signs in")
    service.client(address="192.0.2.1").register("bob@example.com")
    works([mail["To"] for mail in sent(service)] == ["bob@example.com"], "somebody else registers")
    for number, typed in enumerate((*SPELLINGS, *LOOKALIKES), 2):
        client = service.client(address=f"192.0.{number}.1")
        answers = [client.register(typed).status, client.forgot(typed).status]
        noted = {email for _, email in waiting(service)}
        harm(noted - {STORED}, f"a mail is on its way to {noted}")
        if typed in LOOKALIKES:
            assert answers == [422, 422]
            assert noted == set()
        else:
            assert answers == [Client.DONE["register"], Client.DONE["forgot"]]
            sent(service)
    assert accounts(service) == 1
    harm(not signs_in(service, "ALICE@example.com", user.password), "its owner is shut out by a capital letter")
    service.client(address="192.0.2.1").register("bob@b\u00fccher.example")
    assert sent(service)[-1]["To"] == "bob@xn--bcher-kva.example"  # an international domain has one form, too
