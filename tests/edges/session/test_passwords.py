"""Edges of the proofs in test_passwords.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, works
from ...logins import cheap_user
from ...mails import token_for
from ...running import PASSWORD
from ...session.pages import Page
from ...session.test_passwords import HIDES, ROW, SHOWS, TYPED

if TYPE_CHECKING:
    from ...running import Service
    from ...wire import Response

    pass


PURPOSE = {
    ("/login", "password"): "current-password",
    ("/reauth", "password"): "current-password",
    ("/account/password", "current"): "current-password",
    ("/account/password", "password"): "new-password",
    ("/account/password", "again"): "new-password",
    ("/activate", "password"): "new-password",
    ("/activate", "again"): "new-password",
    ("/reset", "password"): "new-password",
    ("/reset", "again"): "new-password",
}
HANDLERS = ("onpaste", "oncopy", "oncut", "ondrop", "oninput", "onkeydown", "oncontextmenu", "readonly", "disabled")


def wrong_in(path: str, answer: Response) -> list[str]:
    """What is wrong with the fields of this page; a page without the fields that it must have is wrong as well."""
    page, found = Page(answer.text), []
    controls = {control.name: control for form in page.forms if form.action == path for control in form.fields()}
    for name, purpose in [(name, purpose) for (known, name), purpose in PURPOSE.items() if known == path]:
        control = controls.get(name)
        if control is None or control.kind != "password" or control.attributes.get("autocomplete") != purpose:
            found.append(f"{path} {name}: it is no {purpose}")
        elif control.value or (control.longest or 256) < 256 or control.attributes.keys() & {*HANDLERS}:
            found.append(f"{path} {name}: it is filled, cut or guarded")
    if path == "/login" and controls["identifier"].attributes.get("autocomplete") != "username":
        found.append(f"{path}: no field for the name")
    if TYPED in answer.text:
        found.append(f"{path}: what was typed comes back")
    return found


@protects(
    ROW,
    type=edit("session/forms.py", f"password = {HIDES}", f"password = {HIDES.replace('PasswordField', 'StringField')}"),
    echo=edit("session/forms.py", f"password = {HIDES}", f"password = {SHOWS}"),
    purpose=edit("session/templates/bastion/login.html", 'autocomplete="current-password"', 'autocomplete="off"'),
    identifier=edit("session/templates/bastion/login.html", 'autocomplete="username"', 'autocomplete="off"'),
    paste=edit(
        "session/templates/bastion/password.html",
        'field(form.again, autocomplete="new-password")',
        'field(form.again, autocomplete="new-password", onpaste="return false")',
    ),
)
def test_every_field_for_a_password_can_be_filled_by_a_manager_and_read_by_nobody(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    user, other = cheap_user(service), cheap_user(service)
    visitor, forgetful = service.client(address="192.0.2.11"), service.client(address="192.0.2.12")
    browser = service.client(user).login()
    visitor.register("new@example.com")
    forgetful.forgot(other.email)
    visitor.open_link("activate", token_for(service, "new@example.com", "activate"))
    forgetful.open_link("reset", token_for(service, other.email, "reset"))
    asking = {
        "/login": service.client(address="192.0.2.13"),
        "/reauth": browser,
        "/account/password": browser,
        "/activate": visitor,
        "/reset": forgetful,
    }
    shown = {path: [client.get(path)] for path, client in asking.items()}
    works([answer.status for [answer] in shown.values()] == [200] * 5, "all five pages with a password are shown")
    wrong = {"identifier": user.email, "password": TYPED, "again": "another one", "current": TYPED}
    for path, client in asking.items():
        names = [name for known, name in (*PURPOSE, ("/login", "identifier")) if known == path]
        shown[path].append(client.post(path, {name: wrong[name] for name in names} | client.shown(path)))
    faults = [fault for path, answers in shown.items() for answer in answers for fault in wrong_in(path, answer)]
    harm(faults, f"of the fields: {faults}")
    assert {path: answers[1].status for path, answers in shown.items()} == {
        **dict.fromkeys(shown, 422),
        **{"/login": 401, "/reauth": 403},
    }
    assert browser.change_password(PASSWORD, "seven quiet otters row home").status == browser.DONE["change_password"]
