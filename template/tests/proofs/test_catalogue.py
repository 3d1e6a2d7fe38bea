"""The catalogue and the proofs agree: every claim has a proof, and every sabotage still matches its source."""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from . import place
from .harness import Edit
from .rows import FOLDER, catalogue
from .service import PACKAGE

PROOFS = Path(__file__).resolve().parent
OF_THE_HARNESS = frozenset({"test_harness.py", "test_catalogue.py"})


def proof_files() -> list[Path]:
    return sorted(file for file in PROOFS.rglob("test_*.py") if file.name not in OF_THE_HARNESS)


def place_of(file: Path) -> str:
    return file.relative_to(PROOFS).as_posix()


@cache
def declared() -> dict[str, dict[str, list[tuple[str, tuple[Edit, ...]]]]]:
    """Row to clause to the proofs, with their edits, that name it."""
    found: dict[str, dict[str, list[tuple[str, tuple[Edit, ...]]]]] = defaultdict(lambda: defaultdict(list))
    for file in proof_files():
        name = ".".join(("proofs", *file.relative_to(PROOFS).with_suffix("").parts))
        for function, value in vars(importlib.import_module(name)).items():
            for mark in getattr(value, "pytestmark", ()) if function.startswith("test_") else ():
                if mark.name == "protects":
                    row, edits = mark.args
                    found[row][""].append((f"{place_of(file)}::{function}", ()))
                    for clause, changed in edits.items():
                        found[row][clause].append((f"{place_of(file)}::{function}", changed))
    return found


def test_each_row_that_applies_has_a_proof() -> None:
    assert len(catalogue()) >= 30
    assert "deny-by-default" in catalogue()
    assert [row for row in catalogue() if row not in declared()] == []


def test_each_proof_names_a_row_and_clauses_that_exist() -> None:
    known = catalogue()
    wrong = [
        f"{proofs[0][0]}: {row}{f', {clause}' if clause else ''}"
        for row, named in declared().items()
        for clause, proofs in named.items()
        if row not in known or (clause and clause not in {one.name for one in known[row].clauses})
    ]
    assert wrong == []


def test_each_clause_that_applies_is_sabotaged_by_a_proof() -> None:
    missing = [
        f"{row.id}: {clause.name}"
        for row in catalogue().values()
        for clause in row.demanded
        if clause.name not in declared().get(row.id, {})
    ]
    assert missing == []


def test_the_core_is_what_the_catalogue_says() -> None:
    """If the catalogue counts a core clause among the edges, no run notices that its proof is lost."""
    more = [
        f"{row.id}: {clause.name}"
        for row in catalogue().values()
        for clause in row.clauses
        if not clause.core
        and any(not test.startswith("edges/") for test, _ in declared().get(row.id, {}).get(clause.name, ()))
    ]
    assert more == []


def test_each_row_that_must_be_kept_has_a_sabotage_for_these_answers() -> None:
    assert [row.id for row in catalogue().values() if row.priority == "must" and not row.demanded] == []


def test_each_clause_has_a_name_of_its_own_in_its_row() -> None:
    doubled = [
        f"{row.id}: {one.name}"
        for row in catalogue().values()
        for number, one in enumerate(row.clauses)
        if one.name in {other.name for other in row.clauses[:number]}
    ]
    assert doubled == []


def test_the_page_about_security_names_each_row_and_no_other() -> None:
    text = (place.root / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == set(catalogue())


def test_each_sabotage_still_finds_what_it_takes_away() -> None:
    """Otherwise only --sabotage would notice a renamed module or a rewritten line."""
    stale, checked = [], 0
    for row, named in declared().items():
        for clause, (test, edits) in ((clause, proof) for clause, proofs in named.items() for proof in proofs):
            texts: dict[Path, str] = {}
            for edit in edits:
                file = edit.file(place.root, PACKAGE)
                text = texts.get(file) or _text(file)
                if text.count(edit.old) != 1:
                    stale.append(f"{test}, {row}, {clause}: {edit.path} has {text.count(edit.old)} times {edit.old!r}")
                texts[file] = text.replace(edit.old, edit.new)
                checked += 1
    assert checked >= 200
    assert stale == []


@cache
def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def test_each_file_of_the_catalogue_is_read() -> None:
    names = {file.stem for file in FOLDER.glob("*.csv")}
    assert {"both", "asvs"} <= names
    assert names <= {"both", "asvs", "session", "jwt"}
