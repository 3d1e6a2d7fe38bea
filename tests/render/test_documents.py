"""What documents say is rendered from data: a table that is typed is wrong after the next change."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from support import ROOT, TEMPLATE, Combination

CATALOGUE = TEMPLATE / "tests" / "proofs" / "catalogue"


def column(file: Path, name: str) -> set[str]:
    """What stands in a column of a file of rows."""
    with file.open(newline="", encoding="utf-8") as lines:
        return {line[name] for line in csv.DictReader(lines)}


def test_a_requirement_names_only_rows_that_are_proven_or_planned() -> None:
    """A row that was renamed or dropped would otherwise leave its requirements untested without a word."""
    proven = set[str]().union(*(column(CATALOGUE / f"{name}.csv", "id") for name in ("both", "session", "jwt")))
    planned, template = (column(ROOT / "docs/reference" / f"{name}.csv", "id") for name in ("planned", "template"))
    named = {row for cell in column(CATALOGUE / "asvs.csv", "row_ids") for row in cell.split(";") if row}
    assert len(named) >= 140
    assert sorted(named - proven - planned - template) == []
    assert sorted(proven & planned) == []


def test_every_table_is_up_to_date() -> None:
    """Ids, titles, modules, proofs and requirements are those of the catalogue and the proofs."""
    done = subprocess.run([sys.executable, "docs/tables.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_link_between_documents_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "advisories").glob("*.md")]
    links = [
        (page.relative_to(ROOT).as_posix(), link)
        for page in pages
        for link in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) >= 100
    assert [(page, link) for page, link in links if not (ROOT / page).parent.joinpath(unquote(link)).exists()] == []


@pytest.mark.parametrize("name", ["session-sqlite-env", "jwt-postgresql-files"])
def test_what_is_copied_from_a_services_readme_passes_its_ci(
    rendered: Callable[[Combination], Path], name: str
) -> None:
    service = rendered(Combination.parse(name))
    pages = [service / "README.md", *(service / "docs/bastion").glob("*.md")]
    examples = [re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL) for page in pages]
    assert examples[0]
    for example in (one for found in examples for one in found):
        for tool in (("check",), ("format", "--check")):
            command = [sys.executable, "-m", "ruff", *tool, "--no-cache", "--stdin-filename", "src/new.py", "-"]
            done = subprocess.run(command, cwd=service, input=example, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
