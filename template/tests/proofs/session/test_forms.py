"""Forms: undeclared or invalid input changes nothing, passwords stay hidden, and a login redirects only to this origin.

The forms are found on the pages themselves, so that those which the team adds later are attacked as well.
"""

from __future__ import annotations

import itertools
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from ..databases import changed, everything
from ..harness import edit, harm, insert, protects, works
from ..wire import HOST, ORIGIN
from .pages import TEXTS, Control, Form, Page, pages

if TYPE_CHECKING:
    from ..running import Service, User
    from ..session_client import Client
    from ..wire import Response


ODD = ("a\u202eb", "a\u2066b", "a\x1bb", "a\x7fb", "a\x85b", "\u202aa")
COUNTED = {"throttle_use", "audit_event"}  # each request is counted and recorded


def hostile(form: Form, control: Control) -> list[tuple[str, str | None]]:
    """What a stranger sends for this control, with the name of each case; None leaves the field out."""
    cases: list[tuple[str, str | None]] = []
    if control.kind in ("select", "radio"):
        return [("wrong choice", "nothing-of-the-list"), ("too long", "x" * 60_000), ("odd", ODD[0])]
    if control.kind in ("number", "range"):
        cases += [("number", text) for text in ("one", "9223372036854775808", "-9223372036854775809")]
    if control.longest is not None:
        cases += [("too long", "x" * (control.longest + 1)), ("far too long", "x" * 60_000)]
    if control.required:
        cases += [("missing", None), ("empty", "")]
    if not form.asks_for_password():  # for credentials every text has the same answer: that of a wrong password
        cases += [("odd", text) for text in ODD]
        cases += [("odd", "two\nlines")] if control.kind != "textarea" else []
    return cases if control.kind != "checkbox" else []


def expected(form: Form, value: str | None) -> int:
    """A form shows again what does not fit; of an address, inputs.py has refused what it would show."""
    if form.method == "GET" and value is not None:
        return 413 if len(value) > 8_000 else 400 if has_control(value) else 422
    return 422


def sends(client: Client, form: Form, path: str, values: dict[str, str | None]) -> Response:
    action = form.action or path
    if form.method == "GET":
        return client.get(
            action.partition("?")[0], query={name: text for name, text in values.items() if text is not None}
        )
    return client.post(action, values)


def forms(service: Service, user: User, *first: str) -> dict[tuple[str, str, str], tuple[Form, str, bool]]:
    """Each form that a visitor and this user reach: with the path of its page, and whether one signs in for it."""
    found: dict[tuple[str, str, str], tuple[Form, str, bool]] = {}
    for signed_in, client in ((False, service.client()), (True, service.client(user).login())):
        for path, answer in pages(client, *first).items():
            for form in Page(answer.text).forms:
                if answer.status == 200 and form.fields():
                    found.setdefault((form.method, form.action, ",".join(form.controls)), (form, path, signed_in))
    return found


@protects(
    "input-validated-typed",
    characters=edit(
        "session/forms.py",
        '            raise StopValidation("This text holds characters that can\'t be shown safely.")\n',
        "            return\n",
    ),
)
def test_no_field_of_any_form_takes_what_it_does_not_declare(service: Service) -> None:
    service.at_least(body_bytes=65_536)
    service.setting("BASTION_REGISTRATION", "open")  # so that a visitor finds every form
    probe = service.adds_probe()
    roles: tuple[str, ...] = tuple(service.module("state").state_of(service.app).team.roles)
    user = service.user(roles=roles)
    item = probe.add(user, "a title", "a text")
    honest = service.client(user).login()
    works(probe.change(honest, item, title="x" * 200, body="y" * 1000).status == 303, "the longest texts are accepted")
    works(probe.row(item) == ("x" * 200, "y" * 1000), "the longest texts are stored")
    works(probe.change(honest, item, title="Zoë", body="two\nlines\tand a tab").status == 303, "ordinary texts pass")
    found = forms(service, user, "/", "/login", "/account", "/probe", f"/probe/{item}")
    actions = {form.action for form, _path, _signed_in in found.values()}
    works({"/login", "/register", f"/probe/{item}"} <= actions, "the public forms and the forms of a feature are found")
    addresses = [f"192.0.2.{number % 200 + 20}" for number in range(len(found))]
    networks = (f"198.18.{number // 250}.{number % 250}" for number in itertools.count(1))
    taken: list[str] = []
    unbounded: list[str] = []
    for address, (form, path, signed_in) in zip(addresses, found.values(), strict=True):
        client = service.client(user, address)
        client = client.login() if signed_in else client
        before = everything(service)
        for control in form.fields():
            if control.kind in TEXTS and not control.longest:
                unbounded.append(f"{path}: {control.name}")
            for case, value in hostile(form, control):
                if not signed_in:
                    client.address = next(networks)  # a registration that does not fit counts as well
                answer = sends(client, form, path, {**form.valid(), control.name: value})
                if answer.status != expected(form, value):
                    taken.append(f"{path}: {control.name} {case}: {answer.status}")
                assert "<script>" not in answer.text
        kept = {*changed(before, everything(service))} - COUNTED
        harm(kept, f"the service stored an invalid value from a form of {path}")
    assert taken == []
    assert unbounded == []  # each text declares its maximum


def has_control(text: str) -> bool:
    """Whether a control character is in it, which no address may hold."""
    return bool({unicodedata.category(letter) for letter in text} & {"Cc"})


# --- password-field-markup --------------------------------------------------------------------------------------------

PASSWORD_FIELD = "password-field-markup"
TYPED = "the password that a user typed"
HIDES = 'PasswordField("Password", [InputRequired(), Length(max=LONGEST_TYPED)])'
SHOWS = f'{HIDES[:-1]}, widget=__import__("wtforms").widgets.PasswordInput(hide_value=False))'


@protects(
    PASSWORD_FIELD,
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
        harm(field.kind != "password", "the password can be read on the screen while it is typed")
        harm(field.attributes.get("autocomplete") != "current-password", "a password manager does not fill the field")
        harm(TYPED in answer.text, "the answer contains the password that the user typed")
    assert wrong.status == 401


# --- next-same-origin-only --------------------------------------------------------------------------------------------

NEXT = "next-same-origin-only"
# What browsers drop from an address before they read it (URL Standard, 4.4: C0 controls and spaces around it, tab and
# line feeds anywhere), and what they read as a slash.


@protects(
    NEXT,
    check=insert(
        "session/redirects.py",
        after='can be opened with GET, otherwise `default`."""\n',
        new='    return target if target is not None and target.startswith("/") else default\n',
    ),
)
def test_no_link_to_the_login_page_leads_to_another_origin(service: Service) -> None:
    visitor = service.client()
    visitor.get("/login", query={"next": "/account#sessions"})
    works(visitor.content().get("next") == "/account#sessions", "the login keeps a target on this service")
    for target in ("//evil.example", "///evil.example", "https://evil.example"):
        visitor = service.client()
        visitor.get("/login", query={"next": target})
        kept = visitor.content().get("next", "/account")
        leads = urlsplit(urljoin(f"{ORIGIN}/login", kept))
        harm(leads.netloc != HOST, f"after the login, /login?next={target!r} leads to {kept!r}")
        assert kept == "/account"
