"""A process that looks at one repository after the other, and says of each one line; it can only read.

Started with -I, it takes no module from the folder that it is run in. It answers in JSON, so nothing that a repository
made of it runs in the process that asked. What it could not look at is an answer too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from . import advisory
from .advisory import Advisory
from .check import check_repository
from .repository import Repository
from .row import Service
from .template import Template, TemplateError

LARGEST_MEMORY: Final = 2 * 1024**3
"""Bytes of address space for one process; a repository that needs more is not read."""
MEMORY_TO_GO_ON: Final = 512 * 1024
"""KiB that a process may have taken and still look at the next repository, so that each finds the same room."""
_UNIT: Final = 1024 if sys.platform == "darwin" else 1  # macOS counts bytes
_PASSING: Final = frozenset({"repository-slow", "repository-unreadable"})
"""Findings that may be gone the next time without any change of a file."""


@dataclass(frozen=True, slots=True)
class Question:
    """The question for each repository: which template and advisories, on which day."""

    template: Path | None
    advisories: Path | None  # a folder of further ones
    today: date

    def as_json(self) -> dict[str, Any]:
        """The question as a line that is sent."""
        return {
            "template": str(self.template) if self.template else None,
            "advisories": str(self.advisories) if self.advisories else None,
            "today": str(self.today),
        }

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Question:
        """The question that was sent."""
        template, advisories = about["template"], about["advisories"]
        return cls(
            Path(template) if template else None,
            Path(advisories) if advisories else None,
            date.fromisoformat(about["today"]),
        )

    def known(self, template: Template | None) -> list[Advisory]:
        """The advisories. Raises InvalidAdvisory and TemplateError."""
        return advisory.together(
            advisory.shipped(),
            advisory.of_template(template) if template else (),
            advisory.in_folder(self.advisories) if self.advisories else (),
        )

    def digest(self, template: Template | None) -> str:
        """Another one whenever an answer may be another: another day, version, advisory, or code of ours."""
        digest = hashlib.sha256(json.dumps(self.as_json()).encode())
        files = sorted(Path(__file__).parent.rglob("*.py"))
        for folder in (advisory.place(), self.advisories):
            files += sorted(folder.glob("*.json")) if folder else []
        for file in files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        if template:
            digest.update(template.git("for-each-ref", "--format=%(objectname) %(refname)", "refs/tags"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a repository; `key` stays equal while a later look would see the same; "" if not known."""

    service: Service | None  # None: as it was when it had the key that was sent
    key: str
    spoiled: bool = False  # whether something failed, and may have left the process in a bad way


def look(
    path: Path, question: Question, known: list[Advisory], template: Template | None, kept: tuple[str, str]
) -> Answer:
    """Look at one folder, unless nothing has changed since it had a key. `kept` is the question's digest and that key.

    Whatever happens, there is an answer.
    """
    digest, key = kept
    try:
        if not os.path.isdir(path):
            return Answer(Service(str(path), fault="There is no such folder, or it may not be read."), "")
        repository = Repository.open(path)
        now = hashlib.sha256(f"{digest} {repository.tree.stamp}".encode()).hexdigest()
        if key == now:
            return Answer(None, now)
        report = check_repository(repository, known, template, today=question.today)
        service = Service.of(str(path), report, question.today)
    except TemplateError as error:
        return Answer(Service(str(path), fault=str(error)), "")
    except Exception as error:  # of this repository's making, and none of the others' business
        return Answer(Service(str(path), fault=f"Looking at it failed ({type(error).__name__})."), "", spoiled=True)
    return Answer(service, "" if service.fault or _PASSING & service.counts.keys() else now)


def serve() -> None:
    """Read the question, then a path a line, and answer each; ends with its input, or when it took much memory."""
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit, and refuses it
        resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY, LARGEST_MEMORY))
    asked = json.loads(sys.stdin.buffer.readline())
    question = Question.from_json(asked)
    template = Template(question.template) if question.template else None
    known = question.known(template)
    _say({"ready": True})
    for line in sys.stdin.buffer:
        task = json.loads(line)
        answer = look(Path(task["path"]), question, known, template, (asked["digest"], task["key"]))
        last = answer.spoiled or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MEMORY_TO_GO_ON * _UNIT
        about = {"service": answer.service and answer.service.as_json(), "key": answer.key, "last": last}
        _say(about)
        if last:
            return


def _say(about: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(about).encode() + b"\n")
    sys.stdout.buffer.flush()
