"""A service stays light: every line in it is one that its team reads, updates and runs.

The budgets of the design are 200 files, 12,000 lines in bastion/ and 13,000 in tests/proofs/. Until a figure is below
its budget, it may only fall: LIMITS holds what it is today.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support import Combination, files_of

LIMITS = {
    "session-sqlite-env": {"files": 284, "bastion": 14_769, "proofs": 14_202},
    "jwt-sqlite-env": {"files": 251, "bastion": 15_095, "proofs": 14_235},
}


def lines(service: Path, folder: str) -> int:
    """Count the lines of Python below a folder."""
    return sum(len(file.read_bytes().splitlines()) for file in (service / folder).rglob("*.py"))


@pytest.mark.parametrize("name", LIMITS)
def test_a_service_grows_no_heavier(
    rendered: Callable[[Combination], Path], name: str, record_property: Callable[[str, object], None]
) -> None:
    service = rendered(Combination.parse(name))
    weight = {
        "files": len(files_of(service)),
        "bastion": lines(service, "src/my_service/bastion"),
        "proofs": lines(service, "tests/proofs"),
    }
    record_property("figure", f"{name}: {', '.join(f'{value} {what}' for what, value in weight.items())}")
    assert {what: value for what, value in weight.items() if value > LIMITS[name][what]} == {}
