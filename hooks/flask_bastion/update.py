"""`flask-bastion update`: a service gets a newer version of its template whole, or stays as it is.

Copier exits 0 on a conflict, keeps a deleted fix deleted, and fetches from wherever the answers file says. Here the
version is proven first (trust.py), the update is made in a copy and looked at there, and then put in place at once.
What comes out is what `copier update` writes, byte for byte (a test holds the two equal), at a fifth of its time; where
the answers file contradicts the code, it is what Copier would write had the file not been edited (see start.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from . import advisory, start, trust
from .advisory import Advisory
from .check import Report, check_repository
from .checkout import Checkout, CheckoutError
from .finding import Finding
from .merge import Change, File, Merged, merge, rendered
from .plan import OWNERS, RULES, Plan, plan
from .repository import ANSWERS, NO_SERVICE, RENAME, UNTAGGED, Repository
from .start import Start
from .template import NEED_TRUST, Template, TemplateError
from .tree import NotRead
from .trust import Fetched, Refused, Signed, Source
from .version import Version, parse

LOCK: Final = "uv.lock"
_PROJECT: Final = "pyproject.toml"
_BLOCKS: Final = frozenset({"fix-lost", "leftover-conflict", "leftover-reject"})
"""What no update leaves behind: then it is not put in place."""
_SECONDS_TO_LOCK: Final = 300
_MAX_TRIES: Final = 10
"""Lower versions that are tried where something is in the way; each takes a second or two."""
_NO_FOLDER: Final = "/nonexistent"
_SECONDS_TO_PROVE: Final = 1800


@dataclass(frozen=True, slots=True)
class Request:
    """The request. `sources` replace the service's own list; `data` are answers that change."""

    wanted: Version | None = None
    folder: Path | None = None
    sources: tuple[Source, ...] | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    restore: bool = False
    plan: bool = False
    proofs: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an update did, or would do: it is in place if `applied`, and otherwise nothing was changed."""

    service: str
    source: str
    recorded: Version
    wanted: Signed
    changes: tuple[Change, ...]
    fixed: tuple[Advisory, ...]
    blocking: tuple[Finding, ...]
    """Why it is not put in place; () if it is, or could be."""
    notices: tuple[Finding, ...]
    """What else `check` finds in the updated service."""
    left: tuple[str, ...]
    """Commands that are still to be run, because they could not be run here."""
    applied: bool
    plan: Plan
    """Whether it may merge by itself where the service's own rules decide."""
    corrections: tuple[str, ...] = ()
    """What the answers file said wrongly, a sentence each: it is right afterwards (see start.py)."""
    patch: Path | None = None
    """Where a team's edits are that `restore` took out of files of the template."""
    passing: Version | None = None
    """The highest version that nothing would be in the way of, if there is one and something is in the way of this."""

    @property
    def status(self) -> int:
        """The exit status: 1 if something is in the way, otherwise 0."""
        return int(bool(self.blocking))


def update(path: Path, request: Request) -> Outcome:
    """Update the service in a folder.

    Raises Refused for a version that is not trusted, TemplateError and InvalidTrust for a wrong request, NotRead
    where not everything could be looked at, and Completed if all there was to do was to complete an update that had
    been interrupted.
    """
    checkout = Checkout(path)
    checkout.finish()
    repository = Repository.open(checkout.folder)
    try:
        return _update_from(checkout, repository, path, request)
    except (Refused, TemplateError):
        repository.tree.must_be_read()  # or that is the reason
        raise


