"""A fix that is not what runs is found, however it was put out of force; ordinary code of a team is left alone.

Each attack leaves every file of the template as it is, so the comparison with the template finds nothing. Source:
catalogue row probe-not-fooled; ASVS 15.2.1.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flask_bastion import dependencies
from flask_bastion.check import Report, check
from flask_bastion.hidden import findings as hidden_files
from flask_bastion.program import Program
from flask_bastion.repository import Repository
from histories import ADDRESS, KEY, History, recorded
from support import ROOT, git, replace_once

PACKAGE = "src/my_service"
OTHER_KEY = KEY.replace("PLATFORM", "STRANGER")
Change = Callable[[Path], object]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def intact(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy it; never edit it."""
    return history.service(tmp_path_factory.mktemp("intact") / "service", "v1.2.1", auth="session")


@pytest.fixture
def service(intact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(intact, tmp_path / "service")


def look(history: History, service: Path) -> Report:
    return check(service, history.advisories.values(), history.template, today=datetime.now(UTC).date())


def append(name: str, text: str) -> Change:
    """Add text to a file, which is made if it is not there."""

    def change(service: Path) -> None:
        path = service / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}\n")

    return change


def code(text: str) -> Change:
    return append(f"{PACKAGE}/app.py", text)


def pyproject(text: str) -> Change:
    return append("pyproject.toml", text)


def edit(name: str, old: str, new: str) -> Change:
    return lambda service: replace_once(service / name, old, new)


def both(*changes: Change) -> Change:
    return lambda service: [change(service) for change in changes]


# --- code ------------------------------------------------------------------------------------------------------------

