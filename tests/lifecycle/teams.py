"""What teams do to a service between two updates: in what is theirs, and now and then in what is not.

Each deed is one that a service's history shows: work on one's own files, or a shortcut under pressure. They are drawn
by lot from a fixed seed, so the same teams do the same in every run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from histories import OLD_FLOOR
from services import Service
from support import COMBINATIONS, Combination, done

from .years import BASTION, COOKIE, FALLBACK, HEADERS, RESORT, SETTINGS, SRC, TOKENS, VERSIONS

Deed = Callable[[Service, str], None]
"""Takes the service and the version to which it will be updated next."""
ENDS = (datetime.now(UTC) + timedelta(days=90)).date()


def _edit(service: Service, name: str, old: str, new: str) -> None:
    """Edit what is there; a team whose file is gone, or says it no more, has nothing to do."""
    if service.has(name):
        service.write(name, service.read(name).replace(old, new, 1))


def _append(service: Service, name: str, text: str) -> None:
    if service.has(name):
        service.write(name, service.read(name) + text)


# --- in what is theirs -----------------------------------------------------------------------------------------------

PAGE = '''"""Reports, a feature of the team."""

from __future__ import annotations

from flask import Blueprint, render_template

from .bastion import login_required

blueprint = Blueprint("reports", __name__)


@blueprint.get("/reports")
@login_required
def reports() -> str:
    return render_template("reports.html")
'''
ENDPOINT = '''"""Reports, a feature of the team."""

from __future__ import annotations

from flask import Blueprint

from .bastion import login_required
from .bastion.jwt.api import operation
from .bastion.jwt.schema import Answer

blueprint = Blueprint("reports", __name__)


class Reports(Answer):
    names: list[str]


@blueprint.get("/reports")
@login_required
@operation
def reports() -> Reports:
    """The reports that there are."""
    return Reports(names=[])
'''


def feature(service: Service, _: str) -> None:
    """A module with a route, registered in app.py, and its test."""
    jwt = service.has(f"{BASTION}/jwt")
    service.write(f"{SRC}/reports.py", ENDPOINT if jwt else PAGE)
    if not jwt:
        page = '{% extends "bastion/base.html" %}\n{% block content %}<h1>None yet</h1>{% endblock %}\n'
        service.write(f"{SRC}/templates/reports.html", page)
    _edit(
        service,
        f"{SRC}/app.py",
        "from .bastion import service\n",
        "from . import reports\nfrom .bastion import service\n",
    )
    register = "    app.register_blueprint(reports.blueprint)\n"
    before = '"""Register what the service does. bastion makes the app before this runs, and seals it after."""\n'
    _edit(service, f"{SRC}/app.py", before, before + register)
    service.write("tests/test_reports.py", '"""Ours."""\n\n\ndef test_ours() -> None:\n    assert True\n')


def dependency(service: Service, _: str) -> None:
    """As `uv add tomli-w` and `uv add --dev pyyaml` write it."""
    _edit(service, "pyproject.toml", '"my-service[bastion]",\n', '"my-service[bastion]",\n    "tomli-w>=1.2,<2",\n')
    group = '{ include-group = "bastion-dev" },\n'
    _edit(service, "pyproject.toml", group, f'{group}    "pyyaml>=6.0.2",\n')


def raised_dependency(service: Service, _: str) -> None:
    """As Renovate raises what the team requires."""
    _edit(service, "pyproject.toml", '"tomli-w>=1.2,<2"', '"tomli-w>=1.2.0,<2"')


def settings(service: Service, _: str) -> None:
    """A setting and a role of its own."""
    _edit(service, f"{SRC}/settings.py", "    start_page:", "    page_size: int = 20\n    start_page:")
    admin = '        "admin":'
    _edit(service, f"{SRC}/settings.py", admin, f'        "auditor": frozenset({{"reports.read"}}),\n{admin}')


def pages(service: Service, _: str) -> None:
    """A page of its own, and one of the same name as a page of bastion, with a style."""
    if service.has(f"{BASTION}/session"):
        own = '{% extends "bastion/base.html" %}\n{% block content %}<h1>About</h1>{% endblock %}\n'
        service.write(f"{SRC}/templates/about.html", own)
        login = service.read(f"{BASTION}/session/templates/bastion/login.html")
        service.write(f"{SRC}/templates/bastion/login.html", login)
        service.write(f"{SRC}/static/own.css", "h1 { color: teal }\n")


def exception(service: Service, _: str) -> None:
    """A limit within its bounds, with reason, owner and end."""
    limit = f'\n[limits.session_idle_minutes]\nvalue = 45\nreason = "Wards"\nowner = "a@b.example"\nuntil = {ENDS}\n'
    if "\n[limits." not in service.read(f"{SRC}/exceptions.toml"):
        _append(service, f"{SRC}/exceptions.toml", limit)


def readme(service: Service, _: str) -> None:
    """Written anew."""
    service.write("README.md", "# The payments service\n\nAsk the team of payments.\n")


def no_readme(service: Service, _: str) -> None:
    """Deleted, and to stay so."""
    (service.path / "README.md").unlink(missing_ok=True)


def no_example(service: Service, _: str) -> None:
    """The example is deleted as the README says."""
    shutil.rmtree(service.path / SRC / "notes", ignore_errors=True)
    for file in (service.path / "tests").glob("test_notes_*.py"):
        file.unlink()
    _edit(service, f"{SRC}/app.py", "from . import notes\n", "")
    _edit(service, f"{SRC}/app.py", "    app.register_blueprint(notes.blueprint)\n", "")
    _edit(service, f"{SRC}/settings.py", '"notes.index"\n', '""\n')
    _edit(service, f"{SRC}/settings.py", '(("notes.index", "Notes"),)', "()")


def moved_example(service: Service, _: str) -> None:
    """Its own folder has another place."""
    if service.has(f"{SRC}/notes") and not service.has(f"{SRC}/features"):
        (service.path / SRC / "features").mkdir()
        shutil.move(service.path / SRC / "notes", service.path / SRC / "features" / "notes")
        service.write(f"{SRC}/features/__init__.py", "")
        _edit(service, f"{SRC}/app.py", "from . import notes\n", "from .features import notes\n")


def released(service: Service, _: str) -> None:
    """Its version goes up, which stands between lines of the template."""
    text = service.read("pyproject.toml")
    number = re.search(r'^version = "(\d+)', text, re.MULTILINE)
    assert number is not None
    service.write(
        "pyproject.toml", re.sub(r'^version = ".*"', f'version = "{int(number[1]) + 1}.0.0"', text, flags=re.M)
    )


def described(service: Service, _: str) -> None:
    """It says something else of itself than was answered."""
    text = service.read("pyproject.toml")
    service.write("pyproject.toml", re.sub(r"^description = .*", 'description = "Payments"', text, flags=re.M))


def tables(service: Service, _: str) -> None:
    """Tables of its own, and lines of its own in tables of the template."""
    if "tool.coverage" not in service.read("pyproject.toml"):
        _append(service, "pyproject.toml", "\n[tool.coverage.run]\nbranch = true\n")
        _edit(
            service,
            "pyproject.toml",
            'filterwarnings = ["error"]\n',
            'filterwarnings = ["error"]\nmarkers = ["slow"]\n',
        )
        tests = '"tests/**" = '
        _edit(service, "pyproject.toml", tests, f'"{SRC}/reports.py" = ["E501"]\n{tests}')
        build = "[project.optional-dependencies]\n"
        _edit(service, "pyproject.toml", build, f'{build}own = ["tomli-w>=1.2"]\n')


def ignored(service: Service, _: str) -> None:
    """A .gitignore below the template's."""
    service.write(f"{SRC}/.gitignore", "*.generated.py\n")


