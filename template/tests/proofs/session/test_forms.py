"""Attacks through forms and addresses of lists: what is not declared, or does not fit, must change nothing.

The forms are found on the pages themselves, so that those which the team adds later are attacked as well.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from ..harness import edit, harm, protects, refused, works
from ..service import PACKAGE
from ..snapshot import changed, everything
from ..test_passkeys import DONE, without_counter
from ..test_passkeys import LOGIN as PASSKEY_LOGIN
from .pages import TEXTS, Control, Form, Page, pages
from .test_csrf import every_form

if TYPE_CHECKING:
    from ..running import Service, User
    from ..session_client import Client
    from ..wire import Response

ROW = "input-validated-typed"
ODD = ("a\u202eb", "a\u2066b", "a\x1bb", "a\x7fb", "a\x85b", "\u202aa")
NUMBERS = ("0", "-1", "2147483648", "9223372036854775808", "9" * 400, "1.0", "1e3", "+1", " 1", "1 ", "1_0", "0x1")
NO_NUMBERS = ("", "one", "\u0661", "\uff11", "NaN", "[1]", "null", "true")


COUNTED = {"throttle_use", "audit_event"}  # that somebody asked is counted and told, whatever it was


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
    service.setting("BASTION_REGISTRATION", "open")  # so that a visitor finds every form
    probe = service.adds_probe()
    roles: tuple[str, ...] = tuple(service.module("state").state_of(service.app).team.roles)
    user = service.user(roles=roles)
    item = probe.add(user, "a title", "a text")
    honest = service.client(user).login()
    works(probe.change(honest, item, title="x" * 200, body="y" * 1000).status == 303, "the longest texts are taken")
    works(probe.row(item) == ("x" * 200, "y" * 1000), "and kept")
    works(probe.change(honest, item, title="Zoë", body="two\nlines\tand a tab").status == 303, "so are ordinary ones")
    found = forms(service, user, "/", "/login", "/account", "/probe", f"/probe/{item}")
    actions = {form.action for form, _path, _signed_in in found.values()}
    works({"/login", "/register", f"/probe/{item}"} <= actions, "the forms of visitors and of a feature are found")
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
        harm(kept, f"a value that no field of {path} declares was kept")
    assert taken == []
    assert unbounded == []  # each text declares its maximum


@protects(
    "input-validated-typed",
    length=edit("session/forms.py", "[InputRequired(), Length(max=LONGEST_IDENTIFIER)]", "[InputRequired()]"),
)
def test_no_credential_is_looked_at_that_is_longer_than_any_can_be(service: Service) -> None:
    longest = service.module("session.forms").LONGEST_IDENTIFIER
    client = service.client(service.user())
    path, fields = "/login", {"identifier": "x" * longest, "password": "wrong" * 4}
    works(client.post(path, fields).status == 401, "the longest address is looked up")
    counted = service.rows("SELECT count(*) FROM throttle_counter")[0][0]
    works(counted == 1, "and the attempt is counted")

    answers = [
        client.post(path, {**fields, **wrong})
        for wrong in (
            {"identifier": "y" * (longest + 1)},
            {"identifier": "y" * 60_000},
            {"password": "y" * 60_000},
            {"identifier": None},
            {"identifier": ""},
            {"password": None},
            {"password": ""},
        )
    ]
    harm(
        service.rows("SELECT count(*) FROM throttle_counter")[0][0] > counted,
        "an address that nobody has was looked up",
    )
    assert [answer.status for answer in answers] == [422] * 7
    assert "y" * 1000 not in answers[2].text  # a password is never shown again


@protects(
    "input-validated-typed",
    repeated=edit(
        "session/account.py",
        'Length(max=LONGEST_TYPED), EqualTo("password", "The two passwords are not the same.")],',
        "Length(max=LONGEST_TYPED)],",
    ),
)
def test_a_mistyped_repetition_changes_no_password(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()
    new, other = "seven quiet otters row home", "nine slow badgers walk to town"
    works(
        client.change_password(user.password, new).status == client.DONE["change_password"], "the same twice is taken"
    )
    kept = service.rows("SELECT password_hash FROM auth_user")
    answer = client.change_password(new, other, again=f"{other}s")
    harm(service.rows("SELECT password_hash FROM auth_user") != kept, "a mistyped password locks its owner out")
    assert answer.status == 422


@protects("input-validated-typed")
def test_no_text_as_a_credential_is_an_error_or_another_answer(service: Service) -> None:
    user = service.user()
    works(service.client(user).login(through_form=True).cookie, "the right password signs in")
    sessions = service.rows("SELECT count(*) FROM auth_session")[0][0]

    text = "a\x01b\u202e\ufffe@\u0130.example"
    answer = service.client(address="192.0.2.20").post("/login", {"identifier": text, "password": text})
    harm(service.rows("SELECT count(*) FROM auth_session")[0][0] != sessions, "somebody was signed in")
    refused(answer, 401, "login-uniform-failure")


def test_every_text_of_the_templates_forms_is_bounded_the_hidden_ones_as_well(service: Service) -> None:
    from wtforms import StringField
    from wtforms.fields.core import UnboundField
    from wtforms.validators import Length

    ours = [form for form in every_form(service).values() if form.__module__.startswith(f"{PACKAGE}.bastion.")]
    texts = {
        f"{form.__name__}.{name}": [one.max for one in field.args[1] if isinstance(one, Length)]
        for form in ours
        for name, field in vars(form).items()
        if isinstance(field, UnboundField) and issubclass(field.field_class, StringField)
    }
    assert len(texts) > 10
    assert [name for name, longest in texts.items() if not longest or not 0 < longest[0] <= 65_536] == []


def has_control(text: str) -> bool:
    """Whether a control character is in it, which no address may hold."""
    return bool({unicodedata.category(letter) for letter in text} & {"Cc"})


def adds_list(service: Service) -> list[Any]:
    """A list as a team writes it: what its address carried, each time that the view went on."""
    arrived: list[Any] = []

    def view() -> Any:
        class Query(service.module("session.forms").ListQuery):  # type: ignore[misc]
            """The first of its orders is the one that is meant when none is named."""

            sorts = ("newest", "oldest")

        query = Query.read()
        arrived.append((query.page.number, query.q.data, query.sort.data))
        return {"page": query.page.number}

    service.adds_route("/list", view=view)
    return arrived


def test_choices_are_none_of_the_pairs_that_wtforms_takes_no_longer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice: Any = import_module("wtforms.fields.choices").SelectChoice  # its types lack it

    def made(cls: Any, given: object, optgroup: Any = None) -> Any:
        assert isinstance(given, str), f"WTForms 3.4 makes no choice of {given!r}"
        return cls(value=given, optgroup=optgroup)

    monkeypatch.setattr(choice, "from_input", classmethod(made))
    listed = adds_list(service)
    admin = service.client(service.user(roles=("admin",))).login()
    assert admin.get("/list?sort=newest").status == 200
    assert listed
    page = admin.get("/users/invite")
    assert (page.status, 'value="admin"' in page.text) == (200, True)


@protects(
    "input-validated-typed",
    range=edit("session/forms.py", "not 1 <= int(text) <= LARGEST_NUMBER", "not 1 <= int(text)"),
)
def test_no_list_gets_a_page_search_or_order_that_it_does_not_have(service: Service) -> None:
    arrived = adds_list(service)
    client = service.client(service.user()).login()
    for query in ({}, {"page": "1"}, {"page": "2147483647"}, {"q": "Zoë"}, {"q": "x" * 100}, {"sort": "oldest"}):
        works(client.get("/list", query=query).status == 200, f"{query} is taken")
    works(len(arrived) == 6, "by the view")
    arrived.clear()

    queries: list[dict[str, Any]] = [{"page": text} for text in (*NUMBERS, *NO_NUMBERS)]
    queries += [
        {"q": "x" * 101},
        {"sort": "oldest; DROP TABLE note"},
        {"sort": ""},
    ]
    queries += [{"q": text} for text in ODD if not has_control(text)]  # inputs.py has refused the others
    answers = [client.get("/list", query=query) for query in queries]
    harm(arrived, "a list was made for what its address may not carry")
    for answer in answers:
        refused(answer, 422, ROW)
    client.get("/list", query={"unknown": "1", "page": "2"})
    assert arrived == [(2, "", "newest")]  # what is not declared is not read


class CountedPattern:
    """Stands for a compiled pattern, and counts the texts that reach it."""

    def __init__(self, pattern: Any) -> None:
        self.seen: list[int] = []
        self._pattern = pattern

    def match(self, text: str) -> Any:
        self.seen.append(len(text))
        return self._pattern.match(text)

    def search(self, text: str) -> Any:
        self.seen.append(len(text))
        return self._pattern.search(text)


@protects(
    "input-validated-typed",
    patterns=edit("session/forms.py", "len(text) > MOST_DIGITS or not _NUMBER", "not _NUMBER"),
)
def test_no_pattern_is_applied_to_a_text_of_thousands_of_characters(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    adds_list(service)
    client = service.client(service.user()).login()
    counted = {}
    for module, name in (("session.forms", "_NUMBER"), ("session.redirects", "_UNSAFE")):
        counted[name] = CountedPattern(getattr(service.module(module), name))
        monkeypatch.setattr(service.module(module), name, counted[name])
    visitor = service.client()
    works(client.get("/list", query={"page": "12"}).status == 200, "a page's number is read")
    works(visitor.get("/login", query={"next": "/account"}).status == 200, "so is where to go after signing in")
    works([len(one.seen) for one in counted.values()] == [1, 1], "each by its pattern")

    answers = [client.get("/list", query={"page": text * 8_000}) for text in ("1", "a")]
    visitor.get("/login", query={"next": "/" + "\\" * 2_000})
    harm([one.seen for one in counted.values() if max(one.seen) > 1000], "a pattern was applied to a long text")
    for answer in answers:
        refused(answer, 422, ROW)


def test_what_can_be_tried_again_is_said_on_the_form_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse, codes = service.module("errors").refuse, [401, 403, 429, 503]
    monkeypatch.setattr(service.module("identity.login"), "with_password", lambda *_: refuse(codes[0], "probe"))
    for words in ("is not right", "is not right", "Wait a while", "Try again in a moment"):
        answer = service.client().post("/login", {"identifier": "ada@probe.example", "password": "anything"})
        assert (answer.status, words in answer.text, 'name="password"' in answer.text) == (codes.pop(0), True, True)
    error = service.module("identity.users").UserError("It can't be done now.")

    def fails(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(service.module("identity.login"), "with_password", fails)
    answer = service.client().post("/login", {"identifier": "ada@probe.example", "password": "anything"})
    assert (answer.status, "It can&#39;t be done now." in answer.text) == (409, True)
    user = service.user()
    client, busy = service.client(user).login(), service.module("identity.passwords").Busy

    def hashes(_password: str) -> str:
        raise busy

    monkeypatch.setattr(service.module("state").state_of(service.app).passwords, "hash", hashes)
    answer = client.change_password(user.password, "another correct horse battery")
    assert (answer.status, "Try again in a moment" in answer.text, 'name="again"' in answer.text) == (503, True, True)


# --- what passkey.js fills in -----------------------------------------------------------------------------------------


@protects(
    "json-strict",
    passkeys=(
        edit("session/factors.py", "strict_json.loads((self", '__import__("json").loads((self'),
        edit("session/factors.py", "except strict_json.InvalidJSON:", "except ZeroDivisionError:"),
    ),
)
def test_no_answer_of_a_passkey_is_read_that_others_read_differently(service: Service) -> None:
    holder = without_counter(service)
    works(holder.uses(PASSKEY_LOGIN).status == DONE[PASSKEY_LOGIN], "the answer of a device signs in")
    before, asked = holder.sessions(), holder.asks(PASSKEY_LOGIN)
    answer = json.dumps(holder.device.get(asked.options))
    texts = [f'{{"id": "x", {answer[1:]}', answer[:-1], f"{answer}x", f"[{answer}]", '"x"', "x", "NaN"]
    answers = [asked.client.post("/login/passkey", {"state": asked.state, "credential": text}) for text in texts]
    harm(holder.sessions() - before, "a document in which a name stands twice signed in")
    for one in answers:
        refused(one, 400, "json-strict")
    nothing = asked.client.post("/login/passkey", {"state": asked.state, "credential": ""})
    assert (nothing.status, "The device gave no answer." in nothing.text) == (422, True)
    assert asked.gets(json.loads(answer)).status == DONE[PASSKEY_LOGIN]  # its challenge was not spent
