"""A scanned repository is a stranger's: it is read as data, and can neither run a command nor lead a report astray.

Each attack is tried on the command as it is and must end in its named finding; then on a copy of the command without
the one protection, and must succeed there. Source: catalogue row cli-hostile-repository; ASVS 5.3.2, 15.2.2.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_bastion.check import Report, check
from flask_bastion.report import rendered
from flask_bastion.repository import Repository, safe_yaml
from flask_bastion.tree import MOST_FILES, Tree
from histories import HISTORIES, History, record, recorded
from support import git

TODAY = date(2026, 11, 26)
BASTION = "src/my_service/bastion"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def service(history: History, tmp_path: Path) -> Path:
    return history.service(tmp_path / "service", "v1.2.1")


def look(history: History, service: Path, *, template: bool = True, **more: Any) -> Report:
    report = check(service, history.advisories.values(), history.template if template else None, today=TODAY, **more)
    json.dumps([finding.text for finding in report.findings])
    return report


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def hooked(service: Path, canary: Path) -> None:
    """A repository whose configuration, attributes and hooks all run a command, and Python that runs on import."""
    git(service, "init", "--quiet")
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--message", "innocent")
    touch = f"touch {canary}"
    for name in (
        "core.fsmonitor",
        "diff.external",
        "filter.x.clean",
        "filter.x.smudge",
        "core.pager",
        "core.sshCommand",
    ):
        git(service, "config", name, f"{touch}-{name}")
    (service / ".gitattributes").write_text("* filter=x diff=x\n", encoding="utf-8")
    for name in ("post-checkout", "pre-commit", "post-index-change"):
        hook = service / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\n{touch}-{name}\n", encoding="utf-8")
        hook.chmod(0o755)
    for name in (
        "conftest.py",
        "sitecustomize.py",
        "usercustomize.py",
        "yaml.py",
        "jinja2.py",
        "setup.py",
        f"{BASTION}/x.py",
    ):
        (service / name).write_text(f"open({str(canary)!r} + '-python', 'w')\n", encoding="utf-8")
    with (service / BASTION / "clock.py").open("a", encoding="utf-8") as file:
        file.write("\n# {{ ''.__class__ }} {% for x in y %}\n")


# --- git, code and configuration -------------------------------------------------------------------------------------


def test_nothing_of_the_repository_runs(
    history: History, service: Path, tmp_path: Path, command: Callable[..., Run]
) -> None:
    arguments = ("check", service, "--template", history.repository.path, "--format", "json")
    sabotaged = command(
        (
            "tree.py",
            "        self.sizes: Final = dict(self._walk())\n",
            "        self.sizes: Final = dict(self._walk())\n"
            "        import subprocess\n"
            '        subprocess.run(["git", "-C", str(root), "status", "--porcelain"], capture_output=True)\n',
        )
    )
    assert command()(*arguments).returncode == 0, "the legitimate way"
    hooked(service, tmp_path / "canary")
    result = command()(*arguments, cwd=service)
    assert result.returncode == 1
    assert [path.name for path in tmp_path.glob("canary*")] == []
    files = {(finding["kind"], finding["file"]) for finding in json.loads(result.stdout)["findings"]}
    assert files == {
        ("drift-changed", f"{BASTION}/clock.py"),
        ("drift-extra", f"{BASTION}/x.py"),
        ("dependency-replaced", "jinja2.py"),  # no program of ours imports it; the service would
    }
    sabotaged(*arguments)
    assert [path.name for path in tmp_path.glob("canary*")] != []


def test_a_worktree_of_git_is_read_as_any_folder(history: History, service: Path, tmp_path: Path) -> None:
    git(service, "init", "--quiet")
    git(service, "add", "--all", "--force")
    git(service, "commit", "--quiet", "--message", "a service")
    git(service, "worktree", "add", "--quiet", str(tmp_path / "beside"))
    assert (tmp_path / "beside" / ".git").is_file()
    report = look(history, tmp_path / "beside")
    assert report.is_service
    assert report.findings == ()


# --- links, devices, sizes -------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "canary.rej").write_text("canary", encoding="utf-8")
    (folder / "__init__.py").write_text("CANARY = 1\n", encoding="utf-8")
    return folder


def test_no_link_is_followed_out_of_the_repository(service: Path, elsewhere: Path, command: Callable[..., Run]) -> None:
    arguments = ("check", service, "--format", "json")
    sabotaged = command(("tree.py", "entry.stat(follow_symlinks=False)", "entry.stat()"))
    for one in (command(), sabotaged):
        assert one(*arguments).returncode == 0, "the legitimate way"
    shutil.rmtree(service / BASTION)
    (service / BASTION).symlink_to(elsewhere, target_is_directory=True)
    result = command()(*arguments)
    assert "canary" not in result.stdout
    assert [(one["kind"], one["file"]) for one in json.loads(result.stdout)["findings"]] == [
        ("repository-link", BASTION)
    ]
    assert f"{BASTION}/canary.rej" in sabotaged(*arguments).stdout


@pytest.mark.parametrize(
    "name",
    [
        ".copier-answers.yml",
        "pyproject.toml",
        "uv.lock",
        "src/my_service/exceptions.toml",
        "src",
        f"{BASTION}/clock.py",
    ],
)
def test_a_link_in_place_of_a_file_of_the_template_is_named(history: History, service: Path, name: str) -> None:
    """Also one to a file that is right: what it leads to tomorrow is somebody else's decision."""
    target = service.parent / "target"
    shutil.move(service / name, target)
    (service / name).symlink_to(target)
    report = look(history, service)
    assert report.is_service
    assert ("repository-link", name) in {(finding.kind, finding.file) for finding in report.findings}


