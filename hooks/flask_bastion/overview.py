"""What a fleet has, counted: as a table for a terminal, as JSON for programs, as CSV for a spreadsheet.

A thousand rows may not hide the one that matters, and a row is a stranger's text: the worst stand last, next to the
prompt, and everything goes out through `escape`.
"""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from . import escape, version
from .advisory import SEVERITIES, Advisory
from .row import STATES, Service, Standing, State

QUESTIONS: Final = ("auth", "database", "secrets", "ci")
_COLORS: Final[Mapping[State, str]] = {
    "good": "32", "to look at": "33", "waived": "33", "affected": "31", "not read": "31",
}  # fmt: skip
_HEADS: Final = ("repository", "version", "state", "advisories", "drift", "waivers", "exceptions")
_NARROWEST: Final = 20
_IN_THE_TABLE: Final = frozenset(
    {"affected", "fix-lost", "drift-changed", "drift-missing", "drift-extra", "waiver-ended", "exception-ended"}
)
"""Kinds of findings that have a cell in the table."""
_MAX_EMPTY: Final = 5
_MAX_REASONS: Final = 20
"""Services with a line of their own below the table."""


@dataclass(frozen=True)
class Hits:
    """One advisory, and the services that have it: unfixed, or waived for a while."""

    advisory: Advisory
    affected: tuple[Service, ...]
    waived: tuple[Service, ...]
    statuses: Mapping[str, int]

    @property
    def sound(self) -> int:
        """How many services are not affected, or surely fixed."""
        return sum(count for status, count in self.statuses.items() if not status.startswith("AFFECTED")) - (
            self.statuses.get("fixed, unverified", 0)
        )


@dataclass(frozen=True)
class Fleet:
    """All rows of a run, and its question."""

    at: datetime
    advisories: tuple[Advisory, ...]
    rows: tuple[Service, ...]
    others: tuple[str, ...]
    """Git repositories without a service of the template."""
    compared: bool
    """Whether the services' files were compared with the template's."""
    released: str
    """The newest version of the template, if there was a template to ask; otherwise ""."""
    empty: tuple[str, ...] = ()
    """Folders with nothing in them."""

    @cached_property
    def services(self) -> list[Service]:
        """The rows, the worst first."""
        return sorted(self.rows, key=lambda one: (-STATES.index(one.state), -len(one.hits), one.path))

    @cached_property
    def states(self) -> dict[State, int]:
        """How many services are in each state, from bad to good."""
        counted = Counter(one.state for one in self.rows)
        return {state: counted[state] for state in reversed(STATES)}

    @cached_property
    def versions(self) -> dict[str, int]:
        """How many services have each version, the newest first; "" is one that none can be read from."""
        counted = Counter(one.version for one in self.rows)
        known = sorted((found for text in counted if (found := version.parse(text))), reverse=True)
        return {text: counted[text] for text in (*(one.text for one in known), "") if counted[text]}

    @cached_property
    def newest(self) -> str:
        """The newest version that is known of."""
        return self.released or next(iter(self.versions), "")

    @cached_property
    def outdated(self) -> str:
        """That services have versions which the clone of the template lacks, with their advisories; "" if none has."""
        versions = [one for one in map(version.parse, self.versions) if one and not one.commits]
        known = version.parse(self.released)
        if not self.compared or not versions or (known and max(versions) <= known):
            return ""
        has = f"has no version after {known.text}" if known else "has no version at all"
        return (
            f"The clone of the template {has}, and services have {max(versions).text}: advisories may be missing, and"
            " who lacks their fixes looks good. Fetch its tags (git fetch --tags), and ask again."
        )

    @cached_property
    def hits(self) -> list[Hits]:
        """Each advisory with whom it hits, the most urgent first."""
        found = []
        for one in self.advisories:
            standings = [(row, standing) for row in self.rows for standing in row.advisories if standing.id == one.id]
            hit = [(row, standing) for row, standing in standings if standing.affected]
            found.append(
                Hits(
                    one,
                    tuple(row for row, standing in hit if not standing.waived_until),
                    tuple(row for row, standing in hit if standing.waived_until),
                    Counter(standing.status for _, standing in standings),
                )
            )
        return sorted(
            found, key=lambda hit: (-len(hit.affected), -SEVERITIES.index(hit.advisory.severity), hit.advisory.id)
        )

    @cached_property
    def _common(self) -> str:
        folders = [os.path.dirname(one.path) for one in self.rows]
        return os.path.commonpath(folders) if folders else ""

    def place(self, path: str) -> str:
        """A path below the folder that all services have in common."""
        return os.path.relpath(path, self._common or os.sep)

    def label(self, service: Service) -> str:
        """Where a service lies, and the name that it gives itself if that is another."""
        path = self.place(service.path)
        return path if service.name in ("", os.path.basename(path)) else f"{path} ({service.name})"

    def drift(self, service: Service) -> int | None:
        """How many of its files are not the template's; None if they were not compared."""
        known = self.compared and service.version and not service.fault and "drift-unknown" not in service.counts
        return service.drift if known else None

    def worst(self, service: Service) -> list[str]:
        """The advisories that affect a service, the most severe first."""
        order = {one.id: -SEVERITIES.index(one.severity) for one in self.advisories}
        return sorted((one.id for one in service.hits), key=lambda name: (order.get(name, 0), name))

    @property
    def status(self) -> int:
        """The exit status: 1 unless every service is good."""
        return int(any(one.state != "good" for one in self.rows))


