"""Services for the proofs: made once a run, two at a time, since each needs a core for minutes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services import Verdict, judge
from support import EVERYTHING, PAIRS, SABOTAGED, Combination, Repository

AT_ONCE = 2
TIMES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def verdicts(
    request: pytest.FixtureRequest, template_repository: Repository, open_folder: Path
) -> Iterator[dict[Combination, Future[Verdict]]]:
    """Judge every combination that a collected test asks for, in the background."""
    asked: dict[Combination, None] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and "verdicts" in item.fixturenames:
            combination = item.callspec.params["combination"]
            assert isinstance(combination, Combination)
            asked[combination] = None
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        futures = {one: pool.submit(judge, template_repository.path, open_folder, one, sabotaged(one)) for one in asked}
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


def sabotaged(combination: Combination) -> Sequence[str] | None:
    """Whose sabotage is run; where only a night has time for it, that of all proofs."""
    return SABOTAGED.get(combination, None if combination in PAIRS else EVERYTHING)


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
