"""The harness proves itself: a sabotage that proves nothing is never counted as proven.

It stops the one mistake that would make every other proof worthless: a green table that would be green anyway.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .. import harness, place
from ..harness import AttackSucceeded, HarnessError, Stale, edit, harm, insert, refused, works
from ..wire import Response, SetCookie, call

PROOFS = Path(__file__).resolve().parents[1]
OTHERS = ("both.csv", "session.csv", "jwt.csv", "asvs.csv")
SERVICE = '''
def require_token(headers):
    if headers.get("token") != "good":
        raise PermissionError("refused")


def post(headers, view):
    """The docstring of post."""
    require_token(headers)
    view()
    return "ok"
'''
FEATURES = """
title = "probe"
"""
PROOFS_OF_IT = '''
from __future__ import annotations

import time

import pytest

from .harness import AttackSucceeded, edit, harm, insert, protects, works

CALL = "    require_token(headers)\\n"
GONE = edit("door.py", CALL, "")
TAKEN = edit("door.py", '!= "good"', '== "never"')


def attack(token):
    from fake.bastion.door import post

    seen = []
    refused = False
    if token == "good":
        post({"token": token}, lambda: seen.append(1))
    else:
        with pytest.raises(PermissionError) if not _open() else _nothing():
            post({"token": token}, lambda: seen.append(1))
    return seen


def _open():
    """Whether the door is open: found out by trying, without a view."""
    from fake.bastion.door import post

    return not post_refuses(post)


def post_refuses(post):
    try:
        post({"token": "bad"}, lambda: None)
    except PermissionError:
        return True
    return False


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


@protects("row", taken_away=GONE, two_edits=(TAKEN, insert("door.py", after="view()", new="\\n    view()")))
def test_that_is_right():
    works(attack("good"), "the right token opens the door")
    seen = attack("bad")
    harm(seen, "the view ran")


@protects(
    "bad",
    crash=edit("door.py", CALL, "    raise RuntimeError\\n"),
    ends_the_process=edit("door.py", CALL, "    import os; os._exit(0)\\n"),
    no_op=edit("door.py", CALL, CALL + "    # nothing\\n"),
    docstring=edit("door.py", "The docstring of post.", "Another docstring."),
    dead_code=insert("door.py", after='"""The docstring of post."""', new="\\n    unused = 1"),
    absent=edit("door.py", "what is not there", ""),
    twice=edit("door.py", "headers", "heads"),
    broken=edit("door.py", CALL, "    require_token(headers\\n"),
    no_file=edit("window.py", "a", "b"),
    twin=edit("door.py", '"good"', '"better"'),
    other_protection=edit("other.py", "LOCKED = True", "LOCKED = False"),
    layout=edit("/features.toml", 'title = "probe"', "title   =   'probe'"),
)
def test_that_is_right_with_bad_sabotages():
    works(attack("good"), "the right token opens the door")
    seen = attack("bad")
    harm(seen, "the view ran")


@protects("skipped", gone=GONE)
def test_that_skips():
    works(attack("good"), "the right token opens the door")
    pytest.skip("not today")


@protects("no-twin", gone=GONE)
def test_without_a_twin():
    harm(attack("bad"), "the view ran")


@protects("assertion-first", gone=GONE)
def test_that_asserts_before_it_looks_for_harm():
    works(attack("good"), "the right token opens the door")
    seen = attack("bad")
    assert seen == []
    harm(seen, "the view ran")


@protects("raised-by-hand", gone=GONE)
def test_that_raises_the_success_itself():
    works(attack("good"), "the right token opens the door")
    harm(None, "nothing")
    if attack("bad"):
        raise AttackSucceeded("so there")


@protects("looks-at-nothing", gone=GONE)
def test_that_looks_at_nothing():
    works(attack("good"), "the right token opens the door")
    attack("bad")


@protects("other-file", changed=edit("/features.toml", "probe", "canary"))
def test_that_reads_a_file_of_the_root():
    import tomllib

    from . import place

    text = tomllib.loads((place.root / "features.toml").read_text())["title"]
    works(text, "there is a title")
    harm(text == "canary", "the file was changed")
'''
OF_THE_TEAM = """
from proofs.harness import edit, harm, protects, works


@protects(
    "tickets-need-token",
    taken_away=edit("/src/fake/bastion/door.py", "    require_token(headers)\\n", ""),
    blind=edit("other.py", "LOCKED = True", "LOCKED = False"),
)
def test_a_ticket_needs_a_token():
    from fake.bastion.door import post

    seen = []
    works(post({"token": "good"}, lambda: None), "the right token opens the door")
    try:
        post({}, lambda: seen.append(1))
    except PermissionError:
        pass
    harm(seen, "the view ran")
