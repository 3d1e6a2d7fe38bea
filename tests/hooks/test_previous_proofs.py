"""What was proven before is proven still: the proofs of the version before are run on the code of the new one.

A version that weakens a protection brings a proof that is weakened as well, and is green by itself. The service that is
updated here is whole, with the proofs of one room, so that each run takes seconds. Source: catalogue row
update-automerge-guarded; ASVS 15.2.4.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flask_bastion.previous_proofs import ProofsError, declared, run
from histories import HEADER, recorded
from services import Service
from support import TEMPLATE, Repository, git, replace_once

Command = Callable[..., subprocess.CompletedProcess[str]]
HEADERS = "src/my_service/bastion/edge/headers.py"
PROOF = "tests/proofs/test_headers.py"
TABLE = "tests/proofs/header_table.py"
CATALOGUE = "tests/proofs/catalogue/both.csv"
DENY, SAME = 'yield ("X-Frame-Options", "DENY")', 'yield ("X-Frame-Options", "SAMEORIGIN")'


@pytest.fixture(scope="module")
def version_before(template_repository: Repository, open_folder: Path) -> Service:
    """A locked service that has the proofs of one file alone."""
    service = Service.start(template_repository.path, open_folder / "before")
    for file in (service.path / "tests/proofs").rglob("test_*.py"):
        if file.name != Path(PROOF).name:
            file.unlink()
    service.sync()
    service.commit("Proofs of one room")
    return service


@pytest.fixture
def service(version_before: Service, tmp_path: Path) -> Service:
    """A copy, with a branch for the version after it."""
    shutil.copytree(version_before.path, tmp_path / "service", ignore=shutil.ignore_patterns(".venv"))
    made = Service(tmp_path / "service")
    git(made.path, "checkout", "--quiet", "-b", "update")
    return made


def becomes(service: Service, tag: str = "v1.0.1") -> None:
    answers = recorded(service.path) | {"_commit": tag}
    service.write(".copier-answers.yml", yaml.safe_dump(answers))
    service.commit(f"Update the template to {tag}")


def weaken(service: Service) -> None:
    """A protection is gone, and so is what its proof says of it."""
    replace_once(service.path / HEADERS, HEADER, "")
    replace_once(service.path / TABLE, '    "X-Frame-Options": "DENY",\n', "")


@pytest.fixture(autouse=True)
def uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of this repository's environment."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture
def installed(version_before: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uv that runs in the environment of the version before, so that nothing is installed anew."""
    program = tmp_path / "bin/uv"
    program.parent.mkdir()
    python = version_before.path / ".venv/bin/python"
    program.write_text(
        f'#!/bin/sh\ntest "$1 $2 $3" = "run --locked pytest"\nshift 3\nexec {python} -m pytest "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_an_honest_version_holds_what_was_proven_before(service: Service, command: Callable[..., Command]) -> None:
    """Also with more proofs, another harness and a changed page of documentation."""
    replace_once(service.path / HEADERS, HEADER, HEADER.replace("\n", "  # framed by nobody\n"))
    service.write("tests/proofs/test_more.py", "def test_more() -> None:\n    assert True\n")
    service.write("SECURITY.md", "# Security\n")
    becomes(service)
    result = command()("proofs", service.path, "--base", "main")
    assert result.stdout == "None of the earlier proofs is lost on the new code.\n", result.stdout + result.stderr
    assert result.returncode == 0
    assert service.changed() == []
    assert not service.has(".venv")


@pytest.mark.usefixtures("installed")
def test_a_version_that_weakens_a_protection_and_its_proof_is_red(
    service: Service, command: Callable[..., Command]
) -> None:
    weaken(service)
    becomes(service)
    result = command()("proofs", service.path, "--base", "main")
    assert result.returncode == 1
    assert f"{PROOF}: " in result.stdout
    assert "of the version before fails on the new code" in result.stdout
    own_proofs = ("previous_proofs.py", "files(proposal.base, PROOFS)", 'files("HEAD", PROOFS)')
    fooled = command(own_proofs)("proofs", service.path, "--base", "main")
    assert fooled.returncode == 0, fooled.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/conftest.py", "import os\nos._exit(0)\n"),
        ("tests/conftest.py", "def pytest_collection_modifyitems(items):\n    del items[1:]\n"),
        ("pyproject.toml", None),
        ("src/my_service/bastion/edge/headers.py", "raise SystemExit(0)\n"),
    ],
    ids=["the run is ended", "proofs are left out", "a file is left out", "the service ends itself"],
)
@pytest.mark.usefixtures("installed")
def test_a_version_that_keeps_proofs_from_being_run_is_red(service: Service, name: str, text: str | None) -> None:
    if text is None:
        replace_once(
            service.path / name,
            '"-p", "proofs.plugin", ',
            '"--deselect=tests/proofs/test_headers.py", "-p", "proofs.plugin", ',
        )
    else:
        service.write(name, text)
    findings = run(before(service), service.path)
    assert {finding.kind for finding in findings} <= {"proof-missing", "proof-failed"}
    assert {finding.level for finding in findings} == {"error"}


