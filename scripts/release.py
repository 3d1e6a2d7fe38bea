"""Releases a version: looks whether it may go out, signs its tag, and prints what a platform team must know.

    uv run python scripts/release.py v1.0.1 --check    (looks, and changes nothing)
    uv run python scripts/release.py v1.0.1            (makes the signed tag as well; it never pushes)

The tag is made and tried in a scratch clone, and verified there as a service does it, so that a bad one never exists
here. docs/release.md tells what comes before and after.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from jinja2.sandbox import SandboxedEnvironment

from flask_bastion import advisory, compatibility, gate, trust, version
from flask_bastion.advisory import Advisory, Affected, InvalidAdvisory
from flask_bastion.compatibility import Difference
from flask_bastion.git import GitError, git
from flask_bastion.plan import URGENT
from flask_bastion.template import Template, TemplateError
from flask_bastion.version import Version

ROOT: Final = Path(__file__).resolve().parents[1]
_CHANGELOG, _PYPROJECT, _KEYS = "CHANGELOG.md", "pyproject.toml", "includes/release_keys.jinja"
_HEADING: Final = re.compile(r"## (v\S+) \((\d{4}-\d\d-\d\d)\)")
_UNRELEASED: Final = "## Unreleased"
_NOTES, _NOTHING = "### Upgrade notes", "Nothing to do."
_PERSON: Final = ("GIT_AUTHOR_", "GIT_COMMITTER_")
_OFFICIAL: Final = re.compile(r"(x_|CVE-|GHSA-)")
"""How an id begins that OSV's own schema takes: of a database of one's own, or of one that numbers for everybody."""


class Own(Template):
    """A repository of the person who releases: git runs in it with its configuration and as that person."""

    def git(self, *arguments: str, data: bytes = b"") -> bytes:
        """What git prints. Raises TemplateError with git's reason."""
        at = ("--git-dir" if (self.path / "HEAD").is_file() else "-C", str(self.path))
        person = {name: value for name, value in os.environ.items() if name.startswith(_PERSON)}
        try:
            return git(*arguments, at=at, data=data, protocols="file", environment=person)
        except GitError as error:
            raise TemplateError(f"git failed in {self.path}: {error}") from None


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Release a version of the repository in `root`: 0 done, 1 it may not go out, 2 asked wrongly."""
    parser = argparse.ArgumentParser(prog="release.py", description="Checks, tags and announces a version.")
    parser.add_argument("version", help="the version, such as v1.0.1")
    parser.add_argument("--check", action="store_true", help="only look whether it may be released")
    parser.add_argument("--key", metavar="FILE", help="the SSH key that signs; default: git's user.signingkey")
    options = parser.parse_args(arguments)
    wanted = version.parse(options.version)
    if wanted is None or wanted.text != "v{}.{}.{}".format(*wanted.numbers):
        print(f"{options.version!r} is no version. Write one such as v1.0.1.", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="release-") as scratch:
            candidate = Candidate(Own(root), wanted, Path(scratch) / "clone.git", options.key)
            reasons = list(dict.fromkeys(candidate.reasons()))
            if reasons:
                print(f"{wanted.text} can't be released:", *(f"- {one}" for one in reasons), sep="\n", file=sys.stderr)
                return 1
            if not options.check:
                candidate.publish()
            print(f"{wanted.text} {'may be released' if options.check else 'is tagged and signed here'}.\n")
            print("\n".join(candidate.announcement()))
    except TemplateError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


@dataclass(frozen=True, slots=True)
class Section:
    """What the changelog says about a version; `notes` is what whoever updates has to do."""

    day: str
    text: str
    notes: str


def section(changelog: str, title: str) -> Section | None:
    """The section of a version (its number), or of what is unreleased; None if there is none."""
    for part in re.split(r"^(?=## )", changelog, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        found = _HEADING.fullmatch(heading.strip())
        if (found[1] if found else heading.strip()) == title:
            notes = re.split(r"^#", text.partition(_NOTES)[2], maxsplit=1, flags=re.MULTILINE)[0]
            return Section(found[2] if found else "", text.strip(), notes.strip())
    return None


class Candidate:
    """The commit that HEAD names, as the version that it would be."""

    def __init__(self, origin: Own, wanted: Version, scratch: Path, key: str | None) -> None:
        self._origin = origin
        self._wanted = wanted
        self._key = key
        self._tags = origin.tags()
        self._last = self._tags[-1] if self._tags else None
        self._kind = compatibility.following(self._last).get(wanted.text)
        self._commit = origin.git("rev-parse", "HEAD").decode().strip()
        self._files = origin.files(self._commit, _CHANGELOG, _PYPROJECT, advisory.FOLDER)
        self._section = section(self._text(_CHANGELOG), wanted.text)
        self._advisories: list[Advisory] = []
        self._difference: Difference | None = None
        origin.git("clone", "--quiet", "--bare", "--", str(origin.path), str(scratch))
        self._clone = Own(scratch)

    def reasons(self) -> Iterator[str]:
        """Why the version may not go out, one sentence a reason; nothing if it may. Raises TemplateError."""
        yield from self._tree()
        yield from self._number()
        yield from self._changelog()
        if self._wanted in self._tags:
            return  # nothing can be tried under a name that is taken
        yield from self._tag()
        try:
            yield from compatibility.unusable(self._clone.release(self._wanted).config)
            if self._last and self._kind:
                self._difference = compatibility.difference(self._clone, self._last, self._wanted)
                yield from compatibility.refusals(self._kind, self._difference)
            yield from self._gate()
        except TemplateError as error:  # it does not even render, and nothing more can be said
            yield str(error)

    def publish(self) -> None:
        """Bring the tag that was tried into the repository. Raises TemplateError."""
        name = f"refs/tags/{self._wanted.text}"
        self._origin.git("fetch", "--quiet", "--no-tags", "--", str(self._clone.path), f"{name}:{name}")

    def announcement(self) -> Iterator[str]:
        """What a platform team must know about the version, line by line."""
        looked_at = self._difference.looked_at if self._difference else []
        yield f"{self._wanted.text} is {self._lane(looked_at)}."
        yield from ("", "Fixes")
        for one in self._advisories:
            yield f"  {one.id} ({one.severity.lower()}): {one.summary}"
            for affected in one.affected:
                yield f"    affected: {', '.join(each.text for each in affected.versions)} with {_answers(affected)}"
                yield f"    {affected.action}"
        if not self._advisories:
            yield "  no vulnerability"
        if looked_at:
            yield from ("", "Files for a person to look at", *(f"  {path}" for path in looked_at))
        if proofs := self._difference.proofs if self._difference else []:
            yield from ("", "Proofs that are not as before: where those are red on the new code, a person decides")
            yield from (f"  {path}" for path in proofs)
        yield from ("", "Upgrade notes")
        yield from (f"  {line}".rstrip() for line in (self._section.notes if self._section else "").splitlines())
        branch = self._origin.git("rev-parse", "--abbrev-ref", "HEAD").decode().strip()
        yield from ("", "Next", f"  git push --atomic <remote> {branch} {self._wanted.text}")
        yield "  flask-bastion fleet <folder of services> --template <this clone>"

    def _lane(self, looked_at: Sequence[str]) -> str:
        if self._last is None:
            return "the first version"
        urgent = any(one.severity in URGENT for one in self._advisories)
        match self._kind:
            case "patch" if urgent:
                return "a patch that does not wait: it is offered at once, and a person merges it"
            case "patch" if looked_at:
                return "a patch that a person merges, because of the files below"
            case "patch":
                return "a patch that merges by itself after three days, where a service's rules allow it"
            case "minor":
                return "a minor version: a person merges it, and nothing that a service has goes away"
            case _:
                return "a major version: a person merges it, and does what the upgrade notes say"

    def _text(self, name: str) -> str:
        return self._files.get(name, b"").decode(errors="replace")

    def _tree(self) -> Iterator[str]:
        if changed := self._origin.git("status", "--porcelain").splitlines():
            yield f"The work tree is not clean (paths: {len(changed)}). Commit what belongs to the version."
        if self._last:
            try:
                self._origin.git("merge-base", "--is-ancestor", f"refs/tags/{self._last.text}", self._commit)
            except TemplateError:
                yield f"This branch does not contain {self._last.text}, whose fixes would be lost. Merge it."

    def _number(self) -> Iterator[str]:
        if self._wanted in self._tags:
            yield f"{self._wanted.text} exists already, and a tag is never moved. Take the next version."
        elif self._kind is None:
            yield f"{self._wanted.text} is not the next version: {' or '.join(compatibility.following(self._last))}."
        number = self._wanted.text.removeprefix("v")
        if _project_version(self._text(_PYPROJECT)) != number:
            yield f'{_PYPROJECT} must say version = "{number}".'

    def _changelog(self) -> Iterator[str]:
        unreleased = section(self._text(_CHANGELOG), _UNRELEASED)
        if unreleased and unreleased.text:
            yield f"{_CHANGELOG} has lines under Unreleased. Move them into the section of {self._wanted.text}."
        if self._section is None:
            yield f"{_CHANGELOG} has no section '## {self._wanted.text} (YYYY-MM-DD)'."
            return
        if not _is_past(self._section.day):
            yield f"{_CHANGELOG}: the day of {self._wanted.text} is none, or is still to come."
        if not self._section.notes:
            yield f"{_CHANGELOG} has no '{_NOTES}' for {self._wanted.text}. Say what to do, or: {_NOTHING}"
        elif self._kind == "patch" and not self._section.notes.startswith(_NOTHING):
            yield f"A patch asks nobody for anything, so its upgrade notes begin with: {_NOTHING}"

    def _tag(self) -> Iterator[str]:
        """Tag the clone, with a signature if there is a key, and say why services would not take it."""
        text = f"{self._wanted.text}\n\n{self._section.text if self._section else ''}\n"
        tag = ("tag", "--cleanup=whitespace", "--file=-", self._wanted.text, self._commit)
        name, email = _identity(self._origin)
        settings = ("-c", f"user.name={name}", "-c", f"user.email={email}", "-c", "gpg.format=ssh")
        key = self._key or _configured(self._origin, "user.signingkey")
        try:
            if not key:
                raise TemplateError("git's user.signingkey is not set. Give --key FILE")
            if self._key and not Path(self._key).is_file():  # git's last line would be about something else
                raise TemplateError(f"{self._key} is no file. Give --key FILE")
            self._clone.git(*settings, "-c", f"user.signingkey={key}", *tag, "--sign", data=text.encode())
        except TemplateError as error:
            yield f"The tag is not signed: {error}."
            self._clone.git(*settings, *tag, "--annotate", data=text.encode())  # so that the rest can be looked at
            return
        for known in [one for one in self._tags if one.numbers[0] == self._wanted.numbers[0]]:
            if not self._is_signed_by(release_keys(self._clone, known)):
                yield (
                    f"Services that {known.text} made don't know the key and would refuse the version. "
                    "Sign with one that they know, or make it a major version."
                )
                break
        keys = release_keys(self._clone, self._wanted)
        if not keys:
            yield f"{_KEYS} lists no key, so that no service would take an update. Add the public key that signs."
        elif not self._is_signed_by(keys):
            yield f"The key that signs is none of {_KEYS}, and services would refuse the version. Add its public key."

    def _is_signed_by(self, keys: Sequence[str]) -> bool:
        try:
            trust.verify_tag(self._clone, self._wanted, keys)
        except trust.Refused:
            return False
        return True

    def _gate(self) -> Iterator[str]:
        """Try every advisory on what the version and those before it render to."""
        before = self._clone.files(f"refs/tags/{self._last.text}", advisory.FOLDER) if self._last else {}
        for name in sorted(before.keys() - self._files.keys()):
            if name.endswith(".json"):
                yield f"{name} is gone. An advisory that was wrong gets the field withdrawn, and its file stays."
        for name in sorted(self._files):
            if not name.startswith(f"{advisory.FOLDER}/") or not name.endswith(".json"):
                continue
            try:
                found = advisory.read(self._files[name], name.rpartition("/")[2])
            except InvalidAdvisory as error:
                yield from str(error).splitlines()
                continue
            if found is None:  # withdrawn
                continue
            yield from (f"{found.id}: {reason}" for reason in gate.gate(self._clone, found))
            if name not in before:
                self._advisories.append(found)
                if not _OFFICIAL.match(found.id):
                    yield f"{found.id}: OSV takes no such id. Write x_{found.id}, or the number of CVE or GHSA."
                if self._section and found.id not in self._section.text:
                    yield f"{_CHANGELOG} does not name {found.id} under {self._wanted.text}."


def release_keys(template: Template, wanted: Version) -> list[str]:
    """The public keys that a service of this version takes signatures of from the start. Raises TemplateError."""
    text = template.files(template.commit(wanted), _KEYS).get(_KEYS, b"").decode()
    return list(getattr(SandboxedEnvironment().from_string(text).module, "release_keys", ()))


def _answers(affected: Affected) -> str:
    said = (f"{question} {' or '.join(answers)}" for question, answers in affected.when.items())
    return ", ".join(said) or "any answers"


def _configured(template: Own, name: str) -> str:
    try:
        return template.git("config", "--get", name).decode().strip()
    except TemplateError:  # git has no such setting
        return ""


def _identity(template: Own) -> tuple[str, str]:
    """Who makes the tag, as git would say it. Raises TemplateError if it does not know."""
    name, _, rest = template.git("var", "GIT_COMMITTER_IDENT").decode().strip().partition(" <")
    return name, rest.partition(">")[0]


def _project_version(pyproject: str) -> object:
    try:
        return tomllib.loads(pyproject)["project"]["version"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        return None


def _is_past(day: str) -> bool:
    try:
        return date.fromisoformat(day) <= datetime.now(UTC).date()
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
