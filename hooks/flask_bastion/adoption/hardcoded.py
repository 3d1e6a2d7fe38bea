"""Where a secret seems to stand in the source: the place and the name that it has, never the value.

Every reader of the repository knows a committed secret, so it has to be exchanged and not only moved. A secret is
recognised by its name, or as an address with a password in it; computed and empty values are not reported.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .. import escape

MOST: Final = 1000
"""Places in one application."""
_NAME: Final = re.compile(
    r"(?:\A|_)(?:secret|secret_?key|passw(?:or)?d|passphrase|token|api_?key|access_?key|private_?key|signing_?key|salt)"
    r"(?:_(?:id|key|value|fallbacks?|[0-9]{1,2}))?\Z",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s:@{$<%]+@", re.IGNORECASE)
_SETTING: Final = re.compile(
    r"\s*(?:-\s+)?(?:export\s+)?[\"']?(?P<name>[A-Za-z][A-Za-z0-9_.-]{0,60})[\"']?\s*[:=]\s*(?P<value>\S.*)"
)
_ELSEWHERE: Final = re.compile(r"[\"']?(?:\$|\{\{|%\(|<|!|\||>|\{|\[|#)|[\"']{2}|(?:true|false|null|none|os\.)\b", re.I)
"""How a value begins that is a reference, a structure or nothing."""
_TEXTS: Final = re.compile(
    r"(?:.*/)?(?:\.env[^/]*|\.flaskenv|[^/]+\.(?:cfg|ini|env|ya?ml|toml|conf|properties)|Dockerfile[^/]*|Procfile)\Z"
)
_KEY_FILE: Final = re.compile(r".*\.(?:pem|key|p12|pfx)\Z")
OF_TESTS: Final = re.compile(r"(?:.*/)?(?:tests?|conftest\.py|test_[^/]*\.py)(?:/|\Z)")


@dataclass(frozen=True, slots=True)
class Place:
    """A file and a line, beginning at 1, and what stands there by name."""

    file: str
    line: int
    name: str


def looks(file: str) -> bool:
    """Whether secrets are looked for in a file: not in those of tests, where a password guards nothing."""
    known = file.endswith(".py") or _TEXTS.match(file) or _KEY_FILE.match(file)
    return bool(known) and not OF_TESTS.match(file)


def hardcoded(file: str, data: bytes, module: ast.Module | None = None) -> list[Place]:
    """Where secrets seem to stand in one file, each line once; `module` is its syntax tree if it is Python."""
    if file.endswith(".py"):
        found = _in_python(file, module) if module else iter(())
    elif _KEY_FILE.match(file):
        private = b"PRIVATE KEY" in data or not (file.endswith(".pem") or data.startswith(b"-----"))
        found = iter([Place(file, 1, "a private key")] if private and data else [])
    else:
        found = _in_text(file, data.decode(errors="replace").splitlines())
    return sorted({place.line: place for place in itertools.islice(found, MOST)}.values(), key=lambda one: one.line)


def masked(line: str) -> str:
    """A line that is shown, of a file that may hold a secret, without it."""
    if any(_in_text("", [line])):
        return "[a line in which a secret seems to stand]"
    return escape.address(line)


def _in_python(file: str, module: ast.Module) -> Iterator[Place]:
    for node in ast.walk(module):
        pairs: list[tuple[str, ast.expr]] = []
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs = [(_named(target), value) for target in targets]
            case ast.Dict(keys=keys, values=values):
                pairs = [(_text(key), value) for key, value in zip(keys, values, strict=True)]
            case ast.keyword(arg=str(name), value=value):
                pairs = [(name, value)]
            case ast.Call(args=[first, second, *_]):  # os.environ.get("SECRET_KEY", "a default"), setdefault(...)
                pairs = [(_text(first), second)]
            case ast.Constant(value=str(text), lineno=line) if _ADDRESS.match(text):
                yield Place(file, line, "a password in an address")
        for name, value in pairs:
            if _NAME.search(name) and (line := _literal(value)):
                yield Place(file, line, name)


def _literal(node: ast.expr) -> int:
    """The line of a string that is the value, or its default (`x or "text"`); 0 if there is no such string."""
    match node:
        case ast.Constant(value=str(text)) if "_" in text and _NAME.search(text):
            return 0  # the name of a variable in which a secret is
        case ast.Constant(value=str(text) | bytes(text)) if text:
            return node.lineno
        case ast.BoolOp(values=values) | ast.List(elts=values) | ast.Tuple(elts=values):
            return next((line for line in map(_literal, values) if line), 0)
        case ast.IfExp(body=body, orelse=orelse):
            return _literal(body) or _literal(orelse)
        case _:
            return 0


def _named(target: ast.expr) -> str:
    """The name that something is assigned to: `x`, `app.x`, `config["x"]`."""
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=key):
            return _text(key)
        case _:
            return ""


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _in_text(file: str, lines: list[str]) -> Iterator[Place]:
    for number, line in enumerate(lines, start=1):
        found = _SETTING.match(line[:1000])
        if found and _NAME.search(found["name"].replace("-", "_")) and not _ELSEWHERE.match(found["value"]):
            yield Place(file, number, found["name"])
        elif not line.lstrip().startswith("#") and _ADDRESS.search(line[:1000]):
            yield Place(file, number, "a password in an address")
