"""Proofs of identity/recovery.py and identity/links.py: who reads the mail sets the password, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import (
    CHOSEN,
    DONE,
    OTHER,
    Hashing,
    Statements,
    live_sessions,
    lives,
    signs_in,
)
from .harness import edit, harm, protects, refused, works
from .logins import UNKNOWN, seen_by_client
from .mails import sent, subjects, text, token_for, tokens_for, waiting

if TYPE_CHECKING:
    import pytest

    from .running import Service, User
    from .wire import Response


FILE = "identity/recovery.py"
LINKS = "identity/links.py"
SINGLE_USE = "reset-token-single-use"
THROTTLE = "reset-throttle"
ENQUEUES = "        mail.enqueue(connection, links.RESET, email, trusted=trusted)\n"
ASKS = f"    with transaction() as connection:\n{ENQUEUES}"  # by whoever types an address, not by an administrator
UNKNOWN_TO_US = (
    "    with transaction() as connection:\n"
    "        if not connection.execute(update(User).where(_u.email == email).values(email=email)).rowcount:\n"
)
OF_PURPOSE = "        _l.purpose.in_(purposes),\n"
UNUSED = f"{OF_PURPOSE}        _l.used_at.is_(None),\n"


def asked(service: Service, statements: Statements, email: str, number: int) -> tuple[Response, int]:
    """The answer to a request for this address, and what it cost."""
    client = service.client(address=f"192.0.2.{number}")
    client.honest("POST", {}, None, None, None)  # the page is open: only the request itself is counted
    statements.count = 0
    return client.forgot(email), statements.count


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
def test_asking_for_a_new_password_does_not_tell_which_accounts_exist(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    known, disabled = service.user(), service.user(active=False)
    hashing, statements = Hashing(service, monkeypatch), Statements(service)
    service.client().register("unconfirmed@example.com")
    sent(service)
    emails = (known.email, UNKNOWN, disabled.email, "unconfirmed@example.com")
    answers = {email: asked(service, statements, email, number) for number, email in enumerate(emails, 30)}
    views = {email: seen_by_client(answer, email) for email, (answer, _) in answers.items()}
    works(answers[known.email][0].status == DONE["forgot"], "a known address is mailed to")
    harm([email for email in emails if views[email] != views[known.email]], "the answer tells which accounts exist")
    harm(waiting(service) != sorted(("reset", email) for email in emails), "the work tells which accounts exist")
    assert len({cost for _, cost in answers.values()}) == 1
    assert answers[known.email][1] >= 2  # counter and outbox
    assert hashing.count == 0
    assert [len(tokens_for(service, email, "reset")) for email in emails] == [1, 0, 0, 0]
    assert [len(sent(service, email)) for email in emails] == [1, 0, 0, 1]  # the last is that of the registration
    assert service.rows("SELECT count(*) FROM auth_link WHERE purpose = 'reset'")[0][0] == 1
    token = token_for(service, known.email, "reset")
    assert service.client().reset(token, CHOSEN).status == DONE["reset"]
    assert signs_in(service, known.email, CHOSEN)


# --- what a link is good for -----------------------------------------------------------------------------------


@protects(
    SINGLE_USE,
    once=edit(LINKS, UNUSED, OF_PURPOSE),
    login=edit(
        FILE,
        "    login.forgive(link.email)\n",
        "    login.forgive(link.email)\n"
        "    from datetime import timedelta\n\n"
        "    sessions.open_session(link.user_id, lifetime=timedelta(hours=1))\n",
    ),
)
def test_a_link_sets_one_password_and_signs_nobody_in(service: Service) -> None:
    user, other = service.user(), service.user()
    unharmed = service.client(other, "192.0.2.71").login()
    client = service.client(address="192.0.2.72")
    token = link_for(service, user)
    assert f"{service.limits.reset_minutes} minutes" in text(sent(service, user.email)[0])
    short = client.reset(token, "too short")
    answer = client.reset(token, CHOSEN)
    works(answer.status == DONE["reset"], "the link sets a password, even after one that could not be used")
    harm(live_sessions(service, user.id), "whoever reads the mail is signed in at once")
    again = client.reset(token, OTHER)
    harm(signs_in(service, user.email, OTHER), "a used link set another password")
    refused(again, 410, SINGLE_USE)
    assert short.status == 422
    assert not lives(client)
    assert signs_in(service, user.email, CHOSEN)
    assert not signs_in(service, user.email, user.password)
    assert subjects(service, user.email)[-1] == "Your password was changed"
    assert lives(unharmed)


# --- how often -------------------------------------------------------------------------------------------------


@protects(
    THROTTLE,
    identifier=edit("mail/budget.py", "    if counted is None:\n", "    if False:\n"),
    cancel=edit(
        FILE, ASKS, f"    with transaction() as connection:\n        links.cancel(connection, email)\n{ENQUEUES}"
    ),
)
def test_a_stranger_who_asks_again_and_again_sends_no_mails_and_ends_no_link(service: Service) -> None:
    user = service.user()
    asks = [service.client(address=f"198.51.100.{number}") for number in range(1, 4)]
    answers = []
    for client in asks:
        answers.append(client.forgot(user.email))
        sent(service)
        service.travel(minutes=2)
    tokens = tokens_for(service, user.email, "reset")
    works(answers[0].status == DONE["forgot"] and tokens, "the first request is mailed")
    harm(tokens[1:], "a second mail went out within ten minutes")
    answer = service.client().reset(tokens[0], CHOSEN)
    harm(not signs_in(service, user.email, CHOSEN), "a request that sent nothing ended the owner's link")
    assert answer.status == DONE["reset"]
    views = [seen_by_client(one, user.email) for one in answers]
    assert views == [views[0]] * 3
