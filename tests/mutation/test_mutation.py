"""What the mutation run changes, what it leaves alone, which proofs it picks, and what it accepts as an explanation."""

from __future__ import annotations

import ast
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mutation.command import Result, explain, percentage
from mutation.operators import Mutant, is_mutated, modules, mutants
from mutation.relevance import Relevance
from support import IN_PLACE

INERT = '''
"""A module of words, types and names: 1 < 2 and not True."""
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["one", "two"]
T = TypeVar("T", bound="Callable[..., int | None]")
name: Final[int | str] = "text"


@dataclass(frozen=True, slots=True)
class Row:
    """A row: if not frozen == False."""

    value: int | None


@overload
def one(value: int | None, *, more: tuple[int, str] | None) -> int | None: ...
@overload
def one(value: str) -> tuple[int, str]: ...
def one(value: int | str, more: tuple[int, str] | None) -> tuple[int, str] | None:
    _log.warning("this happened %s times", 3)
    click.echo(f"{value} of {10 - 1} are {'left' if value else 'gone'}")
    text = f"{value + 1}"
'''


def changes(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for mutant in mutants("x.py", textwrap.dedent(text)):
        found.setdefault(mutant.operator, set()).add(mutant.becomes)
    return found


def test_words_types_and_names_are_not_mutated() -> None:
    assert changes(INERT) == {}


@pytest.mark.parametrize(
    ("text", "operator", "becomes"),
    [
        ("def f(a):\n    if a:\n        refuse(403)\n", "RemoveStatement", {"pass"}),
        ("def f(a):\n    a.headers[1] = 2\n", "RemoveStatement", {"pass"}),
        ("def f(a):\n    raise ValueError(a)\n", "RemoveStatement", {"pass"}),
        ("q = select(x).where(a.b == c, *d)\n", "RemoveElement",
         {"q = select(x).where( *d)", "q = select(x).where(a.b == c,)"}),
        ("q = select(x).where(a)\n", "RemoveElement", {"q = select(x).where()"}),
        ("m = ('a', 'b')\n", "RemoveElement", {"m = ( 'b',)", "m = ('a',)"}),
        ("m = {'a': 1, **b}\n", "RemoveElement", {"m = { **b}", "m = {'a': 1,}"}),
        ("m = f(a, b)\n", "RemoveElement", set()),
        ("n = 60\n", "ScaleNumber", {"n = 600", "n = 6"}),
        ("n = 60\n", "NumberReplacer", set()),
        ("n = 3\n", "NumberReplacer", {"n = 4", "n = 2"}),
        ("x = a < b\n", "ReplaceComparisonOperator_Lt_LtE", {"x = a <= b"}),
        ("x = a < b\n", "ReplaceComparisonOperator_Lt_NotEq", set()),
        ("x = row.used_at < now()\n", "ReplaceComparisonOperator_Lt_LtE", set()),
        ("x = row.used_at < now()\n", "ReplaceComparisonOperator_Lt_GtE", {"x = row.used_at >= now()"}),
        ("x = since < moment - DAY\n", "ReplaceComparisonOperator_Lt_LtE", set()),
        ("x = moments < 3\n", "ReplaceComparisonOperator_Lt_LtE", {"x = moments <= 3"}),
        ("if a:\n    b()\n", "AddNot", {"if not a:"}),
        ("if a is None:\n    b()\n", "AddNot", set()),
        ("if not a:\n    b()\n", "AddNot", set()),
        ("@app.before_request\ndef f():\n    return 1\n", "RemoveDecorator", {"(the line is gone)"}),
        ("try:\n    a()\nexcept b.Error:\n    c()\n", "ExceptionReplacer", set()),
    ],
)  # fmt: skip
def test_each_operator_changes_what_it_says(text: str, operator: str, becomes: set[str]) -> None:
    assert changes(text).get(operator, set()) == becomes


def test_every_mutant_of_a_real_module_parses_and_differs_from_the_others() -> None:
    text = (IN_PLACE / "bastion" / "session" / "csrf.py").read_text(encoding="utf-8")
    made = [*mutants("session/csrf.py", text)]
    assert len(made) > 20
    assert any(mutant.source == "protect.protect()" and mutant.becomes == "pass" for mutant in made)
    meanings = {ast.dump(ast.parse(mutant.text)) for mutant in made}
    assert len(meanings) == len(made) == len({mutant.id for mutant in made})
    assert ast.dump(ast.parse(text)) not in meanings


def test_a_sample_is_a_part_of_the_whole() -> None:
    text = (IN_PLACE / "bastion" / "session" / "csrf.py").read_text(encoding="utf-8")
    whole = {mutant.id for mutant in mutants("session/csrf.py", text)}
    some = {mutant.id for mutant in mutants("session/csrf.py", text, lambda identity: identity < "8")}
    assert some
    assert some < whole


def test_no_protection_is_left_out() -> None:
    made = modules(IN_PLACE / "bastion")
    assert {"request/access.py", "identity/sessions.py", "session/csrf.py", "edge/headers.py", "jwt/tokens.py"} <= {
        *made
    }
    assert not is_mutated("database/migrations/0001_accounts.py")


@pytest.fixture
def relevance(tmp_path: Path) -> Relevance:
    """A module whose proof `a` runs the first function, `b` the second; `c` starts a process, and `d` runs neither.

    `f` reads UNUSED, and `h` calls second() by a function of the file's.
    """
    text = """\
    LIMIT = 10
    WINDOW = LIMIT * 6
    UNUSED = 3

    def first(x):
        if x > WINDOW:
            return 1
        return 2

    def second(x):
        return x

    def third(x):
        y.call(x)

    @cache
    def fourth():
        return 4

    def fifth():
        return fourth()
    """
    bastion, tests = tmp_path / "src" / "app" / "bastion", tmp_path / "tests" / "proofs"
    bastion.mkdir(parents=True)
    tests.mkdir(parents=True)
    (bastion / "rooms.py").write_text(textwrap.dedent(text), encoding="utf-8")
    (bastion / "other.py").write_text("def f():\n    return 1\n", encoding="utf-8")
    source = """\
    def f(service):
        assert service.module("rooms").UNUSED == 3

    def helps(service):
        return service.module("rooms").second(1)

    def h(service):
        assert helps(service) == 1
    """
    (tests / "test_y.py").write_text(textwrap.dedent(source), encoding="utf-8")
    common: dict[str, Any] = {"error": None, "processes": False, "edits": [], "lines": []}
    proofs = [
        common | {"proof": "tests/proofs/test_x.py::a", "seconds": 2},
        common | {"proof": "tests/proofs/test_x.py::b", "seconds": 1},
        common | {"proof": "tests/proofs/test_x.py::c", "seconds": 9, "processes": True, "edits": ["rooms.py"]},
        common | {"proof": "tests/proofs/test_x.py::d", "seconds": 0, "edits": ["rooms.py"]},
        common
        | {"proof": "tests/proofs/test_x.py::e", "seconds": 9, "edits": ["rooms.py"], "lines": [["rooms.py", 3, 3]]},
        common | {"proof": "tests/proofs/test_x.py::red", "seconds": 1, "error": "AssertionError"},
        common | {"proof": "tests/proofs/test_y.py::f", "seconds": 1},
        common | {"proof": "tests/proofs/test_y.py::h[one]", "seconds": 8},
    ]
    lines = {"6": [1, 4], "7": [4], "8": [1, 4], "11": [2, 5], "1": [0], "2": [0], "3": [0], "5": [0], "10": [0]}
    lines |= {"14": [1, 2, 5], "18": [1], "21": [1, 2]}
    names = [
        "",
        *(f"tests/proofs/test_x.py::{name}" for name in ("a", "b", "c", "red")),
        "tests/proofs/test_y.py::h[one]",
    ]
    return Relevance.read(bastion, proofs, [{"names": names, "lines": {"rooms.py": lines}}])


@pytest.mark.parametrize(
    ("module", "line", "proofs"),
    [
        (
            "rooms.py",
            6,
            "c a",
        ),  # what runs it, and what starts a process and has a sabotage there
        ("rooms.py", 1, "d e c a"),  # by way of WINDOW
        ("rooms.py", 7, "c"),
        ("rooms.py", 11, "h[one] c b"),  # what names the function comes first
        (
            "rooms.py",
            3,
            "e f d c b a h[one]",
        ),  # no function uses the name: whatever runs the module; the sabotage of this line first, and what reads it
        ("rooms.py", 14, "h[one] c b a"),  # what it calls is proven in test_y.py
        ("rooms.py", 18, "c b a"),  # it remembers what it gave, so whoever calls it may have run it
        ("other.py", 2, "c"),  # never seen to run, so it may be run by a process
    ],
)
def test_the_proofs_that_can_notice_are_picked(relevance: Relevance, module: str, line: int, proofs: str) -> None:
    assert [name.rpartition("::")[2] for name in relevance.of(module, line)] == proofs.split()


def test_a_proof_with_a_rare_word_of_the_statement_comes_behind_the_first_three(tmp_path: Path) -> None:
    bastion, tests = tmp_path / "src" / "app" / "bastion", tmp_path / "tests" / "proofs"
    bastion.mkdir(parents=True)
    tests.mkdir(parents=True)
    (bastion / "keys.py").write_text("def install(app):\n    app.secret_key = 1\n", encoding="utf-8")
    sources = [f"def p{number}(app): assert app.get(1)\n" for number in range(39)]
    sources.append("def rotates(app): assert app.secret_key\n")
    (tests / "test_all.py").write_text("".join(sources), encoding="utf-8")
    names = [f"tests/proofs/test_all.py::{source[4:].partition('(')[0]}" for source in sources]
    common: dict[str, Any] = {"error": None, "processes": False, "edits": [], "lines": []}
    proofs = [common | {"proof": name, "seconds": 2 if "rotates" in name else 1} for name in names]
    lines = {"keys.py": {"2": [*range(40)]}}
    found = Relevance.read(bastion, proofs, [{"names": names, "lines": lines}]).of("keys.py", 2)
    assert (found.index(names[-1]), sorted(found)) == (3, sorted(names))


def survivor(**changed: Any) -> Result:
    mutant = Mutant("id", "a.py", 3, 0, "AddNot", "if a:", "if not a:", "")
    return Result(mutant, **({"verdict": "survived"} | changed))


def test_only_the_very_survivor_is_explained() -> None:
    entry = {"file": "a.py", "line": "if a:", "operator": ["AddNot"], "becomes": "if not a:", "reason": "equal"}
    result = survivor()
    assert explain([result], [entry]) == []
    assert result.explained == "equal"
    for wrong in ({"file": "b.py"}, {"line": "if b:"}, {"operator": "ScaleNumber"}, {"becomes": "if b:"}):
        other = survivor()
        assert explain([other], [entry | wrong]) == [entry | wrong]
        assert not other.explained


def test_an_explanation_of_what_is_noticed_is_stale() -> None:
    entry = {"file": "a.py", "line": "if a:", "operator": "AddNot", "reason": "equal"}
    assert explain([survivor(verdict="killed")], [entry]) == [entry]


def test_a_share_is_written_either_way() -> None:
    assert percentage("5%") == percentage("0.05") == 0.05


def test_every_explanation_has_a_reason_and_a_line_of_its_module() -> None:
    text = (Path(__file__).parent / "explained.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)["survivor"]
    assert len(entries) > 10
    for entry in entries:
        assert entry.keys() - {"becomes"} == {"file", "line", "operator", "reason"}
        source = (IN_PLACE / "bastion" / entry["file"]).read_text(encoding="utf-8")
        assert entry["line"] in [line.strip() for line in source.splitlines()], entry
        assert len(entry["reason"]) > 10
