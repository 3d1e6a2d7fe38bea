"""A version goes out only if a service can take it as what it says it is: a patch without looking, a fix that is one.

Each refusal begins with a version that may go out, and takes one thing away.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

import release
from flask_bastion.template import Template
from histories import FLOOR, HEADER, HEADERS, HISTORIES, LIMIT, OLD_FLOOR, OLD_LIMIT, PACKAGE, PYPROJECT, SETTINGS
from signed import Key
from support import Repository, git, replace_once

PROOF = "template/tests/proofs/test_clock.py"
CLOCK = f"{PACKAGE}/bastion/clock.py"
KEYS = "includes/release_keys.jinja"
TODAY = datetime.now(UTC).date().isoformat()
NOTHING = "### Upgrade notes\n\nNothing to do.\n"


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """A key that signs tags, made for this run."""
    return Key.make(tmp_path_factory.mktemp("keys") / "release")


class Project:
    """This template with a changelog, and whatever else a release looks at."""

    def __init__(self, repository: Repository, key: Key) -> None:
        self.repository = repository
        self.path = repository.path
        self.key = key

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        replace_once(self.path / name, old, new)

    def append(self, name: str, text: str) -> None:
        self.write(name, (self.path / name).read_text(encoding="utf-8") + text)

    def keys(self, *keys: Key) -> None:
        listed = "".join(f'    "{key.public}",\n' for key in keys)
        self.write(KEYS, f"{{% set release_keys = [\n{listed}] %}}\n")

    def prepare(self, tag: str, section: str = NOTHING, *, day: str = TODAY) -> None:
        """Write what a release wants: the number, the changelog, everything committed."""
        self.write("pyproject.toml", f'[project]\nname = "flask-bastion"\nversion = "{tag.removeprefix("v")}"\n')
        self.write("CHANGELOG.md", f"# Changelog\n\n## Unreleased\n\n## {tag} ({day})\n\n{section}")
        self.commit()

    def commit(self) -> None:
        git(self.path, "add", "--all", "--force")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", "Next")

    def tag(self, tag: str) -> None:
        """A version that went out before."""
        self.prepare(tag)
        git(self.path, "tag", tag)

    def advisory(self, about: dict[str, Any], **changes: Any) -> str:
        name = f"x_{about['id']}"
        changed = copy.deepcopy(about) | {"id": name} | changes
        self.write(f"advisories/{changed['id']}.json", json.dumps(changed))
        return str(changed["id"])

    def tags(self) -> list[str]:
        return git(self.path, "tag").split()


Release = Callable[..., tuple[int, str, str]]


SMALL = """\
_subdirectory: template
_templates_suffix: .jinja
_answers_file: .copier-answers.yml
_envops: {}
_skip_if_exists: ["/src/*/**", "!/src/*/bastion/**", "/tests/**", "!/tests/proofs/**"]
_exclude: []
project_name: my-service
package_name: {type: str, when: false, default: "{{ project_name | replace('-', '_') }}"}
"""


@pytest.fixture
def small(tmp_path: Path, key: Key) -> Project:
    """The same with a template of one module, for whatever does not depend on what a template renders."""
    project = Project(Repository(tmp_path / "small"), key)
    project.write("copier.yml", SMALL)
    project.write(CLOCK, "NOW = 0\n")
    project.write(PROOF, "")
    project.write("template/.pre-commit-config.yaml", "repos: []\n")
    git(project.path, "init", "--quiet", "--initial-branch", "main")
    project.keys(key)
    project.tag("v1.0.0")
    return project


@pytest.fixture
def project(tmp_path: Path, key: Key) -> Project:
    """v1.0.0 went out, and lists the key; nothing has changed since."""
    project = Project(Repository.make(tmp_path / "flask-bastion"), key)
    project.keys(key)
    project.tag("v1.0.0")
    return project


@pytest.fixture
def released(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Release:
    """Run the script: its status, its reasons one a line, and what it announced."""
    for name, value in {"NAME": "A Maintainer", "EMAIL": "maintainer@example.com"}.items():
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)

    def run_it(project: Project, tag: str, *options: str | Path, key: Key | None = None) -> tuple[int, str, str]:
        capsys.readouterr()
        arguments = [tag, "--key", (key or project.key).private, *options]
        status = release.main([str(one) for one in arguments], root=project.path)
        said = capsys.readouterr()
        return status, said.err, said.out

    return run_it


def reasons(said: str) -> list[str]:
    return [line.removeprefix("- ") for line in said.splitlines()[1:]]


# --- what goes out ---------------------------------------------------------------------------------------------------


def test_a_fix_goes_out_as_a_signed_patch_and_is_announced(project: Project, released: Release) -> None:
    """The header: lost in v1.0.1, brought back here with its advisory."""
    intact = (project.path / HEADERS).read_text(encoding="utf-8")
    project.edit(HEADERS, HEADER, "")
    project.tag("v1.0.1")
    project.write(HEADERS, intact)
    name = project.advisory(HISTORIES["header"])
    project.prepare("v1.0.2", f"- {name}: a page can't be framed any more.\n\n{NOTHING}")

    status, errors, said = released(project, "v1.0.2", "--check")
    assert (status, errors) == (0, "")
    assert project.tags() == ["v1.0.0", "v1.0.1"], "--check makes no tag"

    status, errors, said = released(project, "v1.0.2")
    assert (status, errors) == (0, "")
    assert said.startswith(
        "v1.0.2 is tagged and signed here.\n\nv1.0.2 is a patch that does not wait: it is offered at once"
    )
    assert f"  {name} (high): A page can be framed.\n    affected: v1.0.1 with any answers\n" in said
    assert "  Nothing to do.\n" in said
    assert "git push --atomic <remote> main v1.0.2" in said

    allowed = project.path / ".git" / "allowed"
    allowed.write_text(f"anybody {project.key.public}", encoding="utf-8")
    git(project.path, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-tag", "v1.0.2")
    tag = git(project.path, "cat-file", "tag", "v1.0.2")
    assert f"object {git(project.path, 'rev-parse', 'HEAD').strip()}\n" in tag
    assert "tag v1.0.2\ntagger A Maintainer <maintainer@example.com>" in tag
    assert NOTHING in tag, "a heading of the changelog is no comment of git"


def test_a_floor_goes_out_as_a_minor_version_and_not_as_a_patch(project: Project, released: Release) -> None:
    """The floor: pyproject.toml is the team's too, so that only a minor version raises one."""
    project.edit(PYPROJECT, FLOOR, OLD_FLOOR)
    project.tag("v1.1.0")
    project.tag("v1.1.1")
    project.edit(PYPROJECT, OLD_FLOOR, FLOOR)
    name = project.advisory(HISTORIES["floor"])
    text = f"- {name}: forms of a million fields are refused.\n\n{NOTHING}"
    project.prepare("v1.1.2", text)
    status, errors, _ = released(project, "v1.1.2")
    assert status == 1
    assert reasons(errors) == [
        "pyproject.toml is the team's too, so a patch may not change it. That is for a minor version."
    ]
    project.prepare("v1.2.0", text)
    status, errors, said = released(project, "v1.2.0")
    assert (status, errors) == (0, "")
    assert "v1.2.0 is a minor version: a person merges it" in said
    assert "    affected: v1.1.0, v1.1.1 with database sqlite or postgresql\n" in said
    assert "Files for a person to look at\n  pyproject.toml\n" in said


