"""What leaves this project in somebody else's format is held against that format, not only against our idea of it.

SARIF: classes that were generated from OASIS' schema and refuse what it does not know. For OSV no maintained package
has the schema; advisories/README.md tells how to check against it.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from fluidattacks_core.sarif import SarifLog
from pydantic import ValidationError

from flask_bastion.check import check
from flask_bastion.report import rendered
from histories import History

TODAY = date(2026, 11, 26)


def test_a_report_of_everything_that_can_be_wrong_is_sarif(history: History, tmp_path: Path) -> None:
    """With a place and without, with an advisory, with a line, with names that no address could hold."""
    service = history.service(tmp_path / "service", "v1.0.1")
    bastion = service / "src/my_service/bastion"
    (bastion / "clock.py").write_text("<<<<<<< before updating\n", encoding="utf-8")
    (bastion / "with space, ü and \N{RIGHT-TO-LEFT OVERRIDE}.py").write_text("", encoding="utf-8")
    (service / ".bastion-waivers.toml").write_text("[[waivers]]\n", encoding="utf-8")
    (service / "SECURITY.md").unlink()
    report = check(service, history.advisories.values(), history.template, today=TODAY)
    kinds = {"affected", "leftover-conflict", "drift-changed", "drift-extra", "drift-missing", "waiver-invalid"}
    assert {finding.kind for finding in report.findings} >= kinds

    text = rendered(report, "sarif")
    log = SarifLog.model_validate_json(text)
    assert len(log.runs[0].results or []) == len(report.findings)

    changed = json.loads(text)
    changed["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"] = {"startLine": 0}
    with pytest.raises(ValidationError, match="startLine"):
        SarifLog.model_validate(changed)


def test_a_report_without_a_finding_is_sarif(history: History, tmp_path: Path) -> None:
    report = check(history.service(tmp_path / "service", "v1.2.1"), [], history.template, today=TODAY)
    assert report.findings == ()
    assert SarifLog.model_validate_json(rendered(report, "sarif")).runs[0].results == []
