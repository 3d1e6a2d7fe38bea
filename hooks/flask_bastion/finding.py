"""One thing that is wrong with a service, with what to do about it.

The kinds are a stable list: people filter by them, and code scanning knows a finding again by its kind and place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["error", "warning", "note"]
"""An error or a warning makes `check` exit 1; a note does not."""

KINDS: Final[dict[str, str]] = {
    "affected": "The service has a known vulnerability of its template",
    "fix-lost": "The recorded version has a fix that the code has not",
    "fix-unverified": "The repository does not show whether the service has a fix of its recorded version",
    "code-replaced": "Code outside bastion/ replaces a part of it, or may do so",
    "dependency-replaced": "A library of the template is replaced, older or left out, or may be",
    "proofs-switched-off": "Something of the team's keeps proofs from running or from counting, or may do so",
    "git-hidden": "git does not look at a file that it has: the committed version may differ",
    "waived": "A known vulnerability is waived until a date",
    "waiver-invalid": "Invalid waiver (ignored)",
    "waiver-ended": "A waiver has ended",
    "waiver-needless": "A waiver is for an advisory that does not affect the service",
    "exception-ended": "An exception of the service has ended, or has no end within a year",
    "exception-invalid": "The exceptions of the service can't be read",
    "leftover-conflict": "A conflict of an update was not resolved",
    "leftover-reject": "A rejected change of an update was not merged",
    "answers-missing": "No answers are recorded, so it is no rendered service",
    "answers-invalid": "The recorded answers can't be used",
    "answers-credentials": "The recorded address of the template holds a password or a token",
    "answers-source": "The recorded address of the template runs a command, or only looks like another",
    "answers-contradict": "The recorded answers are not those of the code",
    "version-unknown": "The recorded version does not exist in the template",
    "trust-missing": "No source and key are listed that an update may come from",
    "trust-invalid": "The list of trusted sources can't be used",
    "trust-stranger": "A second source of updates is trusted with a key that the template's source has not",
    "source-untrusted": "The recorded address of the template is not trusted",
    "tag-moved": "The tag of the recorded version names another commit than it did",
    "update-conflict": "The template and the team changed the same place",
    "proof-failed": "A proof, of the version before or of the new one, fails on the new code",
    "drift-changed": "A file of the template was edited",
    "drift-missing": "A file of the template was deleted",
    "drift-extra": "A folder of the template holds a file that is not the template's",
    "drift-unknown": "The recorded version could not be rendered to compare with",
    "proof-missing": "A proof of the version before was not run on the code of the new one",
    "repository-link": "A link stands where a file of the template belongs; it is not followed",
    "repository-special": "A device, pipe or socket stands where a file of the template belongs; it is not read",
    "repository-large": "A file is too large to be read",
    "repository-many": "The repository has too many files or folders",
    "repository-slow": "The repository took too long to read",
    "repository-unreadable": "A file can't be read",
}
"""Each kind, and what it means: the rules of a SARIF report."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What, where and what to do. `file` is relative to the repository, `line` begins at 1 and is 0 for a whole file.

    Everything but `kind` and `level` may hold text of the repository: print it only through `escape`.
    """

    kind: str
    level: Level
    text: str
    cure: str = ""
    file: str = ""
    line: int = 0
    advisory: str = ""
    diff: tuple[str, ...] = ()