def sentence(fleet: Fleet) -> str:
    """How many services there are, and how they are."""
    counts = [f"{count} {state}" for state, count in fleet.states.items() if count]
    return f"{_counted(len(fleet.rows), 'service')}: {', '.join(counts)}."


def as_text(fleet: Fleet, *, width: int = 0, color: bool = False) -> Iterator[str]:
    """The table line by line, within a width in columns (0: as wide as it gets), the worst last; then the counts."""
    services = sorted(fleet.services, key=lambda one: STATES.index(one.state))
    rows = [[escape.terminal(cell) for cell in _cells(fleet, one)] for one in services]
    widths = [max(_width(row[at]) for row in (list(_HEADS), *rows)) for at in range(len(_HEADS))]
    if width:
        others = sum(widths[1:]) + 2 * len(widths) - 2
        widths[0] = min(widths[0], max(_NARROWEST, width - others))
    yield _line(list(_HEADS), widths)
    for service, row in zip(services, rows, strict=True):
        line = _line(row, widths)
        yield f"\x1b[{_COLORS[service.state]}m{line}\x1b[0m" if color and service.state != "good" else line
    yield ""
    for service in services:
        if service.fault:
            yield escape.terminal(f"{fleet.label(service)}: {service.fault}")
    yield from (escape.terminal(line) for line in _reasons(fleet, services))
    yield from (escape.terminal(line) for line in _counts(fleet))


def _reasons(fleet: Fleet, services: list[Service]) -> Iterator[str]:
    """The worst finding of each service that has no cell in the table."""
    reasons = []
    for service in services:
        others = [one for one in service.findings if one.level != "note" and one.kind not in _IN_THE_TABLE]
        if others:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            reasons.append(f"{fleet.label(service)}: {others[0].file}: {others[0].text}{more}")
    yield from reasons[-_MAX_REASONS:]
    if len(reasons) > _MAX_REASONS:
        yield f"{len(reasons) - _MAX_REASONS} more services have other findings; `check`, --html and --json list them."


def _counts(fleet: Fleet) -> Iterator[str]:
    for hit in reversed(fleet.hits):
        if hit.affected or hit.waived:
            how = f"{len(hit.affected)} affected, {len(hit.waived)} waived"
            yield f"{hit.advisory.id} ({hit.advisory.severity.lower()}): {how}. {hit.advisory.summary}"
    versions = [
        f"{text or 'unknown'}{' (newest)' if text and text == fleet.newest else ''}: {count}"
        for text, count in fleet.versions.items()
    ]
    yield f"Versions: {', '.join(versions)}."
    if fleet.others:
        yield f"{_counted(len(fleet.others), 'repository', 'repositories')} without a service of this template."
    if fleet.empty:
        named = ", ".join(fleet.place(path) for path in fleet.empty[:_MAX_EMPTY])
        more = f" and {len(fleet.empty) - _MAX_EMPTY} more" if len(fleet.empty) > _MAX_EMPTY else ""
        yield f"{_counted(len(fleet.empty), 'empty folder')}, as of a clone that failed: {named}{more}."
    if fleet.outdated:
        yield fleet.outdated
    if not fleet.compared:
        yield "Without --template no file was compared."
        if not fleet.advisories:
            yield "No advisory was looked at: none came with this program or by --advisories."
    yield sentence(fleet)


