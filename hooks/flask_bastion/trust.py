"""Where new versions of the template may come from, and whose signatures make them its: a list that the team owns.

An update is code with all rights. An attacker who can change one line of a pull request (_src_path, _commit), move a
tag or take over a server would own the service, if the answers file decided. So the address to fetch from is that of
the list, and a tag counts only with the signature of a key that stands beside it. Source: ASVS 15.2.4.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from . import escape, version
from .finding import Finding
from .git import ISOLATED, GitError, git
from .repository import ANSWERS, Repository
from .template import Template, TemplateError
from .version import Version

FILE: Final = ".bastion-trust.toml"
LARGEST_BYTES: Final = 64 * 1024
SECONDS: Final = 180.0
"""For fetching the template over a network."""
_HOST: Final = r"(?P<host>[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)"
_USER: Final = r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@"
_PATH: Final = r"(?P<path>[A-Za-z0-9._~][A-Za-z0-9._~-]*(/[A-Za-z0-9._~][A-Za-z0-9._~-]*)*)/?"
_FORMS: Final = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"(?P<scheme>https)://{_HOST}(:(?P<port>[0-9]{{1,5}}))?/{_PATH}",
        rf"(?P<scheme>ssh)://({_USER})?{_HOST}(:(?P<port>[0-9]{{1,5}}))?/{_PATH}",
        rf"{_USER}{_HOST}:/?{_PATH}",  # as git writes it: git@git.example.com:team/template.git
    )
)
"""What an address may look like: a server's, over TLS or SSH, with no user but SSH's, no query and no odd letter."""
_ALIASES: Final = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
"""As Copier reads them. Source: copier/_vcs.py."""
_PORTS: Final = {"https": "443", "ssh": "22"}
_KEY: Final = re.compile(
    r"(?:ssh-ed25519|sk-ssh-ed25519@openssh\.com|ecdsa-sha2-nistp(?:256|384|521)|sk-ecdsa-sha2-nistp256@openssh\.com"
    r"|ssh-rsa) [A-Za-z0-9+/]{32,4096}={0,3}(?: [ -~]{0,200})?",
    re.ASCII,
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_SIGNER: Final = "template"
_SSH, _PGP = b"-----BEGIN SSH SIGNATURE-----", b"-----BEGIN PGP "
_OWN: Final = 0o077
"""Permissions that other users must not have on the folder of fetched versions."""


class InvalidTrust(Exception):
    """A list that can't be used. The text names every fault, one a line, and what to do."""


class Refused(Exception):
    """No update is taken: where it would come from is not trusted. The text says why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Source:
    """An address that is trusted, as it was written, and the public keys that sign its tags."""

    address: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """A version whose tag was signed by a trusted key: the commit that the signature names, and when it was made."""

    version: Version
    commit: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Fetched:
    """A template that holds two versions and nothing else: the one that a service has, and the one that it may get."""

    template: Template
    recorded: Version
    base: str  # the commit that the service has
    wanted: Signed
    between: tuple[Version, ...]  # released ones, the newest first
    cached: Template  # with every version; none of them is proven yet


# --- the list --------------------------------------------------------------------------------------------------------


def parse(data: bytes, name: str) -> tuple[Source, ...]:
    """The sources in a list. Raises InvalidTrust with every fault; `name` is what the list is called in them."""
    try:
        document = tomllib.loads(data.decode()) if len(data) <= LARGEST_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if document is None:
        raise InvalidTrust(f"{name}: this is no TOML. Write [[source]] with address and keys.")
    entries = document.get("source", [])
    faults = [f"there is no {key!r}, only [[source]]" for key in document if key != "source"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidTrust(f"{name}: source must be a list of tables. Write [[source]], not [source].")
    for number, entry in enumerate(entries, start=1):
        faults += [f"source {number}: {fault}" for fault in _faults(entry)]
    plain = [normal(entry["address"]) for entry in entries if isinstance(entry.get("address"), str)]
    faults += [f"{one} is listed twice" for one in sorted({one for one in plain if one and plain.count(one) > 1})]
    if faults:
        raise InvalidTrust("\n".join(f"{name}: {fault}." for fault in faults))
    return tuple(Source(entry["address"], tuple(entry.get("keys", ()))) for entry in entries)


def _faults(entry: dict[str, Any]) -> Iterator[str]:
    address, keys = entry.get("address"), entry.get("keys", [])
    yield from (f"it has no {name!r}" for name in sorted(entry.keys() - {"address", "keys"}))
    if not isinstance(address, str) or normal(address) is None:
        yield (
            "address must be that of a server, as https://git.example.com/team/template.git or"
            " git@git.example.com:team/template.git, without user name, query and other than plain letters"
        )
    if not isinstance(keys, list) or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
        yield "keys must be a list of public SSH keys, each as `ssh-keygen -y` prints it: ssh-ed25519 AAAA... whose"


def normal(address: str) -> str | None:
    """The form in which two addresses are compared; None for one that no update can come from."""
    for alias, server in _ALIASES.items():
        if address.startswith(alias):
            address = server + address.removeprefix(alias).removeprefix("/")
    found = next(filter(None, (form.fullmatch(address.removeprefix("git+")) for form in _FORMS)), None)
    if found is None or ".." in found["path"].split("/"):
        return None
    said = found.groupdict()
    scheme, user, port = said.get("scheme") or "ssh", said.get("user"), said.get("port")
    at = f"{user}@" if user else ""
    on = f":{port}" if port and port != _PORTS[scheme] else ""
    return f"{scheme}://{at}{found['host'].lower()}{on}/{found['path'].removesuffix('.git')}"


def listed(path: Path) -> tuple[Source, ...]:
    """The list in a file that the caller names. Raises InvalidTrust."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InvalidTrust(f"{path} can't be read ({error.strerror}). Name a list of trusted sources.") from None
    return parse(data, str(path))


