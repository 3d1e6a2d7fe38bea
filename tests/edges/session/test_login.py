"""Proofs of identity/login.py and mailed_link.py in a browser: cookies and link forms reveal and mix up no account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import databases as snapshot
from ... import mails
from ...harness import edit, harm, protects, refused, works
from ...logins import SIGNED_IN, HashSpy, attempt, causes, cheap_user, registers, stored
from ..steps import asks_for_reset

if TYPE_CHECKING:
    from ...running import Service
    from ...session_client import Client
    from ...wire import Response


COOKIE = "[('Set-Cookie', '__Host-known=1; Path=/; Secure; HttpOnly; SameSite=Lax')]"


@protects(
    "login-uniform-failure",
    cookie=edit(
        "identity/login.py",
        "        attempts.refuse_uniformly()\n    attempt",
        f"        refuse(401, 'login-uniform-failure', headers={COOKIE} if row else [])\n    attempt",
    ),
)
def test_failed_login_cookies_do_not_reveal_an_account(service: Service) -> None:
    user = cheap_user(service)
    HashSpy(service, quick=True)
    answer = attempt(service.client(), user.email, user.password)
    works(answer.status == SIGNED_IN, "the right password is accepted")
    works({cookie.name for cookie in answer.set_cookies} == {"__Host-session", "__Host-device"}, "both are set")
    answers = {cause: attempt(service.client(), *sent) for cause, sent in causes(service, cheap=True).items()}
    names = {cause: [cookie.name for cookie in answer.set_cookies] for cause, answer in answers.items()}
    harm([cause for cause, given in names.items() if given != names["unknown"]], "a cookie reveals an account")
    assert len(names) == 5
    for answer in answers.values():
        refused(answer, 401, "login-uniform-failure")


# --- login-credentials-in-body-only ---------------------------------------------------------------------------------

BODY_ONLY = "login-credentials-in-body-only"
LINK = "__Host-link"
AGELESS = 'request.cookies.get(cookie_name(), ""), timedelta(days=400))'
CHOSEN = "another correct horse battery"


@protects(
    BODY_ONLY,
    location=edit(
        "session/mailed_link.py",
        "redirect(url_for(PAGES[purpose]), 303)",
        "redirect(url_for(PAGES[purpose], token=token), 303)",
    ),
)
def test_opening_a_mailed_link_hides_its_token_and_keeps_data(service: Service) -> None:
    user, reader = cheap_user(service), service.client()
    asks_for_reset(reader, user.email)
    token = mails.token_for(service, user.email, "reset")
    before = snapshot.everything(service)
    opened = reader.get(f"/link/reset/{token}")
    page = reader.get(opened.location or "")
    works(page.status == 200, "the link leads to a form")
    harm(token in f"{opened.location} {page.text}", "the token stayed in a URL or in the page")
    touched = {*snapshot.changed(before, snapshot.everything(service))}
    harm(touched, "opening the link changed the database")
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
def test_form_applies_only_to_the_link_that_opened_it(service: Service) -> None:
    victim, attacker = cheap_user(service), cheap_user(service)
    for user in (victim, attacker):
        asks_for_reset(service.client(), user.email)
    own, foreign = (mails.token_for(service, user.email, "reset") for user in (victim, attacker))
    browser = service.client()
    browser.get(f"/link/reset/{own}")
    shown, before = browser.shown("/reset"), [stored(service, user.email) for user in (victim, attacker)]
    works(victim.email in browser.get("/reset").text, "the page shows the victim's own account")
    browser.get(f"/link/reset/{foreign}")  # another site opened a window with the attacker's link
    answer = browser.post("/reset", {"password": CHOSEN, "again": CHOSEN, **shown})
    after = [stored(service, user.email) for user in (victim, attacker)]
    harm(after != before, "the victim's password was set for the attacker's account")
    bare = browser.post("/reset", {"password": CHOSEN, "again": CHOSEN})
    harm([stored(service, user.email) for user in (victim, attacker)] != before, "a form without its link was accepted")
    for one in (answer, bare):
        refused(one, 409, BODY_ONLY)
    assert attacker.email in browser.get("/reset").text  # who reloads sees whose account it would be
    assert browser.reset(own, CHOSEN).status == 303
    assert attempt(service.client(), victim.email, CHOSEN).status == SIGNED_IN


@protects(BODY_ONLY, age=edit("session/mailed_link.py", 'request.cookies.get(cookie_name(), ""), GOOD_FOR)', AGELESS))
def test_link_cookie_is_valid_unchanged_for_ten_minutes(service: Service) -> None:
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
    harm([row.email for row in service.rows(accounts)][1:], "an expired, altered or foreign cookie made an account")
    for answer in answers:
        refused(answer, 410, "activation-required-single-use")


def activates(client: Client) -> Response:
    """Post the form behind a link that makes an account."""
    fields = {"display_name": "", "password": CHOSEN, "again": CHOSEN, **client.shown("/activate")}
    return client.post("/activate", fields)