HEADERS = "from .bastion.edge import headers\n"
REPLACED: dict[str, Change] = {
    "the caller of the fixed function": code(f"{HEADERS}headers.page_policy = lambda *_: ''"),
    "a function under another name": code(f"{HEADERS}h = headers\nh.page_policy = print"),
    "a method of a class": code("from .bastion.edge.headers import HeaderTable\nHeaderTable.rows = print"),
    "in a tuple": code(f"{HEADERS}headers.HSTS, x = '', 1"),
    "as the variable of a loop": code(f"{HEADERS}for headers.HSTS in ('',):\n    pass"),
    "through a whole path": code("import my_service.bastion.edge.headers\nmy_service.bastion.edge.headers.HSTS = ''"),
    "the code of a function": code("from .bastion.edge.headers import page_policy as p\np.__code__ = print.__code__"),
    "the names of a function": code("from .bastion.edge.headers import page_policy as p\np.__globals__['HSTS'] = ''"),
    "a module": code("import sys\nsys.modules['my_service.bastion.edge.cookies'] = sys"),
    "a module under a computed name": code("import sys\nsys.modules[f'{__package__}.bastion.edge.cookies'] = sys"),
    "a module by its own name": code(f"{HEADERS}from sys import modules as m\nm[headers.__name__] = print"),
    "a module by update": code("import sys\nsys.modules.update({'my_service.bastion.edge.cookies': sys})"),
    "setattr": code(f"{HEADERS}setattr(headers, 'page_policy', print)"),
    "setattr with a computed name": code(f"{HEADERS}setattr(headers, 'page_' + 'policy', print)"),
    "setattr of each of several": code(f"{HEADERS}for one in (headers, None):\n    setattr(one, 'HSTS', '')"),
    "setattr of an imported module": code(
        "import importlib\nsetattr(importlib.import_module('.bastion.edge.headers', __package__), 'HSTS', '')"
    ),
    "__setattr__": code(f"{HEADERS}object.__setattr__(headers, 'HSTS', '')"),
    "__dict__": code(f"{HEADERS}headers.__dict__.update(HSTS='')"),
    "vars": code(f"{HEADERS}vars(headers)['HSTS'] = ''"),
    "del": code(f"{HEADERS}del headers.page_policy"),
    "an entry of a table": code("from .bastion.audit import REFUSALS\nREFUSALS[400, 'x'] = 'y'"),
    "entries of a table": code("from .bastion import audit\naudit.REFUSALS.clear()"),
    "a table that is reached through getattr": code(
        "from .bastion import audit\nx = getattr(audit, 'REFUSALS')\nx['a'] = 1"
    ),
    "mock.patch": code("from unittest import mock\nmock.patch('my_service.bastion.clock.now', print).start()"),
    "mock.patch.object": code(f"{HEADERS}from unittest.mock import patch\npatch.object(headers, 'HSTS', '').start()"),
    "exec": code("exec('from .bastion.edge import headers as h; h.HSTS = 1')"),
    "what the app carries": code("def late(app):\n    app.extensions['bastion'] = None"),
    "in a function": code("def late():\n    from .bastion.edge import headers\n    headers.HSTS = ''"),
    "through a module of the team": both(
        append(f"{PACKAGE}/compat.py", HEADERS), code("from .compat import headers\nheaders.HSTS = ''")
    ),
    "through an attribute of a module of the team": both(
        append(f"{PACKAGE}/compat.py", HEADERS), code("from . import compat\ncompat.headers.HSTS = ''")
    ),
    "in wsgi.py": append("wsgi.py", "from my_service.bastion.edge import headers\nheaders.HSTS = ''"),
    "before the proofs": append("tests/conftest.py", "from my_service.bastion import clock\nclock.now = print"),
    "for each proof": append(
        "tests/conftest.py",
        "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef old(monkeypatch):\n"
        "    monkeypatch.setattr('my_service.bastion.clock.now', print)",
    ),
}
UNDECIDED: dict[str, Change] = {
    "a module of a computed name": code("import importlib, os\nsetattr(importlib.import_module(os.sep), 'x', 1)"),
    "a key of sys.modules": code("import sys, os\nsys.modules[os.environ['X']] = sys"),
    "every module": code("import sys\nfor one in list(sys.modules.values()):\n    setattr(one, 'x', 1)"),
    "exec of a computed text": code("import os\nexec(os.environ['X'])"),
    "mock.patch of a computed name": code("import os\nfrom unittest.mock import patch\npatch(os.sep).start()"),
    "a module that is handed on": code(f"from .helpers import swap\n{HEADERS}swap(headers)"),
    "a function that a helper changes": both(
        append(f"{PACKAGE}/helpers.py", "def swap(one, other):\n    one.__code__ = other.__code__"),
        code("from .helpers import swap\nfrom .bastion.edge.headers import page_policy\nswap(page_policy, print)"),
    ),
    "what an object of the team holds": code(
        f"{HEADERS}class Holder:\n    def __init__(self):\n        self.held = headers\n\nHolder().held.HSTS = ''"
    ),
    "what a function returns": code(
        "import importlib, os\ndef get():\n    return importlib.import_module(os.sep)\n\nget().HSTS = ''"
    ),
    "an import system of its own": code("import sys\nsys.meta_path.insert(0, print)"),
}
ORDINARY = '''
"""What a team writes every day."""
import importlib
import logging
import sys
from dataclasses import dataclass
from flask import Flask, current_app, g, session

from . import settings as own_settings
from .bastion import audit, current_user, login_required, owned, secrets
from .bastion.database import Base, Owned, db
from .bastion.settings import TeamSettings

LOGGING = {"loggers": {}}
LOGGING["loggers"]["my_service.bastion"] = {"level": "INFO"}
LIMIT: int = 5


class Note(Owned, Base):
    __tablename__ = "note"
    kinds = {"a": 1}

    def __init__(self, **values: object) -> None:
        for name, value in values.items():
            setattr(self, name, value)
        self.user = current_user
        self.__dict__.update(values)


class More(TeamSettings):
    page_size: int = 20


def fill(form: object, note: Note, audit: object) -> None:
    note.title = form.title.data
    for name, value in vars(form).items():
        setattr(note, name, value)
    audit.kind = "x"
    secrets = {}
    secrets["a"] = 1
    db.session.add(note)
    db.session.info["x"] = 1
    current_user.theme = "dark"
    g.note = note
    session["next"] = "/"
    note.kinds["b"] = 2


def register(app: Flask) -> None:
    app.config["X"] = secrets.get("x")
    app.jinja_env.globals["who"] = current_user
    app.json.sort_keys = False
    importlib.import_module("my_service.bastion.clock")
    app.register_blueprint(importlib.import_module(f"my_service.{app.name}").blueprint)
    plugin = importlib.import_module("my_service.notes")
    plugin.loaded = True
    own_settings.PAGE = 5
    sys.modules["my_service.old_name"] = sys.modules[__name__]
    logging.getLogger("my_service").disabled = False
    fill(app, Note(), audit=app)
    globals()["LIMIT"] = 6
    register.done = True
    rows = {row.id: row for row in db.session.scalars(owned(Note))}
    rows["x"] = None
    print(audit, isinstance(app, type(audit)))
    sys.path.append("/nowhere")


@dataclass
class Thing:
    name: str = ""

    @classmethod
    def make(cls) -> "Thing":
        cls.made = True
        made = cls()
        object.__setattr__(made, "name", "x")
        return made


@login_required
def view() -> str:
    current_app.extensions["cache"] = {}
    query = owned(Note)
    query.x = 1
    return str(eval("1 + 1"))
'''
ORDINARY_CONFTEST = """
import pytest
from my_service.bastion import clock
from my_service.notes import pages


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes its time")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


@pytest.fixture(autouse=True)
def page(monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 5)
    monkeypatch.setattr("my_service.notes.pages.NAME", "x", raising=False)
    monkeypatch.setenv("X", "1")


@pytest.fixture
def frozen(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: 0)


@pytest.fixture
def user(service):
    return service.user()
"""