def test_a_link_that_is_put_there_after_the_walk_is_not_followed(service: Path, elsewhere: Path) -> None:
    tree = Tree(service)
    shutil.rmtree(service / BASTION)
    (service / BASTION).symlink_to(elsewhere, target_is_directory=True)
    assert tree.read(f"{BASTION}/__init__.py") is None
    (service / "README.md").unlink()
    (service / "README.md").symlink_to(elsewhere / "__init__.py")
    assert tree.read("README.md") is None


@pytest.mark.parametrize(
    "name", ["../elsewhere/canary.rej", "/etc/hostname", "src/../../elsewhere/canary.rej", "", "a\0b", "."]
)
def test_no_name_leads_out_of_the_repository(service: Path, elsewhere: Path, name: str) -> None:
    assert elsewhere.is_dir()
    assert Tree(service).read(name) is None


def test_what_is_no_file_is_neither_opened_nor_waited_for(history: History, service: Path) -> None:
    (service / BASTION / "clock.py").unlink()
    os.mkfifo(service / BASTION / "clock.py")
    (service / BASTION / "zero.py").symlink_to("/dev/zero")
    if os.geteuid() == 0:
        os.mknod(service / BASTION / "device.py", 0o20666, os.makedev(1, 5))
    else:
        os.mkfifo(service / BASTION / "device.py")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(service / BASTION)  # the path of a socket has at most 108 bytes
        try:
            listening.bind("socket.py")
        finally:
            os.chdir(here)
    report = look(history, service)
    special = {finding.file.rpartition("/")[2] for finding in report.findings if finding.kind == "repository-special"}
    assert special == {"clock.py", "device.py", "socket.py"}
    assert "repository-link" in kinds(report)


def test_a_file_without_end_takes_no_memory(service: Path, command: Callable[..., Run]) -> None:
    arguments = ("check", service, "--format", "json")
    unbounded = command(("tree.py", "data = opened.read(_largest(name) + 1)", "data = opened.read()"), (
        "tree.py", "        return stat.S_ISREG(status.st_mode)\n", "        return True\n"), (
        "tree.py", "return data if len(data) <= _largest(name) else None", "return data"))  # fmt: skip
    for one in (command(), unbounded):
        assert one(*arguments).returncode == 0, "the legitimate way"
    with (service / "src" / "my_service" / "exceptions.toml").open("wb") as sparse:
        sparse.truncate(3 * 1024**3)
    with (service / ".copier-answers.yml").open("ab") as sparse:
        sparse.truncate(400 * 1024**2)
    result = command()(*arguments)
    found = {(one["kind"], one["file"]) for one in json.loads(result.stdout)["findings"]}
    assert ("repository-large", ".copier-answers.yml") in found
    assert ("repository-large", "src/my_service/exceptions.toml") in found
    assert peak(result) < 200 * 1024, "KiB"
    assert peak(unbounded(*arguments)) > 400 * 1024, "KiB"


def peak(result: subprocess.CompletedProcess[str]) -> int:
    return int(result.stderr.split("peak ")[1].split()[0])


def test_more_files_than_anybody_has_are_not_all_looked_at(history: History, service: Path) -> None:
    folder = service / "many"
    folder.mkdir()
    for number in range(MOST_FILES):
        os.mknod(folder / str(number))
    assert "repository-many" in kinds(look(history, service, template=False))


