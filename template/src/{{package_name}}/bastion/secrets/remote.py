"""Network backends: shared rules for secret names, for allowed addresses, and for variables that are not read.

A slash in a name would let an attacker read another team's secret. A request over http, or to another host, would hand
this service's credentials to an eavesdropper or to that host.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from . import Found, Secret, Secrets

NAME: Final = re.compile(r"\A[A-Z][A-Z0-9_]{0,63}\Z")
SERVICE: Final = __name__.partition(".bastion.")[0].replace("_", "-")
"""This service's name, for names and roles that are its own."""
CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 3.0


def origin(url: str) -> SplitResult | None:
    """Return the parts of a URL that is only an origin, https or http on this machine; None for another."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        return None
    if not host or port == 0 or url != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc or "\\" in url:
        return None
    return parts if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)) else None


def is_loopback(host: str) -> bool:
    """Return whether this is a loopback host: data sent there stays on this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check_ca(variable: str, file: str) -> Iterator[str]:
    """Report a CA file (PEM) that holds no certificate; an empty name means the usual authorities."""
    try:
        if file and not ssl.create_default_context(cafile=file).get_ca_certs():
            raise ssl.SSLError
    except OSError:
        yield f"{variable}: there is no file of certificates (PEM). Leave it out to use the usual authorities."


def misplaced(names: Iterable[str], place: str) -> Iterator[str]:
    """Report secrets that were given as environment variables, while they belong in `place`."""
    for name in names:
        for given in (name, f"{name}_FILE"):
            if given in os.environ:
                yield (
                    f"{given} is an environment variable, which is not read: the secrets of this service are in "
                    f"{place}. Move it there."
                )


def kept_here(address: str) -> Secrets | None:
    """For development: read the folder that a `file:` address names, one file a secret; None for another address."""
    if not address.startswith("file:"):
        return None
    folder = Path(unquote(urlsplit(address).path))

    def fetch(name: str) -> Found | None:
        file = folder / name
        known = NAME.match(name) and file.is_file()
        return Found(Secret(file.read_text(encoding="utf-8").removesuffix("\n"))) if known else None

    return Secrets(lambda: fetch, str(folder))
