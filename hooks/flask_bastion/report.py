"""A report as text for people, JSON for programs, and SARIF for code scanning.

Everything in it may be text of the repository: it goes out through `escape`. No exit status depends on the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from . import escape
from .check import Report
from .finding import KINDS, Finding
from .leftovers import line
from .repository import ANSWERS

FORMATS: Final = ("text", "json", "sarif")
_UNKNOWN: Final = ("drift-unknown", "version-unknown", "answers-invalid")
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def rendered(report: Report, form: str) -> str:
    """The report in one of FORMATS."""
    match form:
        case "json":
            return escape.document(as_json(report))
        case "sarif":
            return escape.document(as_sarif(report))
        case _:
            return "".join(f"{one}\n" for one in as_text(report))


def as_text(report: Report) -> Iterator[str]:
    """Line by line: which service, what each advisory means for it, the findings, and the files that were not read."""
    if report.not_read:
        yield escape.terminal(f"{report.name} was not read: {report.not_read}")
        yield "Nothing is known of it. Take files that belong to no service out of this folder, and check again."
        return
    answers = ", ".join(answer for question, answer in report.answers.items() if question != "project_name")
    yield escape.terminal(f"{report.name} {report.version or 'of no known version'} ({answers or 'no answers'})")
    for verdict in report.verdicts:
        waived = f", waived until {verdict.waiver.until}" if verdict.waiver else ""
        yield escape.terminal(f"  {verdict.advisory.id}  {verdict.status}{waived}  {verdict.advisory.summary}")
    for finding in report.findings:
        yield line(finding)
        yield from (f"    | {escape.terminal(one)}" for one in finding.diff)
    counted = sum(finding.level != "note" for finding in report.findings)
    found = f"{counted} to look at" if counted else "Nothing found"
    advisories = "1 advisory" if len(report.verdicts) == 1 else f"{len(report.verdicts)} advisories"
    unread = any(one.kind.startswith("repository-") for one in report.findings)
    files = "every file of the template that could be read" if unread else "every file of the template"
    looked = advisories + (f", and {files}" if report.compared else "")
    unknown = any(one.kind in _UNKNOWN for one in report.findings)
    why = "the version or the answers are not known, so" if unknown else "without --template"
    without = "" if report.compared else f"; {why} no file was compared"
    yield f"{found} ({looked} looked at{without})."


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs; fields are added, never renamed."""
    return {
        "service": report.name,
        "version": report.version,
        "source": report.source,
        "answers": report.answers,
        "compared": report.compared,
        "not_read": report.not_read,
        "status": report.status,
        "advisories": [
            {
                "id": verdict.advisory.id,
                "severity": verdict.advisory.severity,
                "summary": verdict.advisory.summary,
                "status": verdict.status,
                "action": verdict.action,
                "waived_until": str(verdict.waiver.until) if verdict.waiver else None,
                "waiver_owner": verdict.waiver.owner if verdict.waiver else None,
                "waiver_reason": verdict.waiver.reason if verdict.waiver else None,
            }
            for verdict in report.verdicts
        ],
        "exceptions": [
            {
                "name": one.name,
                "value": one.value,
                "reason": one.reason,
                "owner": one.owner,
                "until": str(one.until) if one.until else None,
            }
            for one in report.exceptions
        ],
        "findings": [finding_as_json(finding) for finding in report.findings],
    }


def finding_as_json(finding: Finding) -> dict[str, Any]:
    """One finding for programs, the same in every command."""
    return {
        "kind": finding.kind,
        "level": finding.level,
        "text": finding.text,
        "cure": finding.cure,
        "file": finding.file,
        "line": finding.line,
        "advisory": finding.advisory,
        "diff": list(finding.diff),
    }


def as_sarif(report: Report) -> dict[str, Any]:
    """The report for code scanning. Source: OASIS SARIF 2.1.0."""
    kinds = list(KINDS)
    rules = [{"id": kind, "shortDescription": {"text": text}} for kind, text in KINDS.items()]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "flask-bastion", "rules": rules}},
                "columnKind": "utf16CodeUnits",
                "results": [_result(finding, kinds.index(finding.kind)) for finding in report.findings],
            }
        ],
    }


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    """A result always has a place: code scanning drops one that has none."""
    place: dict[str, Any] = {"artifactLocation": {"uri": escape.uri(finding.file or ANSWERS)}}
    if finding.line:
        place["region"] = {"startLine": finding.line}
    result: dict[str, Any] = {
        "ruleId": finding.kind,
        "ruleIndex": rule,
        "level": finding.level,
        "message": {"text": f"{finding.text} {finding.cure}".strip()},
        "locations": [{"physicalLocation": place}],
    }
    if finding.advisory:
        result["properties"] = {"advisory": finding.advisory}
    return result
