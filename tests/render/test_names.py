"""Dependency confusion with the project's names is prevented: a package index may hold them under another owner.

The service's extra repeats its own name, and the command that judges updates has one too. Here an index that is asked
first offers both, newer, with a canary in setup.py. Each attack fails against what is rendered, and succeeds once one
protection is taken away. Source: catalogue row names-not-taken-from-index; ASVS 15.2.4.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from copier import run_copy

from support import ROOT, Repository, copy_of_the_template, done, files_of, git, replace_once, run

OURS = ("my-service", "flask-bastion")
BY_COMMIT = 'uvx --from "git+$ADDRESS@$COMMIT" flask-bastion'
UPLOADED = re.compile(r"Private ::")
"""What an index looks for in the classifiers of an upload, and refuses. Source: PyPI's list of classifiers."""


@dataclass
class Index:
    """A package index of a stranger, on this machine."""

    folder: Path
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def canary(self) -> Path:
        return self.folder / "canary"

    def ran(self) -> set[str]:
        """Whose setup.py was run."""
        return set(self.canary.read_text(encoding="utf-8").split()) if self.canary.exists() else set()

    def offer(self, name: str) -> bytes:
        """Version 99 of a package, which is built from source."""
        plain = name.replace("-", "_")
        setup = f"""
import pathlib
from setuptools import setup
with pathlib.Path({str(self.canary)!r}).open("a") as canary:
    canary.write("{name}\\n")
setup(name={name!r}, version="99.0", py_modules=[])
"""
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n"
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            for file, text in (("setup.py", setup), ("PKG-INFO", about)):
                entry = tarfile.TarInfo(f"{plain}-99.0/{file}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        return data.getvalue()

    def answer(self, path: str) -> bytes | None:
        """What a client gets; it falls back to its own index for what is not here."""
        self.asked.append(path)
        name = path.strip("/").split("/")[-1]
        for ours in OURS:
            file = f"{ours.replace('-', '_')}-99.0.tar.gz"
            if name == ours:
                return f'<!DOCTYPE html><html><body><a href="/files/{file}">{file}</a></body></html>'.encode()
            if name == file:
                return self.offer(ours)
        return None


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "index")
    made.folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = made.answer(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "application/gzip" if self.path.endswith(".gz") else "text/html")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/simple"
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def against(index: Index, *command: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the stranger's index is asked first, without what was learnt from another one before."""
    env = {
        "UV_INDEX": index.url,
        "PIP_EXTRA_INDEX_URL": index.url,
        "UV_PYTHON_DOWNLOADS": "never",
        "PIP_NO_CACHE_DIR": "1",
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return run(*command, cwd=cwd, env={"PATH": path, **env, **more})


@pytest.fixture(scope="module")
def rendered_once(template_repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("named") / "my-service"
    run_copy(str(template_repository.path), target, data={"code_owners": "@acme/security"}, defaults=True, quiet=True)
    return target


@pytest.fixture
def service(rendered_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(rendered_once, tmp_path / "service")
    return tmp_path / "service"


def small(service: Path) -> Path:
    """The same with nothing in the extra that it takes of itself, so that all that is installed is the service."""
    file = service / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    for start in ("bastion = [\n", "bastion-dev = [\n"):
        head, _, rest = text.partition(start)
        text = f"{head}{start}{rest[rest.index(chr(10) + ']') + 1 :]}"
    file.write_text(text, encoding="utf-8")
    assert tomllib.loads(text)["project"]["dependencies"] == ["my-service[bastion]"]
    return service


def from_index(lock: Path) -> list[str]:
    """The names of ours that a lock takes from an index."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    assert any(package["name"] == "my-service" for package in packages)
    return [one["name"] for one in packages if one["name"] in OURS and one["source"] != {"editable": "."}]


def test_the_lock_takes_the_service_from_its_own_folder(service: Path, index: Index) -> None:
    for arguments in (("lock",), ("lock", "--upgrade")):
        done(against(index, "uv", *arguments, "--quiet", cwd=service))
        assert from_index(service / "uv.lock") == []
    requirements = done(against(index, "uv", "export", "--quiet", "--locked", cwd=service))
    assert [
        line for line in requirements.splitlines() if line.startswith(("my-service", "my_service", "flask-bastion"))
    ] == []
    assert "\n-e .\n" in f"\n{requirements}"
    assert index.asked, "the stranger's index was never asked"
    assert index.ran() == set()


def test_an_installation_is_of_the_service_itself(service: Path, index: Index, tmp_path: Path) -> None:
    small(service)
    done(against(index, "uv", "sync", "--quiet", "--python", sys.executable, cwd=service))
    done(against(index, sys.executable, "-m", "venv", tmp_path / "venv", cwd=service))
    pip = (tmp_path / "venv/bin/python", "-m", "pip", "--disable-pip-version-check")
    done(against(index, *pip, "install", "--quiet", ".", cwd=service))
    assert "99" not in done(against(index, *pip, "show", "my-service", cwd=service))
    assert index.ran() == set()
    by_name = against(
        index, "uv", "pip", "install", "--quiet", "--python", tmp_path / "venv", "my-service==99.0", cwd=tmp_path
    )
    assert index.ran() == {"my-service"}, by_name.stderr  # what was offered does run, if it is asked for by name


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command_repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Address and commit of a repository from which the command is built."""
    path = tmp_path_factory.mktemp("command") / "flask-bastion"
    path.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, path)
    for folder in ("hooks", "advisories"):
        shutil.copytree(ROOT / folder, path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(path, "init", "--quiet")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "v1.0.0")
    return f"file://{path}", git(path, "rev-parse", "HEAD").strip()


def steps(service: Path) -> list[tuple[str, str]]:
    """Each script of each workflow, with its place."""
    return [
        (f"{file.name}: {step['name']}", step["run"])
        for file in sorted((service / ".github/workflows").glob("*.yml"))
        for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]


def test_the_workflows_run_the_command_by_address_and_commit(
    service: Path, index: Index, command_repository: tuple[str, str]
) -> None:
    git(service, "init", "--quiet")
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--message", "main")
    # A pull request may bring settings of uv as well: the step is run in what is checked out.
    (service / "uv.toml").write_text(f'index-url = "{index.url}"\n', encoding="utf-8")
    (script,) = [
        text
        for where, text in steps(service)
        if where == "bastion-updates.yml: Proofs of the version before, on the new code"
    ]
    script = script.replace("HEAD^1", "HEAD")
    address, commit = command_repository
    env = {"ADDRESS": address, "COMMIT": commit}
    said = done(against(index, "bash", "-e", "-c", script, cwd=service, **env))
    assert "The version of the template stays the same" in said
    assert index.ran() == set()
    assert script.count(BY_COMMIT) == 1
    against(index, "bash", "-e", "-c", script.replace(BY_COMMIT, "uvx flask-bastion"), cwd=service, **env)
    assert index.ran() == {"flask-bastion"}


BARE = re.compile(
    r"(?:uvx|pipx run|uv tool (?:run|install)|pipx install|pip install|uv add|uv pip install)"
    r"(?: -(?!-from\b)[-a-z]+(?:[ =](?!flask-bastion|my-service)\S+)?)* (?:flask-bastion|my-service)\b"
)


def test_nothing_that_is_rendered_or_told_names_them_to_an_index(service: Path) -> None:
    assert BARE.search("uvx flask-bastion check")
    assert BARE.search("pip install --upgrade my-service")
    assert not BARE.search(f"{BY_COMMIT} check")
    found = [
        f"{name}: {match[0]}"
        for name in files_of(service)
        for match in BARE.finditer((service / name).read_text(encoding="utf-8"))
    ]
    told = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "copier.yml",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "hooks").rglob("*.py"),
    ]
    found += [f"{file.name}: {match[0]}" for file in told for match in BARE.finditer(file.read_text(encoding="utf-8"))]
    assert found == []
    assert len([where for where, text in steps(service) if "flask-bastion " in text]) >= 4
    assert [where for where, text in steps(service) if "flask-bastion " in text.replace(BY_COMMIT, "")] == []


def test_the_hooks_of_pre_commit_run_what_is_locked(service: Path) -> None:
    config = yaml.safe_load((service / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [one["repo"] for one in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} <= {"system", "pygrep", "fail"}
    assert all(hook["entry"].startswith("uv run --locked ") for hook in hooks if hook["language"] == "system")
    assert not [hook for hook in hooks if "additional_dependencies" in hook]


# --- uploads and names -------------------------------------------------------------------------------------------


def refused_by_an_index(project: Path) -> bool:
    document = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return any(UPLOADED.match(one) for one in document["project"].get("classifiers", []))


def test_an_index_refuses_what_is_uploaded_by_mistake(service: Path, tmp_path: Path) -> None:
    assert refused_by_an_index(service)
    assert refused_by_an_index(ROOT)
    template = copy_of_the_template(tmp_path / "template")
    file = template / "template/pyproject.toml.jinja"
    (line,) = [line for line in file.read_text(encoding="utf-8").splitlines(True) if "Private ::" in line]
    replace_once(file, line, "")
    run_copy(str(template), tmp_path / "sabotaged", defaults=True, quiet=True)
    assert not refused_by_an_index(tmp_path / "sabotaged")


@pytest.mark.parametrize("name", ["flask", "requests", "sqlalchemy", "bastion", "flask-bastion", "json", "pytest"])
def test_no_service_has_the_name_of_what_it_needs(tmp_path: Path, name: str) -> None:
    template = copy_of_the_template(tmp_path / "template")
    with pytest.raises(ValueError, match="belongs to Python or to a library"):
        run_copy(str(template), tmp_path / "service", data={"project_name": name}, defaults=True, quiet=True)
    assert not (tmp_path / "service").exists()
    if name == "requests":
        replace_once(template / "copier.yml", "project_name | replace('-', '_') in reserved", "false")
        run_copy(str(template), tmp_path / "service", data={"project_name": name}, defaults=True, quiet=True)
        document = tomllib.loads((tmp_path / "service/pyproject.toml").read_text(encoding="utf-8"))
        assert document["project"]["dependencies"] == ["requests[bastion]"]
