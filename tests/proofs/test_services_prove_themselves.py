"""The core passes in rendered services; core and edges fail when their protection is taken away.

A template whose proofs were only ever run in the template proves nothing about what teams get.
"""

from __future__ import annotations

import re
from concurrent.futures import Future
from pathlib import Path

import pytest

from services import Service, Verdict
from shares import Proof, Proofs, shares
from support import COMBINATIONS, PAIRS, SABOTAGED, Combination, Repository

every_service = pytest.mark.parametrize(
    "combination",
    [
        pytest.param(one, id=one.name, marks=() if one in PAIRS else pytest.mark.nightly)
        for one in (
            *SABOTAGED,  # first, since they take the longest
            *(one for one in PAIRS if one not in SABOTAGED),
            *(one for one in COMBINATIONS if one not in PAIRS),
        )
    ],
)
every_sabotaged = pytest.mark.parametrize(
    "combination",
    [
        pytest.param(one, id=one.name, marks=() if one in SABOTAGED else pytest.mark.nightly)
        for one in (*SABOTAGED, *(one for one in COMBINATIONS if one not in SABOTAGED))
    ],
)
Verdicts = dict[Combination, Future[Verdict]]


def test_every_clause_of_the_catalogue_is_taken_away_in_some_service(provable: dict[Combination, Proofs]) -> None:
    given = shares(provable)
    ran = {one for name, found in provable.items() for one in found.proofs if one.test in given[name]}
    known = frozenset[tuple[str, str]]().union(*(found.clauses for found in provable.values()))
    assert len(known) > 900
    assert known - {(one.row, one.clause) for one in ran} == set()
    assert frozenset[Proof]().union(*(found.proofs for found in provable.values())) - ran == set()
    assert all(given.values()), "a service that adds nothing is none of the smallest set"


def test_a_later_service_runs_what_none_before_it_has() -> None:
    first, second = Combination.parse("session-sqlite-env"), Combination.parse("jwt-sqlite-env")
    same = Proof("test_a.py::test_a", "row", "one", "a text")
    other = Proof("test_b.py::test_b", "row", "two", "a text")
    services = {first: [same, other], second: [same, Proof(other.test, other.row, other.clause, "another text")]}
    found = {name: Proofs(frozenset(proofs), frozenset()) for name, proofs in services.items()}
    assert shares(found, {first: (), second: ()})[second] == {other.test}
    assert shares(found, {first: (), second: ("test_a*",)})[second] == {same.test, other.test}


@every_service
def test_its_tests_and_proofs_pass_without_a_warning(verdicts: Verdicts, combination: Combination) -> None:
    tests = verdicts[combination].result().tests
    assert tests.returncode == 0, tests.stdout[-6000:] + tests.stderr[-2000:]
    summary = tests.stdout.splitlines()[-1]
    assert re.search(r"[1-9]\d* passed", summary), summary
    assert not re.search("failed|error|skipped|deselected|warning", summary), summary


@every_sabotaged
def test_every_proof_sees_its_sabotage(verdicts: Verdicts, combination: Combination) -> None:
    sabotage = verdicts[combination].result().sabotage
    assert sabotage is not None
    unproven = "\n".join(line for line in sabotage.stdout.splitlines() if "NOT PROVEN" in line)
    assert sabotage.returncode == 0, f"{unproven}\n{sabotage.stdout[-2000:]}{sabotage.stderr[-2000:]}"


@every_sabotaged
def test_the_unit_tests_of_its_modules_pass(verdicts: Verdicts, combination: Combination) -> None:
    units = verdicts[combination].result().units
    assert units is not None
    assert units.returncode == 0, units.stdout[-6000:] + units.stderr[-2000:]


@every_sabotaged
def test_its_report_can_be_read(verdicts: Verdicts, combination: Combination) -> None:
    service = verdicts[combination].result().service
    report = service.read("proofs.html")
    assert "csrf" in report if combination.auth == "session" else "jwt" in report
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']https?:", report), "it must stand alone"


@every_service
def test_its_repository_is_as_clean_as_before(verdicts: Verdicts, combination: Combination) -> None:
    """What proofs make lies in temporary folders or is ignored; otherwise an update would find a dirty tree."""
    service = verdicts[combination].result().service
    assert service.changed() == []


@pytest.mark.nightly
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda combination: combination.name)
def test_the_newest_versions_of_everything_pass_too(
    template_repository: Repository, open_folder: Path, combination: Combination
) -> None:
    """A fresh resolution that fails is an alarm: some library that we allow breaks services tomorrow."""
    service = Service.start(template_repository.path, open_folder / f"newest-{combination.name}", **combination.data)
    service.sync()
    tests = service.pytest()
    assert tests.returncode == 0, tests.stdout[-6000:]
