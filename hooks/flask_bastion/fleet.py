"""`flask-bastion fleet`: which services have which fix, over all repositories at once, and again tomorrow.

On the day of an advisory the question is who is affected, and a repository that breaks the run, or was left out of it,
would be the one that matters. So each is looked at on its own, and the answer to each is kept as it comes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from . import escape, overview, places, workers
from .overview import Fleet
from .row import Service
from .scan import Question
from .template import Template

STOPPED: Final = 130
"""The exit status of a run that a person ended."""
_BEGINS: Final = '{"key": '
"""Each line of a file of --resume."""
_BAR: Final = 30
_EVERY: Final = 0.1  # seconds between two pictures of the progress


class FleetError(Exception):
    """The command was called wrongly, or can't write the named file. The text says what to do."""


ERRORS: Final = (FleetError, places.PlaceError, workers.WorkerError)
"""What `run` raises beside the errors of the template and its advisories."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `flask-bastion fleet` takes."""
    parser.add_argument(
        "places",
        nargs="*",
        type=Path,
        metavar="PLACE",
        help="a service, a folder of clones, or a file that names such, one a line; "
        "default: this folder, and in a terminal you choose",
    )
    parser.add_argument(
        "--template", type=Path, metavar="FOLDER", help="a clone of the template, to compare files with"
    )
    parser.add_argument("--advisories", type=Path, metavar="FOLDER", help="further advisories, a file each")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write JSON instead of the table")
    form.add_argument("--csv", action="store_true", help="write CSV instead of the table")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write one page that is complete in itself")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="store the results in this file, and look only at repositories that are new or have changed since",
    )
    parser.add_argument("--jobs", type=_number, default=_processors(), help="processes; default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Look at every service and tell of it: 0 if all are good, 1 if not, 2 if asked wrongly."""
    found = places.find(options.places or [Path()])
    paths = list(found.services)
    if not options.places and sys.stdin.isatty() and sys.stdout.isatty():
        paths = choose(paths)
    now = datetime.now(UTC)
    template = Template(options.template) if options.template else None
    question = Question(
        template.path if template else None, options.advisories.resolve() if options.advisories else None, now.date()
    )
    known = question.known(template)
    try:
        rows = scan(paths, question, options.jobs, options.resume, sys.stderr if sys.stderr.isatty() else None)
    except KeyboardInterrupt:
        kept = "The same command goes on from here." if options.resume else "With --resume FILE it could go on."
        print(f"Stopped. {kept}", file=sys.stderr)
        return STOPPED
    fleet = Fleet(
        at=now,
        advisories=tuple(known),
        rows=tuple(rows),
        others=tuple(map(str, found.others)),
        empty=tuple(map(str, found.empty)),
        compared=template is not None,
        released=template.tags()[-1].text if template and template.tags() else "",
    )
    if options.html:
        from .page import page  # with Jinja behind it

        _write(options.html, page(fleet))
    sys.stdout.write(_rendered(fleet, options))
    return fleet.status


def scan(
    paths: Sequence[Path], question: Question, jobs: int, resume: Path | None = None, show: IO[str] | None = None
) -> list[Service]:
    """The row of each path, in their order. What `resume` holds and still applies is not looked at again.

    Raises TemplateError and WorkerError, and FleetError if `resume` can't be written.
    """
    template = Template(question.template) if question.template else None
    digest = question.digest(template)
    kept = _kept(resume) if resume else {}
    rows: dict[str, tuple[str, Service]] = {}
    tasks = [(str(path), kept.get(str(path), ("", None))[0]) for path in paths]
    with _state(resume) as state, _Progress(show, len(tasks)) as progress:
        for path, answer in workers.answers({**question.as_json(), "digest": digest}, tasks, jobs):
            if isinstance(answer, str):
                rows[path] = ("", Service(path, fault=answer))
            elif answer["service"] is None:
                rows[path] = kept[path]
            else:
                rows[path] = (answer["key"], Service.from_json(answer["service"]))
                state.write(_line(*rows[path]) if answer["key"] else "")
                state.flush()
            progress.step(rows[path][1])
    if resume:
        _write(resume, "".join(_line(key, row) for key, row in rows.values() if key))
    return [rows[str(path)][1] for path in paths]


def choose(paths: Sequence[Path]) -> list[Path]:
    """Let a person choose with arrow keys and space. Raises FleetError if nothing was chosen."""
    import questionary

    titles = [questionary.Choice(escape.terminal(os.path.relpath(path)), value=path, checked=True) for path in paths]
    asked = questionary.checkbox("Which services?", titles, use_search_filter=True, use_jk_keys=False)
    chosen: list[Path] | None = asked.ask()
    if not chosen:
        raise FleetError("No service was chosen.")
    return chosen


def _rendered(fleet: Fleet, options: argparse.Namespace) -> str:
    if options.json:
        return escape.document(overview.as_json(fleet))
    if options.csv:
        return overview.as_csv(fleet)
    terminal = sys.stdout.isatty()
    width = os.get_terminal_size(sys.stdout.fileno()).columns if terminal else 0
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return "".join(f"{line}\n" for line in overview.as_text(fleet, width=width, color=color))


# --- the stored rows -----------------------------------------------------------------------------------------------


def _line(key: str, row: Service) -> str:
    return json.dumps({"key": key, "service": row.as_json()}) + "\n"


def _kept(file: Path) -> dict[str, tuple[str, Service]]:
    """The key and the row of each path; a line that was half written when a run ended is left out.

    Raises FleetError for a file of something else, which would be lost.
    """
    found: dict[str, tuple[str, Service]] = {}
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return found
    except OSError as error:
        raise FleetError(f"{file} can't be read ({error.strerror}). Name a file for --resume.") from None
    if any(line and not line.startswith(_BEGINS[: len(line)]) for line in lines):
        raise FleetError(f"{file} is no file of an earlier --resume, and was left as it is. Name a new one.")
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            about = json.loads(line)
            row = Service.from_json(about["service"])
            found[row.path] = (str(about["key"]), row)
    return found


@contextlib.contextmanager
def _state(file: Path | None) -> Iterator[IO[str]]:
    """Where rows are added as they come. A run that is ended leaves them there."""
    try:
        with open(file or os.devnull, "a", encoding="utf-8") as opened:
            opened.write("\n")  # after half a line
            yield opened
    except OSError as error:
        raise FleetError(f"{file} can't be written ({error.strerror}).") from None


def _write(file: Path, text: str) -> None:
    """Write the whole file or none of it, with mode 0600: it names vulnerable services."""
    try:
        file = file.resolve()
        if file.exists() and not file.is_file():  # /dev/stdout, a pipe
            file.write_text(text, encoding="utf-8")
            return
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as opened:
            try:
                opened.write(text)
                opened.close()
                os.replace(opened.name, file)
            except BaseException:
                os.unlink(opened.name)
                raise
    except OSError as error:
        raise FleetError(f"{file} can't be written ({error.strerror}).") from None


# --- the progress bar ------------------------------------------------------------------------------------------------


class _Progress:
    """A bar in a terminal; without a terminal nothing. It is removed at the end."""

    def __init__(self, terminal: IO[str] | None, whole: int) -> None:
        self._terminal = terminal
        self._whole = whole
        self._seen = 0
        self._affected = 0
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._put("")

    def step(self, row: Service) -> None:
        """One more was looked at."""
        self._seen += 1
        self._affected += row.state == "affected"
        now = time.monotonic()
        if now - self._shown >= _EVERY:
            self._shown = now
            left = (now - self._began) / self._seen * (self._whole - self._seen)
            full = _BAR * self._seen // self._whole
            bar = "█" * full + "░" * (_BAR - full)
            self._put(f"{bar} {self._seen:,} of {self._whole:,}, {self._affected:,} affected, {left:.0f} s left")

    def _put(self, text: str) -> None:
        if self._terminal:
            self._terminal.write(f"\r\x1b[K{text}")
            self._terminal.flush()


def _processors() -> int:
    with contextlib.suppress(AttributeError):  # Linux alone says which this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _number(text: str) -> int:
    number: Any = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError("it must be a number from 1 to 64")
    return int(number)
