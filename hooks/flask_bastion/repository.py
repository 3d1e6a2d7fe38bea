"""A service's repository, as it stands: what it says about itself, and what its code says.

Both are claims, possibly of an attacker. The answers file is edited in one line of a pull request, so
it is read without YAML's tags and aliases, and held against the module that the template rendered with the answers.
"""

from __future__ import annotations

import ast
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from . import escape
from .finding import Finding
from .tree import Tree
from .version import Version
from .version import parse as parsed

ANSWERS: Final = ".copier-answers.yml"
NO_SERVICE: Final = (
    f"no {ANSWERS}, so it is no rendered service. If it is one, take that file from the last commit that has it."
)
LARGEST_ANSWERS_BYTES: Final = 64 * 1024
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "auth": ("session", "jwt"),
    "database": ("sqlite", "postgresql", "mysql"),
    "secrets": ("env", "files", "vault", "aws", "gcp", "azure"),
    "ci": ("github", "none"),
}
"""The questions of copier.yml that have choices; their first is the default. A test compares the two."""
_BASTION: Final = re.compile(r"src/[a-z][a-z0-9_]*/bastion/__init__\.py\Z")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME: Final = 40
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}", re.ASCII)
_RUNS: Final = re.compile(r"-|[A-Za-z0-9+.]*::")
"""How an address begins that git takes for an option or a command of its own (ext::)."""


