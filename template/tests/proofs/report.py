"""What was proven, for an auditor (HTML) and for machines (JSON): each protection, its attack, and every verdict.

It stops a report from claiming more than a run has shown: a row without all of its verdicts is not proven.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
import subprocess
import tomllib
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from . import place
from .rows import EDGES, LEVELS, Requirement, Row, catalogue, requirements
from .rows import STATUSES as SCOPES
from .service import AUTH, DATABASE, PACKAGE, SECRETS

FORMAT: Final = 3
"""Of the JSON report; a change that a reader could trip over raises it."""
TEMPLATE: Final = Path(__file__).with_name("report.html")
STATUSES: Final = {
    "proven": "the attack was refused, and succeeded without the protection",
    "refused": "the attack was refused; the sabotages were not run",
    "not proven": "a verdict is missing or bad",
    "not run": "left out of this run",
}


# --- what one run of one proof says -----------------------------------------------------------------------------

Outcome = Literal[
    "green",  # intact: the attack was refused
    "red",  # intact: the proof fails, the protection does not hold
    "proven",  # sabotaged: the attack succeeded, so the proof can fail
    "still green",  # sabotaged: the proof did not notice
    "stale",  # the sabotage no longer fits the source
    "crash",  # the process ended or was ended
    "inconclusive",  # something else went wrong than the attack
    "skipped",
    "missing",  # no proof has this row or clause
]
GOOD: frozenset[Outcome] = frozenset({"green", "proven"})


@dataclass(slots=True)
class Verdict:
    """The outcome of one proof, intact (clause is "") or against one sabotage."""

    row: str
    clause: str
    test: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.outcome in GOOD

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        what = self.outcome if self.good else f"NOT PROVEN, {self.outcome}"
        return f"{what}: {self.reason}" if self.reason else what


@dataclass(slots=True)
class Run:
    """All verdicts of one pytest run."""

    sabotage: bool
    verdicts: list[Verdict] = field(default_factory=list)
    deselected: list[str] = field(default_factory=list)
    whole: bool = True
    """Whether every proof was asked for: no path, no -k."""

    def bad(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.good]


def shortened(text: str, most: int = 400) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def table(verdicts: Iterable[Verdict]) -> list[str]:
    """The lines of the verdict table, rows together, the intact run first."""
    ordered = sorted(verdicts, key=lambda verdict: (verdict.row, verdict.clause, verdict.test))
    return [
        f"{verdict.row:32} {verdict.clause or 'intact':14} {verdict}  [{verdict.test.rpartition('::')[2]}]"
        if not verdict.good
        else f"{verdict.row:32} {verdict.clause or 'intact':14} {verdict}"
        for verdict in ordered
    ]


# --- the report -------------------------------------------------------------------------------------------------


def write(file: Path, run: Run, at: float) -> None:
    """Write the report of a run that ended at `at` (seconds since the epoch), by the file's suffix .html or .json."""
    data = collect(run, datetime.fromtimestamp(at, UTC))
    file.parent.mkdir(parents=True, exist_ok=True)
    text = page(data, file.resolve().parent) if file.suffix == ".html" else json.dumps(data, indent=2) + "\n"
    file.write_text(text, encoding="utf-8")


def collect(run: Run, at: datetime) -> dict[str, Any]:
    """The report as data."""
    exceptions = list(declared(at.date()))
    loosened = {entry["row"] for entry in exceptions}
    rows = [_row(row, run, row.id in loosened) for row in catalogue().values()]
    held = {"proven"} if run.sabotage else {"refused"}
    asvs = coverage({row["id"] for row in rows if row["status"] in held})
    return {
        "format": FORMAT,
        "service": _name(),
        "package": PACKAGE,
        "template_version": template_version(),
        "commit": _commit(),
        "python": platform.python_version(),
        "lock": _lock(),
        "answers": {"auth": AUTH, "database": DATABASE, "secrets": SECRETS},
        "at": at.isoformat(timespec="seconds"),
        "sabotage": run.sabotage,
        "whole": run.whole,
        "scope": scope(),
        "summary": {
            "rows": len(rows),
            "held": sum(row["status"] in held for row in rows),
            "statuses": dict(Counter(row["status"] for row in rows)),
            "proofs": len({verdict.test for verdict in run.verdicts if verdict.test}),
            "sabotages": sum(1 for verdict in run.verdicts if verdict.clause),
            "asvs": asvs.counts,
        },
        "exceptions": exceptions,
        "rows": rows,
        "asvs": [_requirement(entry, asvs) for entry in requirements() if entry.applies],
        "asvs_out_of_scope": [_requirement(entry, asvs) for entry in requirements() if not entry.applies],
    }


