"""Finds where a request itself chooses: where a redirect leads, which file is opened, whom we ask, whose row is read.

It stops a view of the team's from handing what somebody typed to such a call on a path that no test reaches. The rule
is a simple one, so that each finding can be followed by eye: within one function, data of the request (request.args and
its siblings, a parameter of a view, a field of a form) goes into the call directly, by names that are assigned there,
through +, %, f-strings, Path and the like. What another function made of it counts as checked, and so does what is
looked for in a collection or handed to a function in a condition. HTML is another matter: a view makes none of text,
whosever it is. Source: ASVS 1.2.1, 3.7.2, 5.3.2, 8.2.2; CWE-601, CWE-22, CWE-918, CWE-639, CWE-79.
"""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .service import AUTH

KINDS: Final = ("redirect", "file", "outbound", "owner", "html")
# What a client may put any text into; request.path, url and endpoint are those of a route that exists.
FREE: Final = frozenset(
    (
        *("args", "form", "values", "files", "json", "get_json", "data", "get_data", "query_string", "view_args"),
        *("headers", "cookies", "referrer"),
    )
)
# Attributes of an upload that are no name, and parameters that can hold neither a path nor an address.
INERT: Final = frozenset({"stream", "content_length", "content_type", "mimetype", "size"})
TYPES: Final = frozenset({"int", "float", "bool", "UUID", "date", "datetime", "Decimal", "Literal"})
FIELDS: Final = frozenset(
    f"{kind}Field" for kind in ("Select", "SelectMultiple", "Radio", "Integer", "Decimal", "Boolean", "Date", "UUID")
)
CONVERTERS: Final = frozenset({"int", "float", "uuid", "any"})
# Calls whose result still is what was typed.
METHODS: Final = frozenset(
    (
        *("get", "getlist", "pop", "to_dict", "strip", "lstrip", "rstrip", "lower", "upper", "casefold", "title"),
        *("split", "rsplit", "partition", "rpartition", "replace", "removeprefix", "removesuffix", "encode", "decode"),
        *("resolve", "absolute", "expanduser", "joinpath", "with_suffix", "with_name", "as_posix"),
    )
)
OF_ARGUMENTS: Final = frozenset({"format", "join", "joinpath", "with_name"})
FUNCTIONS: Final = frozenset(
    (
        *("str", "Path", "PurePath", "PosixPath", "PurePosixPath", "fspath", "urljoin", "unquote", "unquote_plus"),
        *("os.path.join", "os.path.normpath", "os.path.abspath", "os.path.realpath", "os.path.expanduser"),
    )
)
# Calls that must not be given it: their first argument, or the one of this name.
OPENING: Final = {
    **dict.fromkeys(("open", "io.open", "os.open"), "file"),
    **dict.fromkeys(("os.remove", "os.unlink", "os.listdir", "os.scandir", "os.mkdir", "os.makedirs"), "path"),
    **dict.fromkeys(("os.rmdir", "os.rename", "os.replace", "shutil.rmtree"), "path"),
    **dict.fromkeys(("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.move"), "src"),
    "flask.send_file": "path_or_file",
    "flask.send_from_directory": "directory",
}
SECOND: Final = frozenset({"os.rename", "os.replace", "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.move"})
OF_PATHS: Final = frozenset(
    (
        *("open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "touch", "mkdir", "rmdir"),
        *("iterdir", "glob", "rglob"),
    )
)
CLIENTS: Final = frozenset({"requests", "httpx", "urllib3", "aiohttp", "niquests"})
ASKING: Final = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request", "stream", "urlopen"})
CONNECTING: Final = frozenset(
    (
        *("urllib.request.urlopen", "urllib.request.Request", "urllib.request.urlretrieve", "socket.create_connection"),
        *("http.client.HTTPConnection", "http.client.HTTPSConnection"),
    )
)
ROUTES: Final = frozenset({"route", "get", "post", "put", "patch", "delete"})
MARKS: Final = frozenset({"public", "login_required", "requires", "webhook"})
READING: Final = frozenset({"get", "get_one", "select", "update", "delete", "query"})
HELPERS: Final = frozenset({"owned", "owned_or_404", "visible_or_404"})
# The beginning of an address that leaves open whose host it is.
_OPEN: Final = re.compile(r"/?|https?:?/?|(?:https?:)?//[^/?#\\]*", re.IGNORECASE)
# What an HTML tag in a literal looks like, and calls whose result may stand beside one.
_TAG: Final = re.compile(r"</?[A-Za-z][A-Za-z0-9-]*[\s/>]|<!--|<!doctype\b", re.IGNORECASE)
ESCAPED: Final = frozenset({"escape", "len", "int", "url_for", "render_template"})
# Calls that tell nothing about where an address or a path leads.
_NO_CHECK: Final = frozenset(
    (
        *("len", "isinstance", "bool", "print", "flash", "redirect", "exists", "lexists", "isfile", "isdir", "join"),
        *(name.rpartition(".")[2] for name in (*FUNCTIONS, *OPENING)),
        *(METHODS | OF_ARGUMENTS | {"safe_fetch"}),
    )
)

CURE: Final = {
    "redirect": "the request chooses where this leads; use url_for(...)"
    + (", or safe_next(address, default) of bastion/session/redirects.py" if AUTH == "session" else ""),
    "file": "the request chooses the path; use send_from_directory(folder, name), safe_join(folder, name) of "
    "werkzeug.utils, or keep the file under a name of your own",
    "outbound": "the request chooses whom this service asks; let the address begin with a setting of yours, or look "
    "it up in a fixed mapping; safe_fetch(address) of bastion reaches public hosts only",
    "owner": "the request chooses the row, whoever owns it; use owned_or_404(...) or owned(...), a Scoped model, or "
    "@requires(...) for those who may see everybody's",
    "html": "what somebody typed becomes markup there; use render_template(...), or escape(...) for each value",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Known:
    """Models whose rows have owners and are not Scoped, fields that hold no free text, and models of parts of rows."""

    owned: frozenset[str] = frozenset({"Owned"})
    fixed: frozenset[tuple[str, str]] = frozenset()
    parts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """One call that the request decides about."""

    kind: str
    line: int
    function: str
    what: str

    def __str__(self) -> str:
        return f"{self.line}: {self.what} in {self.function}(): {CURE[self.kind]}"


def known(trees: Sequence[ast.Module]) -> Known:
    """What all modules together say of their classes."""
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    owned, scoped = _below("Owned", classes), _below("Scoped", classes)
    texts = {one.name: ast.unparse(one) for one in classes}
    tables = {table for name in owned | scoped for table in re.findall(r"__tablename__ = '(\w+)'", texts[name])}
    parts = {name for name, text in texts.items() if tables & {*re.findall(r"ForeignKey\('(\w+)\.", text)}}
    fixed = {(one.name, field) for one in classes for field in _fixed(one)}
    return Known(frozenset(owned - scoped), frozenset(fixed), frozenset(parts - owned - scoped))


def _below(base: str, classes: Sequence[ast.ClassDef]) -> set[str]:
    """The names of the classes that derive from `base`, directly or not."""
    names = {base}
    while more := {one.name for one in classes if names & {_last(parent) for parent in one.bases}} - names:
        names |= more
    return names - {base}


def _fixed(node: ast.ClassDef) -> Iterator[str]:
    """Fields of a schema or form for which not any text is accepted."""
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and _is_typed(line.annotation):
            yield line.target.id
        elif isinstance(line, ast.Assign) and isinstance(line.value, ast.Call) and _last(line.value.func) in FIELDS:
            yield from (target.id for target in line.targets if isinstance(target, ast.Name))


def _is_typed(annotation: ast.expr | None) -> bool:
    if isinstance(annotation, ast.Subscript):
        name = _last(annotation.value)
        inner = annotation.slice.elts[0] if isinstance(annotation.slice, ast.Tuple) else annotation.slice
        return name == "Literal" or (name in ("Annotated", "Optional") and _is_typed(inner))
    if isinstance(annotation, ast.BinOp):
        return all(_is_typed(side) or _is_none(side) for side in (annotation.left, annotation.right))
    return annotation is not None and _last(annotation) in TYPES


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _last(value: ast.expr) -> str:
    """The last name of `a.b.c`, of what is called or subscripted."""
    if isinstance(value, ast.Call):
        return _last(value.func)
    return getattr(value, "attr", getattr(value, "id", ""))


def found(tree: ast.Module, known: Known) -> Iterator[Found]:
    """Each call of a module that is given what a request chose."""
    imported = _imported(tree)
    for node, name, marks in _functions(tree, "", frozenset()):
        yield from _Flow(node, name, marks, imported, known).found()


def _imported(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({one.asname: one.name for one in node.names if one.asname})
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update({one.asname or one.name: f"{node.module}.{one.name}" for one in node.names})
    return names


def _functions(node: ast.AST, above: str, marks: frozenset[str]) -> Iterator[tuple[Function, str, frozenset[str]]]:
    """Every function with its name and the names of its decorators; a method of a view has those of its class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            of_class = {_last(one) for one in child.decorator_list} & MARKS
            view = {"route"} if of_class or any(_last(base).endswith("View") for base in child.bases) else set()
            yield from _functions(child, f"{above}{child.name}.", frozenset(of_class | view))
        elif isinstance(child, Function):
            own = {_last(one) for one in child.decorator_list} & (MARKS | ROUTES)
            yield child, f"{above}{child.name}", frozenset(own) | marks
            yield from _functions(child, f"{above}{child.name}.", frozenset())
        else:
            yield from _functions(child, above, marks)


class _Flow:
    """Where data of the request goes within one function."""

    def __init__(
        self, node: Function, name: str, marks: frozenset[str], imported: Mapping[str, str], known: Known
    ) -> None:
        self._name, self._marks, self._imported, self._known = name, marks, imported, known
        self._nodes = [*_own(node)]
        self._parents = {child: parent for parent in self._nodes for child in ast.iter_child_nodes(parent)}
        self._parameters = {one.arg for one in _arguments(node) if one.arg not in ("self", "cls")} if marks else set()
        self._classes = {
            one.arg: _last(one.annotation) for one in _arguments(node) if marks and one.annotation is not None
        }
        self._forms: set[str] = set()
        self._checked: frozenset[str] = frozenset()
        typed = {one.arg for one in _arguments(node) if _is_typed(one.annotation)} | _converted(node)
        # Names that hold data of the request, and those that begin with it.
        self._held, self._begun = self._parameters - typed, self._parameters - typed
        # Parts of a row are read after the row itself, by a helper that knows whose it is.
        self._found_whole = any(isinstance(one, ast.Call) and _last(one.func) in HELPERS for one in self._nodes)
        self._clients: set[str] = set()
        self._answers: set[str] = set()
        self._values = [*self._bound()]  # each name with each value that it is given
        self._follow()

    # --- names -----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """All names that data of the request reaches, then without those that a condition looks at."""
        bound = self._values
        for name, value in bound:
            self._kinds(name, value)
        self._reach(bound)
        sources: dict[str, set[str]] = defaultdict(set)
        for name, value in bound:
            sources[name] |= {*self._typed(value)}
        checked = {text for one in self._conditions() for text in self._typed(one)}
        # name = cleaned(name)
        checked |= {name for name, value in bound if name in self._typed(value) and not self._holds(value)}
        while more := {text for name in checked for text in sources[name]} - checked:
            checked |= more
        self._checked = frozenset(checked)
        self._held &= self._parameters
        self._begun &= self._parameters
        self._reach(bound)

    def _reach(self, bound: Sequence[tuple[str, ast.expr]]) -> None:
        while True:
            before = len(self._held) + len(self._begun)
            for name, value in bound:
                if self._holds(value):
                    self._held.add(name)
                if self._begins(value):
                    self._begun.add(name)
            if len(self._held) + len(self._begun) == before:
                return

    def _bound(self) -> Iterator[tuple[str, ast.expr]]:
        """Each name with each value that it is given."""
        for node in self._nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    yield from _pairs(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
                yield from _pairs(node.target, node.value)
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
                yield from _pairs(node.target, node.iter)
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                yield from _pairs(node.optional_vars, node.context_expr)

    def _kinds(self, name: str, value: ast.expr) -> None:
        """What a name is by the call that makes it: a form, a client for HTTP, an answer."""
        if isinstance(value, ast.Await):
            value = value.value
        if not isinstance(value, ast.Call):
            return
        called = self._called(value.func)
        maker = _last(value.func.value) if called.endswith(".read") and isinstance(value.func, ast.Attribute) else ""
        made = maker or _last(value.func)
        if made.endswith(("Form", "Query")):
            self._forms.add(name)
            self._classes[name] = made
        elif called.partition(".")[0] in CLIENTS and _last(value.func)[:1].isupper():
            self._clients.add(name)
        elif _last(value.func) in ("make_response", "Response", "redirect", "jsonify"):
            self._answers.add(name)

    def _conditions(self) -> Iterator[ast.expr]:
        """What a condition looks at closely enough to count as a check of it."""
        for node in self._nodes:
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
                if not isinstance(node.left, ast.Constant) and not self._holds(node.comparators[0]):
                    yield node.left
            elif isinstance(node, ast.If | ast.While | ast.Assert | ast.IfExp):
                yield from (argument for call in _calls(node.test) for argument in _looked_at(call))
            elif isinstance(node, ast.comprehension):
                yield from (part for test in node.ifs for call in _calls(test) for part in _looked_at(call))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # require_own_host(address)
                yield from _looked_at(node.value) if isinstance(node.value.func, ast.Name) else ()

    def _typed(self, value: ast.expr) -> Iterator[str]:
        """The parts of an expression that are data of the request, as they are written."""
        if isinstance(value, ast.Name):
            yield value.id
        elif self._is_source(value):
            yield ast.unparse(value)
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            for part in (value.func.value, *value.args, *(word.value for word in value.keywords)):
                yield from self._typed(part)
        else:
            for child in ast.iter_child_nodes(value):
                if isinstance(child, ast.expr | ast.keyword):
                    yield from self._typed(child.value if isinstance(child, ast.keyword) else child)

    # --- expressions -----------------------------------------------------------------------------------------

    def _called(self, function: ast.expr) -> str:
        """The dotted name of what is called, with the module that it was imported from."""
        if isinstance(function, ast.Attribute):
            return f"{self._called(function.value)}.{function.attr}"
        return self._imported.get(function.id, function.id) if isinstance(function, ast.Name) else "?"

    def _is_source(self, value: ast.expr) -> bool:
        """request.args["next"], request.args.get("next"), form.next.data, body.address."""
        if isinstance(value, ast.Call):
            function = value.func
            if _is_converted(value) or not isinstance(function, ast.Attribute):
                return False
            inner = function.value if function.attr in METHODS else function  # request.args.get(), request.get_json()
            return (inner is not function or function.attr in FREE) and self._is_source(inner)
        if isinstance(value, ast.Subscript):
            return self._is_source(value.value)
        if not isinstance(value, ast.Attribute) or value.attr in INERT:
            return False
        if value.attr in FREE and self._called(value.value) in ("flask.request", "request"):
            return True
        inner = value.value
        if value.attr == "data" and isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            form = inner.value.id
            return form in self._forms and (self._classes.get(form, ""), inner.attr) not in self._known.fixed
        if isinstance(inner, ast.Name) and inner.id in self._parameters:
            chosen = inner.id in self._held and inner.id not in self._checked
            return chosen and (self._classes.get(inner.id, ""), value.attr) not in self._known.fixed
        return self._is_source(inner)

    def _holds(self, value: ast.expr | None) -> bool:
        """Whether data of the request is in it, wherever."""
        return value is not None and self._flows(value, self._held, begins=False)

    def _begins(self, value: ast.expr | None) -> bool:
        """Whether it begins with data of the request: who chooses the beginning of an address chooses its host."""
        return value is not None and self._flows(value, self._begun, begins=True)

    def _flows(self, value: ast.expr, names: set[str], *, begins: bool) -> bool:
        if isinstance(value, ast.Name):
            return value.id in names and value.id not in self._checked
        if self._is_source(value):
            return ast.unparse(value) not in self._checked
        if isinstance(value, ast.Call):
            return not _is_converted(value) and self._passes(value, names, begins=begins)
        if isinstance(value, ast.Attribute):
            inner = value.value
            # body.address was looked at above; what else is an attribute of a name still is of the request.
            if value.attr in INERT or (isinstance(inner, ast.Name) and inner.id in self._parameters):
                return False
            return self._flows(inner, names, begins=begins)
        if isinstance(value, ast.Subscript | ast.Await | ast.Starred | ast.NamedExpr | ast.FormattedValue):
            return self._flows(value.value, names, begins=begins)
        if isinstance(value, ast.BoolOp):
            return any(self._flows(one, names, begins=begins) for one in value.values)
        if isinstance(value, ast.IfExp):
            return any(self._flows(one, names, begins=begins) for one in (value.body, value.orelse))
        parts = _parts(value)
        if parts == [value]:
            return False
        return self._in_order(parts, names) if begins else any(self._flows(one, names, begins=False) for one in parts)

    def _in_order(self, parts: Sequence[ast.expr], names: set[str]) -> bool:
        """Whether the parts of a text let the request choose before the host of the address has ended."""
        before = ""
        for part in parts:
            if isinstance(part, ast.Constant):
                before += str(part.value)
                if not _OPEN.fullmatch(before):
                    return False
            else:
                return self._flows(part, names, begins=True)
        return False

    def _passes(self, call: ast.Call, names: set[str], *, begins: bool) -> bool:
        """Whether what is called gives back what it is given."""
        called, last = self._called(call.func), _last(call.func)
        if isinstance(call.func, ast.Attribute) and called not in FUNCTIONS:
            receiver = call.func.value
            if last in METHODS and self._flows(receiver, names, begins=begins):
                return True
            if last not in OF_ARGUMENTS:
                return False
            if begins and isinstance(receiver, ast.Constant) and last == "format":
                return self._in_order([*_templated(str(receiver.value), "{", call.args)], names)
        elif called not in FUNCTIONS and last not in FUNCTIONS:
            return False
        return any(self._flows(one, names, begins=begins and last != "urljoin") for one in call.args)

    # --- calls -----------------------------------------------------------------------------------------------

    def found(self) -> Iterator[Found]:
        """What the request decides about in this function."""
        owners = any(getattr(node, "attr", getattr(node, "arg", "")) == "user_id" for node in self._nodes)
        for node in self._nodes:
            if isinstance(node, ast.Call):
                kind = self._kind(node)
                if not kind and "login_required" in self._marks and not owners and self._reads(node):
                    kind = "owner"
                if kind:
                    yield Found(kind, node.lineno, self._name, f"{ast.unparse(node.func)}(...)")
            elif isinstance(node, ast.Assign | ast.Dict | ast.Tuple) and self._leads(node):
                yield Found("redirect", node.lineno, self._name, "Location")
            for text in _answered(node) if self._marks else ():
                if self._html(text):
                    yield Found("html", text.lineno, self._name, "HTML made of text")

    def _html(self, value: ast.expr | None, seen: frozenset[str] = frozenset()) -> bool:
        """Whether this is put together from tags and something that is neither a constant nor went through escape()."""
        if isinstance(value, ast.Name):
            given = [one for name, one in self._values if name == value.id and name not in seen]
            return any(self._html(one, seen | {value.id}) for one in given)
        if isinstance(value, ast.Call) and _last(value.func) == "format" and isinstance(value.func, ast.Attribute):
            parts = [value.func.value, *value.args, *(word.value for word in value.keywords)]
        else:
            parts = _parts(value) if value is not None else []
        texts = "\0".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
        return bool(_TAG.search(texts)) and any(self._shows(part) for part in parts)

    def _shows(self, part: ast.expr) -> bool:
        if isinstance(part, ast.FormattedValue):
            return self._shows(part.value)
        if isinstance(part, ast.Name):
            given = [one for name, one in self._values if name == part.id]
            return not (part.id.isupper() or (given and all(_is_escaped(one) for one in given)))
        return not (isinstance(part, ast.Constant) or _is_escaped(part))

    def _kind(self, call: ast.Call) -> str:
        called, last = self._called(call.func), _last(call.func)
        if last == "redirect":
            return "redirect" if self._begins(_argument(call, "location")) else ""
        if called in OPENING:
            paths = [_argument(call, OPENING[called]), *(call.args[1:2] if called in SECOND else ())]
            return "file" if any(self._holds(path) for path in paths) else ""
        if last == "save" and isinstance(call.func, ast.Attribute):  # an upload
            return "file" if self._is_upload(call.func.value) and self._holds(_argument(call, "dst")) else ""
        if last in OF_PATHS and isinstance(call.func, ast.Attribute):
            return "file" if self._holds(call.func.value) else ""
        if called in CONNECTING:
            address = _argument(call, "url")
            if isinstance(address, ast.Tuple):  # socket.create_connection((host, port))
                address = address.elts[0] if address.elts else None
            return "outbound" if self._begins(address) else ""
        if last in ASKING and "." in called and called.partition(".")[0] in CLIENTS | self._clients:
            address = _argument(call, "url", place=1 if last in ("request", "stream") else 0)
            return "outbound" if self._begins(address) else ""
        return ""

    def _is_upload(self, value: ast.expr) -> bool:
        return self._holds(value) or (isinstance(value, ast.Name) and value.id in self._held | self._checked)

    def _leads(self, node: ast.Assign | ast.Dict | ast.Tuple) -> bool:
        """headers["Location"] = address, answer.location = address, {"Location": address}, ("Location", address)."""
        if isinstance(node, ast.Tuple):
            two = len(node.elts) == 2 and _is_location(node.elts[0])
            return two and self._begins(node.elts[1])
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return any(_is_location(key) and self._begins(value) for key, value in pairs)
        for target in node.targets:
            leads = False
            if isinstance(target, ast.Subscript):
                leads = _is_location(target.slice) and _last(target.value) == "headers"
            elif isinstance(target, ast.Attribute):
                leads = target.attr == "location" and _last(target.value) in self._answers
            if leads and self._begins(node.value):
                return True
        return False

    def _reads(self, call: ast.Call) -> bool:
        """select(Note), db.session.get(Note, ...) in an expression into which something of the request goes."""
        if _last(call.func) not in READING or not call.args:
            return False
        first = call.args[0]
        model = _last(first.value) if isinstance(first, ast.Attribute) and isinstance(first.value, ast.Name) else ""
        if not {_last(first), model} & (self._known.owned | (set() if self._found_whole else self._known.parts)):
            return False
        whole: ast.AST = call
        while isinstance(self._parents.get(whole), ast.expr | ast.keyword):
            whole = self._parents[whole]
        return any(
            (isinstance(node, ast.Name) and node.id in self._parameters | self._held)
            or (isinstance(node, ast.expr) and self._is_source(node))
            for node in ast.walk(whole)
        )


def _own(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions in it."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, Function | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def _arguments(function: Function) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _converted(function: Function) -> set[str]:
    """Parameters that the rule of the route takes as a number, an id or one of some words: "/<uuid:note_id>"."""
    rules = [
        str(part.value)
        for one in function.decorator_list
        if isinstance(one, ast.Call)
        for part in one.args
        if isinstance(part, ast.Constant)
    ]
    parts = [part for rule in rules for part in re.findall(r"<(\w+)(?:\([^)]*\))?:(\w+)>", rule)]
    return {name for converter, name in parts if converter in CONVERTERS}


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple | ast.List):
        several = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
        values = value.elts if several and isinstance(value, ast.Tuple | ast.List) else [value] * len(target.elts)
        for one, given in zip(target.elts, values, strict=True):
            yield from _pairs(one, given)


def _calls(test: ast.expr) -> Iterator[ast.Call]:
    return (node for node in ast.walk(test) if isinstance(node, ast.Call))


def _answered(node: ast.AST) -> Iterator[ast.expr]:
    """What a view answers with: `return text`, `return text, 404`, make_response(text), Response(text)."""
    if isinstance(node, ast.Return) and node.value is not None:
        yield node.value.elts[0] if isinstance(node.value, ast.Tuple) and node.value.elts else node.value
    elif isinstance(node, ast.Call) and _last(node.func) in ("make_response", "Response") and node.args:
        yield node.args[0]


def _is_escaped(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and _last(value.func) in ESCAPED


def _is_converted(call: ast.Call) -> bool:
    """request.args.get("page", type=int)"""
    return any(word.arg == "type" and _last(word.value) != "str" for word in call.keywords)


def _looked_at(call: ast.Call) -> Iterator[ast.expr]:
    """What a call in a condition decides about: its arguments, or the beginning or folder of what it belongs to."""
    if _last(call.func) not in _NO_CHECK:
        yield from call.args
    if isinstance(call.func, ast.Attribute):
        fixed = call.func.attr == "startswith" and not any(_leaves_open(one) for one in call.args[:1])
        if fixed or call.func.attr in ("is_relative_to", "isalnum", "isidentifier", "isdigit", "isdecimal"):
            yield call.func.value


def _leaves_open(prefix: ast.expr) -> bool:
    """Whether an address that starts with this may still lead anywhere."""
    one_of = prefix.elts if isinstance(prefix, ast.Tuple) else [prefix]
    return any(isinstance(one, ast.Constant) and _OPEN.fullmatch(str(one.value)) for one in one_of)


def _parts(value: ast.expr) -> list[ast.expr]:
    """The parts of a text, a path or a list, in order."""
    if isinstance(value, ast.JoinedStr):
        return value.values
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add | ast.Div):
        return [*_parts(value.left), *_parts(value.right)]
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mod):
        given = value.right.elts if isinstance(value.right, ast.Tuple) else [value.right]
        if isinstance(value.left, ast.Constant):
            return [*_templated(str(value.left.value), "%", given)]
        return [value.left, *given]
    if isinstance(value, ast.Tuple | ast.List | ast.Set):
        return value.elts
    return [value]


def _templated(text: str, sign: str, given: Sequence[ast.expr]) -> Iterator[ast.expr]:
    yield ast.Constant(text.partition(sign)[0])
    yield from given


def _argument(call: ast.Call, name: str, *, place: int = 0) -> ast.expr | None:
    if len(call.args) > place:
        return call.args[place]
    return next((word.value for word in call.keywords if word.arg in (name, "fullurl", "host", "code_or_url")), None)


def _is_location(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "Location"


def declared(folder: Path) -> set[tuple[str, str, str]]:
    """What exceptions.toml leaves to the request, as (module, function, use); its form is checked at every start."""
    file = folder / "exceptions.toml"
    entries = tomllib.loads(file.read_text("utf-8")).get("request_data", []) if file.is_file() else []
    return {(*one["function"].split(":"), one["use"]) for one in entries}


def check(folder: Path) -> tuple[int, dict[str, list[str]]]:
    """All modules below `folder`: how many functions were looked at, and kind to what was found and is not declared.

    The kind "unused" are the declarations for which nothing was found.
    """
    files = sorted(folder.rglob("*.py"))
    looked_at, of_files = _checked(tuple(file.read_text("utf-8") for file in files))
    exempt = declared(folder)
    faults: dict[str, list[str]] = {kind: [] for kind in (*KINDS, "unused")}
    left = {*exempt}
    for file, several in zip(files, of_files, strict=True):
        where = file.relative_to(folder).as_posix()
        for one in several:
            left.discard((where, one.function, one.kind))
            if (where, one.function, one.kind) not in exempt:
                faults[one.kind].append(f"{where}:{one}")
    faults["unused"] = [
        f"exceptions.toml: nothing is left to the request for {use} in {where}:{function}; remove that exception, or "
        "name the function where it is"
        for where, function, use in sorted(left)
    ]
    return looked_at, faults


@functools.cache
def _checked(sources: tuple[str, ...]) -> tuple[int, tuple[tuple[Found, ...], ...]]:
    """How many functions are in these modules, and what is found in each: a function of the texts alone, which one
    proof for each kind asks for."""
    trees = [ast.parse(source) for source in sources]
    of_all = known(trees)
    functions = sum(isinstance(node, Function) for tree in trees for node in ast.walk(tree))
    return functions, tuple(tuple(found(tree, of_all)) for tree in trees)
