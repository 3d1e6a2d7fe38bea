"""What a proof is made of: the mark, the edit, the legitimate twin, and the one word for an attack that succeeded.

It stops proofs that cannot fail: a green test says something only if the same test is red without the protection.

A proof reads like this::

    @protects(
        "session-idle-30-min",                                     # the row of catalogue/*.csv
        idle=edit("identity/sessions.py", "old text", "new"),      # one keyword for each clause of its `sabotage`
        mark=edit("identity/sessions.py", "other text", ""),       # (hyphens of a clause are underscores here)
    )
    def test_a_cookie_unused_for_half_an_hour_opens_nothing(service: Service) -> None:
        seen = service.adds_route("/probe")                        # before service.app, .client() or .user() is used
        browser = service.client(service.user()).login()
        works(browser.get("/probe").status == 200, "a fresh session opens the page")
        seen.clear()
        service.travel(minutes=30, seconds=1)
        answer = browser.get("/probe")                             # the attack: everything but one thing is honest
        harm(seen, "the view ran for a session that was idle too long")
        assert answer.status == 302                                # or refused(answer, 400, "csrf-token-required")

The order matters: the legitimate way (`works`), the attack, then `harm` on what was *observed* (a row changed, a view
ran, a canary in hand), and only then the assertions on the refusal. Without the protection the test must end in
`harm`; an assertion that fails before it makes the sabotage inconclusive, which counts as *not proven*.

Rules, which `test_catalogue.py` checks: no `try`, no `raise AttackSucceeded`, no `pytest.raises(Exception)`, no `or`
and no `any` around a status, no skip, no xfail. The service's package is imported inside functions alone (best by
`service.module("identity.sessions")`), because `--sabotage` decides after the collection which copy is imported.
Several proofs may share a row, and a clause; together they cover every clause that applies to this service.

Source: OWASP ASVS 5.0, chapter "Assessment and Certification" (evidence for each requirement); the mutation idea is
DeMillo, Lipton, Sayward: Hints on Test Data Selection (1978).
"""

from __future__ import annotations

import ast
import csv
import importlib
import io
import json
import re
import threading
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

if TYPE_CHECKING:
    from .wire import Response

__all__ = [
    "AttackSucceeded",
    "Edit",
    "HarnessError",
    "Inconclusive",
    "Stale",
    "at_once",
    "edit",
    "harm",
    "insert",
    "protects",
    "refused",
    "works",
]

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", covariant=True)


class AttackSucceeded(AssertionError):
    """Harm was observed. Raised by `harm` alone."""


class Inconclusive(Exception):
    """The run says nothing about the protection: neither proven nor refuted."""


class HarnessError(Inconclusive):
    """The proof itself is wrong, for example it attacks before anything legitimate has worked."""


class Stale(Inconclusive):
    """A sabotage no longer fits the source: its old text is not there exactly once, or it changes no meaning."""


# --- sabotages: real edits of source -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one file: `old` occurs exactly once and becomes `new`."""

    path: str
    old: str
    new: str

    def file(self, root: Path, package: str) -> Path:
        """The file below the service's root that this edit means."""
        if self.path.startswith("/"):
            return root / self.path[1:]
        return root / "src" / package / "bastion" / self.path

    def apply(self, root: Path, package: str) -> None:
        """Change the file in the scratch copy at `root`.

        Raises Stale when there is no such file, when `old` occurs there never or twice, and when the file parses to
        the same thing afterwards, or to nothing.
        """
        file = self.file(root, package)
        if not file.is_file():
            raise Stale(f"there is no file {self.path}")
        before = file.read_text(encoding="utf-8")
        if (times := before.count(self.old)) != 1:
            raise Stale(f"in {self.path} the old text occurs {times} times, not once: {self.old.strip()[:80]!r}")
        after = before.replace(self.old, self.new)
        try:
            unchanged = _meaning(self.path, before) == _meaning(self.path, after)
        except (SyntaxError, ValueError) as error:
            raise Stale(f"{self.path} does not parse after the edit: {error}") from None
        if unchanged:
            raise Stale(f"the edit of {self.path} changes no meaning")
        file.write_text(after, encoding="utf-8")


def edit(path: str, old: str, new: str) -> Edit:
    """Replace `old`, which occurs exactly once in `path`, by `new`.

    `path` is relative to src/<package>/bastion; with a leading "/" it is relative to the service's root
    ("/pyproject.toml"). An edit of a module in tests/proofs works if the proof imports that module inside itself.
    """
    return Edit(path, old, new)


def insert(path: str, *, after: str, new: str) -> Edit:
    """Put `new` directly behind `after`, which occurs exactly once in `path`."""
    return Edit(path, after, after + new)


