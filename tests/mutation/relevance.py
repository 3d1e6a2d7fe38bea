"""Which proofs can notice a mutant: those that run its line, or run what uses the name that its line defines.

A line outside of functions runs once, at the import, and so belongs to no proof; what it defines is followed to the
functions that use it, and to the proofs that read it. Proofs whose sabotages edit the same line come first, then those
that name the function or what the line defines, or run what few others run of the functions that the line calls, or are
in the file of the module that these are in (`audit.record()`: test_audit.py), then those that edit the same module,
then the others of their files.
Of equals those come first that run lines of the module which few others run, for the time that they take: whatever
starts the service runs what a module does at the start, and looks at none of it. Behind the first three, a few that
have a rare word in common with the statement come before all others.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

Place = tuple[str, int]
AT_IMPORT = ""
CACHES = frozenset({"cache", "lru_cache"})
RARE = 0.3
"""So much of a function's lines is a proof's own: one that it runs with two others at most, or several with more."""
SELDOM: Final = 0.05
"""A word that is in so few of the proofs, as SECRET_KEY_FALLBACKS, says what they are about."""
BEFORE_THESE: Final = 3
MOST_OF_THESE: Final = 6


@dataclass(frozen=True)
class Proof:
    """One proof, as the map has it."""

    name: str
    seconds: float
    processes: bool
    """It starts a process, whose lines are not seen."""
    edits: frozenset[str]
    """The modules that its sabotages edit."""
    lines: frozenset[Place] = frozenset()
    """The very lines."""
    words: frozenset[str] = frozenset()
    """Of its source, and of the functions of its file that it names."""


@dataclass
class Relevance:
    """Answers from the source and from the lines that each proof ran."""

    proofs: dict[str, Proof]
    lines: dict[Place, set[str]]
    _statements: dict[str, list[tuple[int, int, ast.stmt, bool]]] = field(default_factory=dict)
    """By module: first and last line of each statement (of a compound one: of its head), and if it is in a function."""
    _used_in: dict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    _functions: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    """By module: first and last line of each function, and its name."""
    _cached: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    """The same of those that remember what they gave: only the first proof of a process is seen to run them."""
    _used_for: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Name to the names of modules and classes that are made with it."""
    _of_module: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _text: dict[str, list[str]] = field(default_factory=dict)
    """By module: its lines."""
    _said_by: Counter[str] = field(default_factory=Counter)
    """Word to the number of proofs that have it."""
    _share: dict[str, dict[str, float]] = field(default_factory=dict)
    """By module: of each line, one is divided among the proofs that run it."""

    @classmethod
    def read(cls, bastion: Path, proofs: Iterable[dict[str, Any]], maps: Iterable[dict[str, Any]]) -> Relevance:
        words = _words(bastion.parent.parent.parent)
        made = cls(
            {
                one["proof"]: Proof(
                    *(one["proof"], one["seconds"], one["processes"], frozenset(one["edits"])),
                    frozenset((path, line) for path, *ends in one["lines"] for line in range(ends[0], ends[1] + 1)),
                    words.get(one["proof"].partition("[")[0], frozenset()),
                )
                for one in proofs
                if one["error"] is None
            },
            defaultdict(set),
        )
        for one in maps:
            for path, lines in one["lines"].items():
                for line, numbers in lines.items():
                    made.lines[path, int(line)].update(one["names"][number] for number in numbers)
        made._said_by.update(word for proof in made.proofs.values() for word in proof.words)
        for file in sorted(bastion.rglob("*.py")):
            made._read(file.relative_to(bastion).as_posix(), file.read_text(encoding="utf-8"))
        return made

    def _read(self, path: str, text: str) -> None:
        tree = ast.parse(text)
        self._text[path] = text.splitlines()
        functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
        self._functions[path] = [(one.lineno, one.end_lineno or one.lineno, one.name) for one in functions]
        self._cached[path] = [
            (one.lineno, one.end_lineno or one.lineno, one.name)
            for one in functions
            if CACHES & {name for decorator in one.decorator_list for name in _names(decorator)}
        ]
        found = self._statements[path] = [*_statements(tree, in_function=False)]
        for first, last, statement, in_function in found:
            head = _head(statement)
            names = {name for node in head for name in _names(node)}
            if in_function:
                for name in names:
                    self._used_in[name].update((path, line) for line in range(first, last + 1))
                for line in range(first, last + 1):
                    self._of_module[path] |= self.lines.get((path, line), set()) - {AT_IMPORT}
            else:
                for name in names:
                    self._used_for[name].update(_defined(statement))

    def of(self, path: str, line: int) -> list[str]:
        """The proofs to run against a mutant of this line, the likeliest first; none if nothing runs it.

        Without a map it is those whose sabotages edit the module, or whose file has its name.
        """
        found = self._running(path, line)
        own = {name for name, proof in self.proofs.items() if self._is_own(proof, path)}
        statement = self._statement(path, line)
        if self.lines and statement is not None and statement[3]:
            # What was seen, and did not run this line of a function, can't notice it: the time is for others.
            own = {name for name in own if name in found or self.proofs[name].processes}
        else:  # what is defined outside of functions may be read by a proof that runs nothing of the module
            read = self._called(path, line)
            own |= {name for name, proof in self.proofs.items() if self._names(proof, path, read)}
        if self.lines and not found:  # it runs in processes, or nowhere
            own |= {name for name, proof in self.proofs.items() if proof.processes}
        known = [self.proofs[name] for name in found | own if name in self.proofs]
        neighbours = {_file(proof) for proof in self.proofs.values() if path in proof.edits}
        called, below = self._called(path, line), self._below(path, line)
        files = tuple(f"/test_{name}.py" for name in self._owners(path, line))
        close = {one.name for one in known if below[one.name] > RARE or self._names(one, path, called)}
        close |= {one.name for one in known if _file(one).endswith(files)}
        ranked = sorted(known, key=lambda one: self._rank(one, (path, line), neighbours, close))
        first = ranked[:BEFORE_THESE] + self._telling(path, line, ranked[BEFORE_THESE:])
        return [*dict.fromkeys(one.name for one in (*first, *ranked))]

    def _telling(self, path: str, line: int, proofs: Iterable[Proof]) -> list[Proof]:
        """The few of these with the rarest words of the statement, for the time that they take."""
        statement = self._statement(path, line)
        if statement is None:
            return []
        words = {word for at in self._text[path][statement[0] - 1 : statement[1]] for word in re.findall(r"\w{4,}", at)}
        rare = {word: math.log(len(self.proofs) / self._said_by[word]) for word in words if self._is_rare(word)}
        worth = {
            proof: sum(rare[word] for word in proof.words & rare.keys()) / (proof.seconds + 0.1) for proof in proofs
        }
        return [proof for proof in sorted(worth, key=worth.__getitem__, reverse=True) if worth[proof]][:MOST_OF_THESE]

    def _is_rare(self, word: str) -> bool:
        return 0 < self._said_by[word] <= SELDOM * len(self.proofs)

    def _below(self, path: str, line: int) -> dict[str, float]:
        """As _shares(), of the functions that this line calls, whichever module they are in."""
        shares: dict[str, float] = defaultdict(float)
        statement = self._statement(path, line)
        heads = _head(statement[2]) if statement is not None else []
        names = {name for head in heads for node in ast.walk(head) for name in _calls(node)}
        for module, functions in self._functions.items():
            for first, last in {one[:2] for one in functions if one[2] in names}:
                for at in range(first, last + 1):
                    ran = self.lines.get((module, at), set()) - {AT_IMPORT}
                    for proof in ran:
                        shares[proof] += 1 / len(ran)
        return shares

    def _owners(self, path: str, line: int) -> set[str]:
        """The names of what this line calls functions of: of a module, there is a file of its proofs."""
        statement = self._statement(path, line)
        calls = [node for head in _head(statement[2]) for node in ast.walk(head)] if statement is not None else []
        return {
            node.func.value.id
            for node in calls
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        }

    @staticmethod
    def _names(proof: Proof, path: str, called: set[str]) -> bool:
        """Whether a proof has the name of the module and one of these: alone, many are words of everyday."""
        return _stem(path) in proof.words and not called.isdisjoint(proof.words)

    def _called(self, path: str, line: int) -> set[str]:
        """By which names whoever runs this line may call for it."""
        around = {name for first, last, name in self._functions[path] if first <= line <= last}
        statement = self._statement(path, line)
        return around or ({*_defined(statement[2])} if statement is not None else set())

    def _shares(self, path: str) -> dict[str, float]:
        if path not in self._share:
            shares = self._share[path] = defaultdict(float)
            for (module, _), names in self.lines.items():
                for name in names - {AT_IMPORT} if module == path else ():
                    shares[name] += 1 / len(names)
        return self._share[path]

    def _statement(self, path: str, line: int) -> tuple[int, int, ast.stmt, bool] | None:
        matching = [one for one in self._statements[path] if one[0] <= line <= one[1]]
        return max(matching, key=lambda one: one[0], default=None)

    def _running(self, path: str, line: int) -> set[str]:
        innermost = self._statement(path, line)
        if innermost is None:
            return set()
        first, last, statement, in_function = innermost
        if in_function:
            contexts = {name for at in range(first, last + 1) for name in self.lines.get((path, at), ())}
            calls = {place for begin, end, name in self._cached[path] if begin <= line <= end
                     for place in self._used_in[name]}  # fmt: skip
            contexts |= {name for place in calls for name in self.lines.get(place, ())}
            return contexts | self._of_module[path] if AT_IMPORT in contexts else contexts
        if isinstance(statement, ast.FunctionDef):  # decorators: whoever calls it, or misses its route
            return self._of_module[path]
        names, fresh = set[str](), set(_defined(statement))
        while fresh:
            names |= fresh
            fresh = {later for name in fresh for later in self._used_for[name]} - names
        ran = {test for name in names for place in self._used_in[name] for test in self.lines.get(place, ())}
        return ran - {AT_IMPORT} or self._of_module[path]

    def _is_own(self, proof: Proof, path: str) -> bool:
        return path in proof.edits or f"/test_{_stem(path)}.py::" in proof.name

    def _rank(self, proof: Proof, place: Place, neighbours: set[str], close: set[str]) -> tuple[bool | float, ...]:
        path, _ = place
        own, near = self._is_own(proof, path), _file(proof) in neighbours
        # So much is any proof worth, or one that costs next to nothing would come too late.
        worth = (self._shares(path).get(proof.name, 0.0) + 0.3) / (proof.seconds + 0.05)
        edits = place not in proof.lines, proof.name not in close, path not in proof.edits
        return *edits, not own, not near, proof.processes, -worth, proof.seconds


