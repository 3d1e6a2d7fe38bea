"""`flask-bastion prove` runs the edges of a service's version from the trusted source, and leaves nothing behind.

The edges are code, so whoever can replace them runs code on the machine of a team. Source: catalogue row
update-source-pinned; ASVS 15.2.4.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_bastion import cli
from services import Service
from signed import ADDRESS, EVIL, Key, Publisher, Server, answers, everything
from support import git

PROOF = '''"""Edges of the proofs in test_headers.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works

if TYPE_CHECKING:
    from ..running import Service


@protects("headers-classic", nosniff=edit("edge/headers.py", '"X-Content-Type-Options", "nosniff"', '"X-Other", "x"'))
def test_an_edge_of_one_header(service: Service) -> None:
    answer = service.client().get("/healthz")
    works(answer.status == 200, "it answers")
    harm(answer.header("X-Content-Type-Options") is None, "the header is absent")
'''
LISTS_WHAT_IT_GETS = """#!/bin/sh
echo "$@" > {log}
find tests/proofs/edges -name '*.py' | sort >> {log}
env | sort | grep -E '^(PYTEST_ADDOPTS|PYTHONPATH|GH_TOKEN)=' >> {log}
exit {status}
"""
Prove = Callable[..., int]


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """Has two edges: one for every service, one for the jwt style."""
    made = Publisher.make(tmp_path / "platform")
    for name, text in (("test_edge.py", PROOF), ("jwt/test_edge.py", PROOF.replace("from ..", "from ..."))):
        file = made.path / "tests/edges" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    made.release("v1.0.0")
    return made


@pytest.fixture
def service(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Server(tmp_path / "server", monkeypatch, git=publisher.path, evil=publisher.path)
    return publisher.service(tmp_path / "service", "v1.0.0")


@pytest.fixture
def prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prove:
    """Run the command with a uv that only notes what it gets; `status` is what its pytest would exit with."""
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin/uv"
    monkeypatch.setenv("PATH", str(uv.parent), prepend=os.pathsep)

    def run(*arguments: str | Path, status: int = 0) -> int:
        uv.write_text(LISTS_WHAT_IT_GETS.format(log=tmp_path / "log", status=status), encoding="utf-8")
        uv.chmod(0o755)
        return cli.main(["prove", *(str(argument) for argument in arguments)])

    return run


def log(tmp_path: Path) -> list[str]:
    file = tmp_path / "log"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def edges(lines: list[str]) -> set[str]:
    return {line.removeprefix("tests/proofs/edges/") for line in lines if line.startswith("tests/proofs/edges/")}


def test_edges_of_the_answers_are_laid_over_a_copy(
    service: Path, prove: Prove, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTEST_ADDOPTS", "PYTHONPATH", "GH_TOKEN"):
        monkeypatch.setenv(name, "foreign")
    before = everything(service)
    assert prove(service, "--sabotage", "-k", "edge", "--proof-report", tmp_path / "proofs.html") == 0
    lines = log(tmp_path)
    assert lines[0] == f"run --locked pytest -k edge tests/proofs --sabotage --proof-report={tmp_path}/proofs.html"
    assert "test_edge.py" in edges(lines)
    assert "jwt/test_edge.py" not in edges(lines)
    assert [line for line in lines if "=foreign" in line] == []
    assert everything(service) == before


def test_a_failed_proof_is_exit_status_1(service: Path, prove: Prove) -> None:
    assert prove(service, status=1) == 1
    assert prove(service, status=0) == 0


@pytest.mark.usefixtures("service")
def test_a_jwt_service_gets_the_edges_of_its_style(publisher: Publisher, prove: Prove, tmp_path: Path) -> None:
    other = publisher.service(tmp_path / "jwt", "v1.0.0", auth="jwt")
    assert prove(other) == 0
    assert {"test_edge.py", "jwt/test_edge.py"} <= edges(log(tmp_path))


def test_edges_of_an_unlisted_source_are_refused(
    service: Path, prove: Prove, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(service) == 0
    (tmp_path / "log").unlink()
    answers(service, _src_path=EVIL)
    assert prove(service) == 2
    assert EVIL in capsys.readouterr().err
    assert log(tmp_path) == []


def test_edges_signed_with_another_key_are_refused(
    publisher: Publisher, service: Path, prove: Prove, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(service) == 0
    (tmp_path / "log").unlink()
    commit = git(publisher.path, "rev-parse", "v1.0.0^{commit}").strip()
    Key.make(tmp_path / "stranger").sign(publisher.path, "v1.0.0", commit)
    assert prove(service) == 2
    assert "none of the keys" in capsys.readouterr().err
    assert log(tmp_path) == []


def test_edges_behind_a_moved_tag_are_refused(
    publisher: Publisher, service: Path, prove: Prove, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (publisher.path / "tests/edges/test_edge.py").write_text("raise SystemExit\n", encoding="utf-8")
    publisher.release("v1.0.0")
    assert prove(service) == 2
    assert "the tag was moved" in capsys.readouterr().err
    assert log(tmp_path) == []


def test_a_folder_without_a_service_is_refused(
    prove: Prove, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert prove(tmp_path / "empty") == 2
    assert ".copier-answers.yml" in capsys.readouterr().err


def test_an_edge_runs_intact_and_sabotaged(
    publisher: Publisher,
    open_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With the real uv, and a lock of the service's own."""
    Server(tmp_path / "server", monkeypatch, git=publisher.path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.delenv("CI", raising=False)  # where it is set, -k leaves proofs out and is red
    service = Service(publisher.service(open_folder / "proven", "v1.0.0", address=ADDRESS))
    service.sync()
    service.commit("Lock")
    assert cli.main(["prove", str(service.path), "-k", "test_an_edge_of_one_header"]) == 0
    assert "1 passed" in capfd.readouterr().out
    assert cli.main(["prove", str(service.path), "-k", "test_an_edge_of_one_header", "--sabotage"]) == 0
    assert "2 of 2 proven" in capfd.readouterr().out
    assert service.changed() == []
