"""The proofs of the version before are run on the code of the new one: what they protected must be protected still.

An update brings its proofs along, so a version that weakens a protection weakens its proof with it, and is green. The
proofs that the service has already do not know that. They are run in a scratch copy, and each of them has to be heard
of: code under test runs in the same process, and could end it early. Code that knows this program can
still fool it; that is what signatures and waiting are for.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .finding import Finding, Level
from .leftovers import line
from .review import proposed
from .template import Template, TemplateError

PROOFS: Final = "tests/proofs"
SECONDS: Final = 1800.0
"""For installing the service and running its proofs; they take two minutes on two cores."""
_PROCESSES: Final = 4
LEFT_BEHIND: Final = shutil.ignore_patterns(
    ".git", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "instance"
)
_NOT_PASSED_ON: Final = frozenset(
    {
        "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT",
        "GH_TOKEN", "GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    }
)  # fmt: skip
"""What would change which tests are run, and what new code has no use for."""
_CURE: Final = "Do not merge it. If it holds without the update (uv run pytest), ask the template's maintainers."
_LONGEST_REASON: Final = 300


class ProofsError(TemplateError):
    """The proofs could not be run at all. The text says what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof of the version before: its test, and the row of the catalogue that it protects."""

    test: str  # tests/proofs/test_x.py::test_y
    row: str  # "?" if its name is written elsewhere


def run(previous: Path, new: Path, *, patch: bool = True, seconds: float = SECONDS) -> list[Finding]:
    """Run the proofs in the folder `previous` on the service in the folder `new`, which stays as it is.

    A proof that fails is an error. If the version is more than a patch and says itself that the rule of that row is
    another one now, it is a note: then a person reads both. Raises ProofsError if nothing could be run.
    """
    proofs = list(declared(previous))
    if not proofs:
        raise ProofsError(f"{previous} holds no proof, so nothing can be said of the new code.")
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # started by root, PostgreSQL runs as the user nobody from the service's environment
        copy, report = folder / "service", folder / "report.json"
        shutil.copytree(new, copy, symlinks=True, ignore=LEFT_BEHIND)
        if (copy / PROOFS).is_symlink() or not (copy / PROOFS).is_dir():
            return [Finding("proof-missing", "error", "There is no such folder.", _CURE, PROOFS)]
        rules = _rules(copy / PROOFS)
        shutil.rmtree(copy / PROOFS)
        shutil.copytree(previous, copy / PROOFS, ignore=LEFT_BEHIND)
        said = _pytest(copy, report, seconds)
        results = _report(report)
    if not results:
        text = f"The proofs of the version before did not run to their end: {said[-_LONGEST_REASON:]}"
        return [Finding("proof-missing", "error", text, "Run `uv lock` if uv.lock is stale; else see above.", PROOFS)]
    before = _rules(previous)
    changed = frozenset() if patch else frozenset(row for row, rule in before.items() if rules.get(row) != rule)
    return list(_found(proofs, results, changed))


def declared(folder: Path) -> Iterator[Proof]:
    """Each proof in a folder, read and not run. The rest of the tests there are about the proofs themselves."""
    for file in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(file.read_bytes())
        names = dict(_names(tree))
        for node in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "protects":
                    value: ast.expr = mark.args[0]
                    value = names.get(value.id, value) if isinstance(value, ast.Name) else value
                    row = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else "?"
                    yield Proof(f"{PROOFS}/{file.relative_to(folder).as_posix()}::{node.name}", row)


def _names(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """What a module gives names to, one by one or several in a line."""
    for node in (node for node in tree.body if isinstance(node, ast.Assign)):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=False)
                yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name))


def _rules(folder: Path) -> dict[str, str]:
    """What the rows of a catalogue demand."""
    rules = {}
    for file in sorted((folder / "catalogue").glob("*.csv")):
        if file.name != "asvs.csv" and not file.is_symlink():
            for entry in csv.DictReader(file.read_text(encoding="utf-8", errors="replace").splitlines()):
                rules[str(entry.get("id"))] = str(entry.get("the_rule"))
    return rules


def pytest_command(*arguments: str) -> list[str]:
    """Return the command that runs pytest in the environment of the service that is the working directory."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    return [uv, "run", "--locked", "pytest", *arguments]


