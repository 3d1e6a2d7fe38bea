"""The pytest plugin of the proofs: `--sabotage`, `--proof-report FILE.html|FILE.json`, and the `service` fixture.

It stops a green run that proves nothing: a proof that attacked nothing is red, and so is a skipped one with CI=true.
Loaded by `addopts = ["-p", "proofs.plugin", "--import-mode=importlib"]` with `pythonpath = ["src", "tests"]`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from . import databases, harness, report, running, sabotage
from .report import Run, Verdict, table
from .rows import catalogue

PROOFS = Path(__file__).resolve().parent
MOST_PROCESSES = 4
VERDICT = "verdict"
_RUN = pytest.StashKey[Run]()
_counting: Run | None = None  # where reports are counted: the one process that all of them reach


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proofs", "proofs of the protections")
    group.addoption(
        "--sabotage",
        action="store_true",
        help="run each proof again without its protection; it must then see the attack succeed",
    )
    group.addoption(
        "--proof-report",
        action="append",
        default=[],
        metavar="FILE",
        help="write what was proven, as FILE.html for people or FILE.json for machines; may be given twice",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    # The parent of the children must not import the service, and a conftest.py of the team's may.
    if early_config.known_args_namespace.sabotage:
        early_config.known_args_namespace.noconftest = True


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "protects(row, sabotages): the catalogue row that this test proves")
    if (PROOFS.parent / "__init__.py").exists():
        raise pytest.UsageError("tests/__init__.py gives the proofs a second name, and so a second harness: delete it")
    for name in config.getoption("--proof-report"):
        if Path(name).suffix not in (".html", ".json"):
            raise pytest.UsageError(f"--proof-report writes .html or .json, not {name}")
    global _counting
    run = config.stash[_RUN] = Run(sabotage=config.getoption("--sabotage"), whole=_is_whole(config))
    _counting = None if run.sabotage or hasattr(config, "workerinput") else run


def _is_whole(config: pytest.Config) -> bool:
    """Whether every proof is asked for, as far as the command line tells: with xdist only the workers collect."""
    chosen = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
    asked = config.args_source != pytest.Config.ArgsSource.ARGS
    return asked and not any(getattr(config.option, name, None) for name in chosen)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --sabotage collect only proofs, the team's too: the file holds @protects(. Others may import the service."""
    if not config.getoption("--sabotage") or collection_path.is_relative_to(PROOFS) or collection_path.is_dir():
        return None
    return None if "\n@protects(" in collection_path.read_text(encoding="utf-8", errors="replace") else True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash[_RUN]
    run.whole = run.whole and not run.deselected
    if run.sabotage:
        items[:] = [item for item in items if item.get_closest_marker("protects")]


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("protects"):
            item.config.stash[_RUN].deselected.append(item.nodeid)


# --- the ordinary run ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _baseline() -> Iterator[databases.Baseline]:
    """A migrated database to clone, made once; in a child of --sabotage it was made by the parent."""
    if databases.prepared is not None:
        yield databases.prepared
        return
    with databases.opened() as (store, backend):
        yield running.prepare(store, backend)


@pytest.fixture
def service(_baseline: databases.Baseline, request: pytest.FixtureRequest) -> Iterator[running.Service]:
    """The service with production settings and a database of its own. See running.Service."""
    with running.service(_baseline, recommended="edges" in request.path.parts) as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    harness.begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    yield
    if item.get_closest_marker("protects"):
        record = harness.current()
        if not record.worked:
            raise harness.HarnessError("this proof has no legitimate twin: call works() before the attack")
        if not record.attacked:
            raise harness.HarnessError("this proof looks at no evidence: call harm() after the attack")


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """A whole run takes two processes a time; single files, `-n 0`, --pdb and --sabotage (which forks itself) don't."""
    whole = config.args_source != pytest.Config.ArgsSource.ARGS and not config.option.collectonly
    worker = hasattr(config, "workerinput") or "PYTEST_XDIST_WORKER" in os.environ  # or a run that a test starts
    alone = worker or config.getoption("--sabotage") or config.option.usepdb or config.option.capture == "no"
    if config.getoption("--sabotage") and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--sabotage uses all processors by itself: leave -n out")
    if whole and not alone and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses = min(os.cpu_count() or 2, MOST_PROCESSES)
        if config.option.dist == "no":
            config.option.dist = "worksteal"  # the tests of a file stay together, and nobody is idle at the end
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    result = yield
    error = call.excinfo.value if call.excinfo else None
    if call.when == "call" or error is not None:
        seconds = round(call.duration, 3)
        verdicts = [sabotage.intact(row, item.nodeid, error, seconds) for row, _ in sabotage.marks(item)]
        # Goes with the report to the process that counts.
        result.user_properties += [(VERDICT, verdict.as_dict()) for verdict in verdicts]
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if _counting is not None:
        told: list[tuple[str, Any]] = report.user_properties
        _counting.verdicts += [Verdict(**value) for name, value in told if name == VERDICT]


