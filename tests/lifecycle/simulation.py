"""The years of one service, lived through with Copier, and what came of them: conflicts, fixes, and what `check` said.

An update is made as Renovate makes it: `copier update --skip-answered --defaults`, without a terminal and without
trust. Then come the pipeline's own steps (a conflict is resolved, the lock made anew), and two judges look: `check`,
and the fix's own look at the code.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flask_bastion.check import Report, check
from services import Service
from support import copier, git, run

from . import ours
from .memory import LOCK, PROJECT, TODAY, Outcome, lock_of, outcomes, released
from .ours import Ours
from .teams import Team, claims, holds_back
from .years import VERSIONS, Code, Years

NONE = Ours()
SIDES = {"ours": "2", "theirs": "3"}
"""Sides of a conflict, as git numbers them in its index."""


@dataclass(frozen=True)
class Step:
    """One update of one service, in plain values."""

    service: str
    respects: bool  # whether the team leaves alone what is the template's, in all its years
    way: str  # "each" version, "skipped" some, or "jump"
    before: str
    after: str
    how: str  # "updated" by Copier, "claimed" by hand in the answers file, or "refused" by Copier
    deeds: tuple[str, ...]  # of the team before it, in files that are the template's
    conflicts: tuple[str, ...] = ()
    told: bool = True  # whether `check` names each file with a conflict before anybody resolves it
    resolved: str = ""  # as "ours" or "theirs", if there was a conflict
    outcomes: tuple[Outcome, ...] = ()
    findings: tuple[str, ...] = ()  # kind and file of each, after the pipeline's steps
    ours: Ours = NONE
    cpu: float = 0.0  # seconds of the update, git included

    @property
    def lost(self) -> tuple[Outcome, ...]:
        """The fixes that the version promises and the code has not."""
        return tuple(outcome for outcome in self.outcomes if not outcome.present)


def begin(years: Years, team: Team, target: Path) -> Service:
    """A service of the first version as Copier renders it (see test_drift.py), in git, with its lock."""
    given = {**team.combination.data, "ci": team.ci}
    source = str(years.repository.path)
    first = ours.release(years, VERSIONS[0])
    service = Service(target)
    for name, data in first.render(given, whole=True, source=source).items():
        service.write(name, data.decode())
    service.write(first.answers_file, first.recorded(given, source).decode())
    git(target, "init", "--quiet", "--initial-branch", "main")
    lock(service)
    service.commit("Start from flask-bastion")
    return service


def live(years: Years, team: Team, service: Service) -> Iterator[Step]:
    """One update after the other, with what the team does before each."""
    before = VERSIONS[0]
    for to, own, foreign in zip(team.versions, team.own, team.foreign, strict=True):
        for deed in (*own, *foreign):
            deed(service, to)
        service.commit("Our work")
        about = (team.name, team.respects, team.way, before, to)
        deeds = tuple(deed.__name__ for deed in foreign)
        began = _cpu()
        how = "claimed" if claims in foreign else "updated" if renovate(service, to).returncode == 0 else "refused"
        cpu = _cpu() - began
        if how == "refused":
            git(service.path, "reset", "--quiet", "--hard")
            git(service.path, "clean", "--quiet", "--force", "-d")
            yield Step(*about, how, deeds, cpu=cpu)
            continue
        conflicts = tuple(dict.fromkeys(service.conflicts()))
        mine = ours.update(years, service, team.combination, to, conflicts) if how == "updated" else NONE
        report = examined(years, service, to)
        found = {finding.file for finding in report.findings if finding.kind.startswith("leftover")}
        told = set(conflicts) <= found
        resolve(service, conflicts, team.resolves)
        if holds_back not in foreign:
            lock(service)
        service.commit(f"Update to {to}")
        report = examined(years, service, to)
        fixes = tuple(outcomes(Code.of(service.path), team.combination, to, report))
        findings = tuple(f"{one.kind} {one.file}" for one in report.findings if one.level != "note")
        resolved = team.resolves if conflicts else ""
        yield Step(*about, how, deeds, conflicts, told, resolved, fixes, findings, mine, cpu)
        before = to


def renovate(service: Service, to: str) -> subprocess.CompletedProcess[str]:
    """Source: Renovate's manager for Copier, lib/modules/manager/copier/artifacts.ts."""
    options = ("--skip-answered", "--defaults", "--answers-file", ".copier-answers.yml", "--vcs-ref", to)
    return copier("update", *options, cwd=service.path)


def examined(years: Years, service: Service, ref: str) -> Report:
    """What `check` says with the template at hand, and with the advisories that were out at that version."""
    known = [years.advisories[fix.name] for fix in released(ref)]
    return check(service.path, known, years.template, today=TODAY)


def resolve(service: Service, conflicts: Iterable[str], side: str) -> None:
    """Take one side of each conflict as a whole; where that side has no such file, it is deleted."""
    for name in conflicts:
        staged = run("git", "show", f":{SIDES[side]}:{name}", cwd=service.path)
        if staged.returncode == 0:
            service.write(name, staged.stdout)
        else:
            (service.path / name).unlink(missing_ok=True)


def lock(service: Service) -> None:
    """Make its lock anew."""
    (service.path / LOCK).write_bytes(lock_of((service.path / PROJECT).read_bytes()))


def _cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def simulate(years: Years, teams: Iterable[Team], folder: Path) -> Iterator[Step]:
    """Every team's years, one team after the other."""
    for team in teams:
        service = begin(years, team, folder / team.name)
        yield from live(years, team, service)
        shutil.rmtree(service.path)