def _update_from(checkout: Checkout, repository: Repository, path: Path, request: Request) -> Outcome:
    """The same for a repository that was opened."""
    if not repository.is_service:
        raise CheckoutError(f"{path} holds {NO_SERVICE}")
    if not repository.recorded:  # it says why
        fault = repository.findings[0]
        raise CheckoutError(f"{ANSWERS}: {fault.text} {fault.cure}")
    checkout.must_be_clean()
    source = trust.trusted(repository, trust.own(repository) if request.sources is None else request.sources)
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as scratch:

        def fetch(begin: Start, wanted: Version | None = request.wanted, cached: Template | None = None) -> Fetched:
            into = Path(tempfile.mkdtemp(prefix="template-", dir=scratch))
            return trust.fetch_template(
                source, begin.version, begin.commit, into, wanted=wanted, folder=request.folder, denied=begin.denied,
                cached=cached,
            )  # fmt: skip

        begin, fetched = _begin(repository, fetch, restore=request.restore)
        outcome = _update(checkout, repository, source, fetched, begin, request, Path(scratch, "wanted"))
        for wanted in fetched.between[:_MAX_TRIES] if outcome.blocking else ():
            lower = replace(request, wanted=wanted, plan=True, proofs=False)
            with suppress(Refused, TemplateError, NotRead):
                again = fetch(begin, wanted, fetched.cached)
                if not _update(checkout, repository, source, again, begin, lower, Path(scratch, wanted.text)).blocking:
                    return replace(outcome, passing=wanted)
        return outcome


def _begin(repository: Repository, fetch: Callable[[Start], Fetched], *, restore: bool) -> tuple[Start, Fetched]:
    """Where the update starts: at the code, if the answers file says another thing than it."""
    if misnamed := repository.misnamed:  # files below the other name would be no part of the service
        raise CheckoutError(f"{misnamed.text} {misnamed.cure}")
    recorded = start.recorded(repository)
    if recorded is None and repository.is_untagged:
        raise Refused(f"_commit in {ANSWERS} is no version of the template but an unsigned commit. {UNTAGGED}")
    if recorded is None:
        raise Refused(
            f"_commit in {ANSWERS} is no version of the template, so the version to update from is not known. Take"
            " the file from the last commit in which it was right."
        )
    if contradictions := repository.contradictions():
        try:
            return _at_the_code(repository, contradictions[0], fetch)
        except (Refused, TemplateError):
            if not restore:
                raise
        recorded = replace(recorded, commit="")  # of which version it is, is not known then
        if repository.is_draft and (tag := parse(recorded.version.tag)):  # what came after it is in no version
            recorded = replace(recorded, version=tag)
    if not recorded.commit and not restore:
        raise Refused(
            f"bastion/chosen.py does not say which commit {recorded.version.text} was, so a moved tag would not be"
            " seen. Take the file from the last commit in which it was right, or update with --restore."
        )
    return recorded, fetch(recorded)


def _at_the_code(
    repository: Repository, contradiction: Finding, fetch: Callable[[Start], Fetched]
) -> tuple[Start, Fetched]:
    """The start that bastion/chosen.py names, once a signature and the other files bear it out."""
    cure = (
        "So the version to update from is not known. Correct the file, or update with --restore, which takes the"
        " template's files for the recorded answers."
    )
    code = start.of_code(repository)
    if code is None:
        raise CheckoutError(f"{contradiction.text} {cure}")
    fetched = fetch(code)
    try:
        file = code.against(Repository.open(repository.tree.root), fetched.template)
    except TemplateError as error:
        raise CheckoutError(f"{contradiction.text} {error} {cure}") from None
    if file:
        raise CheckoutError(f"{contradiction.text} But {file} is as the answers file says. {cure}")
    return code, fetched


