"""A pyproject.toml that says all that the template says, as it says it, and what the application said besides.

The template's lines stay as they are, byte for byte, so that an update finds them again and merges line by line.
The application's entries are added to its own lists and below; where both differ, the template's stands and is listed.
"""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .requirements import Asked

_SELF: Final = re.compile(r'^    "[a-z0-9-]+\[bastion\]",\n', re.MULTILINE)
"""The line after which the application's own dependencies stand."""
_DEVELOPMENT: Final = '    { include-group = "bastion-dev" },\n'
_REPLACED: Final = (("build-system",), ("tool", "poetry"), ("tool", "setuptools"), ("tool", "flit"), ("tool", "pdm"))
"""Tables of the application that the template's own way takes the place of."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class NoProjectFile(ValueError):
    """One of the two is no pyproject.toml that could be joined."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The text of both together, and each place at which the application said something else."""

    text: str
    overruled: tuple[str, ...]


def join(template: bytes, application: bytes | None, kept: Iterable[Asked]) -> Joined:
    """The template's file with the libraries in `kept` and what else the application says. Raises NoProjectFile."""
    try:
        text = template.decode()
        theirs = tomllib.loads((application or b"").decode())
        ours = tomllib.loads(text)
    except (ValueError, RecursionError):
        raise NoProjectFile("pyproject.toml is no valid TOML") from None
    wanted = sorted({(one.development, one.text) for one in kept}, key=lambda pair: pair[1].lower())
    text = _after(text, _SELF, [line for development, line in wanted if not development])
    text = _after(text, re.compile(re.escape(_DEVELOPMENT)), [line for development, line in wanted if development])
    if isinstance(version := _at(theirs, "project", "version"), str):
        text = re.sub(r"(?m)^version = .*$", lambda _: f"version = {_value(version)}", text, count=1)
        ours["project"]["version"] = version
    overruled: list[str] = []
    added: dict[tuple[str, ...], dict[str, Any]] = {}
    try:
        _compare(ours, theirs, (), added, overruled)
        for path, values in added.items():
            text = _put(text, path, values)
        tomllib.loads(text)
    except (ValueError, RecursionError):
        raise NoProjectFile("pyproject.toml can't be joined by this program") from None
    return Joined(text, tuple(overruled))


def _at(data: Any, *path: str) -> Any:
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _after(text: str, line: re.Pattern[str], requirements: list[str]) -> str:
    added = "".join(f"    {_quoted(one)},\n" for one in requirements)
    return line.sub(lambda found: found[0] + added, text, count=1) if added else text


def _compare(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    path: tuple[str, ...],
    added: dict[tuple[str, ...], dict[str, Any]],
    overruled: list[str],
) -> None:
    for key, value in theirs.items():
        here = (*path, key)
        if here == ("project", "dependencies") or path in (
            ("dependency-groups",),
            ("project", "optional-dependencies"),
        ):
            continue  # libraries are in `kept`
        if here in _REPLACED:
            overruled.append(".".join(here))
            continue
        if key not in ours:
            if path or isinstance(value, dict):  # no loose value on top
                added.setdefault(path, {})[key] = value
        elif isinstance(value, dict) and isinstance(ours[key], dict):
            _compare(ours[key], value, here, added, overruled)
        elif value != ours[key]:
            overruled.append(".".join(here))


def _put(text: str, path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """Values into the table of this path; tables of their own at the end of the file."""
    loose = {key: value for key, value in values.items() if not isinstance(value, dict) and not _is_tables(value)}
    if loose:
        lines = "".join(f"{_key(key)} = {_value(value)}\n" for key, value in loose.items())
        head = f"[{'.'.join(map(_key, path))}]\n"
        before, found, after = text.partition(f"\n{head}")
        end = re.search(r"\n(?=(?:#[^\n]*\n)*\[)|\Z", after)
        at = end.start() if end else len(after)
        text = (
            f"{before}{found}{after[:at].rstrip()}\n\n# Yours\n{lines}{after[at:]}"
            if found
            else f"{text.rstrip()}\n\n{head}{lines}"
        )
    inner = "".join("".join(tables((*path, key), value)) for key, value in values.items() if key not in loose)
    return f"{text.rstrip()}\n{inner}" if inner else text


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def tables(path: tuple[str, ...], value: Any) -> Iterator[str]:
    """The lines of a table, or of a list of tables, with those inside of it."""
    name = ".".join(map(_key, path))
    for one in value if isinstance(value, list) else (value,):
        yield f"\n[[{name}]]\n" if isinstance(value, list) else f"\n[{name}]\n"
        inner = {key: part for key, part in one.items() if isinstance(part, dict)}
        yield from (f"{_key(key)} = {_value(part)}\n" for key, part in one.items() if key not in inner)
        for key, part in inner.items():
            yield from tables((*path, key), part)


def _key(key: str) -> str:
    return key if _BARE.match(key) else _quoted(key)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{_key(key)} = {_value(part)}' for key, part in value.items())}}}"
        case _:
            return str(value)  # numbers, inf and nan too
