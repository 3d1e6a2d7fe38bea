"""An advisory says for whom a version is vulnerable, and none is released whose probe would not have seen it.

Four histories were made for it: a header that a version lost, a check of a token, the floor of a dependency, a limit.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flask_bastion import advisory, gate
from flask_bastion.advisory import InvalidAdvisory
from flask_bastion.repository import CHOICES
from flask_bastion.version import Version, parse
from histories import HEADERS, HISTORIES, History, read
from support import ROOT, git


def test_every_advisory_of_this_repository_can_be_read() -> None:
    assert isinstance(advisory.shipped(), list)


def test_the_answers_that_are_known_are_those_of_the_template() -> None:
    questions = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
    asked = {
        name: tuple(sorted(question["choices"].values(), key=lambda one: one != question["default"]))
        for name, question in questions.items()
        if not name.startswith("_") and "choices" in question
    }
    assert {name: set(values) for name, values in asked.items()} == {
        name: set(values) for name, values in CHOICES.items()
    }
    assert {name: values[0] for name, values in asked.items()} == {name: values[0] for name, values in CHOICES.items()}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"id": "*"}, "id is no id"),
        ({"id": "BASTION-2026-0009"}, "the file must be called BASTION-2026-0009.json"),
        ({"schema_version": "2.0"}, "schema_version"),
        ({"modified": "yesterday"}, "modified is no time"),
        ({"summary": " "}, "summary must be a text"),
        ({"surprise": 1}, "there is no field 'surprise'"),
        ({"affected": []}, "affected must be a list"),
        ({"database_specific": {"severity": "bad"}}, "severity is not one of"),
    ],
)
def test_an_advisory_of_another_form_is_refused(change: dict[str, Any], fault: str) -> None:
    about = {**HISTORIES["header"], **change}
    with pytest.raises(InvalidAdvisory, match=fault.replace("*", r"\*")):
        advisory.read(json.dumps(about).encode(), "BASTION-2026-0001.json")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"versions": ["1.0.1"]}, "versions must list each affected tag"),
        ({"versions": ["v1.0.1", "v1.0.1"]}, "versions must list each affected tag"),
        ({"versions": []}, "versions must list each affected tag"),
        ({"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}]}, "a range must be of the type GIT"),
        ({"ranges": [{"type": "GIT", "repo": "x", "events": [{"fixed": "a" * 40}]}]}, "where the fault was introduced"),
        ({"ranges": [{"type": "GIT", "repo": "x", "events": [{"introduced": "--all"}]}]}, "a commit of 40 digits"),
    ],
)
def test_an_affected_entry_of_another_form_is_refused(change: dict[str, Any], fault: str) -> None:
    about = copy.deepcopy(HISTORIES["header"])
    about["affected"][0].update(change)
    with pytest.raises(InvalidAdvisory, match=fault):
        read(about)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"when": {"auth": ["cookies"]}}, "'auth' is a question with the answers session, jwt"),
        ({"when": {"style": ["jwt"]}}, "'style' is a question"),
        ({"action": ""}, "action must say what to do"),
        ({"probe": []}, "probe must be a list"),
        ({"probe": ["x"]}, "a condition must be an object"),
        ({"probe": [{"file": "a.py"}]}, "a condition has one of"),
        ({"probe": [{"file": "../a.py", "has": "x"}]}, "file must be a path in the service"),
        ({"probe": [{"file": "a.py", "has": "x ="}]}, "is no piece of Python"),
        ({"probe": [{"file": "a.py", "has": "# x"}]}, "is no piece of Python"),
        ({"probe": [{"file": "a.py", "has": "x", "regex": ".*"}]}, "takes no regex"),
        ({"probe": [{"limit": "session_idle_minutes"}]}, "compared by one of"),
        ({"probe": [{"lock": "flask", "at_least": "new"}]}, "at_least must be a version"),
    ],
)
def test_a_probe_of_another_form_is_refused(change: dict[str, Any], fault: str) -> None:
    about = copy.deepcopy(HISTORIES["header"])
    about["affected"][0]["database_specific"].update(change)
    with pytest.raises(InvalidAdvisory, match=fault):
        read(about)


def test_what_is_no_json_is_refused_with_the_name_of_its_file() -> None:
    with pytest.raises(InvalidAdvisory, match=r"x\.json: this is no JSON"):
        advisory.read(b"{", "x.json")
    with pytest.raises(InvalidAdvisory, match=r"x\.json: this is no JSON"):
        advisory.read(b"[" * 100_000, "x.json")


def test_a_withdrawn_advisory_is_none() -> None:
    about = {**HISTORIES["header"], "withdrawn": "2026-11-21T10:00:00Z"}
    assert advisory.read(json.dumps(about).encode(), "BASTION-2026-0001.json") is None


def test_the_newest_version_of_the_template_brings_its_advisories(tmp_path: Path) -> None:
    history = History.make(tmp_path / "flask-bastion")
    assert advisory.of_template(history.template) == []
    folder = history.repository.path / "advisories"
    folder.mkdir()
    (folder / "README.md").write_text("The form.", encoding="utf-8")
    (folder / "BASTION-2026-0001.json").write_text(json.dumps(HISTORIES["header"]), encoding="utf-8")
    history.repository.release("v1.3.0")
    assert [one.id for one in advisory.of_template(history.template)] == ["BASTION-2026-0001"]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("v1.0.1", ((1, 0, 1), True, 0)),
        ("v1.0.1-3-g0123abc", ((1, 0, 1), True, 3)),
        ("v1.0.1rc1", ((1, 0, 1), False, 0)),
        *(
            (text, None)
            for text in (
                "",
                "1.0.1",
                "v1.0",
                "v1.0.1\n",
                "--upload-pack=x",
                "v1.0.1;x",
                "v\u0661.0.0",
                "v01.0.1",
                "HEAD",
            )
        ),
    ],
)
def test_a_version_is_a_tag_or_comes_after_one(text: str, meaning: tuple[object, ...] | None) -> None:
    found = parse(text)
    assert (found and (found.numbers, found.released, found.commits)) == meaning


def test_versions_are_ordered_as_they_came() -> None:
    texts = ["v1.0.1rc1", "v1.0.1", "v1.0.1-3-g0123abc", "v1.0.2", "v1.0.10", "v2.0.0"]
    found = [version for text in reversed(texts) if (version := parse(text)) is not None]
    assert [version.text for version in sorted(found)] == texts


def test_a_version_alone_says_before_affected_or_fixed() -> None:
    (affected,) = read(HISTORIES["floor"]).affected
    said = {
        text: affected.claims(number(text)) for text in ("v1.0.4", "v1.1.0", "v1.1.1-2-gabcdef0", "v1.1.2", "v2.0.0")
    }
    assert list(said.values()) == ["before", "affected", "affected", "fixed", "fixed"]


def number(text: str) -> Version:
    found = parse(text)
    assert found is not None
    return found


# --- the gate of a release -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HISTORIES)
def test_a_probe_that_sees_the_fault_and_the_fix_passes(history: History, name: str) -> None:
    """Red on the last vulnerable version and green on the fixed one, with every answer that is affected."""
    (affected,) = history.advisories[name].affected
    release = history.template.release(affected.versions[-1])
    tried = list(gate.answers(affected, release.choices()))
    assert len(tried) == {"header": 72, "token": 36, "floor": 48, "limit": 36}[name]
    for question, answers in affected.when.items():
        assert {given[question] for given in tried} == set(answers)
    assert gate.gate(history.template, history.advisories[name]) == []


def test_a_probe_that_is_green_on_the_vulnerable_version_does_not_pass(history: History) -> None:
    about = copy.deepcopy(HISTORIES["header"])
    about["affected"][0]["database_specific"]["probe"][0]["has"] = 'yield ("X-Content-Type-Options", "nosniff")'
    reasons = gate.gate(history.template, read(about))
    assert len(reasons) == 72
    assert reasons[0].startswith("v1.0.1 with session, sqlite, env, github: the probe must be red")


def test_a_probe_that_is_red_on_the_fixed_version_does_not_pass(history: History) -> None:
    about = copy.deepcopy(HISTORIES["header"])
    about["affected"][0]["database_specific"]["probe"][0]["has"] = 'yield ("X-Frame-Options", "SAMEORIGIN")'
    reasons = gate.gate(history.template, read(about))
    assert any(reason.startswith("v1.0.2 with jwt, mysql, azure, none: the probe must be green") for reason in reasons)


def test_a_probe_that_fits_one_style_alone_does_not_pass_for_both(history: History) -> None:
    about = copy.deepcopy(HISTORIES["token"])
    about["affected"][0]["database_specific"]["when"] = {}
    reasons = gate.gate(history.template, read(about))
    assert reasons
    assert all(" with session, " in reason and "v1.0.3" not in reason for reason in reasons)


def test_an_advisory_without_a_fixed_version_or_for_one_that_never_was_does_not_pass(history: History) -> None:
    about = copy.deepcopy(HISTORIES["limit"])
    about["affected"][0]["versions"] = ["v1.2.0", "v1.2.1"]
    assert "no version has the fix" in gate.gate(history.template, read(about))[0]
    about["affected"][0]["versions"] = ["v1.2.0", "v9.9.9"]
    assert "v9.9.9 is no version of the template." in gate.gate(history.template, read(about))


def test_a_probe_that_a_later_change_made_stale_does_not_pass(tmp_path: Path) -> None:
    history = History.make(tmp_path / "flask-bastion")
    history.repository.edit(HEADERS, '    yield ("X-Frame-Options", "DENY")', '    yield ("X-Frame-Options", FRAMES)')
    history.repository.release("v1.3.0")
    reasons = gate.gate(history.template, history.advisories["header"])
    assert len(reasons) == 72
    assert all(reason.startswith("v1.3.0") for reason in reasons)


def test_the_commit_of_a_git_range_must_be_what_fixed_it(history: History) -> None:
    about = copy.deepcopy(HISTORIES["header"])
    one = {"auth": ["session"], "database": ["sqlite"], "secrets": ["env"], "ci": ["none"]}
    about["affected"][0]["database_specific"]["when"] = one
    commits = {tag: git(history.repository.path, "rev-parse", tag).strip() for tag in ("v1.0.1", "v1.0.2", "v1.0.3")}
    for tag, passes in (("v1.0.2", True), ("v1.0.1", False), ("v1.0.3", False)):
        events = [{"introduced": commits["v1.0.1"]}, {"fixed": commits[tag]}]
        about["affected"][0]["ranges"] = [{"type": "GIT", "repo": "https://example.com/t.git", "events": events}]
        assert (gate.gate(history.template, read(about)) == []) is passes, tag
