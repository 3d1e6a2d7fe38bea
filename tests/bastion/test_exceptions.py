"""Unit tests beside the proofs in test_exceptions.py."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path

import pytest

from .. import place, report
from ..edges.test_exceptions import LIMIT, REASON, UNTIL, declare
from ..running import Service
from ..service import AUTH, PACKAGE

ORIGIN = f'[[image_origins]]\norigin = "https://images.example"\n{REASON}{UNTIL}'
FRAME = ORIGIN.replace("image_origins", "frame_ancestors").replace("images", "portal")
FONT = ORIGIN.replace("image_origins", "font_origins").replace("images", "fonts")
USE = f'[[request_data]]\nfunction = "links/pages.py:preview"\nuse = "outbound"\n{REASON}{UNTIL}'
WRONG: dict[str, str] = {
    "[limits.body_bytes]\nvalue = 16_383\n" + REASON + UNTIL: "value must be a whole number from 16384 to 16777216",
    "[limits.body_bytes]\nvalue = 16_777_217\n" + REASON + UNTIL: "value must be a whole number from 16384 to 16777216",
    "[limits.body_bytes]\nvalue = true\n" + REASON + UNTIL: "value must be a whole number from 16384 to 16777216",
    '[limits.body_bytes]\nvalue = "16384"\n' + REASON + UNTIL: "value must be a whole number from 16384 to 16777216",
    "[limits.body_bytes]\nvalue = 16_384\n" + REASON: "has no until; add it",
    '[limits.body_bytes]\nvalue = 16_384\nowner = "a"\n' + UNTIL: "has no reason; add it",
    '[limits.body_bytes]\nvalue = 16_384\nreason = "b"\n' + UNTIL: "has no owner; add it",
    LIMIT.replace("Nurses leave the terminal", " "): "reason must be a text of 1 to 300 characters",
    LIMIT.replace("ward@hospital.example", "w" * 301): "owner must be a text of 1 to 300 characters",
    LIMIT.replace("2999-12-31", '"2999-12-31"'): "until must be a date such as 2027-06-30, without quotes",
    LIMIT.replace("2999-12-31", "2999-12-31T10:00:00"): "until must be a date such as 2027-06-30, without quotes",
    LIMIT + "ticket = 7\n": "has an unknown key 'ticket'; allowed are value, reason, owner, until",
    LIMIT.replace("body_bytes", "csrf_off"): "there is no limit 'csrf_off'",
    "limits = 3\n": "write limits as [limits.<name>]",
    "[limits]\nbody_bytes = 16_384\n": "[limits.body_bytes] must be a table with value, reason, owner, until",
    ORIGIN.replace("[[image_origins]]", "[image_origins]"): "origins as [[image_origins]]",
    'image_origins = ["https://images.example"]\n': "[[image_origins]] number 1 must be a table with origin, reason",
    'request_data = ["outbound"]\n': "[[request_data]] number 1 must be a table with function, use, reason",
    ORIGIN.replace("https://", "http://"): "[[image_origins]] number 1: origin must be one https origin such as",
    FRAME.replace("https://", "http://"): "[[frame_ancestors]] number 1: origin must be one https origin such as",
    FRAME.replace("portal.example", "*"): "[[frame_ancestors]] number 1: origin must be one https origin such as",
    FONT.replace('owner = "ward', '# "ward'): "[[font_origins]] number 1 has no owner; add it",
    ORIGIN.replace("images.example", "*"): "origin must be one https origin such as https://images.example",
    ORIGIN.replace("images.example", "images.example; script-src *"): "origin must be one https origin such as",
    USE.replace("[[request_data]]", "[request_data]"): "uses as [[request_data]]",
    USE.replace(":preview", ""): "[[request_data]] number 1: function must name one such as reports/pages.py:export",
    USE.replace("outbound", "anything"): "use must be one of redirect, file, outbound, owner",
    USE.replace('owner = "ward', '# "ward'): "[[request_data]] number 1 has no owner; add it",
    '[settings]\nBASTION_ENV = "development"\n': "unknown section 'settings'",
    "[limits.body_bytes\n": "is not valid TOML",
}
"""What the file can't say, and what is told instead."""


def test_an_exception_ends_after_its_last_day_and_is_named_with_its_cure(service: Service, tmp_path: Path) -> None:
    exceptions = service.module("settings.exceptions")
    file = tmp_path / "exceptions.toml"
    file.write_text(f"{LIMIT}\n{ORIGIN}".replace("2999-12-31", "2026-02-28"), "utf-8")
    exemptions = exceptions.read(file).exemptions
    assert list(exceptions.ended(exemptions, date(2026, 2, 28))) == []
    assert list(exceptions.ended(exemptions, date(2026, 3, 1))) == [
        f"exceptions.toml: {name} ended on 2026-02-28 (owner: ward@hospital.example). "
        "Remove it, or declare it anew with a reason and an end date of its own."
        for name in ("body_bytes", "image_origins (https://images.example)")
    ]


