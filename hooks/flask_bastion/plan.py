"""Whether an update of the template may merge by itself; if not, why a person has to look first.

An update is code with all rights, and its proofs come with it: green proofs say nothing about its author. So by itself
comes a patch alone that has waited, and that changes nothing but the template's own modules and proofs. What merges is
decided by the service's own rules as they were before the update (renovate.json, CODEOWNERS), never by those it brings.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from .advisory import Advisory
from .repository import ANSWERS, safe_yaml
from .template import matcher
from .version import Version, parse

Lane = Literal["none", "patch", "minor", "major", "unclear"]
"""`none`: the version stays as it is. `unclear`: no released version, or an older one."""

RULES: Final = "renovate.json"
OWNERS: Final = ".github/CODEOWNERS"
JUDGE: Final = ".github/workflows/bastion-updates.yml"
"""The workflow that judges updates: an unreviewed change of it decides what merges."""
UNREVIEWED: Final = ("/src/{package}/bastion/**", "/tests/proofs/**", "/docs/bastion/**", "/SECURITY.md", f"/{ANSWERS}")
"""All paths that an update may change without a person, those of a patch. It is a list of what is allowed, so that an
unexpected path needs a person."""
URGENT: Final = frozenset({"HIGH", "CRITICAL"})
"""Severities of an advisory whose fix does not wait."""
_WHY: Final[Mapping[str, str]] = {
    "/.github/**": "it decides what runs in CI, and with which rights",
    "/renovate.json": "it decides what merges by itself",
    "/.bastion-*.toml": "it decides whose updates are taken, and which faults may wait",
    "/Dockerfile": "it decides what runs in production",
    "/compose.yaml": "it decides what runs in production",
    "/deploy/**": "it decides what runs in production",
    "/.pre-commit-config.yaml": "it runs on the machines of developers",
    "/pyproject.toml": "it decides which libraries are installed and how the service is built",
    "/uv.lock": "it decides which libraries are installed",
}
_MOST_NAMED: Final = 20
"""Paths that are named each by itself."""
_AGE: Final = re.compile(r"(\d{1,4}) ?(minute|hour|day|week)s?")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an update is, and each reason why a person has to approve it; none: it may merge by itself."""

    lane: Lane
    before: str
    after: str
    reasons: tuple[str, ...] = ()
    at_once: bool = False  # it fixes something that should not wait

    @property
    def by_itself(self) -> bool:
        """Whether it may merge without a person."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The plan for programs; fields are added, never renamed."""
        return {
            "lane": self.lane,
            "from": self.before,
            "to": self.after,
            "by_itself": self.by_itself,
            "at_once": self.at_once,
            "reasons": list(self.reasons),
        }


def plan(
    before: Mapping[str, bytes],
    after: Mapping[str, bytes],
    *,
    released: datetime | None,
    now: datetime,
    fixed: Sequence[Advisory] = (),
    code: Version | None = None,
    corrections: Sequence[str] = (),
) -> Plan:
    """Judge an update by the files of both sides, by name.

    Each side holds at least every file that differs, and ANSWERS, RULES and OWNERS if it has them. `released` is the
    time of the new version's tag (None: not known), `fixed` are the advisories that it fixes in this service. `code`
    is the version that the code is, if the answers file says another one, and `corrections` are listed then (see
    start.py). Both times have a zone.
    """
    was, becomes = recorded(before), recorded(after)
    texts = code.text if code else str(was.get("_commit", "")), str(becomes.get("_commit", ""))
    old, new = (parse(text) for text in texts)
    lane = _lane(old, new) if texts[0] != texts[1] else "none"
    if lane == "none":
        return Plan(lane, *texts, tuple(corrections))
    urgent = sorted(one.id for one in fixed if one.severity in URGENT)
    rule = _rule(before.get(RULES), lane)
    reasons = [
        *corrections,
        *_of_the_version(lane),
        *_of_the_answers(was, becomes),
        *_of_the_rules(rule, before.get(OWNERS)),
        *(_of_the_age(rule, released, now) if not urgent else ()),
        *_of_the_paths(before, after, str(was.get("project_name", "")).replace("-", "_")),
    ]
    if urgent:
        reasons.append(f"It fixes {', '.join(urgent)}: merge it at once, and because it does not wait, a person looks.")
    return Plan(lane, *texts, tuple(reasons), bool(urgent))


def fixes(advisories: Sequence[Advisory], before: Version, after: Version) -> list[Advisory]:
    """The advisories that affect the one version and not the other, whatever was answered."""
    return [
        one
        for one in advisories
        if any(part.claims(before) == "affected" and part.claims(after) != "affected" for part in one.affected)
    ]


