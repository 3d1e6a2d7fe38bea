"""Host header allow-list: refuse a request for another host before any other code sees it.

A forged Host ends up in links, redirects and caches, and a framework that checks it at routing has run hooks by then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from wsgiref.types import WSGIEnvironment

from .answers import Refusal

LOCAL: Final = re.compile(r"\A(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?\Z")
_LABELS: Final = re.compile(r"\A[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\Z")
_HTTPS: Final = ":443"
REFUSAL: Final = Refusal(400, "host-header-trusted")


class Hosts:
    """The allowed Host values: exact names with the port of the public origin, compared case-insensitively.

    An entry that begins with a dot allows its subdomains. Outside production only this machine's own names are allowed,
    with any port. Source: RFC 9110, 7.2; RFC 9112, 3.2; ASVS 4.1.3.
    """

    def __init__(self, trusted: Iterable[str], public_origin: str, *, production: bool) -> None:
        port = re.search(r":[0-9]+\Z", public_origin)
        # https URLs omit port 443; some clients send it nevertheless.
        self._ports = (port[0],) if port and port[0] != _HTTPS else ("", _HTTPS)
        names = [name.lower() for name in trusted]
        self._exact = frozenset(name + port for name in names if not name.startswith(".") for port in self._ports)
        self._parents = tuple(name for name in names if name.startswith("."))
        self._production = production

    def refuse(self, environ: WSGIEnvironment) -> Refusal | None:
        """Refuse with 400 a Host that is missing, doubled, malformed, foreign or unlike the absolute-form target's."""
        host = environ.get("HTTP_HOST", "").lower()
        if not self.trusts(host):
            return REFUSAL
        target = environ.get("RAW_URI", "/")
        if target[:1] != "/" and not _names_host(target, host):
            return REFUSAL
        environ["HTTP_HOST"] = host  # one spelling inside: not everything there knows that letters' case is no matter
        return None

    def trusts(self, host: str) -> bool:
        """Return whether this Host (lower case, perhaps with a port) names the service."""
        if not self._production:
            return LOCAL.match(host) is not None
        return host in self._exact or (bool(self._parents) and self._is_below(host))

    def _is_below(self, host: str) -> bool:
        name, colon, port = host.partition(":")
        if colon + port not in self._ports or not _LABELS.match(name) or ".." in name:
            return False
        return any(name.endswith(parent) for parent in self._parents)


def _names_host(target: str, host: str) -> bool:
    # RFC 9112, 3.2.2: the authority of an absolute target outranks Host, so it must not name another host.
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return False
    return re.split(r"[/?#]", rest, maxsplit=1)[0].lower() == host
