"""One service as a row among many: its texts are bounded, and the row can be stored, sent and read again.

Twenty thousand rejected changes in one repository may not bury the other rows, and one that could not be looked at may
not be missing: it is a row that says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

from . import places
from .check import Report, Status, Verdict
from .finding import Level
from .repository import NO_SERVICE

State = Literal["good", "to look at", "waived", "affected", "not read"]
STATES: Final[tuple[State, ...]] = ("good", "to look at", "waived", "affected", "not read")
"""From good to bad. A service that could not be read may be in any state."""
MOST_FINDINGS: Final = 25
"""Findings that are listed per service; all are counted."""
LONGEST: Final = 300
"""Characters of each text of a repository."""
_LEVELS: Final = ("error", "warning", "note")
_DRIFT: Final = ("drift-changed", "drift-missing", "drift-extra")


@dataclass(frozen=True, slots=True)
class Standing:
    """What one advisory means for a service, and who waived it until when ("" without a waiver)."""

    id: str
    status: Status
    waived_until: str
    waiver_owner: str
    waiver_reason: str

    @property
    def affected(self) -> bool:
        """Whether the vulnerability is there, waived or not."""
        return self.status.startswith("AFFECTED")


@dataclass(frozen=True, slots=True)
class Loosened:
    """An exception that the team declared; `until` is "" if it says no end."""

    name: str
    value: str
    reason: str
    owner: str
    until: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A finding without its diff."""

    kind: str
    level: Level
    text: str
    cure: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Service:
    """The results of one repository. Everything but `path` and `fault` is, or holds, text of the repository."""

    path: str
    fault: str = ""
    """Why it was not looked at; "" if it was."""
    name: str = ""
    version: str = ""
    source: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    advisories: tuple[Standing, ...] = ()
    exceptions: tuple[Loosened, ...] = ()
    findings: tuple[Found, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many findings of each kind there are, listed or not; notes are not counted."""

    @classmethod
    def of(cls, path: str, report: Report, today: date) -> Service:
        """The row of a report."""
        if report.not_read:
            return cls(path, fault=f"It was not read: {report.not_read}")
        if not report.is_service:
            return cls(path, fault=places.nature(Path(path)) or f"It holds {NO_SERVICE}")
        listed = sorted(report.findings, key=lambda finding: _LEVELS.index(finding.level))[:MOST_FINDINGS]
        return cls(
            path=path,
            name=_cut(report.name),
            version=report.version,
            source=_cut(report.source),
            answers=report.answers,
            advisories=tuple(_standing(verdict) for verdict in report.verdicts),
            exceptions=tuple(
                Loosened(
                    _cut(one.name),
                    _cut(one.value),
                    _cut(one.reason),
                    _cut(one.owner),
                    str(one.until or ""),
                    one.ended(today),
                )
                for one in report.exceptions
            ),
            findings=tuple(
                Found(one.kind, one.level, _cut(one.text), _cut(one.cure), _cut(one.file), one.line) for one in listed
            ),
            counts=dict(Counter(finding.kind for finding in report.findings if finding.level != "note")),
        )

    @classmethod
    def from_json(cls, about: dict[str, Any]) -> Service:
        """A stored row. Raises KeyError, TypeError or ValueError if it is invalid."""
        given = {name: value for name, value in about.items() if name != "state"}
        given["advisories"] = tuple(Standing(**one) for one in given["advisories"])
        given["exceptions"] = tuple(Loosened(**one) for one in given["exceptions"])
        given["findings"] = tuple(Found(**one) for one in given["findings"])
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """The row for programs; fields are added, never renamed."""
        return {"state": self.state, **asdict(self)}

    @property
    def state(self) -> State:
        """The worst that is known of it."""
        if self.fault:
            return "not read"
        if any(one.affected and not one.waived_until for one in self.advisories):
            return "affected"
        if any(one.affected for one in self.advisories):
            return "waived"
        return "to look at" if self.counts else "good"

    @property
    def drift(self) -> int:
        """How many of the template's files were edited, lost or added to."""
        return sum(self.counts.get(kind, 0) for kind in _DRIFT)

    @property
    def hits(self) -> list[Standing]:
        """The advisories that affect it, waived or not."""
        return [one for one in self.advisories if one.affected]

    @property
    def waivers(self) -> list[Standing]:
        """The waivers in force."""
        return [one for one in self.advisories if one.waived_until]

    @property
    def ended(self) -> int:
        """How many of its waivers and exceptions have ended."""
        return self.counts.get("waiver-ended", 0) + self.counts.get("exception-ended", 0)

    @property
    def untold(self) -> int:
        """How many findings are not listed."""
        return max(0, sum(self.counts.values()) - sum(one.level != "note" for one in self.findings))


def _standing(verdict: Verdict) -> Standing:
    waiver = verdict.waiver
    if waiver is None:
        return Standing(verdict.advisory.id, verdict.status, "", "", "")
    return Standing(verdict.advisory.id, verdict.status, str(waiver.until), _cut(waiver.owner), _cut(waiver.reason))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
