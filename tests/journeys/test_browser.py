"""What a person does in a browser: from the first visit to the end of the account, by mouse and by keyboard alone."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, expect

from journeys.device import Device
from journeys.person import PASSWORD, person
from journeys.running import Running

OTHER_PASSWORD = "seven slow boats cross a bay"


def test_a_person_registers_lives_here_and_leaves(browser: Browser, pages: Running) -> None:
    with person(browser, pages) as ada:
        ada.opens("/")
        ada.looks("login")
        ada.follows("Create an account")
        ada.looks("register")
        ada.fills(email="ada@example.com")
        ada.presses("Send me the link")
        ada.looks("sent")
        ada.opens(pages.mailed_link("ada@example.com"))
        ada.is_at("/activate")  # the token has left the address
        ada.looks("activate")
        ada.fills(password="too short", again="too short")
        ada.presses("Create account")
        ada.reads("Use at least 15 characters")
        ada.looks("activate-refused")
        ada.fills(display_name="Ada", password=PASSWORD, again=PASSWORD)
        ada.presses("Create account")
        ada.reads("Your account is ready.")
        ada.fills(identifier="ada@example.com", password="not the password of anybody")
        ada.presses("Sign in")
        ada.reads("The address or the password is not right.")
        ada.looks("login-refused")
        ada.signs_in("ada@example.com")
        ada.looks("notes-empty")

        ada.follows("Write the first note")
        ada.looks("note")
        ada.fills(title="Milk <script>alert(1)</script>", body='"><img src=x onerror=alert(1)>')
        ada.presses("Save note")
        ada.reads("Milk <script>alert(1)</script>")  # as text
        ada.fills(q="onerror")
        ada.presses("Search")
        ada.reads("1 note with")  # its text has the word, and its title has not
        expect(ada.page.get_by_role("link", name="Notes", exact=True)).to_have_attribute("aria-current", "page")
        ada.opens("/notes")
        ada.looks("notes")

        ada.opens("/account")
        ada.looks("account")
        ada.follows("Change your name")
        ada.looks("name")
        ada.fills(display_name="Ada Lovelace")
        ada.presses("Save")
        ada.reads("Ada Lovelace")
        ada.follows("Change your password")
        ada.looks("password")
        ada.fills(current="not the password of anybody", password=OTHER_PASSWORD, again=OTHER_PASSWORD)
        ada.presses("Change password")
        wrong = ada.page.get_by_label("Current password", exact=True)
        expect(wrong).to_have_attribute("aria-invalid", "true")
        expect(wrong).to_have_accessible_description("Error: The password is not right.")
        ada.looks("password-refused")
        ada.fills(current=PASSWORD, password=OTHER_PASSWORD, again=OTHER_PASSWORD)
        ada.page.get_by_role("button", name="Show password", exact=True).first.click()
        expect(wrong).to_have_attribute("type", "text")
        ada.presses("Change password")
        ada.reads("Your password is changed")
        ada.follows("Change your address")
        ada.looks("email")
        ada.fills(email="countess@example.com")
        ada.presses("Send the link")
        ada.opens(pages.mailed_link("countess@example.com"))
        ada.looks("confirm-email")
        ada.presses("Use this address")
        ada.reads("countess@example.com")
        with ada.page.expect_download() as export:
            ada.presses("Download my data")
        text = export.value.path().read_text(encoding="utf-8")
        assert "countess@example.com" in text
        assert "Milk" in text

        ada.opens("/reauth")
        ada.looks("reauth")
        ada.opens("/account")
        ada.follows("Delete my account")
        ada.looks("delete-account")
        ada.presses("Delete my account")
        ada.reads("Your account is deleted.")
        ada.fills(identifier="countess@example.com", password=OTHER_PASSWORD)
        ada.presses("Sign in")
        ada.reads("The address or the password is not right.")
        ada.opens("/nothing-here")
        ada.looks("not-found")
        assert len(ada.looked_at) >= 17


def test_a_forgotten_password_is_replaced_without_any_script(browser: Browser, pages: Running) -> None:
    with person(browser, pages, script=False) as bob:
        pages.command("users", "create", "bob@example.com")
        bob.accepts(pages.mailed_link("bob@example.com"))
        bob.follows("Forgot your password?")
        bob.fills(email="bob@example.com")
        bob.presses("Send me the link")
        bob.is_at("/sent")
        bob.opens(pages.mailed_link("bob@example.com"))
        bob.fills(password=OTHER_PASSWORD, again=OTHER_PASSWORD)
        bob.presses("Change password")
        bob.reads("Your password is changed")
        bob.signs_in("bob@example.com", OTHER_PASSWORD)


def test_times_are_shown_in_the_zone_of_the_reader(browser: Browser, pages: Running) -> None:
    pages.command("users", "create", "mei@example.com")
    with person(browser, pages) as mei:
        mei.accepts(pages.mailed_link("mei@example.com"))
        mei.signs_in("mei@example.com")
        mei.opens("/account")
        seen = mei.page.locator("time").first
        expect(seen).to_have_attribute("title", re.compile(r"\d\d:\d\d UTC$"))  # as the server wrote it
        mei.page.context.new_cdp_session(mei.page).send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
        mei.opens("/account")
        expect(seen).to_contain_text("GMT+5:30")
        mei.opens("/nothing-here")
        mei.reads("Not found")
        mei.follows("Notes")  # an error keeps the navigation
        mei.is_at("/notes")


def test_an_administrator_invites_disables_and_enables(browser: Browser, pages: Running) -> None:
    pages.command("users", "create", "root@example.com", "--role", "admin")
    with person(browser, pages) as root, person(browser, pages) as guest:
        Device(root.page)
        root.accepts(pages.mailed_link("root@example.com"))
        root.enrols("root@example.com")
        root.follows("Users")
        root.reads("accounts")
        root.looks("users")
        root.follows("Invite a user")
        root.looks("invite")
        root.fills(email="guest@example.com")
        root.presses("Send the invitation")
        guest.accepts(pages.mailed_link("guest@example.com"))
        guest.signs_in("guest@example.com")
        root.opens("/users")
        root.follows("guest@example.com")
        root.looks("user")
        root.presses("Give admin")
        guest.opens("/users")
        guest.is_at("/account/factors")  # who sees accounts has a second factor
        root.presses("Take away admin")
        guest.opens("/users")
        guest.reads("Not allowed")
        root.presses("Disable account")
        guest.opens("/notes")
        guest.is_at("/login")
        root.presses("Enable account")
        guest.opens("/notes")
        guest.is_at("/login")  # the old session stays dead
        guest.signs_in("guest@example.com")


def test_everything_works_by_keyboard_alone(browser: Browser, pages: Running) -> None:
    with person(browser, pages) as kim:
        press = kim.page.keyboard.press
        kim.opens("/register")
        kim.types("Email address", "kim@example.com")
        press("Enter")
        kim.is_at("/sent")
        kim.opens(pages.mailed_link("kim@example.com"))
        kim.types("New password", PASSWORD)
        kim.types("New password again", PASSWORD)
        press("Enter")
        kim.is_at("/login")
        kim.types("Email address", "kim@example.com")
        kim.types("Password", PASSWORD)
        press("Enter")
        kim.is_at("/notes")
        kim.opens("/notes/new")
        kim.types("Title", "By keyboard")
        kim.tabs_to("Save note")
        press("Enter")
        kim.is_at("/notes")
        kim.reads("By keyboard")
        kim.opens("/notes")
        kim.tabs_to("Skip to content")
        press("Enter")
        assert kim.page.evaluate("document.activeElement.id") == "main"
        kim.opens("/account")
        kim.tabs_to("Change your name")
        press("Enter")
        kim.is_at("/account/name")
        kim.types("Name (optional)", "Kim")
        kim.tabs_to("Save")
        press("Enter")
        kim.reads("Your name is changed.")
        kim.tabs_to("Delete my account")
        press("Enter")
        kim.is_at("/account/delete")
        kim.tabs_to("Delete my account")
        press("Space")
        kim.reads("Your account is deleted.")
