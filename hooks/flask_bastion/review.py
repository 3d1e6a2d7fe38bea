"""An update that a branch proposes is judged before it is merged, by version and rules of the branch that it goes to.

The author of the branch would else be their own judge: its answers file, list of trusted sources, renovate.json and
CODEOWNERS are part of the proposal. So these are read from the commit that it is based on, through git's objects.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from . import advisory, start, trust
from .borrowed import Borrowed
from .checkout import Checkout
from .drift import drift, same
from .escape import document, terminal
from .finding import Finding
from .git import GitError
from .leftovers import line
from .plan import OWNERS, RULES, Plan, fixes, plan, recorded
from .repository import ANSWERS, Repository
from .start import Start
from .template import TemplateError
from .trust import Fetched, Refused
from .version import Version, parse

_REF: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/^~-]{0,199}", re.ASCII)
_READ: Final = (ANSWERS, RULES, OWNERS, trust.FILE, "pyproject.toml")
"""Files whose text is looked at; of every other one only whether it changes."""
_UNKNOWN: Final = "So the version that it updates from is not known. Correct the target branch first."
_MOST_CHANGES: Final = 20_000
_LARGEST_ANSWER: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Proposal:
    """Both sides of a branch: `before` is where it goes to, `after` the checked-out commit.

    Each holds the files that differ and those that are read, by name: the text of the latter, an id for any other.
    """

    base: str  # commit
    heads: frozenset[str]  # the commit that is checked out, and those that a merge brings together in it
    before: Mapping[str, bytes]
    after: Mapping[str, bytes]

    @property
    def changed(self) -> frozenset[str]:
        """The names of all files that differ."""
        return frozenset(
            name for name in self.before.keys() | self.after.keys() if self.before.get(name) != self.after.get(name)
        )

    @property
    def versions(self) -> tuple[Version | None, Version | None]:
        """The recorded version of both sides, where it is one."""
        return parse(recorded(self.before).get("_commit")), parse(recorded(self.after).get("_commit"))

    @property
    def is_update(self) -> bool:
        """Whether it brings another version of the template."""
        return recorded(self.before).get("_commit") != recorded(self.after).get("_commit")


def proposed(service: Path, base: str) -> Proposal:
    """What the checked out commit changes of `base`, a commit or branch. Raises TemplateError; what isn't committed is
    left out."""
    try:
        git = Borrowed(service).git
        base, head = _commit(base, git), _commit("HEAD", git)
        raw = git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", base, head)
        parents = git("rev-list", "--parents", "-n", "1", head).decode().split()[1:]
        before, after = _texts(base, git), _texts(head, git)
    except GitError as error:
        raise TemplateError(f"{service} can't be compared with what it goes to. {error}") from None
    parts = raw.decode(errors="surrogateescape").split("\0")
    if len(parts) > 2 * _MOST_CHANGES:
        raise TemplateError(f"More than {_MOST_CHANGES} files change, which is no update of the template.")
    for about, name in zip(parts[::2], parts[1::2], strict=False):
        modes = about.lstrip(":").split()
        if modes[0].startswith("100"):
            before.setdefault(name, modes[2].encode())
        if modes[1].startswith("100"):
            after.setdefault(name, modes[3].encode())
        else:
            before.setdefault(name, b"")  # so that a link that comes anew is a file that goes
    return Proposal(base, frozenset({head, *parents[1:]}), before, after)


def _commit(ref: str, git: Callable[..., bytes]) -> str:
    if not _REF.fullmatch(ref):
        raise TemplateError(f"{ref!r} is no commit or branch. Name the one that the update goes to: --base HEAD^1.")
    try:
        found = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except GitError:
        raise TemplateError(f"{ref} is no commit here. Name the one that the update goes to: --base HEAD^1.") from None
    return found.decode().strip()


def _texts(commit: str, git: Callable[..., bytes]) -> dict[str, bytes]:
    """The files of a commit that are read, if they are regular ones of no unusual size."""
    listed = git("ls-tree", "-r", "-z", "-l", commit, "--", *_READ).decode(errors="surrogateescape")
    texts = {}
    for entry in filter(None, listed.split("\0")):
        about, _, name = entry.partition("\t")
        mode, _, blob, size = about.split()
        if mode.startswith("100") and int(size) <= trust.LARGEST_BYTES * 16:
            texts[name] = git("cat-file", "blob", blob)
    return texts


# --- the command -------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `plan`."""
    parser.add_argument("service", nargs="?", default=".", type=Path, help="the service's folder; default: this one")
    parser.add_argument("--base", required=True, metavar="REF", help="the commit that the update goes to: HEAD^1 in CI")
    parser.add_argument("--template", type=Path, metavar="FOLDER", help="a clone to fetch from, not the address")
    parser.add_argument("--trust", type=Path, metavar="FILE", help=f"a list of sources, not the base's {trust.FILE}")
    parser.add_argument(
        "--approvals", type=Path, metavar="FILE", help="who approved, as GitHub answers the query of the workflow"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Judge the checked-out commit: 0 it may merge, 1 it may not, or not without a person.

    Raises TemplateError and InvalidTrust.
    """
    proposal = proposed(options.service, options.base)
    if not proposal.is_update:
        same = str(recorded(proposal.after).get("_commit", ""))
        judged, findings = Plan("none", same, same), list[Finding]()
    else:
        sources = trust.listed(options.trust) if options.trust else _sources(proposal)
        try:
            judged, findings = _judged(options.service, proposal, sources, options.template)
        except Refused as error:
            print(terminal(f"{error} No approval can permit it."), file=sys.stderr)
            return 1
    approvals = _approvals(options.approvals, proposal.heads) if options.approvals else []
    if options.json:
        about = judged.as_json() | {"findings": [line(one) for one in findings], "approved_by": approvals}
        sys.stdout.write(document(about))
    else:
        for text in _told(judged, findings, approvals):
            print(terminal(text))
    return int(bool(findings) or not (judged.by_itself or approvals))


def _sources(proposal: Proposal) -> tuple[trust.Source, ...]:
    data = proposal.before.get(trust.FILE)
    return () if data is None else trust.parse(data, trust.FILE)


def _judged(
    service: Path, proposal: Proposal, sources: tuple[trust.Source, ...], folder: Path | None
) -> tuple[Plan, list[Finding]]:
    """The plan, and the places where the proposal differs from the signed version."""
    repository = Repository.open(service)
    try:
        found = _judged_of(repository, service, proposal, sources, folder)
    finally:
        repository.tree.must_be_read()  # before anything that is said of it
    return found


def _judged_of(
    repository: Repository, service: Path, proposal: Proposal, sources: tuple[trust.Source, ...], folder: Path | None
) -> tuple[Plan, list[Finding]]:
    old, new = proposal.versions
    now = datetime.now(UTC)
    if old is None or new is None or new.commits:
        return plan(proposal.before, proposal.after, released=None, now=now), []  # the plan lists their faults
    source = trust.trusted(repository, sources)
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as scratch:
        before = Repository.open(Checkout(service).copy(Path(scratch, "before"), proposal.base).folder)
        begin = start.of_code(before) if before.contradictions() else start.recorded(before)
        before.tree.must_be_read()
        if begin is None:
            raise Refused(f"{before.contradictions()[0].text} {_UNKNOWN}")
        fetched = trust.fetch_template(
            source, begin.version, begin.commit, Path(scratch, "template.git"), wanted=new, folder=folder,
            denied=begin.denied,
        )  # fmt: skip
        if file := begin.against(Repository.open(before.tree.root), fetched.template):
            raise Refused(f"{before.contradictions()[0].text} But {file} is as the answers file says. {_UNKNOWN}")
        advisories = advisory.together(advisory.shipped(), advisory.of_template(fetched.template))
        fixed = [
            one
            for one in fixes(advisories, begin.version, new)
            if any(repository.may_be(affected.when) for affected in one.affected)
        ]
        judged = plan(
            proposal.before, proposal.after, released=fetched.wanted.at, now=now, fixed=fixed,
            code=begin.version, corrections=begin.corrections(),
        )  # fmt: skip
        about = proposal.changed | _left_out(repository, begin, fetched)
        findings = [one for one in drift(repository, fetched.template) if one.file in about]
    return judged, findings


def _left_out(repository: Repository, begin: Start, fetched: Fetched) -> frozenset[str]:
    """Files that stand as the version before renders them: what the new one changes in them did not come."""
    expected = fetched.template.release_of(fetched.base, begin.version.text).render(begin.answers)
    mine = ((repository.read(name), name, data) for name, data in expected.items())
    return frozenset(name for read, name, data in mine if read is not None and same(read, data))


def _told(judged: Plan, findings: list[Finding], approvals: list[str]) -> list[str]:
    if judged.lane == "none":
        return [f"The version of the template stays {judged.before or 'unknown'}: there is no update to judge."]
    kind = "An update" if judged.lane == "unclear" else f"A {judged.lane} update"
    lines = [f"{kind} from {judged.before or 'no version'} to {judged.after or 'no version'}."]
    if findings:
        lines += [line(one) for one in findings]
        lines.append("This is not the version that was signed, and no approval makes it so.")
    elif judged.by_itself:
        lines.append("It may merge by itself.")
    lines += [f"  {reason}" for reason in judged.reasons]
    if judged.reasons and not findings:
        lines.append(
            f"Approved by {', '.join(approvals)}."
            if approvals
            else "It needs a person: who approves this pull request as it is now answers for it."
        )
    return lines


def _approvals(file: Path, heads: frozenset[str]) -> list[str]:
    """Who approved just this, and may write to the repository: accounts of people, none of them its author.

    `heads` are the judged commits: the proposed commit is among them, or the branch has moved on since. Raises
    TemplateError for an invalid answer, so that no approval is ever read into it.
    """
    try:
        with file.open("rb") as opened:
            answer = json.loads(opened.read(_LARGEST_ANSWER))
        request = answer["data"]["repository"]["pullRequest"]
        proposed_now = request["headRefOid"]
        author = (request["author"] or {}).get("login")
        reviews = request["latestOpinionatedReviews"]["nodes"]
        if proposed_now not in heads:
            return []
        return sorted(
            review["author"]["login"]
            for review in reviews
            if review["state"] == "APPROVED"
            and review["commit"]["oid"] == proposed_now
            and review["author"]["__typename"] == "User"
            and review["author"]["login"] != author
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TemplateError(f"{file} is no answer of GitHub's about a pull request. Ask again.") from None
