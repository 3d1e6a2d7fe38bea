"""A service that lost a fix is named, however it lost it; a healthy one is left alone; a half-merged update is told.

Every way is tried on services with several answers, with the trusted template at hand and without.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from flask_bastion import cli
from flask_bastion.advisory import Advisory
from flask_bastion.check import Report, check
from flask_bastion.finding import KINDS
from flask_bastion.leftovers import leftovers
from flask_bastion.report import as_json, as_sarif, as_text
from flask_bastion.tree import Tree
from histories import ADDRESS, HEADER, HISTORIES, KEY, History, read, record, recorded
from services import Service
from support import PAIRS, ROOT, Combination, copier, done, git, replace_once, run

CONFLICT = "<<<<<<< before updating\nmine\n=======\ntheirs\n>>>>>>> after updating\n"
TODAY = datetime.now(UTC).date()
COMBINATIONS = PAIRS[::3]
BASTION = "src/my_service/bastion"
FILE = f"{BASTION}/edge/headers.py"
EXCEPTION = f"""
[limits.session_idle_minutes]
value = 90
reason = "Nurses leave the ward's terminal"
owner = "ward-app@hospital.example"
until = {TODAY + timedelta(days=90)}
"""


@pytest.fixture
def service(tmp_path: Path) -> Path:
    record(tmp_path, {"_commit": "v1.0.0", "_src_path": ADDRESS})
    (tmp_path / ".bastion-trust.toml").write_text(
        f'[[source]]\naddress = "{ADDRESS}"\nkeys = ["{KEY}"]\n', encoding="utf-8"
    )
    (tmp_path / "src/my_service").mkdir(parents=True)
    (tmp_path / "src/my_service/app.py").write_text("print('<<<<<<< before updating')\n", encoding="utf-8")
    return tmp_path


def look(history: History, service: Path, *, template: bool = False, today: date = TODAY) -> Report:
    return check(service, history.advisories.values(), history.template if template else None, today=today)


def status(report: Report, number: int = 1) -> str:
    (verdict,) = (one for one in report.verdicts if one.advisory.id.endswith(f"-{number:04}"))
    return verdict.status


# --- five ways to lose a fix -----------------------------------------------------------------------------------------


def deleted(service: Path, _: History) -> None:
    (service / FILE).unlink()


def moved(service: Path, _: History) -> None:
    """To a place of the team's own, with everything that imports it."""
    ours = service / "src/my_service/edge_headers.py"
    shutil.move(service / FILE, ours)
    for path in (service / BASTION).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("from .headers import", "from ...edge_headers import"), encoding="utf-8")


def claimed(service: Path, history: History) -> None:
    """The code is that of the vulnerable version, and _commit was raised by hand."""
    answers = recorded(service)
    shutil.rmtree(service / "src")
    history.service(service, "v1.0.1", **{name: answers[name] for name in ("auth", "database", "secrets", "ci")})
    record(service, answers)


def resolved_as_ours(service: Path, _: History) -> None:
    replace_once(service / FILE, HEADER, "")


def overridden(service: Path, _: History) -> None:
    app = service / "src/my_service/app.py"
    text = app.read_text(encoding="utf-8").replace(
        "from .bastion import", "from .bastion.edge import headers\nfrom .bastion import"
    )
    app.write_text(text + "\nheaders._table = lambda *_, **__: iter(())\n", encoding="utf-8")


WAYS: dict[str, Callable[[Path, History], None]] = {
    "deleted": deleted,
    "moved": moved,
    "_commit edited": claimed,
    "resolved as ours": resolved_as_ours,
    "overridden": overridden,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda combination: combination.name)
