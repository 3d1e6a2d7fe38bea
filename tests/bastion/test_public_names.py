"""Unit tests of the names that bastion exports to the team's code: each is documented, and does as its page says."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

import click
import pytest
from flask import Blueprint

from .. import place
from ..service import AUTH, PACKAGE
from ..test_settings import command

if TYPE_CHECKING:
    from pathlib import Path

    from flask import Flask

    from ..running import Service

NAMES = """
Account ConfigError FetchError Fetched Principal Scoped answers_json audit before_deletion current_user files find_user
github hand_over limited login_required owned owned_or_404 public requires safe_fetch secrets service sign_in
standard_webhooks stripe takes_lists text_mail visible_or_404 webhook
"""


def test_the_public_names_are_these_and_documented(service: Service) -> None:
    bastion: Any = service.module()
    assert sorted(bastion.__all__) == sorted(NAMES.split())
    assert all(hasattr(bastion, name) for name in bastion.__all__)
    page = (place.root / "docs/bastion/features.md").read_text(encoding="utf-8")
    section = page.partition("## Public names")[2].partition("\n## ")[0]
    assert [name for name in bastion.__all__ if f"`{name}" not in section] == []


def test_an_account_is_found_by_id_and_address(service: Service) -> None:
    user, find = service.user(roles=("admin",)), service.module().find_user
    with service.app.app_context():
        account = find(user.id)
        assert account == find(f" {user.email.upper()}")
        assert (account.id, account.email, account.roles, account.active) == (user.id, user.email, "admin", True)
        assert find("nobody@example.com") is None
        assert "password" not in " ".join(account._fields)


def test_a_text_mail_is_not_escaped_and_reaches_the_test(service: Service, tmp_path: Path) -> None:
    (tmp_path / "digest.txt").write_text("Hello {{ name }},\n\nTom & Jerry <3\n", encoding="utf-8")
    service.adds(lambda app: app.register_blueprint(Blueprint("digest", __name__, template_folder=str(tmp_path))))
    bastion: Any = service.module()
    with service.app.app_context():
        bastion.hand_over(bastion.text_mail("ada@example.com", "Q & A", "digest.txt", name="O'Neil <&>"))
        with pytest.raises(ValueError, match=r"made from a \.txt file"):
            bastion.text_mail("ada@example.com", "Q & A", "digest.html")
        with pytest.raises(ValueError, match="linefeed"):
            bastion.text_mail("ada@example.com", "Q\nBcc: eve@example.com", "digest.txt", name="")
    [mail] = service.mails
    assert mail.get_content() == "Hello O'Neil <&>,\n\nTom & Jerry <3\n"
    sender = f"{PACKAGE.replace('_', '-')} <accounts@app.example>"
    assert (mail["Subject"], mail["To"], mail["From"]) == ("Q & A", "ada@example.com", sender)


def test_a_command_of_the_team_runs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    app_module = importlib.import_module(f"{PACKAGE}.app")
    team = app_module.create_app

    @functools.wraps(team.__wrapped__)
    def extended(app: Flask) -> None:
        team.__wrapped__(app)

        @app.cli.command("digest")
        @click.argument("day")
        def digest(day: str) -> None:
            """Mail what happened on DAY."""
            account = service.module().find_user("nobody@example.com")  # with the app's context
            click.echo(f"digest of {day}, {account}")

    monkeypatch.setattr(app_module, "create_app", service.module().service(team.settings_class)(extended))
    code, text = command(service, monkeypatch, "digest", "2026-01-31")
    assert (code, "digest of 2026-01-31, None" in text) == (0, True), text
    code, text = command(service, monkeypatch, "--help")
    assert "Mail what happened on DAY." in text


if AUTH == "session":  # a single-page app keeps its state

    def test_the_state_of_a_foreign_sign_in_is_kept_for_ten_minutes(service: Service) -> None:
        cookie: Any = service.module("session.cookie")
        service.adds_route("/begin", mark="public", view=lambda: str(cookie.keep_state("state-4711")))
        service.adds_route("/end", mark="public", view=lambda: str(cookie.take_state()))
        browser, other = service.client(), service.client(address="192.0.2.77")
        browser.get("/begin")
        assert other.get("/end").text == "None"
        assert browser.get("/end").text == "state-4711"
        assert browser.get("/end").text == "None"
        browser.get("/begin")
        service.travel(minutes=10, seconds=2)
        assert browser.get("/end").text == "None"