def _update(
    checkout: Checkout,
    repository: Repository,
    source: Source,
    fetched: Fetched,
    begin: Start,
    request: Request,
    scratch: Path,
) -> Outcome:
    merged, files = _merged(checkout, repository, fetched, begin, request)
    known = advisory.together(advisory.shipped(), advisory.of_template(fetched.template))
    today = datetime.now(UTC).date()
    before = check_repository(repository, known, None, request.sources, today=today)
    repository.tree.must_be_read()
    if not merged.changes and not merged.conflicts:  # of a version whose fix was lost since, no update is to come
        lost = tuple(finding for finding in before.findings if finding.kind == "fix-lost")
        return _outcome(repository, source, fetched, begin, files, blocking=lost)
    copy = checkout.copy(scratch / "service")
    copy.write(merged.changes)
    changes = list(merged.changes)
    left = []
    if any(change.name == _PROJECT for change in changes) and not merged.conflicts:
        problem = _lock(copy.folder)
        if problem:
            left.append(f"uv lock ({problem})")
        elif LOCK in files and (now := (copy.folder / LOCK).read_bytes()) != files[LOCK].data:
            changes.append(Change(LOCK, files[LOCK].data, now))
    updated = Repository.open(copy.folder)
    after = check_repository(updated, known, fetched.template, request.sources, today=today)
    updated.tree.must_be_read()
    untouched = {conflict.file for conflict in merged.conflicts}  # they are as they were, which says no more
    found = [finding for finding in after.findings if finding.file not in untouched]
    blocking = [*merged.conflicts, *_blocking(before, found, locked=not left)]
    tree, dropped = copy.tree(changes), copy.patch(merged.dropped) if merged.dropped else b""
    if request.proofs and not blocking:  # they run code, after which nothing is read from the copy any more
        blocking += _prove(checkout.copy(scratch / "before").folder, copy.folder, fetched)
    applied = not blocking and not request.plan
    patch = None
    if applied:
        if dropped:
            patch = checkout.keep(f"flask-bastion-dropped-{datetime.now(UTC):%Y%m%dT%H%M%S}.patch", dropped)
        checkout.apply(copy, tree)
    return _outcome(
        repository,
        source,
        fetched,
        begin,
        files,
        changes=tuple(changes),
        fixed=tuple(_fixed(before, after)),
        blocking=tuple(blocking),
        notices=tuple(finding for finding in found if finding not in blocking),
        left=tuple(left),
        applied=applied,
        corrections=begin.corrections(request.data),
        patch=patch,
    )


def _outcome(
    repository: Repository,
    source: Source,
    fetched: Fetched,
    begin: Start,
    files: Mapping[str, File],
    *,
    changes: tuple[Change, ...] = (),
    fixed: tuple[Advisory, ...] = (),
    blocking: tuple[Finding, ...] = (),
    notices: tuple[Finding, ...] = (),
    left: tuple[str, ...] = (),
    applied: bool = False,
    corrections: tuple[str, ...] = (),
    patch: Path | None = None,
) -> Outcome:
    """What came of it, with what the service's own rules say of it, as they were before."""
    before = {name: file.data for name, file in files.items() if file.data is not None}
    after = before | {change.name: change.data for change in changes if change.data is not None}
    for change in changes:
        if change.data is None:
            after.pop(change.name, None)
    return Outcome(
        service=repository.name,
        source=source.address,
        recorded=fetched.recorded,
        wanted=fetched.wanted,
        changes=changes,
        fixed=fixed,
        blocking=blocking,
        notices=notices,
        left=left,
        applied=applied,
        plan=plan(
            before,
            after,
            released=fetched.wanted.at,
            now=datetime.now(UTC),
            fixed=fixed,
            code=begin.version,
            corrections=corrections,
        ),
        corrections=corrections,
        patch=patch,
    )


def _merged(
    checkout: Checkout, repository: Repository, fetched: Fetched, begin: Start, request: Request
) -> tuple[Merged, Mapping[str, File]]:
    """The changes, and the files of the last commit that they are about."""
    wanted = fetched.wanted.version
    old = fetched.template.release_of(fetched.base, fetched.recorded.text)
    new = fetched.template.release(wanted)
    if asks := next((name for name in NEED_TRUST if new.config.get(name)), None):
        raise Refused(f"{wanted.text} of the template runs code when it is rendered ({asks}), which no update needs.")
    given = begin.answers
    if unknown := next((name for name in request.data if name not in new.questions), None):
        raise CheckoutError(f"{wanted.text} has no question {unknown}. It has {', '.join(new.questions)}.")
    if request.data.get("project_name", repository.name) != repository.name:
        raise CheckoutError(f"The name of a service is no answer that an update changes. {RENAME}")
    base, becomes = rendered(old, given), rendered(new, {**given, **request.data})
    files = checkout.files({*base, *becomes, ANSWERS, LOCK, RULES, OWNERS})
    if ANSWERS not in files:
        raise CheckoutError(f"{ANSWERS} is not committed. Add and commit everything first.")
    if fetched.recorded == wanted and not (request.restore or request.data or begin.claimed):
        return Merged(), files
    merged = merge(base, becomes, files, kept=new.excludes(given), restore=request.restore)
    answers = new.recorded({**given, **request.data}, str(repository.recorded["_src_path"]))
    if answers != files[ANSWERS].data:
        merged.changes.append(Change(ANSWERS, files[ANSWERS].data, answers))
    return merged, files