def test_a_fix_that_was_lost_is_found(history: History, tmp_path: Path, combination: Combination, way: str) -> None:
    service = history.service(tmp_path, "v1.2.1", **combination.data)
    assert status(look(history, service)) == "fixed"
    WAYS[way](service, history)
    for template in (False, True):
        report = look(history, service, template=template)
        assert status(report) == "AFFECTED, fix lost"
        assert report.status == 1
        (lost,) = (one for one in report.findings if one.kind == "fix-lost")
        assert lost.level == "error"
        assert lost.advisory == "BASTION-2026-0001"


def test_a_setting_that_the_team_overrides_is_found(history: History, tmp_path: Path) -> None:
    """The fix made a limit stricter; the team declares the old value, which the guards of that version refuse only
    when it starts."""
    service = history.service(tmp_path, "v1.2.1", auth="session")
    assert status(look(history, service), 4) == "fixed"
    (service / "src/my_service/exceptions.toml").write_text(EXCEPTION, encoding="utf-8")
    report = look(history, service)
    assert status(report, 4) == "AFFECTED, fix lost"
    (lost,) = report.findings
    assert lost.file == "src/my_service/exceptions.toml"


@pytest.mark.parametrize(("way", "auth"), [("deleted", "session"), ("resolved as ours", "jwt")])
def test_a_real_update_that_leaves_the_fix_out_is_found(history: History, tmp_path: Path, auth: str, way: str) -> None:
    """Copier keeps a deletion, and a conflict as it was resolved; it exits 0 and records the new version."""
    service = Service.start(history.repository.path, tmp_path / "service", ref="v1.0.1", auth=auth)
    assert status(look(history, service.path)) == "AFFECTED"
    if way == "deleted":
        (service.path / FILE).unlink()
    else:
        replace_once(
            service.path / FILE, '"X-Content-Type-Options", "nosniff"', '"X-Content-Type-Options", "no" + "sniff"'
        )
    mine = None if way == "deleted" else service.read(FILE)
    service.commit("Our own way")
    done(service.update("v1.0.2"))
    if mine:
        assert FILE in service.conflicts()
        service.write(FILE, mine)
    service.commit("Update to v1.0.2")
    assert recorded(service.path)["_commit"] == "v1.0.2"
    assert status(look(history, service.path, template=True)) == "AFFECTED, fix lost"


# --- and no false alarm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("combination", PAIRS, ids=lambda combination: combination.name)
def test_a_healthy_service_raises_no_alarm(history: History, tmp_path: Path, combination: Combination) -> None:
    service = history.service(tmp_path, "v1.2.1", **combination.data)
    report = look(history, service, template=True)
    assert report.findings == ()
    assert report.status == 0
    expected = {
        1: "fixed",
        2: "fixed" if combination.auth == "jwt" else "not affected",
        3: "not affected" if combination.database == "mysql" else "fixed",
        4: "fixed" if combination.auth == "session" else "not affected",
    }
    assert {number: status(report, number) for number in expected} == expected


def test_a_service_that_a_team_works_on_raises_no_alarm(history: History, tmp_path: Path) -> None:
    """Its own features, dependencies, settings, pages and links, in the places that are its own."""
    service = history.service(tmp_path, "v1.2.1", database="postgresql")
    package = service / "src/my_service"
    (package / "reports.py").write_text(
        '''"""A feature."""

from __future__ import annotations

from typing import Any

from .bastion import current_user


class Report:
    def __init__(self, values: dict[str, Any]) -> None:
        self.table = values
        for name, value in values.items():
            setattr(self, name, value)

    def exec(self) -> None:
        self.user = current_user
''',
        encoding="utf-8",
    )
    (package / "static").mkdir()
    (package / "static/logo.png").write_bytes(os.urandom(2 * 1024 * 1024))
    (package / "bastion/__pycache__").mkdir()
    (package / "bastion/__pycache__/access.cpython-311.pyc").write_bytes(b"\0")
    (service / "docs/latest").symlink_to(service / "docs", target_is_directory=True)
    (service / "CLAUDE.md").symlink_to("README.md")
    (service / "data").mkdir()
    os.mkfifo(service / "data/pipe")
    shutil.rmtree(package / "notes")
    (service / "README.md").unlink()
    replace_once(service / "pyproject.toml", '"my-service[bastion]",', '"my-service[bastion]",\n    "tomli-w>=1.2",')
    replace_once(service / "pyproject.toml", 'version = "0.1.0"', 'version = "4.2.0"')
    (service / ".github/workflows/deploy.yml").write_text("on: push\n", encoding="utf-8")
    (package / "exceptions.toml").write_text(EXCEPTION.replace("90", "45"), encoding="utf-8")
    app = package / "app.py"
    app.write_text(app.read_text(encoding="utf-8").replace("\n", "\r\n"), encoding="utf-8", newline="")
    clock = package / "bastion/clock.py"
    clock.write_bytes(clock.read_bytes().replace(b"\n", b"\r\n"))
    report = look(history, service, template=True)
    assert report.findings == ()