def recorded(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The answers of one side; {} if they can't be read."""
    try:
        answers = safe_yaml(files.get(ANSWERS, b""))
    except ValueError:
        return {}
    return answers if isinstance(answers, dict) else {}


def _lane(old: Version | None, new: Version | None) -> Lane:
    if old is None or new is None or new <= old or any(one.commits or not one.released for one in (old, new)):
        return "unclear"
    if old.numbers[0] != new.numbers[0]:
        return "major"
    return "minor" if old.numbers[1] != new.numbers[1] else "patch"


def _of_the_version(lane: Lane) -> Iterator[str]:
    if lane == "unclear":
        yield "It is not from one released version to a newer one."
    elif lane != "patch":
        yield f"A {lane} version may ask for something: read its notes."


def _of_the_answers(was: Mapping[str, Any], becomes: Mapping[str, Any]) -> Iterator[str]:
    changed = sorted(name for name in was.keys() | becomes.keys() if was.get(name) != becomes.get(name))
    if others := [name for name in changed if name != "_commit"]:
        yield f"{ANSWERS} has another {', '.join(others[:5])}: an update changes only the version."


# --- the rules of the service ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """What renovate.json says of a version of the template."""

    automerge: bool = False
    age: object = None  # as it stands there: "3 days"
    unclear: bool = False


def _rule(data: bytes | None, lane: Lane) -> _Rule:
    """As Renovate reads it: what matches later counts. A rule for fewer than all templates can't be judged here."""
    try:
        config = json.loads(data or b"{}")
        rules = [config, *config.get("packageRules", [])]
        found: dict[str, Any] = {}
        for rule in rules:
            said = {name: rule[name] for name in ("automerge", "minimumReleaseAge") if name in rule}
            matchers = {name: value for name, value in rule.items() if name.startswith(("match", "exclude"))}
            managers, kinds = matchers.pop("matchManagers", ["copier"]), matchers.pop("matchUpdateTypes", [lane])
            if said and "copier" in managers and lane in kinds:
                if matchers:
                    return _Rule(unclear=True)
                found |= said
    except (ValueError, AttributeError, TypeError, RecursionError):
        return _Rule(unclear=True)
    return _Rule(found.get("automerge") is True, found.get("minimumReleaseAge"))


def _of_the_rules(rule: _Rule, owners: bytes | None) -> Iterator[str]:
    if rule.unclear:
        yield f"{RULES} can't be judged: for the template it has rules that match by more than manager and kind."
    elif not rule.automerge:
        yield f"{RULES} lets no such version merge by itself."
    if not _owned(owners or b""):
        yield f"{OWNERS} names no owner for {JUDGE}, so an update could change unseen what judges it."


def _owned(owners: bytes) -> bool:
    """Whether the last line that matches the workflow names an owner."""
    owner = False
    for line in owners.decode(errors="replace").splitlines():
        pattern, *names = line.partition("#")[0].split() or [""]
        if pattern and matcher((pattern,))(JUDGE):
            owner = bool(names)
    return owner


def _of_the_age(rule: _Rule, released: datetime | None, now: datetime) -> Iterator[str]:
    if rule.age is None:
        return
    found = _AGE.fullmatch(rule.age) if isinstance(rule.age, str) else None
    if found is None:
        yield f"minimumReleaseAge in {RULES} is no time such as 3 days."
    elif released is None:
        yield "It is not known when it was released."
    elif now < (from_then := released + timedelta(**{f"{found[2]}s": int(found[1])})):
        yield f"It is younger than {rule.age}: it may merge by itself from {from_then:%Y-%m-%d %H:%M %Z} on."


# --- what it changes ---------------------------------------------------------------------------------------------


def _of_the_paths(before: Mapping[str, bytes], after: Mapping[str, bytes], package: str) -> Iterator[str]:
    unreviewed = matcher(tuple(pattern.format(package=package or "-") for pattern in UNREVIEWED))
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    guarded = [name for name in changed if not unreviewed(name)]
    for name in guarded[:_MOST_NAMED]:
        yield f"{name} changes: {_why(name, before.get(name), after.get(name))}."
    if len(guarded) > _MOST_NAMED:
        yield f"{len(guarded) - _MOST_NAMED} more files change that are not the template's own code."
    for name in (name for name in changed if unreviewed(name) and name not in after):
        yield f"{name} is gone, or no regular file any more: a patch takes nothing away."


def _why(name: str, before: bytes | None, after: bytes | None) -> str:
    if name == "pyproject.toml" and (tables := _tables(before, after)):
        return f"it has other {' and '.join(tables)}"
    return next((why for pattern, why in _WHY.items() if matcher((pattern,))(name)), "no patch has to change it")


def _tables(before: bytes | None, after: bytes | None) -> list[str]:
    """What of pyproject.toml differs that decides which code of others runs."""
    try:
        was, becomes = (tomllib.loads((data or b"").decode()) for data in (before, after))
        projects = [document.get("project", {}) for document in (was, becomes)]
        lists = [(one.get("dependencies"), one.get("optional-dependencies")) for one in projects]
    except (ValueError, AttributeError, RecursionError):
        return []
    groups = was.get("dependency-groups") != becomes.get("dependency-groups")
    tables = {
        "dependencies": lists[0] != lists[1] or groups,
        "rules of its build": was.get("build-system") != becomes.get("build-system"),
    }
    return [name for name, differs in tables.items() if differs]
