"""Network databases: verify the server's certificate, and connect with a role of few rights.

An attacker on the network path reads and forges an unverified connection. SQL injection runs with the role's rights: a
role that owns the tables drops them, an administrator's role reads the machine's files.
"""

from __future__ import annotations

import atexit
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..settings import BastionSettings

PROJECT: Final = Path(__file__).resolve().parents[4]
ADMINISTRATORS: Final = frozenset(("admin", "mariadb", "mysql", "postgres", "root", "sa"))
SYSTEM: Final = "/etc/ssl/certs/ca-certificates.crt"


def parsed(settings: BastionSettings) -> URL | None:
    """Return the address as SQLAlchemy parses it; None if it is invalid."""
    try:
        return make_url(settings.database_url)
    except (ArgumentError, ValueError):
        return None


def check_query(url: URL, known: Sequence[str]) -> Iterator[str]:
    """Report a password in the address, or else names after its `?` that are not `known`."""
    if url.password is not None:
        yield "DATABASE_URL holds a password. Take it out, and set it as the secret DATABASE_PASSWORD."
    elif others := sorted({*url.query} - {*known}):
        yield (
            f"DATABASE_URL has {', '.join(others)} after the `?`, where it may have {', '.join(known)}. Take it out; a "
            "password is the secret DATABASE_PASSWORD."
        )


def check_roles(settings: BastionSettings, user: str) -> Iterator[str]:
    """Report bad names of the two roles; the server is also asked whether the role is an administrator."""
    if not settings.production:
        return
    makes_them = "deploy/base/database makes one for this service alone"
    if user.casefold() in ADMINISTRATORS:
        yield f"DATABASE_URL's user is an administrator of the server. Name another one: {makes_them}."
    if settings.migration_user.casefold() in ADMINISTRATORS:
        yield f"BASTION_MIGRATION_USER is an administrator of the server. Name another one: {makes_them}."
    if settings.migration_user == user:
        yield "BASTION_MIGRATION_USER is DATABASE_URL's user, too. Name the role that owns the tables, or remove it."


def on_this_machine(host: str) -> bool:
    """Return whether traffic stays on this machine: a folder of unix sockets, or a loopback address."""
    if host == "localhost" or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_authority(path: object) -> bool:
    """Return whether this is the absolute path of a file with certificates (PEM) to verify a server by."""
    if not isinstance(path, str) or not Path(path).is_absolute():
        return False
    try:
        return bool(ssl.create_default_context(cafile=path).get_ca_certs())
    except OSError:
        return False


def start_here(program: str, folder: Path, name: str, password: Path) -> int:
    """For development: start a server that ends with this process, or find a running one; return its port.

    The program that starts it is not part of the service: it lies in a checkout of it, beside the proofs.
    """
    file = PROJECT / "tests" / "proofs" / program
    if not file.is_file():
        raise RuntimeError(f"Only a checkout of the service starts a database, by {file}. Set DATABASE_URL.")
    started = subprocess.Popen(  # noqa: S603  (a file of the checkout)
        [sys.executable, "-I", file, folder, name, password],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process; the server ends after it
    )
    told = ""
    if started.stdout is not None:
        with started.stdout as said:
            told = said.readline().strip()
    if not told.isdecimal():
        raise RuntimeError(told or f"{file} failed.")
    atexit.register(_end, started)
    return int(told)


def _end(started: subprocess.Popen[str]) -> None:
    if started.stdin is not None:
        started.stdin.close()
    with suppress(KeyboardInterrupt):  # a second Ctrl-C need not wait for it
        started.wait()
