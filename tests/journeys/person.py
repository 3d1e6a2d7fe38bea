"""A person at a browser, who looks at every page: in both themes, wide and narrow, with what assistive technology sees.

It stops a page from being tried in one size alone, and a violation of the policy from going unseen in the console.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from journeys.running import Running

SIZES = ((1280, 900), (360, 740))
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PASSWORD = "nine otters read a tall map"
SHOTS = os.environ.get("BASTION_SCREENSHOTS")
"""A folder to write each page into, for looking at."""
AXE = Axe()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@dataclass
class Person:
    """One browser profile, and what its console said."""

    page: Page
    running: Running
    complaints: list[str] = field(default_factory=list)
    looked_at: set[str] = field(default_factory=set)

    def opens(self, path: str) -> None:
        self.page.goto(self.running.origin + path if path.startswith("/") else path)

    def fills(self, **fields: str) -> None:
        for name, value in fields.items():
            self.page.fill(f"#{name}", value)

    def presses(self, text: str) -> None:
        """A button of the page's own part."""
        self.page.locator("main").get_by_role("button", name=text, exact=True).click()

    def follows(self, text: str) -> None:
        self.page.get_by_role("link", name=text, exact=True).click()

    def reads(self, text: str) -> None:
        expect(self.page.locator("body")).to_contain_text(text)

    def is_at(self, path: str) -> None:
        expect(self.page).to_have_url(re.compile(re.escape(self.running.origin + path) + r"(\?.*)?$"))

    def registers(self, address: str) -> None:
        self.opens("/register")
        self.fills(email=address)
        self.presses("Send me the link")
        self.is_at("/sent")
        self.accepts(self.running.mailed_link(address))

    def accepts(self, link: str) -> None:
        """A mailed link that makes an account, with the password that everybody here has."""
        self.opens(link)
        self.fills(password=PASSWORD, again=PASSWORD)
        self.presses("Create account")
        self.is_at("/login")

    def signs_in(self, address: str, password: str = PASSWORD) -> None:
        self.opens("/login")
        self.fills(identifier=address, password=password)
        self.presses("Sign in")
        self.is_at("/notes")

    def signs_out(self) -> None:
        self.page.get_by_role("button", name="Sign out", exact=True).click()
        self.is_at("/login")

    def enrols(self, address: str) -> None:
        """Sign in as somebody who must have a second factor, and make a passkey on the device that is at hand."""
        self.opens("/login")
        self.fills(identifier=address, password=PASSWORD)
        self.presses("Sign in")
        self.is_at("/account/factors")
        self.follows("Add a passkey")
        self.fills(name="A device")
        self.presses("Add passkey")
        self.reads("Your passkey is set up.")
        self.follows("I have saved them")
        self.is_at("/notes")

    def looks(self, name: str) -> None:
        """At the page as it is now: axe-core finds nothing in any size and theme, and nothing is cut off."""
        self.looked_at.add(name)
        for width, height in SIZES:
            self.page.set_viewport_size({"width": width, "height": height})
            for theme in THEMES:
                self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # no colour on its way
                if SHOTS:
                    self.page.screenshot(path=Path(SHOTS) / f"{name}-{width}-{theme}.png", full_page=True)
                found = AXE.run(self.page, options={"runOnly": TAGS})
                assert found.violations_count == 0, f"{name}, {width} px, {theme}:\n{found.generate_report()}"
            overflow = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{name} is {overflow} px wider than a screen of {width}"

    def tabs_to(self, name: str) -> None:
        """Press Tab until what has the focus is called this; fails when the whole page went by."""
        for _ in range(80):
            self.page.keyboard.press("Tab")
            if self.focused() == name:
                return
        raise AssertionError(f"the keyboard does not reach {name!r} at {self.page.url}")

    def focused(self) -> str:
        """The name of what has the focus: its label, or its text."""
        self.page.wait_for_load_state()
        found: Any = self.page.evaluate(
            """() => { const e = document.activeElement;
                 return (e.labels && e.labels.length ? e.labels[0].innerText : e.innerText || e.value || "").trim() }"""
        )
        return " ".join(str(found).split())

    def types(self, label: str, text: str) -> None:
        """Into the field that the keyboard reaches next under this label."""
        if self.focused() != label:
            self.tabs_to(label)
        self.page.keyboard.type(text)


@contextmanager
def person(browser: Browser, running: Running, *, script: bool = True) -> Iterator[Person]:
    """A new profile; at its end the console must hold no violation of a policy, and no error of a page."""
    context = browser.new_context(java_script_enabled=script)
    page = context.new_page()
    one = Person(page, running)
    page.on("console", lambda said: one.complaints.append(f"{page.url}: {said.text}"))
    page.on("pageerror", lambda error: one.complaints.append(f"{page.url}: {error}"))
    try:
        yield one
    finally:
        context.close()
    # A refused form is a page with status 422, and signing out clears what is stored: Chromium notes both. Everything
    # else is a fault of a page.
    noted = ("Failed to load resource: the server responded", "Clear-Site-Data header on")
    faults = [text for text in one.complaints if not any(note in text for note in noted)]
    assert not faults, "\n".join(faults)
