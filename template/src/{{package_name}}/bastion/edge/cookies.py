"""Cookie flags: drop each cookie that scripts, other sites, subdomains or clear-text requests could read or replace.

One extension that sets a plain cookie lets a subdomain plant a session, so all flags are checked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .. import log

ROW: Final = "cookie-flags"
LONGEST: Final = 4096  # bytes of name and value; browsers silently drop longer ones (RFC 6265bis, 5.7)
PREFIX: Final = "__Host-"
_SAME_SITE: Final = frozenset({"lax", "strict"})


def guard_cookies(headers: list[tuple[str, str]], *, secure: bool, allowed: bool = True) -> list[tuple[str, str]]:
    """Return the headers without each Set-Cookie that breaks a rule; log a dropped cookie's name, never its value.

    `secure=False` is for development over http on this machine: some browsers drop `Secure` cookies there, so that flag
    and the prefix may be missing. `allowed=False` (a service that sets no cookie at all) drops every one. Source: RFC
    6265bis, 4.1.3.2; ASVS 3.3.1 to 3.3.5.
    """
    for name, _ in headers:
        if name.lower() == "set-cookie":
            return [header for header in headers if _may_leave(header, secure, allowed)]
    return headers


def _may_leave(header: tuple[str, str], secure: bool, allowed: bool) -> bool:
    if header[0].lower() != "set-cookie":
        return True
    name, faults = _read(header[1], secure)
    if not allowed:
        faults.append("no cookies in this service")
    if faults:
        log.refused(ROW, cookie_name=name, faults=faults)
    return not faults


def _read(line: str, secure: bool) -> tuple[str, list[str]]:
    pair, *attributes = line.split(";")
    name, _, value = pair.partition("=")
    name = name.strip()
    # The last of two equal attributes counts, as in a browser (RFC 6265bis, 5.6).
    flags = {key.strip().lower(): text.strip() for key, _, text in (one.partition("=") for one in attributes)}
    return name, list(_faults(name, value.strip(), flags, secure))


def _faults(name: str, value: str, flags: dict[str, str], secure: bool) -> Iterator[str]:
    if secure and not name.startswith(PREFIX):
        yield f"name without {PREFIX}"
    if secure and "secure" not in flags:
        yield "no Secure"
    if "httponly" not in flags:
        yield "no HttpOnly"
    if flags.get("samesite", "").lower() not in _SAME_SITE:
        yield "SameSite neither Lax nor Strict"
    if flags.get("path") != "/":
        yield "Path not /"
    if "domain" in flags:
        yield "Domain"
    if len(name) + len(value) > LONGEST:
        yield "too long"
