"""Edges of the proofs in test_cli.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import mails
from ..accounts import ADMINISTRATOR, CHOSEN, DONE, account, administrator, lives, signs_in, with_app
from ..harness import edit, harm, protects, works
from ..logins import SIGNED_IN, attempt
from ..test_audit import events
from ..test_cli import CANARY, EMAIL, ROW
from ..test_factors import apps_of
from ..test_settings import command

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ..running import Service


IN_DEVELOPMENT = "if token is not None and not state().settings.production:"
CREATES = "email, roles = address(email), known_roles(roles)\n    password_hash = checked_password(password, email)"
UNCHECKED = CREATES.replace("checked_password(password, email)", "state().passwords.hash(password)")


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *typed: str) -> list[bool]:
    """Answer each prompt with the next text; return whether each was hidden and confirmed."""
    waiting, hidden = [*typed], list[bool]()

    def prompt(_text: str, *, hide_input: bool = False, confirmation_prompt: bool = False) -> str:
        hidden.append(hide_input and confirmation_prompt)
        return waiting.pop(0)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", prompt)
    return hidden


@protects(ROW, print=edit("delivery/outbox.py", IN_DEVELOPMENT, "if token is not None:"))
def test_the_link_is_mailed_and_neither_printed_nor_logged(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.module("delivery.transport"), "hand_over", service.mails.append)
    code, text = command(service, monkeypatch, "users", "create", EMAIL, "--role", "admin")
    works(code == 0, f"the command mails a link: {text}")
    [details] = [event["details"] for event in events(service) if event["kind"] == "user.invited"]
    assert details == {"roles": ["admin"], "by": "command"}
    assert account(service, EMAIL) is None  # nothing is there before its owner has chosen
    token = mails.token_for(service, EMAIL, "create")
    works(service.client().activate(token, CHOSEN).status == DONE["activate"], "the mailed link makes the account")
    works(attempt(service.client(), EMAIL, CHOSEN).status == SIGNED_IN, "the user signs in")
    harm(token in f"{text}{service.output}", "the terminal or the log shows the key to the account")
    made = account(service, EMAIL)
    assert made is not None
    assert (made.active, made.roles) == (True, "admin")
    code, text = command(service, monkeypatch, "users", "create", EMAIL)
    assert code == 1
    assert "Error: There is already an account with this address." in text


@protects(
    ROW, expiry=edit("identity/links.py", "    if purpose == ACTIVATE:\n", "    if purpose in (ACTIVATE, CREATE):\n")
)
def test_the_link_that_an_operator_mails_is_good_for_minutes(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link may make an administrator, and its reader waits for it; only a page mails invitations valid for days."""
    monkeypatch.setattr(service.module("delivery.transport"), "hand_over", service.mails.append)
    minutes, tokens = service.limits.reset_minutes, {}
    for email in ("first@example.com", EMAIL):
        code, text = command(service, monkeypatch, "users", "create", email, "--role", "admin")
        assert (code, f"good for {minutes} minutes." in text) == (0, True)
        tokens[email] = mails.token_for(service, email, "create")
    service.travel(minutes=minutes, seconds=-5)
    works(service.client().activate(tokens["first@example.com"], CHOSEN).status == DONE["activate"], "it is used")
    service.travel(seconds=6)
    answer = service.client().activate(tokens[EMAIL], CHOSEN)
    harm(account(service, EMAIL), "an expired link made an administrator")
    assert answer.status == 410


