"""Runs the commands of docs/platform.md in a fresh folder, so that the page shows what they print, not what we think.

`python docs/tutorial.py` writes the output below each block of commands; `--check` exits 1, with the difference,
when the page shows something else. It needs git, OpenSSH, a Python with venv, and the package index for pip.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/platform.md"
SECONDS = 600
"""For the whole page; it takes about 30 on a quiet machine, most of them for pip."""
BLOCK = re.compile(
    r"^```bash(?: exit=(?P<status>\d+))?\n(?P<commands>.*?)^```\n(?:\n```text\n(?P<said>.*?)^```\n)?", re.M | re.S
)
FOLDER = "/home/you/platform"  # what differs from run to run is shown as this
DAY = "2027-03-01"


class Stopped(Exception):
    """A block of commands ended otherwise than the page says. The text is what it printed."""


@dataclass(frozen=True)
class Days:
    """The days on which a run began and ended: whatever it prints as today is one of them."""

    first: date
    last: date

    def stable(self, text: str) -> str:
        """The same text with nothing in it that is another one tomorrow."""
        for day in {self.first, self.last}:
            text = text.replace(f"{day:%Y-%m-%d}", DAY)
            text = re.sub(rf"{day:%Y%m%d}T\d{{6}}", f"{DAY.replace('-', '')}T090000", text)
        return re.sub(r"ssh-ed25519 AAAA[A-Za-z0-9+/]{64}", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI...", text)


def run(page: str, upstream: Path, folder: Path) -> str:
    """The page with what its commands print today, in one shell that begins in `folder`. Raises Stopped."""
    said = folder.parent / "said"
    said.mkdir()
    blocks = list(BLOCK.finditer(page))
    script = "\n".join(
        f"{{\n{block['commands']}}} >{said}/{number} 2>&1\n[ $? = {block['status'] or 0} ] || exit 99\n"
        for number, block in enumerate(blocks)
    )
    first = datetime.now(UTC).date()
    result = subprocess.run(  # noqa: S603 - the page is ours
        ["bash", "-u", "-o", "pipefail", "-c", script],  # noqa: S607 - the shell that readers have
        cwd=folder,
        env=environment(upstream, folder.parent),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    days = Days(first, datetime.now(UTC).date())
    printed = [path.read_text(encoding="utf-8") for path in sorted(said.iterdir(), key=lambda path: int(path.name))]
    if result.returncode or len(printed) != len(blocks):
        last = blocks[len(printed) - 1]["commands"] if printed else ""
        raise Stopped(f"{last}\n{printed[-1] if printed else ''}{result.stderr}")
    outputs = iter(days.stable(text.replace(str(folder), FOLDER)) for text in printed)

    def block(found: re.Match[str]) -> str:
        commands = found[0].partition("\n```\n")[0] + "\n```\n"
        output = next(outputs)
        return f"{commands}\n```text\n{output}```\n" if output else commands

    return BLOCK.sub(block, page)


def environment(upstream: Path, scratch: Path) -> dict[str, str]:
    """A machine without settings of a user, and whose caches are not touched."""
    ours = ("GIT_", "PYTHONPATH", "VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT", "COPIER_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return clean | {
        "UPSTREAM": str(upstream),
        "LC_ALL": "C.UTF-8",
        "XDG_CACHE_HOME": str(scratch / "cache"),
        "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache/pip")),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
    }


def copy_of_this_repository(target: Path) -> None:
    """The work tree as a git repository of one commit: what a reader clones."""

    def git(*arguments: str, cwd: Path = target) -> bytes:
        identity = ("-c", "user.name=Upstream", "-c", "user.email=upstream@example.com")
        done = subprocess.run(["git", *identity, *arguments], cwd=cwd, capture_output=True, check=True)  # noqa: S603, S607
        return done.stdout

    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all", "--force")
    git("commit", "--quiet", "--message", "flask-bastion")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or check it: 0 if it shows the current output, 1 if not."""
    parser = argparse.ArgumentParser(prog="tutorial.py", description="Runs the commands of a page.")
    parser.add_argument("page", nargs="?", type=Path, default=PAGE, help="default: docs/platform.md")
    parser.add_argument("--check", action="store_true", help="only compare")
    options = parser.parse_args(arguments)
    before = options.page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="tutorial-") as scratch:
        upstream, folder = Path(scratch) / "upstream", Path(scratch) / "platform"
        upstream.mkdir()
        folder.mkdir()
        if "$UPSTREAM" in before:
            copy_of_this_repository(upstream)
        try:
            after = run(before, upstream, folder)
        except Stopped as error:
            print(f"{options.page.name} goes on otherwise than it says:\n{error}", file=sys.stderr)
            return 1
    if not options.check:
        options.page.write_text(after, encoding="utf-8")
    elif before != after:
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "shown", "printed", lineterm="")
        print(*lines, "Run: python docs/tutorial.py", sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
