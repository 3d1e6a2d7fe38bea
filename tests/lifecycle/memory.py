"""A service without a folder: its files by name, and what `check` says of them, in some milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from flask_bastion import probe
from flask_bastion.check import Report, check_repository
from flask_bastion.finding import Finding
from flask_bastion.repository import Repository
from flask_bastion.tree import Tree
from support import Combination

from .years import FIXES, VERSIONS, Code, Fix, Years

TODAY = datetime.now(UTC).date()
Files = dict[str, bytes]
LOCK = "uv.lock"
PROJECT = "pyproject.toml"


class InMemory:
    """The files as Tree shows those of a folder."""

    root = Path("service")
    faults: tuple[Finding, ...] = ()
    not_read: Finding | None = None

    def __init__(self, files: Files) -> None:
        self._files = files
        self.sizes = {name: len(data) for name, data in files.items()}

    def must_be_read(self) -> None:
        """Raise nothing: what is in memory is read as a whole."""

    def names(self) -> list[str]:
        return sorted(self._files)

    def read(self, name: str) -> bytes | None:
        return self._files.get(name)


@dataclass(frozen=True)
class Outcome:
    """One fix in one service: whether it is there, and whether `check` says that it is not."""

    fix: str
    present: bool
    told: bool


def lock_of(project: bytes, **other: str) -> bytes:
    """Stands for `uv lock` without the network: every requirement of the template is locked at its floor."""
    floors = {**probe.floors(project), **other}
    return "".join(f'[[package]]\nname = "{name}"\nversion = "{at}"\n' for name, at in floors.items()).encode()


def look(years: Years, files: Files, fixes: Iterable[Fix], *, compare: bool = False) -> Report:
    """What `check` says of it, about these fixes; if `compare`, with the template at hand."""
    repository = Repository(cast(Tree, InMemory(files)))
    known = [years.advisories[fix.name] for fix in fixes]
    return check_repository(repository, known, years.template if compare else None, today=TODAY)


def released(ref: str) -> list[Fix]:
    """The fixes, and with them the advisories, that are out at a version."""
    return [fix for fix in FIXES if VERSIONS.index(fix.since) <= VERSIONS.index(ref)]


def outcomes(code: Code, combination: Combination, recorded: str, report: Report) -> Iterator[Outcome]:
    """Each fix that a service was promised by its version, as the code and as `check` tell it."""
    statuses = {verdict.advisory.id: verdict.status for verdict in report.verdicts}
    named = {finding.advisory for finding in report.findings if finding.level == "error"}
    for fix in FIXES:
        if fix.concerns(combination, recorded):
            identity = str(fix.advisory["id"])
            told = statuses[identity].startswith("AFFECTED") and identity in named
            yield Outcome(fix.name, fix.present(code, combination), told)