def kinds(report: Report) -> set[tuple[str, str]]:
    return {(one.kind, one.level) for one in report.findings if one.kind != "fix-unverified"}


@pytest.mark.parametrize("way", REPLACED)
def test_a_part_of_bastion_that_is_replaced_is_found(history: History, service: Path, way: str) -> None:
    REPLACED[way](service)
    report = look(history, service)
    assert report.status == 1
    assert ("code-replaced", "error") in kinds(report)


@pytest.mark.parametrize("way", UNDECIDED)
def test_what_may_replace_a_part_is_not_called_good(history: History, service: Path, way: str) -> None:
    UNDECIDED[way](service)
    report = look(history, service)
    assert report.status == 1
    (found,) = (one for one in report.findings if one.kind == "code-replaced")
    assert found.level == "warning"
    assert "This may replace" in found.text
    assert found.line > 1


def test_a_replaced_caller_makes_no_fix_sure(history: History, service: Path) -> None:
    """The fix stands where it was; whether anything calls it is decided elsewhere now."""
    REPLACED["the caller of the fixed function"](service)
    statuses = {one.advisory.id[-1]: one.status for one in look(history, service).verdicts}
    assert statuses["1"] == "fixed, unverified"


def test_ordinary_code_and_tests_replace_nothing(history: History, service: Path) -> None:
    (service / f"{PACKAGE}/ordinary.py").write_text(ORDINARY, encoding="utf-8")
    (service / "tests/conftest.py").write_text(ORDINARY_CONFTEST, encoding="utf-8")
    append("tests/test_own.py", "def test_x(monkeypatch):\n    monkeypatch.setattr('my_service.bastion.clock.now', 1)")(
        service
    )
    assert look(history, service).findings == ()


def test_the_template_itself_replaces_nothing(service: Path) -> None:
    """Looked at as if it were a team's: three places hand a module on, and none assigns to one."""
    found = Program(Repository.open(service), "another").replaced
    assert [one.name for one in found if one.certain] == []
    assert len(found) <= 5


