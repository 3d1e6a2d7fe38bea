"""The catalogue as data: each protection that applies to this service, with its rule, its attack and its sabotages.

It stops a protection from being claimed in a text and proven nowhere: tests, report and documents read the same rows.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .service import AUTH, DATABASE, SECRETS

FOLDER = Path(__file__).resolve().parent / "catalogue"
EDGES = FOLDER.with_name("edges")
"""Where `flask-bastion prove` and the template's tests lay every further attack; a service carries the core."""
_CLAUSE = re.compile(
    r"\A(?P<name>[a-z][a-z0-9-]*)(?: \((?P<only>[a-z0-9-]+(?:, [a-z0-9-]+)*)\))?: (?P<text>.+)\Z", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Clause:
    """One sabotage: `only` names the answers (or "template") that have it; empty means all."""

    name: str
    only: tuple[str, ...]
    text: str
    core: bool
    """Whether a service carries its proof; the proofs of all others are edges, kept with the template."""

    def applies(self, answers: frozenset[str]) -> bool:
        """Whether a service with these answers has it; "template" is proven in the template's own tests."""
        return not self.only or not answers.isdisjoint(self.only)


@dataclass(frozen=True, slots=True)
class Row:
    """One protection."""

    id: str
    title: str
    area: str
    asvs: tuple[str, ...]
    the_rule: str
    well_kept_library: str
    proof: str
    all_clauses: tuple[Clause, ...]
    priority: str

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """The sabotages that apply to this service."""
        return tuple(clause for clause in self.all_clauses if clause.applies(ANSWERS))

    @property
    def demanded(self) -> tuple[Clause, ...]:
        """The clauses that a run must prove: those of the core, and all where the edges are laid over the service."""
        return tuple(clause for clause in self.clauses if clause.core or EDGES.is_dir())

    @property
    def applies(self) -> bool:
        """Whether this service has the protection at all: not when each of its clauses is for another answer."""
        return bool(self.clauses) or not self.all_clauses


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of OWASP ASVS 5.0, what this service's style has to do with it, and the rows that it needs."""

    req: str
    level: str
    area: str
    status: str
    """A key of STATUSES."""
    why: str
    """Unless it is tested as a whole: what is missing, or the reason."""
    how: str
    rows: tuple[str, ...]

    @property
    def applies(self) -> bool:
        """Whether it concerns a service of this style at all; who has to meet it is another question."""
        return self.status != "n/a"


ANSWERS = frozenset({AUTH, DATABASE, SECRETS})
LEVELS = ("L1", "L2", "L3")
STATUSES = {
    "test": "tests show all of it",
    "part": "tests show a part of it",
    "open": "no test yet",
    "app": "the team's code decides",
    "deploy": "what the service runs on decides",
    "doc": "a document decides",
    "n/a": "out of scope",
}
"""What a service has to do with a requirement of ASVS."""


def clauses(text: str, core: str = "") -> tuple[Clause, ...]:
    """Parse a `sabotage` column, `name: what` or `name (answer): what`, and a `core` column, `name;name`.

    Raises ValueError for a clause in another form, and for a core clause that the first column does not have.
    """
    found = []
    carried = set(filter(None, core.split(";")))
    for part in text.split(" || "):
        match = _CLAUSE.match(part.strip())
        if match is None:
            raise ValueError(f"no clause: {part!r}")
        only = tuple(match["only"].split(", ")) if match["only"] else ()
        found.append(Clause(match["name"], only, match["text"], match["name"] in carried))
    if unknown := carried - {clause.name for clause in found}:
        raise ValueError(f"no such clause, but in the column core: {', '.join(sorted(unknown))}")
    return tuple(found)


@cache
def shipped() -> dict[str, Row]:
    """Return the rows of both styles and of this one, by id, whatever else was answered."""
    rows: dict[str, Row] = {}
    for name in ("both", AUTH):
        with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["id"] in rows:
                    raise ValueError(f"two rows have the id {line['id']}")
                row = Row(
                    line["id"],
                    line["title"],
                    line["area"],
                    tuple(line["asvs"].split(";")),
                    line["the_rule"],
                    line["well_kept_library"],
                    line["proof"],
                    clauses(line["sabotage"], line["core"]),
                    line["priority"],
                )
                rows[row.id] = row
    return rows


@cache
def catalogue() -> dict[str, Row]:
    """Return the rows that apply to this service, by id."""
    return {row.id: row for row in shipped().values() if row.applies}


@cache
def requirements() -> tuple[Requirement, ...]:
    """Return every requirement of ASVS 5.0, without the rows that are for other answers than this service's.

    A row that is in no file of the catalogue stays: its requirement does not count.
    """
    elsewhere = shipped().keys() - catalogue().keys()
    with (FOLDER / "asvs.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Requirement(
                line["req"],
                line["level"],
                line["area"],
                line[AUTH],
                line[f"{AUTH}_why"],
                line["how"],
                tuple(row for row in line[f"{AUTH}_rows"].split(";") if row and row not in elsewhere),
            )
            for line in csv.DictReader(file)
        )
