"""The rules by which updates arrive follow from a service's answers, and who proposes an update brings none of them.

A bot merges what renovate.json lets it, GitHub asks whom CODEOWNERS names, and the workflows judge by what stands in
the branch that a change goes to. Every combination of answers is read; the scripts of the workflows are run. Source:
catalogue row update-automerge-guarded; ASVS 15.2.4.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy

from flask_bastion.plan import UNREVIEWED
from flask_bastion.template import matcher
from services import Service
from support import CIS, COMBINATIONS, Combination, Repository, done, git, run

Render = Callable[[Combination, str], Path]
every_combination = pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda combination: combination.name)
WORKFLOWS = ("bastion.yml", "bastion-updates.yml", "bastion-again.yml")
OWNER = "@acme/security"


@pytest.fixture(scope="module")
def owned(template_repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service whose pipeline has an owner."""
    target = tmp_path_factory.mktemp("owned") / "service"
    run_copy(str(template_repository.path), target, data={"code_owners": OWNER}, defaults=True, quiet=True)
    return target


def rules(service: Path) -> dict[str, Any]:
    config = json.loads((service / "renovate.json").read_text(encoding="utf-8"))
    assert isinstance(config, dict)
    return config


def lane(config: dict[str, Any], **dependency: str) -> dict[str, Any]:
    """What Renovate would do with a dependency: of all rules that match, what matches later counts."""
    found = {name: value for name, value in config.items() if name != "packageRules"}
    matchers = {
        "manager": "matchManagers",
        "kind": "matchUpdateTypes",
        "name": "matchPackageNames",
        "file": "matchFileNames",
    }
    for rule in config["packageRules"]:
        asked = {name for name in rule if name.startswith("match")} - {"matchDatasources"}
        given = {matchers[about]: value for about, value in dependency.items()}
        if asked <= given.keys() and all(any(Path(given[one]).match(value) for value in rule[one]) for one in asked):
            found |= {name: value for name, value in rule.items() if not name.startswith("match")}
    return found


# --- Renovate ----------------------------------------------------------------------------------------------------


@every_combination
@pytest.mark.parametrize("ci", CIS)
def test_nothing_merges_by_itself_where_nobody_owns_the_pipeline(
    rendered: Render, combination: Combination, ci: str
) -> None:
    config = rules(rendered(combination, ci))
    assert '"automerge": true' not in json.dumps(config)
    assert config["description"][0] == "Owned by the template (flask-bastion): updates replace it."
    assert config["description"][1].startswith("Your own rules: ")
    assert not (rendered(combination, ci) / ".github/CODEOWNERS").exists()


def test_a_patch_of_the_template_alone_merges_by_itself_and_waits_three_days(owned: Path) -> None:
    config = rules(owned)
    patch = lane(config, manager="copier", kind="patch")
    assert (patch["automerge"], patch["minimumReleaseAge"]) == (True, "3 days")
    assert patch["minimumReleaseAgeBehaviour"] == "timestamp-optional"  # or it would wait for ever: git tells no time
    for kind in ("minor", "major"):
        other = lane(config, manager="copier", kind=kind)
        assert (other["automerge"], other["minimumReleaseAge"]) == (False, None)
        assert other["separateMinorPatch"]
    assert json.dumps(config).count('"automerge": true') == 1
    assert config["platformAutomerge"] is False  # else only what a branch requires has to be green


def test_dependencies_wait_seven_days_but_not_a_known_vulnerability(owned: Path) -> None:
    config = rules(owned)
    library = lane(config, manager="pep621", kind="patch", name="httpx")
    assert (library["minimumReleaseAge"], library["rangeStrategy"]) == ("7 days", "update-lockfile")
    assert library.get("enabled", True)
    alert = config["vulnerabilityAlerts"]
    assert (alert["minimumReleaseAge"], alert["automerge"], config["osvVulnerabilityAlerts"]) == (None, False, True)
    assert config["lockFileMaintenance"] == config["lockFileMaintenance"] | {
        "enabled": True, "schedule": ["before 6am on monday"],
    }  # fmt: skip
    assert lane(config, manager="github-actions", file=".github/workflows/own.yml").get("enabled", True)
    assert not lane(config, manager="github-actions", file=".github/workflows/bastion-updates.yml")["enabled"]


def test_names_of_ours_are_never_looked_up_on_an_index(owned: Path) -> None:
    for name in ("my-service", "flask-bastion", "bastion"):
        assert not lane(rules(owned), manager="pep621", name=name)["enabled"]


# --- CODEOWNERS --------------------------------------------------------------------------------------------------


def owners(service: Path, name: str) -> list[str]:
    """Whom GitHub asks about a path: the last line that matches decides."""
    found: list[str] = []
    for line in (service / ".github/CODEOWNERS").read_text(encoding="utf-8").splitlines():
        pattern, *named = line.partition("#")[0].split() or [""]
        if pattern and matcher((pattern,))(name):
            found = named
    return found