@pytest.mark.parametrize(
    "source",
    [
        "[" * 60 + "x" + " for x in y]" * 60 + "\n",
        "x = " + "[a for a, b, c in " * 60 + "z" + "]" * 60 + "\n",
        "from .bastion import audit\n" + "".join(f"a{n} = a{n - 1}\n" for n in range(9000, 0, -1)),
        "a = " + "f(" * 80 + "b" + ")" * 80 + "\n",
        "from .bastion import audit\n" + "#" * 300_000,
    ],
    ids=["comprehensions", "targets", "aliases", "calls", "long"],
)
def test_code_that_was_made_to_take_long_ends(service: Path, source: str) -> None:
    (service / f"{PACKAGE}/hostile.py").write_text(source, encoding="utf-8")
    began = time.process_time()
    Program(Repository.open(service), "my_service").replaced  # noqa: B018
    assert time.process_time() - began < 5


# --- libraries -------------------------------------------------------------------------------------------------------

DEPENDENCIES: dict[str, Change] = {
    "a source that is a folder": pyproject('[tool.uv.sources]\nwerkzeug = { path = "../werkzeug" }'),
    "a source that is a fork": pyproject('[tool.uv.sources]\nFlask_WTF = { git = "https://git.example/x.git" }'),
    "a source of what a library brings": pyproject('[tool.uv.sources]\nitsdangerous = { path = "fork" }'),
    "an index of its own": pyproject('[tool.uv.sources]\nwerkzeug = { index = "x" }'),
    "left out": pyproject('[tool.uv]\nexclude-dependencies = ["flask-wtf"]'),
    "left out in uv.toml": append("uv.toml", 'exclude-dependencies = ["flask-wtf"]'),
    "overridden by an older one": pyproject('[tool.uv]\noverride-dependencies = ["werkzeug==3.0.1"]'),
    "overridden by an address": pyproject('[tool.uv]\noverride-dependencies = ["werkzeug @ file:///x"]'),
    "asked for from an address": edit(
        "pyproject.toml", '"my-service[bastion]",', '"my-service[bastion]",\n    "werkzeug @ git+https://x/y",'
    ),
    "a module of its name": append(f"{PACKAGE}/../werkzeug/__init__.py", ""),
    "a file of its name": append("itsdangerous.py", ""),
    "a module of another name than it": append("src/argon2/__init__.py", ""),
    "forced into the wheel": pyproject('[tool.hatch.build.targets.wheel.force-include]\n"old" = "werkzeug"'),
    "forced into bastion": pyproject(
        '[tool.hatch.build.targets.wheel.force-include]\n"a.py" = "my_service/bastion/edge/headers.py"'
    ),
    "in the wheel": edit("pyproject.toml", '["src/my_service"]', '["src/my_service", "vendor/werkzeug"]'),
    "bastion left out of the wheel": append("hatch.toml", '[build]\nexclude = ["src/my_service/bastion/edge/*"]'),
    "a build hook": pyproject("[tool.hatch.build.hooks.custom]"),
    "installed in the image": append("Dockerfile", "FROM x\nRUN uv sync && \\\n    pip install 'werkzeug==3.0.1'"),
    "installed in the image from a list": both(
        append("Dockerfile", "FROM x\nRUN pip install -r old.txt"), append("old.txt", "Werkzeug==3.0.1  # pinned")
    ),
    "a folder before the libraries in CI": both(
        append(".github/workflows/tests.yml", "env:\n  PYTHONPATH: src:vendor"),
        append("vendor/werkzeug/__init__.py", ""),
    ),
    "an unknown folder before the libraries in CI": append(
        ".github/workflows/tests.yml", "env:\n  PYTHONPATH: ${{ runner.temp }}/libraries"
    ),
    "a folder before the libraries in a pod": append(
        "deploy/overlays/x.yaml", "env:\n  - name: PYTHONPATH\n    value: /opt/old"
    ),
    "a folder that code puts before the libraries": both(
        append("vendor/werkzeug/__init__.py", ""), code("import sys\nsys.path.insert(0, 'vendor')")
    ),
}
ORDINARY_PROJECT = both(
    pyproject(
        '[tool.uv]\noverride-dependencies = ["jinja2>=3.1.6", "six==1.0"]\nexclude-dependencies = ["six"]\n\n'
        '[tool.uv.sources]\nacme-billing = { git = "https://git.example/billing.git" }\n'
        'acme-tools = { workspace = true }\n\n[[tool.uv.index]]\nname = "acme"\nurl = "https://x/"\ndefault = true\n\n'
        '[tool.hatch.build.targets.wheel.force-include]\n"assets" = "my_service/assets"'
    ),
    edit("pyproject.toml", '"my-service[bastion]",', '"my-service[bastion]",\n    "acme-billing",\n    "rich>=14",'),
    edit("pyproject.toml", '["src/my_service"]', '["src/my_service", "src/acme"]'),
    append("src/acme/__init__.py", ""),
    append(f"{PACKAGE}/jwt/__init__.py", ""),
    append("scripts/flask.py", ""),
    append("tests/jwt/__init__.py", ""),
    append(
        "Dockerfile",
        "FROM python:3.13\nWORKDIR /code\nENV PYTHONPATH=/code/src:${PYTHONPATH:-}\n"
        "RUN pip install uv==0.9 && pip install --no-cache-dir werkzeug 'flask>=3.1.3' rich==13 -r requirements.txt",
    ),
    append("requirements.txt", "werkzeug>=3.1.9\nrich==13"),
    append(".github/workflows/tests.yml", "env:\n  PYTHONPATH: ${{ github.workspace }}/src:lib\n# PYTHONPATH: x"),
    append("lib/acme.py", ""),
    append("compose.yaml", "services:\n  web:\n    environment:\n      PYTHONPATH: ./src"),
)


