"""The fleet as one page that loads nothing and runs nothing, for the platform team.

What a repository says about itself is shown to readers with more rights than its author. It is escaped by Jinja, what
would turn or hide text is made visible, and the page's own policy forbids every script and every address.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import escape, version
from .overview import QUESTIONS, Fleet, sentence
from .row import Service, State

_TONES: Final[dict[State, str]] = {
    "good": "good", "to look at": "amber", "waived": "amber", "affected": "bad", "not read": "bad",
}  # fmt: skip
_MEANINGS: Final[dict[State, str]] = {
    "not read": "could not be looked at, so it may be anything",
    "affected": "have a known vulnerability that is not waived",
    "waived": "have a known vulnerability that may wait until a date",
    "to look at": "no known vulnerability was seen, but something is not as it should be",
    "good": "nothing was found",
}


def page(fleet: Fleet) -> str:
    """The page as HTML, complete in itself."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["policy"] = _policy
    rows = fleet.services
    return environment.get_template("page.html").render(
        fleet=fleet,
        rows=rows,
        numbers={row.path: number for number, row in enumerate(rows)},
        orders=_orders(fleet, rows),
        versions=list(fleet.versions),
        sentence=sentence(fleet),
        unverified=sum("fix-unverified" in row.counts for row in rows),
        behind=sum(row.version != fleet.newest for row in rows),
        declared=_declared(rows),
        questions=QUESTIONS,
        tones=_TONES,
        meanings=_MEANINGS,
        basename=os.path.basename,
    )


def _shown(value: Any) -> Any:
    """What an expression of the page puts out: as text that does nothing, not even backwards."""
    return escape.terminal(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str) -> str:
    """The source of a Content-Security-Policy that allows this style sheet and no other (CSP 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


def _orders(fleet: Fleet, rows: list[Service]) -> dict[str, list[int]]:
    """For each way to sort, the place of each row; without one they stand by urgency."""

    def places(key: Callable[[Service], Any]) -> list[int]:
        place = {row.path: at for at, row in enumerate(sorted(rows, key=key))}
        return [place[row.path] for row in rows]

    def age(row: Service) -> tuple[bool, Any, str]:
        found = version.parse(row.version)
        return found is not None, found or 0, row.path  # what has no version comes first

    return {
        "name": places(lambda row: fleet.label(row).casefold()),
        "version": places(age),
        "drift": places(lambda row: (-row.drift, row.path)),
    }


def _declared(rows: list[Service]) -> list[dict[str, Any]]:
    """Every waiver and exception, those that have ended first, then by their end."""
    found: list[dict[str, Any]] = []
    for row in rows:
        for standing in row.waivers:
            found.append(
                {
                    "row": row,
                    "what": f"{standing.id} is waived",
                    "until": standing.waived_until,
                    "owner": standing.waiver_owner,
                    "reason": standing.waiver_reason,
                    "ended": False,
                }
            )
        for one in row.exceptions:
            found.append(
                {
                    "row": row,
                    "what": f"{one.name} is {one.value}",
                    "until": one.until,
                    "owner": one.owner,
                    "reason": one.reason,
                    "ended": one.ended,
                }
            )
    return sorted(found, key=lambda one: (not one["ended"], one["until"], one["row"].path))