def _stem(path: str) -> str:
    return Path(path).stem if Path(path).stem != "__init__" else Path(path).parent.name


def _words(root: Path) -> dict[str, frozenset[str]]:
    """The words of each proof of a service, by its name."""
    found: dict[str, frozenset[str]] = {}
    for file in (root / "tests" / "proofs").rglob("test_*.py"):
        text = file.read_text(encoding="utf-8")
        functions = {
            node.name: {*re.findall(r"\w+", ast.get_source_segment(text, node) or "")}
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef)
        }
        for name, words in functions.items():
            helped = [functions[word] for word in words & functions.keys()]
            found[f"{file.relative_to(root).as_posix()}::{name}"] = frozenset(words.union(*helped))
    return found


def _file(proof: Proof) -> str:
    return proof.name.partition("::")[0]


def _statements(node: ast.AST, *, in_function: bool) -> Iterator[tuple[int, int, ast.stmt, bool]]:
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, name, []) if isinstance(getattr(node, name, None), list) else []:
            if isinstance(child, ast.stmt):
                body = getattr(child, "body", None)
                last = body[0].lineno - 1 if body else child.end_lineno or child.lineno
                decorators = [decorator.lineno for decorator in getattr(child, "decorator_list", [])]
                if body and body[0].lineno == child.lineno:
                    last = child.lineno
                yield min([child.lineno, *decorators]), max(last, child.lineno), child, in_function
            elif isinstance(child, ast.ExceptHandler) and child.type is not None:
                yield child.lineno, child.lineno, ast.Expr(child.type), in_function
            inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _statements(child, in_function=inside)


def _head(statement: ast.stmt) -> list[ast.AST]:
    """What a statement says without the statements in it."""
    inner = {id(child) for name in ("body", "orelse", "finalbody", "handlers") for child in _list(statement, name)}
    return [child for child in ast.iter_child_nodes(statement) if id(child) not in inner]


def _calls(node: ast.AST) -> Iterator[str]:
    """The name of what is called, without what it is taken from."""
    if isinstance(node, ast.Call):
        yield from [node.func.id] if isinstance(node.func, ast.Name) else []
        yield from [node.func.attr] if isinstance(node.func, ast.Attribute) else []


def _list(node: ast.AST, name: str) -> list[ast.AST]:
    value = getattr(node, name, [])
    return value if isinstance(value, list) else []


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def _defined(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement outside of functions gives something to."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield statement.name
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id
