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


@pytest.mark.parametrize("auth", ["session", "jwt"])
def test_a_requirement_that_counts_names_only_rows_of_its_style(auth: str) -> None:
    """A row that is renamed, dropped or of the other style would otherwise count as a test."""
    shipped = column(CATALOGUE / "both.csv", "id") | column(CATALOGUE / f"{auth}.csv", "id")
    with (CATALOGUE / "asvs.csv").open(newline="", encoding="utf-8") as lines:
        needed = {
            line["req"]: line[f"{auth}_rows"].split(";") for line in csv.DictReader(lines) if line[auth] == "test"
        }
    assert len(needed) >= 100
    assert {req: rows for req, rows in needed.items() if not shipped.issuperset(rows)} == {}


def test_what_the_template_itself_proves_is_for_requirements_that_exist() -> None:
    file = ROOT / "docs/reference/template.csv"
    assert {req for cell in column(file, "asvs") for req in cell.split(";") if req} <= column(
        CATALOGUE / "asvs.csv", "req"
    )
    proven = set[str]().union(*(column(CATALOGUE / f"{name}.csv", "id") for name in ("both", "session", "jwt")))
    assert sorted(column(file, "id") & proven) == []


def test_every_table_is_up_to_date() -> None:
    """Ids, titles, modules, proofs and requirements are those of the catalogue and the proofs."""
    done = subprocess.run([sys.executable, "docs/tables.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_decision_is_listed_with_its_status() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(
        r"^\| \[\d{4}\]\((\d{4}-[a-z0-9.-]+\.md)\) \| .+ \| .+ \|$", folder.joinpath("README.md").read_text(), re.M
    )
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
    assert len(listed) >= 30


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


@pytest.mark.parametrize("name", ["session-sqlite-env", "jwt-sqlite-env"])
def test_examples_of_features_are_part_of_the_product(rendered: Callable[[Combination], Path], name: str) -> None:
    """The product runs beside every proof, so each line of an example works: see tests/products.py."""
    docs = rendered(Combination.parse(name)) / "docs/bastion"
    page = "".join((docs / file).read_text(encoding="utf-8") for file in ("rows.md", "callers.md"))
    product = ROOT / "tests/teams" / name.partition("-")[0]
    written = {line for file in product.rglob("*.py") for line in file.read_text(encoding="utf-8").splitlines()}
    examples = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    assert len(examples) > 1
    shown = [line for code in examples for line in code.splitlines() if not line.startswith("from ")]
    assert [line for line in shown if line not in written] == []


@pytest.mark.parametrize("auth", ["session", "jwt"])
def test_the_example_of_files_is_a_teams_product(rendered: Callable[[Combination], Path], auth: str) -> None:
    """The product lies over services in tests/proofs, where its own tests run."""
    page = (rendered(Combination.parse(f"{auth}-sqlite-env")) / "docs/bastion/files.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    parts = [part.strip() for example in examples for part in example.split("\n\n\n")[1:]]
    folder = ROOT / "tests" / "teams" / auth / "src" / "my_service" / "attachments"
    product = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.py"))
    assert len(parts) >= 4
    assert [part for part in parts if part not in product] == []
