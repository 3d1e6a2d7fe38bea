"""Runs each proof in a forked child: intact, and once for each sabotage against a scratch copy of the service.

It stops proofs that would also pass without the protection. The parent has imported the libraries, so that a child is
warm, but never the service, so that each child imports its own copy.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from _pytest.config import create_terminal_writer

from . import harness, place
from .databases import MIB, in_memory
from .harness import AttackSucceeded, Edit, Stale
from .report import Verdict, shortened
from .service import PACKAGE

SECONDS_A_PROOF = 120.0
"""A child that says nothing for so long is ended. A proof takes well under a second, on a busy machine much longer."""
_LEFT_OUT = shutil.ignore_patterns(".mypy_cache", ".ruff_cache", "*.egg-info", "*.pyc.*")
"""The last is bytecode that an intact proof beside is just writing, under the name that it has until it is whole."""


@dataclass(slots=True)
class Job:
    """What one child does: one sabotage of one proof, or several proofs intact."""

    items: Sequence[pytest.Item]
    clause: str = ""
    row: str = ""
    edits: tuple[Edit, ...] = ()


@dataclass(slots=True)
class _Child:
    job: Job
    pid: int
    read: int
    deadline: float
    scratch: Path
    received: bytearray = field(default_factory=bytearray)
    verdicts: int = 0


def marks(item: pytest.Item) -> Iterator[tuple[str, dict[str, tuple[Edit, ...]]]]:
    """The rows that a test protects, with the edits of each clause."""
    for mark in item.iter_markers("protects"):
        yield mark.args[0], mark.args[1]


def jobs(items: Sequence[pytest.Item], workers: int) -> Iterator[Job]:
    """The intact proofs in as many parts as there are workers, then one job for each sabotage."""
    for number in range(workers):
        if part := items[number::workers]:
            yield Job(part)
    for item in items:
        for row, clauses in marks(item):
            for clause, edits in clauses.items():
                yield Job([item], clause, row, edits)


def run(config: pytest.Config, items: Sequence[pytest.Item], tell: Callable[[Verdict], None]) -> None:
    """Run all jobs, one more at a time than there are processors (some wait), and tell each verdict as it comes."""
    if loaded := [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        raise pytest.UsageError(f"{loaded[0]} was imported before the children: import the service in functions only")
    workers = max(2, os.cpu_count() or 2) + 1
    waiting = deque(jobs(items, workers))
    running: dict[int, _Child] = {}
    with _uncaptured(config), selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    child = _start(config, waiting.popleft())
                    running[child.read] = child
                    selector.register(child.read, selectors.EVENT_READ)
                for key, _ in selector.select(timeout=0.25):
                    child = running[key.fd]
                    data = os.read(child.read, 65536)
                    if data:
                        _receive(child, data, tell)
                    else:
                        selector.unregister(child.read)
                        _reap(running.pop(child.read), tell, "")
                for child in [child for child in running.values() if time.monotonic() > child.deadline]:
                    selector.unregister(child.read)
                    _reap(running.pop(child.read), tell, f"nothing came back within {SECONDS_A_PROOF:.0f} s")
        finally:
            for child in running.values():
                _end(child)


def in_a_fork(function: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Call a function in a forked child and give back its result, which must be JSON.

    Raises RuntimeError with the end of the child's output when it fails or takes longer than `seconds`.
    """
    read, write = os.pipe()
    output = tempfile.TemporaryFile()  # noqa: SIM115  the child writes, the parent reads
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            os.setpgid(0, 0)
            for number in (1, 2):
                os.dup2(output.fileno(), number)
            with os.fdopen(write, "w", encoding="utf-8") as pipe:
                json.dump(function(), pipe)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(write)
    received = bytearray()
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(read, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if selector.select(timeout=0.25):
                data = os.read(read, 65536)
                if not data:
                    break
                received += data
        else:
            os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    output.seek(0)
    text = output.read().decode("utf-8", "replace")
    output.close()
    if status != 0 or not received:
        raise RuntimeError(f"the child that prepares the proofs failed:\n{text[-4000:]}")
    return json.loads(received)


def warm(modules: Sequence[str]) -> None:
    """Import the libraries of the service, so that each child has them."""
    for name in modules:
        if name.partition(".")[0] not in (PACKAGE, "proofs", "tests"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


# --- the parent ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _uncaptured(config: pytest.Config) -> Iterator[None]:
    """Without pytest's capture: its files would be shared by all children."""
    manager = config.pluginmanager.getplugin("capturemanager")
    if manager is None:
        yield
        return
    manager.stop_global_capturing()
    try:
        yield
    finally:
        manager.start_global_capturing()


def _start(config: pytest.Config, job: Job) -> _Child:
    scratch = Path(tempfile.mkdtemp(prefix="proof-", dir=in_memory(64 * MIB)))
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _run_child(config, job, write, scratch)
    os.close(write)
    with contextlib.suppress(OSError):  # the child does the same; whoever comes first
        os.setpgid(pid, pid)
    return _Child(job, pid, read, time.monotonic() + SECONDS_A_PROOF, scratch)


def _receive(child: _Child, data: bytes, tell: Callable[[Verdict], None]) -> None:
    child.deadline = time.monotonic() + SECONDS_A_PROOF
    child.received += data
    while (end := child.received.find(b"\n")) >= 0:
        line = bytes(child.received[:end])
        del child.received[: end + 1]
        child.verdicts += 1
        for verdict in json.loads(line):
            tell(Verdict(**verdict))


def _reap(child: _Child, tell: Callable[[Verdict], None], reason: str) -> None:
    """End a child; what it did not answer is a crash."""
    output = child.scratch / "output"
    last = output.read_bytes()[-500:].decode("utf-8", "replace") if output.is_file() else ""
    _end(child)
    for item in child.job.items[child.verdicts :]:
        rows = [child.job.row] if child.job.row else [row for row, _ in marks(item)]
        for row in rows:
            tell(Verdict(row, child.job.clause, item.nodeid, "crash", shortened(reason or f"the child ended. {last}")))


def _end(child: _Child) -> None:
    os.close(child.read)
    # The group: a real server that the child started goes with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child.pid, 0)
    shutil.rmtree(child.scratch, ignore_errors=True)


# --- the child -------------------------------------------------------------------------------------------------


class _Spy:
    """Keeps the exception of each phase as it is, not its text."""

    def __init__(self) -> None:
        self.errors: dict[str, BaseException] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is not None:
            self.errors.setdefault(call.when, call.excinfo.value)


def _run_child(config: pytest.Config, job: Job, write: int, scratch: Path) -> NoReturn:
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        output = os.open(scratch / "output", os.O_WRONLY | os.O_CREAT, 0o600)
        for number in (1, 2):
            os.dup2(output, number)
        manager = config.pluginmanager.getplugin("capturemanager")
        if manager is not None:
            manager.start_global_capturing()
            manager.suspend_global_capture()
        _mute(config)
        config.option.tbstyle = "no"  # the verdict needs the exception alone; a traceback costs 30 ms
        spy = _Spy()
        config.pluginmanager.register(spy)
        if job.row:
            _send(write, [_sabotaged(job, spy, scratch)])
        else:
            for item, following in zip(job.items, [*job.items[1:], None], strict=True):
                _send(write, _intact(item, following, spy))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(0)


class _Quiet:
    """Stands for the reporter, whose terminal belongs to the parent: pytest's assertions ask it how to write."""

    def __init__(self, config: pytest.Config) -> None:
        self._tw = create_terminal_writer(config, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _mute(config: pytest.Config) -> None:
    if (reporter := config.pluginmanager.get_plugin("terminalreporter")) is not None:
        config.pluginmanager.unregister(reporter)
        config.pluginmanager.register(_Quiet(config), "terminalreporter")


def _send(write: int, verdicts: list[Verdict]) -> None:
    with open(write, "wb", closefd=False) as pipe:
        pipe.write(json.dumps([verdict.as_dict() for verdict in verdicts]).encode() + b"\n")


def _protocol(item: pytest.Item, following: pytest.Item | None, spy: _Spy) -> BaseException | None:
    """Run one test and give back what went wrong, in the order of weight: setup, call, teardown."""
    spy.errors.clear()
    item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
    return spy.errors.get("setup") or spy.errors.get("teardown") or spy.errors.get("call")


def _intact(item: pytest.Item, following: pytest.Item | None, spy: _Spy) -> list[Verdict]:
    begun = time.monotonic()
    error = _protocol(item, following, spy)
    seconds = round(time.monotonic() - begun, 3)
    return [intact(row, item.nodeid, error, seconds) for row, _ in marks(item)]


def intact(row: str, test: str, error: BaseException | None, seconds: float) -> Verdict:
    """The verdict of a run against the service as it is."""
    if error is None:
        return Verdict(row, "", test, "green", "", seconds)
    text = shortened(f"{type(error).__name__}: {error}")
    if isinstance(error, pytest.skip.Exception):
        return Verdict(row, "", test, "skipped", shortened(str(error)), seconds)
    return Verdict(row, "", test, "inconclusive" if isinstance(error, harness.Inconclusive) else "red", text, seconds)


def _sabotaged(job: Job, spy: _Spy, scratch: Path) -> Verdict:
    item = job.items[0]
    verdict = Verdict(job.row, job.clause, item.nodeid, "inconclusive")
    try:
        move_to(copy_of(place.root, scratch / "copy", job.edits))
    except Stale as stale:
        verdict.outcome, verdict.reason = "stale", shortened(str(stale))
        return verdict
    begun = time.monotonic()
    error = _protocol(item, None, spy)
    verdict.seconds = round(time.monotonic() - begun, 3)
    record = harness.current()
    copied = f"{place.root / 'src'}{os.sep}"  # the copy holds no symlinks there, and its path is on sys.path as it is
    elsewhere = [
        name
        for name, module in sys.modules.items()
        if (name == PACKAGE or name.startswith(f"{PACKAGE}."))
        and (file := getattr(module, "__file__", None))
        and not file.startswith(copied)
    ]
    if elsewhere:
        verdict.reason = f"the original was imported instead of the copy: {elsewhere[0]}"
    elif error is None:
        verdict.outcome, verdict.reason = "still green", "the proof does not notice that the protection is gone"
    elif isinstance(error, pytest.skip.Exception):
        verdict.outcome, verdict.reason = "skipped", shortened(str(error))
    elif isinstance(error, AttackSucceeded) and error is record.success and record.worked:
        verdict.outcome, verdict.reason = "proven", shortened(str(error))
    else:
        verdict.reason = shortened(f"{type(error).__name__}: {error}")
    return verdict


def copy_of(root: Path, target: Path, edits: Sequence[Edit]) -> Path:
    """A copy of the service with the edits made. It shares what no edit touches, except the source, by symlinks.

    Bytecode is copied, so that a child compiles only what was edited. That of an edited file is deleted: Python takes
    bytecode for current when the source has the same size and the same second, as an edit of equal length may have.
    """
    target.mkdir()
    touched = {edit.file(Path(), PACKAGE).parts[0] for edit in edits} | {"src"}
    for entry in root.iterdir():
        if entry.name not in touched:
            (target / entry.name).symlink_to(entry)
        elif entry.is_dir():
            shutil.copytree(entry, target / entry.name, ignore=_LEFT_OUT)
        else:
            shutil.copyfile(entry, target / entry.name)
    for edit in edits:
        edit.apply(target, PACKAGE)
        file = edit.file(target, PACKAGE)
        for bytecode in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
            bytecode.unlink()
    return target


def move_to(copy: Path) -> None:
    """From here on this process imports the service from the copy, and so do the servers that it starts."""
    original = place.root
    sys.dont_write_bytecode = True
    kept = [entry for entry in sys.path if Path(entry or ".").resolve() != (original / "src").resolve()]
    sys.path[:] = [str(copy / "src"), *kept]
    importlib.invalidate_caches()
    place.root = copy
    if not (copy / "tests").is_symlink():  # a helper of the proofs was edited: forget it, find the copy first
        import proofs

        proofs.__path__.insert(0, str(copy / "tests" / "proofs"))
        for edited in (copy / "tests" / "proofs").rglob("*.py"):
            name = ".".join(("proofs", *edited.relative_to(copy / "tests" / "proofs").with_suffix("").parts))
            source = original / edited.relative_to(copy)
            if name in sys.modules and (not source.is_file() or source.read_bytes() != edited.read_bytes()):
                del sys.modules[name]
                vars(proofs).pop(name.removeprefix("proofs."), None)
