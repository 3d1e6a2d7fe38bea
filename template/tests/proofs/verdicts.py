"""What one run of one proof says, in words that a person can act on.

It stops a crash, a time-out or a skip from being counted as a proof: there is one good outcome for each kind of run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal[
    "green",  # intact: the attack was refused
    "red",  # intact: the proof fails, the protection does not hold
    "proven",  # sabotaged: the attack succeeded, so the proof can fail
    "still green",  # sabotaged: the proof did not notice
    "stale",  # the sabotage no longer fits the source
    "crash",  # the process ended or was ended
    "inconclusive",  # something else went wrong than the attack
    "skipped",
    "missing",  # no proof has this row or clause
]
GOOD: frozenset[Outcome] = frozenset({"green", "proven"})


@dataclass(slots=True)
class Verdict:
    """The outcome of one proof, intact (clause is "") or against one sabotage."""

    row: str
    clause: str
    test: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.outcome in GOOD

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        what = self.outcome if self.good else f"NOT PROVEN, {self.outcome}"
        return f"{what}: {self.reason}" if self.reason else what


@dataclass(slots=True)
class Run:
    """All verdicts of one pytest run."""

    sabotage: bool
    verdicts: list[Verdict] = field(default_factory=list)
    deselected: list[str] = field(default_factory=list)
    whole: bool = True
    """Whether every proof was asked for: no path, no -k."""

    def bad(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.good]


def shortened(text: str, most: int = 400) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def table(verdicts: Iterable[Verdict]) -> list[str]:
    """The lines of the verdict table, rows together, the intact run first."""
    ordered = sorted(verdicts, key=lambda verdict: (verdict.row, verdict.clause, verdict.test))
    return [
        f"{verdict.row:32} {verdict.clause or 'intact':14} {verdict}  [{verdict.test.rpartition('::')[2]}]"
        if not verdict.good
        else f"{verdict.row:32} {verdict.clause or 'intact':14} {verdict}"
        for verdict in ordered
    ]