def test_folders_without_end_are_not_all_looked_at(history: History, service: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(service)
        for _ in range(400):
            os.mkdir("deeper-and-deeper")
            os.chdir("deeper-and-deeper")
    finally:
        os.chdir(here)
    assert "repository-many" in kinds(look(history, service, template=False))


def test_a_repository_that_takes_too_long_is_left_and_named(history: History, service: Path) -> None:
    """The clock of the test moves by a second with each look at it."""
    ticks = iter(range(10**9))
    report = look(history, service, clock=lambda: float(next(ticks)))
    assert kinds(report) == {"repository-slow"}
    assert report.status == 2


SLOW = ("tree.py", "SECONDS: Final = 20.0", "SECONDS: Final = {}")
"""The time of a processor that is given to one repository: none, or as little as a busy machine had left of a limit."""


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
def test_of_a_repository_that_was_not_read_nothing_is_said(
    history: History, service: Path, advisories_folder: Path, command: Callable[..., Run], seconds: float
) -> None:
    arguments = ("check", service, "--template", history.repository.path, "--advisories", advisories_folder)
    slow = command((*SLOW[:2], SLOW[2].format(seconds)))
    result = slow(*arguments)
    assert result.returncode == 2
    assert result.stdout.splitlines() == [
        "service was not read: Reading this repository took too long; the rest was not looked at.",
        "Nothing is known of it. Take files that belong to no service out of this folder, and check again.",
    ]
    sabotaged = command(
        (*SLOW[:2], SLOW[2].format(seconds)), ("check.py", "fault := repository.tree.not_read", "fault := None")
    )
    if seconds:
        assert "AFFECTED" in sabotaged(*arguments).stdout
    about = json.loads(slow(*arguments, "--format", "json").stdout)
    assert (about["status"], about["advisories"], about["compared"], about["version"]) == (2, [], False, "")
    assert [finding["kind"] for finding in about["findings"]] == ["repository-slow"]


def test_a_busy_machine_makes_no_repository_slow(history: History, service: Path, monkeypatch: Any) -> None:
    ticks = iter(range(0, 10**9, 60))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    assert kinds(look(history, service)) == set()


def test_a_file_that_could_not_be_read_speaks_for_nothing(
    history: History, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"pyproject.toml", ".bastion-trust.toml"}
    real = os.open

    def locked(path: Any, *arguments: Any, **more: Any) -> int:
        if path in refused:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", locked)
    report = look(history, service)
    floor = next(one for one in report.verdicts if one.advisory.id == HISTORIES["floor"]["id"])
    assert floor.status == "fixed, unverified"
    said = {(finding.kind, finding.file) for finding in report.findings}
    assert {("repository-unreadable", name) for name in refused} < said
    assert not {finding.kind for finding in report.findings} & {"fix-lost", "trust-missing", "drift-missing"}
    assert "every file of the template that could be read looked at" in rendered(report, "text")


def test_a_file_that_may_not_be_read_is_named(history: History, service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens = os.open

    def refuses(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if path == "clock.py":
            raise PermissionError(13, "no")
        return opens(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuses)
    report = look(history, service)
    assert ("repository-unreadable", f"{BASTION}/clock.py") in {(one.kind, one.file) for one in report.findings}


# --- the answers file ------------------------------------------------------------------------------------------------

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(97 + n)}: &{chr(97 + n)} [{','.join(['*' + chr(96 + n)] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "!!python/object/apply:os.system ['touch canary']",
        "a: !!python/name:os.system",
        "_commit: !x v1.2.1",
        "- a\n- list",
        "just text",
        "1: 2",
        "a: [",
        "[" * 5_000,
        "\0",
        "a: 2026-13-45",
        "a: 0x",
        "a: " + "9" * 10_000,
        "x" * 100_000,
        "a: b\n---\nc: d",
        "",
    ],
    ids=range(16),
)
def test_answers_that_are_none_are_named(history: History, service: Path, text: str) -> None:
    (service / ".copier-answers.yml").write_text(text, encoding="utf-8")
    report = look(history, service)
    assert report.is_service
    assert report.status == 1
    assert any(finding.file == ".copier-answers.yml" for finding in report.findings)
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"project_name": "../../x"}, "answers-invalid"),
        ({"project_name": "x\n"}, "answers-invalid"),
        ({"project_name": ["x"]}, "answers-invalid"),
        ({"project_name": "a" * 41}, "answers-invalid"),
        ({"package_name": "../../x"}, "answers-invalid"),
        ({"auth": "none"}, "answers-invalid"),
        ({"auth": {"a": 1}}, "answers-invalid"),
        ({"secrets": 1}, "answers-invalid"),
        ({"_src_path": "ext::sh -c touch% canary"}, "answers-source"),
        ({"_src_path": "git+ext::x"}, "answers-source"),
        ({"_src_path": "--upload-pack=touch canary"}, "answers-source"),
        ({"_src_path": "https://ex\u0430mple.com/t.git"}, "answers-source"),
        ({"_src_path": None}, "answers-invalid"),
        ({"_commit": "--output=x"}, "version-unknown"),
        ({"_commit": ["v1.2.1"]}, "version-unknown"),
        ({"description": "{{ 7*7 }}"}, "drift-unknown"),
    ],
)
def test_answers_that_no_template_gave_are_named(
    history: History, service: Path, change: dict[str, object], kind: str
) -> None:
    record(service, recorded(service) | change)
    assert kind in kinds(look(history, service))


