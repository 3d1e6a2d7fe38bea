"""A fleet is told whole and truly: no repository ends the run, changes another's row, or is missing without a word.

The rows are a stranger's text on a page that somebody with more rights reads. Each attack is tried on the command as it
is, and on a copy without the one protection. Source: catalogue row cli-output-escaped (html, csv),
and what cli-hostile-repository says of neighbours; ASVS 1.2.1, 1.2.10, 15.2.2.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from flask_bastion import fleet, overview, places, workers
from flask_bastion.check import check
from flask_bastion.overview import Fleet
from flask_bastion.page import page
from flask_bastion.row import Service, Standing
from flask_bastion.scan import Question
from histories import History, record, recorded
from support import ROOT, Combination, Repository, git

TODAY = date(2026, 11, 26)
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def clones(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five services of several versions, and a repository of something else. Read it; whoever edits it copies it."""
    folder = tmp_path_factory.mktemp("hosts") / "example.com" / "clones"
    for name, version, auth in (
        ("good", "v1.2.1", "session"),
        ("old", "v1.0.1", "session"),
        ("tokens", "v1.0.3", "jwt"),
        ("waiting", "v1.0.1", "session"),
        ("drifted", "v1.2.1", "jwt"),
    ):
        history.service(folder / name, version, project_name=name, auth=auth)
    until = datetime.now(UTC).date() + timedelta(days=30)
    (folder / "waiting" / ".bastion-waivers.toml").write_text(
        '[[waivers]]\nadvisory = "BASTION-2026-0001"\nreason = "A wall display"\n'
        f'owner = "w@example.com"\nuntil = {until}\n',
        encoding="utf-8",
    )
    (folder / "waiting" / "src" / "waiting" / "exceptions.toml").write_text(
        f'[limits.session_idle_minutes]\nvalue = 45\nreason = "Wards"\nowner = "x@example.com"\nuntil = {until}\n'
        '[[image_origins]]\norigin = "https://images.example"\nreason = "r"\n'
        'owner = "y@example.com"\nuntil = 2026-01-01\n',
        encoding="utf-8",
    )
    (folder / "drifted" / "src" / "drifted" / "bastion" / "clock.py").unlink()
    (folder / "website" / ".git").mkdir(parents=True)
    return folder


@pytest.fixture
def arguments(clones: Path, history: History, advisories_folder: Path) -> tuple[str | Path, ...]:
    return ("fleet", clones, "--template", history.repository.path, "--advisories", advisories_folder, "--jobs", "2")


@pytest.fixture
def question(history: History, advisories_folder: Path) -> Question:
    return Question(history.repository.path, advisories_folder, datetime.now(UTC).date())


# --- what is told ----------------------------------------------------------------------------------------------------

STATES = {"good": "good", "old": "affected", "tokens": "affected", "waiting": "waived", "drifted": "to look at"}


def test_every_service_is_told_with_its_version_advisories_drift_waivers_and_exceptions(
    command: Callable[..., Run], arguments: tuple[str | Path, ...]
) -> None:
    result = command()(*arguments)
    assert result.returncode == 1
    lines = {line.split()[0]: line.split("  ") for line in result.stdout.splitlines() if line}
    rows = {name: [cell.strip() for cell in lines[name] if cell.strip()] for name in STATES}
    first = f"1 until {datetime.now(UTC).date() + timedelta(days=30)}"
    assert rows == {
        "good": ["good", "v1.2.1", "good", "-", "-", "-", "-"],
        "old": ["old", "v1.0.1", "affected", "BASTION-2026-0001", "-", "-", "-"],
        "tokens": ["tokens", "v1.0.3", "affected", "BASTION-2026-0002", "-", "-", "-"],
        "waiting": ["waiting", "v1.0.1", "waived", "BASTION-2026-0001", "-", first, f"{first}, 1 ended"],
        "drifted": ["drifted", "v1.2.1", "to look at", "-", "1", "-", "-"],
    }  # fmt: skip
    told = result.stdout.splitlines()
    assert told[-1] == "5 services: 2 affected, 1 waived, 1 to look at, 1 good."
    assert "BASTION-2026-0001 (high): 1 affected, 1 waived. A page can be framed." in told
    assert "Versions: v1.2.1 (newest): 2, v1.0.3: 1, v1.0.1: 2." in told
    assert "1 repository without a service of this template." in told
    order = [line.split()[0] for line in told[1:6]]
    assert order[0] == "good"
    assert set(order[-2:]) == {"old", "tokens"}, "the worst stand last, next to the prompt"
    assert "\x1b" not in result.stdout


