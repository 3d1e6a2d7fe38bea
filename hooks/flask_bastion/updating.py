"""The command `update`: its options, and its result for people and for programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from . import trust
from .checkout import Completed
from .escape import document, terminal
from .finding import Finding
from .git import GitError
from .leftovers import line
from .report import finding_as_json
from .trust import InvalidTrust, Refused
from .update import Outcome, Request, update

MAX_FILES: Final = 40
"""Listed one by one for a person; a major version may change three hundred."""
MAX_FINDINGS: Final = 10
"""Of each kind of list, so that what matters stays on one screen; --json has all of them."""
ERRORS: Final = (InvalidTrust, GitError)
_OWNERS: Final = {"template": "the template's", "both": "the template's and yours"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `flask-bastion update` takes."""
    parser.add_argument("service", nargs="?", default=".", type=Path, help="the service's folder; default: this one")
    parser.add_argument("--to", type=_version, metavar="VERSION", help="a version such as v1.2.3; default: the newest")
    parser.add_argument(
        "--template",
        type=_folder,
        metavar="FOLDER",
        help="a clone or mirror to fetch from; its tags must be signed too",
    )
    parser.add_argument(
        "--trust", type=Path, metavar="FILE", help=f"a list of trusted sources in place of the service's {trust.FILE}"
    )
    parser.add_argument(
        "--data", action="append", default=[], type=_answer, metavar="NAME=ANSWER", help="an answer that changes"
    )
    parser.add_argument(
        "--restore", action="store_true", help="take the template's files as they are; your edits are kept as a patch"
    )
    parser.add_argument("--proofs", action="store_true", help="run the proofs first, in a copy with the update")
    parser.add_argument("--plan", action="store_true", help="only say what an update would do")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Update, and tell of it. The exit status: 0 done or nothing to do, 1 if something is in the way."""
    request = Request(
        wanted=options.to,
        folder=options.template,
        sources=trust.listed(options.trust) if options.trust else None,
        data=dict(options.data),
        restore=options.restore,
        plan=options.plan,
        proofs=options.proofs,
    )
    try:
        outcome = update(options.service, request)
    except Refused as error:
        print(terminal(str(error)), file=sys.stderr)
        return 1
    except Completed as done:
        print(terminal(str(done)))
        return 0
    sys.stdout.write(document(as_json(outcome)) if options.json else "".join(f"{one}\n" for one in as_text(outcome)))
    return outcome.status


def as_text(outcome: Outcome) -> Iterator[str]:
    """Line by line: from where to where, what it fixes, whose files change, what `check` finds, and what next.

    Reasons that stopped it stand last, next to the prompt.
    """
    wanted = outcome.wanted.version.text
    if not outcome.changes and not outcome.blocking:
        yield terminal(f"{outcome.service} has {wanted} of {outcome.source} already. Nothing was changed.")
        return
    signed = f"signed on {outcome.wanted.at:%Y-%m-%d}"
    way = f"{outcome.recorded.text} -> {wanted} ({outcome.plan.lane})" if outcome.recorded.text != wanted else wanted
    yield terminal(f"{outcome.service} {way} from {outcome.source}, {signed}")
    yield from (terminal(f"  {one}") for one in outcome.corrections)
    for one in () if outcome.blocking else outcome.fixed:
        yield terminal(f"  fixes {one.id} ({one.severity.lower()}): {one.summary}")
    for owner, whose in _OWNERS.items():
        changes = [change for change in outcome.changes if change.owner == owner]
        if changes and not outcome.blocking:
            yield f"  {whose}: {len(changes)} file{'s'[: len(changes) != 1]}"
            yield from (terminal(f"    {change.letter} {change.name}") for change in changes[:MAX_FILES])
            if len(changes) > MAX_FILES:
                yield f"    and {len(changes) - MAX_FILES} more"
    if outcome.notices:
        yield "What `check` finds in it:"
        yield from (f"  {line(finding)}" for finding in outcome.notices[:MAX_FINDINGS])
        yield from _more(outcome.notices)
    if outcome.blocking:
        yield "Not done, and nothing was changed:"
        for finding in outcome.blocking[:MAX_FINDINGS]:
            yield f"  {line(finding)}"
            yield from (f"    | {terminal(one)}" for one in finding.diff)
        yield from _more(outcome.blocking)
    if outcome.passing:
        yield terminal(f"{outcome.passing.text} would pass: update with --to {outcome.passing.text}")
    if outcome.patch:
        yield terminal(f"Your edits of the template's files are kept as a patch: {outcome.patch}")
    yield from _next(outcome)


def _more(findings: Sequence[Finding]) -> Iterator[str]:
    if len(findings) > MAX_FINDINGS:
        yield f"  and {len(findings) - MAX_FINDINGS} more; --plan --json lists them all, with what differs"


def _next(outcome: Outcome) -> Iterator[str]:
    if outcome.blocking:
        return
    if not outcome.applied:
        yield "It may merge by itself." if outcome.plan.by_itself else "It needs a person:"
        yield from (terminal(f"    {reason}") for reason in outcome.plan.reasons)
        yield "This was a plan: nothing was changed."
        return
    yield "Staged, not committed. What next:"
    yield "    git diff --cached"
    yield from (terminal(f"    {one}") for one in outcome.left)
    yield "    uv sync && uv run pytest"
    yield terminal(f'    git commit --all --message "Update flask-bastion to {outcome.wanted.version.text}"')


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome for programs; fields are added, never renamed."""
    return {
        "service": outcome.service,
        "source": outcome.source,
        "from": outcome.recorded.text,
        "to": outcome.wanted.version.text,
        "commit": outcome.wanted.commit,
        "signed_at": outcome.wanted.at.isoformat(),
        "lane": outcome.plan.lane,
        "applied": outcome.applied,
        "status": outcome.status,
        "files": [{"name": change.name, "owner": change.owner, "change": change.letter} for change in outcome.changes],
        "fixes": [
            {"id": one.id, "severity": one.severity, "summary": one.summary}
            for one in (() if outcome.blocking else outcome.fixed)
        ],
        "passing": outcome.passing.text if outcome.passing else None,
        "blocking": [finding_as_json(one) for one in outcome.blocking],
        "findings": [finding_as_json(one) for one in outcome.notices],
        "left": list(outcome.left),
        "plan": outcome.plan.as_json(),
        "corrections": list(outcome.corrections),
        "patch": str(outcome.patch) if outcome.patch else None,
    }


def _version(text: str) -> Any:
    found = trust.wanted_version(text)
    if found is None:
        raise argparse.ArgumentTypeError("this is no version such as v1.2.3")
    return found


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError("this is no folder; name a clone or mirror of the template on this machine")
    return path


def _answer(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("write a question and its answer as name=answer")
    return name, value