def own(repository: Repository) -> tuple[Source, ...]:
    """The list in a service's repository; () without a list. Raises InvalidTrust."""
    data = repository.read(FILE)
    return () if data is None else parse(data, FILE)


def trusted(repository: Repository, sources: Iterable[Source]) -> Source:
    """The listed source that a service says it comes from. Raises Refused, before anything is fetched."""
    source = _recorded(repository, sources)
    if source is None:
        raise Refused(
            f"_src_path in {ANSWERS} is {repository.source or 'not recorded'}, which is not one of the trusted"
            f" sources, so nothing was fetched. Put the right address back, or have the owner of {FILE} list this one."
        )
    if not source.keys:
        raise Refused(
            f"No key is listed for {source.address}, so no signature makes a version of it. Add the public key that"
            f" signs its tags to {FILE}."
        )
    return source


def _recorded(repository: Repository, sources: Iterable[Source]) -> Source | None:
    """The source whose address the answers file records."""
    recorded = repository.recorded.get("_src_path")
    address = normal(recorded) if isinstance(recorded, str) else None
    return next((source for source in sources if address and normal(source.address) == address), None)


# --- what check says -------------------------------------------------------------------------------------------------


def findings(repository: Repository, sources: tuple[Source, ...] | None = None) -> list[Finding]:
    """Faults of the source that a service takes its updates from; `sources` replace its own list."""
    if not repository.is_service:
        return []
    try:
        known = own(repository) if sources is None else sources
    except InvalidTrust as error:
        cure = "Write address and keys for each [[source]]; until then no update is taken."
        faults = [line.removeprefix(f"{FILE}: ") for line in str(error).splitlines()]
        return [Finding("trust-invalid", "error", fault, cure, FILE) for fault in faults]
    if not known and any(fault.file == FILE for fault in repository.tree.faults):
        return []  # its list was not read, which is reported already
    if not known:
        text = "No source of updates is listed, so `flask-bastion update` takes none."
        cure = f"List the template's address and the keys that sign its tags in {FILE}."
        return [Finding("trust-missing", "note", text, cure, FILE)]
    if not repository.recorded:
        return []  # unreadable answers are reported already
    source = _recorded(repository, known)
    if source is None:
        text = f"_src_path is {repository.source or 'not recorded'}, which is not one of the trusted sources."
        cure = f"Put the address back, or have the owner of {FILE} list it."
        return [Finding("source-untrusted", "error", text, cure, ANSWERS)]
    if not source.keys:
        text = f"No key is listed for {source.address}, so `flask-bastion update` takes nothing from it."
        return [Finding("trust-missing", "note", text, "Add the key that signs the template's tags.", FILE)]
    return list(_strangers(source, known)) if sources is None else []


def _strangers(own: Source, known: Iterable[Source]) -> Iterator[Finding]:
    """Each further source with a key that the service's own source has not: a line in a pull request moves it there."""
    keys = {_key(key) for key in own.keys}
    for other in known:
        if not {_key(key) for key in other.keys} <= keys:
            text = f"{other.address} is trusted too, with a key that {own.address} has not."
            cure = "Take it out, unless the service is about to move there; a mirror has the keys of the original."
            yield Finding("trust-stranger", "warning", text, cure, FILE)