"""
HANGS = """
from __future__ import annotations

import time

from .harness import edit, harm, protects, works


@protects("hangs", forever=edit("door.py", "    require_token(headers)\\n", "    import time; time.sleep(60)\\n"))
def test_that_hangs():
    from fake.bastion.door import post

    works(post({"token": "good"}, lambda: None), "the right token opens the door")
    harm(None, "nothing")
"""


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny service with the harness beside it, and proofs good and bad."""
    root = tmp_path_factory.mktemp("fake")
    proofs = root / "tests" / "proofs"
    left_out = shutil.ignore_patterns("__pycache__", "test_*.py", "session", "jwt", "edges", "bastion", *OTHERS)
    shutil.copytree(PROOFS, proofs, ignore=left_out)
    (proofs / "service.py").write_text(
        "from .wire import BaseClient as Client\n"
        "Backend = object\n"
        'PACKAGE = "fake"\nAUTH, DATABASE, SECRETS = "session", "sqlite", "env"\n'
    )
    for name in OTHERS:
        header = (PROOFS / "catalogue" / ("asvs.csv" if name == "asvs.csv" else "both.csv")).read_text().splitlines()[0]
        (proofs / "catalogue" / name).write_text(header + "\n")
    bastion = root / "src" / "fake" / "bastion"
    bastion.mkdir(parents=True)
    for file, text in (("__init__.py", ""), ("door.py", SERVICE), ("other.py", "LOCKED = True\n")):
        (bastion / file).write_text(text)
    (root / "src" / "fake" / "__init__.py").touch()
    (root / "features.toml").write_text(FEATURES)
    (root / "pyproject.toml").write_text(
        '[project]\nname = "fake"\n[tool.pytest.ini_options]\npythonpath = ["src", "tests"]\n'
        'addopts = ["-p", "proofs.plugin", "--import-mode=importlib", "--strict-markers"]\ntestpaths = ["tests"]\n'
    )
    (root / "tests" / "conftest.py").write_text("import fake.bastion.door  # as a team's may do\n")
    (root / "tests" / "test_teams.py").write_text("import fake.bastion.door\ndef test_theirs(): raise AssertionError\n")
    (proofs / "test_door.py").write_text(PROOFS_OF_IT)
    return root


