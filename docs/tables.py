"""Renders tables from the catalogue and the proofs, so that they are never typed.

`python docs/tables.py` writes docs/reference/protections.md and asvs.md, the numbers of requirements in README.md, the
table of a service's SECURITY.md (includes/protections.md.jinja) and the kinds of events in its docs/bastion/audit.md;
`--check` exits 1 when one of them is stale.
"""

from __future__ import annotations

import ast
import csv
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTECTIONS = ROOT / "docs/reference/protections.md"
PROTECTIONS_HEAD = """# The protections

Rendered by docs/tables.py from the catalogue. A refusal in the log names its protection: `reason=csrf-token-required`.
"(session)" or "(jwt)" marks a protection of one style, "(template)" one of the template itself. What no test of a
service can show (the proxy's TLS, backups, what a team does with `exceptions.toml`) is the team's."""
PROOFS = ROOT / "template/tests/proofs"
EDGES = ROOT / "tests/edges"  # laid into PROOFS/edges
TEMPLATE_ROWS = ROOT / "docs/reference/template.csv"  # proven in this repository's own tests
BASTION = "template/src/{{package_name}}/bastion"
BEGIN, END = "<!-- requirements: rendered by docs/tables.py -->", "<!-- end of the requirements -->"
README = ROOT / "README.md"
AUDIT = ROOT / "template/docs/bastion/audit.md"
KINDS = ROOT / BASTION / "audit/kinds.csv"
STYLES = {"both": "both", "session": "session", "jwt": "jwt"}
SECURITY = ROOT / "includes/protections.md.jinja"  # included by template/SECURITY.md.jinja
ASVS = ROOT / "docs/reference/asvs.md"
QUESTIONS = {
    **dict.fromkeys(("session", "jwt"), "auth"),
    **dict.fromkeys(("sqlite", "postgresql", "mysql"), "database"),
    **dict.fromkeys(("env", "files", "vault", "aws", "gcp", "azure"), "secrets"),
}
AUTHS = ("session", "jwt")
STATES = {"test": "tested", "part": "partly", "n/a": "none"} | dict.fromkeys(("open", "app", "deploy", "doc"), "not")
HEADINGS = {
    "tested": ("Tested", "by"),
    "partly": ("Partly tested", "by, and the missing part"),
    "not": ("Not tested", "why"),
    "none": ("Not applicable", "why"),
}
SCOPES = {
    "open": "no proof yet",
    "app": "the team's code",
    "deploy": "what the service runs on",
    "doc": "a document",
    "n/a": "",
}
LEVELS = ("L1", "L2", "L3")
HEAD = """\
# Requirements of OWASP ASVS 5.0

Rendered by `docs/tables.py` from `template/tests/proofs/catalogue/asvs.csv`. Each requirement was read in its own
text against the proofs of the rows ([why, and how](../decisions/0042-a-requirement-is-tested-as-a-whole.md)):

- **tested**: proofs and their sabotages show all of it, with what it adds for higher levels. Only these are counted.
- **partly**: proofs show some of it. The missing part is named; it is not counted.
- **not tested**: no proof shows it. A proof is still missing, or a document, the team's code or the platform decides.
- **not applicable**: a service of this style has nothing that it is about. One that adds such a thing has to meet it.

Judged is the service as it is rendered, and of the team's code what scans and layers see. A service's own report
(`uv run pytest --sabotage --proof-report=proofs.html`) counts only what held in its run. None of this is a statement
of compliance.
"""


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


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _constants(path: Path) -> dict[str, ast.AST]:
    """The constants of a file of proofs, and those that it imports from another such file."""
    edges = path.is_relative_to(EDGES)
    laid = Path("edges", path.relative_to(EDGES)) if edges else path.relative_to(PROOFS)
    found: dict[str, ast.AST] = {}
    for node in _parsed(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.rpartition(".")[2].startswith("test_"):
            named = Path(*laid.parts[: -node.level], *node.module.split(".")).with_suffix(".py")
            beside = named.is_relative_to("edges")
            constants = _constants(EDGES / named.relative_to("edges") if beside else PROOFS / named)
            found |= {alias.asname or alias.name: constants.get(alias.name, node) for alias in node.names}
    return found | _assigned(_parsed(path))


def _assigned(tree: ast.Module) -> dict[str, ast.AST]:
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
    for path in (*sorted(PROOFS.rglob("test_*.py")), *sorted(EDGES.rglob("test_*.py"))):
        named = _constants(path)
        for function in ast.walk(_parsed(path)):
            if not isinstance(function, ast.FunctionDef):
                continue
            for mark in function.decorator_list:
                if not (isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "protects"):
                    continue
                row = _resolved(mark.args[0], named)
                if isinstance(row, ast.Constant) and isinstance(row.value, str):
                    if path.is_relative_to(PROOFS):  # each row has its core there
                        files[row.value].add(path)
                    for keyword in mark.keywords:
                        modules[row.value].update(dict.fromkeys(_edits(_resolved(keyword.value, named), named)))
    for path in sorted({*(ROOT / "tests").rglob("test_*.py")} - {*EDGES.rglob("*.py")}):  # their first lines name it
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if found := re.search(r"catalogue row\s+([a-z0-9-]+)", docstring):
            files[found[1]].add(path)
    return files, modules


def _link(path: str, text: str) -> str:
    """A link from a page in docs/reference."""
    return f"[{text}](../../{path.replace('{', '%7B').replace('}', '%7D')})"


def protections() -> str:
    """Render docs/reference/protections.md: the protections of each area."""
    files, modules = proofs()
    lines = [PROTECTIONS_HEAD]
    area = ""
    for style, row in sorted(rows(), key=lambda pair: (pair[1]["area"], pair[1]["id"])):
        if row["area"] != area:
            area = row["area"]
            lines += [f"\n## {area}\n", "| protection | what holds | where: module; proof |", "|---|---|---|"]
        where = [_link(f"{BASTION}/{name}", name.removesuffix(".py")) for name in modules[row["id"]]]
        # A row of the template itself: of what looks after services, or of the questions.
        own = "hooks/flask_bastion" if style == "template" and row["area"] != "render" else "copier.yml"
        where = where or [_link(own, Path(own).name)]
        proven = [_link(str(path.relative_to(ROOT)), path.stem) for path in sorted(files[row["id"]])]
        name = f"`{row['id']}`" + ("" if style == "both" else f" ({style})")
        lines.append(f"| {name} | {row['title'].replace('<', '&lt;')} | {', '.join(where)}; {', '.join(proven)} |")
    return "\n".join(lines) + "\n"


def readme(text: str) -> str:
    """README.md with the present numbers of requirements between their marks."""
    head, _, rest = text.partition(BEGIN)
    _old, _, tail = rest.partition(END)
    counts = "\n".join(f"- {sentence(requirements(), auth)}" for auth in AUTHS)
    return f"{head}{BEGIN}\n{counts}\n{END}{tail}"


# --- a service's SECURITY.md ---------------------------------------------------------------------------------------


def condition(style: str, row: dict[str, str]) -> str:
    """The Jinja condition under which a service has this row, "" for always: as rows.py of the proofs decides it."""
    conditions = [] if style == "both" else [f"auth == '{style}'"]
    answers: set[str] = set()
    for clause in row["sabotage"].split(" || "):
        found = re.match(r"[a-z0-9-]+ \(([a-z0-9, -]+)\): ", clause.strip())
        if not found:
            break  # this clause is for all, and so is the row
        answers.update(found[1].split(", "))
    else:
        known = sorted(answers & QUESTIONS.keys())
        if answers >= {"session", "jwt"}:  # every service has one of them
            return " and ".join(conditions)
        conditions.append(" or ".join(f"{QUESTIONS[answer]} == '{answer}'" for answer in known) or "false")
    return " and ".join(f"({one})" if " or " in one else one for one in conditions)


def security() -> str:
    """The rows of a service, one a line, each under its condition."""
    lines = ["| protection | what holds | ASVS 5.0 |", "| --- | --- | --- |"]
    for style, row in sorted(rows(), key=lambda pair: (pair[1]["area"], pair[1]["id"])):
        if style == "template":
            continue
        line = f"| `{row['id']}` | {_literal(row['title'])} | {', '.join(filter(None, row['asvs'].split(';')))} |"
        applies = condition(style, row)
        lines += [f"{{% if {applies} %}}", line, "{% endif %}"] if applies else [line]
    return "\n".join(lines) + "\n"


def kinds(text: str) -> str:
    """The page about the audit with the present kinds of events."""
    with KINDS.open(newline="", encoding="utf-8") as file:
        found = [*csv.DictReader(file)]
    lines = ["| kind | style | when | details | its user reads |", f"|{'---|' * 5}"]
    for kind in found:
        when = f"{kind['when']}; counted" if kind["counted"] else kind["when"]
        lines.append(f"| `{kind['kind']}` | {kind['style']} | {when} | {kind['details']} | {kind['seen']} |")
    head, mark, rest = text.partition("## Kinds\n\n")
    return f"{head}{mark}{chr(10).join(lines)}\n{rest[rest.index(chr(10) * 2) + 1 :]}"


def _literal(text: str) -> str:
    """Words for a cell of a table in a Jinja template."""
    if re.search(r"\{[{%#]", text):
        raise ValueError(f"a title may not hold a mark of Jinja: {text}")
    return text.replace("<", "&lt;").replace("|", "\\|")


# --- ASVS ----------------------------------------------------------------------------------------------------------


def asvs() -> str:
    """Each requirement of ASVS 5.0 by what tests of the two styles show of it."""
    entries = requirements()
    lines = [HEAD, *(f"{sentence(entries, auth)}\n" for auth in AUTHS)]
    lines += ["| level | style | apply | tested | partly | not tested | not applicable |", f"|{'---|' * 7}"]
    for level in (*LEVELS, "all"):
        of_it = [entry for entry in entries if level in ("all", entry["level"])]
        for auth in AUTHS:
            found = Counter(STATES[entry[auth]] for entry in of_it)
            numbers = [found[state] for state in HEADINGS]
            lines.append(f"| {level} | {auth} | {' | '.join(map(str, (sum(numbers[:3]), *numbers)))} |")
    for state, (heading, note) in HEADINGS.items():
        lines += ["", f"## {heading}", "", f"| requirement | level | about | style | {note} | rows |", f"|{'---|' * 6}"]
        for entry in entries:
            said = {auth: _told(entry, auth) for auth in AUTHS if STATES[entry[auth]] == state}
            for text in dict.fromkeys(said.values()):
                styles = [auth for auth in AUTHS if said.get(auth) == text]
                style = "both" if len(styles) == len(AUTHS) else styles[0]
                named = _rows_of(entry, styles)
                lines.append(f"| {entry['req']} | {entry['level']} | {entry['area']} | {style} | {text} | {named} |")
    return "\n".join(lines) + "\n"


def requirements() -> list[dict[str, str]]:
    """The requirements with what each style has to do with them."""
    with (PROOFS / "catalogue/asvs.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sentence(entries: list[dict[str, str]], auth: str) -> str:
    """For how many requirements there are tests, in the words of a service's report."""
    tested, applying = (
        {level: sum(entry["level"] == level and test(entry[auth]) for entry in entries) for level in LEVELS}
        for test in ((lambda status: status == "test"), (lambda status: status != "n/a"))
    )
    levels = ", ".join(f"{level} {tested[level]} of {applying[level]}" for level in LEVELS)
    counts = f"{sum(tested.values())} of the {sum(applying.values())} applicable ASVS requirements"
    return f"`auth={auth}`: tests for {counts} ({levels})."


def _told(entry: dict[str, str], auth: str) -> str:
    status, why, how = entry[auth], entry[f"{auth}_why"], entry["how"]
    if status == "test":
        return how
    if status == "part":
        return f"{how}. **Missing:** {why}"
    return f"{SCOPES[status]}: {why}" if SCOPES[status] else why


def _rows_of(entry: dict[str, str], styles: list[str]) -> str:
    of = {auth: [row for row in entry[f"{auth}_rows"].split(";") if row] for auth in styles}
    found = []
    for row in dict.fromkeys(row for rows in of.values() for row in rows):
        only = [auth for auth in styles if row in of[auth]]
        found.append(f"`{row}`" + (f" ({only[0]})" if len(only) < len(styles) else ""))
    return ", ".join(found)


def main() -> None:
    """Write the tables, or check them."""
    counted = readme(README.read_text(encoding="utf-8"))
    events = kinds(AUDIT.read_text(encoding="utf-8"))
    fixed = ((PROTECTIONS, protections()), (SECURITY, security()), (ASVS, asvs()))
    for file, new in (*fixed, (README, counted), (AUDIT, events)):
        if "--check" not in sys.argv:
            file.write_text(new, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != new:
            sys.exit(f"{file.relative_to(ROOT)} is not up to date. Run: python docs/tables.py")


if __name__ == "__main__":
    main()