def test_a_fault_that_is_still_there_does_not_go_out_as_fixed(project: Project, released: Release) -> None:
    """The limit: the version that is to bring it back does not, and then brings it half."""
    project.edit(SETTINGS, LIMIT, OLD_LIMIT)
    project.tag("v1.0.1")
    name = project.advisory(HISTORIES["limit"], affected=affected("limit", ["v1.0.1"], secrets=["env"]))
    project.prepare("v1.0.2", f"- {name}\n\n{NOTHING}")
    status, errors, _ = released(project, "v1.0.2")
    assert status == 1
    found = reasons(errors)
    assert len(found) == 6  # 3 databases, and github or none
    assert found[0].startswith(f"{name}: v1.0.2 with session, sqlite, env, github: the probe must be green, as it has")
    assert project.tags() == ["v1.0.0", "v1.0.1"]


def affected(name: str, versions: list[str], **when: list[str]) -> list[dict[str, Any]]:
    (entry,) = copy.deepcopy(HISTORIES[name]["affected"])
    entry["database_specific"]["when"] |= when
    return [entry | {"versions": versions}]


def test_the_first_version_is_1_0_0(small: Project, released: Release) -> None:
    git(small.path, "tag", "--delete", "v1.0.0")
    small.prepare("v0.9.0")
    status, errors, _ = released(small, "v0.9.0")
    assert (status, reasons(errors)) == (1, ["v0.9.0 is not the next version: v1.0.0."])
    small.prepare("v1.0.0", "### Upgrade notes\n\nThis is the first version.\n")
    status, errors, said = released(small, "v1.0.0")
    assert (status, errors) == (0, "")
    assert "v1.0.0 is the first version." in said


