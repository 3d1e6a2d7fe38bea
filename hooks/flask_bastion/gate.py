"""No fix is released whose probe would not have seen it: red on the last vulnerable version, green on the fixed one.

A probe that is always green reports affected services as safe. So before a release each advisory is tried on what the
template rendered before and renders now, with every combination of answers that it says is affected.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from . import probe
from .advisory import Advisory, Affected
from .program import Program
from .template import Template, TemplateError
from .version import Version


class Rendered:
    """What a version renders to, as the files of a service, with the lock that is worst for it: every floor itself."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        floors = probe.floors(files.get("pyproject.toml", b""))
        lock = "".join(f'[[package]]\nname = "{name}"\nversion = "{floor}"\n' for name, floor in floors.items())
        self._files = {**files, "uv.lock": lock.encode()} if floors else dict(files)

    def names(self) -> list[str]:
        return sorted(self._files)

    def read(self, name: str) -> bytes | None:
        return self._files.get(name)


def gate(template: Template, advisory: Advisory) -> list[str]:
    """Why the advisory can't be released, one sentence a reason; [] if it can. Raises TemplateError.

    The newest version is looked at too: a probe that a later change made stale would alarm every service.
    """
    reasons: list[str] = []
    tags = template.tags()
    for affected in advisory.affected:
        reasons += [f"{one.text} is no version of the template." for one in affected.versions if one not in tags]
        pairs = list(_pairs(affected, tags))
        if not pairs:
            reasons.append("No version after the affected ones exists, so no version has the fix.")
        for last, fixed in pairs:
            reasons += _expect(template, affected, last, green=False)
            reasons += _expect(template, affected, fixed, green=True)
            reasons += _history(template, affected, last, fixed)
        if pairs and tags[-1] != pairs[-1][1] and tags[-1] not in affected.versions:
            reasons += _expect(template, affected, tags[-1], green=True)
    return reasons


def _pairs(affected: Affected, tags: list[Version]) -> Iterator[tuple[Version, Version]]:
    """Each last vulnerable version with the fixed one after it: one pair for each line of versions."""
    for last, after in itertools.pairwise(tags):
        if last in affected.versions and after not in affected.versions:
            yield last, after


def _expect(template: Template, affected: Affected, version: Version, *, green: bool) -> Iterator[str]:
    release = template.release(version)
    for given in answers(affected, release.choices()):
        files = Rendered(release.render(given, whole=True))
        package = str(release.answers(given)["package_name"])
        outcomes = probe.look(affected.probe, Program(files, package))
        if probe.holds(outcomes) is not green:
            why = f" ({outcomes[0].file}: {outcomes[0].why})" if outcomes else ""
            wanted = "green, as it has the fix" if green else "red, as it is vulnerable"
            yield f"{version.text} with {', '.join(given.values())}: the probe must be {wanted}{why}."


def _history(template: Template, affected: Affected, last: Version, fixed: Version) -> Iterator[str]:
    for commit in affected.commits:
        inside = [_holds(template, commit, version) for version in (last, fixed)]
        if inside == [False, True]:
            return
    if affected.commits:
        yield f"No commit that the GIT range names as the fix is in {fixed.text} and not in {last.text}."


def _holds(template: Template, commit: str, version: Version) -> bool:
    try:
        template.git("merge-base", "--is-ancestor", commit, template.commit(version))
    except TemplateError:
        return False
    return True


def answers(affected: Affected, choices: Mapping[str, list[str]]) -> Iterator[dict[str, str]]:
    """Every combination of answers that is affected: all of them, as a rendering takes some milliseconds."""
    known = {question: list(affected.when.get(question, values)) for question, values in choices.items()}
    for combination in itertools.product(*known.values()):
        yield dict(zip(known, combination, strict=True))
