"""Known vulnerabilities of the template's versions: which answers are affected, and how the fix is recognised.

One OSV file for each security fix that was ever released (advisories/README.md says the form). They come with this
package, and from the trusted template; what lies in a scanned repository under such a name is never read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from . import probe, version
from .repository import CHOICES
from .template import Template

FOLDER: Final = "advisories"
SEVERITIES: Final = ("LOW", "MODERATE", "HIGH", "CRITICAL")
_ID: Final = re.compile(r"(x_)?[A-Z][A-Za-z0-9]*(-[A-Za-z0-9]+){2,4}")
_SCHEMA: Final = re.compile(r"1\.[0-9]{1,3}\.[0-9]{1,3}")
_HASH: Final = re.compile(r"[0-9a-f]{40}")
_REQUIRED: Final = (
    "schema_version",
    "id",
    "modified",
    "published",
    "summary",
    "details",
    "affected",
    "database_specific",
)
_OPTIONAL: Final = ("withdrawn", "aliases", "related", "severity", "references", "credits")


class InvalidAdvisory(Exception):
    """An advisory that can't be used. The text names every fault, one a line."""


@dataclass(frozen=True, slots=True)
class Affected:
    """Which versions are affected, with which answers, how the fix is seen, and what there is to do beside updating."""

    versions: tuple[version.Version, ...]  # oldest first
    when: Mapping[str, tuple[str, ...]]
    probe: probe.Probe
    action: str
    commits: tuple[str, ...]  # that fix it, if a GIT range names them

    def claims(self, recorded: version.Version) -> str:
        """What a version alone says: "before" the fault came in, "affected", or "fixed"."""
        tags = {one.text for one in self.versions}
        if recorded.tag in tags:
            return "affected"
        return "before" if recorded < self.versions[0] else "fixed"


@dataclass(frozen=True, slots=True)
class Advisory:
    """One security fix."""

    id: str
    summary: str
    details: str
    severity: str
    affected: tuple[Affected, ...]


