"""A service gets a newer version whole and from whom it trusts, or stays as it is to the last byte.

Each attack is tried on the command as it is, and on one from which just that protection was taken away. Source:
catalogue row update-source-pinned; ASVS 15.2.4.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import planted
from flask_bastion import cli, previous_proofs, trust
from flask_bastion.check import check
from flask_bastion.checkout import Checkout, Copy
from flask_bastion.finding import Finding
from flask_bastion.merge import File, merge
from flask_bastion.template import Template
from flask_bastion.tree import Tree
from flask_bastion.update import _lock
from histories import FLOOR, HEADER, HEADERS, HISTORIES, OLD_FLOOR, PACKAGE, PYPROJECT, recorded
from signed import ADDRESS, EVIL, TRUST, Key, Publisher, Server, answers, commit, everything
from support import ROOT, copier, done, git, ignores_nothing, replace_once, run, uv

Command = Callable[..., subprocess.CompletedProcess[str]]
BASTION = "src/my_service/bastion"
FILE = f"{BASTION}/edge/headers.py"
CLOCK = f"{PACKAGE}/bastion/clock.py"
FIX = '\n\nFIXED = True\n"""As the new version has it."""\n'
CANARY = "the-attackers-code"
TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """v1.0.0 lets itself be framed, v1.0.1 does not; v1.1.0 adds a file, a question and a floor, and drops a file."""
    publisher = Publisher.make(tmp_path_factory.mktemp("publisher") / "one")
    edit = publisher.repository.edit
    edit(HEADERS, HEADER, "")
    edit(PYPROJECT, FLOOR, OLD_FLOOR)
    (publisher.path / f"{PACKAGE}/bastion/leaves.py").write_text('"""Goes again."""\n', encoding="utf-8")
    script = publisher.path / "template/docs/bastion/program.sh"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    publisher.release("v1.0.0")
    (publisher.path / HEADERS).write_bytes((ROOT / HEADERS).read_bytes())
    (publisher.path / "advisories").mkdir()
    about = HISTORIES["header"] | {"affected": [HISTORIES["header"]["affected"][0] | {"versions": ["v1.0.0"]}]}
    (publisher.path / "advisories" / f"{about['id']}.json").write_text(json.dumps(about), encoding="utf-8")
    publisher.release("v1.0.1")
    edit(PYPROJECT, OLD_FLOOR, FLOOR)
    with (publisher.path / CLOCK).open("a", encoding="utf-8") as file:
        file.write(FIX)
    with (publisher.path / "copier.yml").open("a", encoding="utf-8") as file:
        file.write("\ncolour:\n  type: str\n  default: blue\n  help: A new question.\n")
    script.chmod(0o755)
    other = script.with_name("other.sh")
    other.write_text("#!/bin/sh\n", encoding="utf-8")
    other.chmod(0o755)
    (publisher.path / f"{PACKAGE}/bastion/leaves.py").unlink()
    (publisher.path / f"{PACKAGE}/bastion/arrives.py").write_text('"""Arrives."""\n', encoding="utf-8")
    publisher.release("v1.1.0")
    return publisher


@pytest.fixture(scope="module")
def foreign(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """Another server's template, with a newer version that is well signed; nothing may edit it."""
    clone = hostile(publisher, tmp_path_factory.mktemp("foreign") / "flask-bastion")
    clone.key.sign(clone.path, "v1.1.1")
    return clone


@pytest.fixture
def server(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(tmp_path / "server", monkeypatch, git=publisher.path)


@pytest.fixture
def service(publisher: Publisher, server: Server, tmp_path: Path) -> Path:
    del server  # it is asked by every command
    return publisher.service(tmp_path / "service", "v1.0.0")


def staged(service: Path) -> list[str]:
    return git(service, "status", "--porcelain").splitlines()


class Said:
    """What the command printed, and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def update(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command in this process."""

    def run_it(service: Path, *arguments: str | Path) -> Said:
        capsys.readouterr()
        try:
            status = cli.main(["update", str(service), *map(str, arguments)])
        except SystemExit as error:  # what argparse refuses
            status = int(str(error.code))
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return run_it


# --- the legitimate way ----------------------------------------------------------------------------------------------


def test_a_signed_newer_version_from_the_listed_address_arrives_whole(
    service: Path, server: Server, update: Callable[..., Said]
) -> None:
    said = update(service, "--to", "v1.0.1")
    assert said.status == 0, said.err
    assert server.asked == ["git.example"]
    assert "my-service v1.0.0 -> v1.0.1 (patch)" in said.out
    assert "fixes BASTION-2026-0001 (high): A page can be framed." in said.out
    assert sorted(staged(service)) == [f"M  {name}" for name in (".copier-answers.yml", f"{BASTION}/chosen.py", FILE)]
    assert HEADER in (service / FILE).read_text(encoding="utf-8")
    assert recorded(service)["_commit"] == "v1.0.1"
    commit(service, "Update")
    before = everything(service)
    again = update(service, "--to", "v1.0.1")
    assert (again.status, everything(service)) == (0, before), "a second run changes nothing"
    assert "has v1.0.1 of" in again.out
    assert "already" in again.out


def test_a_plan_says_the_same_and_changes_nothing(service: Path, update: Callable[..., Said]) -> None:
    before = everything(service)
    said = update(service, "--plan")
    assert said.status == 0
    assert "v1.0.0 -> v1.1.0 (minor)" in said.out
    assert f"D {BASTION}/leaves.py" in said.out
    assert "the template's and yours: 1 file\n    M pyproject.toml" in said.out
    assert "A minor version may ask for something" in said.out
    plan = json.loads(update(service, "--plan", "--json").out)
    assert (plan["from"], plan["to"], plan["lane"], plan["applied"]) == ("v1.0.0", "v1.1.0", "minor", False)
    assert {"name": f"{BASTION}/arrives.py", "owner": "template", "change": "A"} in plan["files"]
    assert {"name": "pyproject.toml", "owner": "both", "change": "M"} in plan["files"]
    assert [fix["id"] for fix in plan["fixes"]] == ["BASTION-2026-0001"]
    assert plan["plan"]["by_itself"] is False
    assert everything(service) == before


def teams_work(service: Path) -> None:
    """What a team does: its own features, files that it deletes, and edits of what is not its own."""
    app = service / "src/my_service/app.py"
    app.write_text(app.read_text(encoding="utf-8") + "\n# Ours.\n", encoding="utf-8")
    (service / "src/my_service/reports.py").write_text('"""Ours."""\n', encoding="utf-8")
    (service / "README.md").unlink()
    shutil.rmtree(service / "src/my_service/notes")
    (service / "SECURITY.md").unlink()  # the template's
    (service / ".gitignore").write_text("# ours\n" + (service / ".gitignore").read_text(encoding="utf-8"), "utf-8")
    replace_once(service / "pyproject.toml", '"my-service[bastion]",', '"my-service[bastion]",\n    "requests>=2",')
    clock = service / f"{BASTION}/clock.py"
    first, rest = clock.read_text(encoding="utf-8").split("\n", 1)
    clock.write_text(f"{first}  # patched by hand\n{rest}", encoding="utf-8")
    commit(service, "Our work")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="newest"),
        pytest.param({"auth": "jwt", "database": "postgresql"}, id="other-answers", marks=pytest.mark.nightly),
    ],
)
def test_what_comes_out_is_what_copier_would_have_written(
    service: Path, tmp_path: Path, update: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, data: dict[str, str]
) -> None:
    teams_work(service)
    twin = tmp_path / "twin"
    shutil.copytree(service, twin, symlinks=True)
    monkeypatch.setenv("COPIER_CACHE_DIR", str(tmp_path / "copier"))
    given = [f"--data={name}={answer}" for name, answer in data.items()]
    done(copier("update", "--quiet", "--defaults", "--vcs-ref", "v1.1.0", *given, cwd=twin))
    assert update(service, *given).status == 0
    git(twin, "add", "--all")
    assert git(service, "write-tree") == git(twin, "write-tree")
    assert git(service, "diff", "--stat") == "", "the folder is what the index says"
    for name in ("program.sh", "other.sh"):
        assert os.access(service / "docs/bastion" / name, os.X_OK)
    assert recorded(service)["colour"] == "blue"
    assert not (service / "README.md").exists()
    assert not (service / f"{BASTION}/leaves.py").exists()
    assert '"requests>=2"' in (service / "pyproject.toml").read_text(encoding="utf-8")


