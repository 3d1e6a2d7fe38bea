"""What is mutated, and what is not: Cosmic Ray's operators, three of our own, and the documented skips.

A mutant is a sabotage that nobody wrote down. Of the operators that replace one sign by another, those are used that
the others follow from: whoever notices `<` turned into `<=` and into `>=` notices the other four as well (Kaminski,
Ammann, Offutt: Improving logic-based testing, 2013). Cosmic Ray changes no strings, so docstrings and texts are safe.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from parso.python.tree import Keyword, Number

COSMIC_RAY: Final = (
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
    *("ExceptionReplacer", "RemoveDecorator", "NumberReplacer"),
    *("ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Invert"),
    *("ReplaceComparisonOperator_Lt_LtE", "ReplaceComparisonOperator_Lt_GtE"),
    *("ReplaceComparisonOperator_LtE_Lt", "ReplaceComparisonOperator_LtE_Gt"),
    *("ReplaceComparisonOperator_Gt_GtE", "ReplaceComparisonOperator_Gt_LtE"),
    *("ReplaceComparisonOperator_GtE_Gt", "ReplaceComparisonOperator_GtE_Lt"),
    *("ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_NotEq_Eq"),
    *("ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_IsNot_Is"),
    *("ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add"),
    *("ReplaceBinaryOperator_Mul_FloorDiv", "ReplaceBinaryOperator_Div_Mul", "ReplaceBinaryOperator_FloorDiv_Mul"),
    *("ReplaceBinaryOperator_Mod_FloorDiv", "ReplaceBinaryOperator_Pow_Mul"),
    *("ReplaceBinaryOperator_BitOr_BitAnd", "ReplaceBinaryOperator_BitAnd_BitOr"),
    *("ReplaceBinaryOperator_RShift_LShift", "ReplaceBinaryOperator_LShift_RShift"),
)

NOT_MUTATED: Final = {
    "chosen.py": "what was answered, and no protection",
    "database/migrations/": "run before a proof begins, and held equal to the models by test_migrations.py",
    "commands/dev.py": "development alone",
}
"""Files, or folders with a slash at the end, with the reason."""

INERT_DECORATORS: Final = frozenset(
    {"dataclass", "functools.wraps", "overload", "override", "cache", "functools.cache", "lru_cache"}
)
"""They say something of types, names or speed; neither they nor their arguments are mutated."""
TEXT_CALLS: Final = frozenset(
    {"_log.info", "_log.warning", "_log.error", "_log.exception", "click.echo", "flash", "print"}
)
"""Words for people. What the service logs of a refusal (log.refused, audit.record) is mutated."""
MOMENT: Final = re.compile(
    r"""\b(?:now\(\)|seconds\(\)|monotonic\(\)|moment\b|over\b|\w+_(?:at|until)\b|bindparam\("(?:moment|\w+_since)"\))"""
)
AT_ITS_END: Final = frozenset(f"ReplaceComparisonOperator_{one}" for one in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt"))
"""Of two moments, which have microseconds, the equal ones belong to one side or the other: no attack hits just them."""
CONDITIONS: Final = frozenset({"where", "and_", "or_"})
"""Calls of which each argument is a condition of its own."""


class RemoveStatement(Operator):  # type: ignore[misc]  # Cosmic Ray is published without types
    """Replaces a call whose result nobody uses, `x[y] = ...`, `x.y = ...`, `x += ...`, `del` and `raise` by `pass`."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.parent is not None and node.parent.type == "simple_stmt" and self._has_an_effect(node):
            yield node.start_pos, node.end_pos

    @staticmethod
    def _has_an_effect(node: Any) -> bool:
        if node.type in ("atom_expr", "power"):
            last = node.children[-1]
            return bool(last.type == "trailer" and last.children[0] == "(")
        if node.type == "expr_stmt":
            to, sign = node.children[:2]
            return to.type in ("atom_expr", "power") or (sign.type == "operator" and sign.value != "=")
        return node.type in ("raise_stmt", "del_stmt")

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002
        return Keyword("pass", node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class RemoveElement(Operator):  # type: ignore[misc]
    """Takes one element out of a tuple, list, set or dict, or one condition out of where(), and_() and or_()."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        for element in self._elements(node):
            yield element[0].start_pos, element[-1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        elements = self._elements(node)
        gone = elements[index]
        if node.type == "trailer" and len(elements) == 1:  # where(x): the whole argument
            node.children = [child for child in node.children if child is not gone[0]]
            return node
        inside = node.children[1]
        position = next(number for number, child in enumerate(inside.children) if child is gone[0])
        # The comma behind it goes too; the last one's stays, which is right for a tuple of one as well.
        end = position + len(gone) + (1 if gone is not elements[-1] and node.children[0] != "(" else 0)
        if node.children[0] == "(" and gone is not elements[-1]:
            end = position + len(gone) + 1
            if len(elements) == 2 and node.type == "atom" and inside.children[-1] != ",":
                comma = inside.children[position + len(gone)]
                inside.children = [*inside.children[end:], comma]
                return node
        inside.children = [*inside.children[:position], *inside.children[end:]]
        return node

    @staticmethod
    def _elements(node: Any) -> list[list[Any]]:
        """The children of each element: one, or for an entry of a dict three."""
        if node.type == "trailer" and node.children[0] == "(" and len(node.children) == 3:
            before = node.get_previous_leaf()
            if before is None or before.value not in CONDITIONS:
                return []
            inside = node.children[1]
            if inside.type != "arglist":
                return [[inside]]
        elif node.type == "atom" and node.children[0].type == "operator" and len(node.children) == 3:
            inside = node.children[1]
            if inside.type not in ("testlist_comp", "dictorsetmaker"):
                return []
        else:
            return []
        if any(child.type in ("comp_for", "sync_comp_for") for child in inside.children):
            return []
        elements: list[list[Any]] = [[]]
        for child in inside.children:
            if child.type == "operator" and child.value == ",":
                elements.append([])
            else:
                elements[-1].append(child)
        found = [element for element in elements if element]
        return found if len(found) > 1 or node.type == "trailer" else []

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class ScaleNumber(Operator):  # type: ignore[misc]
    """Makes a number from ten up ten times as large, and a tenth: a limit of 61 instead of 60 protects as well."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "number" and _value(node) >= SMALL:
            for _ in range(2):
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        value = _value(node)
        return Number(str(value * 10 if index == 0 else type(value)(value // 10)), node.start_pos, prefix=node.prefix)

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


SMALL: Final = 10
"""Below it a number is a count or an index, of which one more or less is another thing: Cosmic Ray's NumberReplacer."""
OWN: Final = (RemoveStatement, RemoveElement, ScaleNumber)


def _value(node: Any) -> Any:
    value = ast.literal_eval(node.value)
    return value if isinstance(value, int | float) else 0


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module; `id` is the same as long as the module is."""

    id: str
    path: str
    """Relative to bastion/."""
    line: int
    column: int
    operator: str
    source: str
    """The line as it is, without its indentation."""
    becomes: str
    """What stands there instead."""
    text: str
    """The whole module with the change."""


def is_mutated(path: str) -> bool:
    """Whether this module, relative to bastion/, is mutated at all."""
    return not any(path.startswith(name) if name.endswith("/") else path == name for name in NOT_MUTATED)


def mutants(path: str, text: str, wanted: Callable[[str], bool] = bool) -> Iterator[Mutant]:
    """Every mutant of one module that parses, means something else than the module, and is not made twice.

    `wanted` is asked with each id, since making a mutant takes longer than finding it.
    """
    lines = text.splitlines()
    known = {ast.dump(ast.parse(text))}
    for unique, operator, occurrence, start in _places(path, text):
        if not wanted(unique):
            continue
        mutated = mutate_code(text, operator, occurrence)
        if mutated is None:
            continue
        try:
            meaning = ast.dump(ast.parse(mutated))
        except SyntaxError:
            continue
        if meaning in known:
            continue
        known.add(meaning)
        source, becomes = lines[start[0] - 1].strip(), _changed(text, mutated)
        yield Mutant(unique, path, start[0], start[1], _called(operator), source, becomes, mutated)


def identities(path: str, text: str) -> list[str]:
    """The ids that mutants() asks for. Of these a few are then no mutant: equal to another one, or no Python."""
    return [unique for unique, *_ in _places(path, text)]


def _places(path: str, text: str) -> Iterator[tuple[str, Operator, int, tuple[int, int]]]:
    """Each place that an operator changes: its id, the operator, the number of the place there, and where it is."""
    nodes = [*ast_nodes(get_ast(text))]
    digest = hashlib.sha256(text.encode()).hexdigest()
    for kind in (*(cosmic_ray.plugins.get_operator(f"core/{name}") for name in COSMIC_RAY), *OWN):
        operator = kind()
        name = _called(operator)
        occurrence = -1
        for node in nodes:
            for start, _ in operator.mutation_positions(node):
                occurrence += 1
                if not _skipped(name, node):
                    unique = hashlib.sha256("\0".join((path, name, str(occurrence), digest)).encode()).hexdigest()[:16]
                    yield unique, operator, occurrence, start


def _called(operator: Operator) -> str:
    return type(operator).__name__


def _changed(before: str, after: str) -> str:
    """The lines of `after` that differ, in one."""
    old, new = before.splitlines(), after.splitlines()
    first = next(number for number in range(len(new)) if number >= len(old) or old[number] != new[number])
    same = next(
        (number for number in range(min(len(old), len(new)) - first) if old[-1 - number] != new[-1 - number]),
        min(len(old), len(new)) - first,
    )
    return " ".join(line.strip() for line in new[first : len(new) - same]) or "(the line is gone)"


# --- what is not mutated --------------------------------------------------------------------------------------


def _skipped(operator: str, node: Any) -> bool:
    """Annotations, names for type checkers, texts for people, and what another operator does as well."""
    if operator == "AddNot" and _done_by_another(node):
        return True
    if operator == "RemoveStatement" and _name(node) in TEXT_CALLS:
        return True
    if operator == "NumberReplacer" and _value(node) >= SMALL:
        return True
    if operator in AT_ITS_END and MOMENT.search(node.get_code(include_prefix=False)):
        return True
    if operator == "ExceptionReplacer" and any(child.type == "atom_expr" for child in _all_children(node)):
        return True  # Cosmic Ray can't replace a dotted name
    child = node
    for parent in (node, *_ancestors(node)):
        if parent.type in ("fstring", "fstring_expr"):  # a text; what it says of the service's state is no protection
            return True
        if parent.type == "annassign" and child is parent.children[1]:
            return True
        if parent.type == "tfpdef" and child is parent.children[-1]:
            return True
        if parent.type == "except_clause" and operator == "RemoveElement":  # the ExceptionReplacer's work
            return True
        if parent.type == "funcdef" and (child is parent.annotation or _is_overloaded(parent)):
            return True
        if parent.type == "decorator" and _name(parent.children[1]) in INERT_DECORATORS:
            return True
        if parent.type == "if_stmt" and _name(parent.children[1]) == "TYPE_CHECKING":
            return True
        if parent.type == "expr_stmt" and _name(parent.children[0]) == "__all__":
            return True
        if parent.type in ("atom_expr", "power") and _name(parent) in (*TEXT_CALLS, "TypeVar", "cast", "Callable"):
            return True
        child = parent
    return node.type == "decorator" and _name(node.children[1]) in INERT_DECORATORS


def _ancestors(node: Any) -> Iterator[Any]:
    while (node := node.parent) is not None:
        yield node


def _all_children(node: Any) -> Iterator[Any]:
    return (child for child in ast_nodes(node) if child is not node)


def _is_overloaded(function: Any) -> bool:
    return any(_name(decorator.children[1]) == "overload" for decorator in function.get_decorators())


def _name(node: Any) -> str:
    """The dotted name of a name or of what is called."""
    parts: list[str] = []
    for child in getattr(node, "children", [node]):
        if child.type == "trailer" and child.children[0] != ".":
            break
        parts.append(child.get_code(include_prefix=False))
    return "".join(parts)


def _done_by_another(node: Any) -> bool:
    """Negating a `not`, or a single comparison that is negated by its own operators, would be the same mutant again."""
    condition = node.children[2] if node.type == "test" else node.children[1]
    if condition.get_first_leaf().value == "not":
        return True
    if condition.type != "comparison" or len(condition.children) != 3:
        return False
    return condition.children[1].get_code(include_prefix=False) in ("<", "<=", ">", ">=", "==", "!=", "is", "is not")


def modules(bastion: Path) -> list[str]:
    """The modules below this folder that are mutated."""
    found = (file.relative_to(bastion).as_posix() for file in sorted(bastion.rglob("*.py")))
    return [path for path in found if is_mutated(path)]
