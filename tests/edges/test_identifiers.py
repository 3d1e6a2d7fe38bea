"""Edges of the proofs in test_identifiers.py: further attacks on the same protections."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from .. import test_identifiers as core
from ..accounts import account, accounts, signs_in
from ..harness import edit, harm, protects, works
from ..logins import cheap_user, sessions_of
from ..mails import sent, waiting
from ..service import Client
from ..test_identifiers import ROW, STORED, WIDE
from ..test_settings import command
from .core import sabotages
from .steps import stored_form

if TYPE_CHECKING:
    import pytest

    from ..running import Service


USERS = "identity/users.py"
INVISIBLE = "\u200b\u200d\u2060\u202e\ufeff\u00ad\x00\x07"
NFKC = 'unicodedata.normalize("NFKC", identifier[: 4 * LONGEST_IDENTIFIER])'
many = settings(max_examples=100, deadline=None, database=None, derandomize=True)


@protects(
    ROW,
    width=edit(USERS, NFKC, "identifier[: 4 * LONGEST_IDENTIFIER]"),
    case=edit(USERS, "return text.casefold()[", "return text["),
    invisible=edit(USERS, 'if not unicodedata.category(c).startswith("C")).strip()', ").strip()"),
)
def test_every_spelling_of_an_identifier_is_one(service: Service) -> None:
    """The same function normalises for lookup, for counting attempts and for storing."""
    users = service.module("identity.users")
    works(users.normalised(STORED) == STORED, "a plain address is its own normal form")
    local = st.text("abcdefghijklmnopqrstuvwxyz0123456789._+-", min_size=1, max_size=30)

    @many
    @given(local, st.sampled_from(INVISIBLE), st.integers(0, 30), st.booleans(), st.booleans())
    def is_one(name: str, hidden: str, place: int, upper: bool, wide: bool) -> None:
        plain = f"{name}@example.com"
        typed = plain[:place] + hidden + plain[place:]
        typed = typed.upper() if upper else typed
        typed = typed.translate(WIDE) if wide else typed
        harm(users.normalised(typed) != plain, f"{typed!r} is counted separately from {plain!r}")

    is_one()


@protects(
    ROW,
    address=edit(USERS, "return normalised(checked.ascii_email or checked.normalized)", "return checked.normalized"),
)
def test_an_address_is_stored_as_it_is_looked_up(service: Service) -> None:
    users = service.module("identity.users")
    works(users.address("bob@example.com") == "bob@example.com", "a plain address is stored as it is")
    label = st.text("abcXYZ019-\u00e4\u00df\u0131\u0130\u200d\uff41\u212a", min_size=1, max_size=12)

    @many
    @given(label, label)
    def is_found_again(local: str, domain: str) -> None:
        stored = stored_form(service, f"{local}@{domain}.example")
        harm(stored is not None and users.normalised(stored) != stored, f"lookups never find {stored!r}")
        assert stored is None or (stored.isascii() and unicodedata.is_normalized("NFKC", stored))

    is_found_again()


SHARP, DOUBLE = "bob@xn--strae-oqa.example", "bob@strasse.example"  # the domain with \u00df, and with ss
FINAL, MIDDLE = "bob@xn--kxa6ajbbmh.example", "bob@xn--kxa6akbbkh.example"  # with \u03c2 at the end, and with \u03c3
AS_TYPED = {
    "bob@stra\u00dfe.example": (SHARP, DOUBLE),
    "BOB@STRA\u1e9eE.example": (SHARP, DOUBLE),
    "bob@\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2.example": (FINAL, MIDDLE),
    "bob@\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c3.example": (MIDDLE, FINAL),
}
"""The typed address, the account that it means, and the one at a domain that case-folding takes for the same."""


@protects(
    ROW,
    folding=edit(USERS, 'if not unicodedata.category(c).startswith("C")).strip()', ").strip().casefold()"),
)
def test_domains_that_differ_only_before_casefolding_stay_apart(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = {email: cheap_user(service, email) for email in (SHARP, DOUBLE, FINAL, MIDDLE)}
    works(signs_in(service, DOUBLE, people[DOUBLE].password, "192.0.2.1"), "a user with an ASCII domain signs in")
    for number, (typed, (meant, other)) in enumerate(AS_TYPED.items(), 2):
        before = sessions_of(service, people[other])
        signed_in = signs_in(service, typed, people[meant].password, f"192.0.2.{number}")
        harm(sessions_of(service, people[other]) > before, f"{typed!r} opened the account of {other}")
        harm(not signed_in, f"{typed!r} does not open its own account {meant}")
        with service.app.app_context():
            assert service.module("identity.users").find(typed) == people[meant].id
    code, text = command(service, monkeypatch, "users", "permit", "bob@stra\u00dfe.example", "admin")
    assert code == 0, text
    assert account(service, SHARP).roles == "admin"  # type: ignore[union-attr]
    assert account(service, DOUBLE).roles == ""  # type: ignore[union-attr]


@protects(
    ROW,
    folding=edit(USERS, 'if not unicodedata.category(c).startswith("C")).strip()', ").strip().casefold()"),
)
def test_a_stored_address_equals_what_its_owner_types(service: Service) -> None:
    users = service.module("identity.users")
    works(users.normalised("Bob@b\u00fccher.example") == "bob@xn--bcher-kva.example", "an address has one form")
    label = st.text(
        "abcXYZ019-_.\u00e4\u00c4\u00df\u1e9e\u03c2\u03c3\u03a3\u0131\u0130\uff41\u212a\ufb01\u3002",
        min_size=1,
        max_size=12,
    )
    accepted, lost = list[str](), list[str]()

    @many
    @given(
        st.text("abXY09._+-=\uff41\u212a", min_size=1, max_size=8),
        label,
        st.sampled_from(("example", "EXAMPLE", "\uff43om")),
    )
    @example("bob", "stra\u00dfe", "example")
    @example("bob", "STRA\u1e9eE", "example")
    @example("bob", "\u03a3\u03a3", "example")
    def is_what_was_typed(local: str, domain: str, top: str) -> None:
        typed = f"{local}@{domain}.{top}"
        stored = stored_form(service, typed)
        if stored is not None:
            accepted.append(typed)
            lost.extend([typed] if users.normalised(typed) != stored else [])

    is_what_was_typed()
    harm(lost, f"another address is stored for {lost} and cannot be looked up")
    assert len(accepted) >= 30


SPELLINGS = ("Alice@EXAMPLE.com", " alice@example.com ", "alice@example.com".translate(WIDE), "alice@EXAMPLE。com")


LOOKALIKES = ("al\u0131ce@example.com", "al\u200dice@example.com", "alice@exam\u200bple.com", "\u202ealice@example.com")


ENQUEUES_RESET = "mail.enqueue(connection, links.RESET, email, trusted=trusted)"


@protects(
    ROW,
    **sabotages(
        core.test_another_spelling_of_an_address_is_neither_another_account_nor_another_mailbox,
        ROW,
        "register",
        "login",
    ),
    reset=edit(
        "identity/recovery.py",
        ENQUEUES_RESET,
        ENQUEUES_RESET.replace("email", "typed"),
    ),
)
def test_spellings_and_lookalikes_reach_no_other_account(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    user = cheap_user(service, STORED)
    works(signs_in(service, STORED, user.password), "the user signs in with the stored spelling")
    service.client(address="192.0.2.1").register("bob@example.com")
    works([mail["To"] for mail in sent(service)] == ["bob@example.com"], "another user registers")
    for number, typed in enumerate((*SPELLINGS, *LOOKALIKES), 2):
        client = service.client(address=f"192.0.{number}.1")
        answers = [client.register(typed).status, client.forgot(typed).status]
        noted = {email for _, email in waiting(service)}
        harm(noted - {STORED}, f"a mail is queued for another mailbox: {noted}")
        if typed in LOOKALIKES:
            assert answers == [422, 422]
            assert noted == set()
        else:
            assert answers == [Client.DONE["register"], Client.DONE["forgot"]]
            sent(service)
    assert accounts(service) == 1
    harm(not signs_in(service, "ALICE@example.com", user.password), "capital letters locked the owner out")
    service.client(address="192.0.2.1").register("bob@b\u00fccher.example")
    assert sent(service)[-1]["To"] == "bob@xn--bcher-kva.example"  # an international domain has one form, too