# --- what does not ---------------------------------------------------------------------------------------------------


def test_all_reasons_come_at_once_and_nothing_is_tagged(small: Project, released: Release, tmp_path: Path) -> None:
    small.write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n- A line.\n\n## v1.0.2 (2999-01-01)\n")
    small.keys()
    small.append("copier.yml", "\n_tasks: [touch pwned]\n")
    small.advisory(HISTORIES["header"], id="BASTION-2026-0001")
    small.commit()
    small.write("left.txt", "")
    status, errors, said = released(small, "v1.0.2", key=Key.make(tmp_path / "other"))
    assert (status, said) == (1, "")
    assert errors.startswith("v1.0.2 can't be released:\n")
    for wanted in (
        "The work tree is not clean (paths: 1). Commit what belongs to the version.",
        "v1.0.2 is not the next version: v1.0.1 or v1.1.0 or v2.0.0.",
        'pyproject.toml must say version = "1.0.2".',
        "CHANGELOG.md has lines under Unreleased. Move them into the section of v1.0.2.",
        "CHANGELOG.md: the day of v1.0.2 is none, or is still to come.",
        "CHANGELOG.md has no '### Upgrade notes' for v1.0.2. Say what to do, or: Nothing to do.",
        "Services that v1.0.0 made don't know the key and would refuse the version.",
        "includes/release_keys.jinja lists no key, so that no service would take an update.",
        "copier.yml: _tasks needs --trust, which lets it do anything. Take it out.",
        "BASTION-2026-0001: v1.0.1 is no version of the template.",
        "BASTION-2026-0001: OSV takes no such id. Write x_BASTION-2026-0001, or the number of CVE or GHSA.",
        "CHANGELOG.md does not name BASTION-2026-0001 under v1.0.2.",
    ):
        assert any(one.startswith(wanted) for one in reasons(errors)), wanted
    assert small.tags() == ["v1.0.0"]


