"""What a version may change, by its kind, so that a patch can be taken without looking and a minor one without work.

An update that deletes a file takes the team's edits of it along, and a choice that is gone flips answers; both exit 0.
So two versions are compared as services see them: rendered with every combination of answers.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from .plan import UNREVIEWED
from .template import NEED_TRUST, Release, Template, matcher
from .version import Version

Kind = Literal["patch", "minor", "major"]

_CONFIG: Final = "copier.yml"
_WORDING: Final = frozenset({"help", "placeholder"})
"""Fields of a question that any version may change: no answer depends on them."""
_PYPROJECT: Final = "pyproject.toml"
_NAMES: Final = ("VERSION = ", "COMMIT = ")
"""How the lines of bastion/chosen.py begin that differ between any two versions."""
_NAME, _PACKAGE = "my-service", "src/my_service/"
_needs_no_review: Final = matcher([pattern.format(package="*") for pattern in UNREVIEWED])
_is_proof: Final = matcher(["/tests/proofs/**/test_*.py"])
_is_migration: Final = matcher(["/src/*/bastion/database/migrations/*.py"])


def following(last: Version | None) -> dict[str, Kind]:
    """The versions that may come after the last one, with their kinds."""
    if last is None:
        return {"v1.0.0": "major"}
    major, minor, patch = last.numbers
    return {
        f"v{major}.{minor}.{patch + 1}": "patch",
        f"v{major}.{minor + 1}.0": "minor",
        f"v{major + 1}.0.0": "major",
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two versions of the template in a service; paths have `src/*/` for its package.

    A path is in a list if that is so with at least one combination of answers.
    """

    before: Mapping[str, Any]  # the two copier.yml
    after: Mapping[str, Any]
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    given_away: list[str] = field(default_factory=list)
    """Files that were the team's and are the template's now, or the other way round."""
    is_teams: Callable[[str], bool] = lambda _: False
    is_ours: Callable[[str], bool] = lambda _: False
    contents: Mapping[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """Before and after, of the first combination in which a file differs; b"" where the file is missing."""
    unknown: str = ""
    """Why the new version's `_exclude` can't be rendered with the answers of the old one; see Release.unknown_to."""

    @property
    def looked_at(self) -> list[str]:
        """The files because of which a person has to approve the update of a service; see plan.py."""
        differs = {*self.added, *self.changed, *self.gone}
        return sorted(path for path in differs if not (_needs_no_review(path) or self.is_teams(path)))

    @property
    def proofs(self) -> list[str]:
        """Proofs that say something else than before, or are gone; a service runs the former ones on the new code."""
        return sorted(filter(_is_proof, {*self.changed, *self.gone}))


def difference(template: Template, last: Version, wanted: Version) -> Difference:
    """Compare two versions of a template, every combination of answers that both know. Raises TemplateError."""
    before, after = template.release(last), template.release(wanted)
    contents: dict[str, tuple[bytes, bytes]] = {}
    added, changed, gone, given_away = set[str](), set[str](), set[str](), set[str]()
    for given in _combinations(before, after):
        old, new = before.render(given, whole=True), after.render(given, whole=True)
        for name in old.keys() | new.keys():
            pair = old.get(name, b""), new.get(name, b"")
            path = name.replace(_PACKAGE, "src/*/", 1)
            if name not in new:
                gone.add(path)
            elif name not in old:
                added.add(path)
            elif pair[0] != pair[1] and _without_names(pair[0]) != _without_names(pair[1]):
                changed.add(path)
            if name in old and name in new and before.is_teams(name) != after.is_teams(name):
                given_away.add(path)
            if pair[0] != pair[1]:
                contents.setdefault(path, pair)
    return Difference(
        before=before.config,
        after=after.config,
        added=sorted(added),
        changed=sorted(changed),
        gone=sorted(gone),
        given_away=sorted(given_away),
        is_teams=after.is_teams,
        is_ours=after.is_ours,
        contents=contents,
        unknown=after.unknown_to(before.answers({})),
    )


def unusable(config: Mapping[str, Any]) -> Iterator[str]:
    """Reasons why a program that has no terminal and trusts no template, such as Renovate, can't use a copier.yml."""
    for name in NEED_TRUST:
        if config.get(name):
            yield f"{_CONFIG}: {name} needs --trust, which lets it do anything. Take it out."
    for name, about in _questions(config).items():
        if "default" not in about:
            yield f"{_CONFIG}: the question {name} has no default, so that no update could answer it."


def refusals(of: Kind, found: Difference) -> Iterator[str]:
    """Why these changes are too much for a version of this kind, one sentence a reason."""
    if found.unknown:
        yield (
            f"{_CONFIG}: no service could be updated, as a new question stands in _exclude ({found.unknown}). Say its"
            " default there: {% if colour | default('blue') == ... %}."
        )
    if of == "patch":
        yield from _patch(found)
    if of != "major":
        yield from _any_but_major(found)


def _combinations(before: Release, after: Release) -> Iterator[dict[str, str]]:
    """Every combination of answers that a service of the one version may bring to the other."""
    known = after.choices()
    shared = {
        question: [value for value in values if value in known.get(question, values)]
        for question, values in before.choices().items()
    }
    for values in itertools.product(*shared.values()):
        yield {"project_name": _NAME, **dict(zip(shared, values, strict=True))}


def _without_names(data: bytes) -> list[bytes]:
    beginnings = tuple(name.encode() for name in _NAMES)
    return [line for line in data.splitlines() if not line.startswith(beginnings)]


def _questions(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each question with what its answers follow from."""
    found = {}
    for name, about in config.items():
        if not name.startswith("_"):
            whole = about if isinstance(about, dict) else {"default": about}
            found[name] = {key: value for key, value in whole.items() if key not in _WORDING}
    return found


def _values(question: Mapping[str, Any]) -> list[Any]:
    choices = question.get("choices") or []
    return list(choices.values()) if isinstance(choices, dict) else list(choices)


# --- a patch ---------------------------------------------------------------------------------------------------------


def _patch(found: Difference) -> Iterator[str]:
    later = "That is for a minor version."
    before, after = _questions(found.before), _questions(found.after)
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            yield f"A patch asks what the version before it asked, and {name} is not the same. {later}"
    if found.before.get("_min_copier_version") != found.after.get("_min_copier_version"):
        yield f"A patch needs no other Copier than the version before it. {later}"
    for path in found.changed + found.added:
        if path == _PYPROJECT:
            yield f"{path} is the team's too, so a patch may not change it. {later}"
        elif _is_migration(path):
            yield f"{path}: a patch migrates no database. {later}"
        elif found.is_teams(path):
            yield f"{path} is the team's, so that no update brings it. {later}"
        elif path in found.added and not found.is_ours(path):
            yield f"{path} is new outside of the template's folders, where a team may have one of that name. {later}"


# --- a patch and a minor version -------------------------------------------------------------------------------------


def _any_but_major(found: Difference) -> Iterator[str]:
    later = "That is for a major version."
    yield from (f"{path} is gone, and what a team changed in it with it. {later}" for path in found.gone)
    yield from (f"{path} has another owner. {later}" for path in found.given_away)
    before, after = _questions(found.before), _questions(found.after)
    yield from (f"The question {name} is gone. {later}" for name in before if name not in after)
    for name in filter(after.get, before):
        if lost := [str(value) for value in _values(before[name]) if value not in _values(after[name])]:
            yield f"{name} has no choice {', '.join(lost)} any more, so that answers would flip. {later}"
        if other := [key for key in ("default", "type", "when") if before[name].get(key) != after[name].get(key)]:
            yield f"The question {name} has another {' and '.join(other)}. {later}"
    pyproject = found.contents.get(_PYPROJECT)
    if pyproject and _python(pyproject[0]) != _python(pyproject[1]):
        yield f"{_PYPROJECT} needs another Python. {later}"
    for path in filter(_is_migration, found.changed):
        yield f"{path} was released, and databases went through it. Write a further migration."
    for path in filter(_is_migration, found.added):
        for name in _takes_away(found.contents[path][1]):
            yield f"{path}: {name} breaks the version that still runs during the roll-out. {later}"


def _python(pyproject: bytes) -> list[bytes]:
    return [line for line in pyproject.splitlines() if line.startswith(b"requires-python")]


def _takes_away(migration: bytes) -> list[str]:
    """The operations in the upgrade of a migration that take something away or give it another name."""
    module = ast.parse(migration)
    upgrade = next((one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == "upgrade"), None)
    calls = [node for node in (ast.walk(upgrade) if upgrade else ()) if isinstance(node, ast.Call)]
    names = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
    found = {name for name in names if name.startswith(("drop_", "rename_"))}
    return sorted(found | {word.arg for call in calls for word in call.keywords if word.arg == "new_column_name"})