@pytest.mark.parametrize("way", DEPENDENCIES)
def test_a_library_that_is_another_is_found(history: History, service: Path, way: str) -> None:
    DEPENDENCIES[way](service)
    report = look(history, service)
    assert report.status == 1
    assert {kind for kind, _ in kinds(report)} - {"fix-lost"} == {"dependency-replaced"}


@pytest.mark.parametrize(
    "text",
    [
        "[tool.uv]\nsources = 3\noverride-dependencies = 3\nexclude-dependencies = [3, '']",
        "[tool.uv]\nsources = ['werkzeug']\noverride-dependencies = ['werkzeug>=x', '@', 'werkzeug @']",
        "[tool.uv.sources]\nx = 3\ny = [3]\n[tool.hatch]\nbuild = 3",
        "[tool.hatch.build]\npackages = 3\nexclude = 3\nhooks = 3\ntargets = []\nforce-include = ['werkzeug']",
        "[tool.hatch.build.targets.wheel.force-include]\nx = 3\ny = ''\nz = '/'",
        "[tool.pytest]\nini_options = 3",
    ],
)
def test_values_of_another_kind_end_in_no_error(history: History, service: Path, text: str) -> None:
    (service / "uv.lock").unlink()
    replace_once(service / "pyproject.toml", '"werkzeug>=3.1.9,<4"', '"werkzeug>=3.x"')
    if "ini_options" in text:
        replace_once(service / "pyproject.toml", "[tool.pytest.ini_options]", "[tool.other]")
    pyproject(text)(service)
    append("Dockerfile", "RUN pip install 'werkzeug==x' @ '' -r -r ../x werkzeug@ && pip install")(service)
    append("deploy/x.yaml", "PYTHONPATH: ${{ }} ${ ::: \nPYTHONPATH=:/:..:\0")(service)
    assert look(history, service).status == 1