@pytest.mark.parametrize(
    "name",
    [
        ".github/workflows/bastion.yml", ".github/workflows/own.yml", ".github/CODEOWNERS", ".bastion-trust.toml",
        ".bastion-waivers.toml", ".pre-commit-config.yaml", "Dockerfile", "compose.yaml", "deploy/base/x/y.yaml",
        "pyproject.toml", "renovate.json", "src/my_service/exceptions.toml", "uv.lock",
    ],
)  # fmt: skip
def test_a_change_of_what_could_do_anything_has_an_owner(owned: Path, name: str) -> None:
    assert owners(owned, name) == [OWNER]


def test_a_patch_of_the_template_changes_nothing_that_has_an_owner(owned: Path) -> None:
    """Else none would merge by itself."""
    for pattern in UNREVIEWED:
        name = pattern.format(package="my_service").replace("**", "some/file.py").removeprefix("/")
        assert owners(owned, name) == [], name
    assert owners(owned, "src/my_service/app.py") == []


def test_it_is_created_once(template_repository: Repository, tmp_path: Path) -> None:
    """What the team writes stays, what it deletes stays deleted, and another answer does not bring it back."""
    service = Service.start(template_repository.path, tmp_path / "service", code_owners=OWNER)
    service.write(".github/CODEOWNERS", "* @acme/everybody\n")
    service.commit("Ours")
    done(service.update(":current:", code_owners="@acme/others"))
    assert service.read(".github/CODEOWNERS") == "* @acme/everybody\n"
    (service.path / ".github/CODEOWNERS").unlink()
    service.commit("Gone")
    done(service.update(":current:", code_owners=OWNER))
    assert not service.has(".github/CODEOWNERS")


# --- the workflows -----------------------------------------------------------------------------------------------