def test_an_old_service_that_a_fault_never_reached_is_not_affected(history: History, tmp_path: Path) -> None:
    report = look(history, history.service(tmp_path, "v1.0.0", auth="jwt"), template=True)
    assert {status(report, number) for number in (1, 2, 3, 4)} == {"not affected"}
    assert report.findings == ()


def test_a_vulnerable_version_is_affected_and_a_fix_by_hand_counts(history: History, tmp_path: Path) -> None:
    service = history.service(tmp_path, "v1.0.1", auth="jwt", secrets="vault")
    report = look(history, service)
    assert status(report) == "AFFECTED"
    (finding,) = report.findings
    assert (finding.kind, finding.level, finding.file, finding.cure) == (
        "affected", "error", FILE, "Update to the fixed version.",
    )  # fmt: skip
    assert finding.line > 0
    replace_once(
        service / FILE,
        '    yield ("Cross-Origin-Opener-Policy", "same-origin")\n',
        f'    yield ("Cross-Origin-Opener-Policy", "same-origin")\n    # Ours, until the update.\n{HEADER}',
    )
    report = look(history, service)
    assert status(report) == "fixed, patched by hand"
    assert report.status == 0


def test_without_a_lock_the_floors_decide(history: History, tmp_path: Path) -> None:
    """The floor of the fixed version is the fix itself: nothing older is installed."""
    service = history.service(tmp_path, "v1.1.2")
    (service / "uv.lock").unlink()
    report = look(history, service, template=True)
    assert status(report, 3) == "fixed"
    assert (report.status, report.findings) == (0, ())


def brought() -> Advisory:
    """An advisory about a library, whose fixed version no floor of the template says."""
    about = json.loads(json.dumps(HISTORIES["floor"]))
    about["affected"][0]["database_specific"]["probe"] = [{"lock": "itsdangerous", "at_least": "99"}]
    return read(about)


def test_a_healthy_service_without_a_lock_is_not_called_broken(history: History, tmp_path: Path) -> None:
    """What is installed is not in its repository: that is said, and is no fault."""
    service = history.service(tmp_path, "v1.1.2")
    (service / "uv.lock").unlink()
    report = check(service, [brought()], history.template, today=TODAY)
    assert status(report, 3) == "fixed, unverified", "and not called fixed"
    (finding,) = report.findings
    assert (finding.kind, finding.level) == ("fix-unverified", "note")
    assert "does not say which version is installed" in finding.text
    assert "uv lock" in finding.cure
    assert report.status == 0


@pytest.mark.parametrize(
    ("lock", "status_", "level"),
    [
        ('[[package]]\nname = "itsdangerous"\nversion = "2.2.0"\n', "AFFECTED, fix lost", "error"),
        ('[[package]]\nname = "itsdangerous"\n', "fixed, unverified", "warning"),
        (
            '[[package]]\nname = "itsdangerous"\nversion = "99"\nsource = { directory = "../x" }\n',
            "fixed, unverified",
            "warning",
        ),
        ("[[", "fixed, unverified", "warning"),
    ],
)
def test_a_lock_that_proves_an_old_version_or_nothing_is_a_fault(
    history: History, tmp_path: Path, lock: str, status_: str, level: str
) -> None:
    service = history.service(tmp_path, "v1.1.2")
    (service / "uv.lock").write_text(lock, encoding="utf-8")
    report = check(service, [brought()], history.template, today=TODAY)
    assert status(report, 3) == status_
    (finding,) = report.findings
    assert finding.level == level
    assert report.status == 1