def test_a_teams_own_libraries_and_image_raise_no_alarm(history: History, service: Path) -> None:
    ORDINARY_PROJECT(service)
    assert look(history, service).findings == ()


def test_what_the_libraries_bring_is_complete(service: Path) -> None:
    """By the lock of this repository, in which the libraries of a service are too."""
    packages = {one["name"]: one for one in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]}
    project = tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {re.split(r"[^a-z0-9-]", line)[0] for line in project["project"]["optional-dependencies"]["bastion"]}
    assert asked <= packages.keys()
    waiting, brought = list(asked), set[str]()
    while waiting:
        lines = list(packages[waiting.pop()].get("dependencies", ()))
        for line in lines:
            extras = packages[line["name"]].get("optional-dependencies", {})
            lines += [inner for extra in line.get("extra", ()) for inner in extras.get(extra, ()) if inner not in lines]
        needed = {line["name"] for line in lines}
        waiting += needed - brought
        brought |= needed
    assert brought - asked <= dependencies._INDIRECT
    assert brought >= dependencies._INDIRECT


# --- proofs ----------------------------------------------------------------------------------------------------------

HOOK = "def pytest_collection_modifyitems(config, items):\n"
SWITCHES: dict[str, Change] = {
    "not collected": append("tests/conftest.py", 'collect_ignore = ["proofs"]'),
    "not collected by a pattern": append("tests/conftest.py", 'collect_ignore_glob = ["*"]'),
    "ignored by a hook": append("conftest.py", "def pytest_ignore_collect(collection_path):\n    return True"),
    "taken out": append("tests/conftest.py", f"{HOOK}    items[:] = [i for i in items if 'x' in i.nodeid]"),
    "taken out one by one": append("tests/conftest.py", f"{HOOK}    for i in list(items):\n        items.remove(i)"),
    "never called": append("tests/conftest.py", "def pytest_pyfunc_call(pyfuncitem):\n    return True"),
    "called good": append("tests/conftest.py", "def pytest_sessionfinish(session):\n    session.exitstatus = 0"),
    "without their plugin": append(
        "tests/conftest.py", "def pytest_configure(config):\n    config.pluginmanager.unregister(name='x')"
    ),
    "on a service of the team's": append(
        "tests/conftest.py", "import pytest\n\n\n@pytest.fixture\ndef service():\n    return None"
    ),
    "by an option": edit("pyproject.toml", '"--strict-markers"]', '"--strict-markers", "--ignore=tests/proofs"]'),
    "by other options": append("pytest.ini", "[pytest]\naddopts = -q"),
}


@pytest.mark.parametrize("way", SWITCHES)
def test_proofs_that_are_switched_off_are_found(history: History, service: Path, way: str) -> None:
    SWITCHES[way](service)
    report = look(history, service)
    assert report.status == 1
    assert {kind for kind, _ in kinds(report)} == {"proofs-switched-off"}


def test_options_of_a_team_raise_no_alarm(history: History, service: Path) -> None:
    edit("pyproject.toml", '"--strict-markers"]', '"--strict-markers", "-m", "not slow"]')(service)
    edit("pyproject.toml", "xfail_strict = true", 'xfail_strict = true\nnorecursedirs = ["data"]')(service)
    assert look(history, service).findings == ()


# --- sources and git -------------------------------------------------------------------------------------------------


def trust(service: Path, *keys: str) -> None:
    append(
        ".bastion-trust.toml",
        "[[source]]\naddress = 'https://elsewhere.example/template.git'\n"
        f"keys = [{', '.join(repr(key) for key in keys)}]",
    )(service)


def test_a_second_source_with_a_strangers_key_is_found(history: History, service: Path) -> None:
    assert recorded(service)["_src_path"] == ADDRESS
    trust(service, OTHER_KEY)
    report = look(history, service)
    assert kinds(report) == {("trust-stranger", "warning")}