def test_an_end_more_than_a_year_ahead_is_none(service: Service, tmp_path: Path) -> None:
    exceptions = service.module("settings.exceptions")
    file = tmp_path / "exceptions.toml"
    file.write_text(LIMIT.replace("2999-12-31", "2028-02-29"), "utf-8")  # a whole year may have 366 days
    exemptions = exceptions.read(file).exemptions
    assert list(exceptions.ended(exemptions, date(2027, 2, 28))) == []
    assert list(exceptions.ended(exemptions, date(2027, 2, 27))) == [
        "exceptions.toml: body_bytes ends on 2028-02-29, more than a year ahead (owner: ward@hospital.example). "
        "Choose a day within a year, on which somebody looks at it again."
    ]


def test_a_declared_limit_is_followed(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = service.adds_route("/probe", methods=("POST",))
    sender, text = service.client(service.user()).login(), "a" * 20_000
    assert sender.post("/probe", {"text": text}).status == 200
    declare(service, monkeypatch, tmp_path / "exceptions.toml", f"{LIMIT}\n{ORIGIN}")
    service.restart()  # a new start, which reads the file
    assert sender.post("/probe", {"text": "a"}).status == 200
    assert sender.post("/probe", {"text": text}).status == 413
    assert len(seen) == 2
    state = service.app.extensions["bastion"]
    recommended = service.module("settings").Limits()
    changed = [f.name for f in fields(recommended) if getattr(recommended, f.name) != getattr(state.limits, f.name)]
    assert changed == ["body_bytes"]
    if AUTH == "session":
        policy = sender.get("/account").header("Content-Security-Policy") or ""
        assert "; img-src 'self' https://images.example; " in policy
        assert policy.count("images.example") == 1


def test_a_declared_exception_is_shown_by_the_service_its_doctor_and_the_report(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = service.now().date() + timedelta(days=1)
    source = tmp_path / "src" / PACKAGE
    source.mkdir(parents=True)
    (source / "bastion").symlink_to(service.bastion)
    text = f"{LIMIT}\n{ORIGIN}\n{FONT}\n{FRAME}\n{USE}".replace("2999-12-31", str(until))
    declare(service, monkeypatch, source / "exceptions.toml", text)
    shown = [(one.name, one.value, one.recommended, one.until) for one in service.app.extensions["bastion"].exemptions]
    assert shown == [
        ("body_bytes", 16_384, 1_048_576, until),
        ("image_origins", "https://images.example", "'self'", until),
        ("font_origins", "https://fonts.example", "'self'", until),
        ("frame_ancestors", "https://portal.example", "'none'", until),
        ("request_data", "outbound in links/pages.py:preview", "none", until),
    ]
    service.module("commands.migrations").install(service.app)
    findings = service.module("commands.dev").findings
    assert [line for line in findings(service.app) if " ended on " in line] == []
    service.travel(days=2)
    assert len([line for line in findings(service.app) if f" ended on {until} " in line]) == 5
    monkeypatch.setattr(place, "root", tmp_path)
    reported = list(report.declared(until))
    assert [(entry["name"], entry["value"], entry["recommended"], entry["row"]) for entry in reported] == [
        ("body_bytes", 16_384, 1_048_576, "body-limit-1-mib"),
        ("image_origins", "https://images.example", "'self'", "csp-html-exact"),
        ("font_origins", "https://fonts.example", "'self'", "csp-html-exact"),
        ("frame_ancestors", "https://portal.example", "'none'", "csp-html-exact"),
        ("request_data", "outbound in links/pages.py:preview", "none", "request-chooses-no-target"),
    ]
    assert {(entry["owner"], entry["until"], entry["expired"]) for entry in reported} == {
        ("ward@hospital.example", str(until), False)
    }
    assert {entry["expired"] for entry in report.declared(until + timedelta(days=1))} == {True}


def test_what_the_file_can_not_say_stops_the_start_and_is_named(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "exceptions.toml"
    declare(service, monkeypatch, file, LIMIT.replace("Nurses leave the terminal", "n" * 300) + ORIGIN)
    assert service.start().app is not None
    for text, fault in WRONG.items():
        file.write_text(text, "utf-8")
        tried = service.start()
        assert tried.app is None, f"it started with {text}"
        assert [reason for reason in tried.reasons if fault not in reason] == []
        assert len(tried.reasons) == 1
    file.unlink()
    assert service.start().app is not None  # no file, no exception


def test_several_faults_in_the_file_are_told_at_once(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "exceptions.toml"
    limits = "".join(f"[limits.{name}]\nvalue = 1\n\n" for name in ("of_nothing", "body_bytes", "reset_minutes"))
    others = 2 * ORIGIN.replace("https", "http") + 2 * USE.replace("outbound", "anything")
    file.write_text(f"{limits}{others}\n[other]\n", "utf-8")
    declared = service.module("settings.exceptions").read(file)
    # Of the second and third no reason, owner and until, and a value that can't be; a limit and a section.
    assert len(declared.reasons) == 10 + 4
    assert declared.exemptions == declared.image_origins == ()
    assert declared.limits == service.module("settings").Limits()


def test_each_limit_has_bounds_a_protection_and_a_source(service: Service) -> None:
    limits = fields(service.module("settings").Limits)
    assert len(limits) >= 10
    assert "session_idle_minutes" in [one.name for one in limits]
    for one in limits:
        assert one.metadata["least"] <= one.default <= one.metadata["most"]
        assert one.metadata["row"]
        assert one.metadata["source"]
        assert {"minutes", "hours", "days", "seconds", "bytes", "failures", "per"} & set(one.name.split("_")), one.name
