"""`flask-bastion adopt`: an application that grew without the template comes under it, and loses nothing on the way.

A template that renders over an application destroys it, and one that has to be copied from by hand is given up half
way, with half of the protections. So all missing files are added at once, no existing file is changed, and the steps
that remain are listed in order. The repository is untrusted: it is read as data, and none of its code is run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import version
from .adoption import ASIDE, placement, worktree
from .repository import ANSWERS
from .template import Template, TemplateError
from .version import Version

if TYPE_CHECKING:
    from .adoption.survey import Survey

STOPPED: Final = 130
"""The exit status of a run that a person ended."""
FORMATS: Final = ("text", "json")


class AdoptError(Exception):
    """It was asked wrongly, or can't be done here. The text says what to do, in one line."""


ERRORS: Final = (AdoptError, placement.PlacementError, worktree.WorktreeError)
"""What `run` raises beside the errors of the template."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `flask-bastion adopt` takes."""
    parser.add_argument(
        "folder", nargs="?", default=".", type=Path, help="the application's repository; default: this one"
    )
    parser.add_argument(
        "--template",
        type=Path,
        metavar="FOLDER",
        help="a clone of the template; default: a clone of where this program was installed from",
    )
    parser.add_argument("--to", metavar="vX.Y.Z", help="the template's version; default: the newest that is released")
    parser.add_argument(
        "--source", metavar="ADDRESS", help="where updates will come from; default: where the clone came from"
    )
    parser.add_argument(
        "--data", action="append", default=[], type=_pair, metavar="name=value", help="an answer; can be given often"
    )
    parser.add_argument("--diff", action="store_true", help="also show how the files that exist differ")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument(
        "--write", action="store_true", help=f"add the missing files, and put versions of existing files into {ASIDE}/"
    )


def run(options: argparse.Namespace) -> int:
    """List the steps; with --write, add the files. Return 0, or 1 if something prevents it."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("Stopped. Nothing was put in.", file=sys.stderr)
        return STOPPED


def _run(options: argparse.Namespace) -> int:
    from .adoption import listing, survey  # here, so that the other commands start without them
    from .adoption.origin import named, opened

    folder: Path = options.folder
    if not folder.is_dir():
        raise AdoptError(f"{folder} is no folder.")
    given: Mapping[str, str] = dict(options.data)
    with opened(options.template) as (template, address):
        source = named(options.source) if options.source else address
        found = survey.look(folder, template.release(_version(template, options.to)), source, given)
    if found.is_service:
        raise AdoptError(f"{folder} holds {ANSWERS}: it is a service already. `flask-bastion check` says how it is.")
    if not options.write:
        sys.stdout.write(listing.rendered(found, options.format, diff=options.diff))
        return int(bool(found.hindrances))
    put_in(folder, found)
    sys.stdout.write(listing.rendered(found, options.format, diff=options.diff, written=True))
    return 0


def put_in(folder: Path, found: Survey) -> None:
    """Add the new files, and beside them those that a person has to merge. All or nothing: raises one of ERRORS."""
    from .adoption import listing

    if found.hindrances:
        raise AdoptError(found.hindrances[0])
    open_files = worktree.uncommitted(folder)
    if open_files:
        more = f" and {len(open_files) - 1} more" if len(open_files) > 1 else ""
        raise AdoptError(f"{open_files[0]}{more}: not committed. Commit or remove it first, so that git can undo this.")
    files = {**found.new, **{f"{ASIDE}/{name}": data for name, data in found.aside.items()}}
    files |= {f"{ASIDE}/example/{name}": data for name, data in found.example.items()}
    files[f"{ASIDE}/STEPS.txt"] = listing.rendered(found, "text", diff=True, written=True).encode()
    files[ANSWERS] = found.recorded  # last: it makes the folder a service
    placement.put_in(folder, files)


def _version(template: Template, wanted: str | None) -> Version:
    if wanted is None:
        released = [one for one in template.tags() if one.released]
        if not released:
            raise TemplateError(f"{template.path} has no released version (a tag like v1.0.0). Fetch its tags.")
        return released[-1]
    found = version.parse(wanted)
    if found is None or found.commits:
        raise TemplateError(f"{wanted} is no version. Write --to v1.0.0, or the like.")
    return found


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError("write name=value, as in auth=jwt")
    return name, value