def workflow(service: Service, _: str) -> None:
    """A workflow beside the template's."""
    if service.has(".github"):
        service.write(".github/workflows/deploy.yml", "on: push\n")


def documents(service: Service, _: str) -> None:
    """What operators read, and texts of mails."""
    service.write("docs/runbook.md", "# When it is down\n")
    service.write(f"{SRC}/mail.toml", "")


def migration(service: Service, _: str) -> None:
    """A table of its own, after the template's."""
    text = 'revision, down_revision, branch_labels, depends_on = "team0002", "team0001", None, "bastion0004"\n'
    service.write(f"{SRC}/migrations/0002_reports.py", f'"""A table."""\n\n{text}')


def other_secrets(service: Service, _: str) -> None:
    """An answer is changed, as the README says: by an update to the version that the service has."""
    service.commit("Our work")
    done(service.update(":current:", secrets=_other(service)))
    assert service.conflicts() == []


def _other(service: Service) -> str:
    return "files" if "\nsecrets: env\n" in service.read(".copier-answers.yml") else "env"


OWN: tuple[Deed, ...] = (
    feature, dependency, raised_dependency, settings, pages, exception, readme, no_readme, no_example, moved_example,
    released, described, tables, ignored, workflow, documents, migration,
)  # fmt: skip

# --- in what is not --------------------------------------------------------------------------------------------------

