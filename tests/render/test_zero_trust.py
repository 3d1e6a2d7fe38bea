"""Rendering and updating need no trust: a template that asks for it can do anything to the machine that renders it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from support import (
    CIS,
    COMBINATIONS,
    ROOT,
    Combination,
    Repository,
    answers_of,
    copier,
    copy_of_the_template,
    files_of,
    git,
    run,
)

TRUSTED = {"_tasks", "_migrations", "_jinja_extensions"}


def settings(text: str) -> set[str]:
    config = yaml.safe_load(text)
    assert isinstance(config, dict)
    return set(config)


def test_copier_yml_holds_nothing_that_needs_trust() -> None:
    assert not settings((ROOT / "copier.yml").read_text(encoding="utf-8")) & TRUSTED


def test_no_released_copier_yml_ever_did() -> None:
    """Copier reads the old version too when it updates, so one bad tag would ask for trust for ever."""
    if not (ROOT / ".git").exists():
        return  # an unpacked archive has no releases
    for tag in git(ROOT, "tag", "--list", "v*").split():
        assert not settings(git(ROOT, "show", f"{tag}:copier.yml")) & TRUSTED, tag


def test_the_template_links_to_nothing() -> None:
    assert not [path for path in (ROOT / "template").rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("ci", CIS)
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda combination: combination.name)
def test_every_combination_renders_by_the_command_without_a_terminal(
    rendered: Callable[[Combination, str], Path], combination: Combination, ci: str
) -> None:
    service = rendered(combination, ci)
    answers = answers_of(service)
    assert {name: answers[name] for name in ("auth", "database", "secrets", "ci")} == combination.data | {"ci": ci}
    assert answers["_commit"] == "v1.0.0"


def test_it_renders_with_standard_input_closed(template_repository: Repository, tmp_path: Path) -> None:
    result = run(
        "sh", "-c", 'exec "$0" -m copier copy --quiet --defaults "$1" "$2" <&-',
        sys.executable, template_repository.path, tmp_path / "service",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "service" / "pyproject.toml").is_file()


def test_the_library_renders_without_trust_what_the_command_renders(
    template_repository: Repository, rendered: Callable[[Combination, str], Path], tmp_path: Path
) -> None:
    run_copy(
        str(template_repository.path), tmp_path / "service", data=COMBINATIONS[0].data, defaults=True, quiet=True,
        unsafe=False,
    )  # fmt: skip
    expected = rendered(COMBINATIONS[0], "github")
    assert files_of(tmp_path / "service") == files_of(expected)
    for name in files_of(expected):
        assert (tmp_path / "service" / name).read_bytes() == (expected / name).read_bytes(), name


def test_what_is_printed_leads_to_a_running_service(template_repository: Repository, tmp_path: Path) -> None:
    said = copier("copy", "--defaults", template_repository.path, tmp_path / "my services").stderr
    for command in (
        f"cd '{tmp_path / 'my services'}'",
        "git init",
        "git config --global user.name",
        "uv run my-service dev",
        "uv run pytest",
        "-d security_contact=",
    ):
        assert command in said
    assert "WARNING" not in said


def test_a_copy_that_could_never_be_updated_says_so(tmp_path: Path) -> None:
    folder = copy_of_the_template(tmp_path / "no-repository")
    said = copier("copy", "--defaults", folder, tmp_path / "service").stderr
    assert "WARNING: the template was not read from a git repository" in said
    assert "_commit" not in answers_of(tmp_path / "service")


def test_a_relative_address_is_recorded_in_full(template_repository: Repository, tmp_path: Path) -> None:
    result = copier("copy", "--quiet", "--defaults", ".", tmp_path / "service", cwd=template_repository.path)
    assert result.returncode == 0
    assert answers_of(tmp_path / "service")["_src_path"] == str(template_repository.path)


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("https://somebody:secret@example.com/team/flask-bastion.git", "https://example.com/team/flask-bastion.git"),
        ("https://secret@example.com/team/flask-bastion.git", "https://example.com/team/flask-bastion.git"),
        ("git+https://somebody:se@cret@example.com/flask-bastion.git", "git+https://example.com/flask-bastion.git"),
        ("ssh://git:secret@example.com/team/flask-bastion.git", "ssh://git@example.com/team/flask-bastion.git"),
        ("ssh://git@example.com/team/flask-bastion.git", "ssh://git@example.com/team/flask-bastion.git"),
        ("git@example.com:team/flask-bastion.git", "git@example.com:team/flask-bastion.git"),
        ("gh:team/flask-bastion", "gh:team/flask-bastion"),
    ],
)
def test_an_address_is_recorded_without_its_token(given: str, recorded: str) -> None:
    """The answers file is committed; a token in it is a token for everybody who reads the repository."""
    env = environment()
    source = (ROOT / "template" / "{{_copier_conf.answers_file}}.jinja").read_text(encoding="utf-8")
    text = env.from_string(source).render(_copier_answers={"_src_path": given, "auth": "jwt"})
    assert yaml.safe_load(text) == {"_src_path": recorded, "auth": "jwt"}
    assert not re.search("secret|se@cret", text)


def environment() -> Any:
    return SandboxedEnvironment(
        loader=FileSystemLoader(ROOT),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
