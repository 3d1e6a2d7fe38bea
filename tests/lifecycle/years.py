"""Years of a template in seven versions: patches, minors and a major, in which five faults are mended.

v1.0.0 is the tree as it stands, with the floors that are raised later. What comes after is made here, in a scratch
clone; it is small, but of every kind that a version may hold. `check` knows the advisories; whether a fix is there is
said here a second time, by looking at the file that runs, so that `check` itself is judged.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flask_bastion import version
from flask_bastion.advisory import Advisory
from flask_bastion.template import Template
from histories import FLOOR, OLD_FLOOR, PACKAGE, PYPROJECT, osv, read
from support import Combination, Repository, git

VERSIONS = ("v1.0.0", "v1.0.1", "v1.1.0", "v1.1.1", "v1.2.0", "v2.0.0", "v2.0.1")
SRC = "src/my_service"
BASTION = f"{SRC}/bastion"
HEADERS = "edge/headers.py"
TOKENS = "jwt/tokens.py"
COOKIE = "session/cookie.py"
SETTINGS = "settings/__init__.py"
RESORT, FALLBACK = "edge/last_resort.py", "edge/fallback.py"
"""One file under the name that it had before the major version, and since."""

_XSS = '    yield ("X-XSS-Protection", "0")'
_DNS = '    yield ("X-DNS-Prefetch-Control", "off")'
_CLIENT = """    if payload["client_id"] != CLIENT:
        raise InvalidToken("jwt-required-claims")
"""
_ORDER = """    if payload["nbf"] < payload["iat"]:
        raise InvalidToken("jwt-required-claims")
"""
_COOKIE = "        cookie = cookies[0]\n"
_LONG = "        if len(cookie) > LONGEST:\n            return self.session_class()\n"
_MINUTES = "        60, least=10, most=720, row="
_FEWER = "        30, least=10, most=45, row="
_LOGGED = '    _log.error("unhandled_exception", error=type(error).__name__, exc_info=error)\n'
_SHORT = '    _log.error("unhandled_exception", error=type(error).__name__[:100], exc_info=error)\n'
_FLOORS = ((FLOOR, OLD_FLOOR), ('"structlog>=26.1.0,<27"', '"structlog>=25.5.0,<27"'))

_EARLY_DATA = '''"""A request that came as early data of TLS, which anybody can send again, changes nothing.

Whoever recorded the first flight of a connection can play it once more; the proxy marks it with Early-Data.
"""

from __future__ import annotations

from typing import Final
from wsgiref.types import WSGIEnvironment

from .answers import Refusal

ROW: Final = "early-data-refused"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_TOO_EARLY: Final = Refusal(425, ROW)


def refuse(environ: WSGIEnvironment) -> Refusal | None:
    """Refuse with 425 what may change something. Source: RFC 8470, 5.1."""
    early = environ.get("HTTP_EARLY_DATA") == "1"
    return _TOO_EARLY if early and environ["REQUEST_METHOD"] not in _READING else None
'''
_EARLY_DATA_PROOF = '''"""Attacks by a recorded request: what was sent once is played again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from .running import Service

ROW = "early-data-refused"


