"""The template at any of its versions: its files as git keeps them, and what they render to.

Copier does the same, and a test holds the two equal; but it clones, writes and asks git for every file, which costs a
second a service. Here nothing is written, and what does not depend on a service's own answers is done once for all.
The template is trusted: where it may come from is decided before (see trust.py). Its answers are not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from . import version
from .borrowed import Borrowed
from .git import GitError

if TYPE_CHECKING:
    from jinja2.environment import Template as Compiled

NEED_TRUST: Final = ("_tasks", "_migrations", "_jinja_extensions")
"""What of a copier.yml runs code of its own when it is rendered: no version of ours has it."""
_SUFFIX: Final = ".jinja"


class TemplateError(Exception):
    """The template can't be read, or not rendered with these answers. The text says what to do, in one line."""


class Template:
    """A git repository (a clone, or a bare one) that holds the template."""

    def __init__(self, path: Path, *, bare: bool = True) -> None:
        """`bare`: the folder may be a repository itself, and not only lie in one."""
        self.path: Final = path.resolve()
        self._bare = bare
        self.release = functools.lru_cache(maxsize=64)(self._release)

    @functools.cached_property
    def _repository(self) -> Borrowed:
        return Borrowed(self.path, bare=self._bare)

    @property
    def origin(self) -> str:
        """The address that it was cloned from; "" if it does not say. Raises TemplateError."""
        try:
            return self._repository.settings.get("remote.origin.url", "")
        except GitError as error:
            raise self._failed(error) from None

    def git(self, *arguments: str, data: bytes = b"") -> bytes:
        """What git says; nothing of the repository's configuration counts. Raises TemplateError with git's reason."""
        try:
            return self._repository.git(*arguments, data=data)
        except GitError as error:
            raise self._failed(error) from None

    def _failed(self, error: GitError) -> TemplateError:
        is_none = "not a git repository" in str(error)
        cure = ". Name the folder of a clone of the template." if is_none else ""
        return TemplateError(f"git failed in {self.path}: {error}{cure}")

    def tags(self) -> list[version.Version]:
        """The released versions, oldest first."""
        found = (version.parse(name) for name in self.git("tag", "--list", "v*").decode(errors="replace").split())
        return sorted(one for one in found if one and not one.commits)

    def commit(self, wanted: version.Version) -> str:
        """The commit that a version names. Raises TemplateError if the template has no such version."""
        name = wanted.text.rpartition("-g")[2] if wanted.commits else f"refs/tags/{wanted.text}"
        try:
            found = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except TemplateError:
            raise TemplateError(f"The template has no version {wanted.text}.") from None
        return found.decode().strip()

    def files(self, commit: str, *folders: str) -> dict[str, bytes]:
        """The regular files of a commit, by name; of `folders` alone if there are any."""
        return self._contents([(name, blob) for name, _, blob in self._listed(commit, *folders)])

    def _listed(self, commit: str, *folders: str) -> list[tuple[str, str, str]]:
        """Name, mode and blob of each regular file."""
        listed = self.git("ls-tree", "-r", "-z", commit, "--", *folders).decode(errors="surrogateescape")
        entries = [entry.partition("\t") for entry in listed.split("\0") if entry]
        parts = [(name, *about.split()) for about, _, name in entries]
        return [(name, mode, blob) for name, mode, _, blob in parts if mode.startswith("100")]

    def _contents(self, blobs: list[tuple[str, str]]) -> dict[str, bytes]:
        answer = self.git("cat-file", "--batch", data="".join(f"{blob}\n" for _, blob in blobs).encode())
        contents, at = {}, 0
        for name, _ in blobs:  # each as `<id> blob <size>`, a line end, the bytes, a line end
            begin = answer.index(b"\n", at) + 1
            about = answer[at:begin].split()
            if len(about) != 3:
                raise TemplateError(f"{self.path} has not all files of its versions. Clone the template as a whole.")
            end = begin + int(about[2])
            contents[name], at = answer[begin:end], end + 1
        return contents

    def _release(self, wanted: version.Version) -> Release:
        return self.release_of(self.commit(wanted), wanted.text)

    def release_of(self, commit: str, text: str) -> Release:
        """The version that a commit is, by the name `text`, whatever a tag says of that today. Raises TemplateError."""
        listed = self._listed(commit)
        executable = frozenset(name for name, mode, _ in listed if mode == "100755")
        return Release(self._contents([(name, blob) for name, _, blob in listed]), text, commit, executable)