def _blocking(before: Report, found: Iterable[Finding], *, locked: bool) -> Iterable[Finding]:
    """Faults that stop an update: a missing fix, or conflict markers that it brought."""
    for finding in found:
        if finding.kind not in _BLOCKS or (finding.kind != "fix-lost" and finding in before.findings):
            continue
        if finding.kind == "fix-lost" and finding.file == LOCK and not locked:
            continue  # the lock is still to be made, which is listed
        yield finding


def _fixed(before: Report, after: Report) -> Iterable[Advisory]:
    was = {verdict.advisory.id for verdict in before.verdicts if verdict.status.startswith("AFFECTED")}
    for verdict in after.verdicts:
        if verdict.advisory.id in was and not verdict.status.startswith("AFFECTED"):
            yield verdict.advisory


def _lock(folder: Path) -> str:
    """Have uv resolve the service's dependencies anew where they changed; why it could not, or "".

    uv builds nothing for it, and asks no interpreter that the service names (.venv, .python-version): either would be
    the repository's code.
    """
    if not (folder / LOCK).is_file():
        return "there is no uv.lock yet"
    try:
        options = ("--quiet", "--no-build", "--python", sys.executable)
        done = _uv("lock", *options, cwd=folder, seconds=_SECONDS_TO_LOCK, project_environment=_NO_FOLDER)
    except FileNotFoundError:
        return "uv is not installed"
    except subprocess.TimeoutExpired:
        return f"it took longer than {_SECONDS_TO_LOCK} seconds"
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    return f"uv failed: {said[-1].strip()}" if done.returncode else ""


def _prove(before: Path, folder: Path, fetched: Fetched) -> Iterable[Finding]:
    """Run the new version's proofs in the updated copy, and those that the service had before: an author who weakens a
    protection weakens its proof with it."""
    from . import previous_proofs

    cure = (
        "Run `uv run pytest tests/proofs` in a branch with the update (copier update), and see what stands against it."
    )
    try:
        done = _uv("run", "--locked", "pytest", "-q", "tests/proofs", cwd=folder, seconds=_SECONDS_TO_PROVE)
    except FileNotFoundError:
        raise CheckoutError("--proofs needs uv, which is not installed.") from None
    except subprocess.TimeoutExpired:
        text = f"The proofs took longer than {_SECONDS_TO_PROVE // 60} minutes."
        return [Finding("proof-failed", "error", text, cure, "tests/proofs")]
    if done.returncode == 0:
        patch = fetched.recorded.numbers[:2] == fetched.wanted.version.numbers[:2]
        return previous_proofs.run(before / previous_proofs.PROOFS, folder, patch=patch)
    lines = tuple((done.stdout or done.stderr).splitlines()[-20:])
    return [
        Finding("proof-failed", "error", "The proofs fail on the updated service.", cure, "tests/proofs", diff=lines)
    ]


def _uv(
    *arguments: str, cwd: Path, seconds: float, project_environment: str = ".venv"
) -> subprocess.CompletedProcess[str]:
    """Run uv in the copy, with no virtual environment but the copy's own. Raises FileNotFoundError without uv."""
    beside = Path(sys.executable).with_name("uv")
    program = shutil.which("uv") or (str(beside) if beside.exists() else "uv")
    left_out = {"VIRTUAL_ENV", "PYTHONPATH"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment["UV_PROJECT_ENVIRONMENT"] = project_environment
    return subprocess.run(  # noqa: S603 - a fixed program and arguments
        [program, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds,
    )