@dataclass(frozen=True, slots=True)
class Coverage:
    """For how many requirements of ASVS 5.0, of those that apply to this style, there are tests that held."""

    tested: frozenset[str]
    partly: frozenset[str]
    counts: dict[str, dict[str, int]]
    """Of each level and of "all": "tested", "partly" and "apply"."""

    def __str__(self) -> str:
        """Never a word of compliance: a test shows that an attack was refused, and nothing about the rest."""
        tested, apply = (self.counts["all"][name] for name in ("tested", "apply"))
        levels = ", ".join(f"{name} {self.counts[name]['tested']} of {self.counts[name]['apply']}" for name in LEVELS)
        return f"tests for {tested} of the {apply} applicable ASVS requirements (OWASP ASVS 5.0, auth={AUTH}): {levels}"


def coverage(held: Collection[str]) -> Coverage:
    """Count the requirements that tests show as a whole, and of which every row is among those that held."""
    shown = [entry for entry in requirements() if entry.rows and all(row in held for row in entry.rows)]
    tested, partly = (frozenset(one.req for one in shown if one.status == status) for status in ("test", "part"))
    applying = [entry for entry in requirements() if entry.applies]
    counts = {}
    for name in ("all", *LEVELS):
        of_it = [entry for entry in applying if name in ("all", entry.level)]
        counts[name] = {
            "tested": sum(entry.req in tested for entry in of_it),
            "partly": sum(entry.req in partly for entry in of_it),
            "apply": len(of_it),
        }
    return Coverage(tested, partly, counts)


def scope() -> str:
    """Say which attacks this run could hold: those of the core, or every clause of the catalogue."""
    every = sum(len(row.clauses) for row in catalogue().values())
    if EDGES.is_dir():
        return f"core and edges: all {every} clauses"
    core = sum(len(row.demanded) for row in catalogue().values())
    return f"this run: the core, {core} of {every} clauses; the requirements count with those of `flask-bastion prove`"


def covered(run: Run) -> Coverage:
    """The same for a run."""
    held = "proven" if run.sabotage else "refused"
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in run.verdicts:
        verdicts[verdict.row].append(verdict)
    return coverage({row.id for row in catalogue().values() if _status(row, verdicts[row.id], run) == held})


def _requirement(entry: Requirement, asvs: Coverage) -> dict[str, Any]:
    tested = "yes" if entry.req in asvs.tested else "partly" if entry.req in asvs.partly else "no"
    why = entry.why or ("" if tested == "yes" else "a row of it did not hold, or was not run")
    return {
        "requirement": entry.req,
        "level": entry.level,
        "about": entry.area,
        "scope": entry.status,
        "why": f"{SCOPES[entry.status]}: {why}" if entry.status in ("open", "app", "deploy", "doc") else why,
        "how": entry.how,
        "rows": list(entry.rows),
        "tested": tested,
    }