_TOUCHED = {  # what the version changes, and a line beside it that a team may change as well
    "v1.0.1": (HEADERS, '"0")  # the old filter was itself', '"0")  # ours: the old filter was itself'),
    "v1.1.0": (
        "edge/__init__.py",
        "or request_line.refuse_method(environ)\n",
        "or request_line.refuse_method(environ)  # ours\n",
    ),
    "v1.1.1": (TOKENS, 'if payload["client_id"] != CLIENT:\n', 'if payload["client_id"] not in (CLIENT, "app"):\n'),
    "v1.2.0": ("clock.py", "for windows of counters.", "for our counters."),
    "v2.0.0": (SETTINGS, "60, least=10, most=720, row=", "60, least=10, most=600, row="),
    "v2.0.1": (FALLBACK, "error=type(error).__name__, exc", "error=repr(type(error)), exc"),
}
_TOUCHED_IN_SESSIONS = (COOKIE, "        cookie = cookies[0]\n", "        cookie = cookies[0].strip()\n")
_REPLACED = {
    "v1.0.1": ("edge.headers", "_table", "lambda *_, **__: iter(())"),
    "v1.1.1": ("jwt.tokens", "_check_claims", "lambda payload: None"),
    "v2.0.1": ("edge.fallback", "report", "print"),
}


def _touched(service: Service, to: str) -> tuple[str, str, str]:
    """What the next version changes in bastion/, under the name that it has here."""
    file, old, new = _TOUCHED[to]
    if to == "v1.1.1" and service.has(f"{BASTION}/session"):
        file, old, new = _TOUCHED_IN_SESSIONS
    if not service.has(f"{BASTION}/{file}") and file == FALLBACK:
        file = RESORT
    return f"{BASTION}/{file}", old, new


def edits_elsewhere(service: Service, _: str) -> None:
    """A line in a file of the template that no version touches."""
    _append(service, f"{BASTION}/request/paths.py", "\n# Ours.\n")


def edits_nearby(service: Service, to: str) -> None:
    """The very line that the next version changes, or the one beside it."""
    _edit(service, *_touched(service, to))


def reformats(service: Service, to: str) -> None:
    """A tool of the team's own formats a file of the template."""
    name, _, _ = _touched(service, to)
    if service.has(name):
        service.write(name, re.sub(r"^((?:    )+)", _tabs, service.read(name), flags=re.M))


