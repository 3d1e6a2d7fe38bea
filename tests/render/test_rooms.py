"""The rooms of bastion/ form no circle, and only its entrances ask what was chosen: each module can be read alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from support import ROOT

[BASTION] = (ROOT / "template" / "src").glob("*/bastion")
ENTRANCES = {"__init__", "commands"}
"""What may import `chosen`: it hands style, dialect and backend down."""


def room_of(file: Path, bastion: Path) -> str:
    """Name the folder below bastion/ that holds a module; a module on the top floor is a room by itself."""
    return file.relative_to(bastion).parts[0].removesuffix(".py")


def imported(file: Path, bastion: Path) -> Iterator[tuple[str, ast.ImportFrom]]:
    """Give each room that a module imports from, and the statement; what only types need does not count."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node not in for_types:
            folder = file.parents[node.level - 1]
            names = [node.module] if node.module else [one.name for one in node.names]
            for name in names:
                target = folder.joinpath(*name.split("."))
                yield room_of(target, bastion), node


def rooms(bastion: Path) -> Mapping[str, set[str]]:
    """Give each room the rooms that it imports from. `chosen` stands for what any service may have chosen."""
    found: dict[str, set[str]] = {}
    for file in bastion.rglob("*.py"):
        room = room_of(file, bastion)
        if room != "__init__":
            found.setdefault(room, set()).update({name for name, _ in imported(file, bastion)} - {room})
    found["chosen"] |= {"session", "jwt", "database", "secrets"}
    return found


def test_the_rooms_form_no_circle() -> None:
    found = rooms(BASTION)
    assert {"edge", "identity", "request", "throttle"} <= {*found}
    assert [*TopologicalSorter(found).static_order()][-1] == "commands"


def test_only_the_entrances_ask_what_was_chosen() -> None:
    asking = {
        room_of(file, BASTION) for file in BASTION.rglob("*.py") if "chosen" in {n for n, _ in imported(file, BASTION)}
    }
    assert asking == ENTRANCES


def test_a_circle_is_found(tmp_path: Path) -> None:
    for name, text in {
        "chosen.py": "",
        "a/__init__.py": "from ..b import x",
        "b.py": "def f():\n    from .a import y\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    with pytest.raises(CycleError):
        TopologicalSorter(rooms(tmp_path)).prepare()


def test_no_function_imports_a_module_of_bastion() -> None:
    late = [
        f"{file.relative_to(BASTION)}: {ast.unparse(node)}"
        for file in BASTION.rglob("*.py")
        for _, node in imported(file, BASTION)
        if node.col_offset
    ]
    assert late == []