def test_a_service_in_a_folder_of_a_larger_repository_is_updated_alone(
    publisher: Publisher, server: Server, tmp_path: Path, update: Callable[..., Said]
) -> None:
    del server
    service = publisher.service(tmp_path / "all" / "services" / "pay", "v1.0.0")
    shutil.rmtree(service / ".git")
    git(tmp_path / "all", "init", "--quiet", "--initial-branch", "main")
    (tmp_path / "all" / "other.txt").write_text("theirs\n", encoding="utf-8")
    commit(tmp_path / "all", "All of it")
    (tmp_path / "all" / "other.txt").write_text("theirs, not committed yet\n", encoding="utf-8")
    assert update(service).status == 0
    changed = [line for line in staged(tmp_path / "all") if not line.startswith(("M  services/pay/", "A  ", "D  "))]
    assert changed == [" M other.txt"]
    assert (service / f"{BASTION}/arrives.py").exists()


def test_it_works_in_a_linked_worktree(service: Path, tmp_path: Path, update: Callable[..., Said]) -> None:
    git(service, "worktree", "add", "--quiet", "-b", "update", str(tmp_path / "linked"))
    before = everything(service / "src")
    assert update(tmp_path / "linked", "--to", "v1.0.1").status == 0
    assert HEADER in (tmp_path / "linked" / FILE).read_text(encoding="utf-8")
    assert everything(service / "src") == before


