"""The catalogue and the proofs agree: nothing is claimed without a proof, and no proof is weaker than it looks.

It stops a row from being shipped unproven, and a proof from turning every outcome into a pass.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

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
    """A clause that a service proves but the catalogue counts among the edges would be missed by no run."""
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
    """A module that was renamed, or a line that was rewritten, would otherwise be noticed by --sabotage alone."""
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


# --- what a proof may not do -----------------------------------------------------------------------------------

FORBIDDEN_MARKS = frozenset({"skip", "skipif", "xfail"})
TOO_WIDE = re.compile(r"\b(?:Base)?Exception\b|\bAssertionError\b")
STATUS = re.compile(r"\b(?:status|status_code)\b")
TRIES = (ast.Try, ast.TryStar)
LOOKED_AT = (*TRIES, ast.Raise, ast.BoolOp, ast.Compare, ast.Call, ast.Attribute)


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def faults(source: str) -> Iterator[str]:
    """What makes a proof weaker than it looks, as "line: what"."""
    for node in ast.walk(_parsed(source)):
        if not isinstance(node, LOOKED_AT):
            continue
        line = getattr(node, "lineno", 0)
        if isinstance(node, TRIES):
            yield f"{line}: try; an exception of the attack would be swallowed"
        elif isinstance(node, ast.Raise) and node.exc is not None and "AttackSucceeded" in ast.unparse(node.exc):
            yield f"{line}: raises AttackSucceeded; only harm() may"
        elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and STATUS.search(ast.unparse(node)):
            yield f"{line}: `or` around a status; assert the one that is right"
        elif isinstance(node, ast.Compare) and _one_of_several(node):
            yield f"{line}: a status out of several; assert the one that is right"
        elif isinstance(node, ast.Call):
            yield from _call_faults(node, line)
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_MARKS and "pytest" in ast.unparse(node):
            yield f"{line}: {node.attr}; a proof that does not run proves nothing"


def _one_of_several(node: ast.Compare) -> bool:
    several = isinstance(node.ops[0], ast.In) and isinstance(node.comparators[0], ast.Tuple | ast.List | ast.Set)
    return several and bool(STATUS.search(ast.unparse(node.left)))


def _call_faults(node: ast.Call, line: int) -> Iterator[str]:
    called = str(getattr(node.func, "attr", getattr(node.func, "id", "")))
    if called.endswith("raises") and node.args and TOO_WIDE.search(wide := ast.unparse(node.args[0])):
        yield f"{line}: pytest.raises({wide}); name the refusal"
    if called == "suppress":
        yield f"{line}: suppress; an exception of the attack would be swallowed"
    if called == "any" and node.args and STATUS.search(ast.unparse(node.args[0])):
        yield f"{line}: any() around a status; assert each"


def test_no_proof_is_weaker_than_it_looks() -> None:
    found = [f"{place_of(file)}:{fault}" for file in proof_files() for fault in faults(file.read_text("utf-8"))]
    assert found == []


def test_each_proof_imports_the_service_inside_functions_alone() -> None:
    early = [
        f"{place_of(file)}:{node.lineno}"
        for file in proof_files()
        for node in _parsed(file.read_text("utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom) and PACKAGE in _modules(node)
    ]
    assert early == []


def _modules(node: ast.Import | ast.ImportFrom) -> set[str]:
    names: list[Any] = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
    return {str(name).partition(".")[0] for name in names}
