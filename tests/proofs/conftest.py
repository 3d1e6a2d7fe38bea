"""Services for the proofs: made once a run, two at a time, since each needs a core for minutes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import products
from services import Service, Verdict, judge
from shares import Proofs, shares
from support import SABOTAGED, Combination, Repository

AT_ONCE = 2
TIMES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def provable(
    rendered: Callable[[Combination], Path], template_repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> dict[Combination, Proofs]:
    """Read what each service with the edges can prove."""
    found = {}
    for combination in SABOTAGED:
        service = Service(tmp_path_factory.mktemp("provable") / combination.name)
        shutil.copytree(rendered(combination), service.path)
        service.lay_edges(template_repository.path, combination)
        found[combination] = Proofs.of(service)
    return found


@pytest.fixture(scope="session")
def verdicts(
    request: pytest.FixtureRequest,
    template_repository: Repository,
    open_folder: Path,
    provable: dict[Combination, Proofs],
) -> Iterator[dict[Combination, Future[Verdict]]]:
    """Judge every combination that a collected test asks for, in the background; at night all of it in each."""
    nightly = any(item.get_closest_marker("nightly") for item in request.session.items)
    sabotaged: dict[Combination, Collection[str]] = {
        one: () if nightly or one == next(iter(SABOTAGED)) else tests for one, tests in shares(provable).items()
    }
    asked: dict[Combination, None] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and "verdicts" in item.fixturenames:
            combination = item.callspec.params["combination"]
            assert isinstance(combination, Combination)
            asked[combination] = None
    path, otherwise = template_repository.path, () if nightly else None
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        futures = {
            one: pool.submit(judge, path, open_folder, one, sabotaged.get(one, otherwise), products.lay)
            for one in asked
        }
        yield futures
    times = [
        f"{one.name}: tests and proofs {verdict.tests_seconds:.0f} s, sabotage {verdict.sabotage_seconds:.0f} s"
        for one, future in futures.items()
        if future.exception() is None and (verdict := future.result())
    ]
    if hasattr(request.config, "workeroutput"):
        request.config.workeroutput["times"] = times  # what the process that reports gets of this one
    request.config.stash[TIMES] = times


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process has measured."""
    node.config.stash.setdefault(TIMES, []).extend(getattr(node, "workeroutput", {}).get("times", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    times = config.stash.get(TIMES, [])
    if times:
        terminalreporter.section("proofs of rendered services, two at a time", sep="-")
        for line in times:
            terminalreporter.line(line)
    passed = terminalreporter.stats.get("passed", ())
    figures = [text for report in passed for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("under load", sep="-")
        for line in figures:
            terminalreporter.line(line)
