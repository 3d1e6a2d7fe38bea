"""Edges of the proofs in test_registration.py: further attacks on the same protections."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

import pytest

from .. import test_registration as core
from ..accounts import (
    ADMINISTRATOR,
    CHOSEN,
    DONE,
    OTHER,
    TAKES_ANYTHING,
    Hashing,
    account,
    accounts,
    administrator,
    nothing_more_was_read,
    signs_in,
)
from ..harness import edit, harm, protects, refused, works
from ..logins import UNKNOWN, attempt, cheap_user, seen_by_client
from ..mails import link, sent, text, token_for, tokens_for, waiting
from ..test_registration import (
    ENQUEUES,
    FILE,
    GOOD,
    KNOWN,
    MODE,
    OF_PURPOSE,
    PAGE_OPENS,
    READS_WHAT_WAS_SENT,
    SINGLE_USE,
    SPENDS,
    UNUSED,
    VICTIM,
    is_open,
)
from .core import sabotages
from .statements import Statements
from .steps import becomes_member
from .test_throttle import WIDE

if TYPE_CHECKING:
    from ..running import Service
    from ..wire import Response


def asked(service: Service, statements: Statements, email: str, address: str) -> tuple[Response, int]:
    """Register this address; return the answer and its cost."""
    client = service.client(address=address)
    client.honest("POST", {}, None, None, None)  # the page is open: only the request itself is counted
    statements.count = 0
    return client.register(email), statements.count


# --- the answer ------------------------------------------------------------------------------------------------


@protects(
    "register-uniform-response",
    email=edit(
        "identity/account.py",
        "        mail.enqueue(connection, links.EMAIL, email,",
        "        if connection.execute(select(USERS.id).where(USERS.email == email)).first():\n"
        '            raise users.UserError("There is already an account with this address.", "email")\n'
        "        mail.enqueue(connection, links.EMAIL, email,",
    ),
)
def test_changing_the_address_does_not_reveal_accounts(service: Service) -> None:
    user, other = service.user(), service.user()
    answers = [
        (email, service.client(user, f"192.0.2.{number}").login().ask_email(email))
        for number, email in enumerate((UNKNOWN, other.email), 41)
    ]
    views = [seen_by_client(answer, email) for email, answer in answers]
    works(answers[0][1].status == DONE["ask_email"], "a free address is accepted")
    harm(views[0] != views[1], "the answer reveals that an account exists")
    assert waiting(service)[:2] == [("email", UNKNOWN), ("email", other.email)]
    assert tokens_for(service, other.email, "email") == []
    assert len(tokens_for(service, UNKNOWN, "email")) == 1


@protects(
    "register-uniform-response",
    invite=edit(
        FILE,
        "        mail.enqueue(connection, links.INVITE, email,",
        f"{KNOWN}"
        '            raise users.UserError("There is already an account with this address.", "email")\n'
        "        mail.enqueue(connection, links.INVITE, email,",
    ),
)
def test_invitations_do_not_reveal_accounts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    inviter, user = administrator(service, monkeypatch), service.user()
    answers = [(email, inviter.invite(email)) for email in (UNKNOWN, user.email)]
    views = [seen_by_client(answer, email) for email, answer in answers]
    works(answers[0][1].status == DONE["invite"], "a new address is invited")
    harm(views[0] != views[1], "the answer reveals that an account exists")
    assert waiting(service) == [("invite", UNKNOWN), ("invite", user.email)]
    assert tokens_for(service, user.email, "invite") == []
    assert len(tokens_for(service, UNKNOWN, "invite")) == 1


# --- how often -------------------------------------------------------------------------------------------------


@protects(
    "register-throttle",
    invalid=edit(FILE, f"{SPENDS}    email = users.address(typed)\n", f"    email = users.address(typed)\n{SPENDS}"),
)
def test_what_is_no_address_counts_as_well(service: Service) -> None:
    is_open(service)
    works(service.client(address="192.0.2.50").register("one@example.com").status == DONE["register"], "one is ok")
    guesses = [service.client(address="198.51.100.7").register(f"unknown-{number}@localhost") for number in range(5)]
    answer = service.client(address="198.51.100.7").register("sixth@example.com")
    harm(("activate", "sixth@example.com") in waiting(service), "the sixth was accepted after five invalid addresses")
    assert [guess.status for guess in guesses] == [422] * 5
    refused(answer, 429, "register-throttle")


@protects("register-throttle", wide=WIDE)
def test_ipv6_networks_of_one_site_share_the_registration_limit(service: Service) -> None:
    is_open(service)
    works(service.client(address="2001:db8:1::1").register("other@example.com").status == DONE["register"], "one is ok")
    answers = [
        service.client(address=f"2001:db8:0:{number:x}::1").register(f"new-{number}@example.com")
        for number in range(40)
    ]
    taken = len([email for _, email in waiting(service) if email.startswith("new-")])
    harm(taken > 25, "each /64 of a /48 had its own limit")
    assert taken == 25
    for answer in answers[25:]:
        refused(answer, 429, "register-throttle")
    assert service.client(address="2001:db8:1:1::1").register("last@example.com").status == DONE["register"]


# --- who decides -----------------------------------------------------------------------------------------------


@protects(
    "register-no-pre-hijack",
    existing=edit(
        FILE,
        ENQUEUES,
        f"{ENQUEUES}"
        "        connection.execute(\n"
        '            users.update(users.User).where(users.USERS.email == email).values(display_name="Mallory")\n'
        "        )\n",
    ),
)
def test_a_registration_touches_no_account_that_is_there(service: Service) -> None:
    is_open(service)
    user = becomes_member(service, "member@example.com", name="Member")
    session = service.client(user).login()
    before = account(service, user.email)
    answer = service.client(address="198.51.100.66").register(user.email)
    works(answer.status == DONE["register"], "the registration gets the usual answer")
    sent(service)
    harm(account(service, user.email) != before, "the registration changed an account")
    assert session.account().status == DONE["account"]


# --- what makes an account -------------------------------------------------------------------------------------


@protects("reset-throttle", registered=edit(FILE, "    throttle.count_link(link.id)\n", ""))
def test_by_one_link_twenty_passwords_a_minute_are_looked_at(service: Service) -> None:
    is_open(service)
    service.client().register(UNKNOWN)
    token = token_for(service, UNKNOWN, "activate")
    client = service.client(address="192.0.2.73")
    works([client.activate(token, "too short").status for _ in range(20)] == [422] * 20, "twenty are checked")
    answer = service.client(address="192.0.2.74").activate(token, "too short")
    harm(answer.status == 422, "one more was checked")
    refused(answer, 429, "reset-throttle")
    service.travel(seconds=61)
    assert client.activate(token, CHOSEN).status == DONE["activate"]


@protects(SINGLE_USE, expiry=edit(GOOD, "        LINKS.expires_at > moment,\n", ""))
def test_a_link_is_good_for_as_long_as_its_mail_says(service: Service) -> None:
    is_open(service)
    hours = service.limits.activation_hours
    client = service.client()
    for email in ("early@example.com", VICTIM):
        client.register(email)
    tokens = [token_for(service, email, "activate") for email in ("early@example.com", VICTIM)]
    assert f"{hours} hours" in text(sent(service, VICTIM)[0])
    service.travel(hours=hours, seconds=-5)
    works(client.activate(tokens[0], CHOSEN).status == DONE["activate"], "until then the link works")
    service.travel(seconds=6)
    answer = client.activate(tokens[1], CHOSEN)
    harm(account(service, VICTIM), "an expired link created an account")
    refused(answer, 410, SINGLE_USE)


@protects(
    SINGLE_USE,
    purpose=(
        edit(GOOD, OF_PURPOSE, ""),
        edit(FILE, "not in MODES[link.purpose]:", 'not in MODES.get(link.purpose, ("open",)):'),  # knows three alone
    ),
)
def test_a_link_for_something_else_makes_no_account(service: Service) -> None:
    is_open(service)
    becomes_member(service, "member@example.com")
    user = service.user()
    mallory = service.client(user, "198.51.100.66").login()
    mallory.ask_email(VICTIM)
    service.client(address="198.51.100.66").forgot(user.email)
    change, reset = token_for(service, VICTIM, "email"), token_for(service, user.email, "reset")
    service.rows("UPDATE auth_user SET email = 'moved@example.com' WHERE email = :email", email=user.email)
    answers = [mallory.activate(change, OTHER), mallory.activate(reset, OTHER)]
    harm([one for one in (VICTIM, user.email) if account(service, one)], "a link of another purpose created an account")
    for answer in answers:
        refused(answer, 410, SINGLE_USE)
    assert accounts(service) == 2


@protects(
    SINGLE_USE,
    hash=edit(
        GOOD,
        "from .sessions import TOKEN_BYTES, digest\n",
        # as much of it as MySQL's column holds
        "from .sessions import TOKEN_BYTES\n\n\ndef digest(token: str) -> bytes:\n    return token.encode()[:32]\n",
    ),
)
def test_stored_values_of_an_unread_link_are_no_token(service: Service) -> None:
    is_open(service)
    works(
        signs_in(service, becomes_member(service, "member@example.com").email, CHOSEN), "a confirmed address signs in"
    )
    client = service.client(address="198.51.100.66")
    client.register(VICTIM)
    token = token_for(service, VICTIM, "activate")
    assert len(token) == 43  # 256 bits
    early = attempt(client, VICTIM, CHOSEN)
    [(stolen,)] = service.rows("SELECT token_hash FROM auth_link WHERE email = :email", email=VICTIM)
    found = bytes(stolen)
    as_it_is = re.sub(r"[^\w-]", "", found.decode("ascii", "ignore"))
    spellings = (
        as_it_is,
        found.hex(),
        urlsafe_b64encode(found).decode(),
        urlsafe_b64encode(found).decode().rstrip("="),
    )
    answers = [client.activate(one, OTHER) for one in spellings if one]
    harm(account(service, VICTIM), "a stored value was accepted as the token")
    for answer in answers:
        refused(answer, 410, SINGLE_USE)
    assert len(found) == 32
    refused(early, 401, "login-uniform-failure")
    assert waiting(service) == []
    assert service.client().activate(token, CHOSEN).status == DONE["activate"]


# --- who may register ------------------------------------------------------------------------------------------


@protects(
    MODE,
    address=(
        *TAKES_ANYTHING,
        READS_WHAT_WAS_SENT,
        edit(
            FILE,
            "connection, link.email, password_hash, name",
            'connection, _sent("email", link.email), password_hash, name',
        ),
    ),
    role=(
        *TAKES_ANYTHING,
        READS_WHAT_WAS_SENT,
        edit(FILE, "roles=link.roles.split()", 'roles=_sent("role", link.roles).split()'),
    ),
)
def test_an_invitation_makes_exactly_the_account_that_it_names(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    inviter, role = administrator(service, monkeypatch), ADMINISTRATOR
    inviter.invite("guest@example.com", [role])
    guest = service.client()
    answer = guest.activate(token_for(service, "guest@example.com", "invite"), CHOSEN, "Guest")
    works(answer.status == DONE["activate"], "an invitation creates an account")
    made = account(service, "guest@example.com")
    works(made is not None and (made.display_name, made.roles) == ("Guest", role), "it has the invited name and role")
    answers = []
    for email, field, value in (("plain@example.com", "email", VICTIM), ("plainer@example.com", "role", role)):
        inviter.invite(email)
        answers.append(guest.activate(token_for(service, email, "invite"), CHOSEN, **{field: value}))
        harm(account(service, VICTIM), "an invitation created the account of another address")
        made = account(service, email)
        harm(made is not None and made.roles, "an invitation gave a role that it does not contain")
    for answer in answers:
        nothing_more_was_read(answer, "activate")
    unknown = inviter.invite("other@example.com", ["owner"])
    assert unknown.status == 422
    assert waiting(service) == []


@protects(
    MODE,
    once=edit(GOOD, UNUSED, OF_PURPOSE),
    expiry=edit(GOOD, "        LINKS.expires_at > moment,\n", ""),
    inviter=(
        edit(
            GOOD,
            "        or_(LINKS.inviter_id.is_(None), exists().where(_inviter.id == LINKS.inviter_id, _inviter.active)),"
            "\n",
            "",
        ),
        edit(GOOD, ", columns.inviter_id == user_id)", ")"),  # which ends them as well, when the inviter is disabled
    ),
    twin=edit(FILE, "        links.cancel(connection, link.email)\n", ""),
)
def test_an_invitation_that_has_ended_makes_no_account(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    inviter, other = administrator(service, monkeypatch), administrator(service, monkeypatch)
    emails = ["guest@example.com", "orphan@example.com", "late@example.com"]
    for email, by in zip(emails, (inviter, other, inviter), strict=True):
        by.invite(email)
    used, orphan, late = (token_for(service, email, "invite") for email in emails)
    with service.app.app_context():
        service.module("identity.registration").invite_by_operator(emails[0], [])
    twin = token_for(service, emails[0], "create")
    guest = service.client()
    works(guest.activate(used, CHOSEN).status == DONE["activate"], "an invitation creates an account")
    service.rows("UPDATE auth_user SET email = 'moved@example.com' WHERE email = :email", email=emails[0])
    again = guest.activate(used, OTHER)
    twice = service.client(address="192.0.2.60").activate(twin, OTHER)
    harm(account(service, emails[0]), "an invitation created a second account, or outlived a used one")
    assert other.user is not None
    works(inviter.disable(other.user.id).status == DONE["disable"], "an administrator is disabled")
    orphaned = guest.activate(orphan, OTHER)
    harm(account(service, emails[1]), "an invitation stayed valid after its inviter was disabled")
    altered = [guest.activate(one, OTHER) for one in (late[:-1] + ("A" if late[-1] != "A" else "B"), late[1:], "x")]
    service.travel(days=service.limits.invitation_days, seconds=1)
    ended = guest.activate(late, OTHER)
    harm(account(service, emails[2]), "an expired invitation created an account")
    for answer in (again, twice, orphaned, *altered, ended):
        refused(answer, 410, SINGLE_USE)


@protects(
    MODE,
    inviter_off=edit(
        GOOD,
        "        or_(LINKS.inviter_id.is_(None), exists().where(_inviter.id == LINKS.inviter_id, _inviter.active)),\n",
        "",
    ),
)
def test_an_invitation_is_invalid_while_its_inviter_is_disabled(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    inviter, other = administrator(service, monkeypatch), administrator(service, monkeypatch)
    assert other.user is not None
    inviter.invite("guest@example.com")
    other.invite("orphan@example.com")
    guests, orphan = (
        token_for(service, "guest@example.com", "invite"),
        token_for(service, "orphan@example.com", "invite"),
    )
    with service.engine.begin() as connection:  # its pending change was not ended
        table = service.module("identity.models").User.__table__
        connection.execute(table.update().where(table.c.id == other.user.id).values(active=False))
    works(service.client().activate(guests, CHOSEN).status == DONE["activate"], "an invitation creates an account")
    answer = service.client().activate(orphan, OTHER)
    harm(account(service, "orphan@example.com"), "the invitation of a disabled administrator created an account")
    refused(answer, 410, SINGLE_USE)


PERMITTED = (
    "    if link.inviter_id is not None and not _may_invite(link.inviter_id):\n        links.gone(link.purpose)\n"
)


@protects(MODE, demoted=edit("identity/users.py", "            links.cancel_invitations(connection, user_id)\n", ""))
def test_an_invitation_ends_when_its_inviter_loses_the_role(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    chief, former = administrator(service, monkeypatch), administrator(service, monkeypatch, "192.0.2.91")
    assert chief.user is not None
    assert former.user is not None
    former.invite("guest@example.com")
    chief.invite("hers@example.com")
    bad, hers = (token_for(service, email, "invite") for email in ("guest@example.com", "hers@example.com"))
    former.invite("waits@example.com")
    assert chief.take(former.user.id, ADMINISTRATOR).status == DONE["take"]
    guest = service.client()
    works(guest.activate(hers, CHOSEN).status == DONE["activate"], "another inviter's guest gets an account")
    traces = [event for event in service.log if event["event"] == "user.activated"]
    assert [trace["inviter"] for trace in traces] == [str(chief.user.id)]  # the inviter is recorded
    assert guest.activate(bad, OTHER).status == 410
    assert chief.give(former.user.id, ADMINISTRATOR).status == DONE["give"]
    answer = guest.activate(bad, OTHER)
    harm(account(service, "guest@example.com"), "an invitation became valid again when its inviter got the role back")
    refused(answer, 410, SINGLE_USE)
    assert sent(service, "waits@example.com") == []


@protects(MODE, settings=edit(FILE, PERMITTED, ""))
def test_an_invitation_ends_when_the_role_loses_the_permission(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    chief, users = administrator(service, monkeypatch), service.module("identity.users")
    team = type(service.module("state").state_of(service.app).team)
    permits = {**team.roles, "former": frozenset({users.READ, users.MANAGE})}
    monkeypatch.setattr(team, "roles", permits)
    former = service.client(service.user(roles=("former",)), "192.0.2.91").login()
    assert former.invite("guest@example.com").status == DONE["invite"]
    chief.invite("hers@example.com")
    bad, hers = (token_for(service, email, "invite") for email in ("guest@example.com", "hers@example.com"))
    monkeypatch.setattr(team, "roles", {**permits, "former": frozenset({users.READ})})
    service.restart()
    guest = service.client()
    works(guest.activate(hers, CHOSEN).status == DONE["activate"], "another inviter's guest gets an account")
    answer = guest.activate(bad, OTHER)
    harm(account(service, "guest@example.com"), "the invitation of a user without the permission created an account")
    refused(answer, 410, MODE)


@pytest.mark.parametrize("way", ["change", "reset"])
@protects(
    MODE,
    credential=edit(GOOD, "columns.user_id == user_id, columns.inviter_id == user_id)", "columns.user_id == user_id)"),
)
def test_an_invitation_ends_with_the_password_of_whoever_invited(
    service: Service, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A thief with an administrator's session has invited themselves; then the owner changes the password."""
    chief, owner = administrator(service, monkeypatch), administrator(service, monkeypatch, "192.0.2.91")
    user = owner.user
    assert user is not None
    thief = owner.copy()
    thief.invite("thief@example.com", [ADMINISTRATOR])
    chief.invite("hers@example.com")
    bad, hers = (token_for(service, email, "invite") for email in ("thief@example.com", "hers@example.com"))
    thief.invite("waits@example.com", [ADMINISTRATOR])
    if way == "change":
        assert owner.change_password(user.password, CHOSEN).status == DONE["change_password"]
    else:
        with service.app.app_context(), service.module("database").transaction() as connection:
            service.module("mail").enqueue(connection, "reset", user.email)
        service.rows("DELETE FROM mail_outbox WHERE purpose = 'invite'")
        token = token_for(service, user.email, "reset")
        thief.invite("waits@example.com", [ADMINISTRATOR])
        assert service.client().reset(token, CHOSEN).status == DONE["reset"]
    guest = service.client()
    works(guest.activate(hers, CHOSEN).status == DONE["activate"], "another inviter's guest gets an account")
    answer = guest.activate(bad, OTHER)
    harm(account(service, "thief@example.com"), "the thief's invitation stayed valid after the password change")
    refused(answer, 410, SINGLE_USE)
    harm(sent(service, "waits@example.com"), "a queued invitation was sent after the password change")


