"""Unit tests beside the proofs in test_forms.py."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from ...edges.session.test_forms import adds_list, lands_on
from ...service import PACKAGE
from ...session.test_csrf import every_form
from ...wire import ORIGIN

if TYPE_CHECKING:
    from ...running import Service


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


def test_what_can_be_tried_again_is_said_on_the_form_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse, codes = service.module("audit.refusal").refuse, [401, 403, 429, 503]
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


# --- next-same-origin-only --------------------------------------------------------------------------------------------


def test_the_reader_of_addresses_is_as_lenient_as_a_browser() -> None:
    outside = ("//evil.example", "/\\evil.example", "/\t/evil.example", "https:evil.example", "javascript:alert(1)")
    assert [one for one in outside if lands_on(one) == ORIGIN] == []
    inside = ("/account", "account?x=//evil.example", "/%2fevil.example")
    assert [one for one in inside if lands_on(one) != ORIGIN] == []
