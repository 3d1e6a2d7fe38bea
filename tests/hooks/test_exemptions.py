"""What a service loosens is told of with its end, also when the service says it in a way that its own guards refuse.

Source: DESIGN's list of exceptions (a reason, an owner, an end date; amber until then, red afterwards).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from flask_bastion.check import check
from flask_bastion.exemptions import MOST, Exemption
from histories import History

TODAY = date(2026, 11, 26)
ENTRY = '[limits.session_idle_minutes]\nvalue = 45\nreason = "Wards"\nowner = "w@example.com"\nuntil = {}\n'


def told(history: History, service: Path, text: str | bytes) -> tuple[tuple[Exemption, ...], list[str]]:
    """The exceptions, and what was found because of them."""
    if not service.exists():
        history.service(service, "v1.2.1")
    data = text.encode() if isinstance(text, str) else text
    (service / "src" / "my_service" / "exceptions.toml").write_bytes(data)
    report = check(service, (), history.template, today=TODAY)
    return report.exceptions, [f"{one.kind}: {one.text}" for one in report.findings]


def test_an_exception_is_told_until_its_last_day_and_red_afterwards(history: History, tmp_path: Path) -> None:
    for until in ("2026-11-26", "2027-06-30"):
        exceptions, found = told(history, tmp_path / "service", ENTRY.format(until))
        expected = Exemption("session_idle_minutes", "45", "Wards", "w@example.com", date.fromisoformat(until))
        assert (exceptions, found) == ((expected,), [])
    _, found = told(history, tmp_path / "service", ENTRY.format("2026-11-25"))
    assert found == ["exception-ended: session_idle_minutes ended on 2026-11-25 (owner: w@example.com)."]


def test_an_end_more_than_a_year_ahead_is_none(history: History, tmp_path: Path) -> None:
    exceptions, found = told(history, tmp_path / "service", ENTRY.format("2027-11-27"))
    assert ([one.ended(TODAY) for one in exceptions], found) == ([False], [])
    exceptions, found = told(history, tmp_path / "service", ENTRY.format("2027-11-28"))
    assert [one.ended(TODAY) for one in exceptions] == [True]
    assert found == [
        "exception-ended: session_idle_minutes ends on 2027-11-28, more than a year ahead (owner: w@example.com)."
    ]


def test_an_image_origin_is_one_too(history: History, tmp_path: Path) -> None:
    text = '[[image_origins]]\norigin = "https://images.example"\nreason = "r"\nowner = "o"\nuntil = 2026-12-01\n'
    exceptions, found = told(history, tmp_path / "service", text)
    assert exceptions == (Exemption("image_origins", "https://images.example", "r", "o", date(2026, 12, 1)),)
    assert found == []


def test_what_is_left_to_a_request_is_one_too(history: History, tmp_path: Path) -> None:
    text = '[[request_data]]\nfunction = "a.py:b"\nuse = "file"\nreason = "r"\nowner = "o"\nuntil = {}\n'
    exceptions, found = told(history, tmp_path / "service", text.format("2026-12-01"))
    assert exceptions == (Exemption("request_data", "file in a.py:b", "r", "o", date(2026, 12, 1)),)
    assert found == []
    _, found = told(history, tmp_path / "service", text.format("2026-11-25"))
    assert found == ["exception-ended: request_data ended on 2026-11-25 (owner: o)."]


@pytest.mark.parametrize("until", ['"2099-01-01"', "2099-01-01T00:00:00Z", "true", "1e9"])
def test_what_is_no_day_is_no_end(history: History, tmp_path: Path, until: str) -> None:
    _, found = told(history, tmp_path / "service", ENTRY.format(until))
    assert found == ["exception-ended: session_idle_minutes has no end (owner: w@example.com)."]


@pytest.mark.parametrize(
    "text", ["", "# none\n", "limits = 3\n", "[[limits]]\n", "image_origins = 'x'\nlimits.a = 1\n"]
)
def test_what_declares_nothing_raises_nothing(history: History, tmp_path: Path, text: str) -> None:
    assert told(history, tmp_path / "service", text) == ((), [])


@pytest.mark.parametrize("text", [b"\xff", "[", "a = " + "[" * 5000 + "]" * 5000])
def test_what_is_no_toml_is_told(history: History, tmp_path: Path, text: str | bytes) -> None:
    exceptions, found = told(history, tmp_path / "service", text)
    assert (exceptions, found) == ((), ["exception-invalid: This is no TOML, so it declares nothing."])


def test_a_thousand_do_not_bury_the_report(history: History, tmp_path: Path) -> None:
    text = "".join(f"[limits.l{number}]\nvalue = 1\n" for number in range(1000))
    exceptions, found = told(history, tmp_path / "service", text)
    assert len(exceptions) == MOST
    assert len(found) == MOST + 1
    assert found[-1] == f"exception-invalid: There are more than {MOST} exceptions."