def test_programs_read_the_same_as_people(
    command: Callable[..., Run], arguments: tuple[str | Path, ...], clones: Path
) -> None:
    told = json.loads(command()(*arguments, "--json").stdout)
    assert {Path(one["path"]).name: one["state"] for one in told["services"]} == STATES
    assert told["states"] == {"not read": 0, "affected": 2, "waived": 1, "to look at": 1, "good": 1}
    assert told["versions"] == {"v1.2.1": 2, "v1.0.3": 1, "v1.0.1": 2}
    assert told["newest"] == "v1.2.1"
    assert told["others"] == [str(clones / "website")]
    framed = next(one for one in told["advisories"] if one["id"] == "BASTION-2026-0001")
    assert framed["affected"] == [str(clones / "old")]
    assert framed["waived"] == [str(clones / "waiting")]
    lines = list(csv.DictReader(io.StringIO(command()(*arguments, "--csv").stdout)))
    assert {line["service"]: line["state"] for line in lines} == STATES
    assert {line["service"]: line["BASTION-2026-0001"] for line in lines}["old"] == "AFFECTED"
    assert {line["service"]: line["drift"] for line in lines}["drifted"] == "1"


def test_a_row_is_what_check_says_of_the_service(clones: Path, history: History, question: Question) -> None:
    known = question.known(history.template)
    for row in fleet.scan(sorted(clones.iterdir()), question, 2):
        report = check(Path(row.path), known, history.template, today=question.today)
        assert row == Service.of(row.path, report, question.today)
        assert Service.from_json(row.as_json()) == row


def test_a_fleet_in_which_all_is_well_exits_0(
    command: Callable[..., Run], clones: Path, advisories_folder: Path, history: History
) -> None:
    result = command()(
        "fleet", clones / "good", "--template", history.repository.path, "--advisories", advisories_folder
    )
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "1 service: 1 good.")


def test_services_that_copier_rendered_are_well(
    command: Callable[..., Run], rendered: Callable[[Combination], Path], template_repository: Repository
) -> None:
    services = [rendered(Combination.parse(name)) for name in ("session-sqlite-env", "jwt-postgresql-files")]
    result = command()("fleet", *services, "--template", template_repository.path)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "2 services: 2 good."), result.stdout


def test_what_was_not_compared_is_not_called_well_without_a_word(
    command: Callable[..., Run], clones: Path, arguments: tuple[str | Path, ...], tmp_path: Path
) -> None:
    result = command()("fleet", clones / "good", "--json")
    assert json.loads(result.stdout)["compared"] is False
    told = command()("fleet", clones / "good", "--html", tmp_path / "page.html").stdout
    assert "Without --template no file was compared." in told
    assert "No advisory was looked at" in told
    assert "No advisory was looked at" in (tmp_path / "page.html").read_text(encoding="utf-8")
    for name, answers in (("unknown", {"_commit": "v9.0.0"}), ("none", {"_commit": "x"})):
        shutil.copytree(clones / "good", tmp_path / "odd" / name)
        record(tmp_path / "odd" / name, recorded(clones / "good") | answers)
    told = command()("fleet", tmp_path / "odd", *arguments[2:], "--html", tmp_path / "page.html").stdout
    assert "No advisory was looked at" not in told
    assert [line.split()[-3] for line in told.splitlines()[1:3]] == ["?", "?"], told
    drift = re.findall(r'data-label="drift"[^>]*><span[^>]*>([^<]*)', (tmp_path / "page.html").read_text("utf-8"))
    assert drift == ["?", "?"]


def test_what_no_cell_tells_of_stands_below_the_table(
    command: Callable[..., Run], clones: Path, arguments: tuple[str | Path, ...], tmp_path: Path
) -> None:
    for name, answers in (
        ("elsewhere", {"_src_path": "https://git.example/x.git"}),
        ("untagged", {"_commit": "0123abc"}),
    ):
        shutil.copytree(clones / "good", tmp_path / "odd" / name)
        record(tmp_path / "odd" / name, recorded(clones / "good") | answers)
    (tmp_path / "list").write_text("odd\ngone\n", encoding="utf-8")
    told = command()("fleet", tmp_path / "list", *arguments[2:]).stdout
    assert "odd/elsewhere (good): .copier-answers.yml: _src_path is https://git.example/x.git, which is not one" in told
    assert "odd/untagged (good): .copier-answers.yml: _commit is no version of the template but a" in told
    assert "gone: There is no such folder" in told
    assert "drifted: " not in command()(*arguments).stdout, "a cell tells of it"


