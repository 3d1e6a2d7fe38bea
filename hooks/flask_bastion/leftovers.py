"""Nothing that an update left half done is committed.

Copier exits 0 on a conflict; a marker inside a protection, or a .rej file beside it, is a fix that never arrived.
Standard library only: as a hook of pre-commit nothing is installed for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .escape import terminal
from .finding import Finding
from .tree import LARGEST_BYTES, NotRead, Tree

MARKERS: Final = (b"<<<<<<< before updating", b">>>>>>> after updating")
"""What Copier writes around both sides of a conflict."""


def leftovers(tree: Tree) -> list[Finding]:
    """What an update left in a repository, one finding a file, with the cure; [] when there is nothing."""
    found = []
    for name in tree.names():
        if name.endswith(".rej"):
            cure = f"Merge what it holds into {name.rpartition('/')[2].removesuffix('.rej')}, then delete it."
            found.append(Finding("leftover-reject", "error", "a rejected change.", cure, name))
        elif tree.sizes[name] <= LARGEST_BYTES:
            data = tree.read(name) or b""
            if not any(marker in data for marker in MARKERS):  # most files: one search, no lines
                continue
            lines = (line.rstrip() for line in data.splitlines())
            number = next((at for at, line in enumerate(lines, start=1) if line in MARKERS), 0)
            if number:
                cure = "Merge both sides, then delete the markers."
                found.append(Finding("leftover-conflict", "error", "a conflict.", cure, name, number))
    return found


def line(finding: Finding) -> str:
    """The finding as one line, with its place first, as compilers write it."""
    place = terminal(finding.file) + (f":{finding.line}" if finding.line else "")
    said = terminal(f"{finding.text} {finding.cure}".strip())
    return f"{place}: {said}" if place else said


def main(arguments: Sequence[str] | None = None) -> int:
    """The hook: print what an update left in a service's folder; 1 if there is anything, 2 if it is no service
    or was not read."""
    parser = argparse.ArgumentParser(description="Says what an update left half done.")
    parser.add_argument("service", nargs="?", default=".", type=Path, help="the service's folder; default: this one")
    service: Path = parser.parse_args(arguments).service
    tree = Tree(service)
    found = leftovers(tree)
    try:
        tree.must_be_read()
    except NotRead as error:
        print(terminal(str(error)), file=sys.stderr)
        return 2
    if ".copier-answers.yml" not in tree.sizes:
        print(terminal(f"{service} holds no .copier-answers.yml, so it is no rendered service."), file=sys.stderr)
        return 2
    found = [*found, *tree.faults]
    for one in found:
        print(line(one))
    return 1 if found else 0
