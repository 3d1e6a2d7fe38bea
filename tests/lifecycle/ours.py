"""What `flask-bastion update` makes of the commit that Copier has just updated: the same, or louder.

It merges by a program of its own, at a fifth of Copier's time. Here both are held against each other on everything that
teams do, and what `--restore` heals is seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import yaml

from flask_bastion import start, version
from flask_bastion.merge import PLAIN, File, Merged, merge, rendered
from flask_bastion.repository import ANSWERS, Repository
from flask_bastion.start import Start
from flask_bastion.template import Release, Template
from flask_bastion.tree import Tree
from services import Service
from support import Combination, git

from .memory import LOCK, PROJECT, Files, InMemory, Outcome, lock_of, look, outcomes, released
from .years import Code, Years


@dataclass(frozen=True)
class Ours:
    """An update by us, of a service that Copier has updated in its folder."""

    differs: tuple[str, ...] = ()
    """Files that we would write otherwise, apart from those with a conflict; not looked for if it is corrected."""
    refuses: tuple[str, ...] = ()
    """Files because of which we would not put the update in place."""
    restored: tuple[Outcome, ...] = ()
    """The fixes after `--restore`."""
    corrected: bool = False
    """Whether it starts from the code, since the answers file says another thing."""
    misses: tuple[str, ...] = ()
    """Advisories whose fix would not be there afterwards, because of which we would not put it in place either."""


def update(years: Years, service: Service, combination: Combination, to: str, conflicts: Iterable[str]) -> Ours:
    """Update the last commit of a service in memory, and compare it with what stands in its folder.

    `conflicts` are the files in which Copier has left one. Signatures are no part of this (see test_update.py).
    """
    files = Template(service.path).files(git(service.path, "rev-parse", "HEAD").strip())
    begin = beginning(years, files)
    if begin is None:
        return Ours(refuses=(ANSWERS,))
    given = begin.answers
    new = release(years, to)
    base, wanted = rendered(release(years, begin.version.text), given), rendered(new, given)
    mine = {name: File(PLAIN, data) for name, data in files.items()}
    merged = merge(base, wanted, mine, kept=new.excludes(given))
    after = changed(files, merged)
    refuses = tuple(finding.file for finding in merged.conflicts)
    names = sorted((base.keys() | wanted.keys()) - {*refuses, *conflicts})
    differs = tuple(name for name in names if after.get(name) != on_disk(service, name))

    source = str(yaml.safe_load(files[ANSWERS])["_src_path"])
    after[ANSWERS] = new.recorded(given, source)
    if after[PROJECT] != files[PROJECT]:
        after[LOCK] = lock_of(after[PROJECT])
    lost = (finding for finding in look(years, after, released(to)).findings if finding.kind == "fix-lost")
    misses = () if refuses else tuple(finding.advisory for finding in lost)

    healed = changed(files, merge(base, wanted, mine, kept=new.excludes(given), restore=True))
    healed[ANSWERS] = after[ANSWERS]
    healed[LOCK] = lock_of(healed[PROJECT])
    report = look(years, healed, released(to))
    restored = tuple(outcomes(Code(healed.get), combination, to, report))
    corrected = begin.claimed is not None
    return Ours(() if corrected else differs, refuses, restored, corrected, misses)


def beginning(years: Years, files: Files) -> Start | None:
    """Where `flask-bastion update` starts; None where it refuses, since nobody knows."""
    repository = Repository(cast(Tree, InMemory(files)))
    if not repository.contradictions():
        return start.recorded(repository)
    code = start.of_code(repository)
    return None if code is None or code.against(repository, years.template) else code


def release(years: Years, ref: str) -> Release:
    """The template at a version. Its name has to be one."""
    number = version.parse(ref)
    assert number is not None, ref
    return years.template.release(number)


def changed(files: Files, merged: Merged) -> Files:
    """The files with the changes made."""
    written = {change.name: change.data for change in merged.changes}
    return {name: data for name, data in {**files, **written}.items() if data is not None}


def on_disk(service: Service, name: str) -> bytes | None:
    """What stands in the folder under that name."""
    path = service.path / name
    return path.read_bytes() if path.is_file() else None