def before(service: Service) -> Path:
    """The proofs of the version before, in a folder of their own."""
    folder = service.path.parent / "previous"
    if not folder.exists():
        archive = git(service.path, "ls-tree", "-r", "--name-only", "main", "--", "tests/proofs").splitlines()
        for name in archive:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(git(service.path, "show", f"main:{name}"), encoding="utf-8")
    return folder / "tests/proofs"


@pytest.mark.usefixtures("installed")
def test_a_rule_that_a_minor_version_changes_is_told_to_a_person_and_one_of_a_patch_is_red(service: Service) -> None:
    replace_once(service.path / HEADERS, DENY, SAME)
    changed = "headers-classic"
    replace_once(service.path / CATALOGUE, f"\n{changed},", f"\n{changed}-was,")
    told = {
        finding.text.partition(":")[0]: finding.level for finding in run(before(service), service.path, patch=False)
    }
    assert told[changed] == "note"
    assert told["headers-on-every-response"] == "error"
    assert {finding.level for finding in run(before(service), service.path)} == {"error"}


def test_what_cannot_be_run_is_said_and_counts_as_lost(service: Service) -> None:
    replace_once(service.path / "pyproject.toml", '"webauthn>=3.0.1,<4"', '"webauthn>=3.0.1,<4.1"')
    (finding,) = run(before(service), service.path)
    assert finding.level == "error"
    assert "uv.lock" in finding.text
    assert "uv lock" in finding.cure


def test_a_run_has_an_end(service: Service) -> None:
    (finding,) = run(before(service), service.path, seconds=0.2)
    assert "longer than" in finding.text


def test_without_proofs_or_without_uv_nothing_is_said_to_hold(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProofsError, match="holds no proof"):
        run(tmp_path / "empty", service.path)
    proofs = before(service)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # uv may lie beside it
    with pytest.raises(ProofsError, match="Install uv"):
        run(proofs, service.path)


def test_new_code_gets_no_token_and_no_option_of_the_runners(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "uv"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "PYTEST_ADDOPTS", "PYTHONPATH", "HARMLESS"):
        monkeypatch.setenv(name, "canary-of-the-runner")
    run(before(service), service.path)
    seen = (tmp_path / "seen").read_text(encoding="utf-8").splitlines()
    assert [line for line in seen if "canary" in line] == ["HARMLESS=canary-of-the-runner"]
    assert "CI=true" in seen


def test_every_proof_of_the_template_is_known() -> None:
    found = list(declared(TEMPLATE / "tests/proofs"))
    assert len(found) >= 200
    assert {proof.row for proof in found} >= {"session-idle-30-min", "jwt-alg-allow-list", "headers-classic"}
    assert len([proof for proof in found if proof.row == "?"]) <= 5