def _cells(fleet: Fleet, service: Service) -> list[str]:
    if service.fault:
        return [fleet.label(service), "?", service.state, *("?" for _ in _HEADS[3:])]
    hits, drift = fleet.worst(service), fleet.drift(service)
    return [
        fleet.label(service),
        service.version or "-",
        service.state,
        f"{hits[0]} +{len(hits) - 1}" if len(hits) > 1 else next(iter(hits), "-"),
        "?" if drift is None else str(drift or "-"),
        _until([one.waived_until for one in service.waivers], service.counts.get("waiver-ended", 0)),
        _until([one.until for one in service.exceptions if not one.ended], service.counts.get("exception-ended", 0)),
    ]


def _until(ends: list[str], ended: int) -> str:
    """How many are in force and when the first ends, and how many have ended."""
    states = [f"{len(ends)} until {min(ends)}"] if ends else []
    return ", ".join([*states, *([f"{ended} ended"] if ended else [])]) or "-"


def _line(cells: list[str], widths: list[int]) -> str:
    return "  ".join(_padded(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _padded(cell: str, width: int) -> str:
    """A cell of exactly so many columns; one that is cut keeps its end, where the folder's own name stands."""
    if _width(cell) > width:
        while _width(cell) > width - 1:
            cell = cell[1:]
        cell = f"…{cell}"
    return cell + " " * (width - _width(cell))


def _width(text: str) -> int:
    """Columns of a terminal: none for a combining mark, two for a wide letter."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def as_json(fleet: Fleet) -> dict[str, Any]:
    """The fleet for programs; fields are added, never renamed. A service's fields are those of `check`, bounded."""
    return {
        "at": fleet.at.isoformat(timespec="seconds"),
        "compared": fleet.compared,
        "newest": fleet.newest,
        "status": fleet.status,
        "states": fleet.states,
        "versions": fleet.versions,
        "advisories": [
            {
                "id": hit.advisory.id,
                "severity": hit.advisory.severity,
                "summary": hit.advisory.summary,
                "statuses": hit.statuses,
                "affected": [one.path for one in hit.affected],
                "waived": [one.path for one in hit.waived],
            }
            for hit in fleet.hits
        ],
        "services": [one.as_json() for one in fleet.services],
        "others": list(fleet.others),
        "empty": list(fleet.empty),
    }


def as_csv(fleet: Fleet) -> str:
    """A line a service, the worst first, with a column for each advisory. No cell is a formula."""
    file = io.StringIO()
    writer = csv.writer(file)

    def write(cells: list[str]) -> None:
        writer.writerow([escape.cell(cell) for cell in cells])

    ids = [one.id for one in fleet.advisories]
    write(["path", "service", "version", *QUESTIONS, "state", *ids, "drift", "waivers", "exceptions", "ended", "fault"])
    for one in fleet.services:
        standings = {standing.id: standing for standing in one.advisories}
        write(
            [
                one.path,
                one.name,
                one.version,
                *(one.answers.get(question, "") for question in QUESTIONS),
                one.state,
                *(_standing(standings.get(name)) for name in ids),
                "" if (drift := fleet.drift(one)) is None else str(drift),
                str(len(one.waivers)),
                str(len(one.exceptions)),
                str(one.ended),
                one.fault,
            ]
        )
    return file.getvalue()


def _standing(standing: Standing | None) -> str:
    if standing is None:
        return ""
    return f"{standing.status}, waived until {standing.waived_until}" if standing.waived_until else standing.status