def test_the_lock_is_made_anew_where_a_floor_moved_and_told_where_it_can_not(
    service: Path, tmp_path: Path, update: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    lock = tools / "uv"
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    (service / "uv.lock").write_text("version = 1\n", encoding="utf-8")
    commit(service, "Lock")
    lock.write_text("#!/bin/sh\necho 'error: no network' >&2\nexit 2\n", encoding="utf-8")
    lock.chmod(0o755)
    said = update(service, "--plan", "--json")
    assert json.loads(said.out)["left"] == ["uv lock (uv failed: error: no network)"]
    assert said.status == 0, "the rest is not lost"
    lock.write_text('#!/bin/sh\n[ "$1" = lock ] && echo "version = 2" > uv.lock\n', encoding="utf-8")
    assert update(service).status == 0
    assert (service / "uv.lock").read_text(encoding="utf-8") == "version = 2\n"
    assert "M  uv.lock" in staged(service)


def test_the_proofs_of_both_versions_decide_where_they_are_asked_for(
    service: Path, tmp_path: Path, update: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that weakens a protection weakens its proof with it: what the service had proven counts as well."""
    tools = tmp_path / "tools"
    tools.mkdir()
    uv = tools / "uv"
    uv.write_text("#!/bin/sh\necho 'FAILED tests/proofs/test_x.py'\nexit 1\n", encoding="utf-8")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    before = everything(service)
    said = update(service, "--to", "v1.0.1", "--proofs")
    assert (said.status, everything(service)) == (1, before)
    assert "The proofs fail on the updated service." in said.out
    assert "    | FAILED tests/proofs/test_x.py" in said.out
    uv.write_text("#!/bin/sh\n", encoding="utf-8")
    asked: list[tuple[bool, bool, bool]] = []
    lost = [Finding("proof-failed", "error", "What held before fails.", "", "tests/proofs/test_y.py")]

    def run_the_old(previous: Path, new: Path, *, patch: bool) -> list[Finding]:
        text = (new / FILE).read_text(encoding="utf-8")
        asked.append((previous.name == "proofs" and previous.is_dir(), HEADER in text, patch))
        return lost

    monkeypatch.setattr(previous_proofs, "run", run_the_old)
    said = update(service, "--to", "v1.0.1", "--proofs")
    assert (said.status, everything(service)) == (1, before)
    assert "What held before fails." in said.out
    lost.clear()
    assert update(service, "--to", "v1.0.1", "--proofs").status == 0
    assert asked == [(True, True, True)] * 2


def test_an_ordinary_update_costs_at_most_three_seconds_of_cpu(service: Path) -> None:
    """Its children are counted, and Python's start; the network is not there."""
    program = Path(sys.executable).with_name("flask-bastion")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done(run(program, "update", service, "--to", "v1.0.1"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 3


# --- whole, or not at all --------------------------------------------------------------------------------------------


def test_a_conflict_leaves_every_byte_as_it_was_and_says_whose_it_is(
    service: Path, update: Callable[..., Said]
) -> None:
    clock = service / f"{BASTION}/clock.py"
    clock.write_text(clock.read_text(encoding="utf-8") + "\n\nOURS = True\n", encoding="utf-8")
    replace_once(service / "pyproject.toml", OLD_FLOOR, '"werkzeug>=3.1.7,<4"')
    (service / f"{BASTION}/leaves.py").write_text("ours = 1\n", encoding="utf-8")
    (service / f"{BASTION}/arrives.py").write_text("ours = 1\n", encoding="utf-8")
    commit(service, "Ours")
    before = everything(service)
    said = update(service)
    assert said.status == 1
    assert everything(service) == before
    assert "Not done, and nothing was changed:" in said.out
    assert f"{BASTION}/clock.py: The template changed lines of its own file that were edited here" in said.out
    assert "    | +FIXED = True" in said.out
    assert f"{BASTION}/leaves.py: The new version has this file no more, and it was edited here." in said.out
    assert f"{BASTION}/arrives.py: The template changed lines of its own file that were edited here" in said.out
    assert "pyproject.toml: The template and the team changed the same place" in said.out
    assert "Update with --restore" in said.out
    told = json.loads(update(service, "--json").out)
    assert {finding["kind"] for finding in told["blocking"]} == {"update-conflict"}
    assert told["applied"] is False
    assert not {finding["file"] for finding in told["blocking"]} & {finding["file"] for finding in told["findings"]}


def test_restore_takes_the_templates_files_and_keeps_what_was_edited_as_a_patch(
    service: Path, publisher: Publisher, update: Callable[..., Said]
) -> None:
    clock = service / f"{BASTION}/clock.py"
    clock.write_text(clock.read_text(encoding="utf-8") + "\n\nOURS = True\n", encoding="utf-8")
    (service / "SECURITY.md").unlink()
    (service / f"{BASTION}/leaves.py").write_text("ours = 1\n", encoding="utf-8")
    app = service / "src/my_service/app.py"
    ours = app.read_text(encoding="utf-8") + "\n# all ours\n"
    app.write_text(ours, encoding="utf-8")
    commit(service, "Ours")
    said = update(service, "--restore")
    assert said.status == 0, said.out
    assert clock.read_text(encoding="utf-8").endswith(FIX)
    assert (service / "SECURITY.md").exists()
    assert not (service / f"{BASTION}/leaves.py").exists()
    assert app.read_text(encoding="utf-8") == ours
    patch = Path(said.out.partition("kept as a patch: ")[2].splitlines()[0])
    assert patch.parent == service / ".git"
    text = patch.read_text(encoding="utf-8")
    assert "+OURS = True" in text
    assert "+ours = 1" in text
    assert "deleted file mode" in text
    assert "FIXED" not in text, "what the template changed is no edit of the team"
    commit(service, "Update")
    kinds = [finding.kind for finding in check(service, (), Template(publisher.path), today=TODAY).findings]
    assert kinds == []
    git(service, "checkout", "--quiet", "-b", "ours", "HEAD~1")
    git(service, "checkout", "--quiet", "HEAD~1", "--", BASTION, "SECURITY.md")
    git(service, "apply", "--cached", str(patch))  # on the template's files of that version it is the team's work


def test_restore_never_overwrites_what_the_team_writes_too(service: Path, update: Callable[..., Said]) -> None:
    replace_once(service / "pyproject.toml", OLD_FLOOR, '"werkzeug>=3.1.7,<4"')
    commit(service, "Ours")
    before = everything(service)
    said = update(service, "--restore")
    assert (said.status, everything(service)) == (1, before)
    assert "Make the change that is shown by hand" in said.out


def test_a_fix_that_would_not_be_there_afterwards_stops_the_update(
    service: Path, publisher: Publisher, update: Callable[..., Said]
) -> None:
    """The team deleted the file; Copier keeps that, exits 0 and records the fixed version."""
    git(service, "rm", "--quiet", FILE)
    commit(service, "A mistake")
    before = everything(service)
    said = update(service, "--to", "v1.0.1")
    assert (said.status, everything(service)) == (1, before)
    assert "BASTION-2026-0001" in said.out
    assert update(service, "--to", "v1.0.1", "--restore").status == 0
    assert HEADER in (service / FILE).read_text(encoding="utf-8")
    del publisher


def test_a_fix_that_was_lost_after_its_version_arrived_is_told_by_every_further_update(
    service: Path, update: Callable[..., Said]
) -> None:
    """A merge that was resolved as "ours": the number is the newest, and `check` says to update."""
    old = (service / FILE).read_bytes()
    assert update(service, "--to", "v1.0.1").status == 0
    commit(service, "Update")
    (service / FILE).write_bytes(old)
    commit(service, "Ours")
    before = everything(service)
    said = update(service, "--to", "v1.0.1")
    assert (said.status, everything(service)) == (1, before)
    assert "already" not in said.out
    assert f"{FILE}" in said.out
    assert "BASTION-2026-0001 (high)" in said.out
    assert "flask-bastion update --restore" in said.out
    assert json.loads(update(service, "--to", "v1.0.1", "--json").out)["blocking"][0]["kind"] == "fix-lost"
    assert update(service, "--to", "v1.0.1", "--restore").status == 0
    assert HEADER in (service / FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "after"), [("src/my_service", "src/other"), ("src/my_service/bastion", "src/other/bastion")]
)
def test_nothing_is_written_for_a_name_that_the_service_has_not(
    service: Path, publisher: Publisher, update: Callable[..., Said], before: str, after: str
) -> None:
    """A second bastion, beside the one that runs, would have every fix, and protect nothing."""
    (service / after).parent.mkdir(exist_ok=True)
    git(service, "mv", before, after)
    if after != "src/other":
        answers(service, project_name="other")
    commit(service, "Another name")
    files = everything(service)
    for more in ((), ("--restore",)):
        said = update(service, *more)
        assert (said.status, everything(service)) == (2, files)
        assert "where a service of that name begins, is not there. Put it right" in said.err
    report = check(service, (), Template(publisher.path), today=TODAY)
    kinds = {finding.kind for finding in report.findings}
    assert "answers-contradict" in kinds
    assert not kinds & {"drift-missing", "drift-extra"}, "every file of the name that it has not"
    assert not report.compared


def test_a_service_gets_another_name_as_it_is_told(
    service: Path, publisher: Publisher, update: Callable[..., Said]
) -> None:
    git(service, "mv", "src/my_service", "src/other")
    answers(service, project_name="other")
    commit(service, "Another name")
    said = update(service, "--restore")
    assert said.status == 0, said.out + said.err
    assert not (service / "src/my_service").exists()
    commit(service, "Update")
    found = check(service, (), Template(publisher.path), today=TODAY).findings
    assert {finding.file for finding in found} == {"pyproject.toml"}, "which the team writes, too"


@pytest.mark.parametrize("file", [True, False])
def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file_are_told(
    service: Path, update: Callable[..., Said], file: bool
) -> None:
    if file:
        (service / "deploy").write_text("#!/bin/sh\n", encoding="utf-8")  # a script of the team's
        arguments, said = (
            ("--data", "secrets=vault"),
            "deploy: This is a file, and the update has to write into a folder",
        )
    else:
        (service / "SECURITY.md").unlink()
        (service / "SECURITY.md").mkdir()
        (service / "SECURITY.md" / "ours.md").write_text("# Ours\n", encoding="utf-8")
        arguments, said = ("--restore", "--json"), "This is a folder, and the update has to write a file of that name."
    commit(service, "Ours")
    before = everything(service)
    told = update(service, *arguments)
    assert (told.status, everything(service)) == (1, before)
    assert told.out.count(said) == 1
    assert update(service).status == 0, "where the template brings nothing there, it stays as the team has it"


def test_line_ends_of_windows_are_no_edit_and_stay(service: Path, update: Callable[..., Said]) -> None:
    clock = service / f"{BASTION}/clock.py"
    for name in everything(service):
        if not name.startswith(".git/"):
            data = (service / name).read_bytes()
            (service / name).write_bytes(data.replace(b"\n", b"\r\n"))
    clock.write_bytes(b"# ours\r\n" + clock.read_bytes())
    commit(service, "An editor did it")
    said = update(service)
    assert said.status == 0, said.out
    assert clock.read_bytes().startswith(b"# ours\r\n")
    assert clock.read_bytes().endswith(FIX.replace("\n", "\r\n").encode())
    changed = git(service, "diff", "--cached", "--numstat", "--", BASTION, "pyproject.toml").splitlines()
    assert all(int(line.split()[0]) <= 4 for line in changed if "arrives" not in line), changed


def test_a_link_in_place_of_a_file_is_not_written_through(
    service: Path, tmp_path: Path, update: Callable[..., Said]
) -> None:
    outside = tmp_path / "outside"
    shutil.move(service / BASTION / "edge", outside)
    (service / BASTION / "edge").symlink_to(outside)
    commit(service, "A link")
    before = everything(outside)
    said = update(service, "--to", "v1.0.1", "--restore")
    assert said.status == 1
    assert f"{BASTION}/edge is a link" in said.out
    assert everything(outside) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda service: (service / "new.txt").write_text("x"), "Not everything is committed here: new.txt."),
        (lambda service: (service / FILE).write_text("x"), f"Not everything is committed here: {FILE}."),
        (lambda service: shutil.rmtree(service / ".git"), "is in no git repository that can be updated"),
        (lambda service: (service / ".git/MERGE_HEAD").write_text("x"), "A merge or rebase is under way"),
        (lambda service: (service / ".git/config").write_text("[x"), "(git config: fatal: bad config"),
        (lambda service: git(service, "update-ref", "-d", "HEAD"), "has no commit yet"),
        (lambda service: (service / ".copier-answers.yml").unlink(), "so it is no rendered service"),
    ],
    ids=["untracked", "edited", "no-git", "merging", "spoiled", "no-commit", "no-service"],
)
def test_a_folder_in_no_state_to_be_updated_is_told_what_to_do(
    service: Path, update: Callable[..., Said], make: Callable[[Path], object], said: str
) -> None:
    make(service)
    before = everything(service)
    result = update(service)
    assert (result.status, everything(service)) == (2, before)
    assert said in result.err
    assert ("git init" in result.err) == (not (service / ".git").exists())
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "main"), "this is no version such as v1.2.3"),
        (("--to", "--upload-pack=touch"), "expected one argument"),
        (("--to=v1.0.1-4-g0123abc",), "this is no version such as v1.2.3"),
        (("--to", "v9.0.0"), "has no version v9.0.0. The newest is v1.1.0."),
        (("--data", "x"), "write a question and its answer as name=answer"),
        (("--data", "databse=mysql"), "v1.1.0 has no question databse."),
        (("--data", "database=oracle"), "The template does not take the answer to database."),
        (("--data", "project_name=other"), "The name of a service is no answer that an update changes."),
        (("--template", "nowhere"), "this is no folder"),
        (("--trust", "nowhere"), "nowhere can't be read"),
    ],
)
def test_what_is_asked_wrongly_is_told_and_changes_nothing(
    service: Path, update: Callable[..., Said], arguments: tuple[str, ...], said: str
) -> None:
    before = everything(service)
    result = update(service, *arguments)
    assert (result.status, everything(service)) == (2, before)
    assert said in result.err


