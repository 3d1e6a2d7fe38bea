"""Every file of the template that is not what its version renders is named, and what is the team's never is.

The rendering is not Copier's, for the sake of speed; so it is held equal to Copier's, file by file.
"""

from __future__ import annotations

import resource
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flask_bastion.check import check
from flask_bastion.finding import Finding
from flask_bastion.template import Template, TemplateError, matcher
from flask_bastion.version import parse
from histories import History, record, recorded
from support import PAIRS, Combination, copier, done, files_of, git, replace_once

TODAY = datetime.now(UTC).date()
BASTION = "src/my_service/bastion"
SECRET = """from __future__ import annotations

SECRET_KEY = "canary-of-a-secret-key"
edited = True
"""


@pytest.fixture
def service(history: History, tmp_path: Path) -> Path:
    return history.service(tmp_path / "service", "v1.2.1")


def drifted(history: History, service: Path) -> list[Finding]:
    report = check(service, (), history.template, today=TODAY)
    assert [finding for finding in report.findings if not finding.kind.startswith("drift-")] == []
    return list(report.findings)


def places(history: History, service: Path) -> list[tuple[str, str]]:
    return [(finding.kind, finding.file) for finding in drifted(history, service)]


@pytest.mark.parametrize("combination", PAIRS[::4], ids=lambda combination: combination.name)
def test_it_renders_what_copier_renders(history: History, tmp_path: Path, combination: Combination) -> None:
    """Every file, those of the team too; and then exactly the template's are compared."""
    answers = {
        **combination.data,
        "ci": "none",
        "project_name": "payments-api",
        "description": "O'Brien & Söhne – Payments 😀",
        "security_contact": "security@example.com",
    }
    data = [f"--data={name}={value}" for name, value in answers.items()]
    copied = tmp_path / "copied"
    path = history.repository.path
    done(copier("copy", "--quiet", "--defaults", "--vcs-ref", "v1.1.1", *data, path, copied))
    version = parse("v1.1.1")
    assert version is not None
    release = history.template.release(version)
    rendered = release.render(answers, whole=True)
    assert sorted([*rendered, ".copier-answers.yml"]) == files_of(copied)
    for name, text in rendered.items():
        assert (copied / name).read_bytes() == text, name
    ours = release.render(answers)
    assert {name for name in rendered if release.is_teams(name)} == rendered.keys() - ours.keys()
    for name in ("src/payments_api/app.py", "README.md", "tests/test_notes_api.py", "docs/access.md"):
        assert name not in ours
    for name in (
        "src/payments_api/bastion/request/access.py",
        "SECURITY.md",
        "tests/proofs/harness.py",
        "docs/bastion/audit.md",
    ):
        assert name in ours
    (copied / "uv.lock").write_text("", encoding="utf-8")
    (finding,) = check(copied, (), history.template, today=TODAY).findings
    assert (finding.kind, finding.level) == ("trust-missing", "note"), "it was copied from a folder"


def test_an_edited_file_is_named_with_its_difference(history: History, service: Path) -> None:
    replace_once(
        service / BASTION / "clock.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n# ours\n",
    )
    (finding,) = drifted(history, service)
    assert (finding.kind, finding.level, finding.file) == ("drift-changed", "warning", f"{BASTION}/clock.py")
    text = (service / BASTION / "clock.py").read_text(encoding="utf-8").splitlines()
    assert text[finding.line - 1] == "# ours"
    assert "+# ours" in finding.diff
    assert " from __future__ import annotations" in finding.diff
    assert finding.diff[0].startswith(f"@@ -{finding.line - 2},4 +{finding.line - 2},5 @@")


def test_a_secret_in_an_edited_file_is_in_no_difference(history: History, service: Path) -> None:
    """Reports of CI are kept where more people read them than the repository."""
    replace_once(service / f"{BASTION}/clock.py", "from __future__ import annotations\n", SECRET)
    [finding] = drifted(history, service)
    shown = "\n".join(finding.diff)
    assert "+edited = True" in shown
    assert "+[a line in which a secret seems to stand]" in shown
    assert "canary" not in shown


def test_a_deleted_a_moved_and_an_added_file_are_named(history: History, service: Path) -> None:
    (service / "SECURITY.md").unlink()
    shutil.move(service / BASTION / "clock.py", service / "src/my_service/clock.py")
    (service / BASTION / "jwt").mkdir()
    (service / BASTION / "jwt" / "__init__.py").write_text("", encoding="utf-8")
    (service / "tests/proofs/test_ours.py").write_text("", encoding="utf-8")
    assert sorted(places(history, service)) == [
        ("drift-extra", f"{BASTION}/jwt/__init__.py"),
        ("drift-extra", "tests/proofs/test_ours.py"),
        ("drift-missing", "SECURITY.md"),
        ("drift-missing", f"{BASTION}/clock.py"),
    ]