class Release:
    """One version of the template, ready to be rendered for many services."""

    def __init__(
        self, files: Mapping[str, bytes], text: str, commit: str = "", executable: frozenset[str] = frozenset()
    ) -> None:
        import yaml
        from jinja2 import StrictUndefined
        from jinja2.exceptions import TemplateError as JinjaError
        from jinja2.loaders import DictLoader
        from jinja2.sandbox import SandboxedEnvironment

        try:
            config: dict[str, Any] = yaml.safe_load(files["copier.yml"])
            texts = {name: data.decode() for name, data in files.items() if name.endswith(_SUFFIX)}
            options = {name: value for name, value in config["_envops"].items() if name != "undefined"}
            self._environment = SandboxedEnvironment(
                loader=DictLoader(texts),
                extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
                undefined=StrictUndefined,
                keep_trailing_newline=True,  # as Copier does
                **options,
            )
            self._excluded = [self._environment.from_string(pattern) for pattern in config["_exclude"]]
        except (KeyError, AttributeError, TypeError, ValueError, yaml.YAMLError, JinjaError) as error:
            raise TemplateError(f"The template's version {text} has no copier.yml of ours ({error}).") from None
        self.text: Final = text
        self.commit: Final = commit
        self.config: Final = config
        self.questions: Final = {name: value for name, value in config.items() if not name.startswith("_")}
        self.skipped: Final[list[str]] = config["_skip_if_exists"]
        self._errors = JinjaError
        self.answers_file: Final[str] = config["_answers_file"]
        folder = f"{config['_subdirectory']}/"
        sources = {name.removeprefix(folder): data for name, data in files.items() if name.startswith(folder)}
        self._sources = {name: data for name, data in sources.items() if f"{name}{_SUFFIX}" not in sources}
        self._folder = folder
        self._tests = {name: data for name, data in files.items() if name.startswith("tests/")}
        self._executable = frozenset(name.removeprefix(folder) for name in executable)
        self._compile = functools.lru_cache(maxsize=None)(self._environment.from_string)
        self._matching = functools.lru_cache(maxsize=256)(matcher)
        self.is_teams = matcher(tuple(self.skipped))
        """Whether a path is the team's: created once, and theirs since."""
        self.is_ours = matcher(tuple(pattern[1:] for pattern in self.skipped if pattern.startswith("!")))
        """Whether a path lies in a folder that only the template writes."""

    def choices(self) -> dict[str, list[str]]:
        """Each question that has choices, with its answers, the default first."""
        found = {}
        for name, question in self.questions.items():
            if isinstance(question, dict) and question.get("choices"):
                choices = question["choices"]
                values = list(choices.values()) if isinstance(choices, dict) else list(choices)
                found[name] = sorted(values, key=lambda value: value != question.get("default"))
        return found

    def answers(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every answer, the computed ones and defaults too. Raises TemplateError for one that its validator refuses."""
        try:
            return self._answers(given)
        except self._errors as error:  # of a question itself
            raise self._unrendered(error) from None

    def _answers(self, given: Mapping[str, Any]) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for name, question in self.questions.items():
            about = question if isinstance(question, dict) else {"default": question}
            chosen = name in given and not self._is_computed(name)
            value = given[name] if chosen else self._value(about.get("default"), answers)
            answers[name] = value
            choices = self.choices().get(name)
            refused = choices is not None and value not in choices
            if about.get("type", "str") == "str" and not isinstance(value, str):
                refused = True
            if refused or (not refused and self._value(about.get("validator", ""), answers).strip()):
                raise TemplateError(f"The template does not take the answer to {name}.")
        return answers

    def render(self, given: Mapping[str, Any], *, whole: bool = False, source: str = "") -> dict[str, bytes]:
        """The files of the template in a service with these answers, by name; if `whole`, those of the team too.

        `source` is the address that the service comes from. The answers file itself is left out: it is Copier's (see
        recorded). Raises TemplateError.
        """
        context = self._context(given, whole=whole, source=source)
        try:
            excluded = self._matching(self._patterns(context))
            return {
                path: self._content(name, context)
                for name, path in self._paths(context)
                if path != self.answers_file and not excluded(path) and (whole or not self.is_teams(path))
            }
        except (self._errors, UnicodeError, ValueError, TypeError) as error:
            raise self._unrendered(error) from None

    def recorded(self, given: Mapping[str, Any], source: str) -> bytes:
        """The answers file that Copier writes for a service that came from `source`. Raises TemplateError."""
        context = self._context(given, whole=False)
        kept = {
            name: context[name]
            for name, about in self.questions.items()
            if not (isinstance(about, dict) and about.get("when") is False)  # computed, and never recorded
        }
        context["_copier_answers"] = {"_commit": self.text, "_src_path": source, **kept}
        try:
            for name, path in self._paths(context):
                if path == self.answers_file:
                    return self._content(name, context)
        except (self._errors, UnicodeError, ValueError, TypeError) as error:
            raise self._unrendered(error) from None
        raise TemplateError(f"Version {self.text} of the template renders no {self.answers_file}.")

    def edges(self, given: Mapping[str, Any], folder: str = "tests/edges") -> dict[str, bytes]:
        """Give the tests of a folder of this repository that are laid over a service with these answers, by path.

        A file goes where a proof of the same path would go: an answer leaves out the same paths of both.
        """
        leaves_out = self.excludes(given)
        named = {name.removeprefix(f"{folder}/"): name for name in self._tests if name.startswith(f"{folder}/")}
        return {path: self._tests[name] for path, name in named.items() if not leaves_out(f"tests/proofs/{path}")}

    def programs(self, given: Mapping[str, Any]) -> frozenset[str]:
        """Those of the files of a service with these answers that may be executed."""
        return frozenset(
            path for name, path in self._paths(self._context(given, whole=True)) if name in self._executable
        )

    def excludes(self, given: Mapping[str, Any]) -> Callable[[str], bool]:
        """Whether this version leaves a path alone in an update of a service with these answers."""
        context = self._context(given, whole=False)
        try:
            excluded = self._matching(self._patterns(context))
        except (self._errors, UnicodeError, ValueError, TypeError) as error:
            raise self._unrendered(error) from None
        return lambda path: excluded(path) or self.is_teams(path)

    def unknown_to(self, answers: Mapping[str, Any]) -> str:
        """Why `_exclude` can't be rendered with answers to another version's questions; "" if it can.

        Copier renders `_exclude` of the new version with the answers of the old one, too.
        """
        try:
            self._patterns({**answers, "_copier_operation": "update"})
        except self._errors as error:
            return str(error)
        return ""

    def _context(self, given: Mapping[str, Any], *, whole: bool, source: str = "") -> dict[str, Any]:
        answers = self.answers(given)
        return {
            **answers,
            "_copier_answers": {"_commit": self.text, **({"_src_path": source} if source else {}), **answers},
            "_copier_conf": {"answers_file": self.answers_file, "vcs_ref_hash": self.commit},
            "_copier_operation": "copy" if whole else "update",  # then copier.yml leaves out the team's files
        }

    def _patterns(self, context: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(compiled.render(context) for compiled in self._excluded)

    def _paths(self, context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Each file of the template's folder, and what it is called in a service."""
        parts: dict[str, str] = {}  # of paths, rendered once
        for name in self._sources:
            for part in name.split("/"):
                if part not in parts:
                    parts[part] = self._value(part, context)
            yield name, "/".join(parts[part] for part in name.split("/")).removesuffix(_SUFFIX)

    def _content(self, name: str, context: Mapping[str, Any]) -> bytes:
        if not name.endswith(_SUFFIX):
            return self._sources[name]
        template: Compiled = self._environment.get_template(f"{self._folder}{name}")
        return template.render(context).encode()

    def _unrendered(self, error: Exception) -> TemplateError:
        return TemplateError(f"Version {self.text} does not render with these answers ({error}).")

    def _is_computed(self, name: str) -> bool:
        question = self.questions[name]
        return isinstance(question, dict) and question.get("when") is False

    def _value(self, text: Any, context: Mapping[str, Any]) -> Any:
        return self._compile(text).render(context) if isinstance(text, str) and "{" in text else text


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path, or a folder that it lies in, matches patterns of .gitignore; the last that matches decides."""
    from pathspec import PathSpec, __version__

    style = "gitignore" if int(__version__.partition(".")[0]) >= 1 else "gitwildmatch"  # the same under both names
    spec = PathSpec.from_lines(style, [pattern for pattern in patterns if pattern])

    @functools.lru_cache(maxsize=4096)
    def matches(path: str) -> bool:
        return spec.match_file(path)

    return matches


def parents(path: str) -> list[str]:
    """The folders that a file lies in, the outermost first."""
    return [str(folder) for folder in reversed(PurePosixPath(path).parents[:-1])]