def test_a_clone_of_the_template_that_services_are_ahead_of_is_told(
    command: Callable[..., Run], clones: Path, arguments: tuple[str | Path, ...], history: History, tmp_path: Path
) -> None:
    """It lacks the newest advisories, so that the services without their fixes look good."""
    git(tmp_path, "clone", "--quiet", "--bare", str(history.repository.path), "old")
    git(tmp_path / "old", "tag", "--delete", *(f"v1.{minor}" for minor in ("2.1", "2.0", "1.2", "1.1", "1.0")))
    page_file = tmp_path / "page.html"
    says = "The clone of the template has no version after v1.0.4, and services have v1.2.1"
    assert says in command()("fleet", clones, "--template", tmp_path / "old", "--html", page_file).stdout
    assert says in page_file.read_text(encoding="utf-8")
    assert "The clone of the template" not in command()(*arguments, "--html", page_file).stdout
    assert "The clone of the template" not in page_file.read_text(encoding="utf-8")
    git(tmp_path / "old", "tag", "--delete", *(f"v1.0.{patch}" for patch in range(5)))
    told = command()("fleet", clones, "--template", tmp_path / "old").stdout
    assert "The clone of the template has no version at all, and services have v1.2.1" in told


def test_the_most_severe_of_several_advisories_is_the_one_that_is_named(history: History) -> None:
    first, second = sorted(history.advisories.values(), key=lambda advisory: advisory.id)[:2]
    one, other = replace(first, severity="MODERATE"), replace(second, severity="CRITICAL")
    hits = tuple(Standing(name, "AFFECTED", "", "", "") for name in (one.id, other.id))
    told = Fleet(datetime.now(UTC), (one, other), (Service("/x/a", version="v1.0.0", advisories=hits),), (), False, "")
    assert f"{other.id} +1" in "\n".join(overview.as_text(told))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--template", "nowhere"), "Name the folder of a clone of the template."),
        (("--template", "."), "Name the folder of a clone of the template."),
        (("--html", "nowhere/page.html"), "can't be written"),
        (("--resume", "."), ". can't be read (Is a directory)"),
        (("--resume", "services"), "services is no file of an earlier --resume"),
        (("empty",), "empty names no service. Write a path in each line."),
        (("--resume", "nowhere/state"), "can't be written"),
    ],
)
def test_what_was_asked_wrongly_exits_2_and_says_so(
    command: Callable[..., Run], clones: Path, tmp_path: Path, wrong: tuple[str, str], says: str
) -> None:
    (tmp_path / "empty").write_text("# none was found\n", encoding="utf-8")
    (tmp_path / "services").write_text(f"{clones}/good\n", encoding="utf-8")
    result = command()("fleet", clones / "good", *wrong, cwd=tmp_path)
    assert result.returncode == 2
    assert (tmp_path / "services").read_text(encoding="utf-8") == f"{clones}/good\n", "it was not written over"
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_processes_that_do_not_start_end_the_run(command: Callable[..., Run], clones: Path) -> None:
    broken = command(("scan.py", "    asked = json.loads(", "    raise SystemExit(3)\n    asked = json.loads("))
    result = broken("fleet", clones)
    assert result.returncode == 2
    assert "does not start to look at repositories" in result.stderr


# --- which repositories ----------------------------------------------------------------------------------------------


def test_services_are_found_in_folders_of_clones_and_in_lists(clones: Path, tmp_path: Path) -> None:
    names = sorted(STATES)
    found = places.find([clones])
    assert [path.name for path in found.services] == names
    assert [path.name for path in found.others] == ["website"]
    assert places.find([clones.parent.parent]).services == found.services, "further down, too"
    (tmp_path / "beside").symlink_to(clones)
    file = tmp_path / "list"
    file.write_text(f"# ours\n\n{clones}/old\n  beside/good  \n{clones}/old\n{clones}/gone\n", encoding="utf-8")
    assert [path.name for path in places.find([file]).services] == ["gone", "old", "good"]
    file.write_text("beside/good\n", encoding="utf-8-sig", newline="\r\n")  # as editors on Windows write it
    assert [path.name for path in places.find([file]).services] == ["good"]


def test_a_service_without_its_answers_file_is_not_left_out(clones: Path, tmp_path: Path) -> None:
    shutil.copytree(clones / "old", tmp_path / "clones" / "old")
    (tmp_path / "clones" / "old" / ".copier-answers.yml").unlink()
    assert [path.name for path in places.find([tmp_path / "clones"]).services] == ["old"]
    shutil.rmtree(tmp_path / "clones" / "old" / "src" / "old" / "bastion")
    (tmp_path / "clones" / "old" / "src" / "old" / "bastion").symlink_to("/etc")
    assert [path.name for path in places.find([tmp_path / "clones"]).services] == ["old"]