@protects(
    "register-uniform-response",
    answer=edit(FILE, ENQUEUES, f"{KNOWN}            refuse(409, MODE)\n{ENQUEUES}"),
    work=edit(FILE, ENQUEUES, f"{KNOWN}            return\n{ENQUEUES}"),
)
def test_registration_does_not_reveal_accounts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open(service)
    becomes_member(service, "member@example.com")
    works(signs_in(service, "member@example.com", CHOSEN), "a new user can sign in after activation")
    user, statements, hashing = cheap_user(service), Statements(service), Hashing(service, monkeypatch)
    before = account(service, user.email)
    known, cost_of_known = asked(service, statements, user.email, "192.0.2.31")
    unknown, cost_of_unknown = asked(service, statements, UNKNOWN, "192.0.2.32")
    views = [seen_by_client(known, user.email), seen_by_client(unknown, UNKNOWN)]
    harm(views[0] != views[1], "the answer reveals that an account exists")
    harm(waiting(service) != [("activate", UNKNOWN), ("activate", user.email)], "the work reveals an account")
    assert known.status == DONE["register"]
    assert cost_of_known == cost_of_unknown >= 2  # counter and outbox
    assert hashing.count == 0
    [notice] = sent(service, user.email)
    assert link(notice) is None  # no link that makes anything: a notice, with the way to a new password
    assert "You already have one" in text(notice)
    [invited] = sent(service, UNKNOWN)
    assert link(invited) is not None
    assert account(service, user.email) == before
    assert waiting(service) == []