def page(data: dict[str, Any], folder: Path) -> str:
    """The report as one HTML file that loads nothing; links to tests are relative to `folder`."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["digest"] = lambda script: b64encode(sha256(script.encode()).digest()).decode()
    environment.globals["link"] = lambda test: os.path.relpath(place.root / test.partition("::")[0], folder)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(**data, meanings=STATUSES)


def _row(row: Row, run: Run, loosened: bool) -> dict[str, Any]:
    verdicts = [verdict for verdict in run.verdicts if verdict.row == row.id]
    intact = [verdict for verdict in verdicts if not verdict.clause]
    return {
        "id": row.id,
        "area": row.area,
        "priority": row.priority,
        "status": _status(row, verdicts, run),
        "exception": loosened,
        "title": row.title,
        "rule": row.the_rule,
        "attack": _sentence(row.proof.removeprefix("Attack: ")),
        "built_on": row.well_kept_library,
        "asvs": list(row.asvs),
        "proofs": [_verdict(verdict) for verdict in intact],
        "sabotages": [
            {
                "clause": clause.name,
                "change": clause.text,
                "verdicts": [_verdict(verdict) for verdict in verdicts if verdict.clause == clause.name],
            }
            for clause in row.demanded
        ],
    }


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _status(row: Row, verdicts: Sequence[Verdict], run: Run) -> str:
    if not verdicts:
        return "not proven" if run.whole else "not run"
    if not all(verdict.good for verdict in verdicts):
        return "not proven"
    if not run.sabotage:
        return "refused"
    proven = {verdict.clause for verdict in verdicts}
    return "proven" if proven >= {"", *(clause.name for clause in row.demanded)} else "not proven"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "test": verdict.test,
        "outcome": verdict.outcome,
        "good": verdict.good,
        "reason": verdict.reason,
        "seconds": verdict.seconds,
    }


# --- read from the service's files, without importing it --------------------------------------------------------


def _name() -> str:
    file = place.root / "pyproject.toml"
    if not file.is_file():
        return PACKAGE
    return str(tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}).get("name", PACKAGE))


def _commit() -> str:
    """The service's commit, with "-dirty" when tracked files differ from it; "unknown" without a git repository."""
    git = shutil.which("git")
    command = [git or "", "-C", str(place.root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = git and subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  fixed arguments
    return (done and done.stdout.strip()) or "unknown"


def _lock() -> str:
    """The SHA-256 of uv.lock, or "none"."""
    file = place.root / "uv.lock"
    return sha256(file.read_bytes()).hexdigest() if file.is_file() else "none"


def template_version() -> str:
    """VERSION of bastion/chosen.py."""
    file = place.bastion() / "chosen.py"
    if file.is_file():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            named = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["VERSION"]
            if named and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                return str(node.value.value)
    return "unknown"


def declared(today: date) -> Iterator[dict[str, Any]]:
    """What the team has loosened in exceptions.toml, with the recommended value and the row it belongs to."""
    file = place.source() / "exceptions.toml"
    if not file.is_file():
        return
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    limits = _limits()
    for name, entry in data.get("limits", {}).items():
        recommended, row = limits.get(name, ("", ""))
        yield _exception(name, entry.get("value"), recommended, row, entry, today)
    for name, recommended in (("image_origins", "'self'"), ("font_origins", "'self'"), ("frame_ancestors", "'none'")):
        for entry in data.get(name, []):
            yield _exception(name, entry.get("origin"), recommended, "csp-html-exact", entry, today)
    for entry in data.get("request_data", []):
        value = f"{entry.get('use')} in {entry.get('function')}"
        yield _exception("request_data", value, "none", "request-chooses-no-target", entry, today)


def _exception(name: str, value: Any, recommended: Any, row: str, entry: Any, today: date) -> dict[str, Any]:
    until = entry.get("until")
    return {
        "name": name,
        "value": value,
        "recommended": recommended,
        "row": row,
        "reason": str(entry.get("reason", "")),
        "owner": str(entry.get("owner", "")),
        "until": str(until or ""),
        "expired": type(until) is date and until < today,
    }


def _limits() -> dict[str, tuple[Any, str]]:
    """Name of each limit to its recommended value and its row, as the settings declare them by limit(...)."""
    file = place.bastion() / "settings" / "__init__.py"
    found: dict[str, tuple[Any, str]] = {}
    if not file.is_file():
        return found
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call) and node.value.args):
            continue
        if ast.unparse(node.value.func) == "limit" and isinstance(node.value.args[0], ast.Constant):
            row = next((ast.literal_eval(word.value) for word in node.value.keywords if word.arg == "row"), "")
            found[ast.unparse(node.target)] = (node.value.args[0].value, str(row))
    return found