@protects(ROW, policy=edit("identity/users.py", CREATES, UNCHECKED))
def test_a_password_that_is_typed_obeys_the_same_rules(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = at_a_terminal(monkeypatch, CANARY, "passwordpassword")
    code, text = command(service, monkeypatch, "users", "create", "  Typed@EXAMPLE.com ", "--prompt")
    works(code == 0, f"a good password makes an account: {text}")
    works(attempt(service.client(), "typed@example.com", CANARY).status == SIGNED_IN, "the user signs in")
    code, text = command(service, monkeypatch, "users", "create", EMAIL, "--prompt")
    harm(account(service, EMAIL), "the command made an account with a common password")
    assert code == 1
    assert text.startswith("Error: ")
    assert hidden == [True, True]
    assert CANARY not in f"{text}{service.output}"


# --- what an operator does in a hurry ---------------------------------------------------------------------------


@protects(
    "admin-disable-immediate",
    operator=edit(
        "commands/users.py", 'users.find(email), False), "Disabled."', 'users.find(email), True), "Disabled."'
    ),
)
def test_account_disabled_by_command_is_signed_out_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other = service.user(), service.user()
    thief, unharmed = service.client(user).login(), service.client(other, "192.0.2.12").login()
    works(lives(thief) and lives(unharmed), "two users are signed in")
    code, text = command(service, monkeypatch, "users", "disable", user.email)
    harm(lives(thief), "the session survived although the operator disabled the account")
    assert (code, text.splitlines()[-1]) == (0, "Disabled.")
    assert lives(unharmed)
    assert not signs_in(service, user.email, user.password)
    code, text = command(service, monkeypatch, "users", "enable", user.email)
    assert (code, text.splitlines()[-1]) == (0, "Enabled.")
    assert not lives(thief)
    assert signs_in(service, user.email, user.password)
    for noun in ("disable", "enable", "reset-factors"):
        code, text = command(service, monkeypatch, "users", noun, "unknown@example.com")
        assert code == 1
        assert text.splitlines()[-1].startswith("Error: ")


@protects(
    "role-change-immediate",
    operator=edit("commands/users.py", "role, remove=remove), ", "role), "),
)
def test_a_role_that_is_taken_away_on_the_command_line_is_gone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    administrator(service, monkeypatch)  # one administrator has to remain
    user = service.user()

    def held() -> str:
        row = account(service, user.email)
        return "" if row is None else str(row.roles)

    code, _ = command(service, monkeypatch, "users", "permit", user.email, ADMINISTRATOR)
    works((code, held()) == (0, ADMINISTRATOR), "an operator gives a user a role")
    code, text = command(service, monkeypatch, "users", "permit", user.email, ADMINISTRATOR, "--remove")
    harm(held(), "the role remained although the command reported that it was removed")
    assert (code, text.splitlines()[-1]) == (0, "Done.")
    assert command(service, monkeypatch, "users", "permit", user.email, "owner")[0] == 1
    assert held() == ""


@protects(
    "mfa-removal-guarded",
    operator=edit(
        "commands/users.py", "_done(lambda: factors.reset(users.find(email)), ", "_done(lambda: users.find(email), "
    ),
)
def test_factors_reset_by_command_end_sessions_and_apps(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other = service.user(), service.user()
    with_app(service, user)
    with_app(service, other)
    finder = service.client(user).login()
    works(lives(finder) and apps_of(service, user) == 1, "a user with an app is signed in")
    code, text = command(service, monkeypatch, "users", "reset-factors", user.email)
    harm(apps_of(service, user), "the removed app was still a second factor")
    harm(lives(finder), "a session survived the reset of the factors")
    assert (code, text.splitlines()[-1]) == (0, "Removed. At the next login a new one has to be set up.")
    assert apps_of(service, other) == 1


@protects(
    "deny-by-default",
    check=edit("commands/cli.py", ' or access.TABLE_FILE.read_text(encoding="utf-8") != text:', ":"),
)
def test_access_check_fails_unless_the_table_is_up_to_date(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "docs" / "access.md"
    monkeypatch.setattr(service.module("request.access"), "TABLE_FILE", file)
    assert command(service, monkeypatch, "access", "--check")[0] == 1  # it is missing
    assert not file.exists()
    works(command(service, monkeypatch, "access")[0] == 0, "the command writes the access table")
    works(command(service, monkeypatch, "access", "--check")[0] == 0, "the check accepts an up-to-date table")
    reviewed = file.read_text(encoding="utf-8")
    assert reviewed == service.module("request.access").document(service.app)
    file.write_text(reviewed.replace("public", "login"), encoding="utf-8")
    code, text = command(service, monkeypatch, "access", "--check")
    harm(code == 0, "the check passed although the table differs from the routes")
    assert code == 1
    assert "docs/access.md is not up to date" in text
    assert command(service, monkeypatch, "access")[0] == 0
    assert file.read_text(encoding="utf-8") == reviewed
