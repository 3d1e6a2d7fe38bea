"""Renders the table of protections into README.md from the catalogue and the proofs, so that it is never typed.

`python docs/tables.py` writes it; `--check` exits 1 when README.md is not up to date.
"""

from __future__ import annotations

import ast
import csv
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PROOFS = ROOT / "template/tests/proofs"
TEMPLATE_ROWS = ROOT / "docs/reference/template.csv"  # proven in this repository's own tests
BASTION = "template/src/{{package_name}}/bastion"
BEGIN, END = "<!-- protections: rendered by docs/tables.py -->", "<!-- end of the protections -->"
STYLES = {"both": "both", "session": "session", "jwt": "jwt"}


def rows() -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of the catalogue with the styles that it applies to."""
    for name, style in STYLES.items():
        with (PROOFS / "catalogue" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield style, row
    with TEMPLATE_ROWS.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield "template", row


def _resolved(node: ast.AST, named: dict[str, ast.AST]) -> ast.AST:
    return named.get(node.id, node) if isinstance(node, ast.Name) else node


def _edits(node: ast.AST, named: dict[str, ast.AST]) -> Iterator[str]:
    for name in ast.walk(node):
        if isinstance(name, ast.Name) and name.id in named:
            yield from _edits(named[name.id], named)
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("edit", "insert"):
            first = _resolved(call.args[0], named)
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("/"):
                yield first.value


def _constants(tree: ast.Module) -> dict[str, ast.AST]:
    return {
        name.id: value.elts[index] if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) else value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for value in [node.value]
        for target in node.targets
        for index, name in enumerate(target.elts if isinstance(target, ast.Tuple) else [target])
        if isinstance(name, ast.Name)
    }


def proofs() -> tuple[dict[str, set[Path]], dict[str, dict[str, None]]]:
    """For each row its proof files, and the modules that its sabotages take the protection out of."""
    files: dict[str, set[Path]] = defaultdict(set)
    modules: dict[str, dict[str, None]] = defaultdict(dict)
    for path in sorted(PROOFS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = _constants(tree)
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for mark in function.decorator_list:
                if not (isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "protects"):
                    continue
                row = _resolved(mark.args[0], named)
                if isinstance(row, ast.Constant) and isinstance(row.value, str):
                    files[row.value].add(path)
                    for keyword in mark.keywords:
                        modules[row.value].update(dict.fromkeys(_edits(_resolved(keyword.value, named), named)))
    for path in sorted((ROOT / "tests").rglob("test_*.py")):  # these name their row in the first lines
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if found := re.search(r"catalogue row ([a-z0-9-]+)", docstring):
            files[found[1]].add(path)
    return files, modules


def _link(path: str, text: str) -> str:
    return f"[{text}]({path.replace('{', '%7B').replace('}', '%7D')})"


def table() -> str:
    """The protections, one a line: what, in which style, where it lives, where it is proven."""
    files, modules = proofs()
    lines = ["| protection | what holds | style | module | proof |", "|---|---|---|---|---|"]
    for style, row in sorted(rows(), key=lambda pair: (pair[1]["area"], pair[1]["id"])):
        where = ", ".join(_link(f"{BASTION}/{name}", name.removesuffix(".py")) for name in modules[row["id"]])
        where = where or _link("copier.yml", "copier.yml")  # a row of the template itself
        proof = ", ".join(
            _link(str(path.relative_to(ROOT)), path.stem.removeprefix("test_")) for path in sorted(files[row["id"]])
        )
        lines.append(f"| `{row['id']}` | {row['title'].replace('<', '&lt;')} | {style} | {where} | {proof} |")
    return "\n".join(lines)


def rendered(text: str) -> str:
    """README.md with the present table between its marks."""
    head, _, rest = text.partition(BEGIN)
    _old, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def main() -> None:
    """Write the table, or check it."""
    text = README.read_text(encoding="utf-8")
    new = rendered(text)
    if "--check" in sys.argv and new != text:
        sys.exit("README.md is not up to date. Run: python docs/tables.py")
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
