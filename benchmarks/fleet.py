"""A fleet: how long `flask-bastion fleet` takes for a thousand services, and for the same again with --resume.

    python benchmarks/fleet.py [--services N] [--jobs N] [--keep FOLDER]

Services of every sign-in and database and of several versions are rendered once each, then copied with hard links; a
few files of each are its own (its answers, its app, its exceptions), as they would be. Seconds by the clock and of CPU
are printed: on a busy machine only the latter say anything. The budget of a thousand is 30 seconds on two processors.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice, product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "hooks")]

from histories import History, record, recorded  # noqa: E402 - found by the line above

VERSIONS = ("v1.0.1", "v1.0.4", "v1.1.2", "v1.2.0", "v1.2.1")
AUTHS = ("session", "jwt")
DATABASES = ("sqlite", "postgresql", "mysql")
OWN = (".copier-answers.yml", "uv.lock")
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from flask_bastion.cli import main; sys.exit(main())"


def make(folder: Path, history: History, count: int) -> None:
    """That many services: each has the files of one that was rendered, and some of its own."""
    kinds = list(product(VERSIONS, AUTHS, DATABASES))
    for version, auth, database in kinds:
        target = folder / "rendered" / f"{version}-{auth}-{database}"
        history.service(target, version, auth=auth, database=database)
    for number, (version, auth, database) in enumerate(islice(cycle(kinds), count)):
        source, target = folder / "rendered" / f"{version}-{auth}-{database}", folder / "clones" / f"svc-{number:04}"
        shutil.copytree(source, target, copy_function=os.link)
        app = target / "src" / "my_service" / "app.py"
        for file in (*(target / name for name in OWN), app):
            text = file.read_bytes()
            file.unlink()  # the others keep theirs
            file.write_bytes(text)
        app.write_text(f"{app.read_text(encoding='utf-8')}\n\ndef number() -> int:\n    return {number}\n", "utf-8")
        answers = recorded(target)
        record(target, answers)
        if number % 50 == 0:  # somebody edited what is the template's
            clock = target / "src" / "my_service" / "bastion" / "clock.py"
            text = clock.read_bytes()
            clock.unlink()
            clock.write_bytes(text + b"\n# ours\n")


def run(*arguments: str | Path) -> tuple[float, float, str]:
    """Seconds by the clock, seconds of CPU, and the last line of one run."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-c", START, str(ROOT / "hooks"), "fleet", *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 1:
        raise RuntimeError(f"it exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, done.stdout.splitlines()[-1]


@contextlib.contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """The folder that is kept, or one that is not."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="make the services in this folder, or take those that it has")
    options = parser.parse_args()
    with place(options.keep) as folder:
        advisories = folder / "advisories"
        if not advisories.exists():
            history = History.make(folder / "template")
            make(folder, history, options.services)
            advisories.mkdir()
            history.write_advisories(advisories)
        state = folder / "state.jsonl"
        state.unlink(missing_ok=True)
        arguments = (folder / "clones", "--template", folder / "template", "--advisories", advisories)
        more = ("--jobs", str(options.jobs), "--resume", state, "--html", folder / "fleet.html")
        for name in ("first run", "with --resume"):
            took, cpu, said = run(*arguments, *more)
            print(f"{name}: {took:.1f} s by the clock, {cpu:.1f} s of CPU. {said}")
        print(f"the page: {(folder / 'fleet.html').stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
