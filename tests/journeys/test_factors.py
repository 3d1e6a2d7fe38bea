"""What a person does with second factors in a browser: an app, a passkey, recovery codes, and what is lost."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import segno
from playwright.sync_api import Browser, expect

from journeys.device import App, Device
from journeys.person import PASSWORD, Person, person
from journeys.running import Running

CODE = re.compile(r"(?:[A-Z2-7]{5}-){4}[A-Z2-7]{6}")


def black(path: str) -> set[tuple[int, int]]:
    """The black modules that the path of an SVG draws, as (column, row)."""
    drawn = re.fullmatch(r"(?:M\d+ \d+h1v1h-1z)+", path)
    assert drawn is not None, path[:80]
    return {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)", path)}


def sets_up_an_app(one: Person, address: str) -> tuple[App, list[str]]:
    """From the page of second factors to the recovery codes."""
    one.follows("Set up an authenticator app")
    one.looks("totp-begin")
    one.presses("Show the code to scan")
    seed = one.page.locator("#seed").inner_text().replace(" ", "")
    uri = f"otpauth://totp/my-service:{address.replace('@', '%40')}?secret={seed}&issuer=my-service"
    assert parse_qs(urlsplit(uri).query)["secret"] == [seed]
    wanted = [[*row] for row in segno.make_qr(uri, error="m").matrix_iter(border=4)]
    shown = one.page.locator("svg.qr")
    assert shown.get_attribute("viewBox") == f"0 0 {len(wanted)} {len(wanted)}"
    drawn = shown.locator("path").get_attribute("d") or ""
    assert black(drawn) == {(x, y) for y, row in enumerate(wanted) for x, module in enumerate(row) if module}
    one.looks("totp")
    one.fills(code="000000")
    one.presses("Set up")
    one.reads("This is not the present code of the app.")
    one.looks("totp-refused")
    app = App(seed)
    one.fills(code=app.code())
    one.presses("Set up")
    one.reads("Your recovery codes")
    return app, keeps_codes(one)


def keeps_codes(one: Person) -> list[str]:
    """The recovery codes on the page, which no other page shows again."""
    expect(one.page.locator(".codes li")).to_have_count(10)
    codes = [text.strip() for text in one.page.locator(".codes li").all_inner_texts()]
    assert len({*codes}) == 10
    assert all(map(CODE.fullmatch, codes))
    return codes


def arrives(one: Person, address: str) -> None:
    """An account that an operator makes, and its first login: each network can register a few in an hour alone."""
    one.running.command("users", "create", address)
    one.accepts(one.running.mailed_link(address))
    one.signs_in(address)


def gives_password(one: Person, address: str) -> None:
    one.opens("/login")
    one.fills(identifier=address, password=PASSWORD)
    one.presses("Sign in")


def test_an_administrator_gets_nowhere_before_an_app_is_set_up(browser: Browser, pages: Running) -> None:
    address = "chief@example.com"
    pages.command("users", "create", address, "--role", "admin")
    with person(browser, pages) as chief:
        chief.accepts(pages.mailed_link(address))
        gives_password(chief, address)
        for path in ("/notes", "/account", "/users"):
            chief.opens(path)
            chief.is_at("/account/factors")
        chief.reads("Your account needs a second factor.")
        chief.looks("factors-required")
        app, codes = sets_up_an_app(chief, address)
        chief.looks("recovery-codes")
        chief.follows("I have saved them")
        chief.is_at("/notes")
        chief.follows("Users")
        chief.is_at("/users")
        chief.signs_out()

        gives_password(chief, address)
        chief.is_at("/login/factor")
        chief.looks("login-factor")
        chief.fills(code="000000")
        chief.presses("Continue")
        chief.reads("This code is not right.")
        chief.looks("login-factor-refused")
        chief.fills(code=app.code())
        chief.presses("Continue")
        chief.is_at("/notes")
        chief.signs_out()

        gives_password(chief, address)
        chief.page.get_by_text("Use a recovery code").click()
        chief.looks("login-factor-recovery")
        chief.fills(recovery=codes[0].lower())
        chief.presses("Use recovery code")
        chief.is_at("/notes")
        chief.opens("/account/factors")
        chief.reads("9 of them are left.")
        chief.looks("factors-app")
        chief.opens("/reauth?next=/account/factors/codes")
        chief.looks("reauth-code")
        chief.fills(password=PASSWORD, code=codes[0])
        chief.presses("Continue")
        chief.reads("The password or the code is not right.")
        chief.fills(password=PASSWORD, code=codes[1])
        chief.presses("Continue")
        chief.is_at("/account/factors/codes")
        chief.looks("confirm-codes")
        chief.presses("Make new codes")
        fresh = keeps_codes(chief)
        assert not {*codes} & {*fresh}
        chief.signs_out()

        gives_password(chief, address)
        chief.presses("Cancel")
        chief.is_at("/login")
        chief.opens("/login/factor")
        chief.is_at("/login")
        gives_password(chief, address)
        chief.page.get_by_text("Use a recovery code").click()
        chief.fills(recovery=codes[2])  # of the old set
        chief.presses("Use recovery code")
        chief.reads("This code is not right.")
        chief.page.get_by_text("Use a recovery code").click()
        chief.fills(recovery=fresh[0])
        chief.presses("Use recovery code")
        chief.is_at("/notes")
        chief.opens("/account/factors")
        chief.follows("Remove authenticator app")
        chief.looks("confirm-app")
        chief.presses("Remove authenticator app")
        chief.reads("The authenticator app is removed")
        chief.reads("Your account needs a second factor.")
        assert {"factors-required", "totp", "recovery-codes", "login-factor", "reauth-code"} <= chief.looked_at


def test_the_sign_in_page_suggests_a_passkey(browser: Browser, pages: Running) -> None:
    address = "ivy@example.com"
    with person(browser, pages) as ivy:
        Device(ivy.page, suggests=True)
        arrives(ivy, address)
        ivy.opens("/account/factors")
        ivy.follows("Add a passkey")
        ivy.fills(name="My phone")
        ivy.presses("Add passkey")
        ivy.follows("I have saved them")
        ivy.page.get_by_role("button", name="Sign out", exact=True).click()
        ivy.is_at("/notes")  # chosen among the suggestions, without a password
        ivy.opens("/account")
        ivy.reads(address)


def test_a_passkey_signs_in_alone_and_as_second_step(browser: Browser, pages: Running) -> None:
    address = "pia@example.com"
    with person(browser, pages) as pia:
        device = Device(pia.page)
        arrives(pia, address)
        pia.opens("/account")
        pia.reads("Second factors")
        pia.follows("Set up your second factors")
        pia.looks("factors-none")
        pia.follows("Add a passkey")
        pia.looks("add-passkey")
        device.unlocks(False)
        pia.fills(name="My laptop")
        pia.presses("Add passkey")
        pia.reads("No passkey was used: it was cancelled, or took too long.")
        pia.looks("add-passkey-cancelled")
        assert device.passkeys() == 0
        device.unlocks(True)
        pia.presses("Add passkey")
        pia.reads("Your passkey is set up.")
        assert device.passkeys() == 1
        codes = keeps_codes(pia)
        with pia.page.expect_download() as saved:
            pia.presses("Download")
        assert CODE.findall(saved.value.path().read_text("utf-8")) == codes
        pia.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        pia.presses("Copy")
        pia.reads("Copied")
        assert CODE.findall(pia.page.evaluate("navigator.clipboard.readText()")) == codes
        pia.follows("I have saved them")
        pia.is_at("/account/factors")
        pia.looks("factors-passkey")
        pia.follows("Add a passkey")
        pia.fills(name="The same laptop")
        pia.presses("Add passkey")
        pia.reads("This device already has a passkey for your account.")
        pia.signs_out()

        pia.opens("/login?next=/account")
        pia.follows("Sign in with a passkey")
        pia.looks("login-passkey")
        device.unlocks(False)
        pia.presses("Use a passkey")
        pia.reads("No passkey was used")
        device.unlocks(True)
        pia.presses("Use a passkey")
        pia.is_at("/account")  # where she wanted to go
        pia.reads("1 passkey")
        pia.signs_out()

        gives_password(pia, address)
        pia.is_at("/login/factor")
        pia.looks("login-factor-passkey")
        pia.presses("Use a passkey")
        pia.is_at("/notes")
        pia.opens("/reauth?next=/account/factors")
        pia.looks("reauth-passkey")
        pia.presses("Use a passkey")
        pia.is_at("/account/factors")

        pia.follows("Rename My laptop")
        pia.looks("rename-passkey")
        pia.fills(name="Laptop <b>at</b> home")
        pia.presses("Save")
        pia.reads("Laptop <b>at</b> home")
        pia.follows("Set up an authenticator app")
        pia.presses("Show the code to scan")
        app = App(pia.page.locator("#seed").inner_text())
        pia.fills(code=app.code())
        pia.presses("Set up")
        pia.reads("Your authenticator app is set up.")  # there are recovery codes already
        pia.looks("factors-both")
        pia.signs_out()
        gives_password(pia, address)
        pia.looks("login-factor-both")
        pia.page.get_by_text("Use a recovery code").click()
        pia.fills(recovery=codes[0])
        pia.presses("Use recovery code")
        pia.is_at("/notes")

        pia.opens("/account/factors")
        pia.follows("Remove Laptop <b>at</b> home")
        pia.looks("confirm-passkey")
        pia.presses("Remove passkey")
        pia.reads("The passkey is removed")
        pia.signs_out()
        pia.opens("/login/passkey")
        pia.presses("Use a passkey")  # the device still has it
        pia.reads("This passkey was not accepted.")
        pia.looks("login-passkey-refused")
        pia.presses("Use a passkey")  # the question is a new one
        pia.reads("This passkey was not accepted.")


def test_who_lost_every_factor_is_helped_by_an_administrator(browser: Browser, pages: Running) -> None:
    pages.command("users", "create", "helper@example.com", "--role", "admin")
    with person(browser, pages) as helper, person(browser, pages) as max_:
        arrives(max_, "max@example.com")
        Device(max_.page)
        max_.opens("/account/factors/passkeys/new")
        max_.fills(name="A phone")
        max_.presses("Add passkey")
        keeps_codes(max_)

        Device(helper.page)
        helper.accepts(pages.mailed_link("helper@example.com"))
        helper.enrols("helper@example.com")
        helper.opens("/users?q=max")
        helper.follows("max@example.com")
        helper.reads("1 passkey")
        helper.looks("user-with-factor")
        helper.follows("Remove second factors")
        helper.looks("confirm-reset")
        helper.presses("Remove second factors")
        helper.reads("The second factors are removed")

        max_.opens("/notes")
        max_.is_at("/login")
        gives_password(max_, "max@example.com")
        max_.is_at("/account/factors")
        max_.reads("Your account needs a second factor.")


def test_codes_need_no_script_and_passkeys_say_that_they_do(browser: Browser, pages: Running) -> None:
    address = "nora@example.com"
    with person(browser, pages, script=False) as nora:
        arrives(nora, address)
        nora.opens("/account/factors")
        nora.follows("Add a passkey")
        nora.reads("Passkeys need JavaScript")
        expect(nora.page.get_by_role("button", name="Add passkey")).to_be_disabled()
        nora.opens("/account/factors/totp")
        nora.presses("Show the code to scan")
        app = App(nora.page.locator("#seed").inner_text())
        nora.fills(code=app.code())
        nora.presses("Set up")
        nora.follows("I have saved them")
        nora.signs_out()
        gives_password(nora, address)
        nora.fills(code=app.code())
        nora.presses("Continue")
        nora.is_at("/notes")


def test_a_browser_without_passkeys_says_so(browser: Browser, pages: Running) -> None:
    with person(browser, pages) as old:
        old.page.add_init_script("delete window.PublicKeyCredential")
        old.opens("/login/passkey")
        expect(old.page.get_by_role("alert")).to_have_text(
            "This browser has no passkeys. Use another way, or another browser."
        )
        expect(old.page.get_by_role("button", name="Use a passkey")).to_be_disabled()
        old.looks("login-passkey-old-browser")
        old.follows("Sign in with your password")
        old.is_at("/login")


def test_second_factors_work_by_keyboard_alone(browser: Browser, pages: Running) -> None:
    with person(browser, pages) as ida:
        press = ida.page.keyboard.press
        Device(ida.page)
        arrives(ida, "ida@example.com")
        ida.opens("/account")
        ida.tabs_to("Set up your second factors")
        press("Enter")
        ida.is_at("/account/factors")
        ida.tabs_to("Add a passkey")
        press("Enter")
        ida.is_at("/account/factors/passkeys/new")
        ida.types("Name", "By keyboard")
        press("Enter")
        ida.reads("Your passkey is set up.")
        ida.tabs_to("I have saved them")
        press("Enter")
        ida.is_at("/account/factors")
        ida.tabs_to("Sign out")
        press("Enter")
        ida.is_at("/login")
        ida.tabs_to("Sign in with a passkey")
        press("Enter")
        ida.is_at("/login/passkey")
        ida.tabs_to("Use a passkey")
        press("Enter")
        ida.is_at("/notes")
