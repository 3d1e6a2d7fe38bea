"""An application that is years old comes under the template: nothing of it is touched, and nothing is done by halves.

Each attack is tried on the command as it is, and on a copy without the one protection, where it must succeed. Source:
catalogue row cli-hostile-repository, and cli-output-escaped; ASVS 5.3.2, 15.2.2, 16.4.1.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import legacy
from flask_bastion import adopt, cli, version
from flask_bastion.adoption import origin, placement, survey, worktree
from flask_bastion.template import Template, TemplateError
from histories import HEADER, HEADERS, History, recorded
from services import Service
from signed import ADDRESS, Publisher, Server
from support import Combination, copier, done, git, ignores_nothing, run, uv

Run = Callable[..., subprocess.CompletedProcess[str]]
Asked = Callable[..., tuple[str, ...]]
BASTION = "src/invoices/bastion"
ONE_FILE = {
    "app.py": (
        "from flask import Flask\n\napp = Flask(__name__)\n\n\n"
        '@app.route("/hello/<name>")\ndef hello(name):\n    return f"Hello {name}"\n'
    ),
    "requirements.txt": "Flask==1.1.2\nFlask-JWT-Extended==3.25\npsycopg2==2.8.6\n",
}


def state(folder: Path) -> dict[str, str]:
    """Every file and folder, with what it holds."""
    return {
        path.relative_to(folder).as_posix(): (
            os.readlink(path)
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "folder"
        )
        for path in folder.rglob("*")
        if ".git" not in path.relative_to(folder).parts
    }


@pytest.fixture
def application(tmp_path: Path) -> Path:
    return legacy.moved(tmp_path / "billing")


@pytest.fixture
def asked(history: History) -> Callable[..., tuple[str, ...]]:
    def arguments(folder: Path, *more: str) -> tuple[str, ...]:
        return ("adopt", str(folder), "--template", str(history.repository.path), *more)

    return arguments


@pytest.fixture
def ask(asked: Asked, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, which spares a second."""

    def result(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
        status = cli.main(asked(folder, *more))
        return subprocess.CompletedProcess(folder, status, *capsys.readouterr())

    return result


# --- what is told ----------------------------------------------------------------------------------------------------


def test_an_application_is_told_what_collides_and_what_to_do_and_nothing_is_written(
    application: Path, ask: Run
) -> None:
    before = state(application)
    result = ask(application, "--format", "json")
    assert result.returncode == 0
    assert state(application) == before
    found = json.loads(result.stdout)
    assert found["version"] == "v1.2.1"
    assert found["hindrances"] == []
    assert found["files"]["same"] == []
    assert found["files"]["yours"] == ["src/invoices/__init__.py"]
    assert [one["file"] for one in found["files"]["differ"]] == [".gitignore", "README.md", "pyproject.toml"]
    assert {"SECURITY.md", "src/invoices/app.py", f"{BASTION}/request/access.py"} <= set(found["files"]["new"])
    assert [name for name in found["files"]["new"] if "notes" in name] == []
    assert {
        name: answer["value"] for name, answer in found["answers"].items() if answer["why"] != "the template's own"
    } == {
        "project_name": "invoices",
        "auth": "session",
        "database": "sqlite",
    }
    verdicts = {one["name"]: one["verdict"] for one in found["libraries"]}
    assert verdicts == {
        "flask": "brought",
        "flask-login": "brought",
        "flask-sqlalchemy": "replaced",
        "flask-migrate": "replaced",
        "flask-wtf": "brought",
        "flask-talisman": "replaced",
        "python-dateutil": "stays",
        "itsdangerous": "brought",
        "pytest": "brought",
        "freezegun": "stays",
    }
    assert [(one["path"], one["view"], one["file"], one["line"], one["taken"]) for one in found["routes"]] == [
        ("/login", "login", "src/invoices/auth.py", 10, True),
        ("/logout", "logout", "src/invoices/auth.py", 21, True),
        ("/", "index", "src/invoices/views.py", 12, False),
        ("/invoices", "add", "src/invoices/views.py", 18, False),
        ("/about", "about", "src/invoices/views.py", 25, False),
    ]
    assert found["secrets"] == [{"file": "config.py", "line": 5, "name": "SECRET_KEY"}]
    steps = " ".join(found["steps"])
    for part in ("--write", "bastion-adopt/pyproject.toml", "flask-talisman", "2 have no guard",
                 "migrations/versions/*.py", "Exchange each secret", "git rm tests/__init__.py"):  # fmt: skip
        assert part in steps


def test_whoever_names_a_clone_on_his_machine_alone_is_told_to_name_its_address(application: Path, ask: Run) -> None:
    """The service would be called good by `check`, and no update would ever come."""
    told = json.loads(ask(application, "--format", "json").stdout)
    assert "a folder that exists only on this machine. Name the template's address: --source" in told["steps"][0]
    named = json.loads(ask(application, "--format", "json", "--source", "https://git.example/platform/t.git").stdout)
    assert "machine" not in " ".join(named["steps"])
    assert ask(application, "--write").returncode == 0
    assert "until then no update is taken" in (application / "bastion-adopt/STEPS.txt").read_text(encoding="utf-8")


def test_an_application_of_one_file_is_told_what_its_pins_and_answers_mean(tmp_path: Path, ask: Run) -> None:
    folder = legacy.committed(tmp_path / "hello-there", ONE_FILE)
    found = json.loads(ask(folder, "--format", "json").stdout)
    chosen = {name: answer["value"] for name, answer in found["answers"].items()}
    assert (chosen["project_name"], chosen["auth"], chosen["database"]) == ("hello-there", "jwt", "postgresql")
    assert {one["name"]: one["verdict"] for one in found["libraries"]} == {
        "flask": "collides",
        "flask-jwt-extended": "replaced",
        "psycopg2": "replaced",
    }
    assert [one["path"] for one in found["routes"]] == ["/hello/<name>"]
    assert "Move your modules, templates/ and static/ below src/hello_there/" in " ".join(found["steps"])


BELOW_A_PREFIX = {
    "app.py": (
        "from flask import Blueprint, Flask\nfrom flask_login import login_required\n"
        "from flask_httpauth import HTTPTokenAuth\n\n"
        'token_auth = HTTPTokenAuth()\nauth = Blueprint("auth", __name__)\nshop = Blueprint("shop", __name__)\n'
        '@auth.route("/login")\ndef login(): ...\n'
        '@auth.post("/password")\n@login_required\ndef password(): ...\n'
        '@shop.post("/register")\n@token_auth.login_required\ndef register(): ...\n'
        '@shop.get("/")\n@login_required\ndef index(): ...\n'
        'app = Flask(__name__)\napp.register_blueprint(auth, url_prefix="/api/auth")\n'
        'app.register_blueprint(shop, url_prefix="/shop")\n'
    ),
    "requirements.txt": "Flask>=3.1\nFlask-SQLAlchemy>=3\n",
}


@pytest.mark.parametrize(
    ("auth", "taken"),
    [
        ("session", {"/api/auth/login": "/login"}),
        ("jwt", {"/api/auth/login": "/auth/login", "/api/auth/password": "/auth/password"}),
    ],
)
def test_what_bastion_answers_is_known_below_a_prefix(
    tmp_path: Path, ask: Run, auth: str, taken: dict[str, str]
) -> None:
    folder = legacy.committed(tmp_path / "hello", BELOW_A_PREFIX)
    found = json.loads(ask(folder, "--format", "json", "--data", f"auth={auth}").stdout)
    assert {one["path"]: one["taken_at"] for one in found["routes"] if one["taken"]} == taken
    assert not {"/shop/register", "/shop/"} & taken.keys(), "a shop's own"
    said = ask(folder, "--data", f"auth={auth}").stdout
    assert f"bastion answers this itself, at {taken['/api/auth/login']}" in said
    assert f"/api/auth/login (at {taken['/api/auth/login']})" in said
    assert "@login_required becomes @login_required of .bastion, in place of" in said
    assert "@token_auth.login_required becomes decide: " in said
    assert said.index("dev db upgrade") < said.index("dev db revision")


def test_the_differences_are_shown_on_demand(application: Path, ask: Run) -> None:
    short, long = (ask(application, *more).stdout for more in ((), ("--diff",)))
    assert "| +/node_modules/" not in short
    assert "| +/node_modules/" in long
    assert "  differs   .gitignore" in short


def test_a_package_that_lies_in_the_root_is_moved_first(tmp_path: Path, ask: Run) -> None:
    folder = legacy.committed(tmp_path / "billing")
    before = state(folder)
    assert ask(folder).returncode == 1
    result = ask(folder, "--write")
    assert result.returncode == 2
    assert "mkdir src && git mv invoices src/invoices" in result.stderr
    assert state(folder) == before
    (folder / "src").mkdir()
    git(folder, "mv", "invoices", "src/invoices")
    git(folder, "commit", "--quiet", "--message", "moved")
    done(ask(folder, "--write"))


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_of_the_application_is_in_what_is_told_or_written(
    application: Path, form: str, ask: Run, asked: Asked, command: Callable[..., Run]
) -> None:
    """Neither where it stands in the code, nor where a file is shown that differs from the template's."""
    for name in (".gitignore", "README.md", "pyproject.toml"):
        with (application / name).open("a", encoding="utf-8") as file:
            for line in (
                '[tool.x]\npassword = "KEY"',
                'index = "https://bot:KEY@pypi.example/"',
                "url = 'https://KEY@h/?t=KEY'",
            ):
                print(line.replace("KEY", legacy.KEY), file=file)
    git(application, "commit", "--quiet", "--all", "--message", "secrets everywhere")
    sabotaged = command(("adoption/hardcoded.py", "                yield Place(file, line, name)\n",
                         "                yield Place(file, line, ast.unparse(value))\n"))  # fmt: skip
    unmasked = command(("drift.py", "{masked(line[1:])}", "{line[1:]}"))
    for one in (sabotaged, unmasked):
        assert legacy.KEY in one(*asked(application, "--format", form, "--diff")).stdout
    result = ask(application, "--format", form, "--diff", "--write")
    assert result.returncode == 0
    assert "config.py" in result.stdout
    assert legacy.KEY not in result.stdout + result.stderr
    holders = [name for name in state(application) if (application / name).is_file()
               and legacy.KEY in (application / name).read_text(encoding="utf-8", errors="replace")]  # fmt: skip
    ours = {"bastion-adopt/pyproject.toml", "pyproject.toml", ".gitignore", "README.md", "config.py"}
    assert set(holders) == ours, "where it stood, and what the team's own file becomes"


# --- what is put in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["session-sqlite-env", "jwt-postgresql-vault"])
def test_what_is_put_in_is_what_copier_renders(history: History, tmp_path: Path, name: str, ask: Run) -> None:
    """Byte for byte, the answers file too, so that Copier's next update finds what it would have made itself."""
    answers = Combination.parse(name).data | {"project_name": "hello"}
    data = [f"--data={question}={answer}" for question, answer in answers.items()]
    target, folder = tmp_path / "copied", legacy.committed(tmp_path / "hello", {"app.py": "import flask\n"})
    done(copier("copy", "--quiet", "--defaults", "--vcs-ref", "v1.2.1", *data, history.repository.path, target))
    done(ask(folder, "--write", *data))
    copied, adopted = state(target), state(folder)
    missing = copied.keys() - adopted.keys()
    assert all("notes" in one for one in missing)
    differ = {one for one in copied.keys() & adopted.keys() if copied[one] != adopted[one]}
    assert differ == {"docs/access.md", "src/hello/app.py", "src/hello/settings.py"}
    for one in differ:
        assert "notes" in (target / one).read_text(encoding="utf-8")
        assert "notes" not in (folder / one).read_text(encoding="utf-8")
        if one.endswith(".py"):
            compile((folder / one).read_text(encoding="utf-8"), one, "exec")
    beyond = {one for one in adopted.keys() - copied.keys() if not one.startswith("bastion-adopt")}
    assert beyond == {"app.py"}


def test_nothing_that_exists_is_overwritten_whatever_it_is(history: History, application: Path, ask: Run) -> None:
    newest = version.parse("v1.2.1")
    assert newest is not None
    release = history.template.release(newest)
    for name in release.render({"project_name": "invoices"}, whole=True):
        if name != "pyproject.toml":
            (application / name).parent.mkdir(parents=True, exist_ok=True)
            (application / name).write_text(f"mine: {name}\n", encoding="utf-8")
    (application / "README.md").rename(application / "Readme.md")
    git(application, "add", "--all", "--force")
    git(application, "commit", "--quiet", "--message", "everything is there")
    before = state(application)
    done(ask(application, "--write", "--data", "project_name=invoices"))
    after = state(application)
    assert {name: after[name] for name in before} == before
    new = {name for name in after.keys() - before.keys() if not name.startswith("bastion-adopt/")}
    assert new == {".copier-answers.yml", "bastion-adopt"}
    assert (application / "bastion-adopt" / "SECURITY.md").is_file()
    assert not (application / "README.md").exists(), "on some machines it is Readme.md"


def test_a_file_that_appears_meanwhile_is_not_overwritten_and_the_rest_is_taken_out_again(
    application: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(application)
    look = worktree.uncommitted

    def late(folder: Path) -> list[str]:
        answer = look(folder)
        (folder / "renovate.json").write_text("{}", encoding="utf-8")
        return answer

    monkeypatch.setattr(worktree, "uncommitted", late)
    assert cli.main(["adopt", str(application), "--template", str(history.repository.path), "--write"]) == 2
    assert state(application) == before | {"renovate.json": hashlib.sha256(b"{}").hexdigest()}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("edited", "src/invoices/views.py: not committed"),
        ("staged", "src/invoices/views.py: not committed"),
        ("untracked", "notes.txt: not committed"),
        ("deleted", "config.py: not committed"),
        ("no git", "is no git repository"),
        ("no commit", "There is no commit yet"),
        ("a service", "holds .copier-answers.yml"),
        ("adopted before", "bastion-adopt/ is there already"),
        ("no toml", "pyproject.toml is no valid TOML"),
        ("no folder", "is no folder"),
        ("no version", "The template has no version v9.9.9"),
        ("no such version", "latest is no version"),
        ("no answer", "does not take the answer to auth"),
        ("no question", "does not ask for ouath"),
        ("no template", "is no folder. Clone the template"),
        ("no git template", "git failed in"),
        ("source with a secret", "[redacted] holds what may be a password"),
        ("source that runs", "--source is no address"),
    ],
)
def test_a_request_that_can_not_be_met_changes_nothing_and_says_what_to_do(
    application: Path, tmp_path: Path, ask: Run, what: str, says: str
) -> None:
    more: tuple[str, ...] = ()
    folder = application
    match what:
        case "edited" | "staged":
            with (application / "src/invoices/views.py").open("a", encoding="utf-8") as file:
                file.write("# one more line\n")
            if what == "staged":
                git(application, "add", "--all")
        case "untracked":
            (application / "notes.txt").write_text("x", encoding="utf-8")
        case "deleted":
            (application / "config.py").unlink()
        case "no git":
            shutil.rmtree(application / ".git")
        case "no commit":
            shutil.rmtree(application / ".git")
            git(application, "init", "--quiet")
        case "a service":
            (application / ".copier-answers.yml").write_text("_commit: v1.0.0\n", encoding="utf-8")
        case "adopted before":
            (application / "bastion-adopt").mkdir()
        case "no toml":
            (application / "pyproject.toml").write_text("[project\n", encoding="utf-8")
        case "no folder":
            folder = tmp_path / "nowhere"
        case "no version":
            more = ("--to", "v9.9.9")
        case "no such version":
            more = ("--to", "latest")
        case "no answer":
            more = ("--data", "auth=oauth")
        case "no question":
            more = ("--data", "ouath=jwt")
        case "no template":
            more = ("--template", str(tmp_path / "nowhere"))
        case "no git template":
            more = ("--template", str(tmp_path))
        case "source with a secret":
            more = ("--source", "https://git.example/t.git?token=canary")
        case "source that runs":
            more = ("--source", "ext::sh -c canary")
    before = state(application)
    result = ask(folder, "--write", *more)
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "canary" not in result.stderr
    assert state(application) == before


