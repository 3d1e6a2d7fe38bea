"""Edges of the proofs in test_exceptions.py: further attacks on the same protections."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..harness import edit, harm, protects, works
from ..running import Service

REASON = 'reason = "Nurses leave the terminal"\nowner = "ward@hospital.example"\n'
UNTIL = "until = 2999-12-31\n"


def limit(name: str, value: int) -> str:
    """Return the declaration of another value of a limit."""
    return f"[limits.{name}]\nvalue = {value:_}\n{REASON}{UNTIL}"


LIMIT = limit("body_bytes", 16_384)


def of_all(service: Service, position: int, beyond: int) -> str:
    """Return declarations of every limit, each `beyond` its lower (1) or upper (2) bound."""
    bounds = service.module("settings").LIMIT_BOUNDS
    return "".join(f"[limits.{name}]\nvalue = {of[position] + beyond}\n{REASON}{UNTIL}" for name, of in bounds.items())


@protects(
    "boot-refuse-weakened-protection",
    floors=edit(
        "settings/exceptions.py", "type(value) is not int or not least <= value <= most", "type(value) is not int"
    ),
)
def test_no_limit_is_declared_beyond_its_bounds(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "exceptions.toml"
    names = list(service.module("settings").LIMIT_BOUNDS)
    for position, beyond in ((1, 0), (2, 0)):
        declare(service, monkeypatch, file, of_all(service, position, beyond))
        app = service.start().app
        works(app is not None, "each limit may be declared at either bound")
        limits = app.extensions["bastion"].limits if app else None
        assert {name: getattr(limits, name) for name in names} == {
            name: of[position] for name, of in service.module("settings").LIMIT_BOUNDS.items()
        }
    for position, beyond in ((1, -1), (2, 1)):
        declare(service, monkeypatch, file, of_all(service, position, beyond))
        tried = service.start()
        harm(tried.app is not None, "the service started with limits beyond their bounds")
        named = [reason.split(" ")[1] for reason in tried.reasons if "must be a whole number from" in reason]
        assert named == [f"[limits.{name}]:" for name in names]
        assert len(tried.reasons) == len(names)


@protects(
    "boot-refuse-weakened-protection",
    declared=(
        edit(
            "settings/exceptions.py",
            "        if name not in table:\n",
            '        if name == "value" and name not in table:\n',
        ),
        edit(
            "settings/exceptions.py",
            'name, value, recommended, table["reason"], table["owner"], table["until"])',
            'name, value, recommended, table.get("reason"), table.get("owner"), table.get("until"))',
        ),
    ),
)
def test_no_limit_is_loosened_without_reason_owner_and_end(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "exceptions.toml"
    declare(service, monkeypatch, file, LIMIT.replace("16_384", "16_777_216"))
    works(service.start().app is not None, "the service starts with a looser limit that has reason, owner and end")
    for name in ("reason", "owner", "until"):
        lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith(f"{name} =")]
        declare(service, monkeypatch, tmp_path / "incomplete.toml", "\n".join(lines))
        tried = service.start()
        harm(tried.app is not None, f"the service started with a looser limit without {name}")
        assert tried.reasons == [f"{tmp_path / 'incomplete.toml'}: [limits.body_bytes] has no {name}; add it."]


def declare(service: Service, monkeypatch: pytest.MonkeyPatch, file: Path, text: str) -> None:
    """Let the service read this file instead of the team's."""
    file.write_text(text, "utf-8")
    monkeypatch.setattr(service.module("settings.exceptions"), "FILE", str(file))