@pytest.mark.parametrize("asked", ["1.0.1", "v1.0", "v1.0.1-rc1", "v1.0.1-3-gabcdef0", "--upload-pack=x", "v01.0.1"])
def test_only_a_version_is_released(small: Project, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    if asked.startswith("-"):
        with pytest.raises(SystemExit, match="2"):
            release.main([asked], root=small.path)
    else:
        assert release.main([asked], root=small.path) == 2
        assert capsys.readouterr().err == f"{asked!r} is no version. Write one such as v1.0.1.\n"


def test_a_version_is_never_released_again(small: Project, released: Release) -> None:
    small.append(CLOCK, "\n")
    small.commit()
    before = git(small.path, "rev-parse", "v1.0.0")
    status, errors, _ = released(small, "v1.0.0")
    assert status == 1
    assert reasons(errors) == ["v1.0.0 exists already, and a tag is never moved. Take the next version."]
    assert git(small.path, "rev-parse", "v1.0.0") == before


def test_what_the_last_version_fixed_is_not_left_behind(small: Project, released: Release) -> None:
    git(small.path, "checkout", "--quiet", "-b", "beside")
    small.tag("v1.0.1")
    git(small.path, "checkout", "--quiet", "main")
    small.prepare("v1.0.2")
    status, errors, _ = released(small, "v1.0.2")
    assert status == 1
    assert reasons(errors) == ["This branch does not contain v1.0.1, whose fixes would be lost. Merge it."]


def test_a_version_is_signed_with_a_key_that_services_know(
    small: Project, released: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Key.make(tmp_path / "other")
    small.prepare("v1.0.1")
    unknown = "Services that v1.0.0 made don't know the key and would refuse the version."
    foreign = "The key that signs is none of includes/release_keys.jinja, and services would refuse the version."
    for signer, expected in (
        (
            other,
            [f"{unknown} Sign with one that they know, or make it a major version.", f"{foreign} Add its public key."],
        ),
        (Key(tmp_path / "absent"), [f"The tag is not signed: {tmp_path / 'absent'} is no file. Give --key FILE."]),
    ):
        status, errors, _ = released(small, "v1.0.1", key=signer)
        assert status == 1
        for line, wanted in zip(reasons(errors), expected, strict=True):
            assert line.startswith(wanted)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    assert release.main(["v1.0.1"], root=small.path) == 1, "nobody named a key"

    small.keys(small.key, other)
    small.prepare("v1.0.1")
    assert reasons(released(small, "v1.0.1", key=other)[1]) == [
        f"{unknown} Sign with one that they know, or make it a major version."
    ]
    small.prepare("v2.0.0", "### Upgrade notes\n\nAdd the new key to .bastion-trust.toml first.\n")
    assert released(small, "v2.0.0", key=other)[:2] == (0, "")


MIGRATIONS = f"{PACKAGE}/bastion/database/migrations"
UPGRADE = """from alembic import op


def upgrade() -> None:
    op.{}


def downgrade() -> None:
    op.drop_table("a")
"""


def add_question(project: Project) -> None:
    project.append("copier.yml", "\ncolour:\n  type: str\n  default: blue\n  help: New.\n")


def add_migration(project: Project) -> None:
    project.write(f"{MIGRATIONS}/0009_more.py", UPGRADE.format('create_table("a")'))


def rename_question(project: Project) -> None:
    for path in [project.path / "copier.yml", *(project.path / "template").rglob("*.jinja")]:
        replaced(str(path.relative_to(project.path)), r"\bsecurity_contact\b", "contact")(project)


def remove(name: str) -> Callable[[Project], None]:
    return lambda project: (project.path / name).unlink()


def rename(old: str, new: str) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        (project.path / old).rename(project.path / new)

    return change


def edited(name: str, old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.edit(name, old, new)


def replaced(name: str, pattern: str, text: str) -> Callable[[Project], None]:
    return lambda project: project.write(name, re.sub(pattern, text, (project.path / name).read_text(encoding="utf-8")))


def appended(name: str, text: str) -> Callable[[Project], None]:
    return lambda project: project.append(name, text)


def written(name: str, text: str = "") -> Callable[[Project], None]:
    return lambda project: project.write(name, text)


Change = Callable[[Project], None]
PATCHES: dict[str, tuple[Change, list[str]]] = {
    "code of the template": (appended(CLOCK, "\n# Fixed.\n"), []),
    "a new module of the template": (written(f"{PACKAGE}/bastion/fixed.py"), []),
    "other words in a question": (edited("copier.yml", "Who signs in?", "Who signs in here?"), []),
    "a question": (add_question, ["A patch asks what the version before it asked, and colour is not the same."]),
    "a validator": (
        edited("copier.yml", "{0,199}", "{0,99}"),
        ["A patch asks what the version before it asked, and description is not the same."],
    ),
    "a migration": (add_migration, ["src/*/bastion/database/migrations/0009_more.py: a patch migrates no database."]),
    "the team's code": (appended(f"{PACKAGE}/app.py", "\n"), ["src/*/app.py is the team's"]),
    "a file of any name": (written("template/tox.ini"), ["tox.ini is new outside of the template's folders"]),
    "another Copier": (
        edited("copier.yml", '_min_copier_version: "9.15.0"', '_min_copier_version: "9.18.0"'),
        ["A patch needs no other Copier than the version before it."],
    ),
    "a file that is gone": (remove("template/.pre-commit-config.yaml"), [".pre-commit-config.yaml is gone"]),
    "a file of one answer that is gone": (
        remove(f"{PACKAGE}/bastion/database/mysql.py"),
        ["src/*/bastion/database/mysql.py is gone, and what a team changed in it with it."],
    ),
    "a file that one answer leaves out": (
        edited("copier.yml", "_exclude:\n", "_exclude:\n  - \"{% if auth == 'jwt' %}/SECURITY.md{% endif %}\"\n"),
        ["SECURITY.md is gone"],
    ),
}  # fmt: skip
MINORS: dict[str, tuple[Change, list[str]]] = {
    "a question with a default": (add_question, []),
    "a migration that adds": (add_migration, []),
    "a higher floor": (edited(PYPROJECT, '"werkzeug>=3.1.9', '"werkzeug>=3.1.10'), []),
    "a file of any name": (written("template/tox.ini"), []),
    "the team's code": (appended(f"{PACKAGE}/app.py", "\n"), []),
    "a question that is gone": (
        rename_question,
        ["The question security_contact is gone."],
    ),
    "a choice that is gone": (
        replaced("copier.yml", r'    "gcp [^\n]*: gcp\n', ""),
        ["secrets has no choice gcp any more, so that answers would flip."],
    ),
    "another default": (
        edited("copier.yml", "  default: sqlite\n", "  default: postgresql\n"),
        ["The question database has another default."],
    ),
    "a file of another name": (
        rename(CLOCK, f"{PACKAGE}/bastion/time.py"),
        ["src/*/bastion/clock.py is gone, and what a team changed in it with it."],
    ),
    "a file that the template takes from the team": (
        edited("copier.yml", '  - "/README.md"\n', ""),
        ["README.md has another owner."],
    ),
    "another Python": (
        edited(PYPROJECT, 'requires-python = ">=3.11"', 'requires-python = ">=3.12"'),
        ["pyproject.toml needs another Python."],
    ),
    "a migration that was released": (
        appended(f"{MIGRATIONS}/0001_accounts.py", "\n"),
        ["src/*/bastion/database/migrations/0001_accounts.py was released, and databases went through it."],
    ),
    "a migration that drops": (
        written(f"{MIGRATIONS}/0010_drop.py", UPGRADE.format('drop_column("auth_user", "email")')),
        ["src/*/bastion/database/migrations/0010_drop.py: drop_column breaks the version that still runs"],
    ),
    "a migration that renames": (
        written(f"{MIGRATIONS}/0011_rename.py", UPGRADE.format('alter_column("a", "b", new_column_name="c")')),
        ["src/*/bastion/database/migrations/0011_rename.py: new_column_name breaks the version that still runs"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tag", "cases"), [("v1.0.1", PATCHES), ("v1.1.0", MINORS)], ids=["patch", "minor"])
def test_a_version_changes_no_more_than_its_kind_may(
    project: Project, released: Release, tag: str, cases: dict[str, tuple[Change, list[str]]]
) -> None:
    """First all that it may, which goes out; then, after that version, all that it may not, each for its reason."""
    for change, expected in cases.values():
        if not expected:
            change(project)
    project.prepare(tag)
    assert released(project, tag)[:2] == (0, "")

    following = {"v1.0.1": "v1.0.2", "v1.1.0": "v1.2.0"}[tag]
    for change, expected in cases.values():
        if expected:
            change(project)
    project.prepare(following)
    status, errors, _ = released(project, following)
    assert status == 1
    found, wanted = sorted(reasons(errors)), sorted(line for _, expected in cases.values() for line in expected)
    assert [line[: len(start)] for line, start in zip_longest(found, wanted, fillvalue="")] == wanted
    assert following not in project.tags()


def test_a_question_without_a_default_goes_out_in_no_version(small: Project, released: Release) -> None:
    small.append("copier.yml", "\ncolour:\n  type: str\n  help: New.\n")
    small.prepare("v2.0.0")
    reason = "copier.yml: the question colour has no default, so that no update could answer it."
    assert reasons(released(small, "v2.0.0")[1])[0] == reason


def test_what_a_new_question_leaves_out_is_told_without_its_answer(small: Project, released: Release) -> None:
    """Copier renders it with the answers of the version before as well: every update would end in a traceback."""
    left_out = "_exclude: [\"{%% if %s == 'red' %%}/none.md{%% endif %%}\"]"
    asked = SMALL + "colour: {type: str, default: blue}\n"
    small.write("copier.yml", asked.replace("_exclude: []", left_out % "colour"))
    small.prepare("v1.1.0")
    (reason,) = reasons(released(small, "v1.1.0")[1])
    assert reason.startswith("copier.yml: no service could be updated, as a new question stands in _exclude")
    assert "{% if colour | default('blue') == ... %}" in reason
    small.write("copier.yml", asked.replace("_exclude: []", left_out % "colour | default('blue')"))
    small.prepare("v1.1.0")
    assert released(small, "v1.1.0")[:2] == (0, "")


def test_a_template_that_does_not_render_goes_out_in_no_version(small: Project, released: Release) -> None:
    small.append("copier.yml", 'colour: {type: str, default: blue, validator: "{{ color }}"}\n')
    small.prepare("v1.1.0")
    assert reasons(released(small, "v1.1.0")[1]) == [
        "Version v1.1.0 does not render with these answers ('color' is undefined)."
    ]


def test_a_major_version_may_do_what_its_notes_say(project: Project, released: Release) -> None:
    for name in ("a file of another name", "another default", "another Python", "a choice that is gone"):
        MINORS[name][0](project)
    project.prepare("v2.0.0", "### Upgrade notes\n\nRename what you import from clock.\n\n### Added\n\n- Time.\n")
    status, errors, said = released(project, "v2.0.0")
    assert (status, errors) == (0, "")
    assert "v2.0.0 is a major version: a person merges it, and does what the upgrade notes say." in said
    assert "  Rename what you import from clock.\n" in said
    assert "Time." not in said


def test_a_patch_is_announced_as_what_may_merge_by_itself_only_if_it_may(small: Project, released: Release) -> None:
    small.append(CLOCK, "\n")
    small.prepare("v1.0.1")
    said = released(small, "v1.0.1")[2]
    assert "v1.0.1 is a patch that merges by itself after three days, where a service's rules allow it." in said
    assert "Files for a person" not in said
    assert "Proofs that are not as before" not in said
    small.append("template/.pre-commit-config.yaml", "\n")
    small.prepare("v1.0.2")
    said = released(small, "v1.0.2")[2]
    assert "v1.0.2 is a patch that a person merges, because of the files below." in said
    assert "Files for a person to look at\n  .pre-commit-config.yaml\n\n" in said
    small.append(PROOF, "\n")
    small.write(PROOF.replace("clock", "more"), "")
    small.prepare("v1.0.3")
    said = released(small, "v1.0.3")[2]
    assert "a person decides\n  tests/proofs/test_clock.py\n\n" in said


def test_a_patch_asks_for_nothing(small: Project, released: Release) -> None:
    small.prepare("v1.0.1", "### Upgrade notes\n\nRestart twice.\n")
    assert reasons(released(small, "v1.0.1")[1]) == [
        "A patch asks nobody for anything, so its upgrade notes begin with: Nothing to do."
    ]


def test_an_advisory_stays_once_it_was_out(small: Project, released: Release) -> None:
    name = small.advisory(HISTORIES["header"])
    small.tag("v1.0.1")
    (small.path / "advisories" / f"{name}.json").unlink()
    small.prepare("v1.0.2")
    assert reasons(released(small, "v1.0.2")[1]) == [
        f"advisories/{name}.json is gone. An advisory that was wrong gets the field withdrawn, and its file stays."
    ]
    small.advisory(HISTORIES["header"], withdrawn="2026-11-21T10:00:00Z")
    small.prepare("v1.0.2")
    assert released(small, "v1.0.2")[:2] == (0, "")


def test_the_changelog_of_this_repository_can_be_read() -> None:
    """Its first section is what comes next, and each version has a day and upgrade notes."""
    text = (release.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert release.section(text, "## Unreleased") is not None
    for tag in re.findall(r"^## (v\S+)", text, flags=re.MULTILINE):
        found = release.section(text, tag)
        assert found is not None, tag
        assert found.notes, tag


def test_the_keys_of_this_repository_can_be_read(template_repository: Repository) -> None:
    template = Template(template_repository.path)
    (first,) = template.tags()
    assert all(key.startswith(("ssh-", "ecdsa-", "sk-")) for key in release.release_keys(template, first))