def pytest_environment() -> dict[str, str]:
    """Return the variables of this process without those that change what pytest runs, and without tokens of CI."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}


def no_uv(error: OSError) -> ProofsError:
    """Return what to raise where the command could not be started."""
    return ProofsError(f"uv did not run ({error.strerror}). Install uv: the proofs are run with it.")


def _pytest(copy: Path, report: Path, seconds: float) -> str:
    """Run them, and return the end of their output. The verdict is only in the report."""
    processes = min(os.cpu_count() or 2, _PROCESSES)
    command = pytest_command(
        "-q", "-m", "protects", "-n", str(processes), "--dist", "worksteal", f"--proof-report={report}", PROOFS
    )
    environment = pytest_environment() | {"CI": "true"}
    try:
        started = subprocess.Popen(  # noqa: S603 - a fixed program and fixed arguments
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise no_uv(error) from None
    with started as process:
        try:
            out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            out = f"they took longer than {seconds:.0f} seconds".encode()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that the code under test may have left behind
    return " ".join(out.decode(errors="replace").split())


def _report(file: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Each reported test, without its parameters, and its verdicts; {} without a report."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    try:
        rows = json.loads(file.read_bytes())["rows"]
        for verdict in ({**proof, "row": row["id"]} for row in rows for proof in row["proofs"]):
            found.setdefault(str(verdict["test"]).partition("[")[0], []).append(verdict)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found


def _found(
    proofs: list[Proof], results: Mapping[str, list[Mapping[str, Any]]], changed: frozenset[str]
) -> Iterator[Finding]:
    for proof in proofs:
        verdicts = results.get(proof.test, [])
        bad = [verdict for verdict in verdicts if verdict.get("good") is not True]
        bad = [verdict for verdict in bad if verdict["row"] == proof.row] or bad  # a test may prove several rows
        if verdicts and not bad:
            continue
        row = str(bad[0]["row"]) if bad else proof.row
        level: Level = "note" if row in changed else "error"
        cure = "The new version has another rule for it: read both." if row in changed else _CURE
        file, _, name = proof.test.partition("::")
        if not verdicts:
            text = f"{row}: {name} of the version before was not run on the new code."
            yield Finding("proof-missing", level, text, cure, file)
        else:
            reason = str(bad[0].get("reason", ""))[:_LONGEST_REASON]
            text = f"{row}: {name} of the version before fails on the new code: {reason}"
            yield Finding("proof-failed", level, text, cure, file)


# --- the command -------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `proofs`."""
    parser.add_argument("service", nargs="?", default=".", type=Path, help="the service's folder; default: this one")
    parser.add_argument("--base", required=True, metavar="REF", help="the commit that the update goes to: HEAD^1 in CI")


def command(options: argparse.Namespace) -> int:
    """Run the proofs of the base on the checked-out code, which runs it: 0 all hold, 1 not all."""
    service: Path = options.service
    proposal = proposed(service, options.base)
    if not proposal.is_update:
        print("The version of the template stays the same: its proofs are those that the service has.")
        return 0
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as scratch:
        for name, data in Template(service, bare=False).files(proposal.base, PROOFS).items():
            target = Path(scratch) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        old, new = proposal.versions
        patch = old is None or new is None or old.numbers[:2] == new.numbers[:2]
        findings = run(Path(scratch) / PROOFS, service, patch=patch)
    for one in findings:
        print(line(one))
    bad = sum(one.level != "note" for one in findings)
    print(f"{bad or 'None'} of the earlier proofs {'fails' if bad else 'is lost'} on the new code.")
    return int(bool(bad))
