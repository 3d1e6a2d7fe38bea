"""Every file of the template is what the recorded version renders, or it is named with its difference.

An update replays only what changed between two versions: a file that was edited, moved or lost stays so for ever, and a
version that was written into the answers file by hand brought nothing at all. Here the trusted template is rendered
again, and compared.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from .finding import Finding
from .repository import ANSWERS, Repository
from .template import Template, TemplateError

SHARED: Final = frozenset({"pyproject.toml"})
"""What the template and the team write into together: what the template says there has to be said there still."""
_TEAMS: Final = frozenset({"project.version", "project.requires-python", "project.description"})
"""Values in such a file that the template only begins with."""
_STYLE: Final = frozenset({"tool.ruff.line-length", "tool.ruff.target-version"})
"""Values that say how the team's own code is written; the template's code has its own form in every service."""
_RESTORE: Final = (
    "Restore it with `flask-bastion update --restore`, which keeps your edit as a patch, or move your code to a"
    " file of your own."
)
_BY_HAND: Final = (
    "Restore the lines shown by hand: updates merge what both write into, and --restore leaves it to the team."
)
_NO_TOML: Final = "Take the file from the last commit in which it was right."
_CONTEXT: Final = 2
_LONGEST_DIFF: Final = 300
"""Lines that are compared line by line: a longer text of the repository could take minutes."""
_SHOWN: Final = 40


def drift(repository: Repository, template: Template) -> list[Finding]:
    """Where the service's files of the template are not those of the recorded version. Nothing is written."""
    recorded = repository.version
    if recorded is None:
        return []  # reported elsewhere
    try:
        release = template.release(recorded)
        given = {name: value for name, value in repository.recorded.items() if not name.startswith("_")}
        expected = release.render(given)
    except TemplateError as error:
        cure = "Check _commit and the answers in the file, or give a clone of the template that has this version."
        return [Finding("drift-unknown", "error", str(error), cure, ANSWERS)]
    found = [finding for name, data in sorted(expected.items()) for finding in _compare(repository, name, data)]
    for name in repository.names():
        if name not in expected and release.is_ours(name):
            text = "The recorded version has no such file."
            cure = "Remove it, or move it out of the template's folder."
            found.append(Finding("drift-extra", "warning", text, cure, name))
    return found


def _compare(repository: Repository, name: str, expected: bytes) -> Iterator[Finding]:
    data = repository.read(name)
    if data is None:
        if name not in repository.tree.sizes:
            yield Finding("drift-missing", "warning", "This file of the template is not there.", _RESTORE, name)
        return  # otherwise it is among what can't be read
    if same(data, expected):
        return
    if name in SHARED:
        said = _toml(data)
        if said is None:
            text = "This is no TOML, so nothing that the template says is said here any more."
            yield Finding("drift-changed", "warning", text, _NO_TOML, name)
            return
        for key, lost in unsaid(_toml(expected), said, ""):
            text = f"What the template says under {key} is not said here any more."
            lines = tuple(f"-{line}" for line in lost[:_SHOWN])
            yield Finding("drift-changed", "warning", text, _BY_HAND, name, diff=lines)
        return
    diff = difference(expected, data)
    yield Finding(
        "drift-changed", "warning", "This file of the template was edited.", _RESTORE, name, _first(diff), diff=diff
    )


def difference(template: bytes, service: bytes) -> tuple[str, ...]:
    """How a file differs from the template's, as a unified diff of bounded length: `-` is the template's line.

    A line of the service's in which a secret seems to stand is not shown: reports are kept where more people read them.
    """
    from .adoption.hardcoded import masked  # here: it is needed only where something differs

    lines = _difference(_text(template), _text(service))
    return tuple(f"+{masked(line[1:])}" if line.startswith("+") else line for line in lines)


def same(one: bytes, other: bytes) -> bool:
    """Whether two files say the same: a checkout on Windows may have other line ends."""
    return one == other or _lines(one) == _lines(other)


def _lines(data: bytes) -> list[bytes]:
    return data.replace(b"\r\n", b"\n").split(b"\n")


def _text(data: bytes) -> list[str]:
    return [line.decode(errors="replace") for line in _lines(data)]


def _toml(data: bytes) -> Any:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return None


def unsaid(expected: Any, value: Any, at: str) -> Iterator[tuple[str, list[str]]]:
    """Each place at which a value is said by the template and not by the service, with the missing part, as it is
    written in TOML; more may be said."""
    if at in _STYLE or (at in _TEAMS and type(value) is type(expected)):
        return
    if isinstance(expected, dict) and isinstance(value, dict):
        for key, inner in expected.items():
            yield from unsaid(inner, value.get(key), f"{at}.{key}".lstrip("."))
    elif isinstance(expected, list) and isinstance(value, list):
        if lost := [f"{json.dumps(one)}," for one in expected if one not in value]:
            yield at, lost
    elif type(value) is not type(expected) or value != expected:
        name = at.rpartition(".")[2]
        yield at, [f"[{at}]"] if isinstance(expected, dict) else [f"{name} = {json.dumps(expected)}"]


def _difference(before: list[str], after: list[str]) -> Iterator[str]:
    """A unified diff, bounded: equal lines at both ends are cut off before the rest is compared line by line."""
    start = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    start = min(len(before), len(after)) if start is None else start
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    low = max(0, start - _CONTEXT)
    old, new = before[low : len(before) - max(0, end - _CONTEXT)], after[low : len(after) - max(0, end - _CONTEXT)]
    if max(len(old), len(new)) > _LONGEST_DIFF:
        yield f"@@ -{low + 1},{len(old)} +{low + 1},{len(new)} @@"
        yield f"-{len(old)} lines of the template"
        yield f"+{len(new)} other lines"
        return
    lines = list(difflib.unified_diff(old, new, n=_CONTEXT, lineterm=""))[2:]
    for line in lines[:_SHOWN]:
        yield _moved(line, low)
    if len(lines) > _SHOWN:
        yield f"@@ {len(lines) - _SHOWN} more lines @@"


def _moved(line: str, by: int) -> str:
    """The head of a part of the diff, with line numbers of the whole file."""
    if not line.startswith("@@ "):
        return line
    places = (place[0] + ",".join(_sum(place[1:].split(","), by)) for place in line.split()[1:3])
    return f"@@ {' '.join(places)} @@"


def _sum(numbers: list[str], by: int) -> list[str]:
    return [str(int(numbers[0]) + by), *numbers[1:]]


def _first(diff: tuple[str, ...]) -> int:
    """The line of the service's file at which the first difference begins."""
    head = diff[0].split("+", 1)[1].split(" ")[0].split(",")[0] if diff and "+" in diff[0] else "0"
    number = int(head) if head.isdecimal() else 0
    for line in diff[1:]:
        if line[:1] != " ":
            break
        number += 1
    return max(1, number)
