"""What a head of platform does with the page of a fleet: reads it on any screen, sorts it and filters it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, Page, expect

from flask_bastion.overview import Fleet
from flask_bastion.page import page as rendered
from flask_bastion.row import Found, Loosened, Service, Standing
from histories import HISTORIES, read
from journeys.person import Person

NAMES = ("payments", "ledger", "orders", "ward-app", "claims", "a-name-that-is-as-long-as-a-name-may-become")


def a_fleet() -> Fleet:
    """A row of every state."""
    hit = Standing("BASTION-2026-0001", "AFFECTED, fix lost", "", "", "")
    waived = Standing("BASTION-2026-0001", "AFFECTED", "2026-12-20", "ward@example.com", "A wall display frames it")
    fixed = Standing("BASTION-2026-0001", "fixed", "", "", "")
    found = Found(
        "drift-changed", "warning", "This file of the template was edited.", "Restore it.", f"{'x/' * 60}y", 3
    )
    loose = Loosened("session_idle_minutes", "45", "Long rounds", "ward@example.com", "2026-11-01", True)
    answers = {"auth": "session", "database": "sqlite", "secrets": "env", "ci": "github"}
    about: list[dict[str, Any]] = [
        {
            "version": "v1.2.1",
            "advisories": (hit,),
            "findings": (found,),
            "counts": {"fix-lost": 1, "drift-changed": 2},
        },
        {"version": "v1.0.1", "advisories": (waived,)},
        {"version": "v1.2.1", "advisories": (fixed,), "findings": (found,), "counts": {"drift-changed": 1}},
        {"version": "v1.2.1", "advisories": (fixed,), "exceptions": (loose,), "counts": {"exception-ended": 1}},
        {"fault": "It holds no .copier-answers.yml, so it is no rendered service."},
        {"version": "v1.2.1", "advisories": (fixed,)},
    ]
    rows = [
        Service(f"/clones/{name}", name=name, answers=answers, **more)
        for name, more in zip(NAMES, about, strict=True)
    ]  # fmt: skip
    advisories = tuple(read(one) for one in HISTORIES.values())
    return Fleet(datetime(2026, 11, 26, 8, tzinfo=UTC), advisories, tuple(rows), ("/clones/website",), True, "v1.2.1")


@pytest.fixture
def at_the_page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page, and at its end: its policy let nothing through, and nothing in it tried."""
    (tmp_path / "fleet.html").write_text(rendered(a_fleet()), encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    page.goto((tmp_path / "fleet.html").as_uri())
    yield page
    context.close()
    assert said == []


def order(page: Page) -> list[str]:
    """The names of the rows from the top of the screen to its bottom."""
    rows = page.locator("tbody tr[id]:visible")
    tops = [(row.bounding_box() or {"y": 0})["y"] for row in rows.all()]
    names = [text.split()[0] for text in rows.locator("th").all_inner_texts()]
    return [name for _, name in sorted(zip(tops, names, strict=True))]


def shown(page: Page) -> str:
    """How many rows the page says that it shows, as assistive technology hears it: a style rule counts them."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    heard = [node.get("name", {}).get("value") for node in nodes]
    return str(heard[heard.index(f" of {len(NAMES)} services shown") - 1])


def test_it_is_read_on_any_screen_by_anybody(at_the_page: Page) -> None:
    person = Person(at_the_page, cast(Any, None))
    person.looks("fleet")
    at_the_page.get_by_text("Filter", exact=True).click()
    for summary in at_the_page.locator("tbody summary").all():
        summary.click()
    person.looks("fleet-open")
    expect(at_the_page.get_by_role("table", name="Services").get_by_role("row")).to_have_count(1 + len(NAMES))


def test_it_says_first_what_matters_most(at_the_page: Page) -> None:
    expect(at_the_page.locator(".verdict")).to_have_text("1 of 6 services has a known vulnerability")
    at_the_page.get_by_text("Affected services").click()
    at_the_page.get_by_role("link", name="payments").first.click()
    expect(at_the_page.locator("tr:target")).to_contain_text("payments")


def test_it_is_sorted_and_filtered_without_a_script(at_the_page: Page) -> None:
    by_urgency = ["claims", "payments", "ledger", "orders", "ward-app", NAMES[-1]]
    assert order(at_the_page) == by_urgency
    assert shown(at_the_page) == "6"
    at_the_page.get_by_label("name", exact=True).check()
    assert order(at_the_page) == sorted(NAMES)
    at_the_page.get_by_label("oldest version").check()
    assert order(at_the_page)[:2] == ["claims", "ledger"]
    at_the_page.get_by_label("drift", exact=True).check()
    assert order(at_the_page)[:2] == ["payments", "orders"]
    at_the_page.get_by_label("urgency").check()
    at_the_page.get_by_text("Filter", exact=True).click()
    at_the_page.get_by_label("BASTION-2026-0001 (2)").check()
    assert order(at_the_page) == ["payments", "ledger"]
    at_the_page.get_by_label("v1.0.1 (1)").check()
    assert order(at_the_page) == ["ledger"]
    at_the_page.get_by_label("good (1)").check()
    assert order(at_the_page) == [], "filters narrow each other"
    assert shown(at_the_page) == "0"
    at_the_page.get_by_label("all").last.check()
    at_the_page.get_by_label("any or none").check()
    assert shown(at_the_page) == "1"


def test_the_keyboard_reaches_the_filters(at_the_page: Page) -> None:
    person = Person(at_the_page, cast(Any, None))
    person.tabs_to("urgency")
    at_the_page.keyboard.press("ArrowRight")
    assert order(at_the_page) == sorted(NAMES)


def test_paper_has_what_the_screen_folds_away(at_the_page: Page) -> None:
    at_the_page.emulate_media(media="print")
    expect(at_the_page.locator(".tools")).to_be_hidden()
    expect(at_the_page.get_by_text("This file of the template was edited.").first).to_be_visible()
