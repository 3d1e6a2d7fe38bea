"""A pytest plugin for a rendered service: maps lines to proofs, or runs the proofs that matter against each mutant.

A mutant is a sabotage that nobody wrote down, so the machinery is that of `--sabotage`: a warm parent, a scratch copy,
a forked child. It runs in the service's environment, so it imports nothing of this repository:

    PYTHONPATH=tests/mutation .venv/bin/pytest -p in_service --sabotage --work work.json --results results.jsonl

`work.json` holds "workers" and one of four: "list"; "intact", proofs to run against the service as it is; "map", the
FILE to write, with the "files" of proofs to look at; "mutants", each with its "id", "path" and "text", the "proofs" to
run in this order, their "durations", its "seconds" of processor time, and a "stamp" for its result.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

PATIENCE_SECONDS, PATIENCE_TIMES = 60.0, 10.0
"""A proof that takes ten times as long as against the intact service, and a minute more, is ended: a time-out."""


NOT_OF_THE_SERVICE = ("test_harness.py", "test_catalogue.py")
"""They look at proofs and sabotages, and would call every mutant of a sabotaged line a sabotage that has gone stale."""
_collected: list[pytest.Item] = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of the service count, and not only those that --sabotage keeps: the proofs of a row."""
    _collected.extend(item for item in items if item.path.name not in NOT_OF_THE_SERVICE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--work", type=Path, required=True)
    parser.addoption("--results", type=Path, required=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """In the place of the sabotages: the same preparation, other children."""
    databases, running, sabotage = _proofs("databases", "running", "sabotage")
    if session.testsfailed:
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    work = json.loads(session.config.getoption("--work").read_text(encoding="utf-8"))
    items = {item.nodeid: item for item in _collected}
    if "list" in work:
        listed = (json.dumps(_described(item, 0.0, processes=False, error=None)) + "\n" for item in _collected)
        session.config.getoption("--results").write_text("".join(listed), encoding="utf-8")
        return True
    with databases.opened() as (store, backend):
        databases.prepared, libraries = running.prepare_in_a_fork(store, backend)
        with session.config.getoption("--results").open("a", encoding="utf-8") as results:
            sabotage.warm(libraries)
            stamps = {mutant["id"]: mutant["stamp"] for mutant in work.get("mutants", ())}

            def tell(result: dict[str, Any]) -> None:
                result |= stamps.get(result.get("id"), {})
                results.write(json.dumps(result) + "\n")
                results.flush()

            _run(session.config, [*_jobs(work, items)], work["workers"], tell)
    return True


def _jobs(work: dict[str, Any], items: dict[str, pytest.Item]) -> Iterator[Job]:
    if "map" in work:
        importlib.import_module("coverage")
        target = Path(work["map"])
        wanted = [item for name, item in items.items() if name.partition("::")[0] in work["files"]]
        for number in range(work["workers"]):
            part = wanted[number :: work["workers"]]
            yield Job(_mapping(part, target.with_suffix(f".{number}")), 300.0)
    elif "intact" in work:
        yield Job(_intact([items[name] for name in work["intact"]]), 300.0)
    else:
        for mutant in work["mutants"]:
            some = [items[name] for name in mutant["proofs"] if name in items]
            yield Job(_attacking(mutant, some), PATIENCE_SECONDS, mutant["id"])


def _proofs(*names: str) -> list[Any]:
    """Modules of the service's tests/proofs."""
    return [importlib.import_module(f"proofs.{name}") for name in names]


@dataclass(slots=True)
class Job:
    """What one child does. It writes lines of JSON and says with each how long the next may take."""

    work: Callable[[Callable[[dict[str, Any]], None], Any, Path], None]
    patience: float
    id: str = ""


@dataclass(slots=True)
class _Child:
    job: Job
    pid: int
    read: int
    deadline: float
    scratch: Path
    received: bytearray = field(default_factory=bytearray)
    begun: str = ""
    number: int = 0
    done: bool = False


# --- the parent -----------------------------------------------------------------------------------------------


def _run(config: pytest.Config, jobs: Sequence[Job], workers: int, tell: Callable[[dict[str, Any]], None]) -> None:
    [sabotage] = _proofs("sabotage")
    waiting, running = deque(jobs), dict[int, _Child]()
    gc.collect()
    gc.freeze()
    with sabotage._uncaptured(config), selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    child = _start(config, waiting.popleft())
                    running[child.read] = child
                    selector.register(child.read, selectors.EVENT_READ)
                for key, _ in selector.select(timeout=0.25):
                    child = running[key.fd]
                    if data := os.read(child.read, 65536):
                        _receive(child, data, tell)
                    else:
                        selector.unregister(child.read)
                        _reap(running.pop(child.read), tell, "crash")
                for child in [child for child in running.values() if time.monotonic() > child.deadline]:
                    selector.unregister(child.read)
                    _reap(running.pop(child.read), tell, "timeout")
        finally:
            for child in running.values():
                sabotage._end(child)
            gc.unfreeze()


def _start(config: pytest.Config, job: Job) -> _Child:
    scratch = Path(tempfile.mkdtemp(prefix="mutant-"))
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _be_a_child(config, job, write, scratch)
    os.close(write)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    return _Child(job, pid, read, time.monotonic() + job.patience + PATIENCE_SECONDS, scratch)


def _receive(child: _Child, data: bytes, tell: Callable[[dict[str, Any]], None]) -> None:
    child.received += data
    while (end := child.received.find(b"\n")) >= 0:
        message = json.loads(child.received[:end])
        del child.received[: end + 1]
        if "patience" in message:
            child.deadline = time.monotonic() + message["patience"]
            child.begun, child.number = message["begins"], message["number"]
        else:
            child.done = child.done or "id" in message or "whole" in message
            if "whole" not in message:
                tell(message)


def _reap(child: _Child, tell: Callable[[dict[str, Any]], None], verdict: str) -> None:
    """End a child; what it did not answer is a time-out or a crash of the process."""
    [sabotage] = _proofs("sabotage")
    output = child.scratch / "output"
    last = output.read_bytes()[-300:].decode("utf-8", "replace") if output.is_file() else ""
    sabotage._end(child)
    if child.job.id and not child.done:
        tell({"id": child.job.id, "verdict": verdict, "by": child.begun, "why": last, "tried": child.number})
    elif not child.done:  # of the intact service: without these proofs every mutant would survive
        raise RuntimeError(f"{verdict} of a child that runs the proofs, at {child.begun or 'the start'}: {last}")


# --- the children ---------------------------------------------------------------------------------------------


def _be_a_child(config: pytest.Config, job: Job, write: int, scratch: Path) -> NoReturn:
    [sabotage] = _proofs("sabotage")

    def tell(message: dict[str, Any]) -> None:
        os.write(write, json.dumps(message).encode() + b"\n")

    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        output = os.open(scratch / "output", os.O_WRONLY | os.O_CREAT, 0o600)
        for number in (1, 2):
            os.dup2(output, number)
        manager: Any = config.pluginmanager.getplugin("capturemanager")
        if manager is not None:
            manager.start_global_capturing()
            manager.suspend_global_capture()
        sabotage._mute(config)
        spy = sabotage._Spy()
        config.pluginmanager.register(spy)
        job.work(tell, spy, scratch)
        tell({"whole": True})
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(0)


def _pairs(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def _mapping(items: Sequence[pytest.Item], target: Path) -> Callable[..., None]:
    """Which lines of bastion/ run in each proof, and whether it starts processes, whose lines are not seen."""

    def work(tell: Callable[[dict[str, Any]], None], spy: Any, _scratch: Path) -> None:
        coverage: Any = importlib.import_module("coverage")
        place, sabotage, service, real_server = _proofs("place", "sabotage", "service", "real_server")
        processes: list[object] = []

        def count(kind: Any) -> None:
            real = kind.__init__

            def counted(self: Any, *arguments: Any, **named: Any) -> None:
                processes.append(self)
                real(self, *arguments, **named)

            kind.__init__ = counted

        count(subprocess.Popen)
        count(real_server.Process)
        bastion = place.bastion()
        measured = coverage.Coverage(data_file=None, include=[f"{bastion}/*"], config_file=False)
        measured.start()
        importlib.import_module(f"{service.PACKAGE}.app")  # what runs at the import belongs to no proof
        for number, (item, following) in enumerate(_pairs(items), 1):
            tell({"begins": item.nodeid, "number": number, "patience": 300.0})
            measured.switch_context(item.nodeid)
            processes.clear()
            begun = time.monotonic()
            error = sabotage._protocol(item, following, spy)
            seconds = round(time.monotonic() - begun, 3)
            tell(_described(item, seconds, processes=bool(processes), error=error))
        measured.switch_context("the end")
        measured.stop()
        data = measured.get_data()
        numbers = {name: number for number, name in enumerate(sorted(data.measured_contexts()))}
        lines = {
            Path(file).relative_to(bastion).as_posix(): {
                line: sorted(numbers[name] for name in names) for line, names in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        target.write_text(json.dumps({"names": [*numbers], "lines": lines}), encoding="utf-8")

    return work


def _intact(items: Sequence[pytest.Item]) -> Callable[..., None]:
    """Whether these proofs are green without any mutant, and how long they take."""

    def work(tell: Callable[[dict[str, Any]], None], spy: Any, _scratch: Path) -> None:
        [sabotage] = _proofs("sabotage")
        for number, (item, following) in enumerate(_pairs(items), 1):
            tell({"begins": item.nodeid, "number": number, "patience": 300.0})
            begun = time.monotonic()
            error = sabotage._protocol(item, following, spy)
            tell(_described(item, round(time.monotonic() - begun, 3), processes=False, error=error))

    return work


def _described(item: pytest.Item, seconds: float, *, processes: bool, error: BaseException | None) -> dict[str, Any]:
    [sabotage] = _proofs("sabotage")
    edits = [edit for _, clauses in sabotage.marks(item) for edits in clauses.values() for edit in edits]
    told = {"proof": item.nodeid, "seconds": seconds, "processes": processes}
    told |= {"edits": sorted({edit.path for edit in edits}), "lines": [*map(_lines_of, edits)]}
    return told | {"error": None if error is None else f"{type(error).__name__}: {error}"[:400]}


def _lines_of(edit: Any) -> tuple[str, int, int]:
    """The module of a sabotage, and the first and the last line of what it changes there."""
    place, service = _proofs("place", "service")
    before = edit.file(place.root, service.PACKAGE).read_text(encoding="utf-8").partition(edit.old)[0]
    first = before.count("\n") + len(edit.old) - len(edit.old.lstrip("\n")) + 1
    return edit.path, first, first + edit.old.strip("\n").count("\n")


@dataclass(frozen=True, slots=True)
class Change:
    """What sabotage.copy_of() takes for an edit: a whole module in the place of another."""

    path: str
    text: str

    def file(self, root: Path, package: str) -> Path:
        return root / "src" / package / "bastion" / self.path

    def apply(self, root: Path, package: str) -> None:
        self.file(root, package).write_text(self.text, encoding="utf-8")


def _attacking(mutant: dict[str, Any], items: Sequence[pytest.Item]) -> Callable[..., None]:
    """The proofs, one after the other, until one is red or the time of this mutant is over."""

    def work(tell: Callable[[dict[str, Any]], None], spy: Any, scratch: Path) -> None:
        harness, place, sabotage, service = _proofs("harness", "place", "sabotage", "service")
        change = Change(mutant["path"], mutant["text"])
        sabotage.move_to(sabotage.copy_of(place.root, scratch / "copy", [change]))
        result: dict[str, Any] = {"id": mutant["id"], "verdict": "survived", "by": "", "why": "", "tried": 0}
        begun = time.process_time()  # of the processor, so that a busy machine finds as much
        for number, (item, following) in enumerate(_pairs(items), 1):
            expected = mutant["durations"].get(item.nodeid, 1.0)
            tell({"begins": item.nodeid, "number": number, "patience": PATIENCE_SECONDS + PATIENCE_TIMES * expected})
            result["tried"] = number
            error = sabotage._protocol(item, following, spy)
            if error is not None and not isinstance(error, pytest.skip.Exception):
                seen = isinstance(error, harness.AttackSucceeded)
                result |= {"verdict": "killed", "by": item.nodeid, "harm": seen}
                result["why"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                break
            if time.process_time() - begun > mutant["seconds"]:
                break
        result["seconds"] = round(time.process_time() - begun, 2)
        for name, module in [*sys.modules.items()]:
            file = getattr(module, "__file__", None)
            if (
                file
                and (name == service.PACKAGE or name.startswith(f"{service.PACKAGE}."))
                and not Path(file).resolve().is_relative_to(place.root.resolve())
            ):
                result |= {"verdict": "error", "why": f"the original was imported instead of the mutant: {name}"}
        tell(result)

    return work