@pytest.mark.parametrize("packed", [True, False])
def test_a_clone_of_which_nothing_was_checked_out_is_not_left_out(
    clones: Path, tmp_path: Path, question: Question, packed: bool
) -> None:
    """The disk was full: what git would have written may be any service. A repository without a commit is none."""
    original = tmp_path / "original"
    shutil.copytree(clones / "old", original)
    git(original, "init", "--quiet", "--initial-branch", "main")
    git(original, "add", "--all")
    git(original, "commit", "--quiet", "--message", "x")
    git(tmp_path, "clone", "--quiet", "--no-checkout", str(original), "clones/old")
    if not packed:
        (tmp_path / "clones/old/.git/packed-refs").unlink(missing_ok=True)
    git(tmp_path, "init", "--quiet", "clones/nothing")
    found = places.find([tmp_path / "clones"])
    assert [path.name for path in found.services] == ["old"]
    assert [path.name for path in found.others] == ["nothing"]
    (row,) = fleet.scan(found.services, question, 1)
    assert row.state == "not read"


def test_bare_clones_and_empty_folders_are_listed_as_that(
    clones: Path, tmp_path: Path, command: Callable[..., Run]
) -> None:
    original = tmp_path / "original"
    shutil.copytree(clones / "good", original)
    git(original, "init", "--quiet", "--initial-branch", "main")
    (original / "kept").mkdir()
    git(original, "add", "--all")
    git(original, "commit", "--quiet", "--message", "x")
    git(tmp_path, "clone", "--quiet", "--bare", str(original), "clones/bare.git")
    git(tmp_path, "clone", "--quiet", str(original), "clones/good")
    git(tmp_path, "init", "--quiet", "clones/website")
    for name in ("failed", "good/empty", "website/empty"):  # what is empty in a repository is that repository's
        (tmp_path / "clones" / name).mkdir()
    arguments = ("fleet", tmp_path / "clones", "--html", tmp_path / "page.html")
    result = command()(*arguments, "--json")
    assert result.returncode == 1, "the bare clone may be a service"
    about = json.loads(result.stdout)
    bare = next(one for one in about["services"] if one["path"].endswith("bare.git"))
    assert bare["state"] == "not read"
    assert bare["fault"].startswith("This is a bare clone: no file is checked out.")
    assert len(about["services"]) == 2
    assert [Path(path).name for path in about["others"]] == ["website"]
    assert about["empty"] == [str(tmp_path / "clones" / "failed")]
    text = command()(*arguments).stdout
    assert "bare.git: This is a bare clone: no file is checked out." in text
    assert "1 empty folder, as of a clone that failed: failed." in text
    assert "1 empty folder, as of a clone that failed" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_no_link_leads_the_search_away_and_none_is_endless(
    clones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clones" / "a").mkdir(parents=True)
    (tmp_path / "clones" / "link").symlink_to(clones)
    (tmp_path / "clones" / "a" / "round").symlink_to("..")
    assert places.find([tmp_path / "clones"]).services == (tmp_path / "clones",)
    for number in range(30):
        (tmp_path / "clones" / "many" / str(number)).mkdir(parents=True)
    shutil.copytree(clones / "old", tmp_path / "clones" / "old")
    monkeypatch.setattr(places, "MOST_FOLDERS", 20)
    assert [path.name for path in places.find([tmp_path / "clones"]).services] == ["many", "old"], "it is looked at"


# --- one does not change another ------------------------------------------------------------------------------------


def hostile(folder: Path, healthy: Path) -> list[Path]:
    """Repositories that stand in the way of whoever reads them."""
    made = []

    def another(name: str) -> Path:
        shutil.copytree(healthy, folder / name)
        made.append(folder / name)
        return folder / name

    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    (another("bomb") / ".copier-answers.yml").write_text(bomb, encoding="utf-8")
    (another("deep") / "src" / "old" / "app.py").write_text("x = " + "(" * 5000 + ")" * 5000, encoding="utf-8")
    (another("chain") / "src" / "old" / "app.py").write_text("x = a" + ".a" * 100_000, encoding="utf-8")
    zero = another("zero") / "uv.lock"
    zero.unlink()
    zero.symlink_to("/dev/zero")
    os.mkfifo(another("pipe") / "src" / "old" / "bastion" / "__main__.py")
    for number in range(500):
        (another("many") if number == 0 else made[-1]).joinpath(f"{number}.rej").touch()
    (another("bytes") / ".copier-answers.yml").write_bytes(b"\xff\xfe\0\0")
    shutil.rmtree(another("empty"))
    made[-1].mkdir()
    return made


def test_hostile_repositories_have_rows_and_their_neighbours_keep_theirs(
    clones: Path, tmp_path: Path, question: Question
) -> None:
    healthy = [clones / name for name in STATES]
    alone = fleet.scan(healthy, question, 1)
    made = hostile(tmp_path, clones / "old")
    mixed = [path for pair in zip(made, [*healthy, *healthy], strict=False) for path in dict.fromkeys(pair)]
    together = {row.path: row for row in fleet.scan(list(dict.fromkeys([*mixed, *healthy])), question, 2)}
    assert [together[str(path)] for path in healthy] == alone
    states = {path.name: together[str(path)].state for path in made}
    assert states.pop("empty") == "not read"
    assert set(states.values()) <= {"affected", "not read"}
    many = together[str(tmp_path / "many")]
    assert many.counts["leftover-reject"] == 500
    assert len(many.findings) == 25
    assert many.untold == 500 + 1 - 25
    assert len(json.dumps(many.as_json())) < 20_000


CRASH = 'if path.name == "old":\n            __import__("os").kill(__import__("os").getpid(), 9)\n        '
HANG = 'if path.name == "old":\n            __import__("time").sleep(600)\n        '
FULL = 'if path.name == "old":\n            bytearray(LARGEST_MEMORY)\n        '
LOOK = "repository = Repository.open(path)"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (CRASH, "Looking at it ended the process (status -9)."),
        (HANG, "Looking at it took longer than 8 seconds."),
        (FULL, "Looking at it failed (MemoryError)."),
    ],
)
def test_a_process_that_a_repository_ends_costs_its_row_alone(
    command: Callable[..., Run], arguments: tuple[str | Path, ...], fault: str, says: str
) -> None:
    edited = command(
        ("scan.py", LOOK, f"{fault}{LOOK}"), ("workers.py", "SECONDS: Final = 60.0", "SECONDS: Final = 8.0")
    )
    result = edited(*arguments, "--json")
    assert result.returncode == 1
    told = {Path(one["path"]).name: one for one in json.loads(result.stdout)["services"]}
    assert {name: one["state"] for name, one in told.items()} == {**STATES, "old": "not read"}
    assert told["old"]["fault"] == says


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_services_that_were_not_read_are_in_no_other_state(
    command: Callable[..., Run], arguments: tuple[str | Path, ...], seconds: float
) -> None:
    """Where the template was rendered before, a hundredth of a second may be enough for the next service."""
    slow = command(("tree.py", "SECONDS: Final = 20.0", f"SECONDS: Final = {seconds}"))
    result = slow(*arguments, "--json")
    assert result.returncode == 1
    rows = {Path(one["path"]).name: one for one in json.loads(result.stdout)["services"]}
    states = {name: one["state"] for name, one in rows.items()}
    unread = {name for name, state in states.items() if state == "not read"}
    assert {name: state for name, state in states.items() if name not in unread}.items() <= STATES.items()
    assert unread == {*STATES} if seconds == 0 else unread
    for name in unread:
        assert "It was not read: Reading this repository took too long" in rows[name]["fault"]
        assert (rows[name]["advisories"], rows[name]["findings"], rows[name]["version"]) == ([], [], "")