@protects(ROW, layer=edit("edge/__init__.py", "            or early_data.refuse(environ)\\n", ""))
def test_no_recorded_request_changes_anything_a_second_time(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    client = service.client(service.user()).login()
    works(client.post("/probe").status == 200, "a request of a finished handshake reaches the view")
    works(client.get("/probe", headers={"Early-Data": "1"}).status == 200, "reading may be early")
    seen.clear()
    answer = client.post("/probe", headers={"Early-Data": "1"})
    harm(seen, "the view ran for a request that anybody can send again")
    refused(answer, 425, ROW)
'''
_EARLY_DATA_ROW = (
    "early-data-refused,Early data changes nothing,requests,,"
    '"A request with Early-Data: 1 that is no GET, HEAD or OPTIONS is 425 in the edge (RFC 8470).",own layer in edge/,'
    '"Attack: a POST with Early-Data: 1. Legitimate: the same without it, and a GET with it.",'
    "layer: leave the layer out of the edge,layer,must\n"
)
_MIGRATION = '''"""A session has a name that its user gave it.

Revision ID: bastion0006
Revises: bastion0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "bastion0006"
down_revision = "bastion0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("auth_session", sa.Column("label", sa.String(50), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("auth_session", "label")
'''
_QUESTION = """
data_region:
  type: str
  default: eu
  help: |-
    Where may its data be?

# ---- which files are the team's"""


@dataclass(frozen=True)
class Fix:
    """One fault that a version mended: for whom, in which file of bastion/, and how anybody can see that it is gone."""

    name: str
    since: str
    advisory: Mapping[str, Any]
    file: Callable[[Combination], str]
    present: Callable[[Code, Combination], bool]
    auths: tuple[str, ...] = ("session", "jwt")

    @property
    def before(self) -> str:
        """The last version without it."""
        return VERSIONS[VERSIONS.index(self.since) - 1]

    def concerns(self, combination: Combination, recorded: str) -> bool:
        """Whether a service with these answers and this version was promised it."""
        return combination.auth in self.auths and VERSIONS.index(recorded) >= VERSIONS.index(self.since)


class Code:
    """A service's files, as somebody reads them who looks for a fix himself."""

    def __init__(self, files: Callable[[str], bytes | None]) -> None:
        self._files = files

    @classmethod
    def of(cls, service: Path) -> Code:
        return cls(lambda name: (service / name).read_bytes() if (service / name).is_file() else None)

    def text(self, name: str) -> str:
        """What a file says; an empty text if there is none."""
        return (self._files(name) or b"").decode()

    def says(self, file: str, function: str, statement: str) -> bool:
        """Whether a statement stands in the body of a function of the module that runs, and nobody replaces it.

        A team may have moved the module to moved_<name>.py, with everything that imports it: then that is what runs.
        """
        name = f"{BASTION}/{file}"
        if not self.text(name):
            name = f"{SRC}/moved_{Path(file).name}"
        try:
            body: list[ast.stmt] = ast.parse(self.text(name)).body
            app = self.text(f"{SRC}/app.py")
            for part in function.split("."):
                body = next((getattr(node, "body", []) for node in body if getattr(node, "name", "") == part), [])
            wanted = ast.unparse(ast.parse(statement))
        except SyntaxError:
            return False
        replaced = f"{function.rpartition('.')[2]} = " in app
        return not replaced and wanted in [ast.unparse(node) for node in body]

    def toml(self, name: str) -> dict[str, Any]:
        """The values of a file; {} where there are none."""
        try:
            return tomllib.loads(self.text(name))
        except tomllib.TOMLDecodeError:
            return {}


def _has_floor(code: Code, _: Combination) -> bool:
    project = code.toml("pyproject.toml").get("project", {})
    locked = {one["name"]: one["version"] for one in code.toml("uv.lock").get("package", ())}
    return FLOOR.strip('"') in project.get("optional-dependencies", {}).get("bastion", ()) and (
        locked.get("werkzeug") == "3.1.9"
    )


def _has_limit(code: Code, _: Combination) -> bool:
    declared = code.toml(f"{SRC}/exceptions.toml").get("limits", {}).get("csrf_token_minutes", {}).get("value", 0)
    return _FEWER in code.text(f"{BASTION}/{SETTINGS}") and declared <= 45


def _has_claims(code: Code, combination: Combination) -> bool:
    if combination.auth == "jwt":
        return code.says(TOKENS, "_check_claims", _dedented(_ORDER))
    return code.says(COOKIE, "SignedCookie.open_session", _dedented(_LONG))


def _dedented(text: str) -> str:
    margin = len(text) - len(text.lstrip())
    return "\n".join(line[margin:] for line in text.splitlines())


def _in_code(file: str, within: str, has: str) -> dict[str, str]:
    return {"file": f"src/*/bastion/{file}", "within": within, "has": has}


def _until(since: str) -> list[str]:
    return list(VERSIONS[: VERSIONS.index(since)])


def _token_advisory() -> dict[str, Any]:
    """Two styles, mended in two places: an entry each."""
    about = osv(
        "BASTION-2027-0003",
        "A credential of any length, or from before its time, is looked at.",
        _until("v1.1.1"),
        {"auth": ["jwt"]},
        [_in_code(TOKENS, "_check_claims", _dedented(_ORDER))],
    )
    probe = [_in_code(COOKIE, "SignedCookie.open_session", _dedented(_LONG))]
    session = osv("", "", _until("v1.1.1"), {"auth": ["session"]}, probe)
    return {**about, "affected": [*about["affected"], *session["affected"]]}


FIXES = (
    Fix(
        "header",
        "v1.0.1",
        osv(
            "BASTION-2027-0001",
            "Names in a page are looked up before anybody follows them.",
            _until("v1.0.1"),
            {},
            [_in_code(HEADERS, "_table", _DNS.strip())],
        ),
        lambda _: HEADERS,
        lambda code, _: code.says(HEADERS, "_table", _DNS.strip()),
    ),
    Fix(
        "floor",
        "v1.1.0",
        osv(
            "BASTION-2027-0002",
            "A form of a million fields takes a worker down.",
            _until("v1.1.0"),
            {},
            [{"requires": "werkzeug", "at_least": "3.1.9"}, {"lock": "werkzeug", "at_least": "3.1.9"}],
        ),
        lambda _: "",
        _has_floor,
    ),
    Fix(
        "token",
        "v1.1.1",
        _token_advisory(),
        lambda combination: TOKENS if combination.auth == "jwt" else COOKIE,
        _has_claims,
    ),
    Fix(
        "limit",
        "v2.0.0",
        osv(
            "BASTION-2027-0004",
            "The token of a form counts for half a day.",
            _until("v2.0.0"),
            {"auth": ["session"]},
            [{"limit": "csrf_token_minutes", "at_most": 45}],
        ),
        lambda _: SETTINGS,
        _has_limit,
        ("session",),
    ),
    Fix(
        "log",
        "v2.0.1",
        osv(
            "BASTION-2027-0005",
            "Whoever names an error decides how long a line of the log is.",
            _until("v2.0.1"),
            {},
            [_in_code(FALLBACK, "report", _SHORT.strip())],
        ),
        lambda _: FALLBACK,
        lambda code, _: code.says(FALLBACK, "report", _SHORT.strip()),
    ),
)
"""What was mended, oldest first."""

THINNED = {
    "template/tests/proofs": ("header_table.py", "test_errors.py", "both.csv", "__init__.py", "service.py.jinja"),
    "template/deploy": (),
    f"{PACKAGE}/bastion/identity": ("__init__.py", "models.py", "sessions.py"),
    f"{PACKAGE}/bastion/mail": ("__init__.py",),
    f"{PACKAGE}/bastion/session/static": (),
    f"{PACKAGE}/bastion/session/templates": ("base.html", "login.html"),
}
"""Folders that no version changes and no team touches, but for these files in them."""


@dataclass(frozen=True)
class Years:
    """The template with its seven versions."""

    repository: Repository

    @classmethod
    def make(cls, path: Path, *, lean: bool = False) -> Years:
        """`lean` leaves out many files that no version changes and no team touches: each costs Copier time."""
        repository = Repository.make(path)
        if lean:
            _thin(repository.path)
        for change in (_first, _header, _early_data, _token, _tidy, _major, _log):
            change(repository)
            repository.release(VERSIONS[len(git(path, "tag").split())])
        return cls(repository)

    @cached_property
    def template(self) -> Template:
        return Template(self.repository.path)

    @cached_property
    def advisories(self) -> dict[str, Advisory]:
        """By the name of the fix."""
        return {fix.name: read(dict(fix.advisory)) for fix in FIXES}

    def files(self, ref: str, combination: Combination) -> dict[str, bytes]:
        """Every file of a service but its answers and its lock, as Copier renders it."""
        number = version.parse(ref)
        assert number is not None
        return self.template.release(number).render(combination.data, whole=True)


def _thin(path: Path) -> None:
    for folder, kept in THINNED.items():
        for file in (path / folder).rglob("*"):
            if file.is_file() and file.name not in kept:
                file.unlink()


# --- what each version changes ---------------------------------------------------------------------------------------


def _bastion(repository: Repository, name: str, old: str, new: str) -> None:
    repository.edit(f"{PACKAGE}/bastion/{name}", old, new)


def _write(repository: Repository, name: str, text: str) -> None:
    (repository.path / name).write_text(text, encoding="utf-8")


def _append(repository: Repository, name: str, text: str) -> None:
    path = repository.path / name
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def _first(repository: Repository) -> None:
    """v1.0.0: the tree as it stands, with lower floors."""
    for floor, old in _FLOORS:
        repository.edit(PYPROJECT, floor, old)


def _header(repository: Repository) -> None:
    """v1.0.1, a patch: a header, its line in the proofs, a longer time for the workflow."""
    _bastion(repository, HEADERS, _XSS, f"{_DNS}\n{_XSS}")
    line = '    "X-XSS-Protection": "0",\n'
    repository.edit("template/tests/proofs/header_table.py", line, f'{line}    "X-DNS-Prefetch-Control": "off",\n')
    workflow = "template/.github/workflows/bastion.yml"
    repository.edit(workflow, "timeout-minutes: 10", "timeout-minutes: 15")


def _early_data(repository: Repository) -> None:
    """v1.1.0, a minor: a module with its proof, floors, a question, a rendered file, a migration that only adds."""
    for floor, old in _FLOORS:
        repository.edit(PYPROJECT, old, floor)
    _write(repository, f"{PACKAGE}/bastion/edge/early_data.py", _EARLY_DATA)
    _bastion(repository, "edge/__init__.py", "from . import health,", "from . import early_data, health,")
    layer = "            or request_line.refuse_method(environ)\n"
    _bastion(repository, "edge/__init__.py", layer, f"{layer}            or early_data.refuse(environ)\n")
    _write(repository, "template/tests/proofs/test_early_data.py", _EARLY_DATA_PROOF)
    _append(repository, "template/tests/proofs/catalogue/both.csv", _EARLY_DATA_ROW)
    methods = "| `methods-closed` |"
    row = "| `early-data-refused` | Early data changes nothing |  |\n"
    repository.edit("includes/protections.md.jinja", methods, f"{row}{methods}")
    _write(repository, f"{PACKAGE}/bastion/database/migrations/0006_label.py", _MIGRATION)
    agent = '    agent: Mapped[str] = mapped_column(String(200), default="")\n'
    label = '    label: Mapped[str] = mapped_column(String(50), default="", server_default="")\n'
    _bastion(repository, "identity/models.py", agent, agent + label)
    repository.edit("copier.yml", "\n# ---- which files are the team's", _QUESTION)
    region = "# Where the data may be\n\n{{ data_region | upper }}\n"
    _write(repository, "template/docs/bastion/region.md.jinja", region)
    repository.edit("template/.gitignore", "*.dump\n", "*.dump\n*.bak\n")
    _append(repository, f"{PACKAGE}/app.py", "\n# The template's example moved on.\n")
    _append(repository, "template/README.md.jinja", "\nThe template's README moved on.\n")


def _token(repository: Repository) -> None:
    """v1.1.1, a patch on it: what a token, or a cookie, must be."""
    _bastion(repository, TOKENS, _CLIENT, _CLIENT + _ORDER)
    _bastion(repository, COOKIE, _COOKIE, _COOKIE + _LONG)
    limit = "\n\n_log = log.get_logger("
    longest = "\nLONGEST: Final = 4096  # characters; browsers keep no longer one (RFC 6265, 6.1)"
    _bastion(repository, COOKIE, f"{limit}", f"{longest}{limit}")


def _tidy(repository: Repository) -> None:
    """v1.2.0, a minor: nothing of security; a requirement, a key of a tool, a hook, a reason that is told better."""
    repository.edit(PYPROJECT, '    "flask-alembic', '    "click>=8.2,<9",\n    "flask-alembic')
    repository.edit(PYPROJECT, 'minversion = "9.2"\n', 'minversion = "9.2"\ncache_dir = ".pytest_cache"\n')
    hook = "      - id: ruff-check\n"
    toml = (
        "      - id: bastion-keys\n        name: no private key\n        entry: '-----BEGIN [A-Z ]*PRIVATE KEY-----'\n"
    )
    toml += "        language: pygrep\n        types: [text]\n"
    repository.edit("template/.pre-commit-config.yaml", hook, f"{toml}{hook}")
    seconds = (
        '    """Seconds since the epoch, for windows of counters. It follows the system\'s clock, leaps included."""\n'
    )
    plain = '    """Seconds since the epoch, for windows of counters; leaps of the system\'s clock are in them."""\n'
    _bastion(repository, "clock.py", seconds, plain)
    secrets = 'SECRETS = "{{ secrets }}"\n'
    _bastion(repository, "chosen.py.jinja", secrets, f'{secrets}DATA_REGION = "{{{{ data_region }}}}"\n')
    _append(repository, "template/SECURITY.md.jinja", "\nData: the answer `data_region` says where they may be.\n")


def _major(repository: Repository) -> None:
    """v2.0.0: a file has another name, one is gone, one is left out by an answer, a default and a limit are others.

    What a new question leaves out says the question's default: Copier renders these lines with the old version's
    answers as well, and would end with a traceback in each service that was never asked.
    """
    old, new = (repository.path / PACKAGE / "bastion" / name for name in (RESORT, FALLBACK))
    old.rename(new)
    _bastion(repository, "edge/__init__.py", "from .last_resort import FALLBACK", "from .fallback import FALLBACK")
    for proof in (repository.path / "template" / "tests" / "proofs").rglob("*.py"):  # that sabotage it
        proof.write_text(proof.read_text(encoding="utf-8").replace(RESORT, FALLBACK), encoding="utf-8")
    (repository.path / "template" / "docs" / "bastion" / "region.md.jinja").unlink()
    _write(repository, "template/docs/bastion/transfer.md", "# Data that leave the European Union\n")
    excluded = "  - \"{% if ci != 'github' %}/.github{% endif %}\"\n"
    transfer = "  - \"{% if data_region | default('eu') == 'eu' %}/docs/bastion/transfer.md{% endif %}\"\n"
    repository.edit("copier.yml", excluded, excluded + transfer)
    repository.edit("copier.yml", "  default: eu\n", "  default: us\n")
    _bastion(repository, SETTINGS, _MINUTES, _FEWER)


def _log(repository: Repository) -> None:
    """v2.0.1, a patch: in the file with the new name."""
    _bastion(repository, FALLBACK, _LOGGED, _SHORT)
