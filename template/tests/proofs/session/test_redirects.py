"""After signing in nobody lands on an address that the author of a link chose outside of this service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from ..harness import harm, insert, protects, works
from ..wire import HOST, ORIGIN

if TYPE_CHECKING:
    from ..running import Service


ROW = "next-same-origin-only"
# What browsers drop from an address before they read it (URL Standard, 4.4: C0 controls and spaces around it, tab and
# line feeds anywhere), and what they read as a slash.


@protects(
    ROW,
    check=insert(
        "session/redirects.py",
        after='can be opened with GET, otherwise `default`."""\n',
        new='    return target if target is not None and target.startswith("/") else default\n',
    ),
)
def test_no_link_to_the_login_page_leads_to_another_origin(service: Service) -> None:
    visitor = service.client()
    visitor.get("/login", query={"next": "/account#sessions"})
    works(
        visitor.content().get("next") == "/account#sessions", "an address of this service is kept for after the login"
    )
    for target in ("//evil.example", "///evil.example", "https://evil.example"):
        visitor = service.client()
        visitor.get("/login", query={"next": target})
        kept = visitor.content().get("next", "/account")
        leads = urlsplit(urljoin(f"{ORIGIN}/login", kept))
        harm(leads.netloc != HOST, f"a link to /login?next={target!r} leads to {kept!r} after the login")
        assert kept == "/account"