@pytest.mark.parametrize(
    "text", ['[tool.uv]\noverride-dependencies = ["werkzeug<4"]', '[tool.uv.sources]\nWerkzeug = { path = "../x" }']
)
def test_a_library_from_elsewhere_has_no_floor(history: History, tmp_path: Path, text: str) -> None:
    service = history.service(tmp_path, "v1.1.2")
    (service / "uv.lock").unlink()
    with (service / "pyproject.toml").open("a", encoding="utf-8") as project:
        project.write(f"\n{text}\n")
    about = json.loads(json.dumps(HISTORIES["floor"]))
    del about["affected"][0]["database_specific"]["probe"][0]
    report = check(service, [read(about)], history.template, today=TODAY)
    assert status(report, 3) == "fixed, unverified"
    assert report.status == 1


GARBAGE = ["a: [b", "", "- a", "project_name: 7\nauth: 7\n", "_commit: v1.0.3\nauth: banana\n", "\0"]


@pytest.mark.parametrize("text", GARBAGE)
def test_the_code_tells_the_style_where_the_answers_can_not(history: History, tmp_path: Path, text: str) -> None:
    """The advisory is about tokens: garbage in the answers file neither makes it hit a session service nor hides it."""
    for auth, expected in (("session", ("not affected",)), ("jwt", ("AFFECTED", "AFFECTED, fix lost"))):
        service = history.service(tmp_path / auth, "v1.0.3", auth=auth)
        (service / ".copier-answers.yml").write_text(text, encoding="utf-8")
        report = look(history, service)
        assert status(report, 2) in expected
        assert report.status == 1, "the answers file is a finding itself"
        assert not any("is None here" in finding.text for finding in report.findings)


def test_an_answer_hides_no_style(history: History, tmp_path: Path) -> None:
    """Neither the answers file nor both claims together lead away from the code that is there."""
    service = history.service(tmp_path, "v1.0.3", auth="jwt")
    record(service, recorded(service) | {"auth": "session"})
    chosen = service / BASTION / "chosen.py"
    chosen.write_text(chosen.read_text(encoding="utf-8").replace('"jwt"', '"session"'), encoding="utf-8")
    assert status(look(history, service), 2) == "AFFECTED"


def test_a_lock_that_holds_the_old_version_beside_the_new_one_is_affected(history: History, tmp_path: Path) -> None:
    service = history.service(tmp_path, "v1.1.2")
    with (service / "uv.lock").open("a", encoding="utf-8") as lock:
        lock.write('[[package]]\nname = "Werkzeug"\nversion = "3.1.5"\n')
    assert status(look(history, service), 3) == "AFFECTED, fix lost"