def test_whoever_ends_the_run_leaves_no_process_behind(
    command: Callable[..., Run], arguments: tuple[str | Path, ...], tmp_path: Path
) -> None:
    """Ctrl-C is for the command: what it started, it ends. One of the processes presses it, and once."""
    pids, once = str(tmp_path / "pids"), str(tmp_path / "once")
    note = f"open({pids!r}, 'a').write(f'{{__import__(\"os\").getpid()}}\\n')\n        "
    interrupt = (
        'with __import__("contextlib").suppress(FileExistsError):\n'
        f'            open({once!r}, "x").close()\n'
        '            __import__("os").kill(__import__("os").getppid(), 2)\n'
        '        __import__("time").sleep(600)\n        '
    )
    edited = command(("scan.py", LOOK, f"{note}{interrupt}{LOOK}"))
    result = edited(*arguments, "--resume", tmp_path / "state")
    assert result.returncode == 130
    assert "Stopped. The same command goes on from here." in result.stderr
    assert result.stdout == ""
    for pid in (tmp_path / "pids").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_process_that_took_much_memory_is_not_asked_again(
    command: Callable[..., Run], arguments: tuple[str | Path, ...], tmp_path: Path
) -> None:
    """Each looks at one repository here, since it has more than nothing; and all are looked at."""
    seen = tmp_path / "seen"
    note = f"open({str(seen)!r}, 'a').write(f'{{__import__(\"os\").getpid()}}\\n')\n        "
    edited = command(
        ("scan.py", LOOK, f"{note}{LOOK}"),
        ("scan.py", "MEMORY_TO_GO_ON: Final = 512 * 1024", "MEMORY_TO_GO_ON: Final = 0"),
    )
    result = edited(*arguments, "--json")
    assert {Path(one["path"]).name: one["state"] for one in json.loads(result.stdout)["services"]} == STATES
    assert len(set(seen.read_text().split())) == len(STATES)