SLOW = """#!/bin/sh
case "$*" in *" read-tree -m -u "*) touch {started}; sleep 2 ;; esac
exec {git} "$@"
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_an_update_is_told_so_and_has_the_service_as_it_was(
    service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    tools, started, scratch = tmp_path / "tools", tmp_path / "started", tmp_path / "scratch"
    tools.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    program = tools / "git"
    real = done(run("sh", "-c", "command -v git")).strip()
    program.write_text(SLOW.format(started=started, git=real).replace("read-tree -m -u", "fetch"), encoding="utf-8")
    program.chmod(0o755)
    before = everything(service)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    process = subprocess.Popen(
        [Path(sys.executable).with_name("flask-bastion"), "update", service],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=ignores_nothing,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "Stopped.\n")
    assert everything(service) == before
    assert [*scratch.iterdir()] == [], "nothing lies about"


def test_an_update_whose_process_is_killed_is_complete_all_the_same(
    service: Path, tmp_path: Path, update: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, started = tmp_path / "tools", tmp_path / "started"
    tools.mkdir()
    program = tools / "git"
    real = done(run("sh", "-c", "command -v git")).strip()
    program.write_text(SLOW.format(started=started, git=real), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    process = subprocess.Popen(
        [Path(sys.executable).with_name("flask-bastion"), "update", service, "--to", "v1.0.1"],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert HEADER not in (service / FILE).read_text(encoding="utf-8"), "it was killed in the middle"
    while HEADER not in (service / FILE).read_text(encoding="utf-8") and time.monotonic() < deadline:
        time.sleep(0.05)
    while (service / ".git/index.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(staged(service)) == 3
    assert git(service, "diff", "--stat") == ""
    said = update(service)
    assert said.status == 0
    assert "is complete now" in said.out
    commit(service, "Update")
    assert "v1.0.1 -> v1.1.0" in update(service, "--plan").out


@pytest.mark.parametrize("written", [0, 1, 2], ids=["nothing", "a-file", "two-files"])
def test_an_update_whose_git_is_killed_is_completed_by_the_next(
    service: Path, update: Callable[..., Said], written: int
) -> None:
    """The power goes while git writes: some files are new, and the index is old."""
    assert update(service, "--to", "v1.0.1").status == 0
    tree = git(service, "write-tree").strip()
    head = git(service, "rev-parse", "HEAD").strip()
    names = [line[3:] for line in staged(service)]
    new = {name: (service / name).read_bytes() for name in names}
    git(service, "reset", "--quiet", "--hard")
    (service / ".git" / "flask-bastion-update").write_text(f"{head} {tree}\n", encoding="ascii")
    for name in names[:written]:
        (service / name).write_bytes(new[name])
    edited = service / names[2]
    intact = edited.read_bytes()
    edited.write_text("somebody went on\n", encoding="utf-8")
    assert "was edited since" in update(service).err, "nobody's work is overwritten"
    edited.write_bytes(intact)
    assert "is complete now" in update(service).out
    assert {name: (service / name).read_bytes() for name in names} == new
    assert len(staged(service)) == 3
    assert git(service, "diff", "--stat") == ""


def test_a_repository_whose_own_records_make_no_sense_says_so(
    service: Path, update: Callable[..., Said], tmp_path: Path
) -> None:
    journal = service / ".git" / "flask-bastion-update"
    journal.write_bytes(b"\xff\x00 no trees")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    git(service, "config", "core.worktree", str(elsewhere))
    said = update(service)
    assert (said.status, "core.worktree" in said.err) == (2, True), said.err
    git(service, "config", "--unset", "core.worktree")
    assert update(service, "--to", "v1.0.1").status == 0
    assert not journal.exists()


def test_a_clone_that_was_copied_is_as_clean_as_it_was(
    service: Path, tmp_path: Path, update: Callable[..., Said]
) -> None:
    """A cache of a CI job, or a backup: every byte is as it was, and git's times of the files are of others."""
    copied = tmp_path / "copied"
    shutil.copytree(service, copied, symlinks=True, copy_function=shutil.copyfile)
    said = update(copied, "--to", "v1.0.1")
    assert said.status == 0, said.err
    assert f"M  {FILE}" in staged(copied)
    assert HEADER in (copied / FILE).read_text(encoding="utf-8")


def test_what_git_ignores_is_not_overwritten(service: Path, update: Callable[..., Said]) -> None:
    (service / ".git/info").mkdir(exist_ok=True)
    (service / ".git/info/exclude").write_text("arrives.py\n", encoding="utf-8")
    (service / f"{BASTION}/arrives.py").write_text("a secret of ours\n", encoding="utf-8")
    before = everything(service)
    said = update(service)
    assert said.status == 2
    assert "git ignores one that is there" in said.err
    after = everything(service)
    assert {name: data for name, data in after.items() if not name.startswith(".git/")} == {
        name: data for name, data in before.items() if not name.startswith(".git/")
    }


HALF = """#!/bin/sh
case "$*" in *" -u "*--dry-run*|*--dry-run*) ;; *" read-tree -m -u "*)
  echo half > {folder}/{one}; echo half > {folder}/{other}; echo 'fatal: No space left on device' >&2; exit 128 ;;
esac
exec {git} "$@"
"""