def _tabs(spaces: re.Match[str]) -> str:
    return "\t" * (len(spaces[1]) // 4)


def deletes(service: Service, to: str) -> None:
    """What the next version changes is gone."""
    (service.path / _touched(service, to)[0]).unlink(missing_ok=True)


def moves(service: Service, to: str) -> None:
    """A file that a fix is in is moved to the team's folder, with what imports it."""
    file = RESORT if VERSIONS.index(to) >= VERSIONS.index("v2.0.0") else HEADERS
    file = file if service.has(f"{BASTION}/{file}") else FALLBACK
    name, stem = f"{BASTION}/{file}", file.removeprefix("edge/").removesuffix(".py")
    if service.has(name):
        text = re.sub(r"^from \.(\.?)(\w*)", _from_beside, service.read(name), flags=re.M)
        service.write(f"{SRC}/moved_{stem}.py", text)
        (service.path / name).unlink()
        _edit(service, f"{BASTION}/edge/__init__.py", f"from .{stem} import", f"from ...moved_{stem} import")


def _from_beside(found: re.Match[str]) -> str:
    """An import of edge/, from a module that lies beside bastion/ now."""
    return f"from .bastion{'' if found[1] else '.edge'}{'.' + found[2] if found[2] else ''}"


def claims(service: Service, to: str) -> None:
    """The version is written into the answers file instead of an update."""
    answers = service.read(".copier-answers.yml")
    service.write(".copier-answers.yml", re.sub(r"^_commit: .*", f"_commit: {to}", answers, flags=re.M))


def replaces(service: Service, to: str) -> None:
    """What the next version mends is replaced from app.py."""
    if to not in _REPLACED or (to == "v1.1.1" and not service.has(f"{BASTION}/jwt")):
        to = "v1.0.1"
    module, name, value = _REPLACED[to]
    package, _, stem = module.rpartition(".")
    if to == "v2.0.1" and not service.has(f"{BASTION}/{FALLBACK}"):
        stem = "last_resort"
    _edit(
        service, f"{SRC}/app.py", "from .bastion import", f"from .bastion.{package} import {stem}\nfrom .bastion import"
    )
    _append(service, f"{SRC}/app.py", f"\n{stem}.{name} = {value}\n")


def loosens(service: Service, _: str) -> None:
    """A limit beyond what a later version allows."""
    limit = (
        f'\n[limits.csrf_token_minutes]\nvalue = 480\nreason = "Long forms"\nowner = "a@b.example"\nuntil = {ENDS}\n'
    )
    if "csrf_token_minutes" not in service.read(f"{SRC}/exceptions.toml"):
        _append(service, f"{SRC}/exceptions.toml", limit)


def caps(service: Service, _: str) -> None:
    """The template's own requirement has another cap."""
    text = service.read("pyproject.toml")
    service.write("pyproject.toml", re.sub(r'"werkzeug>=([\d.]+),<4"', r'"werkzeug>=\1,<3.2"', text))


def holds_back(service: Service, _: str) -> None:
    """The old floor stands in the template's list, and the lock is not made anew."""
    text = service.read("pyproject.toml")
    service.write("pyproject.toml", re.sub(r'"werkzeug>=[^"]*"', OLD_FLOOR, text))


def edits_workflow(service: Service, _: str) -> None:
    """A step, and another time, in the template's own workflow."""
    _edit(service, ".github/workflows/bastion.yml", "timeout-minutes: 10", "timeout-minutes: 30")
    _edit(service, ".github/workflows/bastion.yml", "timeout-minutes: 15", "timeout-minutes: 30")


def edits_ignored(service: Service, _: str) -> None:
    """Lines of its own where the template's are."""
    _edit(service, ".gitignore", "*.dump\n", "*.dump\n*.tmp\n")


def edits_answers(service: Service, _: str) -> None:
    """An answer is changed in the file, without an update."""
    answers = service.read(".copier-answers.yml")
    service.write(".copier-answers.yml", re.sub(r"^secrets: .*", f"secrets: {_other(service)}", answers, flags=re.M))


FOREIGN: tuple[Deed, ...] = (
    edits_elsewhere, edits_nearby, reformats, deletes, moves, claims, replaces, loosens, caps, holds_back,
    edits_workflow, edits_ignored, edits_answers,
)  # fmt: skip

# --- who they are ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Team:
    """One service's years: its answers, the versions that it takes, and what is done before each."""

    number: int
    combination: Combination
    ci: str
    way: str  # "each" version, some are "skipped", or one "jump" to the last
    versions: tuple[str, ...]
    own: tuple[tuple[Deed, ...], ...]  # before each of the versions
    foreign: tuple[tuple[Deed, ...], ...]
    resolves: str  # a conflict: "ours", "theirs"

    @property
    def respects(self) -> bool:
        """Whether it leaves alone what is the template's."""
        return not any(self.foreign)

    @property
    def name(self) -> str:
        return f"{self.number:02}-{self.combination.name}"


_MOST = ("skipped", "jump", "skipped", "jump", "skipped", "skipped", "jump")
WAYS = ("each", *_MOST, "skipped", *_MOST)
"""How often each way is taken: most teams take some versions, few take all."""


def population(count: int, *, careless: int = 4) -> list[Team]:
    """That many teams over all answers; one of `careless` does what it may not, once or twice in its years."""
    return [_team(number, number % careless == careless - 1) for number in range(count)]


def _team(number: int, careless: bool) -> Team:
    lot = Random(number)  # noqa: S311 - it draws deeds, not secrets
    way = WAYS[(number + number // 8) % len(WAYS)]
    versions = _path(way, lot)
    own = list(OWN)
    lot.shuffle(own)
    per = -(-len(own) // len(versions))
    doing = [tuple(own[at * per : (at + 1) * per]) for at in range(len(versions))]
    if number % 12 == 5:
        doing[-1] = (*doing[-1], other_secrets)
    foreign: list[tuple[Deed, ...]] = [() for _ in versions]
    if careless:
        first = FOREIGN[number // 4 % len(FOREIGN)]
        others = [deed for deed in FOREIGN if deed is not first]
        for deed in (first, *lot.sample(others, lot.randint(0, 1))):
            at = lot.randrange(len(versions))
            foreign[at] = (*foreign[at], deed)
    return Team(
        number,
        COMBINATIONS[number * 7 % len(COMBINATIONS)],
        ("github", "github", "none")[number % 3],
        way,
        versions,
        tuple(doing),
        tuple(foreign),
        lot.choice(("ours", "theirs")),
    )


def _path(way: str, lot: Random) -> tuple[str, ...]:
    """The versions that a team takes, of which the last is the template's last."""
    later: Sequence[str] = VERSIONS[1:]
    if way == "each":
        return tuple(later)
    if way == "jump":
        return (later[-1],)
    return (lot.choice(later[:-1]), later[-1])
