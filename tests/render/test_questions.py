"""Every question has a safe default, teaches, and refuses what would be unsafe anywhere in a service."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from copier import run_copy
from pytest_copie.plugin import Copie

from support import AUTHS, CIS, DATABASES, ROOT, SECRETS, Repository, answers_of

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
QUESTIONS = {name: question for name, question in CONFIG.items() if not name.startswith("_")}
TEXTS = ("project_name", "package_name", "description", "security_contact", "code_owners")
CHOICES = {"auth": AUTHS, "database": DATABASES, "secrets": SECRETS, "ci": CIS}
DEFAULTS = {
    "project_name": "my-service",
    "description": "A Flask service that proves its own security",
    "auth": "session",
    "database": "sqlite",
    "secrets": "env",
    "security_contact": "",
    "ci": "github",
    "code_owners": "",
}


def test_the_questions_come_in_the_order_of_their_sections() -> None:
    assert list(QUESTIONS) == [
        "project_name", "package_name", "description", "auth", "database", "secrets", "security_contact", "ci",
        "code_owners",
    ]  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_every_free_answer_has_a_validator_anchored_at_both_ends(name: str) -> None:
    validator = QUESTIONS[name]["validator"]
    expressions = re.findall(r"regex_search\('(.*?)'\)", validator)
    for expression in expressions:
        assert expression.startswith(r"\\A")
        assert expression.endswith(r"\\Z")
    assert expressions or "!=" in validator


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_append_only(name: str) -> None:
    """A choice that disappears flips the answer of every service that gave it, with exit status 0."""
    offered = list(QUESTIONS[name]["choices"].values())
    assert offered[: len(CHOICES[name])] == list(CHOICES[name])
    assert QUESTIONS[name]["default"] == DEFAULTS[name]


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_aligned_and_say_what_they_mean(name: str) -> None:
    labels = QUESTIONS[name]["choices"]
    columns = set()
    for label, value in labels.items():
        explanation = label.removeprefix(value).lstrip()
        assert len(explanation) > 20, label
        columns.add(label.index(explanation))
    assert len(columns) == 1


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "package_name"])
def test_every_prompt_teaches_in_one_to_three_lines(name: str) -> None:
    lines = QUESTIONS[name]["help"].splitlines()
    assert 1 <= len(lines) <= 3
    assert max(map(len, lines)) <= 110


def test_no_secret_is_a_question() -> None:
    assert not [name for name, question in QUESTIONS.items() if question.get("secret")]


def test_the_defaults_need_no_answer(copie: Copie, template_repository: Repository) -> None:
    result = copie.copy(template_dir=template_repository.path)
    assert (result.exit_code, result.exception) == (0, None)
    assert result.answers == DEFAULTS


@pytest.mark.parametrize(
    ("question", "answer"), [(name, value) for name, values in CHOICES.items() for value in values]
)
def test_every_choice_is_accepted_and_recorded(
    copie: Copie, template_repository: Repository, question: str, answer: str
) -> None:
    result = copie.copy(extra_answers={question: answer}, template_dir=template_repository.path)
    assert result.exception is None
    assert result.project_dir is not None
    assert answers_of(result.project_dir)[question] == answer


@pytest.mark.parametrize(
    ("question", "answer", "says"),
    [
        ("project_name", "Payments", "lower-case letters"),
        ("project_name", "payments_api", "lower-case letters"),
        ("project_name", "-payments", "lower-case letters"),
        ("project_name", "payments--api", "lower-case letters"),
        ("project_name", "4payments", "lower-case letters"),
        ("project_name", "", "lower-case letters"),
        ("project_name", "p" * 41, "at most 40"),
        ("project_name", "os", "os-service"),
        ("project_name", "flask", "flask-service"),
        ("project_name", "flask-wtf", "flask-wtf-service"),
        ("project_name", "class", "class-service"),
        ("project_name", "con", "con-service"),
        ("project_name", "proofs", "proofs-service"),
        ("project_name", "bastion", "bastion-service"),
        ("project_name", "flask-bastion", "flask-bastion-service"),
        ("package_name", "other_name", "type project_name"),
        ("description", "", "one line"),
        ("description", "a" * 201, "at most 200"),
        ("security_contact", "somebody", "an address"),
        ("security_contact", "http://example.com/security", "an https URL"),
        ("security_contact", "-x@example.com", "an address"),
        ("code_owners", "acme/security", "accounts or teams"),
        ("code_owners", "@acme/security  @alice", "single spaces"),
        ("code_owners", "@acme/security\n* @mallory", "single spaces"),
        ("code_owners", "@acme/../x", "accounts or teams"),
        ("code_owners", "@alice " * 40 + "@bob", "accounts or teams"),
        ("auth", "oauth", "Invalid choice"),
        ("database", "oracle", "Invalid choice"),
        ("secrets", "keychain", "Invalid choice"),
        ("ci", "gitlab", "Invalid choice"),
    ],
)
def test_a_refusal_says_what_to_type_instead(
    template_repository: Repository, tmp_path: Path, question: str, answer: str, says: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        run_copy(
            str(template_repository.path), tmp_path / "service", data={question: answer}, defaults=True, quiet=True
        )
    assert not (tmp_path / "service").exists()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("project_name", "a"),
        ("project_name", "p" * 40),
        ("project_name", "payments-api2"),
        ("description", "O'Brien & Söhne – Payments 😀"),
        ("description", "a" * 200),
        ("security_contact", "security+flask@mail.example.com"),
        ("security_contact", "https://example.com:8443/.well-known/security"),
        ("code_owners", "@acme/security @alice-b"),
    ],
)
def test_a_legitimate_answer_is_accepted(
    template_repository: Repository, tmp_path: Path, question: str, answer: str
) -> None:
    run_copy(str(template_repository.path), tmp_path / "service", data={question: answer}, defaults=True, quiet=True)
    assert answers_of(tmp_path / "service")[question] == answer


def reserved() -> set[str]:
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT), autoescape=False)  # noqa: S701 (no HTML)
    module: Any = templates.get_template("includes/names.jinja").module
    return set(module.reserved)


def test_every_module_of_the_standard_library_is_a_reserved_name() -> None:
    spellable = {name for name in sys.stdlib_module_names if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)}
    assert "json" in spellable
    assert spellable <= reserved()


def test_every_locked_dependency_is_a_reserved_name_as_project_and_as_package() -> None:
    locked = {
        re.sub(r"[-_.]+", "_", line.partition("==")[0].lower())
        for lock in (ROOT / "tests" / "locks").glob("*.txt")
        for line in lock.read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    assert {"flask", "psycopg", "pyjwt", "wtforms"} <= locked
    packages = {
        package
        for package, projects in importlib.metadata.packages_distributions().items()
        if {re.sub(r"[-_.]+", "_", project.lower()) for project in projects} & locked
        and re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", package)
    }
    assert {"jwt", "flask_wtf"} <= packages
    assert locked | packages <= reserved()