# --- the sabotaged run -----------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    config = session.config
    run = config.stash[_RUN]
    if not run.sabotage or config.option.collectonly:
        return None
    if session.testsfailed:
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    reporter = config.pluginmanager.get_plugin("terminalreporter")

    def tell(verdict: Verdict) -> None:
        run.verdicts.append(verdict)
        if reporter is not None:
            reporter.write("." if verdict.good else "F", green=verdict.good, red=not verdict.good)
            reporter.stats.setdefault("proven" if verdict.good else "NOT PROVEN", []).append(_as_report(verdict))

    if any("service" in getattr(item, "fixturenames", ()) for item in session.items):
        with databases.opened() as (store, backend):
            databases.prepared, modules = running.prepare_in_a_fork(store, backend)
            sabotage.warm(modules)
            sabotage.run(config, session.items, tell)
    else:
        sabotage.run(config, session.items, tell)
    run.verdicts += _missing(run)
    session.testsfailed = len(run.bad())
    return True


def _as_report(verdict: Verdict) -> pytest.TestReport:
    """For pytest's last line, and for other plugins that look through it."""
    outcome: Literal["passed", "failed"] = "passed" if verdict.good else "failed"
    location = (verdict.test.partition("::")[0], None, f"{verdict.test}[{verdict.clause}]")
    return pytest.TestReport(verdict.test, location, {}, outcome, None, "call")


def _missing(run: Run) -> list[Verdict]:
    """Rows and clauses without a proof, when all proofs were asked for."""
    if not run.whole:
        return []
    seen = {(verdict.row, verdict.clause) for verdict in run.verdicts}
    return [
        Verdict(row.id, clause, "", "missing", "no proof has it")
        for row in catalogue().values()
        for clause in ("", *(clause.name for clause in row.demanded))
        if (row.id, clause) not in seen
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    run = config.stash[_RUN]
    in_ci = os.environ.get("CI", "").lower() == "true"
    skipped = [verdict for verdict in run.verdicts if verdict.outcome == "skipped"]
    if in_ci and (skipped or (run.sabotage and run.deselected)) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if not hasattr(config, "workerinput"):
        for name in config.getoption("--proof-report"):
            report.write(Path(name), run, time.time())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash[_RUN]
    skipped = [verdict for verdict in run.verdicts if verdict.outcome == "skipped"]
    if run.sabotage:
        terminalreporter.section("proofs and sabotages")
        for line in table(run.verdicts):
            terminalreporter.write_line(line, red="NOT PROVEN" in line)
        bad = len(run.bad())
        terminalreporter.write_line(
            f"{len(run.verdicts) - bad} of {len(run.verdicts)} proven", bold=True, green=not bad, red=bool(bad)
        )
    if run.whole and run.verdicts:
        terminalreporter.write_line(f"{report.covered(run)}; {report.scope()}")
        if not run.sabotage:
            terminalreporter.write_line("your own tests only: uv run pytest --ignore=tests/proofs")
    for verdict in skipped:
        terminalreporter.write_line(f"NOT PROVEN, skipped: {verdict.test}: {verdict.reason}", yellow=True)
    if run.deselected and run.sabotage:
        terminalreporter.write_line(f"{len(run.deselected)} proofs were deselected: red with CI=true", yellow=True)
    for name in config.getoption("--proof-report"):
        terminalreporter.write_line(f"proof report: {name}")
