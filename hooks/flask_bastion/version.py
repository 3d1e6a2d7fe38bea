"""Versions of the template, as git describes them: v1.4.2, or v1.4.2-3-g0123abc three commits later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NUMBER: Final = r"(0|[1-9]\d{0,5})"
_FORM: Final = re.compile(
    rf"v{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-?(?:a|b|rc|alpha|beta)\.?\d{{1,4}})?(?:-(\d{{1,6}})-g[0-9a-f]{{7,40}})?",
    re.ASCII,
)


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """A released version, or a commit after one (then `commits` is not 0)."""

    numbers: tuple[int, int, int]
    released: bool  # a pre-release comes before its release
    commits: int
    text: str

    @property
    def tag(self) -> str:
        """The tag that it is, or comes after."""
        return re.sub(r"-\d+-g[0-9a-f]+\Z", "", self.text)


def parse(text: object) -> Version | None:
    """The version that a text names; None for anything else, however it begins."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    major, minor, patch, commits = found.groups()
    released = text == f"v{major}.{minor}.{patch}" or commits is not None
    return Version((int(major), int(minor), int(patch)), released, int(commits or 0), str(text))


def at_least(version: str, floor: str) -> bool | None:
    """Whether a version of a library is not older than `floor` (PEP 440); None if one of the two is no version."""
    from packaging.version import InvalidVersion
    from packaging.version import Version as Library  # here, so that the hook of pre-commit needs nothing

    try:
        return Library(version) >= Library(floor)
    except InvalidVersion:
        return None