class Repository:
    """Answers, version and files of one service. Every fault is in `findings`; nothing here raises."""

    def __init__(self, tree: Tree) -> None:
        self.tree: Final = tree
        self._found: list[Finding] = []
        self.recorded: Final = self._read_answers()
        """What the answers file holds: names and plain values, unchecked; {} if it can't be read."""
        self.answers: Final = dict(self._checked())
        """The answers that are known and valid."""

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.process_time) -> Repository:
        """Read a folder. Reading goes on later, file by file, within the time of the tree."""
        return cls(Tree(path, clock=clock))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Faults of the answers, and of files that could not be read, so far."""
        return (*self._found, *self.tree.faults)

    @property
    def is_service(self) -> bool:
        """Whether the template ever rendered into this folder."""
        return ANSWERS in self.tree.sizes or any(fault.file == ANSWERS for fault in self.tree.faults)

    @property
    def name(self) -> str:
        """The service's name, from its answers; the folder's if they don't say."""
        return self.answers.get("project_name") or self.tree.root.resolve().name

    @property
    def package(self) -> str:
        """The service's Python package: as the answers say, or the only one with bastion/ in it; "" if neither does."""
        return self.answers.get("project_name", "").replace("-", "_") or self._only_package

    @cached_property
    def _only_package(self) -> str:
        found = {name.split("/")[1] for name in self.tree.sizes if _BASTION.match(name)}
        return found.pop() if len(found) == 1 else ""

    @property
    def source(self) -> str:
        """The address of the template as recorded, without what may be a secret in it."""
        source = self.recorded.get("_src_path")
        return escape.address(source) if isinstance(source, str) else ""

    @cached_property
    def version(self) -> Version | None:
        """The recorded version, if it is one."""
        return parsed(self.recorded.get("_commit"))

    @property
    def is_untagged(self) -> bool:
        """Whether Copier has recorded a bare commit, as it does where the template has no tags."""
        return _COMMIT.fullmatch(str(self.recorded.get("_commit", ""))) is not None

    @property
    def is_draft(self) -> bool:
        """Whether it was copied from a clone of the template with uncommitted changes."""
        return self.rendered.get("COMMIT") == "uncommitted"

    @cached_property
    def rendered(self) -> Mapping[str, str]:
        """What bastion/chosen.py says that was answered, and the version that wrote it: AUTH, DATABASE, VERSION, ..."""
        source = self.tree.read(f"src/{self.package}/bastion/chosen.py") if self.package else None
        return _constants(source) if source else {}

    @cached_property
    def denied(self) -> Mapping[str, str]:
        """What bastion/chosen.py says of each question to which the answers file says another thing."""
        said = {question: self.rendered[question.upper()] for question in CHOICES if question.upper() in self.rendered}
        return {question: answer for question, answer in said.items() if answer != self.answers.get(question)}

    def names(self) -> list[str]:
        """The names of all files."""
        return self.tree.names()

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; see Tree.read."""
        return self.tree.read(name)

    def answered(self, question: str) -> frozenset[str]:
        """Every answer that the file or the code claims; all choices if neither says, so that nothing is overlooked.

        The style is what the code has: the answers file decides only where there is no code of either.
        """
        claims = {self.answers.get(question), self.rendered.get(question.upper())}
        if question == "auth" and (styles := self._styles):
            claims = {*styles, self.rendered.get("AUTH")}
        return frozenset(claim for claim in claims if claim) or frozenset(CHOICES.get(question, ()))

    @cached_property
    def _styles(self) -> frozenset[str]:
        """The styles that bastion/ has a folder of."""
        bastion = f"src/{self.package}/bastion/"
        return frozenset(
            style for style in CHOICES["auth"] if any(name.startswith(f"{bastion}{style}/") for name in self.tree.sizes)
        )

    def may_be(self, when: Mapping[str, Iterable[str]]) -> bool:
        """Whether the service may have given these answers."""
        return all(self.answered(question) & set(choices) for question, choices in when.items())

    def _fault(self, kind: str, text: str, cure: str) -> None:
        self._found.append(Finding(kind, "error", text, cure, ANSWERS))

    def _read_answers(self) -> dict[str, Any]:
        data = self.tree.read(ANSWERS)
        if data is None:
            if not self.tree.faults:
                self._fault("answers-missing", "There is no such file.", "Render the service again with Copier.")
            return {}
        try:
            recorded = safe_yaml(data) if len(data) <= LARGEST_ANSWERS_BYTES else None
        except ValueError as error:
            self._fault("answers-invalid", f"This is not what Copier writes: {error}.", _RESTORE)
            return {}
        if not isinstance(recorded, dict) or not all(isinstance(name, str) for name in recorded):
            self._fault("answers-invalid", "This is not what Copier writes: a list of names and values.", _RESTORE)
            return {}
        return recorded

    def _checked(self) -> Iterable[tuple[str, str]]:
        recorded = self.recorded
        if not recorded:
            return
        name = recorded.get("project_name", "my-service")
        if isinstance(name, str) and _NAME.fullmatch(name) and len(name) <= _LONGEST_NAME:
            yield "project_name", name
        else:
            self._fault("answers-invalid", "project_name is no name of a service.", _RESTORE)
        if "package_name" in recorded and recorded["package_name"] != str(name).replace("-", "_"):
            self._fault("answers-invalid", "package_name is computed and never recorded.", "Take the line out.")
        for question, choices in CHOICES.items():
            answer = recorded.get(question, choices[0])
            if answer in choices:
                yield question, str(answer)
            else:
                self._fault("answers-invalid", f"{question} is not one of {', '.join(choices)}.", _RESTORE)
        self._check_source(recorded.get("_src_path"))

    def _check_source(self, source: object) -> None:
        if not isinstance(source, str):
            self._fault("answers-invalid", "_src_path names no template, so no update can come.", _RESTORE)
            return
        if _RUNS.match(source):
            self._fault("answers-source", "_src_path is of a form that makes git run a command.", _RESTORE)
        if ":" in source and not source.isascii():
            self._fault("answers-source", "_src_path has letters that look like those of another address.", _RESTORE)
        if (safe := escape.address(source)) != source:
            text = f"_src_path holds what may be a password or a token: {safe}."
            cure = (
                "Write the address without it, and revoke it: the file is committed. git's credential helper keeps it."
            )
            self._fault("answers-credentials", text, cure)

    @property
    def misnamed(self) -> Finding | None:
        """That no service of the recorded name begins here: its package was renamed, or its name was."""
        begins = f"src/{self.package}/app.py"
        if "project_name" not in self.answers or begins in self.tree.sizes or self.tree.faults:
            return None
        text = f"project_name is {self.name} here, and {begins}, where a service of that name begins, is not there."
        cure = f"Put it right, or check out the whole clone. {RENAME}"
        return Finding("answers-contradict", "error", text, cure, ANSWERS)

    def contradictions(self) -> list[Finding]:
        """Where the answers file says another thing than the code that the template rendered with the answers."""
        found = [misnamed] if (misnamed := self.misnamed) else []
        for question, rendered in self.denied.items():
            if not self.recorded:
                continue  # the unreadable file is reported already
            answer = self.answers.get(question, "no known answer")
            text = f"{question} is {answer} here, and {rendered} in bastion/chosen.py."
            found.append(Finding("answers-contradict", "error", text, _CONTRADICTED, ANSWERS))
        if self.recorded and self.version is None:
            text, cure = "_commit is no version of the template, so nothing follows from it.", _RESTORE
            if self.is_untagged:
                text = "_commit is no version of the template but a commit: it had no tag when this was copied."
                cure = UNTAGGED
            found.append(Finding("version-unknown", "error", text, cure, ANSWERS))
        if self.is_draft:
            text = "It was copied from a clone with uncommitted changes, which are in no version to update from."
            found.append(Finding("version-unknown", "error", text, _DRAFT, ANSWERS))
        rendered = self.rendered.get("VERSION", "")
        if self.version and rendered and rendered != self.version.text:
            text = f"_commit is {self.version.text} here, and {rendered} in bastion/chosen.py: no update brought it."
            found.append(Finding("answers-contradict", "error", text, _CONTRADICTED, ANSWERS))
        return found

    @property
    def claims(self) -> Version | None:
        """The version that the answers file claims and the code does not deny; or None."""
        rendered = self.rendered.get("VERSION", "")
        return None if self.version and rendered and rendered != self.version.text else self.version


_RESTORE: Final = "Take the file from the last commit in which it was right, then update."
RENAME: Final = (
    "For another name, move the package below src/, write project_name into the answers file, commit, and update with"
    " --restore."
)
_DRAFT: Final = (
    "Copy it again from a version, or update with `flask-bastion update --restore`, which takes the files of the"
    " template's version and keeps your edits of them as a patch."
)
UNTAGGED: Final = "Update with `copier update --defaults` once the template has a version: that records it."
_CONTRADICTED: Final = (
    "Update with `flask-bastion update`, which starts from the code, or take the file from the last commit in which it"
    " was right; Copier would leave out what lies between."
)


def _constants(source: bytes) -> dict[str, str]:
    """The texts that a module gives names to, the last time that it does; {} if it can't be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of hostile source, about hostile source
            body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {
        target.id: node.value.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def safe_yaml(data: bytes) -> Any:
    """The value of a YAML document: no tags, which make objects, and no aliases, which make gigabytes of a page.

    Raises ValueError, whose text holds nothing of the document.
    """
    import yaml  # here, so that the hook of pre-commit needs nothing

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("alias")
            return super().compose_node(parent, index)

    try:
        return yaml.load(data, Loader)  # noqa: S506 - a SafeLoader, with less
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ValueError(f"no plain YAML{where} (aliases and tags are refused)") from None
