"""A waiver says for what, why, who and until when, ends within a quarter, and never hides what it lets wait.

Source: catalogue row probe-not-fooled; ASVS 15.2.1.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flask_bastion.check import Report, check
from histories import History

TODAY = datetime.now(UTC).date()
ENTRY = {
    "advisory": '"BASTION-2026-0001"',
    "reason": '"The page is only shown inside of our own portal"',
    "owner": '"security@example.com"',
    "until": str(TODAY + timedelta(days=30)),
}


@pytest.fixture
def service(history: History, tmp_path: Path) -> Path:
    return history.service(tmp_path / "service", "v1.0.1")


def waive(service: Path, text: str | None = None, **changed: str | None) -> None:
    fields = {**ENTRY, **changed}
    written = "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None)
    (service / ".bastion-waivers.toml").write_text(text or f"[[waivers]]\n{written}", encoding="utf-8")


def look(history: History, service: Path) -> Report:
    return check(service, history.advisories.values(), today=TODAY)


def test_what_is_waived_is_still_shown_and_fails_no_more(history: History, service: Path) -> None:
    assert look(history, service).status == 1
    waive(service)
    report = look(history, service)
    assert report.status == 0
    (finding,) = report.findings
    assert (finding.kind, finding.level) == ("waived", "note")
    assert "security@example.com" in finding.text
    assert report.verdicts[0].status == "AFFECTED"
    assert report.verdicts[0].waiver is not None


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"until": None}, "until is missing"),
        ({"reason": None}, "reason is missing"),
        ({"owner": None}, "owner is missing"),
        ({"owner": '"  "'}, "owner must be a text"),
        ({"reason": "1"}, "reason must be a text"),
        ({"reason": f'"{"a" * 301}"'}, "reason must be a text"),
        ({"until": str(TODAY + timedelta(days=91))}, "more than 90 days ahead"),
        ({"until": "2036-01-01"}, "more than 90 days ahead"),
        ({"until": '"2026-12-24"'}, "until must be a date"),
        ({"until": "2026-12-24T00:00:00Z"}, "until must be a date"),
        ({"advisory": '"*"'}, "exactly one"),
        ({"advisory": '"BASTION-2026-*"'}, "exactly one"),
        ({"advisory": '["BASTION-2026-0001"]'}, "advisory must be a text"),
        ({"advisory": '""'}, "exactly one"),
        ({"all": "true"}, "it has no 'all'"),
    ],
)
def test_a_waiver_that_does_not_say_all_counts_for_nothing(
    history: History, service: Path, changed: dict[str, str | None], fault: str
) -> None:
    waive(service, **changed)
    report = look(history, service)
    assert [finding.kind for finding in report.findings if finding.level == "error"].count("affected") == 1
    assert any(fault in finding.text for finding in report.findings if finding.kind == "waiver-invalid")
    assert report.verdicts[0].waiver is None


@pytest.mark.parametrize(
    "text", ["[waivers]\n", "waivers = 1", "[[waiver]]\n", "x", "\xff", "[[waivers]]\n", "waivers = [1]", "a" * 100_000]
)
def test_a_file_of_another_form_counts_for_nothing(history: History, service: Path, text: str) -> None:
    waive(service, text)
    report = look(history, service)
    assert "waiver-invalid" in {finding.kind for finding in report.findings}
    assert report.verdicts[0].waiver is None


def test_a_waiver_that_ended_is_an_error_of_its_own(history: History, service: Path) -> None:
    waive(service, until=str(TODAY - timedelta(days=1)))
    report = look(history, service)
    assert {"affected", "waiver-ended"} == {finding.kind for finding in report.findings}
    waive(service, until=str(TODAY))
    assert look(history, service).status == 0, "the last day counts"


def test_a_waiver_that_nothing_needs_is_told(history: History, service: Path) -> None:
    waive(service, advisory='"BASTION-2026-0003"')
    kinds = {finding.kind: finding.level for finding in look(history, service).findings}
    assert kinds == {"affected": "error", "waiver-needless": "note"}


def test_without_the_look_at_its_end_a_waiver_is_for_ever(
    service: Path, advisories_folder: Path, command: Callable[..., Callable[..., subprocess.CompletedProcess[str]]]
) -> None:
    arguments = ("check", service, "--advisories", advisories_folder, "--format", "json")
    sabotaged = command(
        ("waivers.py", "sorted(_FIELDS - entry.keys())", 'sorted(_FIELDS - {"until"} - entry.keys())'),
        ("waivers.py", 'entry["until"])', 'entry.get("until", date.max))'),
    )
    intact = command()
    waive(service)
    for one in (intact, sabotaged):
        assert one(*arguments).returncode == 0, "the legitimate way"
    waive(service, until=None)
    assert intact(*arguments).returncode == 1
    report = json.loads(sabotaged(*arguments).stdout)
    assert report["status"] == 0
    assert report["advisories"][0]["waived_until"] == "9999-12-31"