# --- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_commit": "v1.3.0"}, "_commit is v1.3.0 here, and v1.2.1 in bastion/chosen.py"),
        ({"_commit": "v0.9.0"}, "_commit is v0.9.0 here, and v1.2.1 in bastion/chosen.py"),
        ({"_commit": "--upload-pack=touch"}, "_commit is no version of the template"),
        ({"_commit": "0123abc"}, "_commit is no version of the template but a commit"),
        ({"project_name": "other"}, "project_name is other here, and src/other/app.py"),
        ({"auth": "session"}, "auth is session here, and jwt in bastion/chosen.py"),
    ],
)
def test_answers_that_are_not_those_of_the_code_are_named(
    history: History, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    service = history.service(tmp_path, "v1.2.1", auth="jwt")
    record(service, recorded(service) | change)
    report = look(history, service)
    assert report.status == 1
    assert any(finding.text.startswith(said) for finding in report.findings)


def test_a_copy_of_uncommitted_changes_says_so_at_once_and_in_check(history: History, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(history.repository.path), str(clone))
    for name, dirty in (("clean", False), ("dirty", True)):
        if dirty:
            (clone / "README.md").write_text("not committed\n", encoding="utf-8")
        copied = copier("copy", "--defaults", "--vcs-ref", "HEAD", clone, tmp_path / name)
        assert copied.returncode == 0
        assert ("has uncommitted changes" in copied.stderr) is dirty
        report = check(tmp_path / name, (), today=TODAY)
        said = [finding.text for finding in report.findings if finding.kind == "version-unknown"]
        assert any("was copied from a clone with uncommitted changes" in text for text in said) is dirty
        assert report.status == dirty


@pytest.mark.parametrize("text", ["a: [b", "", "- a", "_commit: v9.9.9\nproject_name: my-service\n"])
def test_a_service_that_can_not_be_compared_is_not_called_looked_at(
    history: History, tmp_path: Path, text: str
) -> None:
    service = history.service(tmp_path, "v1.0.1")
    (service / ".copier-answers.yml").write_text(text, encoding="utf-8")
    report = look(history, service, template=True)
    said = "\n".join(as_text(report))
    assert "every file of the template" not in said
    assert "no file was compared" in said
    assert not as_json(report)["compared"]
    assert ("_src_path" in said) == text.startswith("_commit"), "of what can't be read no line is said to be missing"
    assert "src//" not in said, "where it is not known what the package is called"
    assert status(report).startswith("AFFECTED")


def test_neither_a_lower_version_nor_another_answer_hides_a_fault(history: History, tmp_path: Path) -> None:
    service = history.service(tmp_path, "v1.0.3", auth="jwt")
    for change in ({"_commit": "v1.0.0"}, {"auth": "session"}, {"_commit": "v1.0.4"}, {"_commit": "none"}):
        record(service, recorded(history.service(tmp_path, "v1.0.3", auth="jwt")) | change)
        assert status(look(history, service), 2).startswith("AFFECTED"), change


# --- what an update left ---------------------------------------------------------------------------------------------


def test_a_service_without_leftovers_passes(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(service)]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert "v1.0.0" in first
    assert last.startswith("Nothing found")


def test_a_conflict_is_named_with_file_and_line(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (service / "guards.py").write_text("first\n" + CONFLICT, encoding="utf-8")
    assert cli.main(["check", str(service)]) == 1
    assert "\nguards.py:2: a conflict." in capsys.readouterr().out


def test_a_conflict_with_windows_line_ends_is_found(service: Path) -> None:
    (service / "guards.py").write_bytes(CONFLICT.replace("\n", "\r\n").encode())
    assert len(leftovers(Tree(service))) == 1


def test_a_rejected_change_is_named(service: Path) -> None:
    (service / "guards.py.rej").write_text("@@\n", encoding="utf-8")
    (found,) = leftovers(Tree(service))
    assert (found.file, found.text) == ("guards.py.rej", "a rejected change.")
    assert found.cure == "Merge what it holds into guards.py, then delete it."


def test_a_folder_that_is_no_service_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(tmp_path)]) == 2
    assert cli.main(["check", str(tmp_path / "nowhere")]) == 2
    assert "holds no .copier-answers.yml" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gone", "file"])
@pytest.mark.parametrize("asked", ["check", "update"])
def test_what_is_no_folder_is_called_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, name: str
) -> None:
    """Whoever mistypes a path is not told to run `git init`."""
    (tmp_path / "file").touch()
    assert cli.main([asked, str(tmp_path / name)]) == 2
    assert capsys.readouterr().err == f"{tmp_path / name} is no folder. Name the folder of a service.\n"