def test_what_git_ignores_and_what_lies_beside_is_no_reason_to_refuse(tmp_path: Path, ask: Run) -> None:
    """A service in a folder of a larger repository, looked at through a work tree, with files that git ignores."""
    whole = tmp_path / "monorepo"
    legacy.moved(whole / "services" / "billing")
    shutil.rmtree(whole / "services" / "billing" / ".git")
    git(whole, "init", "--quiet", "--initial-branch", "main")
    git(whole, "add", "--all")
    git(whole, "commit", "--quiet", "--message", "everything")
    git(whole, "pack-refs", "--all")
    git(whole, "worktree", "add", "--quiet", str(tmp_path / "beside"))
    for root in (tmp_path / "beside", whole):
        (root / "elsewhere.txt").write_text("somebody works here", encoding="utf-8")
        folder = root / "services" / "billing"
        (folder / "x.pyc").write_bytes(b"ignored")
        (folder / "instance").mkdir()
        (folder / "instance" / "data.sqlite").write_bytes(b"ignored")
        done(ask(folder, "--write"))
        assert (folder / BASTION / "request/access.py").is_file()


# --- all or nothing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 2, 150])
@pytest.mark.parametrize("how", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_run_that_ends_half_way_leaves_everything_as_it_was(
    application: Path, history: History, monkeypatch: pytest.MonkeyPatch, at: int, how: BaseException
) -> None:
    before, name, times = state(application), placement._name, iter(range(1, 10_000))

    def fails(*arguments: object) -> None:
        if next(times) == at:
            raise how
        name(*arguments)  # type: ignore[arg-type]

    arguments = ["adopt", str(application), "--template", str(history.repository.path), "--write"]
    monkeypatch.setattr(placement, "_name", fails)
    assert cli.main(arguments) == (130 if isinstance(how, KeyboardInterrupt) else 2)
    assert state(application) == before
    if at > 1:
        times = iter(range(1, 10_000))
        monkeypatch.setattr(placement, "_take_out", lambda *_, **__: None)  # the sabotage
        assert cli.main(arguments) != 0
        assert state(application) != before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_leaves_everything_as_it_was(
    application: Path, history: History, number: signal.Signals
) -> None:
    """The signal comes while files are put in: each waits a little here."""
    program = (
        "import sys, time\n"
        "from flask_bastion import cli\n"
        "from flask_bastion.adoption import placement\n"
        "name = placement._name\n"
        "def slow(*arguments):\n"
        "    name(*arguments)\n"
        "    print('.', flush=True)\n"
        "    time.sleep(0.05)\n"
        "placement._name = slow\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    before = state(application)
    arguments = ["adopt", str(application), "--template", str(history.repository.path), "--write"]
    environment = os.environ | {"PYTHONPATH": str(Path(adopt.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=ignores_nothing,
    ) as process:
        assert process.stdout is not None
        for _ in range(20):
            assert process.stdout.readline() == b".\n"
        assert state(application) != before, "it is half way"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == adopt.STOPPED
    assert errors == b"Stopped. Nothing was put in.\n"
    assert state(application) == before


def test_where_a_file_can_have_one_name_only_it_is_written_all_the_same(
    application: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a memory stick."""

    def refuses(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    assert cli.main(["adopt", str(application), "--template", str(history.repository.path), "--write"]) == 0
    assert (application / BASTION / "request/access.py").read_bytes().startswith(b'"""Deny by default')
    assert list(application.glob(".bastion-adopt-*")) == []


# --- a hostile repository --------------------------------------------------------------------------------------------


def test_nothing_of_the_repository_runs_not_even_to_see_what_is_committed(
    application: Path, tmp_path: Path, asked: Asked, command: Callable[..., Run]
) -> None:
    canary = tmp_path / "canary"
    touch = f"touch {canary}"
    (application / ".gitattributes").write_text("* filter=x diff=x merge=x\n", encoding="utf-8")
    for name in ("conftest.py", "sitecustomize.py", "packaging.py", "yaml.py", "setup.py"):
        (application / name).write_text(f"open({str(canary)!r} + '-python', 'w')\n", encoding="utf-8")
    git(application, "add", "--all")
    git(application, "commit", "--quiet", "--message", "innocent")
    for setting in ("core.fsmonitor", "diff.external", "filter.x.clean", "filter.x.smudge", "core.sshCommand",
                    "filter.x.process", "core.alternateRefsCommand", "core.pager"):  # fmt: skip
        git(application, "config", setting, f"{touch}-{setting}")
    for name in ("post-index-change", "post-checkout", "reference-transaction"):
        (application / ".git" / "hooks" / name).write_text(f"#!/bin/sh\n{touch}-{name}\n", encoding="utf-8")
        (application / ".git" / "hooks" / name).chmod(0o755)
    os.utime(application / "config.py")  # so that git has to look at what it holds
    shutil.copytree(application, tmp_path / "other", symlinks=True)
    os.utime(tmp_path / "other" / "config.py")
    done(command()(*asked(application, "--write"), cwd=application))
    assert [path.name for path in tmp_path.glob("canary*")] == []
    sabotaged = command(("borrowed.py", 'at = ("--git-dir", str(self._ours))', 'at = ("--git-dir", str(self.private))'))
    sabotaged(*asked(tmp_path / "other", "--write"))
    assert [path.name for path in tmp_path.glob("canary*")] != []


@pytest.mark.parametrize("place", ["src", "tests/proofs", BASTION])
def test_no_file_is_put_in_through_a_link(
    application: Path, tmp_path: Path, place: str, ask: Run, asked: Asked, command: Callable[..., Run]
) -> None:
    outside = tmp_path / "outside"
    if (application / place).exists():
        shutil.move(application / place, outside)
    else:
        outside.mkdir()
    (application / place).parent.mkdir(parents=True, exist_ok=True)
    (application / place).symlink_to(outside, target_is_directory=True)
    git(application, "add", "--all", "--force")
    git(application, "commit", "--quiet", "--message", "a link")
    before = state(application), state(outside)
    given = ("--data", "project_name=invoices")
    result = ask(application, "--write", *given)
    assert result.returncode == 2
    assert f"{place} is a link, where a folder of the template has to be" in result.stderr
    assert (state(application), state(outside)) == before
    blind = ("adoption/placement.py", "        for folder in (", "        for folder in () and (")
    result = command(blind)(*asked(application, "--write", *given))  # as when it was put there a moment ago
    assert result.returncode == 2
    assert "is no folder. Nothing was put in." in result.stderr
    assert (state(application), state(outside)) == before
    follows = ("adoption/placement.py", "os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC\n_", "os.O_DIRECTORY\n_")
    done(command(blind, follows)(*asked(application, "--write", *given)))
    assert state(outside) != before[1]


def test_a_repository_that_never_ends_is_told_all_the_same(
    application: Path, asked: Asked, command: Callable[..., Run]
) -> None:
    os.mkfifo(application / "requirements.txt.in")
    os.mkfifo(application / "Pipfile")
    os.mkfifo(application / "app.cfg")
    with (application / "setup.py").open("wb") as sparse:
        sparse.truncate(3 * 1024**3)
    (application / "deep.py").write_text("x = " + "(" * 5000 + ")" * 5000, encoding="utf-8")
    (application / "wide.py").write_text("x = " + "+".join(["1"] * 100_000), encoding="utf-8")
    (application / "requirements-wide.txt").write_text("x" + " " * 1_000_000 + "y", encoding="utf-8")
    project = "".join(f"[tool.x{number}]\n" for number in range(60_000))
    (application / "pyproject.toml").write_text(project, encoding="utf-8")
    for number in range(8):
        deep = application / "/".join(["templates"] * 20) / str(number)
        deep.mkdir(parents=True)
        (deep / "many.py").write_text("x = [" + "[],\n" * 20_000 + "]\n", encoding="utf-8")
    (application / "requirements-many.txt").write_text("\n".join(f"x{n}" for n in range(100_000)), encoding="utf-8")
    (application / "secrets.cfg").write_text("password = x\n" * 80_000, encoding="utf-8")
    (application / "nested.toml").write_text("x = " + "[" * 100_000, encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = command()(*asked(application, "--format", "json"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # of a processor, however busy it is
    assert seconds < 30
    assert int(result.stderr.rpartition("peak ")[2]) < 300 * 1024
    found = json.loads(result.stdout)
    assert len(found["libraries"]) <= 1000
    assert len(found["secrets"]) == 1000
    assert [one["path"] for one in found["routes"]] == ["/login", "/logout", "/", "/invoices", "/about"]


def test_what_can_not_be_looked_at_as_a_whole_is_not_changed(
    application: Path, ask: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(application)
    with monkeypatch.context() as patched:
        patched.setattr(survey, "SECONDS", -1.0)
        slow = ask(application, "--write")
    for number in range(20_001):
        (application / f"{number}").touch()
    many = ask(application, "--write")
    for number in range(20_001):
        (application / f"{number}").unlink()
    for result in (slow, many):
        assert result.returncode == 2
        assert "Not everything was looked at" in result.stderr
    assert state(application) == before
    assert ask(application, "--write").returncode == 0, "the legitimate way"


@pytest.mark.parametrize("head", ["ref: refs/heads/../../../secret", "ref: refs/heads/\x1b[2J", "x" * 5_000_000, ""])
def test_a_repository_of_git_that_lies_about_itself_is_refused(application: Path, head: str, ask: Run) -> None:
    before = state(application)
    (application / ".git" / "HEAD").write_text(head, encoding="utf-8")
    result = ask(application, "--write")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr
    assert state(application) == before


def test_a_list_of_trusted_sources_that_was_there_before_is_not_taken_over_in_silence(
    application: Path, ask: Run
) -> None:
    """Whoever brought it in would decide what code the next update brings."""
    attackers = '[[source]]\naddress = "https://evil.example/t.git"\nkeys = ["ssh-ed25519 AAAA evil"]\n'
    loosened = '[limits.session_idle_minutes]\nvalue = 60\nreason = "x"\nowner = "x"\nuntil = 2099-01-01\n'
    (application / ".bastion-trust.toml").write_text(attackers, encoding="utf-8")
    (application / "src/invoices/exceptions.toml").write_text(loosened, encoding="utf-8")
    git(application, "add", "--all")
    git(application, "commit", "--quiet", "--message", "innocent")
    result = ask(application, "--write")
    assert result.returncode == 0
    for name in (".bastion-trust.toml", "src/invoices/exceptions.toml"):
        assert f"{name} was there before, and decides about protection" in result.stdout
        assert "evil" not in (application / "bastion-adopt" / name).read_text(encoding="utf-8")
    assert (application / ".bastion-trust.toml").read_text(encoding="utf-8") == attackers


@pytest.mark.parametrize(
    "text",
    ["gitdir: /dev/zero", "gitdir: \0", "gitdir: .", "gitdir: /proc/self/fd", "\x1b[2J", "gitdir: " + "x/" * 9000, ""],
)
def test_a_work_tree_that_names_no_repository_is_refused(application: Path, ask: Run, text: str) -> None:
    shutil.rmtree(application / ".git")
    (application / ".git").write_text(text, encoding="utf-8")
    before = state(application)
    result = ask(application, "--write")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr
    assert state(application) == before


@pytest.mark.parametrize("name", ["index", "HEAD", "commondir", "objects"])
def test_a_repository_of_git_whose_parts_never_end_is_refused(application: Path, ask: Run, name: str) -> None:
    (application / ".git" / name).rename(application.parent / name) if name != "commondir" else None
    os.mkfifo(application / ".git" / name)
    result = ask(application, "--write")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (application / ".copier-answers.yml").exists()


HOSTILE = ["\x1b]0;pwned\x07.py", "a\r\n::error::x.py", "##[error]x.py", "a\u202egnp.py", "\x9b2J.py"]


def test_what_the_application_says_is_shown_as_text(
    application: Path, ask: Run, asked: Asked, command: Callable[..., Run]
) -> None:
    body = '@app.route("/\x1b[2J\u202e")\ndef \u0078(): ...\nSECRET_KEY = "x"\n'
    for name in HOSTILE:
        (application / name).write_text(body, encoding="utf-8")
    (application / "requirements.txt").write_text(
        "flask==1.0\x1b[2J\nflask-limiter ; '\u202e' == ''\n", encoding="utf-8"
    )
    (application / ".gitignore").write_text("\x1b[2J\n::error::x\n", encoding="utf-8")
    git(application, "add", "--all")
    git(application, "commit", "--quiet", "--message", "hostile")
    sabotaged = command(("adoption/listing.py", "shown = escape.terminal(text)", "shown = f'{text}'"))
    assert "\x1b" in sabotaged(*asked(application, "--diff")).stdout
    for form in ("text", "json"):
        result = ask(application, "--diff", "--format", form)
        assert result.returncode == 0
        assert_nothing_acts(result.stdout)
    done(ask(application, "--write"))
    assert_nothing_acts((application / "bastion-adopt" / "STEPS.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_a_terminal_has_not_end_no_run(
    application: Path,
    asked: Asked,
    command: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
) -> None:
    """A file's name would else decide about the exit status of every command."""
    (application / "名前.py").write_text('SECRET_KEY = "x"\n', encoding="utf-8")
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    result = command()(*asked(application))
    assert result.returncode == 0
    assert ("名前.py:1: SECRET_KEY" if encoding == "utf-8" else r"\u540d\u524d.py:1: SECRET_KEY") in result.stdout
    if encoding == "ascii":
        sabotaged = command(("cli.py", 'stream.reconfigure(errors="backslashreplace")', "pass"))
        assert "UnicodeEncodeError" in sabotaged(*asked(application)).stderr


def assert_nothing_acts(shown: str) -> None:
    assert "x.py" in shown
    for acts in ("\x1b", "\x9b", "\u202e", "\r", "\x07"):
        assert acts not in shown
    for line in shown.splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line or line.lstrip().startswith('"')  # JSON is read by programs


# --- where the template comes from -----------------------------------------------------------------------------------


def test_the_address_that_others_reach_is_recorded_and_no_password(history: History, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(history.repository.path), str(clone))
    with origin.opened(clone) as (_, address):
        assert address == str(clone), "a folder of this machine is recorded as the folder that was named"
    for remote, address in (
        ("https://bot:canary@git.example/t.git", "https://git.example/t.git"),
        ("https://canary@git.example/t.git", "https://git.example/t.git"),
        ("git@git.example:team/t.git", "git@git.example:team/t.git"),
        ("ssh://git@git.example/t.git", "ssh://git@git.example/t.git"),
        ("ext::sh -c canary", str(clone)),
        ("--upload-pack=canary", str(clone)),
    ):
        git(clone, "config", "remote.origin.url", remote)
        with origin.opened(clone) as (_, recorded_as):
            assert recorded_as == address
    git(clone, "config", "remote.origin.url", "ssh://git:canary@git.example/t.git")
    with pytest.raises(TemplateError, match=r"ssh://\[redacted\]@git.example/t.git holds what may be a password"):
        origin._came_from(Template(clone))


def test_without_a_clone_it_is_where_the_program_was_installed_from(
    history: History, application: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(origin, "installed_from", lambda: None)
    assert cli.main(["adopt", str(application)]) == 2
    assert "then --template FOLDER" in capsys.readouterr().err
    monkeypatch.setattr(origin, "installed_from", lambda: f"file://{history.repository.path}")
    assert cli.main(["adopt", str(application)]) == 0
    assert str(history.repository.path) in capsys.readouterr().out
    address = "https://git.example/team/flask-bastion.git"
    monkeypatch.setattr(origin, "installed_from", lambda: f"git+{address}")
    of_the_user = application.parent / "gitconfig"
    of_the_user.write_text(f'[url "{history.repository.path}"]\n\tinsteadOf = {address}\n', encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(of_the_user))
    assert cli.main(["adopt", str(application), "--write"]) == 0
    assert recorded(application)["_src_path"] == f"git+{address}"
    trust = (application / ".bastion-trust.toml").read_text(encoding="utf-8")
    assert f'address = "{address}"' in trust


# --- and afterwards it is a service ----------------------------------------------------------------------------------


@pytest.fixture
def adopted(application: Path, ask: Run) -> Service:
    """The application after adoption, and after its team has done what was told."""
    done(ask(application, "--write", "--to", "v1.2.0", "--data", "security_contact=a@example.com"))
    legacy.merge(application)
    service = Service(application)
    service.write("uv.lock", '[[package]]\nname = "werkzeug"\nversion = "3.1.9"\n')
    service.commit("under the template")
    return service


def test_after_the_teams_own_merge_it_is_checked_and_updated_as_any_service(
    adopted: Service, history: History, advisories_folder: Path, command: Callable[..., Run]
) -> None:
    check = ("check", adopted.path, "--template", history.repository.path, "--advisories", advisories_folder)
    result = command()(*check, "--format", "json")
    found = json.loads(result.stdout)
    assert {one["kind"] for one in found["findings"] if one["level"] != "note"} == {"affected"}, "v1.2.0 is vulnerable"
    before = {
        name: text for name, text in state(adopted.path).items() if not name.startswith((BASTION, "tests/proofs"))
    }
    done(adopted.update("v1.2.1"))
    assert adopted.conflicts() == []
    done(command()(*check))
    after = state(adopted.path)
    assert {name for name in before if after.get(name) != before[name]} == {".copier-answers.yml"}
    assert recorded(adopted.path)["_commit"] == "v1.2.1"


def test_it_takes_its_updates_from_the_address_that_was_named_and_signed_by_the_keys_of_the_template(
    application: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`flask-bastion update` finds everything that it needs: address, keys, and the commit of the version."""
    publisher = Publisher.make(tmp_path / "publisher")
    publisher.release("v1.0.0")
    arguments = ["--template", str(publisher.path), "--source", ADDRESS, "--write"]
    assert cli.main(["adopt", str(application), *arguments]) == 0
    legacy.merge(application)
    service = Service(application)
    service.commit("under the template")
    publisher.repository.edit(HEADERS, HEADER, f"{HEADER}    yield ('X-New', 'yes')\n")
    publisher.release("v1.0.1")
    server = Server(tmp_path / "server", monkeypatch, git=publisher.path)
    assert cli.main(["update", str(application)]) == 0
    assert server.asked != []
    assert "invoices v1.0.0 -> v1.0.1 (patch)" in capsys.readouterr().out
    service.commit("update")
    assert "X-New" in service.read(f"{BASTION}/edge/headers.py")
    assert cli.main(["check", str(application), "--template", str(publisher.path)]) == 0


@pytest.mark.nightly
def test_an_application_keeps_its_features_and_its_data_and_every_proof_passes(
    application: Path, tmp_path: Path, ask: Run
) -> None:
    """Its own tests pass before; afterwards they and all proofs do, and a database of five years is still there."""
    flat = legacy.committed(tmp_path / "before")
    done(uv("venv", "--quiet", "--python", sys.executable, cwd=flat))
    done(uv("pip", "install", "--quiet", *legacy.LIBRARIES, cwd=flat))
    done(run(flat / ".venv/bin/python", "-m", "pytest", "-q", cwd=flat))

    done(ask(application, "--write"))
    legacy.merge(application)
    service = Service(application)
    service.install(Combination("session", "sqlite", "env"))
    (application / "instance").mkdir(mode=0o700)
    legacy.make_database(application / "instance" / "data.sqlite")
    invoices = application / ".venv/bin/invoices"
    done(run(invoices, "dev", "db", "upgrade", cwd=application))
    done(run(invoices, "dev", "access", cwd=application))
    with sqlite3.connect(application / "instance" / "data.sqlite") as connection:
        assert connection.execute("SELECT customer, cents FROM invoice").fetchall() == [("Globex", 995)]
        assert connection.execute("SELECT count(*) FROM auth_user").fetchone() == (0,)
    done(service.pytest())