def _key(line: str) -> str:
    """A public key without its comment."""
    return " ".join(line.split(" ")[:2])


def moved(repository: Repository, template: Template) -> list[Finding]:
    """Whether the tag of the version that rendered the code names another commit today than it did then."""
    recorded, commit = version.parse(repository.rendered.get("VERSION")) or repository.version, commit_of(repository)
    if recorded is None or not commit:
        return []
    try:
        today = template.commit(recorded)
    except TemplateError:
        return []  # a missing version is reported where the files are compared
    if today == commit:
        return []
    text = (
        f"{recorded.text} was the commit {commit}, and is {today} in this template: the tag was moved, or the"
        " service is of another template (a fork)."
    )
    cure = (
        "Compare with the service's own template. If this is it, take no update from there, and ask its maintainers"
        " which of the two is right."
    )
    return [Finding("tag-moved", "error", text, cure, ANSWERS)]


# --- fetching --------------------------------------------------------------------------------------------------------


def fetch_template(
    source: Source,
    recorded: Version,
    commit: str,
    into: Path,
    *,
    wanted: Version | None = None,
    folder: Path | None = None,
    denied: Version | None = None,
    cached: Template | None = None,
) -> Fetched:
    """Fetch the tags of a trusted source, and give the wanted version (default: the newest) once it is proven.

    `commit` is what the service recorded for its version; "" if it did not. `folder` is a clone or mirror to fetch from
    in place of the address, with the same keys. `denied` is what the answers file claims where the code is believed
    (see start.py): then both versions that are read have to be signed, and none comes that is older than the claim.
    `into` is an empty folder for the result; with `cached`, fetched before, nothing is fetched again. Raises
    Refused without trust, and TemplateError where git fails or a version does not exist.
    """
    cached = cached or _cached(source, folder)
    known = cached.tags()
    released = [one for one in known if one.released]
    if wanted is None and not released:
        raise TemplateError(f"{source.address} has no released version, that is, no tag such as v1.0.0.")
    wanted = wanted or released[-1]
    if wanted not in known:
        newest = known[-1].text if known else "not there either"
        raise TemplateError(f"{source.address} has no version {wanted.text}. The newest is {newest}.")
    if wanted < recorded:
        raise Refused(
            f"{wanted.text} is older than {recorded.text}, which the service has: an older version brings back what"
            " was fixed since. Nothing was done."
        )
    if denied and wanted < denied:
        raise Refused(
            f"{wanted.text} is older than {denied.text}, which the answers file says: if that is true, it brings back"
            f" faults fixed since. Put the code's version into the file, {recorded.text}, or name a newer one."
        )
    signed = verify_tag(cached, wanted, source.keys)
    base = cached.commit(recorded)
    if commit and base != commit:
        raise Refused(
            f"{recorded.text} was the commit {commit}, and is {base} at {source.address} today: the"
            " tag was moved. Nothing was done; ask the template's maintainers which of the two is right."
        )
    if not commit or denied:  # nothing else says that this is what the service was made of
        base = verify_tag(cached, recorded, source.keys).commit
    tags = {wanted.text: signed.commit} | ({} if recorded.commits else {recorded.text: base})
    if denied and denied < recorded:  # the code is held against it
        cached.commit(denied)  # otherwise there is no such version, which is said
        tags[denied.text] = verify_tag(cached, denied, source.keys).commit
    between = tuple(one for one in reversed(released) if recorded < one < wanted)
    return Fetched(_two(cached, into, tags), recorded, base, signed, between, cached)


def verify_tag(template: Template, wanted: Version, keys: Iterable[str]) -> Signed:
    """The commit that a tag's signature vouches for. Raises Refused if it is not signed by one of the keys."""
    name = wanted.text
    tag = template.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/tags/{name}").decode().strip()
    kind = template.git("cat-file", "-t", tag).decode().strip()
    body = template.git("cat-file", "tag", tag) if kind == "tag" else b""
    again = f"A maintainer of the template signs it with: git tag --sign {name}."
    if kind != "tag":
        raise Refused(f"The tag {name} is only a name for a commit, which anyone could have created. {again}")
    lines = body.partition(b"\n\n")[0].decode(errors="replace").split("\n")
    header = dict(line.partition(" ")[::2] for line in reversed(lines))  # the first of a name counts
    if header.get("tag") != name:
        raise Refused(f"The tag {name} holds a signature for another one, {header.get('tag')!r}: it was moved.")
    if header.get("type") != "commit" or not _COMMIT.fullmatch(header.get("object", "")):
        raise Refused(f"The tag {name} names no commit.")
    if _SSH not in body:
        how = "with OpenPGP, and only SSH signatures are verified" if _PGP in body else "with no key"
        raise Refused(f"The tag {name} is signed {how}. {again}")
    _verify_signature(template, tag, name, keys)
    made = re.search(r" (\d{1,11}) [+-]\d{4}\Z", header.get("tagger", ""), re.ASCII)
    return Signed(wanted, header["object"], datetime.fromtimestamp(int(made[1]) if made else 0, UTC))