def test_nothing_of_the_folder_that_it_is_run_in_is_imported(
    command: Callable[..., Run], arguments: tuple[str | Path, ...], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    here = tmp_path / "here"
    (here / "flask_bastion").mkdir(parents=True)
    for name in ("json.py", "yaml.py", "hashlib.py", "sitecustomize.py", "flask_bastion/__init__.py"):
        (here / name).write_text(f"open({str(canary)!r}, 'w')\n", encoding="utf-8")
    assert command()(*arguments, cwd=here).stdout.splitlines()[-1].startswith("5 services: 2 affected")
    assert not canary.exists()
    command(("workers.py", '"-I", "-c"', '"-c"'), ("workers.py", '            cwd="/",\n', ""))(*arguments, cwd=here)
    assert canary.exists()


# --- go on where it ended --------------------------------------------------------------------------------------------


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the services that were looked at anew."""
    names: list[str] = []
    real = workers.answers

    def spied(*given: Any, **more: Any) -> Iterator[tuple[str, Any]]:
        for path, answer in real(*given, **more):
            if isinstance(answer, str) or answer["service"] is not None:
                names.append(Path(path).name)
            yield path, answer

    monkeypatch.setattr(workers, "answers", spied)
    return names


def again(looked: list[str], *given: Any) -> tuple[list[str], list[Service]]:
    looked.clear()
    rows = fleet.scan(*given)
    return sorted(looked), rows


def test_only_what_has_changed_is_looked_at_again(
    clones: Path, tmp_path: Path, question: Question, looked: list[str], advisories_folder: Path
) -> None:
    shutil.copytree(clones, tmp_path / "clones")
    paths = [tmp_path / "clones" / name for name in STATES]
    state = tmp_path / "state"
    first = again(looked, paths, question, 2, state)
    assert first[0] == sorted(STATES)
    assert again(looked, paths, question, 2, state) == ([], first[1])
    # A change that keeps the size and sets the time back is one all the same.
    file = tmp_path / "clones" / "good" / "src" / "good" / "bastion" / "edge" / "headers.py"
    times = file.stat()
    file.write_bytes(file.read_bytes().replace(b'("X-Frame-Options", "DENY")', b'("X-Frame-Option_", "DENY")'))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    names, rows = again(looked, paths, question, 2, state)
    assert names == ["good"]
    assert {Path(row.path).name: row.state for row in rows}["good"] == "affected"
    # Another day, and another advisory, are another question.
    tomorrow = Question(question.template, question.advisories, question.today + timedelta(days=1))
    assert again(looked, paths, tomorrow, 2, state)[0] == sorted(STATES)
    shutil.copytree(advisories_folder, tmp_path / "advisories")
    (tmp_path / "advisories" / "BASTION-2026-0004.json").unlink()
    fewer = Question(question.template, tmp_path / "advisories", tomorrow.today)
    assert again(looked, paths, fewer, 2, state)[0] == sorted(STATES)


def test_a_run_that_was_ended_goes_on(
    clones: Path, tmp_path: Path, question: Question, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, state = [clones / name for name in STATES], tmp_path / "state"
    spied = workers.answers

    def ended(*given: Any, **more: Any) -> Iterator[tuple[str, Any]]:
        for number, one in enumerate(spied(*given, **more)):
            yield one
            if number == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workers, "answers", ended)
        with pytest.raises(KeyboardInterrupt):
            fleet.scan(paths, question, 1, state)
    done = sorted(looked)
    with state.open("a", encoding="utf-8") as file:
        file.write('{"key": "half a li')
    names, rows = again(looked, paths, question, 1, state)
    assert sorted([*names, *done]) == sorted(STATES)
    assert len(done) == 2
    assert {Path(row.path).name: row.state for row in rows} == STATES
    assert again(looked, paths, question, 1, state) == ([], rows)
    assert state.stat().st_mode & 0o077 == 0, "it says who is vulnerable"


def test_what_could_not_be_looked_at_is_tried_again(tmp_path: Path, question: Question, looked: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        assert again(looked, [tmp_path / "empty"], question, 1, tmp_path / "state")[0] == ["empty"]


# --- what is shown is text -------------------------------------------------------------------------------------------

MARKUP = (
    "<script>alert(1)</script>",
    '"/><img src=x onerror=alert(1)>',
    "</style><svg onload=alert(1)>",
    "'><b>bold</b>",
)
ACTING = ("\x1b]0;pwned\x07", "a\u202egnp.exe", "::error::x", "=cmd()", "a\r\nb", "\udcff")


@pytest.fixture
def loud(history: History, tmp_path: Path) -> Path:
    """A service whose folder, files, waiver, exception and answers are all attacks."""
    service = history.service(tmp_path / "clones" / '=1+1"><i>x', "v1.0.1")
    for text in (*MARKUP, *ACTING):
        (service / f"{text.replace('/', '∕')}.rej").touch()
    until = datetime.now(UTC).date() + timedelta(days=5)
    quoted = json.dumps("".join((*MARKUP, *ACTING[:-1])))
    (service / ".bastion-waivers.toml").write_text(
        f'[[waivers]]\nadvisory = "BASTION-2026-0001"\nowner = {quoted}\nuntil = {until}\nreason = {quoted}\n', "utf-8"
    )
    (service / "src" / "my_service" / "exceptions.toml").write_text(
        f"[limits.{quoted}]\nvalue = {quoted}\nowner = {quoted}\nuntil = {until}\nreason = {quoted}\n", "utf-8"
    )
    answers = recorded(service)
    record(service, {**answers, "_src_path": f"https://x:canary-secret@example.com/{MARKUP[1]}"})
    history.service(tmp_path / "clones" / "Söhne – Zahlungen 😀", "v1.2.1")
    return tmp_path / "clones"


class Elements(HTMLParser):
    """How often each element stands in a page, and every attribute that loads or runs something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()
        self.loads: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counted[tag] += 1
        self.loads += [
            (name, value or "")
            for name, value in attrs
            if name.startswith("on") or name in ("src", "style", "srcset", "data", "action")
            or (name == "href" and not (value or "").startswith("#"))
        ]  # fmt: skip

    def handle_data(self, data: str) -> None:
        self.text += data


ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "footer",
        "h1",
        "h2",
        "h3",
        "p",
        "svg",
        "rect",
    ),
    *("dl", "div", "dt", "dd", "span", "article", "code", "strong", "details", "summary", "ul", "li", "a", "table"),
    *("thead", "tbody", "tr", "th", "td", "fieldset", "legend", "label", "input"),
}


