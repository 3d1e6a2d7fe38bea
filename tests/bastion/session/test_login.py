"""Unit tests beside the proofs in test_login.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from ...accounts import with_app
from ...edges.test_passkeys import Holder, passkeys_of
from ...harness import refused
from ...logins import attempt, cheap_user, step_up

if TYPE_CHECKING:
    import pytest

    from ...running import Service


def test_who_has_a_second_factor_is_led_to_it_and_then_where_he_wanted_to_go(service: Service) -> None:
    user, other = cheap_user(service), cheap_user(service)
    app, client, plain = with_app(service, user), service.client(), service.client()
    for one in (client, plain):
        asked = one.get("/account/name")
        assert (asked.status, asked.location) == (303, "/login?next=/account/name")
        one.get(asked.location or "")
    answer = attempt(client, user.email, user.password)
    assert (answer.status, answer.location) == (303, "/login/factor")
    answer = client.send_code(app.next_code())
    assert (answer.status, answer.location) == (303, "/account/name")
    answer = attempt(plain, other.email, other.password)
    assert (answer.status, answer.location) == (303, "/account/name")
    for path in ("/", "/login/factor"):
        assert client.get(path).status == 303
    plain.get("/reauth", query={"next": "/account/email"})
    assert step_up(plain, other.password).location == "/account/email"
    gives_up = service.client()
    attempt(gives_up, user.email, user.password)
    held = gives_up.cookie
    answer = gives_up.post("/login/factor/cancel")
    assert (answer.status, answer.location, gives_up.waiting) == (303, "/login", "")
    gives_up.cookie = held
    refused(gives_up.send_code(app.next_code()), 401, "mfa-pending-has-no-access")


def test_who_wants_to_go_nowhere_is_led_to_the_start_page(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, team = cheap_user(service), type(service.module("state").state_of(service.app).team)
    for page, path in (("bastion.change_name", "/account/name"), ("", "/account")):
        monkeypatch.setattr(team, "start_page", page)
        assert attempt(service.client(), user.email, user.password).location == path


def test_a_page_says_what_else_goes_with_the_last_factor(service: Service) -> None:
    holder = Holder(service).with_passkey()
    client, [passkey] = holder.signed_in(), passkeys_of(service, holder.user)
    paths = f"/account/factors/passkeys/{passkey.id}/remove", "/account/factors/totp/remove"
    assert "your recovery codes are worthless then" in client.get(paths[0]).text
    service.rows("UPDATE auth_passkey SET suspended_at = created_at")
    assert "your recovery codes are worthless then" in client.get(paths[0]).text
    with_app(service, holder.user)
    pages = [client.get(path) for path in paths]
    assert [(page.status, "worthless" in page.text) for page in pages] == [(200, False)] * 2


def test_ones_own_pages_show_what_is_so(service: Service) -> None:
    user = service.user()
    client, other = service.client(user).login(), service.client(user, "192.0.2.77").login()
    assert client.rename("Zoë").status == 303
    page = client.account().text
    [(elsewhere,)] = service.rows("SELECT id FROM auth_session WHERE address = '192.0.2.77'")
    ends = re.findall(r"/account/sessions/([0-9a-f-]+)/end\b", page)
    assert (page.count("This device"), [UUID(one) for one in ends]) == (1, [UUID(str(elsewhere))])
    assert 'value="Zoë"' in client.get("/account/name").text
    saved = client.export()
    assert ("Zoë" in saved.text, saved.header("Content-Disposition")) == (True, 'attachment; filename="my-data.json"')
    assert "<input" in (before := other.get("/reauth").text)
    with_app(service, user)
    [code] = re.findall(r'<input[^>]* name="code"[^>]*>', other.get("/reauth").text)
    assert (' name="code"' in before, " required" in code) == (False, True)
