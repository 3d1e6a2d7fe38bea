"""A template with a past: versions in which faults came and went, their advisories, and services of any version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from flask_bastion import advisory, version
from flask_bastion.advisory import Advisory
from flask_bastion.template import Template
from support import IN_PLACE, Repository

PACKAGE = f"template/src/{IN_PLACE.name}"
HEADERS = f"{PACKAGE}/bastion/edge/headers.py"
TOKENS = f"{PACKAGE}/bastion/jwt/tokens.py"
SETTINGS = f"{PACKAGE}/bastion/settings/__init__.py"
PYPROJECT = "template/pyproject.toml.jinja"
HEADER = '    yield ("X-Frame-Options", "DENY")\n'
CHECK = """    if claims.expires_at + LEEWAY <= moment:
        raise InvalidToken("jwt-access-10-min")
"""
FLOOR, OLD_FLOOR = '"werkzeug>=3.1.9,<4"', '"werkzeug>=3.1.5,<4"'
LIMIT, OLD_LIMIT = "        30, least=5, most=60, row=", "        240, least=5, most=480, row="


KEYS = "includes/release_keys.jinja"
ADDRESS = "https://git.example/platform/flask-bastion.git"
"""Where the template is kept; nobody answers there."""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPLATFORMPLATFORMPLATFORMPLATFORMPLATFORMPLA platform"
"""A public key that nobody has the other half of: a tag that is signed in a test needs one of its own."""


def osv(
    identity: str, summary: str, versions: list[str], when: dict[str, list[str]], probe: list[Any]
) -> dict[str, Any]:
    """An advisory as a file holds it."""
    return {
        "schema_version": "1.7.0",
        "id": identity,
        "modified": "2026-11-20T10:00:00Z",
        "published": "2026-11-20T10:00:00Z",
        "summary": summary,
        "details": "Made for a test.",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:U/C:N/I:L/A:N"}],
        "affected": [
            {
                "versions": versions,
                "database_specific": {"when": when, "probe": probe, "action": "Update to the fixed version."},
            }
        ],
        "database_specific": {"severity": "HIGH"},
    }


IN_TABLE = {"file": "src/*/bastion/edge/headers.py", "within": "_table", "has": 'yield ("X-Frame-Options", "DENY")'}
HISTORIES = {
    "header": osv("BASTION-2026-0001", "A page can be framed.", ["v1.0.1"], {}, [IN_TABLE]),
    "token": osv(
        "BASTION-2026-0002",
        "An access token never ends.",
        ["v1.0.3"],
        {"auth": ["jwt"]},
        [
            {
                "file": "src/*/bastion/jwt/tokens.py",
                "within": "_check_now",
                "has": "if claims.expires_at + LEEWAY <= moment:\n    raise InvalidToken(...)",
            }
        ],
    ),
    "floor": osv(
        "BASTION-2026-0003",
        "A form of a million fields takes a worker down.",
        ["v1.1.0", "v1.1.1"],
        {"database": ["sqlite", "postgresql"]},
        [{"requires": "werkzeug", "at_least": "3.1.9"}, {"lock": "Werkzeug", "at_least": "3.1.9"}],
    ),
    "limit": osv(
        "BASTION-2026-0004",
        "A session that nobody uses lives for hours.",
        ["v1.2.0"],
        {"auth": ["session"]},
        [{"limit": "session_idle_minutes", "at_most": 60}],
    ),
}
"""Four faults that the template's versions below had and lost again, with the advisory that was released for each."""


@dataclass(frozen=True)
class History:
    """A template with versions from v1.0.0 to v1.2.1, in which each fault came and went."""

    repository: Repository

    @classmethod
    def make(cls, path: Path) -> History:
        repository = Repository.make(path)
        repository.edit(KEYS, "release_keys = [\n", f"release_keys = [\n'{KEY}',\n")
        repository.release("v1.0.0")
        for before, after, file, good, bad in (
            ("v1.0.1", "v1.0.2", HEADERS, HEADER, ""),
            ("v1.0.3", "v1.0.4", TOKENS, CHECK, ""),
            ("v1.1.0", "v1.1.2", PYPROJECT, FLOOR, OLD_FLOOR),
            ("v1.2.0", "v1.2.1", SETTINGS, LIMIT, OLD_LIMIT),
        ):
            intact = (repository.path / file).read_text(encoding="utf-8")
            repository.edit(file, good, bad)
            repository.release(before)
            if before == "v1.1.0":
                repository.release("v1.1.1")  # nobody had noticed yet
            (repository.path / file).write_text(intact, encoding="utf-8")
            repository.release(after)
        return cls(repository)

    @cached_property
    def template(self) -> Template:
        return Template(self.repository.path)

    @cached_property
    def advisories(self) -> dict[str, Advisory]:
        return {name: read(about) for name, about in HISTORIES.items()}

    def write_advisories(self, folder: Path) -> None:
        for about in HISTORIES.values():
            (folder / f"{about['id']}.json").write_text(json.dumps(about), encoding="utf-8")

    def service(self, target: Path, ref: str, **answers: str) -> Path:
        """A service as Copier renders it (a test holds the two equal), in some milliseconds."""
        number = version.parse(ref)
        assert number is not None
        release = self.template.release(number)
        for name, data in release.render(answers, whole=True, source=ADDRESS).items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
        recorded = {name: value for name, value in release.answers(answers).items() if name != "package_name"}
        record(target, {"_commit": ref, "_src_path": ADDRESS, **recorded})
        (target / "uv.lock").write_text('[[package]]\nname = "werkzeug"\nversion = "3.1.9"\n', encoding="utf-8")
        return target


def read(about: dict[str, Any]) -> Advisory:
    found = advisory.read(json.dumps(about).encode(), f"{about['id']}.json")
    assert found is not None
    return found


def record(service: Path, answers: dict[str, Any]) -> None:
    """Write an answers file."""
    (service / ".copier-answers.yml").write_text(yaml.safe_dump(answers), encoding="utf-8")


def recorded(service: Path) -> dict[str, Any]:
    """Read an answers file."""
    answers = yaml.safe_load((service / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert isinstance(answers, dict)
    return answers