def protects(row: str, /, **sabotages: Edit | tuple[Edit, ...]) -> Callable[[F], F]:
    """Mark a test as a proof of one row of the catalogue.

    Each keyword is a clause of the row's `sabotage` column ("secret-key" is written secret_key); its value is the
    edit, or a tuple of edits, that takes this part of the protection away and after which this test must end in
    `harm`.
    """
    edits = {
        clause.replace("_", "-"): (value,) if isinstance(value, Edit) else tuple(value)
        for clause, value in sabotages.items()
    }

    def mark(function: F) -> F:
        return pytest.mark.protects(row, edits)(function)  # type: ignore[no-any-return]

    return mark


# --- what a proof says -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Record:
    """What has happened in the proof that is running."""

    worked: list[str] = field(default_factory=list)
    attacked: int = 0
    success: AttackSucceeded | None = None


_record = Record()


def begin() -> Record:
    """Start the record of one test. Called by the plugin."""
    global _record
    _record = Record()
    return _record


def current() -> Record:
    """The record of the test that runs, or ran last."""
    return _record


def works(condition: object, what: str) -> None:
    """The legitimate twin: what an honest client does must succeed, and before the attack.

    `what` says it in words. Raises AssertionError when `condition` is falsy, which makes a sabotage inconclusive: a
    service that refuses everybody is no protected service.
    """
    if not condition:
        raise AssertionError(f"the legitimate way is broken: {what}")
    _record.worked.append(what)


def harm(evidence: object, what: str) -> None:
    """Say that the attack succeeded if there is evidence of it: a list of calls, a changed row, a canary in hand.

    Raises AttackSucceeded when `evidence` is truthy, and HarnessError when nothing legitimate has worked before.
    """
    if not _record.worked:
        raise HarnessError(f"nothing legitimate has worked before the attack: {what}")
    _record.attacked += 1
    if evidence:
        _record.success = AttackSucceeded(what)
        raise _record.success


def refused(response: Response, status: int, reason: str) -> None:
    """The request was refused by *this* protection: the exact status, and the reason in the log since the request.

    `reason` is the row's id; it is logged as event "refused" and sent to no client. Another layer's 400 is no pass.
    """
    assert response.status == status, f"expected {status}, got {response.status}: {response.text[:200]}"
    reasons = [event.get("reason") for event in response.events if event.get("event") == "refused"]
    assert reasons == [reason], f"expected one refusal for {reason!r}, logged were {reasons}"


class Meeting:
    """Where threads wait for each other, until all have come or `seconds` have passed.

    For places that one database lets all of them reach, and another one at a time: SQLite's lock is one for the file.
    """

    def __init__(self, number: int, seconds: float = 0.1) -> None:
        self._number, self._seconds, self._came = number, seconds, 0
        self._changed = threading.Condition()

    def wait(self) -> None:
        """Come, and go on with the others."""
        with self._changed:
            self._came += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._came >= self._number, self._seconds)


class _Call(Protocol[R]):
    def __call__(self) -> R: ...


def at_once(calls: Sequence[_Call[R]]) -> list[R]:
    """Run the calls in threads that start together, and give their results in order.

    The first exception of a call is raised again. A call that takes longer than 30 s raises Inconclusive.
    """
    barrier = threading.Barrier(len(calls))
    results: dict[int, R] = {}
    errors: list[BaseException] = []

    def run(number: int, call: _Call[R]) -> None:
        try:
            barrier.wait(timeout=30)
            results[number] = call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    if errors:
        raise errors[0]
    if len(results) != len(calls):
        raise Inconclusive("a call did not come back within 30 s")
    return [results[number] for number in range(len(calls))]


# --- what a file means --------------------------------------------------------------------------------------


def _meaning(path: str, text: str) -> object:
    """What a file says, without comments and layout, so that an edit of these counts for nothing.

    Raises SyntaxError or ValueError when it can't be parsed.
    """
    parse = _PARSERS.get(Path(path).suffix, _lines)
    return parse(text)


def _python(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                statement
                for statement in node.body
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            ]
    return ast.dump(tree)


def _yaml(text: str) -> object:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:  # PyYAML is no dependency of the service
        return _lines(text)
    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _page(text: str) -> str:
    text = re.sub(r"<!--.*?-->|\{#.*?#\}", "", text, flags=re.DOTALL)
    return " ".join(text.split())


def _stylesheet(text: str) -> str:
    return " ".join(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).split())


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


_PARSERS: dict[str, Callable[[str], object]] = {
    ".py": _python,
    ".toml": tomllib.loads,
    ".json": json.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".csv": lambda text: list(csv.reader(io.StringIO(text))),
    ".html": _page,
    ".css": _stylesheet,
}
