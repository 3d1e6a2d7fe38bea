"""Five ways in which a service loses a fix that its version promises, tried on a service in memory.

An update that meets any of them exits 0 and records the new version.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from flask_bastion.repository import ANSWERS
from histories import FLOOR, OLD_FLOOR
from support import Combination

from .memory import LOCK, PROJECT, TODAY, Files, lock_of
from .years import BASTION, SRC, Fix, Years

_SINK = "lambda *_, **__: None"
_REPLACED = {"header": ("edge", "headers._table"), "log": ("edge", "fallback.report")}
_REPLACED_BY_STYLE = {
    "jwt": ("jwt", "tokens._check_claims"),
    "session": ("session", "cookie.SignedCookie.open_session"),
}


def healthy(years: Years, ref: str, combination: Combination) -> Files:
    """A service of that version as it is rendered, with its answers, and every requirement locked at its floor."""
    files = years.files(ref, combination)
    answers = {"_commit": ref, "_src_path": "https://example.com/template.git", "project_name": "my-service"}
    files[ANSWERS] = yaml.safe_dump({**answers, **combination.data}).encode()
    return {**files, LOCK: lock_of(files[PROJECT])}


def deleted(years: Years, fix: Fix, combination: Combination) -> Files:
    """The file, or the requirement, is gone."""
    files = healthy(years, fix.since, combination)
    if fix.name == "floor":
        return _edited(files, PROJECT, f"    {FLOOR},\n", "")
    del files[f"{BASTION}/{fix.file(combination)}"]
    return files


def moved(years: Years, fix: Fix, combination: Combination) -> Files:
    """It lies in the team's folder, with what it was before the fix: there no update finds it."""
    files = deleted(years, fix, combination)
    if fix.name == "floor":
        files = _edited(files, PROJECT, '"my-service[bastion]",\n', f'"my-service[bastion]",\n    {OLD_FLOOR},\n')
        return {**files, LOCK: lock_of(files[PROJECT], werkzeug="3.1.5")}
    name = fix.file(combination)
    module = Path(name.removesuffix("/__init__.py")).with_suffix("")
    stem = module.name
    files[f"{SRC}/moved_{stem}.py"] = _before(years, fix, combination, name)
    importer = f"{BASTION}/{module.parent}/__init__.py".replace("/./", "/")
    return _edited(files, importer, f"from .{stem} import", f"from {SRC[4:]}.moved_{stem} import", everywhere=True)


def claimed(years: Years, fix: Fix, combination: Combination) -> Files:
    """The version was written by hand into the answers file, and nothing else happened."""
    return {**healthy(years, fix.before, combination), ANSWERS: healthy(years, fix.since, combination)[ANSWERS]}


def kept_as_ours(years: Years, fix: Fix, combination: Combination) -> Files:
    """A conflict was resolved with the side that was there before."""
    files = healthy(years, fix.since, combination)
    if fix.name == "floor":
        return _edited(files, PROJECT, FLOOR, OLD_FLOOR)  # whatever is locked: the next machine may resolve the old one
    name = fix.file(combination)
    return {**files, f"{BASTION}/{name}": _before(years, fix, combination, name)}


def overridden(years: Years, fix: Fix, combination: Combination) -> Files:
    """What mends it stands there, and something of the team's counts instead."""
    files = healthy(years, fix.since, combination)
    if fix.name == "floor":
        own = files[PROJECT] + b'\n[tool.uv]\noverride-dependencies = ["werkzeug==3.1.5"]\n'
        return {**files, PROJECT: own, LOCK: lock_of(own, werkzeug="3.1.5")}
    if fix.name == "limit":
        limit = f'\n[limits.csrf_token_minutes]\nvalue = 480\nreason = "Forms"\nowner = "a"\nuntil = {TODAY}\n'
        return {**files, f"{SRC}/exceptions.toml": limit.encode()}
    folder, name = _REPLACED.get(fix.name) or _REPLACED_BY_STYLE[combination.auth]
    module = name.partition(".")[0]
    files = _edited(
        files, f"{SRC}/app.py", "from .bastion import", f"from .bastion.{folder} import {module}\nfrom .bastion import"
    )
    files[f"{SRC}/app.py"] += f"\n{name} = {_SINK}\n".encode()
    return files


WAYS: tuple[Callable[[Years, Fix, Combination], Files], ...] = (deleted, moved, claimed, kept_as_ours, overridden)


def _before(years: Years, fix: Fix, combination: Combination, name: str) -> bytes:
    return years.files(fix.before, combination)[f"{BASTION}/{name}"]


def _edited(files: Files, name: str, old: str, new: str, *, everywhere: bool = False) -> Files:
    text = files[name].decode()
    assert everywhere or text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
    return {**files, name: text.replace(old, new).encode()}
