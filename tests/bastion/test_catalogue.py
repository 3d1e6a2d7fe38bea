"""Unit tests beside the proofs in test_catalogue.py."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .. import report, rows
from ..rows import ANSWERS, FOLDER, LEVELS, STATUSES, catalogue, clauses, requirements
from ..service import PACKAGE
from ..test_catalogue import place_of, proof_files


def test_a_clause_says_for_which_answers_it_is() -> None:
    both, only, elsewhere = clauses("one: drop it || two (jwt, vault): leave it out || three (template): change it")
    assert both.applies(ANSWERS)
    assert only.only == ("jwt", "vault")
    assert not elsewhere.applies(ANSWERS)


def test_the_requirements_named_by_rows_and_the_coverage_agree() -> None:
    listed = {(entry.req, row) for entry in requirements() for row in entry.rows}
    assert len(listed) >= 60
    unknown = [pair for pair in listed if pair[1] not in catalogue() or pair[0] not in catalogue()[pair[1]].asvs]
    assert unknown == []


def test_each_requirement_of_asvs_has_its_level_and_a_proof_or_a_reason() -> None:
    """All 345 of version 5.0.0, so that "of those that apply" leaves none out without a word."""
    entries = requirements()
    assert len({entry.req for entry in entries}) == len(entries) == 345
    levels = [sum(entry.level == level for entry in entries) for level in LEVELS]
    assert levels == [70, 183, 92]
    assert {entry.status for entry in entries} <= set(STATUSES)
    assert [entry.req for entry in entries if (entry.status == "test") == bool(entry.why)] == []
    shown = [entry for entry in entries if entry.status in ("test", "part")]
    assert [entry.req for entry in shown if not entry.how or set(entry.rows) - catalogue().keys()] == []
    assert [entry.req for entry in shown if entry.status == "test" and not entry.rows] == []


def test_a_requirement_counts_only_with_every_row_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is planned, or of the other style, is evidence for nothing here."""
    everything = report.coverage(set(catalogue()))
    name = min(everything.tested)
    folder = Path(shutil.copytree(FOLDER, tmp_path / "catalogue"))
    row = next(entry.rows[0] for entry in requirements() if entry.req == name)
    lines = (folder / "asvs.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    changed = [line.replace(row, f"{row};planned") if line.startswith(f"{name},") else line for line in lines]
    assert changed != lines
    (folder / "asvs.csv").write_text("".join(changed), encoding="utf-8")
    monkeypatch.setattr(rows, "FOLDER", folder)
    monkeypatch.setattr(report, "requirements", rows.requirements.__wrapped__)
    assert report.coverage(set(catalogue())).tested == everything.tested - {name}


def test_what_is_counted_is_what_held_in_every_row() -> None:
    everything = report.coverage(set(catalogue()))
    entry = next(entry for entry in requirements() if len(entry.rows) > 1 and entry.status == "test")
    less = report.coverage(set(catalogue()) - {entry.rows[0]})
    assert entry.req in everything.tested - less.tested
    assert report.coverage(()).tested == report.coverage(()).partly == frozenset()
    assert everything.tested == {entry.req for entry in requirements() if entry.status == "test"}
    assert not everything.tested & everything.partly
    for name in ("tested", "partly", "apply"):
        assert sum(everything.counts[level][name] for level in LEVELS) == everything.counts["all"][name]
    assert 100 < everything.counts["all"]["tested"] < everything.counts["all"]["apply"] < 345
    assert everything.counts["all"]["partly"] > 0
    apply = everything.counts["all"]["apply"]
    assert str(everything).startswith(f"tests for {len(everything.tested)} of the {apply} applicable ASVS requirements")
    assert "complian" not in str(everything)


def test_each_requirement_that_a_row_names_is_mapped_to_it() -> None:
    mapped = {entry.req: entry.rows for entry in requirements()}
    named = [(row.id, req) for row in catalogue().values() for req in row.asvs if req]
    assert len(named) >= 200
    assert [pair for pair in named if pair[0] not in mapped.get(pair[1], ())] == []


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


def test_the_rules_for_proofs_can_fail() -> None:
    bad = """
try:
    attack()
except ValueError:
    pass
raise AttackSucceeded("so there")
with pytest.raises(Exception):
    attack()
with contextlib.suppress(ValueError):
    attack()
assert a.status == 400 or a.status == 403
assert a.status in (400, 403)
assert any(x.status == 400 for x in answers)
pytest.skip("not today")
@pytest.mark.xfail
def test_it(): ...
"""
    good = "assert a.status == 400\nassert seen == [] or other\nwith pytest.raises(ConfigError): boot()"
    assert len(list(faults(bad))) == 9
    assert list(faults(good)) == []
