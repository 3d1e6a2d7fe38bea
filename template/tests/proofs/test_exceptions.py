"""Tests of exceptions.py: what a team loosens is followed, shown, bounded, and red without an end or after it.

They stop an exception that was made for a month from becoming the rule.
"""

from __future__ import annotations

from datetime import UTC, datetime

from . import place
from .running import Service


def test_no_declared_exception_of_this_service_has_ended(service: Service) -> None:
    # Red on purpose once the last day is over: each line names the entry and what to do with it.
    exceptions = service.module("exceptions")
    declared = exceptions.read(place.source() / "exceptions.toml")
    found = [*declared.reasons, *exceptions.ended(declared.exemptions, datetime.now(UTC).date())]
    assert found == [], "\n".join(found)