def test_what_is_shared_must_still_say_what_the_template_says(history: History, service: Path) -> None:
    """The team's dependencies and settings beside it are the team's."""
    project = service / "pyproject.toml"
    replace_once(project, '"my-service[bastion]",', '"my-service[bastion]",\n    "requests>=2",')
    with project.open("a", encoding="utf-8") as file:
        file.write("\n[tool.ours]\na = 1\n[project.scripts2]\n")
    assert drifted(history, service) == []
    replace_once(project, '    "werkzeug>=3.1.9,<4",\n', '    "werkzeug",\n')
    replace_once(project, "strict = true\nfiles", "strict = false\nfiles")
    found = [(finding.text, finding.diff) for finding in drifted(history, service)]
    assert found == [
        (
            "What the template says under project.optional-dependencies.bastion is not said here any more.",
            ('-"werkzeug>=3.1.9,<4",',),
        ),
        ("What the template says under tool.mypy.strict is not said here any more.", ("-strict = true",)),
    ]
    assert {finding.cure.partition(":")[0] for finding in drifted(history, service)} == {
        "Restore the lines shown by hand"
    }, "--restore does not: the file is the team's too"
    replace_once(project, "[tool.ruff.lint.per-file-ignores]\n", "[tool.ours.ignores]\n")
    assert ("-[tool.ruff.lint.per-file-ignores]",) in [finding.diff for finding in drifted(history, service)]
    project.write_text("[[", encoding="utf-8")
    (finding,) = drifted(history, service)
    assert (finding.kind, finding.file) == ("drift-changed", "pyproject.toml")
    assert "no TOML" in finding.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("line-length = 120", "line-length = 100"),
        ('target-version = "py311"', 'target-version = "py313"'),
        ('target-version = "py311"\n', ""),
        ("line-length = 120\n", ""),
    ],
)
def test_a_teams_own_style_is_no_drift(history: History, service: Path, old: str, new: str) -> None:
    replace_once(service / "pyproject.toml", old, new)
    assert drifted(history, service) == []
    replace_once(service / "pyproject.toml", "xfail_strict = true", "xfail_strict = false")
    assert [one.kind for one in drifted(history, service)] == ["drift-changed"]


def test_a_version_that_was_written_by_hand_brought_nothing(history: History, service: Path) -> None:
    """Without an advisory too: every file of that version which differs is named."""
    record(service, recorded(service) | {"_commit": "v1.0.1"})
    report = check(service, (), history.template, today=TODAY)
    found = {(finding.kind, finding.file) for finding in report.findings}
    assert ("answers-contradict", ".copier-answers.yml") in found
    assert ("drift-changed", f"{BASTION}/edge/headers.py") in found
    assert ("drift-changed", f"{BASTION}/chosen.py") in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_commit": "v9.9.9"}, "The template has no version v9.9.9."),
        ({"_commit": "v1.2.1-1-g" + "0" * 12}, "The template has no version v1.2.1-1-g000000000000."),
        ({"description": 'x"\n[tool.uv]'}, "The template does not take the answer to description."),
        ({"security_contact": 3}, "The template does not take the answer to security_contact."),
    ],
)
def test_what_can_not_be_rendered_is_named(
    history: History, service: Path, change: dict[str, object], said: str
) -> None:
    record(service, recorded(service) | change)
    report = check(service, (), history.template, today=TODAY)
    assert said in [finding.text for finding in report.findings if finding.kind == "drift-unknown"]


def test_a_commit_after_a_version_is_found_by_its_hash(tmp_path: Path) -> None:
    history = History.make(tmp_path / "flask-bastion")
    git(history.repository.path, "commit", "--quiet", "--allow-empty", "--message", "later")
    described = git(history.repository.path, "describe", "--tags").strip()
    service = history.service(tmp_path / "service", described)
    assert recorded(service)["_commit"].startswith("v1.2.1-1-g")
    assert drifted(history, service) == []


def test_a_bare_mirror_serves_as_well(history: History, service: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(history.repository.path), "mirror.git")
    assert check(service, (), Template(tmp_path / "mirror.git"), today=TODAY).findings == ()


def test_a_difference_that_was_made_to_take_for_ever_takes_no_time(history: History, service: Path) -> None:
    """Many equal lines in another order are the worst that a comparison line by line can meet."""
    (service / BASTION / "clock.py").write_text(
        "\n".join(str(number % 97) for number in range(200_000)), encoding="utf-8"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    (finding,) = drifted(history, service)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 3
    assert finding.diff[-1] == "+200000 other lines"


def test_a_clone_of_another_user_says_how_it_is_trusted(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    other = history.repository.path.stat().st_uid + 1  # as of a folder that a container was given
    monkeypatch.setattr("os.geteuid", lambda: other)
    with pytest.raises(TemplateError, match=r"dubious ownership.*\. If you trust it: git config --global --add safe"):
        Template(history.repository.path).tags()


def test_a_folder_that_is_no_template_says_so(tmp_path: Path, service: Path) -> None:
    with pytest.raises(TemplateError, match="git failed in"):
        Template(tmp_path).tags()
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    (other / "copier.yml").write_text("- no\n", encoding="utf-8")
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "x")
    git(other, "tag", "v1.2.1")
    findings = check(service, (), Template(other), today=TODAY).findings
    assert [finding.kind for finding in findings] == ["tag-moved", "drift-unknown"]


def test_patterns_mean_what_they_mean_in_a_gitignore() -> None:
    team = matcher(("/src/*/**", "!/src/*/bastion/**", "/README.md"))
    assert [team(path) for path in ("src/a/app.py", "src/a/bastion/x.py", "README.md", "docs/README.md")] == [
        True, False, True, False,
    ]  # fmt: skip
