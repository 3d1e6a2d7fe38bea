"""Proofs of identity/registration.py: a stranger who registers an address learns nothing and controls no account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .accounts import (
    CHOSEN,
    DONE,
    OTHER,
    TAKES_ANYTHING,
    Hashing,
    account,
    nothing_more_was_read,
    signs_in,
)
from .harness import edit, harm, protects, refused, works
from .logins import UNKNOWN, seen_by_client
from .mails import link, sent, token_for, waiting
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service


FILE = "identity/registration.py"
MODE = "registration-mode-enforced"
SINGLE_USE = "activation-required-single-use"
VICTIM = "victim@example.com"
ENQUEUES = "        mail.enqueue(connection, links.ACTIVATE, email)\n"
KNOWN = "        if connection.execute(users._SHOWN.where(users.USERS.email == email)).first():\n"
GOOD = "identity/links.py"
OF_PURPOSE = "        LINKS.purpose.in_(purposes),\n"
UNUSED = f"{OF_PURPOSE}        LINKS.used_at.is_(None),\n"
SPENDS = '    throttle.spend_for_network("register", "register-throttle", REGISTRATIONS)\n'
READS_WHAT_WAS_SENT = edit(
    FILE,
    'MODE: Final = "registration-mode-enforced"\n',
    'MODE: Final = "registration-mode-enforced"\n_KEPT = {}\n\n\n'
    "def _sent(name, otherwise):\n"
    "    from flask import request\n\n"
    "    return (request.get_json() if request.is_json else request.form).get(name) or otherwise\n\n\n",
)
"""Part of a sabotage: a way to read more than was declared."""
PAGE_OPENS = () if AUTH == "jwt" else (edit("session/mailed_link.py", '    registration.require_mode("open")\n', ""),)


def is_open(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")


# --- what is answered ------------------------------------------------------------------------------------------


@protects(
    "register-uniform-response",
    answer=edit(FILE, ENQUEUES, f"{KNOWN}            refuse(409, MODE)\n{ENQUEUES}"),
    work=edit(FILE, ENQUEUES, f"{KNOWN}            return\n{ENQUEUES}"),
)
def test_registering_an_address_tells_of_no_account(service: Service) -> None:
    is_open(service)
    known = service.user().email
    answers = [
        service.client(address=f"192.0.2.{number}").register(email) for number, email in enumerate((UNKNOWN, known), 31)
    ]
    works(answers[0].status == DONE["register"], "a visitor registers an address")
    views = [seen_by_client(answer, email) for answer, email in zip(answers, (UNKNOWN, known), strict=True)]
    harm(views[0] != views[1], "the answer reveals that an account exists")
    harm(waiting(service) != [("activate", UNKNOWN), ("activate", known)], "the work reveals that an account exists")
    assert [link(mail) is None for email in (UNKNOWN, known) for mail in sent(service, email)] == [False, True]


# --- how often -------------------------------------------------------------------------------------------------


@protects("register-throttle", limit=edit(FILE, SPENDS, ""))
def test_no_network_registers_a_sixth_address_in_an_hour(service: Service) -> None:
    is_open(service)
    answers = [service.client(address="198.51.100.7").register(f"new-{number}@example.com") for number in range(6)]
    works([answer.status for answer in answers[:5]] == [DONE["register"]] * 5, "five registrations are accepted")
    harm(len(waiting(service)) > 5, "a sixth registration queued a mail")
    refused(answers[5], 429, "register-throttle")
    assert service.client(address="192.0.2.51").register("other@example.com").status == DONE["register"]


# --- who decides -----------------------------------------------------------------------------------------------


@protects(
    "register-no-pre-hijack",
    password=(
        *TAKES_ANYTHING,
        READS_WHAT_WAS_SENT,
        edit(FILE, ENQUEUES, f'{ENQUEUES}        _KEPT.setdefault(email, _sent("password", ""))\n'),
        edit(
            FILE,
            "    password_hash = users.checked_password(password, link.email)\n",
            "    password_hash = users.checked_password(_KEPT.get(link.email) or password, link.email)\n",
        ),
    ),
)
def test_a_stranger_who_registers_an_address_first_decides_nothing_of_its_account(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open(service)
    mallory, victim = service.client(address="198.51.100.66"), service.client(address="192.0.2.60")
    Hashing(service, monkeypatch, cheap=True)
    tried = mallory.register(VICTIM, password=OTHER)
    victim.register(VICTIM)
    answer = victim.activate(token_for(service, VICTIM, "activate"), CHOSEN)
    works(answer.status == DONE["activate"], "the victim sets the password with the mailed link")
    harm(signs_in(service, VICTIM, OTHER), "a stranger's password opened the account")
    assert signs_in(service, VICTIM, CHOSEN)
    nothing_more_was_read(tried, "register")


# --- what makes an account -------------------------------------------------------------------------------------


@protects(
    SINGLE_USE,
    once=edit(GOOD, UNUSED, OF_PURPOSE),
    superseded=edit(GOOD, "    connection.execute(update(Link).where(*earlier).values(used_at=now()))\n", ""),
)
def test_a_link_makes_one_account_and_an_earlier_one_none(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open(service)
    client = service.client()
    Hashing(service, monkeypatch, cheap=True)
    client.register(VICTIM)
    old = token_for(service, VICTIM, "activate")
    service.travel(minutes=11)
    client.register(VICTIM)
    new = token_for(service, VICTIM, "activate")
    works(old != new, "the second mail has a new link")
    before = client.activate(old, OTHER)
    harm(account(service, VICTIM), "the older link created an account")
    refused(before, 410, SINGLE_USE)
    works(client.activate(new, CHOSEN).status == DONE["activate"], "the newest link creates the account")
    # Its owner has another address by now, so nothing but the link itself stands against a second use.
    service.rows("UPDATE auth_user SET email = 'moved@example.com' WHERE email = :email", email=VICTIM)
    again = client.activate(new, OTHER)
    harm(account(service, VICTIM), "a used link created a second account")
    refused(again, 410, SINGLE_USE)


# --- who may register ------------------------------------------------------------------------------------------


@protects(
    MODE,
    mode=(edit(FILE, "    require_mode(*MODES[links.ACTIVATE])\n", ""), *PAGE_OPENS),
    later=edit(FILE, "    if state().settings.registration not in MODES[link.purpose]:\n", "    if False:\n"),
)
def test_no_stranger_registers_where_that_is_not_open(service: Service) -> None:
    is_open(service)
    stranger = service.client(address="198.51.100.66")
    works(stranger.register("early@example.com").status == DONE["register"], "open registration accepts a stranger")
    early = token_for(service, "early@example.com", "activate")
    for mode in (None, "closed"):
        service.restart(BASTION_REGISTRATION=mode)
        answer = stranger.register(VICTIM)
        harm(waiting(service), f"a registration was accepted in mode {mode}")
        refused(answer, 404, MODE)
        answer = stranger.activate(early, OTHER)
        harm(account(service, "early@example.com"), f"a link from open mode created an account in mode {mode}")
        refused(answer, 410, SINGLE_USE)