def run(root: Path, *arguments: str, ci: bool = False) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run pytest there in a process of its own, and read its report."""
    report = root / "report.json"
    report.unlink(missing_ok=True)
    left_out = ("PYTEST", "COV", "CI", "PYTHONDONTWRITEBYTECODE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    environ["PYTHONPYCACHEPREFIX"] = str(root.parent / "bytecode")  # so that the second run need not compile pytest
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--proof-report={report}", *arguments],
        cwd=root, capture_output=True, text=True, timeout=600, check=False,
        # Its plugin alone: those of the libraries take longer to be imported than all of this.
        env={**environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **({"CI": "true"} if ci else {})},
    )  # fmt: skip
    return done, json.loads(report.read_text()) if report.is_file() else {}


@pytest.fixture(scope="module")
def sabotaged(fake: Path) -> tuple[subprocess.CompletedProcess[str], dict[tuple[str, str], str]]:
    """The run with --sabotage, and the verdict line of each row and clause."""
    done, _ = run(fake, "--sabotage")
    lines = {}
    for line in done.stdout.splitlines():
        parts = line.split(maxsplit=2)
        if len(parts) == 3 and ("green" in parts[2] or "proven" in parts[2].lower()):
            lines[parts[0], parts[1]] = parts[2]
    return done, lines


def test_a_right_sabotage_is_proven(sabotaged: tuple[Any, dict[tuple[str, str], str]]) -> None:
    done, lines = sabotaged
    assert lines["row", "intact"] == "green", done.stdout + done.stderr
    assert lines["row", "taken-away"] == "proven: the view ran"
    assert lines["row", "two-edits"] == "proven: the view ran"
    assert lines["other-file", "changed"] == "proven: the file was changed"


@pytest.mark.parametrize(
    ("clause", "verdict"),
    [
        ("crash", "NOT PROVEN, inconclusive: RuntimeError"),
        ("ends-the-process", "NOT PROVEN, crash: the child ended"),
        ("no-op", "NOT PROVEN, stale: the edit of door.py changes no meaning"),
        ("docstring", "NOT PROVEN, stale: the edit of door.py changes no meaning"),
        ("dead-code", "NOT PROVEN, still green"),
        ("absent", "NOT PROVEN, stale: in door.py the old text occurs 0 times"),
        ("twice", "NOT PROVEN, stale: in door.py the old text occurs 4 times"),
        ("broken", "NOT PROVEN, stale: door.py does not parse"),
        ("no-file", "NOT PROVEN, stale: there is no file window.py"),
        ("twin", "NOT PROVEN, inconclusive: PermissionError"),
        ("other-protection", "NOT PROVEN, still green"),
        ("layout", "NOT PROVEN, stale: the edit of /features.toml changes no meaning"),
    ],
)
def test_a_bad_sabotage_is_not_proven(
    sabotaged: tuple[Any, dict[tuple[str, str], str]], clause: str, verdict: str
) -> None:
    assert sabotaged[1]["bad", clause].startswith(verdict)
    assert sabotaged[1]["bad", "intact"] == "green"


@pytest.mark.parametrize(
    ("row", "intact", "verdict"),
    [
        ("skipped", "NOT PROVEN, skipped", "NOT PROVEN, skipped"),
        ("no-twin", "NOT PROVEN, inconclusive: HarnessError", "NOT PROVEN, inconclusive: HarnessError"),
        ("assertion-first", "green", "NOT PROVEN, inconclusive: AssertionError"),
        ("raised-by-hand", "green", "NOT PROVEN, inconclusive: AttackSucceeded"),
        ("looks-at-nothing", "NOT PROVEN, inconclusive: HarnessError", "NOT PROVEN, inconclusive: HarnessError"),
    ],
)
def test_a_bad_proof_is_not_proven(
    sabotaged: tuple[Any, dict[tuple[str, str], str]], row: str, intact: str, verdict: str
) -> None:
    assert sabotaged[1][row, "intact"].startswith(intact)
    assert sabotaged[1][row, "gone"].startswith(verdict)


def test_a_run_with_anything_unproven_is_red_and_leaves_the_original_alone(
    fake: Path, sabotaged: tuple[subprocess.CompletedProcess[str], Any]
) -> None:
    assert sabotaged[0].returncode == 1
    assert (fake / "src/fake/bastion/door.py").read_text() == SERVICE
    assert (fake / "features.toml").read_text() == FEATURES


def test_a_run_with_everything_proven_is_green_and_collects_no_test_of_the_team(fake: Path) -> None:
    done, report = run(fake, "--sabotage", "-k", "test_that_is_right and not bad or theirs")
    assert done.returncode == 0, done.stdout
    assert "3 proven" in done.stdout
    assert "theirs" not in done.stdout
    assert report["sabotage"] is True
    assert report["whole"] is False


def test_proofs_of_the_team_are_run_sabotaged(fake: Path, tmp_path: Path) -> None:
    root = tmp_path / "fake"
    shutil.copytree(fake, root)
    (root / "tests" / "test_tickets.py").write_text(OF_THE_TEAM)
    done, report = run(root, "--sabotage", "-k", "ticket or theirs")
    said = " ".join(done.stdout.split())
    assert "tickets-need-token taken-away proven: the view ran" in said, done.stdout
    assert "tickets-need-token blind NOT PROVEN, still green" in said
    assert (done.returncode, report["summary"]["sabotages"]) == (1, 2)


def test_the_example_of_a_teams_proof_is_proven(tmp_path: Path) -> None:
    page = (place.root / "docs/bastion/features.md").read_text()
    example = page.partition("## Proofs of your own feature")[2].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "test_example.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--sabotage", f"--rootdir={place.root}", "-c", place.root / "pyproject.toml",
         tmp_path / "test_example.py"],
        cwd=place.root, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert "2 of 2 proven" in done.stdout, done.stdout + done.stderr


def test_a_whole_run_says_how_the_teams_tests_run_without_the_proofs(fake: Path) -> None:
    assert "your own tests only: uv run pytest --ignore=tests/proofs" in run(fake)[0].stdout
    done, _ = run(fake, "--ignore=tests/proofs")
    assert "1 failed" in done.stdout


def test_a_deselected_proof_is_red_in_ci(fake: Path) -> None:
    done, _ = run(fake, "--sabotage", "-k", "test_that_is_right and not bad", ci=True)
    assert done.returncode == 1
    assert "deselected" in done.stdout


def test_a_skipped_proof_is_loud_and_red_in_ci(fake: Path) -> None:
    done, _ = run(fake, "tests/proofs/test_door.py::test_that_skips", ci=True)
    assert "NOT PROVEN, skipped" in done.stdout
    assert "1 skipped" in done.stdout
    assert done.returncode == 1


def test_a_proof_that_hangs_is_ended_and_not_proven(fake: Path, tmp_path: Path) -> None:
    root = tmp_path / "fake"
    shutil.copytree(fake, root)
    (root / "tests/proofs/test_door.py").write_text(HANGS)
    program = root / "tests/proofs/sabotage.py"
    program.write_text(program.read_text().replace("SECONDS_A_PROOF = 120.0", "SECONDS_A_PROOF = 1.0"))
    done, _ = run(root, "--sabotage")
    assert "NOT PROVEN, crash: nothing came back within 1 s" in done.stdout
    assert done.returncode == 1


def test_an_unknown_report_is_refused(fake: Path) -> None:
    done, _ = run(fake, "--proof-report", "report.pdf")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "report.pdf" in done.stderr


# --- the words of a proof --------------------------------------------------------------------------------------


def test_harm_needs_something_legitimate_before_it() -> None:
    harness.begin()
    with pytest.raises(HarnessError):
        harm(["evidence"], "it ran")


def test_harm_with_evidence_is_the_success_of_the_attack() -> None:
    harness.begin()
    works(True, "it works")
    harm([], "nothing happened")
    with pytest.raises(AttackSucceeded, match="it ran"):
        harm(["evidence"], "it ran")


def test_works_without_success_is_a_plain_failure() -> None:
    harness.begin()
    with pytest.raises(AssertionError, match="the legitimate way is broken: it works") as failure:
        works("", "it works")
    assert not isinstance(failure.value, AttackSucceeded)


def test_refused_asks_for_the_status_and_for_the_reason_of_this_very_protection() -> None:
    event = {"event": "refused", "reason": "csrf-token-required"}
    answer = Response(400, "BAD REQUEST", [], b"", [{"event": "other"}, event])
    refused(answer, 400, "csrf-token-required")
    for status, reason in ((403, "csrf-token-required"), (400, "json-strict")):
        with pytest.raises(AssertionError):
            refused(answer, status, reason)
    with pytest.raises(AssertionError):
        refused(Response(400, "BAD REQUEST", [], b"", []), 400, "csrf-token-required")


@pytest.mark.parametrize(
    ("name", "before", "comment", "change"),
    [
        ("a.py", "x = 1\n", "x = 1  # one\n", "x = 2\n"),
        ("a.toml", "x = 1\n", "x = 1 # one\n", "x = 2\n"),
        ("a.json", '{"x": 1}', '{ "x": 1 }', '{"x": 2}'),
        ("a.csv", "a,b\n1,2\n", 'a,"b"\n1,2\n', "a,b\n1,3\n"),
        ("a.html", "<p>{{ x }}</p>\n", "<p>{{ x }}</p>{# one #}\n", "<p>{{ x | safe }}</p>\n"),
        ("a.css", "a { b: c }", "a { b: c } /* one */", "a { b: d }"),
        ("Dockerfile", "USER app\n", "# one\nUSER app\n", "USER root\n"),
    ],
)
def test_an_edit_must_change_what_a_file_means(
    tmp_path: Path, name: str, before: str, comment: str, change: str
) -> None:
    file = tmp_path / name
    file.write_text(before)
    with pytest.raises(Stale, match="changes no meaning"):
        edit(f"/{name}", before, comment).apply(tmp_path, "fake")
    assert file.read_text() == before
    edit(f"/{name}", before, change).apply(tmp_path, "fake")
    assert file.read_text() == change


def test_an_insertion_stands_directly_behind_its_anchor(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 2\n")
    insert("/a.py", after="x = 1\n", new="z = 3\n").apply(tmp_path, "fake")
    assert (tmp_path / "a.py").read_text() == "x = 1\nz = 3\ny = 2\n"


def test_calls_at_once_give_their_results_in_order_and_pass_on_an_error() -> None:
    assert harness.at_once([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]

    def fails() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        harness.at_once([lambda: 1, fails])


# --- the wire --------------------------------------------------------------------------------------------------


def test_a_response_is_what_the_application_gave_to_the_server() -> None:
    def application(_environ: object, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-A", "1"), ("x-a", "2"), ("Set-Cookie", "a=b; Path=/; Secure; Max-Age=0")])
        return [b"a", b"b"]

    answer = call(application, {})
    assert (answer.status, answer.body) == (200, b"ab")
    assert answer.headers_named("X-A") == ["1", "2"]
    assert answer.set_cookies == [
        SetCookie("a=b; Path=/; Secure; Max-Age=0", "a", "b", {"path": "/", "secure": True, "max-age": "0"})
    ]
    assert answer.set_cookies[0].deletes


def test_an_application_that_starts_twice_is_an_error() -> None:
    def application(_environ: object, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    with pytest.raises(AssertionError, match="twice"):
        call(application, {})
