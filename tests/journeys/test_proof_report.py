"""What an auditor does with the report of the proofs: reads its first screen, searches, follows a link, prints."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from support import Combination

WRITE = """
import sys, time
sys.path.insert(0, "tests")
from pathlib import Path
from proofs.report import Run, Verdict, write
from proofs.rows import catalogue
run = Run(sabotage=True)
for row in catalogue().values():
    for clause in ("", *(clause.name for clause in row.demanded)):
        outcome = "still green" if clause and row.id == "csrf-token-required" else "proven" if clause else "green"
        run.verdicts.append(Verdict(row.id, clause, "tests/proofs/test_csrf.py::test_it", outcome))
write(Path(sys.argv[1]), run, time.time())
"""
GIT = shutil.which("git") or "git"


@pytest.fixture(scope="module")
def report(rendered: Callable[[Combination], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a whole run in which one row was not proven, in a git repository with a lock file."""
    service = tmp_path_factory.mktemp("audited")
    shutil.copytree(rendered(Combination.parse("session-sqlite-env")), service, dirs_exist_ok=True)
    (service / "uv.lock").write_text("version = 1\n")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@example.com commit -qm first"):
        subprocess.run([GIT, *command.split()], cwd=service, check=True)
    subprocess.run([sys.executable, "-c", WRITE, "proofs.html"], cwd=service, check=True)
    return service / "proofs.html"


@pytest.fixture
def page(browser: Browser, report: Path) -> Page:
    """The report on a laptop's screen."""
    made = browser.new_page(viewport={"width": 1280, "height": 900})
    made.goto(report.as_uri())
    return made


def test_the_first_screen_is_the_summary(page: Page, report: Path) -> None:
    facts = page.locator("dl.facts")
    commit = subprocess.run([GIT, "rev-parse", "HEAD"], cwd=report.parent, capture_output=True, text=True, check=True)
    for fact in (commit.stdout.strip(), hashlib.sha256(b"version = 1\n").hexdigest(), "Python", "Template version"):
        expect(facts).to_contain_text(fact)
    assert facts.bounding_box()["y"] + facts.bounding_box()["height"] < 900  # type: ignore[index]
    sizes = page.locator("dl.figures dd").evaluate_all("all => all.map(one => getComputedStyle(one).fontSize)")
    assert len(sizes) == 5
    assert len(set(sizes)) == 1
    assert page.locator("main details[open]").count() == 0
    assert page.evaluate("document.documentElement.scrollHeight") < 2 * 900 + 200
    expect(page.locator(".area.wrong")).to_have_count(1)


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_search_finds_and_forgets(page: Page) -> None:
    page.get_by_role("searchbox").fill("csrf-token-required")
    expect(page.locator("#csrf-token-required > summary")).to_be_visible()
    expect(page.locator("#deny-by-default")).to_be_hidden()
    page.get_by_role("searchbox").fill("")
    expect(page.locator(".area:visible")).to_have_count(page.locator(".area").count())
    assert page.locator(".area[open]").count() == 0


def test_a_link_opens_its_protection(page: Page, report: Path) -> None:
    page.goto(report.as_uri() + "#csrf-token-required")
    expect(page.locator("#csrf-token-required .label").first).to_be_visible()


def test_print_shows_everything(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def test_the_report_loads_and_refuses_nothing(browser: Browser, report: Path) -> None:
    made = browser.new_page()
    said: list[str] = []
    made.on("console", lambda message: said.append(message.text))
    made.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    made.goto(report.as_uri())
    assert said == []
