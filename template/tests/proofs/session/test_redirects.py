"""After signing in nobody lands on an address that the author of a link chose outside of this service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from ..harness import harm, insert, protects, works
from ..wire import ORIGIN

if TYPE_CHECKING:
    from ..running import Service


ROW = "next-same-origin-only"
DEFAULT = "/the-default"
# What browsers drop from an address before they read it (URL Standard, 4.4: C0 controls and spaces around it, tab and
# line feeds anywhere), and what they read as a slash.
DROPPED = {ord(c): None for c in "\t\n\r"}
HOSTILE = (
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/////evil.example/path",
    "//evil.example\\@app.example",
    "//app.example.evil.example",
    "//app.example:443@evil.example/",
    "//app.example",
    "/\\evil.example",
    "/\\/evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "\u00a0//evil.example",
    "/\u200b/evil.example",
    "/\u2028/evil.example",
    "\ufeff//evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https://evil.example",
    "https:///evil.example",
    "HTTPS://evil.example",
    "http://app.example@evil.example",
    "https://app.example@evil.example/",
    "https://app.example.evil.example",
    "https://app.example/account",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "mailto:evil@evil.example",
    "evil.example",
    "@evil.example",
    "/@evil.example",
    ".evil.example",
    "?next=https://evil.example",
    "#https://evil.example",
    "%2f%2fevil.example",
    "%5c%5cevil.example",
    "https%3a%2f%2fevil.example",
    "//[evil.example]",
    "//[::1]",
    "/account\r\nSet-Cookie: x=1",
    "/account\r\n\r\n<script>alert(1)</script>",
    f"/account?{'x' * 512}",
)


def lands_on(location: str) -> str:
    """The origin that a browser goes to from this service's page."""
    read = location.strip("".join(map(chr, range(0x21)))).translate(DROPPED)
    scheme, colon, rest = read.partition(":")
    if colon and scheme.lower() in ("http", "https"):
        read = f"{scheme}://{rest.replace(chr(92), '/').lstrip('/')}"
    elif read[:1] in ("/", "\\"):
        start = read.replace("\\", "/")
        read = f"https://{start.lstrip('/')}" if start.startswith("//") else start
    parts = urlsplit(urljoin(f"{ORIGIN}/login", read))
    return f"{parts.scheme}://{parts.netloc}"


@protects(
    ROW,
    check=insert(
        "session/redirects.py",
        after='can be opened with GET, otherwise `default`."""\n',
        new='    return target if target is not None and target.startswith("/") else default\n',
    ),
)
def test_no_link_to_the_login_page_leads_away_from_this_service(service: Service) -> None:
    # A page for every path, so that no address is refused only because nothing is there.
    service.adds_route("/<path:anything>")
    redirects = service.module("session.redirects")
    user = service.user()
    for target in ("/account", "/items?page=2", "/account#sessions", "/a/%2e%2e/b", "/search?q=https://evil.example"):
        visitor = service.client(user)
        visitor.get("/login", query={"next": target})
        works(visitor.content().get("next") == target, f"{target} is kept for after the login")
    for target in HOSTILE:
        visitor = service.client()
        visitor.get("/login", query={"next": target})
        kept = visitor.content().get("next", "/account")
        harm(lands_on(kept) != ORIGIN, f"a link to /login?next={target!r} leads to {kept!r} after the login")
        with service.app.test_request_context("/login", base_url=ORIGIN):
            taken = redirects.safe_next(target, DEFAULT)
        harm(lands_on(taken) != ORIGIN, f"{target!r} is taken for an address of this service")
        assert (kept, taken) == ("/account", DEFAULT), target