@protects("register-throttle", limit=edit(FILE, SPENDS, ""))
def test_no_network_registers_more_than_five_addresses_an_hour(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open(service)
    hashing = Hashing(service, monkeypatch)
    works(service.client(address="192.0.2.50").register("other@example.com").status == DONE["register"], "one is ok")
    networks = [["198.51.100.7"] * 6, [f"2001:db8:0:7::{number:x}" for number in range(1, 7)]]  # IPv4, and one /64
    answers = [
        [
            service.client(address=one).register(f"{one.replace(':', '-')}.{number}@example.com")
            for number, one in enumerate(addresses)
        ]
        for addresses in networks
    ]
    harm(len(waiting(service)) > 11, "a sixth registration queued a mail")
    for six in answers:
        assert [answer.status for answer in six[:5]] == [DONE["register"]] * 5
        refused(six[5], 429, "register-throttle")
        assert int(six[5].header("Retry-After") or 0) > 3000
    assert hashing.count == 0
    assert service.client(address="192.0.2.51").register("new-7@example.com").status == DONE["register"]
    service.travel(hours=1, seconds=1)
    assert service.client(address="198.51.100.7").register("new-8@example.com").status == DONE["register"]


@protects(
    "register-no-pre-hijack",
    **sabotages(
        core.test_a_stranger_who_registers_an_address_first_decides_nothing_of_its_account,
        "register-no-pre-hijack",
        "password",
    ),
)
def test_registering_a_foreign_address_gives_no_access_later(service: Service) -> None:
    is_open(service)
    works(becomes_member(service, "member@example.com").email, "the reader of the mail gets the account")
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
    harm(signs_in(service, VICTIM, OTHER), "a stranger's password opened the account")
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
    assert accounts(service) == 1
    client.register("taken@example.com")
    late = token_for(service, "taken@example.com", "activate")
    taken = service.user("taken@example.com")  # made since, by other means
    refused(client.activate(late, OTHER), 410, SINGLE_USE)
    assert signs_in(service, taken.email, taken.password)


@protects(
    MODE,
    mode=(edit(FILE, "    require_mode(*MODES[links.ACTIVATE])\n", ""), *PAGE_OPENS),
    later=edit(FILE, "    if state().settings.registration not in MODES[link.purpose]:\n", "    if False:\n"),
)
def test_nobody_registers_where_that_is_not_open(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open(service)
    inviter = administrator(service, monkeypatch)
    works(service.client().register("early@example.com").status == DONE["register"], "open registration works")
    works(inviter.invite("guest@example.com").status == DONE["invite"], "an invitation works")
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
        harm(waiting(service), f"a registration was accepted in mode {mode}")
        refused(answer, 404, MODE)
        answer = stranger.activate(early, OTHER)
        harm(account(service, "early@example.com"), f"a link from open mode created an account in mode {mode}")
        refused(answer, 410, SINGLE_USE)
    answer = stranger.activate(guest, OTHER)
    harm(account(service, "guest@example.com"), "an invitation created an account in a closed mode")
    refused(answer, 410, MODE)
    inviter = service.client(inviter.user, "192.0.2.91").login()
    answer = inviter.invite(VICTIM)
    harm(waiting(service), "an invitation was mailed in a closed mode")
    refused(answer, 404, MODE)
    assert service.start(BASTION_REGISTRATION="Open").app is None