def test_an_update_that_fails_half_way_is_taken_back(
    service: Path, tmp_path: Path, update: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "git"
    real = done(run("sh", "-c", "command -v git")).strip()
    places = {"folder": service, "one": FILE, "other": f"{BASTION}/arrives.py"}
    program.write_text(HALF.format(git=real, **places), encoding="utf-8")
    program.chmod(0o755)
    before = everything(service / "src")
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    said = update(service)
    assert said.status == 2
    assert "was taken back: git read-tree: fatal: No space left on device" in said.err
    assert everything(service / "src") == before
    assert staged(service) == []
    monkeypatch.setenv("PATH", os.environ["PATH"].removeprefix(f"{tools}{os.pathsep}"))
    assert update(service).status == 0


def test_what_somebody_edits_meanwhile_is_not_lost(
    service: Path, update: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Checkout.apply

    def edited_first(checkout: Checkout, copy: Copy, tree: str) -> None:
        (service / FILE).write_text("ours, and new\n", encoding="utf-8")
        apply(checkout, copy, tree)

    monkeypatch.setattr(Checkout, "apply", edited_first)
    said = update(service)
    assert said.status == 2
    assert "nothing was changed" in said.err
    assert (service / FILE).read_text(encoding="utf-8") == "ours, and new\n"
    assert staged(service) == [f" M {FILE}"]


# --- an answers file that the code denies ----------------------------------------------------------------------------


def says(service: Path, **constants: str) -> None:
    """Change what bastion/chosen.py says, as a pull request could, and commit it."""
    chosen = service / BASTION / "chosen.py"
    for name, value in constants.items():
        line = next(one for one in chosen.read_text(encoding="utf-8").splitlines() if one.startswith(f"{name} = "))
        replace_once(chosen, f"{line}\n", f'{name} = "{value}"\n')
    commit(service, "A small change")


def commit_at(publisher: Publisher, tag: str) -> str:
    return git(publisher.path, "rev-parse", f"{tag}^{{commit}}").strip()


BELIEVED = (
    "start.py",
    "    return Start(version, commit, {**claimed.answers, **repository.denied}, claimed)\n",
    '    return Start(claimed.version, "", claimed.answers)\n',
)
"""The answers file decides, whatever the code says."""


def test_a_version_that_was_only_written_down_is_no_base_to_update_from(
    service: Path, update: Callable[..., Said], command: Callable[..., Command]
) -> None:
    """What lies between was never there, and a merge from the written version would not bring it either."""
    answers(service, _commit="v1.1.0")
    correction = "The answers file says v1.1.0, the code is v1.0.0: the update starts from the code."
    before = everything(service)
    told = json.loads(update(service, "--plan", "--json").out)
    assert everything(service) == before
    assert (told["from"], told["to"], told["lane"], told["status"]) == ("v1.0.0", "v1.1.0", "minor", 0)
    assert told["corrections"] == [correction]
    assert told["plan"]["reasons"][0] == correction, "a person looks"
    said = update(service)
    assert said.status == 0, said.err
    assert f"my-service v1.0.0 -> v1.1.0 (minor) from {ADDRESS}" in said.out
    assert f"  {correction}\n" in said.out
    assert recorded(service)["_commit"] == "v1.1.0"
    assert FLOOR in (service / "pyproject.toml").read_text(encoding="utf-8")
    assert (service / f"{BASTION}/clock.py").read_text(encoding="utf-8").endswith(FIX)
    commit(service, "Update")
    assert "already" in update(service).out, "now the two agree"
    git(service, "reset", "--quiet", "--hard", "HEAD~1")
    for arguments in ((), ("--restore",)):  # the first is stopped by another fix, which has an advisory
        assert command(BELIEVED)("update", service, *arguments).returncode == int(not arguments)
        assert OLD_FLOOR in (service / "pyproject.toml").read_text(encoding="utf-8"), "left out, without a word"
        git(service, "reset", "--quiet", "--hard")


def test_what_comes_out_is_what_comes_of_an_answers_file_that_is_right(
    service: Path, tmp_path: Path, update: Callable[..., Said]
) -> None:
    teams_work(service)
    twin = tmp_path / "twin"
    shutil.copytree(service, twin, symlinks=True)
    answers(service, _commit="v1.0.1", secrets="files")
    assert update(service).status == 0
    assert update(twin).status == 0
    assert git(service, "write-tree") == git(twin, "write-tree")


def test_an_answer_that_was_only_written_down_changes_nothing_and_the_line_is_put_right(
    service: Path, update: Callable[..., Said]
) -> None:
    """Who keeps its secrets in the environment would have none with the next start: a switch is asked for as one."""
    answers(service, secrets="files")
    before = everything(service)
    plan = update(service, "--to", "v1.0.1", "--plan").out
    assert "The answers file says secrets=files, the code has env: that stays." in plan
    assert "It needs a person:" in plan
    assert everything(service) == before
    said = update(service, "--to", "v1.0.1")
    assert said.status == 0, said.err
    assert "To change it, update with --data secrets=..." in said.out
    assert recorded(service)["secrets"] == "env"
    assert (service / f"{BASTION}/secrets/env.py").exists()
    assert not (service / f"{BASTION}/secrets/files.py").exists()
    assert HEADER in (service / FILE).read_text(encoding="utf-8")


def test_an_answer_that_was_only_written_down_is_changed_where_that_is_asked_for(
    service: Path, update: Callable[..., Said]
) -> None:
    answers(service, secrets="files")
    said = update(service, "--to", "v1.0.1", "--data", "secrets=files")
    assert said.status == 0, said.err
    assert "that stays" not in said.out
    assert recorded(service)["secrets"] == "files"
    assert (service / f"{BASTION}/secrets/files.py").exists()
    assert not (service / f"{BASTION}/secrets/env.py").exists()


def test_an_answers_file_alone_is_put_right_where_the_code_is_the_newest(
    publisher: Publisher, server: Server, tmp_path: Path, update: Callable[..., Said]
) -> None:
    """As after a conflict of two branches, resolved with the older side."""
    del server
    service = publisher.service(tmp_path / "service", "v1.1.0")
    answers(service, _commit="v1.0.1")
    said = update(service)
    assert said.status == 0, said.err
    assert "The answers file says v1.0.1, the code is v1.1.0" in said.out
    assert staged(service) == ["M  .copier-answers.yml"]
    assert recorded(service)["_commit"] == "v1.1.0"


MINE = "0" * 40


@pytest.mark.parametrize(
    ("claims", "code", "arguments", "said"),
    [
        ({"_commit": "v1.1.0"}, {"COMMIT": MINE}, (), "the tag was moved"),
        ({"_commit": "v1.1.0"}, {"COMMIT": "v1.0.1"}, (), "the tag was moved"),
        ({"auth": "jwt"}, {"COMMIT": MINE}, (), "the tag was moved"),
        ({"_commit": "v1.1.0"}, {"VERSION": "v1.0.7"}, (), "The template has no version v1.0.7."),
        ({"_commit": "v1.1.0"}, {"VERSION": "main"}, (), "_commit is v1.1.0 here, and main in bastion/chosen.py"),
        (
            {"_commit": "v1.1.0"},
            {"VERSION": "--upload-pack=touch x"},
            (),
            "the version to update from is not known.",
        ),
        ({"_commit": "v1.1.0"}, {"VERSION": "v1.0.0-3-g0123abc"}, (), "the version to update from is not known."),
        ({"_commit": "v1.1.0"}, {"COMMIT": "main"}, (), "the version to update from is not known."),
        ({}, {"VERSION": "v1.1.0", "COMMIT": "v1.1.0"}, ("--to", "v1.0.1"), "v1.0.1 is older than v1.1.0"),
        ({"_commit": "v1.1.0"}, {}, ("--to", "v1.0.1"), "v1.0.1 is older than v1.1.0, which the answers file says"),
        ({"_commit": "v0.9.0"}, {}, (), "The template has no version v0.9.0."),
        ({"_commit": "v9.0.0"}, {}, (), "Put the code's version into the file, v1.0.0"),
        ({"secrets": "oracle"}, {}, (), "The template does not take the answer to secrets. So the version"),
        ({}, {"AUTH": "jwt"}, (), "is as the answers file says. So the version to update from"),
        (
            {},
            {"DATABASE": "postgresql"},
            (),
            "is as the answers file says. So the version to update from",
        ),
        ({}, {"DATABASE": "../../x"}, (), "The template does not take the answer to database. So the version"),
    ],
)
def test_what_chosen_py_says_and_nothing_bears_out_is_no_base_either(
    publisher: Publisher,
    service: Path,
    update: Callable[..., Said],
    claims: dict[str, str],
    code: dict[str, str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    if claims:
        answers(service, **claims)
    tag = code.get("COMMIT", "")
    says(service, **code | ({"COMMIT": commit_at(publisher, tag)} if tag.startswith("v") else {}))
    before = everything(service)
    for more in ((), ("--plan",)):
        result = update(service, *arguments, *more)
        assert result.status in (1, 2)
        assert everything(service) == before
        assert said in result.err
        assert len(result.err.splitlines()) == 1


def test_a_version_that_nobody_signed_is_no_base_although_chosen_py_names_its_commit(
    publisher: Publisher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Command],
    update: Callable[..., Said],
) -> None:
    """A tag that anybody put there holds the fixes already, so that a merge from it leaves them out."""
    clone = publisher.clone(tmp_path / "clone")
    git(clone.path, "tag", "v1.0.5", "v1.1.0^{commit}")
    Server(tmp_path / "server", monkeypatch, git=clone.path)
    service = publisher.service(tmp_path / "service", "v1.0.1")
    says(service, VERSION="v1.0.5", COMMIT=commit_at(publisher, "v1.1.0"))
    before = everything(service)
    said = update(service)
    assert (said.status, everything(service)) == (1, before)
    assert "v1.0.5 is only a name for a commit" in said.err
    edits = (
        ("trust.py", "    if not commit or denied:  #", "    if not commit:  #"),
        ("start.py", "        if self.claimed.version < self.version:\n", "        if self.claimed.version is None:\n"),
    )
    assert command(*edits)("update", service).returncode == 0
    assert recorded(service)["_commit"] == "v1.1.0"
    assert FIX not in (service / f"{BASTION}/clock.py").read_text(encoding="utf-8"), "left out, without a word"


def test_a_newer_version_than_the_files_are_is_no_base_although_it_is_signed(
    publisher: Publisher,
    server: Server,
    tmp_path: Path,
    command: Callable[..., Command],
    update: Callable[..., Said],
) -> None:
    """Two lines of chosen.py, and every fix between would stay out; --restore is the way that is left."""
    del server
    service = publisher.service(tmp_path / "service", "v1.0.1")
    says(service, VERSION="v1.1.0", COMMIT=commit_at(publisher, "v1.1.0"))
    before = everything(service)
    said = update(service)
    assert (said.status, everything(service)) == (2, before)
    assert "But pyproject.toml is as the answers file says." in said.err
    believed = ("start.py", "        if self.claimed.version < self.version:\n", "        if not self.answers:\n")
    assert command(believed)("update", service).returncode == 0
    assert recorded(service)["_commit"] == "v1.1.0"
    assert FIX not in (service / f"{BASTION}/clock.py").read_text(encoding="utf-8"), "left out, without a word"
    git(service, "reset", "--quiet", "--hard")
    assert update(service, "--restore").status == 0
    assert FIX in (service / f"{BASTION}/clock.py").read_text(encoding="utf-8")
    assert FLOOR in (service / "pyproject.toml").read_text(encoding="utf-8")


def test_restore_mends_answers_that_were_spoiled_in_chosen_py(service: Path, update: Callable[..., Said]) -> None:
    says(service, AUTH="jwt")
    assert update(service).status == 2
    assert update(service, "--restore").status == 0
    assert 'AUTH = "session"' in (service / f"{BASTION}/chosen.py").read_text(encoding="utf-8")
    assert (service / f"{BASTION}/session/csrf.py").exists()
    assert recorded(service)["auth"] == "session"


def test_a_copy_of_uncommitted_changes_is_restored_to_its_version(service: Path, update: Callable[..., Said]) -> None:
    draft = "v1.0.0-1-g0123abc"
    answers(service, _commit=draft)
    says(service, VERSION=draft, COMMIT="uncommitted")
    refused = update(service)
    assert refused.status == 2
    assert "was copied from a clone with uncommitted changes" in refused.err
    assert "update with --restore" in refused.err
    said = update(service, "--restore")
    assert said.status == 0, said.out + said.err
    assert recorded(service)["_commit"] == "v1.1.0"
    assert "uncommitted" not in (service / BASTION / "chosen.py").read_text(encoding="utf-8")


def test_what_is_in_the_way_stands_last_with_the_version_that_would_pass(
    service: Path, update: Callable[..., Said]
) -> None:
    clock = service / f"{BASTION}/clock.py"
    clock.write_text(clock.read_text(encoding="utf-8") + "\nOURS = 1\n", encoding="utf-8")  # v1.1.0 adds there, too
    for number in range(60):
        (service / BASTION / f"extra{number}.py").write_text("X = 1\n" * 50, encoding="utf-8")
    commit(service, "Ours")
    said = update(service)
    assert said.status == 1
    lines = said.out.splitlines()
    assert lines[-1] == "v1.0.1 would pass: update with --to v1.0.1"
    assert any(line.startswith(f"  {BASTION}/clock.py") for line in lines[lines.index(LAST) + 1 :])
    assert not [line for line in lines if "fixes" in line or line.startswith("  the template's:")]
    assert "more; --plan --json lists them all" in said.out
    assert len(lines) < 80
    about = json.loads(update(service, "--plan", "--json").out)
    assert (about["passing"], about["fixes"], len(about["findings"]) >= 60) == ("v1.0.1", [], True)
    assert update(service, "--to", "v1.0.1").status == 0


LAST = "Not done, and nothing was changed:"


def test_files_that_could_not_be_read_speak_for_nothing(
    service: Path, update: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    says(service, AUTH="jwt")
    assert "is as the answers file says" in update(service).err
    read = Tree.read

    def too_slow(tree: Tree, name: str) -> bytes | None:
        if name not in {".copier-answers.yml", TRUST, f"{BASTION}/chosen.py"}:
            monkeypatch.setattr(tree, "_ends", 0.0)
        return read(tree, name)

    monkeypatch.setattr(Tree, "read", too_slow)
    said = update(service)
    assert said.status == 2
    assert "was not read, so nothing is known of it: Reading this repository took too long" in said.err


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
def test_what_was_not_read_is_no_reason_of_an_update(
    service: Path, publisher: Publisher, command: Callable[..., Command], seconds: float
) -> None:
    slow = command(("tree.py", "SECONDS: Final = 20.0", f"SECONDS: Final = {seconds}"))
    before = everything(service)
    for arguments in ((), ("--restore",), ("--restore", "--to", "v1.0.1", "--plan")):
        said = slow("update", service, "--template", publisher.path, *arguments)
        assert (said.returncode, said.stdout) == (2, "")
        assert "was not read, so nothing is known of it: Reading this repository took too long" in said.stderr
        assert len(said.stderr.splitlines()) == 2, "beside the peak"
    assert everything(service) == before


# --- lists that both add lines to ------------------------------------------------------------------------------------

IGNORED = b"# ours\n*.dump\n/dist/\n"


@pytest.mark.parametrize(
    ("name", "ours", "new", "together"),
    [
        (".gitignore", b"*.dump\n*.tmp\n", b"*.dump\n*.bak\n", {b"*.tmp", b"*.bak"}),
        (".gitignore", b"*.dump\n*.tmp\n*.bak\n", b"*.dump\n*.bak\n", {b"*.tmp", b"*.bak"}),
        (".gitignore", b"*.dump\n!keep.dump\n", b"*.dump\n*.bak\n", None),
        (".gitignore", b"*.dump\n*.tmp\n", b"*.dump\n!keep.dump\n", None),
        (".gitignore", b"*.tmp\n", b"*.dump\n*.bak\n", None),
        (".gitignore", b"*.dump\n*.tmp\n", b"*.dumps\n", None),
        (".dockerignore", b"*.dump\n*.tmp\n", b"*.dump\n*.bak\n", None),
    ],
    ids=["both-add", "the-same-too", "ours-takes-back", "new-takes-back", "ours-drops", "new-changes", "another-file"],
)
def test_lines_that_both_sides_add_to_a_list_all_stay_where_their_order_means_nothing(
    name: str, ours: bytes, new: bytes, together: set[bytes] | None
) -> None:
    sides = [IGNORED.replace(b"*.dump\n", lines) for lines in (b"*.dump\n", ours, new)]
    base, mine, becomes = ({name: File("100644", data)} for data in sides)
    merged = merge(base, becomes, mine, kept=lambda _: False)
    assert bool(merged.conflicts) is (together is None)
    if together is not None:
        data = merged.changes[0].data or b""
        lines = data.splitlines()
        assert {*lines} == {*IGNORED.splitlines(), *together}
        assert [line for line in lines if line in sides[2].splitlines()] == sides[2].splitlines(), "in their order"
        assert data.endswith(b"/dist/\n")


def test_nothing_that_a_checkout_or_a_mirror_names_is_run(
    service: Path, publisher: Publisher, tmp_path: Path, command: Callable[..., Command]
) -> None:
    """Each way by itself is in test_borrowed.py."""
    script = str(planted.program(tmp_path))
    mirror = publisher.clone(tmp_path / "mirror").path
    (service / ".gitattributes").write_text("* filter=x diff=x merge=x\n", encoding="utf-8")
    commit(service, "Attributes")
    for repository in (service, mirror):
        planted.hooks(repository, script)
        planted.every_other(repository, script)
        for key in ("core.fsmonitor", "diff.external", "filter.x.clean", "filter.x.smudge", "core.sshCommand"):
            git(repository, "config", key, script)
    os.utime(service / "README.md", (1, 1))
    asked = ("update", service, "--template", mirror, "--to", "v1.0.1")
    done(command()(*asked, "--plan"))
    done(command()(*asked))
    assert not planted.ran(Path(script))
    sabotaged = command(("borrowed.py", 'at = ("--git-dir", str(self._ours))', 'at = ("--git-dir", str(self.private))'))
    sabotaged("update", service, "--template", mirror)
    assert planted.ran(Path(script))


BUILDS = """[project]
name = "x"
version = "1"
requires-python = ">=3.11"
dependencies = ["inner"]
[tool.uv.sources]
inner = {path = "inner"}
"""
INNER = """[project]
name = "inner"
dynamic = ["version"]
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.mark.parametrize("way", ["backend", ".venv", ".python-version"])
def test_a_new_lock_runs_no_code_of_the_service(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    script = planted.program(tmp_path)
    script.write_text(f'#!/bin/sh\ntouch {tmp_path}/canary\nexec {sys.executable} "$@"\n', encoding="utf-8")
    folder = tmp_path / "service"
    (folder / "inner").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(BUILDS, encoding="utf-8")
    if way == "backend":
        (folder / "inner/pyproject.toml").write_text(INNER, encoding="utf-8")
        (folder / "inner/backend.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n", encoding="utf-8")
    elif way == ".venv":
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/python").symlink_to(script)
        (folder / ".venv/pyvenv.cfg").write_text("home = /usr/bin\n", encoding="utf-8")
    else:
        (folder / ".python-version").write_text(f"{script}\n", encoding="utf-8")
    (folder / "uv.lock").write_text('version = 1\nrequires-python = ">=3.11"\n', encoding="utf-8")
    _lock(folder)
    assert not planted.ran(script)
    uv("lock", cwd=folder)
    assert planted.ran(script), "uv itself runs it"


# --- attacks ---------------------------------------------------------------------------------------------------------


def hostile(publisher: Publisher, folder: Path) -> Publisher:
    """The same template with one more version, which holds the attacker's code; its tag is for the test to make."""
    clone = publisher.clone(folder)
    with (clone.path / CLOCK).open("a", encoding="utf-8") as file:
        file.write(f"\n\nCANARY = {CANARY!r}\n")
    clone.commit("evil")
    return clone


def unsigned(clone: Publisher, _: Path) -> None:
    git(clone.path, "tag", "--annotate", "--message", "x", "v1.1.1")


def lightweight(clone: Publisher, _: Path) -> None:
    git(clone.path, "tag", "v1.1.1")


def by_a_stranger(clone: Publisher, folder: Path) -> None:
    Key.make(folder / "stranger").sign(clone.path, "v1.1.1")


NO_SIGNATURE = (
    "trust.py",
    "signed = verify_tag(cached, wanted, source.keys)",
    "signed = Signed(wanted, cached.commit(wanted), datetime.now(UTC))",
)


@pytest.mark.parametrize("attack", [unsigned, lightweight, by_a_stranger], ids=lambda attack: attack.__name__)
def test_a_version_that_no_listed_key_signed_brings_no_code(
    publisher: Publisher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Command],
    update: Callable[..., Said],
    attack: Callable[[Publisher, Path], None],
) -> None:
    """Somebody took over the server, or one account that may push to it."""
    clone = hostile(publisher, tmp_path / "taken-over")
    attack(clone, tmp_path)
    Server(tmp_path / "server", monkeypatch, git=clone.path)
    service = publisher.service(tmp_path / "service", "v1.0.0")
    before = everything(service)
    said = update(service)
    assert (said.status, everything(service)) == (1, before)
    assert "v1.1.1" in said.err
    assert update(service, "--to", "v1.1.0", "--plan").status == 0, "a version that is signed still comes"
    if attack is unsigned:
        assert command(NO_SIGNATURE)("update", service).returncode == 0
        assert CANARY in (service / f"{BASTION}/clock.py").read_text(encoding="utf-8")


THE_RECORDED = (
    ("trust.py", "if address and normal(source.address) == address)", "if repository.source)"),
    (
        "trust.py",
        "    return source\n\n\ndef _recorded",
        "    return Source(str(repository.recorded['_src_path']), source.keys)\n\n\ndef _recorded",
    ),
)


@pytest.mark.parametrize(
    "source",
    [
        EVIL,
        "https://git.example/platform/flask-bastion.git",
        "ssh://git@g\u0456t.example/platform/flask-bastion.git",
        "ssh://git@git.example.evil.example/platform/flask-bastion.git",
        "ext::sh -c touch% {canary}",
        "git+ext::sh -c touch% {canary}",
        "--upload-pack=touch {canary}",
        "{folder}",
        "file://{folder}",
        None,
        ["ext::sh"],
    ],
    ids=[
        "evil", "other-scheme", "look-alike", "longer", "ext", "git+ext", "option", "folder", "file", "none", "list",
    ],
)  # fmt: skip
def test_what_the_answers_file_says_is_asked_nowhere(
    publisher: Publisher,
    foreign: Publisher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Command],
    update: Callable[..., Said],
    source: object,
) -> None:
    """One changed line of a pull request; the server that it names is there, and has a newer version, well signed."""
    server = Server(tmp_path / "server", monkeypatch, git=publisher.path, evil=foreign.path)
    service = publisher.service(tmp_path / "service", "v1.0.0")
    canary = tmp_path / "canary"
    answers(
        service,
        _src_path=source.format(canary=canary, folder=foreign.path) if isinstance(source, str) else source,
    )
    before = everything(service)
    said = update(service)
    assert (said.status, everything(service)) == (1, before)
    assert "_src_path in .copier-answers.yml is" in said.err
    assert server.asked == []
    assert not canary.exists()
    assert not (tmp_path / "server" / "cache").exists(), "nothing was fetched at all"
    if source == EVIL:
        command(*THE_RECORDED)("update", service)
        assert server.asked == ["evil.example"]
        assert CANARY in (service / f"{BASTION}/clock.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "version", ["--upload-pack=touch {canary}", "main", "HEAD", "v1", "../v1.0.0", "", None, 1.0, "0123abc"]
)
def test_a_recorded_version_that_is_none_is_refused_before_anything_is_fetched(
    service: Path, server: Server, tmp_path: Path, update: Callable[..., Said], version: object
) -> None:
    canary = tmp_path / "canary"
    answers(service, _commit=version.format(canary=canary) if isinstance(version, str) else version)
    before = everything(service)
    said = update(service)
    assert (said.status, everything(service)) == (1, before)
    assert "is no version of the template" in said.err
    assert server.asked == []
    assert not canary.exists()


def test_an_answers_file_that_can_not_be_read_is_told_as_that(
    service: Path, server: Server, update: Callable[..., Said]
) -> None:
    (service / ".copier-answers.yml").write_text("<<<<<<< ours\n_commit: v1.0.0\n", encoding="utf-8")
    commit(service, "A conflict")
    said = update(service)
    assert said.status == 2
    assert ".copier-answers.yml: This is not what Copier writes" in said.err
    assert "in which it was right" in said.err
    assert server.asked == []


def test_an_older_version_brings_no_hole_back(
    publisher: Publisher,
    server: Server,
    tmp_path: Path,
    command: Callable[..., Command],
    update: Callable[..., Said],
) -> None:
    del server
    service = publisher.service(tmp_path / "service", "v1.0.1")
    before = everything(service)
    said = update(service, "--to", "v1.0.0")
    assert (said.status, everything(service)) == (1, before)
    assert "v1.0.0 is older than v1.0.1" in said.err
    sabotaged = command(("trust.py", "    if wanted < recorded:\n", "    if recorded < recorded:\n"))
    assert sabotaged("update", service, "--to", "v1.0.0").returncode == 0
    assert HEADER not in (service / FILE).read_text(encoding="utf-8")


def test_a_server_that_hides_the_newer_versions_brings_nothing_back_either(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: Callable[..., Said]
) -> None:
    clone = publisher.clone(tmp_path / "old")
    git(clone.path, "tag", "--delete", "v1.1.0")
    Server(tmp_path / "server", monkeypatch, git=clone.path)
    service = publisher.service(tmp_path / "service", "v1.1.0")
    before = everything(service)
    said = update(service)
    assert (said.status, everything(service)) == (1, before)
    assert "v1.0.1 is older than v1.1.0" in said.err


def test_a_version_whose_tag_was_moved_since_is_refused(
    publisher: Publisher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Command],
    update: Callable[..., Said],
) -> None:
    """Even well signed: what the service was made of is another commit than the one that bears the name today."""
    clone = hostile(publisher, tmp_path / "moved")
    Server(tmp_path / "server", monkeypatch, git=clone.path)
    service = publisher.service(tmp_path / "service", "v1.1.0")
    assert update(service, "--restore").status == 0, "the legitimate way"
    clone.key.sign(clone.path, "v1.1.0")
    before = everything(service)
    for arguments in ((), ("--restore",), ("--data", "auth=jwt")):
        said = update(service, *arguments)
        assert (said.status, everything(service)) == (1, before)
        assert "the tag was moved" in said.err
    sabotaged = command(("trust.py", "    if commit and base != commit:\n", "    if commit != commit:\n"))
    assert sabotaged("update", service, "--restore").returncode == 0
    assert CANARY in (service / f"{BASTION}/clock.py").read_text(encoding="utf-8")


def test_a_service_that_does_not_say_which_commit_it_was_needs_a_signed_one(
    service: Path, update: Callable[..., Said]
) -> None:
    chosen = service / BASTION / "chosen.py"
    line = next(one for one in chosen.read_text(encoding="utf-8").splitlines() if one.startswith("COMMIT"))
    replace_once(chosen, f"{line}\n", 'COMMIT = "main"\n')
    commit(service, "A small change")
    before = everything(service)
    said = update(service, "--to", "v1.0.1")
    assert (said.status, everything(service)) == (1, before)
    assert "does not say which commit v1.0.0 was" in said.err
    assert update(service, "--to", "v1.0.1", "--restore").status == 0
    assert git(service, "diff", "--cached", "--stat", "--", f"{BASTION}/chosen.py")


def test_an_address_without_a_key_sends_nothing(service: Path, server: Server, update: Callable[..., Said]) -> None:
    text = (service / TRUST).read_text(encoding="utf-8")
    keys = text[text.index("keys = [\n") :]
    (service / TRUST).write_text(text.replace(keys, "keys = []\n"), encoding="utf-8")
    commit(service, "No key yet")
    before = everything(service)
    said = update(service)
    assert (said.status, everything(service)) == (1, before)
    assert f"No key is listed for {ADDRESS}" in said.err
    assert server.asked == []
    (service / TRUST).unlink()
    commit(service, "No list")
    assert "not one of the trusted sources" in update(service).err
    assert server.asked == []


def test_a_list_that_the_caller_names_counts_in_place_of_the_repositorys(
    publisher: Publisher, service: Path, server: Server, tmp_path: Path, update: Callable[..., Said]
) -> None:
    """A pull request that adds its own source and key changes nothing for a platform that has a list."""
    stranger = Key.make(tmp_path / "stranger")
    platforms = tmp_path / "trust.toml"
    platforms.write_bytes((service / TRUST).read_bytes())
    (service / TRUST).write_text(f'[[source]]\naddress = "{EVIL}"\nkeys = ["{stranger.public}"]\n', encoding="utf-8")
    answers(service, _src_path=EVIL)
    assert update(service, "--trust", platforms).status == 1
    assert server.asked == []
    answers(service, _src_path=ADDRESS)
    assert update(service).status == 1
    assert update(service, "--trust", platforms, "--to", "v1.0.1").status == 0
    assert server.asked == ["git.example"]
    del publisher


def test_a_folder_that_the_caller_names_is_fetched_from_and_believed_no_more(
    publisher: Publisher, service: Path, server: Server, tmp_path: Path, update: Callable[..., Said]
) -> None:
    clone = hostile(publisher, tmp_path / "clone")
    unsigned(clone, tmp_path)
    git(tmp_path, "clone", "--quiet", "--mirror", str(publisher.path), "mirror.git")
    before = everything(service)
    said = update(service, "--template", clone.path)
    assert (said.status, everything(service)) == (1, before)
    assert "v1.1.1 is signed with no key" in said.err
    assert update(service, "--template", tmp_path / "mirror.git", "--to", "v1.0.1").status == 0
    assert server.asked == []


def test_a_version_that_runs_code_when_it_is_rendered_is_refused(
    publisher: Publisher, service: Path, tmp_path: Path, update: Callable[..., Said]
) -> None:
    clone = publisher.clone(tmp_path / "clone")
    canary = tmp_path / "canary"
    with (clone.path / "copier.yml").open("a", encoding="utf-8") as file:
        file.write(f'\n_tasks:\n  - "touch {canary}"\n')
    clone.release("v1.1.1")
    before = everything(service)
    said = update(service, "--template", clone.path)
    assert (said.status, everything(service)) == (1, before)
    assert "runs code when it is rendered (_tasks)" in said.err
    assert not canary.exists()


def test_a_server_that_is_not_there_is_told_without_what_may_be_a_secret(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: Callable[..., Said]
) -> None:
    Server(tmp_path / "server", monkeypatch)
    service = publisher.service(tmp_path / "service", "v1.0.0")
    config = tmp_path / "gitconfig"
    config.write_text(f'[url "https://bot:canary-token@127.0.0.1:1/"]\n\tinsteadOf = {ADDRESS}\n', encoding="utf-8")
    before = everything(service)
    said = update(service)
    assert (said.status, everything(service)) == (2, before)
    assert f"could not be fetched from {ADDRESS}" in said.err
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    said = update(service)
    assert said.status == 2
    assert "canary-token" not in said.out + said.err
    assert trust.FILE == TRUST
