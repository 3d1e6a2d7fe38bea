"""Proofs of identity/recovery.py and identity/links.py: only a reader of the mail sets a password, and only once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import (
    CHOSEN,
    DONE,
    OTHER,
    Hashing,
    live_sessions,
    signs_in,
)
from .harness import edit, harm, protects, refused, works
from .logins import UNKNOWN, seen_by_client
from .mails import token_for, tokens_for, waiting

if TYPE_CHECKING:
    import pytest

    from .running import Service, User


FILE = "identity/recovery.py"
LINKS = "identity/links.py"
SINGLE_USE = "reset-token-single-use"
ENQUEUES = "        mail.enqueue(connection, links.RESET, email, trusted=trusted)\n"
ASKS = f"    with transaction() as connection:\n{ENQUEUES}"  # a visitor who types an address, not an administrator
UNKNOWN_TO_US = (
    "    with transaction() as connection:\n"
    "        if not connection.execute(update(User).where(USERS.email == email).values(email=email)).rowcount:\n"
)
OF_PURPOSE = "        LINKS.purpose.in_(purposes),\n"
UNUSED = f"{OF_PURPOSE}        LINKS.used_at.is_(None),\n"


def link_for(service: Service, user: User) -> str:
    """A mailed link to a new password of this user."""
    assert service.client(address="192.0.2.70").forgot(user.email).status == DONE["forgot"]
    return token_for(service, user.email, "reset")


# --- what is answered ------------------------------------------------------------------------------------------


@protects(
    "reset-uniform-response",
    answer=edit(FILE, ASKS, f'{UNKNOWN_TO_US}            refuse(404, "reset-uniform-response")\n{ENQUEUES}'),
    work=edit(FILE, ASKS, f"{UNKNOWN_TO_US}            return\n{ENQUEUES}"),
)
def test_asking_for_a_new_password_tells_of_no_account(service: Service) -> None:
    known = service.user().email
    answers = [
        service.client(address=f"192.0.2.{number}").forgot(email) for number, email in enumerate((known, UNKNOWN))
    ]
    works(answers[0].status == DONE["forgot"], "a user asks for a new password")
    views = [seen_by_client(answer, email) for answer, email in zip(answers, (known, UNKNOWN), strict=True)]
    harm(views[0] != views[1], "the answer reveals which accounts exist")
    harm(waiting(service) != [("reset", UNKNOWN), ("reset", known)], "the amount of work reveals which accounts exist")
    assert [len(tokens_for(service, email, "reset")) for email in (known, UNKNOWN)] == [1, 0]


# --- what a link is good for -----------------------------------------------------------------------------------


@protects(
    SINGLE_USE,
    once=edit(LINKS, UNUSED, OF_PURPOSE),
    login=edit(
        FILE,
        "    attempts.forgive(link.email)\n",
        "    attempts.forgive(link.email)\n"
        "    from datetime import timedelta\n\n"
        "    sessions.open_session(link.user_id, lifetime=timedelta(hours=1))\n",
    ),
)
def test_a_link_sets_one_password_and_opens_no_session(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, client = service.user(), service.client(address="192.0.2.72")
    Hashing(service, monkeypatch, cheap=True)
    token = link_for(service, user)
    works(client.reset(token, CHOSEN).status == DONE["reset"], "the mailed link sets a new password")
    harm(live_sessions(service, user.id), "the reset opened a session without a login")
    again = client.reset(token, OTHER)
    harm(signs_in(service, user.email, OTHER), "a used link changed the password again")
    refused(again, 410, SINGLE_USE)
    assert signs_in(service, user.email, CHOSEN)


# --- how often -------------------------------------------------------------------------------------------------