def test_a_template_that_is_none_is_refused(service: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(service), "--template", str(tmp_path)]) == 2
    assert cli.main(["check", str(service), "--advisories", str(tmp_path / "typo")]) == 2
    assert capsys.readouterr().err.startswith("git failed")


def test_the_hook_runs_as_pre_commit_runs_it(service: Path) -> None:
    """With the standard library alone: the environment of this test is out of its reach."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    (service / "x.rej").write_text("", encoding="utf-8")
    bare = run(sys.executable, "-E", "-s", "-S", ROOT / hook["entry"], cwd=service)
    result = run(ROOT / hook["entry"], cwd=service, env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    for one in (bare, result):
        assert (one.returncode, one.stderr) == (1, "")
        assert one.stdout.startswith("x.rej:")


# --- the report ------------------------------------------------------------------------------------------------------


def test_the_three_formats_say_the_same(history: History, tmp_path: Path) -> None:
    service = history.service(tmp_path, "v1.2.1")
    resolved_as_ours(service, history)
    (service / "a b.rej").write_text("", encoding="utf-8")
    report = look(history, service, template=True)
    kinds = ["fix-lost", "leftover-reject", "drift-changed"]
    assert [finding.kind for finding in report.findings] == kinds
    about = json.loads(json.dumps(as_json(report)))
    assert [finding["kind"] for finding in about["findings"]] == kinds
    assert about["status"] == 1
    assert {one["id"]: one["status"] for one in about["advisories"]}["BASTION-2026-0001"] == "AFFECTED, fix lost"
    (ran,) = as_sarif(report)["runs"]
    assert [rule["id"] for rule in ran["tool"]["driver"]["rules"]] == list(KINDS)
    for result, kind in zip(ran["results"], kinds, strict=True):
        assert result["ruleId"] == kind == ran["tool"]["driver"]["rules"][result["ruleIndex"]]["id"]
        assert result["level"] in ("error", "warning", "note")
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert not uri.startswith("/")
    assert ran["results"][0]["properties"] == {"advisory": "BASTION-2026-0001"}
    assert ran["results"][1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b.rej"
    text = list(as_text(report))
    assert text[0] == "my-service v1.2.1 (session, sqlite, env, github)"
    assert text[1] == "  BASTION-2026-0001  AFFECTED, fix lost  A page can be framed."
    assert f"    | -{HEADER.rstrip()}" in text
    assert text[-1] == "3 to look at (4 advisories, and every file of the template looked at)."


def test_the_command_tells_what_the_module_tells(history: History, tmp_path: Path, advisories_folder: Path) -> None:
    """On a service that Copier itself rendered."""
    service = tmp_path / "service"
    path = history.repository.path
    done(copier("copy", "--quiet", "--defaults", "--vcs-ref", "v1.0.3", "--data", "auth=jwt", path, service))
    (service / "uv.lock").write_text('[[package]]\nname = "werkzeug"\nversion = "3.1.9"\n', encoding="utf-8")
    program = Path(sys.executable).with_name("flask-bastion")
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run(program, "check", service, "--template", path, "--advisories", advisories_folder, "--format", "json")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (result.returncode, result.stderr) == (1, "")
    report = json.loads(result.stdout)
    assert [(finding["kind"], finding["advisory"]) for finding in report["findings"]] == [
        ("affected", "BASTION-2026-0002"),
        ("trust-missing", ""),  # it was copied from a folder
    ]
    spent = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    assert spent < 5, "CPU seconds, those of git included: one, unless something grew with the square of something"


def test_no_library_of_the_drift_is_loaded_where_none_is_looked_at(service: Path) -> None:
    program = (
        "import sys; from flask_bastion.cli import main; main(['check', sys.argv[1]]);"
        "assert not {'copier', 'jinja2', 'pathspec'} & sys.modules.keys()"
    )
    done(run(sys.executable, "-c", program, service, env={"PYTHONPATH": str(ROOT / "hooks")}))