def read(text: bytes, name: str) -> Advisory | None:
    """The advisory in an OSV file; None if it was withdrawn. Raises InvalidAdvisory with every fault."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidAdvisory(f"{name}: this is no JSON.") from None
    faults: list[str] = []
    if not isinstance(about, dict):
        raise InvalidAdvisory(f"{name}: this is no object.")
    faults += [f"{field} is missing" for field in _REQUIRED if field not in about]
    faults += [f"there is no field {field!r}" for field in sorted(about.keys() - {*_REQUIRED, *_OPTIONAL})]
    identity = about.get("id")
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        faults.append("id is no id such as x_BASTION-2027-0001")
    elif Path(name).stem != identity:
        faults.append(f"the file must be called {identity}.json")
    if not isinstance(about.get("schema_version"), str) or not _SCHEMA.fullmatch(about["schema_version"]):
        faults.append("schema_version is not one of OSV 1")
    faults += [
        f"{field} is no time in UTC" for field in ("modified", "published", "withdrawn") if not _time(about, field)
    ]
    for field in ("summary", "details"):
        if not isinstance(about.get(field), str) or not about[field].strip():
            faults.append(f"{field} must be a text")
    specific = about.get("database_specific")
    severity = specific.get("severity") if isinstance(specific, dict) else None
    if severity not in SEVERITIES:
        faults.append(f"database_specific.severity is not one of {', '.join(SEVERITIES)}")
    entries = about.get("affected")
    affected = []
    if not isinstance(entries, list) or not entries:
        faults.append("affected must be a list with at least one entry")
        entries = []
    for number, entry in enumerate(entries, start=1):
        try:
            affected.append(_affected(entry))
        except ValueError as error:
            faults.append(f"affected, entry {number}: {error}")
    if faults:
        raise InvalidAdvisory("\n".join(f"{name}: {fault}." for fault in faults))
    if "withdrawn" in about:
        return None
    return Advisory(str(identity), about["summary"], about["details"], str(severity), tuple(affected))


def _affected(entry: Any) -> Affected:
    specific = entry.get("database_specific") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(specific, dict):
        raise ValueError("it needs versions and database_specific")
    if unknown := entry.keys() - {"package", "severity", "ranges", "versions", "database_specific"}:
        raise ValueError(f"there is no field {sorted(unknown)[0]!r}")
    if unknown := specific.keys() - {"when", "probe", "action"}:
        raise ValueError(f"database_specific has no field {sorted(unknown)[0]!r}")
    texts = entry.get("versions")
    versions = [version.parse(text) for text in texts] if isinstance(texts, list) else []
    found = sorted(one for one in versions if one is not None and not one.commits)
    if not found or len(found) != len(versions) or len({one.text for one in found}) != len(found):
        raise ValueError("versions must list each affected tag once, such as v1.0.1")
    action = specific.get("action")
    if not isinstance(action, str) or not action.strip():
        raise ValueError("database_specific.action must say what to do")
    return Affected(
        tuple(found), _when(specific.get("when", {})), probe.parse(specific.get("probe")), action, _fixing(entry)
    )


def _when(when: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(when, dict):
        raise ValueError("when must be an object: a question, and the list of answers that are affected")
    for question, answers in when.items():
        known = CHOICES.get(question, ())
        if not isinstance(answers, list) or not answers or any(answer not in known for answer in answers):
            raise ValueError(f"when: {question!r} is a question with the answers {', '.join(known) or '(none)'}")
    return {question: tuple(answers) for question, answers in when.items()}


def _fixing(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The commits that a GIT range names as the fix. Other kinds of ranges count tags otherwise than git does."""
    ranges = entry.get("ranges", [])
    found = []
    for one in ranges if isinstance(ranges, list) else [None]:
        events = one.get("events") if isinstance(one, dict) and one.get("type") == "GIT" and "repo" in one else None
        if not isinstance(events, list) or not all(isinstance(event, dict) and len(event) == 1 for event in events):
            raise ValueError("a range must be of the type GIT, with repo and events")
        if not any("introduced" in event for event in events):
            raise ValueError("a range must say where the fault was introduced (or 0)")
        for event in events:
            ((kind, commit),) = event.items()
            known = kind in ("introduced", "fixed") and isinstance(commit, str)
            if not known or not (_HASH.fullmatch(commit) or (kind, commit) == ("introduced", "0")):
                raise ValueError("an event is introduced or fixed, with a commit of 40 digits")
            found += [commit] if kind == "fixed" else []
    return tuple(found)


def _time(about: Mapping[str, Any], field: str) -> bool:
    text = about.get(field)
    if field not in about:
        return True
    try:
        return isinstance(text, str) and text.endswith("Z") and bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def shipped() -> list[Advisory]:
    """Those of this package: of its version, or of its repository when it is run from there; [] if it has none."""
    folder = place()
    return in_folder(folder) if folder.is_dir() else []


def place() -> Path:
    """The folder of those that come with this package."""
    here = Path(__file__).parent
    return next((one for one in (here / FOLDER, here.parents[1] / FOLDER) if one.is_dir()), here / FOLDER)


def in_folder(folder: Path) -> list[Advisory]:
    """Those of a folder that is trusted. Raises InvalidAdvisory, also without a folder: a typo must not look safe."""
    if not folder.is_dir():
        raise InvalidAdvisory(f"{folder} is no folder. Name one that holds advisories, a file each.")
    return _all((path.name, path.read_bytes()) for path in sorted(folder.glob("*.json")))


def of_template(template: Template) -> list[Advisory]:
    """Those of the template's newest version, which knows more than the version that this package comes from."""
    tags = template.tags()
    if not tags:
        return []
    files = template.files(template.commit(tags[-1]), FOLDER)
    return _all((name.rpartition("/")[2], data) for name, data in sorted(files.items()) if name.endswith(".json"))


def _all(files: Iterable[tuple[str, bytes]]) -> list[Advisory]:
    faults: list[str] = []
    found: list[Advisory] = []
    for name, data in files:
        try:
            found += filter(None, [read(data, name)])
        except InvalidAdvisory as error:
            faults.append(str(error))
    if faults:
        raise InvalidAdvisory("\n".join(faults))
    return found


def together(*lists: Iterable[Advisory]) -> list[Advisory]:
    """Each advisory once, by its id; the later list decides."""
    return [one for _, one in sorted({one.id: one for several in lists for one in several}.items())]
