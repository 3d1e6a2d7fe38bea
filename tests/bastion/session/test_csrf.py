"""Unit tests beside the proofs in test_csrf.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...authenticator import App
from ...session.pages import Page
from ...session_client import FIELD

if TYPE_CHECKING:
    from ...running import Service


# --- csrf-exemptions-listed ------------------------------------------------------------------------------------


def test_a_page_that_comes_with_a_new_session_has_a_token_of_it(service: Service) -> None:
    browser = service.client(service.user()).login()
    app = App(service, browser.seed_of(browser.begin_totp()))
    page = browser.confirm_totp(app.code())  # the recovery codes, and the form to sign out
    [token] = {form.controls[FIELD].value for form in Page(page.text).forms}
    assert browser.post("/logout", {FIELD: token}).status == 303
