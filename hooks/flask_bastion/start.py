"""Find where an update starts: at the version of the code, not at the one in the answers file.

From a version that was never there, an update leaves out every fix up to it without a word: the template is alike on
both sides of the merge. So bastion/chosen.py counts, which the template rendered. It is a claim as well: its version
has to be signed (see trust.py), and no file of the service may stand as the answers file says and not as it does.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from . import trust
from .drift import same
from .repository import Repository
from .template import Template, TemplateError
from .version import Version, parse

_UNREAD: Final = frozenset({"repository-many", "repository-slow", "repository-unreadable", "repository-large"})
"""Faults after which it is not known what the files say."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a service is before an update: version, its commit ("" if the code does not say), and answers.

    `claimed` is what the answers file says in its place; None where the two agree.
    """

    version: Version
    commit: str
    answers: Mapping[str, Any]
    claimed: Start | None = None

    @property
    def denied(self) -> Version | None:
        """The version that the answers file claims, if it is wrong in that or in an answer."""
        return self.claimed.version if self.claimed else None

    def corrections(self, changing: Container[str] = ()) -> tuple[str, ...]:
        """What the answers file says wrongly, and what happens, a sentence each; `changing` are answers that change."""
        return tuple(self._corrections(changing))

    def _corrections(self, changing: Container[str]) -> Iterator[str]:
        if self.claimed is None:
            return
        if self.claimed.version != self.version:
            yield (
                f"The answers file says {self.claimed.version.text}, the code is {self.version.text}:"
                " the update starts from the code."
            )
        for question in _differing(self, self.claimed):
            if question not in changing:
                wish = str(self.claimed.answers[question]) if question in self.claimed.answers else "its default"
                yield (
                    f"The answers file says {question}={wish}, the code has {self.answers[question]}: that stays."
                    f" To change it, update with --data {question}=..."
                )

    def against(self, repository: Repository, template: Template) -> str:
        """A file of the service that stands as the answers file says, and not as bastion/chosen.py; "" if none does.

        A start that is too old loses nothing: existing changes are merged again. So a version is held against the
        files only where chosen.py says the newer one. `repository` is opened just before: reading has its time. Raises
        TemplateError for answers that the template does not take, and where a file could not be read; NotRead where
        many were not.
        """
        if self.claimed is None:
            return ""
        release = template.release(self.version)
        code, others = release.render(self.answers), []
        if _differing(self, self.claimed):
            others.append(release.render(self.claimed.answers))
        if self.claimed.version < self.version:
            others.append(template.release(self.claimed.version).render(self.answers))
        for other in others:
            for name, data in sorted(other.items()):
                if name in code and same(data, code[name]):
                    continue
                mine = repository.read(name)
                if mine is not None and same(mine, data):
                    return name
        repository.tree.must_be_read()
        if unread := next((fault for fault in repository.tree.faults if fault.kind in _UNREAD), None):
            raise TemplateError(f"{unread.text} A file that was not read confirms nothing.")
        return ""


def recorded(repository: Repository) -> Start | None:
    """As the answers file says; None where it names no version."""
    if repository.version is None:
        return None
    answers = {name: value for name, value in repository.recorded.items() if not name.startswith("_")}
    return Start(repository.version, trust.commit_of(repository), answers)


def of_code(repository: Repository) -> Start | None:
    """As bastion/chosen.py says; None where that is no version with a commit, which a signature could vouch for."""
    claimed, version = recorded(repository), parse(repository.rendered.get("VERSION"))
    commit = trust.commit_of(repository)
    if claimed is None or version is None or version.commits or not commit:
        return None
    return Start(version, commit, {**claimed.answers, **repository.denied}, claimed)


def _differing(one: Start, other: Start) -> list[str]:
    return sorted(name for name in one.answers if one.answers[name] != other.answers.get(name))
