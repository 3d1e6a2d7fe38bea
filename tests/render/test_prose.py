"""Habits of prose that readers stumble over become rarer: prose.toml has each, its limit, and what to write instead."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from support import ROOT

HABITS = tomllib.loads(Path(__file__).with_name("prose.toml").read_text(encoding="utf-8"))
PLACES = ("template", "hooks", "docs", "tests/edges", "README.md", "CONTRIBUTING.md", "copier.yml")
SUFFIXES = {".py", ".md", ".jinja", ".html", ".toml", ".csv", ".yml", ".txt"}
DATA = {"common_passwords.txt", "asvs.csv"}


def texts() -> list[str]:
    """Everything that this project writes for people, without its data."""
    files = [file for place in PLACES for file in (ROOT / place, *(ROOT / place).rglob("*")) if file.is_file()]
    return [
        file.read_text(encoding="utf-8")
        for file in files
        if file.suffix in SUFFIXES and file.name not in DATA and not {".mypy_cache", "__pycache__"} & {*file.parts}
    ]


@pytest.fixture(scope="module")
def written() -> str:
    return "\n".join(texts())


@pytest.mark.parametrize("name", HABITS)
def test_no_habit_becomes_more_frequent(written: str, name: str) -> None:
    habit = HABITS[name]
    found = len(re.findall(habit["pattern"], written, re.MULTILINE))
    assert found <= habit["limit"], (
        f"{name}: {found} times, at most {habit['limit']}. Write instead: {habit['instead']}"
    )


@pytest.mark.parametrize("name", HABITS)
def test_each_pattern_finds_its_example(name: str) -> None:
    assert re.search(HABITS[name]["pattern"], HABITS[name]["example"], re.MULTILINE)
