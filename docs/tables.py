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


def _edits(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("edit", "insert"):
            first = call.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("/"):
                yield first.value


def _constants(tree: ast.Module) -> dict[str, ast.AST]:
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
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
                row = mark.args[0]
                if isinstance(row, ast.Constant) and isinstance(row.value, str):
                    files[row.value].add(path)
                    for keyword in mark.keywords:
                        value = keyword.value
                        found = named.get(value.id, value) if isinstance(value, ast.Name) else value
                        modules[row.value].update(dict.fromkeys(_edits(found)))
    for path in sorted((ROOT / "tests").rglob("test_*.py")):  # these name their row in the first lines
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if found := re.search(r"catalogue row ([a-z0-9-]+)", docstring):
            files[found[1]].add(path)
    return files, modules


def _short(rule: str) -> str:
    sentence = rule.split(". ")[0].split(": ")[0] if len(rule.split(". ")[0]) > 150 else rule.split(". ")[0]
    text = sentence.rstrip(".").replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= 150 else text[:149].rsplit(" ", 1)[0] + " …"


def _link(path: str, text: str) -> str:
    return f"[{text}]({path.replace('{', '%7B').replace('}', '%7D')})"


def table() -> str:
    """The protections, one a line: what, in which style, where it lives, where it is proven."""
    files, modules = proofs()
    lines = ["| protection | what holds | style | module | proof |", "|---|---|---|---|---|"]
    for style, row in sorted(rows(), key=lambda pair: (pair[1]["area"], pair[1]["id"])):
        where = ", ".join(_link(f"{BASTION}/{name}", name.removesuffix(".py")) for name in modules[row["id"]])
        proof = ", ".join(
            _link(str(path.relative_to(ROOT)), path.stem.removeprefix("test_"))
            for path in sorted(files[row["id"]])
        )
        lines.append(f"| `{row['id']}` | {_short(row['the_rule'])} | {style} | {where} | {proof} |")
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