def _verify_signature(template: Template, tag: str, name: str, keys: Iterable[str]) -> None:
    """Have ssh-keygen verify it, through git, with no configuration but ours."""
    with tempfile.NamedTemporaryFile("w", suffix=".allowed", encoding="ascii") as allowed:
        for key in keys:
            kind, public = key.split(" ")[:2]
            allowed.write(f'{_SIGNER} namespaces="git" {kind} {public}\n')
        allowed.flush()
        options = ("gpg.format=ssh", f"gpg.ssh.allowedSignersFile={allowed.name}", "gpg.ssh.program=ssh-keygen")
        try:
            template.git(*(part for option in options for part in ("-c", option)), "verify-tag", "--raw", tag)
        except TemplateError as error:
            if "ssh-keygen" in str(error) or "cannot run" in str(error):
                raise TemplateError("ssh-keygen is needed to verify a signature. Install OpenSSH's client.") from None
            raise Refused(
                f"The signature of the tag {name} is by none of the keys that are listed for it. Nothing was done; ask"
                " the template's maintainers before you add another key."
            ) from None


def _cached(source: Source, folder: Path | None) -> Template:
    """Every tag v* of the source, in a bare repository of ours that other users can't write to."""
    address = str(folder.resolve()) if folder else source.address.removeprefix("git+")
    for alias, server in _ALIASES.items():
        if not folder and address.startswith(alias):
            address = f"{server}{address.removeprefix(alias).removeprefix('/').removesuffix('.git')}.git"
    place = _cache() / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}.git"
    at = ("--git-dir", str(place))
    try:
        with _alone(place):
            if not (place / "HEAD").exists():
                git("init", "--quiet", "--bare", "--template=", str(place), at=())
            git(
                "-c", "fetch.fsckObjects=true", "fetch", "--quiet", "--prune", "--no-tags", "--no-recurse-submodules",
                "--no-write-fetch-head", "--no-auto-maintenance", "--upload-pack=git-upload-pack", "--", address,
                "+refs/tags/v*:refs/tags/v*",
                at=at, protocols="file" if folder else "https:ssh", seconds=SECONDS,
            )  # fmt: skip
    except GitError as error:
        where = escape.address(address)
        raise TemplateError(f"The template could not be fetched from {where}. {error}") from None
    return Template(place)


def _cache() -> Path:
    """The folder of fetched versions. Raises Refused if another user could have written to it."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "flask-bastion" / "templates"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise TemplateError(
            f"{folder} can't be made ({error.strerror}). Set XDG_CACHE_HOME to a folder of yours."
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & _OWN:
        raise Refused(f"{folder} is not yours alone (mode 0700), so what lies there is not trusted. Remove it.")
    return folder


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process at a time: many services are updated at once, from one source."""
    with open(place.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _two(cached: Template, into: Path, tags: dict[str, str]) -> Template:
    """A repository with two tags, which name commits that were verified: whatever is moved later, these are read."""
    try:
        git("init", "--quiet", "--bare", "--template=", str(into), at=(), environment=ISOLATED)
        (into / "objects" / "info").mkdir(exist_ok=True)
        (into / "objects" / "info" / "alternates").write_text(f"{cached.path / 'objects'}\n", encoding="utf-8")
        named = "".join(f"create refs/tags/{name} {commit}\n" for name, commit in tags.items())
        git("update-ref", "--stdin", at=("--git-dir", str(into)), data=named.encode(), environment=ISOLATED)
    except GitError as error:
        raise TemplateError(str(error)) from None
    return Template(into)


def commit_of(repository: Repository) -> str:
    """The commit that the service's version was, as bastion/chosen.py says; "" if it does not."""
    commit = repository.rendered.get("COMMIT", "")
    return commit if _COMMIT.fullmatch(commit) else ""


def wanted_version(text: str) -> Version | None:
    """The requested version: a tag, with nothing behind it."""
    found = version.parse(text)
    return found if found and not found.commits else None