def test_a_mirror_with_the_same_key_raises_no_alarm(history: History, service: Path) -> None:
    trust(service, KEY.rpartition(" ")[0] + " mirror")
    assert look(history, service).findings == ()


@pytest.mark.parametrize("version", ["2", "4"])
@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
def test_a_file_that_git_does_not_look_at_is_found(history: History, service: Path, flag: str, version: str) -> None:
    """Committed without the fix, and edited back where `check` looks."""
    file = f"{PACKAGE}/bastion/edge/headers.py"
    good = (service / file).read_bytes()
    git(service, "init", "--quiet")
    git(service, "config", "index.version", version)
    (service / file).write_bytes(b"# without the fix\n")
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--message", "x")
    (service / "notes.txt").write_text("mine\n", encoding="utf-8")
    git(service, "add", "--intent-to-add", "notes.txt")
    git(service, "update-index", flag, "README.md")
    (service / file).write_bytes(good)
    assert look(history, service).findings == (), "the legitimate way"
    git(service, "update-index", flag, file)
    assert file not in git(service, "status", "--porcelain")
    report = look(history, service)
    assert kinds(report) == {("git-hidden", "error")}
    (found,) = report.findings
    assert found.file == file


@pytest.mark.parametrize(
    "index", [b"", b"DIRC", b"DIRC\0\0\0\2\xff\xff\xff\xff", b"DIRC\0\0\0\x04\0\0\0\2" + b"\xff" * 300]
)
def test_an_index_that_can_not_be_read_is_told(service: Path, index: bytes) -> None:
    (service / ".git").mkdir()
    (service / ".git/index").write_bytes(index)
    (found,) = hidden_files(service)
    assert (found.kind, found.level) == ("git-hidden", "warning")


def test_half_an_index_is_told(service: Path) -> None:
    git(service, "init", "--quiet")
    git(service, "add", "--all")
    assert hidden_files(service) == []
    git(service, "update-index", "--split-index")
    (found,) = hidden_files(service)
    assert "are not known" in found.text


def test_no_index_is_followed_through_a_link(service: Path, tmp_path: Path) -> None:
    (service / ".git").mkdir()
    (tmp_path / "index").write_bytes(b"DIRC")
    (service / ".git/index").symlink_to(tmp_path / "index")
    assert hidden_files(service) == []


# --- without a protection --------------------------------------------------------------------------------------------


def hide(service: Path) -> None:
    git(service, "init", "--quiet")
    git(service, "add", "--all")
    git(service, "update-index", "--skip-worktree", f"{PACKAGE}/app.py")


SABOTAGES: dict[str, tuple[Change, tuple[str, str, str]]] = {
    "caller": (
        REPLACED["the caller of the fixed function"],
        ("check.py", "        findings += replacements.findings(program.replaced)\n", ""),
    ),
    "libraries": (
        DEPENDENCIES["a source that is a fork"],
        ("check.py", "        findings += dependencies.findings(repository, repository.package)\n", ""),
    ),
    "switches": (
        SWITCHES["not collected"],
        ("check.py", "        findings += proof_switches.findings(repository)\n", ""),
    ),
    "stranger": (
        lambda service: trust(service, OTHER_KEY),
        ("trust.py", "<= keys:", "<= {*keys, *map(_key, other.keys)}:"),
    ),
    "hidden": (hide, ("check.py", "        findings += hidden.findings(repository.tree.root)\n", "")),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_without_the_protection_the_attack_exits_0(
    history: History, service: Path, command: Callable[..., Command], name: str
) -> None:
    attack, sabotage = SABOTAGES[name]
    arguments = ("check", service, "--template", history.repository.path)
    intact, sabotaged = command(), command(sabotage)
    assert (intact(*arguments).returncode, sabotaged(*arguments).returncode) == (0, 0), "the legitimate way"
    attack(service)
    assert intact(*arguments).returncode == 1
    assert sabotaged(*arguments).returncode == 0
