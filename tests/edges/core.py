"""Helpers that an edge takes from the core proof that it extends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..harness import Edit


def sabotages(proof: Any, row: str, *clauses: str) -> dict[str, tuple[Edit, ...]]:
    """Give a core proof's sabotages of these clauses of `row`, for an edge that attacks the same protection further."""
    [edits] = [mark.args[1] for mark in proof.pytestmark if mark.name == "protects" and mark.args[0] == row]
    return {clause.replace("-", "_"): edits[clause] for clause in clauses}
