"""Fixtures of the journeys: one service a style, installed once, and one browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from journeys.running import SECONDS, Running, chromium, dev
from services import Service
from support import Combination, Repository

expect.set_options(timeout=SECONDS * 1000)  # its own five seconds are few on a busy machine
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium as the machine has it. Without one: a loud skip on a laptop, a failure in CI."""
    program = chromium()
    if program is None:
        missing = "no Chromium on this machine: install Debian's package `chromium`, or Chrome"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield started
        started.close()


def _service(template: Repository, folder: Path, name: str) -> Service:
    combination = Combination.parse(name)
    data = {**combination.data, "security_contact": "security@example.com"}
    service = Service.start(template.path, folder / name, **data)
    service.install(combination)
    return service


@pytest.fixture(scope="session")
def pages(template_repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of the session style, served by its `dev`."""
    folder = tmp_path_factory.mktemp("journeys")
    with dev(_service(template_repository, folder, "session-sqlite-env"), folder) as running:
        yield running


@pytest.fixture(scope="session")
def api(template_repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of the token style, served by its `dev`."""
    folder = tmp_path_factory.mktemp("journeys")
    with dev(_service(template_repository, folder, "jwt-sqlite-files"), folder) as running:
        yield running
