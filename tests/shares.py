"""Which proofs run sabotaged in which service: each once, in the first service that has it.

Two services that hold the same test, the same clause and the same text of the edited file would show the same thing
twice. So a later service runs only what none before it has: another test, another edit, or another text.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services import Service
from support import SABOTAGED, Combination, done, run

READS = """import hashlib, json
from proofs import place, test_catalogue
from proofs.rows import shipped
from proofs.service import PACKAGE

def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()

proofs = [
    (test, row, clause, [digest(test_catalogue.PROOFS / test.partition("::")[0])] + [
        (edit.path, edit.old, edit.new, digest(edit.file(place.root, PACKAGE))) for edit in edits
    ])
    for row, clauses in test_catalogue.declared().items()
    for clause, found in clauses.items()
    for test, edits in found
]
clauses = [(row.id, one.name) for row in shipped().values() for one in row.all_clauses if one.only != ("template",)]
print(json.dumps({"proofs": proofs, "clauses": clauses}))
"""
"""Runs in a service, by this repository's Python: it has every library that any service needs."""


@dataclass(frozen=True)
class Proof:
    """One test of one row, intact (its clause is then "") or against one sabotage, with the texts that decide it."""

    test: str
    row: str
    clause: str
    texts: str
    """Digests of the test's file and of each edited file, and the edits."""


@dataclass(frozen=True)
class Proofs:
    """What a service with the edges can prove, and each clause of its style's catalogue, for whatever answers."""

    proofs: frozenset[Proof]
    clauses: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, service: Service) -> Proofs:
        """Read a service over which the edges are laid; it needs no virtual environment."""
        path = {"PYTHONPATH": f"{service.path}/src:{service.path}/tests", "PYTHONDONTWRITEBYTECODE": "1"}
        found = json.loads(done(run(sys.executable, "-c", READS, cwd=service.path, env=path)))
        return cls(
            frozenset(Proof(test, row, clause, json.dumps(texts)) for test, row, clause, texts in found["proofs"]),
            frozenset((row, clause) for row, clause in found["clauses"]),
        )


def shares(
    services: Mapping[Combination, Proofs], also: Mapping[Combination, Sequence[str]] = SABOTAGED
) -> dict[Combination, frozenset[str]]:
    """Give each service its tests, as in `edges/test_log.py::test_name`: what none before it has, and its patterns."""
    seen: set[Proof] = set()
    given = {}
    for combination, found in services.items():
        named = {
            one.test
            for one in found.proofs
            if one not in seen or any(fnmatch.fnmatchcase(one.test, pattern) for pattern in also[combination])
        }
        given[combination] = frozenset(named)
        seen |= found.proofs
    return given
