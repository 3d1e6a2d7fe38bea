"""Proofs of identity/login.py and mailed_link.py as a browser sees them: a cookie says as little as a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from .. import mails, snapshot
from ..accounts import with_app
from ..harness import edit, harm, protects, refused, works
from ..logins import SIGNED_IN, HashSpy, asks_for_reset, attempt, causes, cheap_user, registers, step_up, stored
from ..test_passkeys import Holder, passkeys_of

if TYPE_CHECKING:
    import pytest

    from ..running import Service
    from ..session_client import Client
    from ..wire import Response

COOKIE = "[('Set-Cookie', '__Host-known=1; Path=/; Secure; HttpOnly; SameSite=Lax')]"


@protects(
    "login-uniform-failure",
    cookie=edit(
        "identity/login.py",
        "        refuse_uniformly()\n    attempt",
        f"        refuse(401, 'login-uniform-failure', headers={COOKIE} if row else [])\n    attempt",
    ),
)
def test_no_cookie_of_a_failed_login_tells_whether_there_is_an_account(service: Service) -> None:
    user = cheap_user(service)
    HashSpy(service, quick=True)
    answer = attempt(service.client(), user.email, user.password)
    works(answer.status == SIGNED_IN, "the right password signs in")
    works({cookie.name for cookie in answer.set_cookies} == {"__Host-session", "__Host-device"}, "and gives cookies")
    answers = {cause: attempt(service.client(), *sent) for cause, sent in causes(service, cheap=True).items()}
    names = {cause: [cookie.name for cookie in answer.set_cookies] for cause, answer in answers.items()}
    harm([cause for cause, given in names.items() if given != names["unknown"]], "a cookie tells of an account")
    assert len(names) == 5
    for answer in answers.values():
        refused(answer, 401, "login-uniform-failure")


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


# --- login-credentials-in-body-only ---------------------------------------------------------------------------------

BODY_ONLY = "login-credentials-in-body-only"
LINK = "__Host-link"
AGELESS = 'request.cookies.get(cookie_name(), ""), timedelta(days=400))'
CHOSEN = "another correct horse battery"


@protects(
    BODY_ONLY,
    location=edit(
        "session/account.py",
        "redirect(url_for(mailed_link.PAGES[purpose]), 303)",
        "redirect(url_for(mailed_link.PAGES[purpose], token=token), 303)",
    ),
)
def test_the_token_of_a_mailed_link_leaves_the_address_and_opening_it_changes_nothing(service: Service) -> None:
    user, reader = cheap_user(service), service.client()
    asks_for_reset(reader, user.email)
    token = mails.token_for(service, user.email, "reset")
    before = snapshot.everything(service)
    opened = reader.get(f"/link/reset/{token}")
    page = reader.get(opened.location or "")
    works(page.status == 200, "the link leads to a form")
    harm(token in f"{opened.location} {page.text}", "the token stayed in an address or in the page")
    touched = {*snapshot.changed(before, snapshot.everything(service))}
    harm(touched, "opening the link changed something")
    assert (opened.status, opened.location) == (303, "/reset")
    assert [answer.header("Referrer-Policy") for answer in (opened, page)] == ["no-referrer", "same-origin"]
    [cookie] = [one for one in opened.set_cookies if one.name == LINK]
    assert cookie.attributes["max-age"] == "600"
    assert cookie.attributes["samesite"] == "Lax"
    assert {"secure", "httponly"} <= cookie.attributes.keys()
    done = reader.post("/reset", {"password": CHOSEN, "again": CHOSEN, **reader.shown("/reset")})
    assert done.status == 303
    assert [one.deletes for one in done.set_cookies if one.name == LINK] == [True]
    assert attempt(service.client(), user.email, CHOSEN).status == SIGNED_IN
    assert token not in service.output
    purposes = service.module("identity.links").ALL
    assert {reader.get(f"/link/{purpose}/{token}").status for purpose in purposes} == {303}


@protects(
    BODY_ONLY,
    bound=edit("session/mailed_link.py", "        if self.is_submitted() and not compare_digest(", "        if not ("),
)
def test_what_is_typed_into_a_form_is_not_for_the_account_of_a_link_that_was_opened_since(service: Service) -> None:
    victim, attacker = cheap_user(service), cheap_user(service)
    for user in (victim, attacker):
        asks_for_reset(service.client(), user.email)
    own, foreign = (mails.token_for(service, user.email, "reset") for user in (victim, attacker))
    browser = service.client()
    browser.get(f"/link/reset/{own}")
    shown, before = browser.shown("/reset"), [stored(service, user.email) for user in (victim, attacker)]
    works(victim.email in browser.get("/reset").text, "her own account is on the page")
    browser.get(f"/link/reset/{foreign}")  # another site opened a window with the attacker's link
    answer = browser.post("/reset", {"password": CHOSEN, "again": CHOSEN, **shown})
    after = [stored(service, user.email) for user in (victim, attacker)]
    harm(after != before, "the password that she chose for her account is that of the attacker's")
    bare = browser.post("/reset", {"password": CHOSEN, "again": CHOSEN})
    harm([stored(service, user.email) for user in (victim, attacker)] != before, "a form without its link was taken")
    for one in (answer, bare):
        refused(one, 409, BODY_ONLY)
    assert attacker.email in browser.get("/reset").text  # who reloads sees whose account it would be
    assert browser.reset(own, CHOSEN).status == 303
    assert attempt(service.client(), victim.email, CHOSEN).status == SIGNED_IN


@protects(BODY_ONLY, age=edit("session/mailed_link.py", 'request.cookies.get(cookie_name(), ""), GOOD_FOR)', AGELESS))
def test_the_cookie_of_a_mailed_link_is_good_for_ten_minutes_as_it_is(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    reader, emails = service.client(), [f"{name}@example.com" for name in ("early", "late", "altered", "foreign")]
    accounts = "SELECT email FROM auth_user"
    for email in emails:
        registers(service.client(), email)
    opened = [service.client() for _ in emails]
    for client, email in zip(opened, emails, strict=True):
        client.get(f"/link/activate/{mails.token_for(service, email, 'activate')}")
    early, late, altered, foreign = opened
    activates(early)
    works([row.email for row in service.rows(accounts)] == emails[:1], "within ten minutes the form makes the account")
    value = altered.cookies[LINK]
    altered.cookies[LINK] = ("A" if value[0] != "A" else "B") + value[1:]
    answers = [activates(altered)]
    asks_for_reset(reader, emails[0])
    foreign.get(f"/link/reset/{mails.token_for(service, emails[0], 'reset')}")  # now it holds one for another purpose
    answers.append(activates(foreign))
    service.travel(minutes=10, seconds=1)
    answers.append(activates(late))
    harm(
        [row.email for row in service.rows(accounts)][1:], "a cookie made an account that was too old, or not as given"
    )
    for answer in answers:
        refused(answer, 410, "activation-required-single-use")


def activates(client: Client) -> Response:
    """Post the form behind a link that makes an account."""
    fields = {"display_name": "", "password": CHOSEN, "again": CHOSEN, **client.shown("/activate")}
    return client.post("/activate", fields)