def workflow(service: Path, name: str) -> dict[str, Any]:
    content = yaml.safe_load((service / ".github/workflows" / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_is_clean_and_may_do_nothing(owned: Path, name: str) -> None:
    file = owned / ".github/workflows" / name
    scripts = Path(sys.executable).parent
    audit = run(scripts / "zizmor", "--offline", "--no-progress", "--persona", "auditor", file)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    schema = run(scripts / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", file)
    assert schema.returncode == 0, schema.stdout
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# Owned by the template (flask-bastion): updates replace it. Your own jobs: ")
    content = workflow(owned, name)
    assert content["permissions"] == {}
    for job in content["jobs"].values():
        assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in job["steps"] if "uses" in step)


def test_new_code_runs_only_where_nothing_may_be_written(owned: Path) -> None:
    """Whoever runs in a job can read its token: the one that runs the proofs may only read the code."""
    jobs = workflow(owned, "bastion-updates.yml")["jobs"]
    running = {name for name, job in jobs.items() if any("proofs" in step.get("run", "") for step in job["steps"])}
    assert running == {"previous-proofs"}
    assert jobs["previous-proofs"]["permissions"] == {"contents": "read"}
    writing = {name for name, job in jobs.items() if "write" in job["permissions"].values()}
    assert writing == {"check"}
    again = workflow(owned, "bastion-again.yml")["jobs"]["again"]
    assert not [step for step in again["steps"] if "uses" in step]


def test_a_job_that_is_named_twice_would_be_passed_by_the_one_that_is_skipped(owned: Path) -> None:
    """GitHub takes a skipped job for a passed one, by its name alone."""
    names = [job["name"] for name in WORKFLOWS for job in workflow(owned, name)["jobs"].values()]
    assert len(names) == len(set(names)) >= 7
    (step,) = workflow(owned, "bastion-again.yml")["jobs"]["again"]["steps"]
    assert step["env"]["JUDGE"] == workflow(owned, "bastion-updates.yml")["jobs"]["plan"]["name"]


def script(owned: Path, name: str, job: str, step: str) -> str:
    (found,) = [one["run"] for one in workflow(owned, name)["jobs"][job]["steps"] if one["name"] == step]
    return str(found)


def shell(text: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does."""
    return run("bash", "-e", "-c", text, cwd=cwd, env=env)


OURS, THEIRS = "a" * 40, "b" * 40


@pytest.fixture
def proposal(tmp_path: Path) -> Path:
    """A pull request, merged as it is checked out, in which somebody replaces what judges him."""
    service = tmp_path / "checkout"
    write(service, "https://git.example.com/platform/flask-bastion.git", OURS)
    git(service, "init", "--quiet", "--initial-branch", "main")
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--message", "main")
    git(service, "checkout", "--quiet", "-b", "update")
    write(service, "https://evil.example/flask-bastion.git", THEIRS)
    (service / ".copier-answers.yml").write_text("_commit: v1.0.1\n", encoding="utf-8")
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--message", "update")
    git(service, "checkout", "--quiet", "main")
    git(service, "merge", "--quiet", "--no-ff", "-m", "merge", "update")
    return service


def write(service: Path, address: str, commit: str) -> None:
    chosen = service / "src/my_service/bastion/chosen.py"
    chosen.parent.mkdir(parents=True, exist_ok=True)
    chosen.write_text(f'AUTH = "session"\nCOMMIT = "{commit}"\n', encoding="utf-8")
    (service / ".bastion-trust.toml").write_text(f'[[source]]\naddress = "{address}"\nkeys = []\n', encoding="utf-8")
    (service / ".copier-answers.yml").write_text("_commit: v1.0.0\n", encoding="utf-8")


def judged_by(text: str, service: Path, event: str = "pull_request") -> tuple[dict[str, str], str]:
    """The outputs of the step, and what it says."""
    temporary = service.parent / "runner"
    temporary.mkdir(exist_ok=True)
    (temporary / "output").write_text("", encoding="utf-8")
    env = {"GITHUB_EVENT_NAME": event, "RUNNER_TEMP": str(temporary), "GITHUB_OUTPUT": str(temporary / "output")}
    said = done(shell(text, service, **env))
    lines = (temporary / "output").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines), said


def test_what_judges_is_the_version_of_the_branch_that_the_change_goes_to(owned: Path, proposal: Path) -> None:
    text = script(owned, "bastion-updates.yml", "judge", "Read it where the change goes to")
    found, said = judged_by(text, proposal)
    ours = {"address": "https://git.example.com/platform/flask-bastion.git", "commit": OURS}
    assert found == ours | {"update": "true"}
    assert "::warning::" not in said
    assert text.count("then base=HEAD^1; fi") == 1
    sabotaged, _ = judged_by(text.replace("then base=HEAD^1; fi", "then base=HEAD; fi"), proposal)
    assert sabotaged == {"address": "https://evil.example/flask-bastion.git", "commit": THEIRS}
    git(proposal, "checkout", "--quiet", "HEAD^1")
    assert judged_by(text, proposal, "push")[0] == ours


@pytest.mark.parametrize(
    ("address", "commit", "read"),
    [
        (
            "git@git.example.com:platform/flask-bastion.git",
            OURS,
            "ssh://git@git.example.com/platform/flask-bastion.git",
        ),
        ("ssh://git@git.example.com:2222/x.git", OURS, "ssh://git@git.example.com:2222/x.git"),
        ("ext::sh -c touch% x", OURS, None),
        ("/srv/templates", OURS, None),
        ("https://user:secret@git.example.com/x.git", OURS, None),
        ("https://git.example.com/x.git@main#", OURS, None),
        ("--index-url=https://evil.example", OURS, None),
        ("https://git.example.com/x.git", "main", None),
        ("https://git.example.com/x.git", "", None),
    ],
)
def test_an_address_that_is_none_judges_nothing_and_says_so(
    owned: Path, tmp_path: Path, address: str, commit: str, read: str | None
) -> None:
    service = tmp_path / "checkout"
    write(service, address, commit)
    git(service, "init", "--quiet")
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--message", "main")
    text = script(owned, "bastion-updates.yml", "judge", "Read it where the change goes to")
    found, said = judged_by(text, service, "push")
    assert found == ({} if read is None else {"address": read, "commit": commit})
    assert ("::warning::" in said) is (read is None)


def test_a_service_that_lists_no_source_is_told_so(owned: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "main")
    text = script(owned, "bastion-updates.yml", "judge", "Read it where the change goes to")
    found, said = judged_by(text, tmp_path, "push")
    assert found == {}
    assert "::warning::" in said


GH = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  *workflows/bastion-updates.yml/runs*head_sha=aaa*) echo https://api/jobs/of/aaa ;;
  *jobs/of/aaa*failure*) echo 71 ;;
  *pulls*) printf 'aaa\\nbbb\\n' ;;
esac
"""


@pytest.mark.parametrize("reviewed", ["aaa", ""], ids=["a review", "daily"])
def test_an_update_that_was_red_is_judged_again_and_nothing_else(owned: Path, tmp_path: Path, reviewed: str) -> None:
    (tmp_path / "gh").write_text(GH, encoding="utf-8")
    (tmp_path / "gh").chmod(0o755)
    text = script(owned, "bastion-again.yml", "again", "Run the job that judges again, where it does not hold any more")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "REVIEWED": reviewed}
    done(shell(text, tmp_path, GITHUB_REPOSITORY="acme/my-service", JUDGE="the update may merge", **env))
    posted = [line for line in (tmp_path / "calls").read_text(encoding="utf-8").splitlines() if "POST" in line]
    assert posted == ["api --silent --method POST repos/acme/my-service/actions/jobs/71/rerun"]
