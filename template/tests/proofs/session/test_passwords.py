"""Proofs of the fields that ask for a password: a manager can fill them, nobody can read them, nothing comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works
from .pages import Page

if TYPE_CHECKING:
    from ..running import Service


ROW = "password-field-markup"
TYPED = "the password that somebody typed"
HIDES = 'PasswordField("Password", [InputRequired(), Length(max=LONGEST_TYPED)])'
SHOWS = f'{HIDES[:-1]}, widget=__import__("wtforms").widgets.PasswordInput(hide_value=False))'


@protects(
    ROW,
    type=edit("session/forms.py", f"password = {HIDES}", f"password = {HIDES.replace('PasswordField', 'StringField')}"),
    echo=edit("session/forms.py", f"password = {HIDES}", f"password = {SHOWS}"),
    purpose=edit("session/templates/bastion/login.html", 'autocomplete="current-password"', 'autocomplete="off"'),
)
def test_the_field_for_a_password_is_filled_by_a_manager_and_hides_what_is_typed(service: Service) -> None:
    browser, user = service.client(), service.user()
    page = browser.get("/login")
    wrong = browser.post("/login", {"identifier": user.email, "password": TYPED} | browser.shown("/login"))
    works(page.status == 200, "the login page is shown")
    for answer in (page, wrong):
        [form] = [form for form in Page(answer.text).forms if form.action == "/login"]
        [field] = [control for control in form.fields() if control.name == "password"]
        harm(field.kind != "password", "what is typed can be read on the screen")
        harm(field.attributes.get("autocomplete") != "current-password", "a manager does not fill it")
        harm(TYPED in answer.text, "what was typed comes back")
    assert wrong.status == 401
