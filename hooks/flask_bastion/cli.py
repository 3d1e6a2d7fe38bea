"""`flask-bastion`: what runs around a render, by the name and version that its caller pins.

Run it from a tag of the template (uvx --from git+<template>@<tag> flask-bastion check), never by a bare name on an
index, which an attacker could register.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from . import adopt, advisory, fleet, previous_proofs, prove, review, trust, updating
from .check import check
from .escape import terminal
from .report import FORMATS, rendered
from .repository import NO_SERVICE
from .template import Template, TemplateError
from .tree import NotRead

_COMMANDS = (
    ("update", updating.add_arguments, updating.run, "bring a service to a newer version, whole or not at all"),
    ("plan", review.add_arguments, review.run, "say whether a proposed update may merge by itself, and why not"),
    (
        "proofs",
        previous_proofs.add_arguments,
        previous_proofs.command,
        "run the proofs of the version before on a proposed update",
    ),
    ("prove", prove.add_arguments, prove.run, "run every further attack of its version on a copy of a service"),
    ("fleet", fleet.add_arguments, fleet.run, "say the same of many services, in one table or page"),
    ("adopt", adopt.add_arguments, adopt.run, "bring an application that exists under the template"),
)
"""The commands that stand in modules of their own: name, options, function and help."""
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status: 0 nothing found, 1 something found, 2 asked wrongly or not
    read."""
    parser = argparse.ArgumentParser(prog="flask-bastion", description="Looks after services made by this template.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_check(commands.add_parser("check", help="say whether a service has what its version promises"))
    for name, add_arguments, run, does in _COMMANDS:
        command = commands.add_parser(name, help=does)
        add_arguments(command)
        command.set_defaults(run=run)
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name in letters that this terminal has not must not end the run
            stream.reconfigure(errors="backslashreplace")
    try:
        with _interruptible():
            status: int = options.run(options)
    except (
        TemplateError,
        NotRead,
        advisory.InvalidAdvisory,
        *fleet.ERRORS,
        *adopt.ERRORS,
        *prove.ERRORS,
        *updating.ERRORS,
    ) as error:
        for line in str(error).splitlines():
            print(terminal(line), file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # whatever could be half done has taken itself back by now, or the next run completes it
        print("Stopped.", file=sys.stderr)
        return fleet.STOPPED
    return status


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Treat a signal to end (a CI cancels a job, a terminal closes) as an interruption like ^C: changes that were
    begun are undone, and no scratch folder stays. What the caller has ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {one: signal.getsignal(one) for one in _ENDS}
    heard = [one for one, handler in before.items() if handler is not signal.SIG_IGN]
    for one in heard:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one in heard:
            signal.signal(one, before[one] or signal.SIG_DFL)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", default=".", type=Path, help="the service's folder; default: this one")
    parser.add_argument(
        "--template", type=Path, metavar="FOLDER", help="a clone of the template, to compare every file of it with"
    )
    parser.add_argument(
        "--advisories",
        type=Path,
        metavar="FOLDER",
        help="further advisories, a file each, beside those that come along",
    )
    parser.add_argument(
        "--trust", type=Path, metavar="FILE", help=f"a list of trusted sources in place of the service's {trust.FILE}"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    service: Path = options.service
    if not service.is_dir():
        print(terminal(f"{service} is no folder. Name the folder of a service."), file=sys.stderr)
        return 2
    template = Template(options.template) if options.template else None
    report = check(
        service,
        advisory.together(
            advisory.shipped(),
            advisory.of_template(template) if template else (),
            advisory.in_folder(options.advisories) if options.advisories else (),
        ),
        template,
        trust.listed(options.trust) if options.trust else None,
        today=datetime.now(UTC).date(),
    )
    if not report.is_service and not report.not_read:
        print(terminal(f"{service} holds {NO_SERVICE}"), file=sys.stderr)
        return 2
    sys.stdout.write(rendered(report, options.format))
    return report.status