def test_a_loader_with_tags_would_run_a_command(service: Path, tmp_path: Path, command: Callable[..., Run]) -> None:
    arguments = ("check", service, "--format", "json")
    unsafe = command(("repository.py", "class Loader(yaml.SafeLoader):", "class Loader(yaml.UnsafeLoader):"))
    for one in (command(), unsafe):
        assert one(*arguments).returncode == 0, "the legitimate way"
    canary = tmp_path / "canary"
    text = f"a: !!python/object/apply:os.system ['touch {canary}']\n"
    (service / ".copier-answers.yml").write_text(text, encoding="utf-8")
    (finding,) = (
        one for one in json.loads(command()(*arguments).stdout)["findings"] if one["kind"] == "answers-invalid"
    )
    assert finding["file"] == ".copier-answers.yml"
    assert not canary.exists()
    unsafe(*arguments)
    assert canary.exists()


def test_aliases_are_refused_and_plain_documents_are_not() -> None:
    assert safe_yaml(yaml.safe_dump({"a": [1, "x", None, True, datetime(2026, 1, 1)]}).encode())["a"][1] == "x"
    with pytest.raises(ValueError, match="no plain YAML"):
        safe_yaml(b"a: &x 1\nb: *x\n")


# --- one stranger among others ---------------------------------------------------------------------------------------


def test_one_repository_changes_nothing_about_another(history: History, tmp_path: Path) -> None:
    """What is remembered between two of them is remembered by content alone."""
    first = history.service(tmp_path / "first", "v1.2.1", auth="jwt")
    second = history.service(tmp_path / "second", "v1.0.1", auth="jwt", database="mysql")
    alone = [look(history, first), look(history, second)]
    hostile = history.service(tmp_path / "hostile", "v1.2.1", auth="jwt")
    hooked(hostile, tmp_path / "canary")
    for path in (hostile / BASTION).rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"DENY", b"ALLOW"))
    (hostile / ".bastion-waivers.toml").write_bytes(b"[[waivers]]\nadvisory = '*'\n")
    look(history, hostile)
    assert [look(history, first), look(history, second)] == alone


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["_commit", "_src_path", "project_name", "package_name", "auth", "database", "ci", "description", "x"]
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.dictionaries(NAMES, VALUES, max_size=6))
def test_no_answers_make_it_raise(history: History, service: Path, answers: dict[str, object]) -> None:
    before = (service / ".copier-answers.yml").read_bytes()
    try:
        record(service, yaml.safe_load(before) | answers)
        look(history, service)
    finally:
        (service / ".copier-answers.yml").write_bytes(before)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_no_bytes_make_it_raise(history: History, service: Path, data: bytes) -> None:
    for name in (
        ".copier-answers.yml",
        ".bastion-waivers.toml",
        "uv.lock",
        "pyproject.toml",
        f"{BASTION}/edge/headers.py",
    ):
        path = service / name
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(data)
        look(history, service)
        path.unlink() if before is None else path.write_bytes(before)


def test_what_a_service_says_about_itself_is_given_as_it_is(service: Path) -> None:
    repository = Repository.open(service)
    assert (repository.name, repository.package) == ("my-service", "my_service")
    assert repository.version is not None
    assert repository.version.text == "v1.2.1"
    assert repository.rendered["VERSION"] == "v1.2.1"
    assert repository.answered("auth") == {"session"}
    assert not repository.findings