def test_a_page_holds_no_element_of_a_repository(
    command: Callable[..., Run], loud: Path, history: History, advisories_folder: Path, tmp_path: Path
) -> None:
    def shown(one: Run) -> tuple[str, Elements]:
        more = ("--advisories", advisories_folder, "--html", tmp_path / "page.html")
        assert one("fleet", loud, "--template", history.repository.path, *more).returncode == 1
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        return text, Elements(text)

    text, elements = shown(command())
    assert set(elements.counted) <= ALLOWED
    assert elements.loads == []
    for attack in MARKUP:
        assert attack.replace("/", "∕") in elements.text, "it is there, as text"
    assert "Söhne – Zahlungen 😀" in elements.text, "and what does nothing is there as it is"
    assert not [one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs") and one != "\n"]
    assert "a\\u202egnp.exe" in elements.text
    assert "canary-secret" not in text
    assert (tmp_path / "page.html").stat().st_mode & 0o077 == 0, "it says who is vulnerable"
    (style,) = re.findall(r"<style>(.*)</style>", text, re.DOTALL)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    )
    _, without = shown(command(("page.py", "autoescape=True", "autoescape=False")))
    assert {"i", "b"} <= set(without.counted) - ALLOWED
    assert without.counted["script"] or without.counted["img"]


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ((Service("/x/a", version="v1.0.0"),), "The service has every known fix"),
        ((Service("/x/a"), Service("/x/b", counts={"drift-changed": 1})), "All 2 services have every known fix"),
        ((Service("/x/a"), Service("/x/b", counts={"fix-unverified": 1})), "1 of 2 services may lack a fix"),
        ((Service("/x/a"), Service("/x/b", fault="gone")), "1 of 2 services could not be looked at"),
    ],
)
def test_a_page_never_says_more_than_was_seen(rows: tuple[Service, ...], verdict: str) -> None:
    text = page(Fleet(datetime.now(UTC), (), rows, (), True, "v1.0.0"))
    assert " ".join(re.findall(r'<p class="verdict">([^<]*)', text)[0].split()) == verdict


def test_no_cell_is_a_formula(command: Callable[..., Run], loud: Path, tmp_path: Path) -> None:
    def cells(one: Run) -> list[str]:
        listed = tmp_path / "clones" / '=1+1"><i>x'
        result = one("fleet", listed, loud / "Söhne – Zahlungen 😀", "--csv")
        lines = list(csv.reader(io.StringIO(result.stdout)))
        assert len({len(line) for line in lines}) == 1, "one cell remains one"
        return [cell for line in lines for cell in line]

    shown = cells(command())
    assert [cell for cell in shown if cell.lstrip()[:1] in tuple("=+-@")] == []
    assert any("Söhne – Zahlungen 😀" in cell for cell in shown)
    # A path begins with a slash, so what a repository says first in a cell is tried where it is written.
    service = Service("=1+1", name="=cmd()", version="v1.0.0", fault="@SUM(A1)")
    told = Fleet(datetime.now(UTC), (), (service,), (), False, "")
    assert set(next(csv.reader([overview.as_csv(told).splitlines()[1]]))) >= {"'=1+1", "'=cmd()", "'@SUM(A1)"}
    edited = command(
        ("overview.py", "escape.cell(cell)", "cell"),
        ("overview.py", "                one.path,\n", "                '=1',\n"),
    )
    assert "=1" in cells(edited)


