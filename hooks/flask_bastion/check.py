"""Whether a service really has what its recorded version promises, said so that a person and a pipeline can act on it.

`copier update` exits 0 when a fix met a deleted, moved or overridden file, and `_commit` says the new version then. So
each advisory is held against the code, and each file of the template against what the trusted template renders.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final, Literal

from . import dependencies, exemptions, hidden, probe, proof_switches, replacements, trust, waivers
from .advisory import Advisory, Affected
from .exemptions import Exemption
from .finding import Finding, Level
from .leftovers import leftovers
from .program import Program
from .repository import Repository
from .template import Template
from .trust import Source
from .waivers import Waiver

Status = Literal[
    "not affected", "fixed", "fixed, patched by hand", "fixed, unverified", "AFFECTED", "AFFECTED, fix lost"
]
STATUSES: Final[tuple[Status, ...]] = (
    "not affected", "fixed", "fixed, patched by hand", "fixed, unverified", "AFFECTED", "AFFECTED, fix lost",
)  # fmt: skip
"""From good to bad. An advisory that affects a service in two ways has the worse of the two."""


_LOST_OF_OURS: Final = (
    "Restore the file with `flask-bastion update --restore`, which keeps your edit as a patch; no other update does it."
)
_LOCK: Final = "Commit uv.lock (`uv lock`), which says which versions are installed."
_LOST: Final = "Put it right by hand there, and check again: the file is yours, so no update changes it."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one advisory means for a service: status, evidence, what to do, and who waived it until when."""

    advisory: Advisory
    status: Status
    seen: tuple[probe.Outcome, ...] = ()
    action: str = ""
    waiver: Waiver | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about one service. `compared` says whether its files were compared with the template's.

    Of one that was not read as a whole nothing is said but that.
    """

    name: str
    version: str  # "" if none is recorded
    source: str  # the template's address, redacted
    answers: dict[str, str]
    is_service: bool
    compared: bool
    verdicts: tuple[Verdict, ...]
    exceptions: tuple[Exemption, ...]
    findings: tuple[Finding, ...]
    not_read: str = ""
    """Why it was not read; "" if it was."""

    @property
    def status(self) -> int:
        """The exit status: 2 if it was not read, 1 if there is an error or a warning, otherwise 0."""
        return 2 if self.not_read else int(any(finding.level != "note" for finding in self.findings))


def check(
    path: Path,
    advisories: Iterable[Advisory],
    template: Template | None = None,
    sources: tuple[Source, ...] | None = None,
    *,
    today: date,
    clock: Callable[[], float] = time.process_time,
) -> Report:
    """Look at the service in a folder; nothing in it is run or written. Its files are compared if there is a template.

    `sources` are trusted for updates in place of those that the service lists (see trust.py).
    Whatever is wrong with the folder is a finding. Raises TemplateError only where git itself fails.
    """
    return check_repository(Repository.open(path, clock=clock), advisories, template, sources, today=today)


def check_repository(
    repository: Repository,
    advisories: Iterable[Advisory],
    template: Template | None = None,
    sources: tuple[Source, ...] | None = None,
    *,
    today: date,
) -> Report:
    """The same for a repository that was opened before."""
    known = list(advisories)
    waived, findings = waivers.read(repository, frozenset(one.id for one in known), today)
    program = Program(repository, repository.package)
    verdicts = tuple(_verdict(repository, program, one, waived.get(one.id)) for one in known)
    findings += [finding for verdict in verdicts for finding in _told(verdict, repository)]
    exceptions, ended = exemptions.read(repository, repository.package, today)
    findings += ended
    if repository.is_service:
        findings += replacements.findings(program.replaced)
        findings += dependencies.findings(repository, repository.package)
        findings += proof_switches.findings(repository)
        findings += hidden.findings(repository.tree.root)
    findings += repository.contradictions()
    findings += leftovers(repository.tree)
    findings += trust.findings(repository, sources)
    if repository.misnamed is not None:
        template = None  # of another name every file would be missing, and --restore would put them beside the others
    if template is not None and repository.is_service:
        from .drift import drift  # with Jinja behind it, which costs more than all the rest

        findings += trust.moved(repository, template)
        findings += drift(repository, template)
    if fault := repository.tree.not_read:  # asked last; earlier findings may be wrong
        return Report(
            name=repository.tree.root.resolve().name, version="", source="", answers={}, compared=False,
            is_service=repository.is_service, verdicts=(), exceptions=(), findings=(fault,), not_read=fault.text,
        )  # fmt: skip
    compared = template is not None and repository.version is not None
    return Report(
        name=repository.name,
        version=repository.version.text if repository.version else "",
        source=repository.source,
        answers=repository.answers,
        is_service=repository.is_service,
        compared=compared and all(finding.kind != "drift-unknown" for finding in findings),
        verdicts=verdicts,
        exceptions=tuple(exceptions),
        findings=(*repository.findings, *findings),  # last, when everything was read
    )


def _verdict(repository: Repository, program: Program, advisory: Advisory, waiver: Waiver | None) -> Verdict:
    worst = Verdict(advisory, "not affected", waiver=waiver)
    for affected in advisory.affected:
        if repository.may_be(affected.when):
            found = _look(repository, program, advisory, affected, waiver)
            worst = max(worst, found, key=lambda verdict: STATUSES.index(verdict.status))
    return worst


def _look(
    repository: Repository, program: Program, advisory: Advisory, affected: Affected, waiver: Waiver | None
) -> Verdict:
    says = affected.claims(repository.version) if repository.version else "unknown"
    if says == "before" and repository.claims:
        return Verdict(advisory, "not affected", waiver=waiver)
    looked = probe.look(affected.probe, program)
    unread = {fault.file for fault in repository.tree.faults if fault.kind == "repository-unreadable"}
    seen = tuple(
        replace(one, holds=None, why="This file was not read.") if one.file in unread else one for one in looked
    )
    holds = probe.holds(seen)
    status: Status
    if says == "affected":
        status = "fixed, patched by hand" if holds else "AFFECTED"
    elif says == "fixed":
        status = "fixed" if holds else "fixed, unverified" if holds is None else "AFFECTED, fix lost"
    else:
        status = "AFFECTED" if holds is False else "fixed, unverified"
    return Verdict(advisory, status, seen, affected.action, waiver)


def _told(verdict: Verdict, repository: Repository) -> Iterator[Finding]:
    """What a verdict adds to the findings: nothing where the fix is."""
    advisory, waiver = verdict.advisory, verdict.waiver
    first = next((one for one in verdict.seen if one.holds is False), None) or next(iter(verdict.seen), probe.HOLDS)
    place = first.file.replace("src//", "src/*/", 1)  # where the answers don't say what the package is called
    what = f"{advisory.id} ({advisory.severity.lower()}): {advisory.summary} {first.why}".strip()
    bad = verdict.status.startswith("AFFECTED")
    if bad and waiver:
        text = f"{what} Waived until {waiver.until} by {waiver.owner}: {waiver.reason}"
        yield Finding("waived", "note", text, verdict.action, place, first.line, advisory.id)
    elif bad:
        lost = verdict.status == "AFFECTED, fix lost"
        cure = verdict.action
        if lost and repository.claims:  # an update to the version that it has would do nothing
            is_ours = first.file.startswith(f"src/{repository.package}/bastion/")
            cure = _LOST_OF_OURS if is_ours else _LOST
        yield Finding("fix-lost" if lost else "affected", "error", what, cure, place, first.line, advisory.id)
    elif verdict.status == "fixed, unverified":
        absent = bool(verdict.seen) and all(one.absent for one in verdict.seen)
        level: Level = "note" if absent else "warning"
        cure = _LOCK if absent else _LOST if repository.claims else verdict.action
        yield Finding("fix-unverified", level, what, cure, place, first.line, advisory.id)
    if waiver and not bad:
        text = f"The waiver of {advisory.id} is needed no more: {verdict.status}."
        yield Finding("waiver-needless", "note", text, "Take it out.", waivers.FILE, advisory=advisory.id)
