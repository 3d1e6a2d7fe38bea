"""Declared exceptions: a team may loosen a limit only in exceptions.toml, with reason, owner and end date.

A limit that is loosened in code is forgotten there. Each report shows a declared one until it ends.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from . import LIMIT_BOUNDS, ORIGIN, Limits

FILE: Final = "exceptions.toml"
_FIELDS: Final = ("reason", "owner", "until")
_LONGEST: Final = 300  # characters of a reason or owner
LONGEST: Final = timedelta(days=366)  # from today to the end: until then its owner must review it
_FUNCTION: Final = re.compile(r"\A[A-Za-z0-9_/]{1,200}\.py:[A-Za-z0-9_.]{1,100}\Z")
ORIGINS: Final = {"image_origins": "'self'", "font_origins": "'self'", "frame_ancestors": "'none'"}
"""Section of other origins to what pages allow without it: whose images and fonts they load, and who may frame them."""
USES: Final = ("redirect", "file", "outbound", "owner")  # the kinds that request_scan.py of the proofs distinguishes


@dataclass(frozen=True, slots=True)
class Exemption:
    """One declared deviation: name, value, recommended value, reason, owner and end date."""

    name: str
    value: int | str
    recommended: int | str
    reason: str
    owner: str
    until: date


@dataclass(frozen=True, slots=True)
class Declared:
    """The content of exceptions.toml, or all reasons why it can't be applied."""

    limits: Limits
    image_origins: tuple[str, ...] = ()
    font_origins: tuple[str, ...] = ()
    frame_ancestors: tuple[str, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    reasons: tuple[str, ...] = ()


def ended(exemptions: Iterable[Exemption], today: date) -> Iterator[str]:
    """Yield the remedy for each exception that ended before `today`, or ends more than a year after it.

    Such an exception still applies until it is reviewed.
    """
    for one in exemptions:
        what = f"{one.name} ({one.value})" if isinstance(one.value, str) else one.name
        if one.until < today:
            yield (
                f"{FILE}: {what} ended on {one.until} (owner: {one.owner}). "
                "Remove it, or declare it anew with a reason and an end date of its own."
            )
        elif one.until > today + LONGEST:
            yield (
                f"{FILE}: {what} ends on {one.until}, more than a year ahead (owner: {one.owner}). "
                "Choose a day within a year, on which somebody looks at it again."
            )


def _entry(where: str, table: Any, wanted: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(table, dict):
        yield f"{FILE}: {where} must be a table with {', '.join(wanted)}."
        return
    for name in wanted:
        if name not in table:
            yield f"{FILE}: {where} has no {name}; add it."
    for name in sorted(table.keys() - set(wanted)):
        yield f"{FILE}: {where} has an unknown key {name[:40]!r}; allowed are {', '.join(wanted)}."
    for name in ("reason", "owner"):
        text = table.get(name, "x")
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
            yield f"{FILE}: {where}: {name} must be a text of 1 to {_LONGEST} characters."
    if type(table.get("until", date.max)) is not date:  # a date with a time can't be compared with one without
        yield f"{FILE}: {where}: until must be a date such as 2027-06-30, without quotes."


def read(path: Path) -> Declared:
    """Read the team's exceptions; a missing file means that there are none."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        data = {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Declared(Limits(), reasons=(f"{FILE} is not valid TOML ({error}); correct it.",))
    reasons = [
        f"{FILE}: unknown section {name[:40]!r}; there are limits, {', '.join(ORIGINS)} and request_data."
        for name in sorted(data.keys() - {"limits", *ORIGINS, "request_data"})
    ]
    limits, request_data = data.get("limits", {}), data.get("request_data", [])
    sections = {name: data.get(name, []) for name in ORIGINS}
    if not isinstance(limits, dict) or not all(isinstance(one, list) for one in (*sections.values(), request_data)):
        reasons.append(
            f"{FILE}: write limits as [limits.<name>], origins as [[image_origins]] and uses as [[request_data]]."
        )
        return Declared(Limits(), reasons=tuple(reasons))
    exemptions: list[Exemption] = []
    values: dict[str, int] = {}
    for name, table in limits.items():
        if name not in LIMIT_BOUNDS:
            reasons.append(
                f"{FILE}: there is no limit {name[:60]!r}; the limits are listed in bastion/settings/__init__.py."
            )
            continue
        recommended, least, most = LIMIT_BOUNDS[name]
        faults = [*_entry(f"[limits.{name}]", table, ("value", *_FIELDS))]
        value = table.get("value") if isinstance(table, dict) else None
        if isinstance(table, dict) and (type(value) is not int or not least <= value <= most):
            faults.append(f"{FILE}: [limits.{name}]: value must be a whole number from {least} to {most}.")
        if faults or type(value) is not int:
            reasons += faults
            continue
        values[name] = value
        exemptions.append(Exemption(name, value, recommended, table["reason"], table["owner"], table["until"]))
    origins: dict[str, list[str]] = {name: [] for name in ORIGINS}
    listed = ((name, *numbered) for name, tables in sections.items() for numbered in enumerate(tables, 1))
    for name, number, table in listed:
        where = f"[[{name}]] number {number}"
        faults = [*_entry(where, table, ("origin", *_FIELDS))]
        origin = table.get("origin") if isinstance(table, dict) else None
        if isinstance(table, dict) and (not isinstance(origin, str) or not ORIGIN.match(origin)):
            faults.append(f"{FILE}: {where}: origin must be one https origin such as https://images.example.")
        if faults or not isinstance(origin, str):
            reasons += faults
            continue
        origins[name].append(origin)
        exemptions.append(Exemption(name, origin, ORIGINS[name], table["reason"], table["owner"], table["until"]))
    for number, table in enumerate(request_data, 1):
        where = f"[[request_data]] number {number}"
        faults = [*_entry(where, table, ("function", "use", *_FIELDS))]
        function, use = (table.get("function"), table.get("use")) if isinstance(table, dict) else (None, None)
        if isinstance(table, dict) and (not isinstance(function, str) or not _FUNCTION.match(function)):
            faults.append(f"{FILE}: {where}: function must name one such as reports/pages.py:export.")
        if isinstance(table, dict) and use not in USES:
            faults.append(f"{FILE}: {where}: use must be one of {', '.join(USES)}.")
        if faults:
            reasons += faults
            continue
        value = f"{use} in {function}"
        exemptions.append(Exemption("request_data", value, "none", table["reason"], table["owner"], table["until"]))
    found = {name: tuple(named) for name, named in origins.items()}
    return Declared(Limits(**values), **found, exemptions=tuple(exemptions), reasons=tuple(reasons))
