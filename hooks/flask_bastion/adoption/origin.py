"""Where the template comes from: a clone on this machine, or the address that this very program was installed from.

The address is recorded in the service and each update asks there, so it has to be one that others can reach too, and
it is committed, so it must hold no password.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from .. import escape
from ..git import GitError, git
from ..template import Template, TemplateError

_REMOTE: Final = re.compile(r"(?:https|ssh|git\+https|git\+ssh)://\S+\Z|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:\S+\Z")
"""An address that other machines reach. Every other form is a folder of this one, or makes git run a command."""
_SHORT: Final = re.compile(r"g[hl]:[A-Za-z0-9._/-]+\Z")
"""As Copier takes them, for GitHub and GitLab."""
_USER: Final = re.compile(r"\A((?:git\+)?https?://)[^/]*@")


@contextlib.contextmanager
def opened(folder: Path | None) -> Iterator[tuple[Template, str]]:
    """The template with the address to record: of a folder, or of where this program came from, cloned for as long.

    Raises TemplateError if there is neither.
    """
    if folder is not None:
        if not folder.is_dir():
            raise TemplateError(f"{folder} is no folder. Clone the template, and name the clone.")
        template = Template(folder)
        yield template, _came_from(template)
        return
    address = installed_from()
    if address is None:
        raise TemplateError("Name a clone of the template: git clone <its address>, then --template FOLDER.")
    if not _REMOTE.match(address):
        template = Template(Path(address.removeprefix("file://")))
        yield template, _came_from(template)
        return
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as scratch:
        clone = Template(Path(scratch))
        try:
            options = ("--quiet", "--bare", "--", address.removeprefix("git+"), scratch)
            git("clone", *options, at=(), protocols="https:ssh:file")  # file: where the user's insteadOf says so
        except GitError as error:
            raise TemplateError(f"The template could not be cloned from {escape.address(address)}. {error}") from None
        yield clone, plain(address)


def installed_from() -> str | None:
    """The address that this program was installed from, as the installer noted it (PEP 610); None if it did not."""
    try:
        noted = metadata.distribution("flask-bastion").read_text("direct_url.json")
        address = json.loads(noted or "null")["url"]
    except (metadata.PackageNotFoundError, ValueError, TypeError, KeyError):
        return None
    return address if isinstance(address, str) else None


def plain(address: str) -> str:
    """The address without user name and token. Raises TemplateError if it may hold a secret elsewhere."""
    cut = _USER.sub(r"\1", address)
    if escape.address(cut) != cut:
        raise TemplateError(f"{escape.address(cut)} holds what may be a password. Give --source without it.")
    return cut


def named(address: str) -> str:
    """Return the address without credentials if updates can come from it. Raises TemplateError otherwise."""
    if not is_reached_by_others(address) and not Path(address).is_dir():
        raise TemplateError("--source is no address: write https://..., ssh://..., user@host:path or a folder.")
    return plain(address)


def is_reached_by_others(address: str) -> bool:
    """Whether an address means the same on every machine, which a folder does not."""
    return bool(_REMOTE.match(address) or _SHORT.match(address))


def _came_from(template: Template) -> str:
    """Where a clone was cloned from, if others reach it; otherwise the clone itself."""
    address = template.origin
    return plain(address) if _REMOTE.match(address) else str(template.path)