def test_no_row_acts_on_a_terminal(command: Callable[..., Run], loud: Path, advisories_folder: Path) -> None:
    (loud / "\x1b]0;pwned\x07\n::error::x").mkdir()
    shutil.copytree(loud / "Söhne – Zahlungen 😀", loud / "\x1b]0;pwned\x07\n::error::x", dirs_exist_ok=True)
    result = command()("fleet", loud, "--advisories", advisories_folder)
    assert "Söhne – Zahlungen 😀" in result.stdout
    acting = [one for one in result.stdout if unicodedata.category(one) in ("Cc", "Cf") and one != "\n"]
    assert acting == []
    assert not [line for line in result.stdout.splitlines() if line.strip().startswith("::")]
    edited = command(("overview.py", "rows = [[escape.terminal(cell) for", "rows = [[cell for"))
    assert "\x1b]0;pwned\x07\n::error::x" in edited("fleet", loud).stdout


def test_columns_stand_in_line_whatever_letters_a_name_has() -> None:
    rows = tuple(Service(f"/x/{name}", version="v1.0.0") for name in ("plain", "名前", "e\u0301te\u0301", "a" * 90))
    fleet_ = Fleet(datetime.now(UTC), (), rows, (), True, "v1.0.0")
    lines = list(overview.as_text(fleet_, width=80))[:5]
    ends = {overview._width(line.partition("v")[0]) for line in lines}
    assert len(ends) == 1
    assert all(overview._width(line) <= 80 for line in lines)
    assert lines[1].startswith("…a")


# --- in a terminal ---------------------------------------------------------------------------------------------------


def in_a_terminal(keys: list[tuple[str, bytes]], *arguments: str | Path, cwd: Path) -> tuple[int, str]:
    """Run the command in a terminal, and press each of the keys once its text is shown."""
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from flask_bastion.cli import main; sys.exit(main())"
    parent, child = pty.openpty()
    command = [sys.executable, "-c", program, str(ROOT / "hooks"), *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONSAFEPATH": "1", "PROMPT_TOOLKIT_NO_CPR": "1"}
    started = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, cwd=cwd, env=environment)
    os.close(child)
    shown, ends = "", time.monotonic() + 60
    while time.monotonic() < ends and select.select([parent], [], [], 60)[0]:
        try:
            shown += os.read(parent, 65536).decode(errors="replace")
        except OSError:
            break  # it has ended
        if keys and keys[0][0] in shown:
            os.write(parent, keys.pop(0)[1])
    os.close(parent)
    return started.wait(60), shown


def test_a_person_who_named_nothing_chooses_with_arrow_keys(clones: Path) -> None:
    two_off = b" \x1b[B \r"  # space, arrow down, space, enter: all are chosen at first
    status, shown = in_a_terminal([("waiting", two_off)], "fleet", cwd=clones)
    table = re.sub(r"\x1b\[[0-9;]*m", "", shown.partition("advisories")[2])  # the colours
    assert status == 1
    assert "3 services:" in table
    assert {line.split()[0] for line in table.splitlines() if line.strip()} & set(STATES) == {
        "old",
        "tokens",
        "waiting",
    }


def test_a_person_who_chooses_nothing_or_leaves_is_told_so(clones: Path) -> None:
    assert in_a_terminal([("waiting", b"\x03")], "fleet", cwd=clones)[0] == 2
    none = b"\x01\r"  # ctrl-a, enter
    status, shown = in_a_terminal([("waiting", none)], "fleet", cwd=clones)
    assert status == 2
    assert "No service was chosen." in shown


def test_a_terminal_shows_how_far_it_is_and_what_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_EVERY", -1)
    terminal = io.StringIO()
    with fleet._Progress(terminal, 4) as progress:
        for name in "abc":
            progress.step(Service(f"/x/{name}"))
    shown = terminal.getvalue().split("\r\x1b[K")
    assert [text.split(", ")[0].split(" ", 1)[-1] for text in shown[1:-1]] == ["1 of 4", "2 of 4", "3 of 4"]
    assert shown[-1] == "", "nothing of it remains"
    bad = Fleet(datetime.now(UTC), (), (Service("/x/a", fault="gone"), Service("/x/b", version="v1.0.0")), (), True, "")
    lines = list(overview.as_text(bad, color=True))
    assert [line.startswith("\x1b[31m") for line in lines[:3]] == [False, False, True]
