"""A known vulnerability may wait for a while, with a reason, an owner and an end; it is shown all the same.

A waiver without an end is forgotten, and one for everything hides new vulnerabilities. So each is for one
advisory and ends within 90 days, in a file that the security team owns (CODEOWNERS). One that is unclear counts for
nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from .finding import Finding
from .program import Files

FILE: Final = ".bastion-waivers.toml"
LONGEST: Final = timedelta(days=90)
"""From today to the end: about a quarter, after which its owner reviews it."""
_FIELDS: Final = frozenset({"advisory", "reason", "owner", "until"})
_LONGEST_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class Waiver:
    """One advisory that may wait until the end of a day."""

    advisory: str
    reason: str
    owner: str
    until: date


def read(files: Files, known: frozenset[str], today: date) -> tuple[dict[str, Waiver], list[Finding]]:
    """The waivers in force by their advisory, and findings for the invalid ones."""
    data = files.read(FILE)
    if data is None:
        return {}, []
    try:
        document = tomllib.loads(data.decode())
        entries = document["waivers"] if document else []
    except (ValueError, KeyError, RecursionError):
        entries = None
    if not isinstance(entries, list) or document.keys() - {"waivers"}:
        return {}, [_invalid("This is no list of [[waivers]] in TOML.")]
    waivers: dict[str, Waiver] = {}
    findings: list[Finding] = []
    for number, entry in enumerate(entries, start=1):
        faults = list(_faults(entry, known, today))
        if faults:
            findings += [_invalid(f"Waiver {number}: {fault}") for fault in faults]
            continue
        waiver = Waiver(entry["advisory"], entry["reason"].strip(), entry["owner"].strip(), entry["until"])
        if waiver.until < today:
            text = f"The waiver of {waiver.advisory} ended on {waiver.until} (owner: {waiver.owner})."
            cure = "Bring the fix, or decide anew with a date of its own."
            findings.append(Finding("waiver-ended", "error", text, cure, FILE, advisory=waiver.advisory))
        else:
            waivers[waiver.advisory] = waiver
    return waivers, findings


def _faults(entry: Any, known: frozenset[str], today: date) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "it is no table."
        return
    yield from (f"{name} is missing." for name in sorted(_FIELDS - entry.keys()))
    yield from (f"it has no {name!r}." for name in sorted(entry.keys() - _FIELDS))
    yield from _texts(entry)
    advisory = entry.get("advisory")
    if isinstance(advisory, str) and advisory not in known:
        yield "advisory is the id of none that is known; a waiver is for exactly one."
    until = entry.get("until", today)
    if type(until) is not date:
        yield "until must be a date such as 2027-06-30, without quotes."
    elif until > today + LONGEST:
        yield f"until is more than {LONGEST.days} days ahead."


def _texts(entry: Mapping[str, Any]) -> Iterator[str]:
    for name in ("advisory", "reason", "owner"):
        text = entry.get(name, "x")
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_TEXT:
            yield f"{name} must be a text of 1 to {_LONGEST_TEXT} characters."


def _invalid(text: str) -> Finding:
    cure = "Write advisory, reason, owner and until (a date within 90 days) for each [[waivers]]."
    return Finding("waiver-invalid", "error", text, cure, FILE)
