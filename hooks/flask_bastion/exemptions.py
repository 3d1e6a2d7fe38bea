"""What a service loosens is seen from outside, with its owner and its end, whether or not the service says so itself.

Without a reminder, a limit that was loosened for a month stays loose. The service's own guards hold exceptions.toml
to its form and bounds; here it is a stranger's file, and what has no end within a year counts as ended.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from .finding import Finding
from .program import Files

FILE: Final = "exceptions.toml"
MOST: Final = 25
"""Exceptions of one service that are listed; further ones are only counted."""
LONGEST: Final = timedelta(days=366)
"""From today to the end, as the service's own proofs have it: by then a person has reviewed it."""
_CURE: Final = "Remove it, or declare it anew with a reason, an owner and an end date within a year."
_NOBODY: Final = "nobody"


@dataclass(frozen=True, slots=True)
class Exemption:
    """One limit, origin or use of a request's data that a team declared.

    `until` is None where no end is said, which is as bad as ended.
    """

    name: str
    value: str
    reason: str
    owner: str
    until: date | None

    def ended(self, today: date) -> bool:
        """Whether its last day is over, or too far ahead to be valid."""
        return self.until is None or not today <= self.until <= today + LONGEST


def read(files: Files, package: str, today: date) -> tuple[list[Exemption], list[Finding]]:
    """What the service declares, and what about it has ended or can't be read."""
    name = f"src/{package}/{FILE}"
    data = files.read(name)
    if not package or data is None:
        return [], []
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return [], [Finding("exception-invalid", "error", "This is no TOML, so it declares nothing.", _CURE, name)]
    declared = list(_declared(document))
    findings = [_told(one, name, today) for one in declared[:MOST] if one.ended(today)]
    if len(declared) > MOST:
        findings.append(Finding("exception-invalid", "error", f"There are more than {MOST} exceptions.", _CURE, name))
    return declared[:MOST], findings


def _declared(document: dict[str, Any]) -> Iterator[Exemption]:
    limits = document.get("limits")
    for name, table in limits.items() if isinstance(limits, dict) else ():
        if isinstance(table, dict):
            yield _exemption(name, table.get("value"), table)
    for name in ("image_origins", "font_origins", "frame_ancestors"):
        origins = document.get(name)
        for table in origins if isinstance(origins, list) else ():
            if isinstance(table, dict):
                yield _exemption(name, table.get("origin"), table)
    uses = document.get("request_data")
    for table in uses if isinstance(uses, list) else ():
        if isinstance(table, dict):
            yield _exemption("request_data", f"{table.get('use')} in {table.get('function')}", table)


def _exemption(name: str, value: object, table: dict[str, Any]) -> Exemption:
    owner, until = table.get("owner"), table.get("until")
    return Exemption(
        name,
        str(value) if isinstance(value, int | str) else "",
        str(table.get("reason", "")),
        owner if isinstance(owner, str) and owner.strip() else _NOBODY,
        until if type(until) is date else None,
    )


def _told(one: Exemption, file: str, today: date) -> Finding:
    when = "has no end"
    if one.until:
        when = f"ended on {one.until}" if one.until < today else f"ends on {one.until}, more than a year ahead"
    return Finding("exception-ended", "error", f"{one.name} {when} (owner: {one.owner}).", _CURE, file)
