"""Print the survey of an application as text or JSON, without the value of any secret.

All of it may be text of the repository, so it goes out through `escape`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from .. import escape
from . import ASIDE
from .routes import Route
from .steps import steps
from .survey import Survey

_MOST: Final = 60
"""Lines of one list in the text; JSON has all."""
_LONGEST: Final = 1000
"""Characters of one line."""


def rendered(found: Survey, form: str, *, diff: bool = False, written: bool = False) -> str:
    """The report in one of text and json."""
    if form == "json":
        return escape.document(as_json(found, written=written))
    return "".join(f"{_line(one)}\n" for one in as_text(found, diff=diff, written=written))


def _line(text: str) -> str:
    shown = escape.terminal(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def as_text(found: Survey, *, diff: bool = False, written: bool = False) -> Iterator[str]:
    """Line by line, not yet escaped."""
    yield f"{found.name}, read for {found.version} of the template. " + (
        "The missing files were added." if written else "Nothing was written."
    )
    yield ""
    yield "Answers that fit (others: --data name=value)"
    for question, answer in found.answers.items():
        yield f"  {question:17} {answer.value or '(empty)'}    {answer.why}"
    yield f"  {'updates from':17} {found.source}"
    yield ""
    collide = f"{len(found.aside)} exist and differ" + (f" (the template's: {ASIDE}/)" if found.aside else "")
    yield f"Files: {len(found.new)} new, {len(found.same)} the same, {len(found.yours)} of yours stay, {collide}"
    yield from _some([f"  differs   {name}" for name in found.aside])
    yield from _some([f"  stays     {name}" for name in found.yours])
    if diff:
        yield from _diffs(found)
    changing = [one for one in found.libraries if one.verdict != "stays"]
    yield ""
    yield f"Libraries: {len(found.libraries)} asked for, {len(found.libraries) - len(changing)} stay as they are"
    yield from _some(
        [f"  {one.verdict:9} {one.asked.text} ({one.asked.file}:{one.asked.line})  {one.text}" for one in changing]
    )
    yield ""
    bare = sum(not route.guard for route in found.routes)
    yield f"Routes: {len(found.routes)}, {bare} of them without a guard"
    yield from _some(
        [f"  {route.file}:{route.line}: {_address(route)}  {_becomes(found, route)}" for route in found.routes]
    )
    yield ""
    yield f"Secrets that seem to stand in the source: {len(found.secrets)}"
    yield from _some([f"  {place.file}:{place.line}: {place.name}" for place in found.secrets])
    if found.unread:
        yield ""
        yield "Not looked at"
        yield from _some([f"  {fault.file or found.name}: {fault.text}" for fault in found.unread])
    yield ""
    yield "Steps"
    for number, step in enumerate(steps(found, written=written), start=1):
        yield f"  {number}. {step}"


def _address(route: Route) -> str:
    return f"{route.path or '(empty)'} {route.view}".strip()


def _becomes(found: Survey, route: Route) -> str:
    if place := found.answered_at(route.path):
        return "bastion answers this itself" + (f", at {place}" if place != route.path else "")
    return f"@{route.guard} becomes {route.becomes}" if route.guard else route.becomes


def _diffs(found: Survey) -> Iterator[str]:
    for name, lines in found.diffs.items():
        yield ""
        yield f"  {name}: - is the template's, + is yours"
        yield from (f"    | {line}" for line in lines)


def _some(lines: list[str]) -> Iterable[str]:
    """The first lines, as many as a person reads."""
    more = len(lines) - _MOST
    return [*lines[:_MOST], *([f"  and {more} more: --format json has all"] if more > 0 else [])]


def as_json(found: Survey, *, written: bool = False) -> dict[str, Any]:
    """The report for programs; fields are added, never renamed."""
    return {
        "application": found.name,
        "version": found.version,
        "source": found.source,
        "written": written,
        "answers": {name: {"value": one.value, "why": one.why} for name, one in found.answers.items()},
        "hindrances": list(found.hindrances),
        "files": {
            "new": list(found.new),
            "same": list(found.same),
            "yours": list(found.yours),
            "differ": [{"file": name, "diff": list(found.diffs[name])} for name in found.aside],
        },
        "overruled": list(found.overruled),
        "libraries": [
            {
                "name": one.asked.name,
                "requirement": one.asked.text,
                "file": one.asked.file,
                "line": one.asked.line,
                "development": one.asked.development,
                "verdict": one.verdict,
                "text": one.text,
            }
            for one in found.libraries
        ],
        "routes": [
            {
                "path": route.path,
                "view": route.view,
                "file": route.file,
                "line": route.line,
                "guard": route.guard,
                "becomes": "" if found.answered_at(route.path) else route.becomes,
                "taken": bool(found.answered_at(route.path)),
                "taken_at": found.answered_at(route.path),
            }
            for route in found.routes
        ],
        "secrets": [{"file": place.file, "line": place.line, "name": place.name} for place in found.secrets],
        "unread": [{"file": fault.file, "text": fault.text} for fault in found.unread],
        "steps": steps(found, written=written),
    }
