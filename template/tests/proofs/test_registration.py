"""Proofs of identity/registration.py: whoever types an address learns nothing of it, and decides nothing about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .accounts import (
    CHOSEN,
    DONE,
    OTHER,
    TAKES_ANYTHING,
    Hashing,
    Statements,
    account,
    accounts,
    administrator,
    becomes_member,
    nothing_more_was_read,
    signs_in,
)
from .harness import edit, harm, protects, refused, works
from .logins import UNKNOWN, cheap_user, seen_by_client
from .mails import link, sent, text, token_for, waiting
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service
    from .wire import Response


FILE = "identity/registration.py"
MODE = "registration-mode-enforced"
SINGLE_USE = "activation-required-single-use"
VICTIM = "victim@example.com"
ENQUEUES = "        mail.enqueue(connection, links.ACTIVATE, email)\n"
KNOWN = "        if connection.execute(users._SHOWN.where(users._u.email == email)).first():\n"
GOOD = "identity/links.py"
OF_PURPOSE = "        _l.purpose.in_(purposes),\n"
UNUSED = f"{OF_PURPOSE}        _l.used_at.is_(None),\n"
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
PAGE_OPENS = () if AUTH == "jwt" else (edit("session/account.py", '    registration.require_mode("open")\n', ""),)


def is_open(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")


def asked(service: Service, statements: Statements, email: str, address: str) -> tuple[Response, int]:
    """The answer to registering this address, and what it cost."""
    client = service.client(address=address)
    client.honest("POST", {}, None, None, None)  # the page is open: only the request itself is counted
    statements.count = 0
    return client.register(email), statements.count


# --- what is answered ------------------------------------------------------------------------------------------


@protects(
    "register-uniform-response",
    answer=edit(FILE, ENQUEUES, f"{KNOWN}            refuse(409, MODE)\n{ENQUEUES}"),
    work=edit(FILE, ENQUEUES, f"{KNOWN}            return\n{ENQUEUES}"),
)
def test_registering_an_address_does_not_tell_whether_it_has_an_account(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open(service)
    becomes_member(service, "member@example.com")
    works(signs_in(service, "member@example.com", CHOSEN), "whoever registers and opens the mail can sign in")
    user, statements, hashing = cheap_user(service), Statements(service), Hashing(service, monkeypatch)
    before = account(service, user.email)
    known, cost_of_known = asked(service, statements, user.email, "192.0.2.31")
    unknown, cost_of_unknown = asked(service, statements, UNKNOWN, "192.0.2.32")
    views = [seen_by_client(known, user.email), seen_by_client(unknown, UNKNOWN)]
    harm(views[0] != views[1], "the answer tells that there is an account")
    harm(waiting(service) != [("activate", UNKNOWN), ("activate", user.email)], "the work tells it")
    assert known.status == DONE["register"]
    assert cost_of_known == cost_of_unknown >= 2  # counter and outbox
    assert hashing.count == 0
    [told] = sent(service, user.email)
    assert link(told) is None  # no link that makes anything: a notice, with the way to a new password
    assert "You have one already" in text(told)
    [invited] = sent(service, UNKNOWN)
    assert link(invited) is not None
    assert account(service, user.email) == before
    assert waiting(service) == []


# --- how often -------------------------------------------------------------------------------------------------


@protects("register-throttle", limit=edit(FILE, SPENDS, ""))
def test_no_network_registers_more_than_five_addresses_an_hour(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open(service)
    hashing = Hashing(service, monkeypatch)
    works(service.client(address="192.0.2.50").register("other@example.com").status == DONE["register"], "one is taken")
    networks = [["198.51.100.7"] * 6, [f"2001:db8:0:7::{number:x}" for number in range(1, 7)]]  # IPv4, and one /64
    answers = [
        [
            service.client(address=one).register(f"{one.replace(':', '-')}.{number}@example.com")
            for number, one in enumerate(addresses)
        ]
        for addresses in networks
    ]
    harm(len(waiting(service)) > 11, "a sixth mail is due")
    for six in answers:
        assert [answer.status for answer in six[:5]] == [DONE["register"]] * 5
        refused(six[5], 429, "register-throttle")
        assert int(six[5].header("Retry-After") or 0) > 3000
    assert hashing.count == 0
    assert service.client(address="192.0.2.51").register("new-7@example.com").status == DONE["register"]
    service.travel(hours=1, seconds=1)
    assert service.client(address="198.51.100.7").register("new-8@example.com").status == DONE["register"]


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
def test_whoever_registers_somebody_elses_address_owns_nothing_of_the_later_account(service: Service) -> None:
    is_open(service)
    works(becomes_member(service, "member@example.com").email, "whoever reads the mail has the account")
    mallory = service.client(service.user(), "198.51.100.66").login()
    decided = {"password": OTHER, "again": OTHER, "display_name": "Mallory", "roles": ["admin"], "role": "admin"}
    tried = [mallory.register(VICTIM, **{name: value}) for name, value in decided.items()]
    assert mallory.ask_email(VICTIM).status == DONE["ask_email"]  # a change that waits for the victim's mailbox
    waits = token_for(service, VICTIM, "email")
    service.client(address="198.51.100.67").register(VICTIM)
    first = token_for(service, VICTIM, "activate")
    service.travel(minutes=11)
    service.client(address="192.0.2.60").register(VICTIM)  # the victim
    answer = service.client(address="192.0.2.60").activate(token_for(service, VICTIM, "activate"), CHOSEN, "Victoria")
    works(answer.status == DONE["activate"], "the victim chooses the password by the newest link")
    harm(signs_in(service, VICTIM, OTHER), "a stranger's password opens the account")
    made = account(service, VICTIM)
    assert made is not None
    assert (made.display_name, made.roles) == ("Victoria", "")
    assert signs_in(service, VICTIM, CHOSEN)
    for one in tried:
        nothing_more_was_read(one, "register")
    refused(service.client(address="198.51.100.67").activate(first, OTHER), 410, SINGLE_USE)
    mallory.login()
    refused(mallory.confirm_email(waits), 410, "email-change-confirmed")
    assert account(service, VICTIM) == made


# --- what makes an account -------------------------------------------------------------------------------------


@protects(
    SINGLE_USE,
    once=edit(GOOD, UNUSED, OF_PURPOSE),
    superseded=edit(GOOD, "    connection.execute(update(Link).where(*earlier).values(used_at=now()))\n", ""),
)
def test_a_link_makes_one_account_and_an_older_one_none(service: Service) -> None:
    is_open(service)
    client = service.client()
    client.register(VICTIM)
    old = token_for(service, VICTIM, "activate")
    service.travel(minutes=11)
    client.register(VICTIM)
    new = token_for(service, VICTIM, "activate")
    works(old != new, "a second mail has a link of its own")
    before = client.activate(old, OTHER)
    harm(account(service, VICTIM), "the older link made an account")
    refused(before, 410, SINGLE_USE)
    works(client.activate(new, CHOSEN).status == DONE["activate"], "the newest link makes the account")
    # Its owner has another address by now, so nothing but the link itself stands against a second use.
    service.rows("UPDATE auth_user SET email = 'moved@example.com' WHERE email = :email", email=VICTIM)
    again = client.activate(new, OTHER)
    harm(account(service, VICTIM), "a used link made a second account")
    refused(again, 410, SINGLE_USE)
    assert accounts(service) == 1
    client.register("taken@example.com")
    late = token_for(service, "taken@example.com", "activate")
    taken = service.user("taken@example.com")  # made since, by other means
    refused(client.activate(late, OTHER), 410, SINGLE_USE)
    assert signs_in(service, taken.email, taken.password)


# --- who may register ------------------------------------------------------------------------------------------


@protects(
    MODE,
    mode=(edit(FILE, "    require_mode(*MODES[links.ACTIVATE])\n", ""), *PAGE_OPENS),
    later=edit(FILE, "    if state().settings.registration not in MODES[link.purpose]:\n", "    if False:\n"),
)
def test_nobody_registers_where_that_is_not_open(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open(service)
    inviter = administrator(service, monkeypatch)
    works(service.client().register("early@example.com").status == DONE["register"], "where it is open, it works")
    works(inviter.invite("guest@example.com").status == DONE["invite"], "and so does an invitation")
    early, guest = (
        token_for(service, "early@example.com", "activate"),
        token_for(service, "guest@example.com", "invite"),
    )
    for mode in ("open", None, "closed"):  # whom an operator makes one has an account in each
        service.restart(BASTION_REGISTRATION=mode)
        email = f"{mode}@example.com".lower()
        with service.app.app_context():
            service.module("identity.registration").invite_by_operator(email, ())
        token = token_for(service, email, "create")
        works(service.client().activate(token, OTHER).status == DONE["activate"], f"an operator invites, mode {mode}")
    for mode in (None, "closed"):
        service.restart(BASTION_REGISTRATION=mode)
        stranger = service.client(address="198.51.100.66")
        answer = stranger.register(VICTIM)
        harm(waiting(service), f"a registration was taken in the mode {mode}")
        refused(answer, 404, MODE)
        answer = stranger.activate(early, OTHER)
        harm(
            account(service, "early@example.com"),
            f"a link of open mode made an account in the mode {mode}",
        )
        refused(answer, 410, SINGLE_USE)
    answer = stranger.activate(guest, OTHER)
    harm(account(service, "guest@example.com"), "an invitation made an account where there are none")
    refused(answer, 410, MODE)
    inviter = service.client(inviter.user, "192.0.2.91").login()
    answer = inviter.invite(VICTIM)
    harm(waiting(service), "an invitation was mailed where there are none")
    refused(answer, 404, MODE)
    assert service.start(BASTION_REGISTRATION="Open").app is None
