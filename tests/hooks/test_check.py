"""A half-merged update is named with its cure, and a hostile repository can't lead the check astray."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from flask_bastion import check, cli
from support import ROOT, run

CONFLICT = "<<<<<<< before updating\nmine\n=======\ntheirs\n>>>>>>> after updating\n"


@pytest.fixture
def service(tmp_path: Path) -> Path:
    (tmp_path / ".copier-answers.yml").write_text("_commit: v1.0.0\n", encoding="utf-8")
    (tmp_path / "app.py").write_text("print('<<<<<<< before updating')\n", encoding="utf-8")
    return tmp_path


def test_a_service_without_leftovers_passes(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(service)]) == 0
    assert capsys.readouterr().out == ""


def test_a_conflict_is_named_with_file_and_line(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (service / "guards.py").write_text("first\n" + CONFLICT, encoding="utf-8")
    assert cli.main(["check", str(service)]) == 1
    assert capsys.readouterr().out.startswith("guards.py:2: a conflict.")


def test_a_conflict_with_windows_line_ends_is_found(service: Path) -> None:
    (service / "guards.py").write_bytes(CONFLICT.replace("\n", "\r\n").encode())
    assert len(check.leftovers(service)) == 1


def test_a_rejected_change_is_named(service: Path) -> None:
    (service / "guards.py.rej").write_text("@@\n", encoding="utf-8")
    assert check.leftovers(service) == [
        "guards.py.rej: a rejected change. Merge what it holds into guards.py, then delete it."
    ]


def test_a_folder_that_is_no_service_is_refused(tmp_path: Path) -> None:
    assert cli.main(["check", str(tmp_path)]) == 2


def test_no_link_is_followed_out_of_the_repository(service: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret.py").write_text(CONFLICT, encoding="utf-8")
    (service / "link.py").symlink_to(elsewhere / "secret.py")
    (service / "folder").symlink_to(elsewhere, target_is_directory=True)
    assert check.leftovers(service) == []


def test_a_pipe_does_not_hang_it(service: Path) -> None:
    os.mkfifo(service / "pipe")
    assert check.leftovers(service) == []


def test_the_hook_runs_as_pre_commit_runs_it(service: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    (service / "x.rej").write_text("", encoding="utf-8")
    result = run(ROOT / hook["entry"], cwd=service, env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.startswith("x.rej:")
