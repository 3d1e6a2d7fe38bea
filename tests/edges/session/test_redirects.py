"""Edges of the proofs in test_redirects.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from hypothesis import Phase, example, given, settings, strategies

from ...harness import edit, harm, insert, protects, works
from ...session.test_redirects import ROW
from ...wire import ORIGIN

if TYPE_CHECKING:
    from ...running import Service


DROPPED = {ord(c): None for c in "\t\n\r"}


DEFAULT = "/the-default"
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


PHASES = (Phase.explicit, Phase.generate)  # without shrinking: what was found is told as it is
# Paths of this service: the host is right, but no page is there that a visitor could want after signing in.
NO_PAGE = (
    "/%09/evil.example",
    "/%5cevil.example",
    "/%2f%2fevil.example",
    "/%0d%0aSet-Cookie:x=1",
    "/nowhere",
    "/login",
    "/login?next=https://evil.example",
    "/login/passkey",
    "/login/factor",
    "/logout",
    "/reauth",
    "/csp-report",
    "/account/",
    "/account//evil.example",
    "/account//name",
    "/./account",
)


@protects(
    ROW,
    backslash=edit("session/redirects.py", '    if "\\\\" in target:\n        return default\n', ""),
)
def test_a_backslash_is_not_taken_for_a_letter_where_a_browser_takes_it_for_a_slash(service: Service) -> None:
    service.adds_route("/<path:anything>")
    redirects = service.module("session.redirects")
    with service.app.test_request_context("/login", base_url=ORIGIN):
        works(redirects.safe_next("/any/page", DEFAULT) == "/any/page", "a path is taken")
        taken = {one: redirects.safe_next(one, DEFAULT) for one in HOSTILE if "\\" in one}
    assert len(taken) >= 5
    outside = [one for one, target in taken.items() if lands_on(target) != ORIGIN]
    harm(outside, f"a browser would leave this service for {outside}")
    assert set(taken.values()) == {DEFAULT}


@protects(
    ROW,
    page=edit(
        "session/redirects.py",
        '    return target if "@" not in path and _is_page(path) else default\n',
        "    return target\n",
    ),
)
def test_only_an_address_that_has_a_page_is_kept(service: Service) -> None:
    service.adds_route("/posted", methods=("POST",))
    redirects = service.module("session.redirects")
    with service.app.test_request_context("/login", base_url=ORIGIN):
        works(redirects.safe_next("/account", DEFAULT) == "/account", "a page is taken")
        taken = {target: redirects.safe_next(target, DEFAULT) for target in (*HOSTILE, *NO_PAGE, "/posted", "", None)}
        above = [redirects.page_of_action(path) for path in ("/account/factors/totp/confirm", "/account", "/x/y")]
    kept = {target: found for target, found in taken.items() if found != DEFAULT}
    harm(kept, f"addresses without a page are taken: {[*kept]}")
    assert above == ["/account/factors/totp", "/account", None]  # the page of a form that was posted


@protects(
    ROW,
    again=edit("session/pages.py", "safe_next(session.pop(NEXT, None), start_page())", "session.pop(NEXT, None)"),
)
def test_an_address_that_got_into_the_cookie_is_looked_at_once_more(service: Service) -> None:
    user = service.user()
    credentials = {"identifier": user.email, "password": user.password}
    honest = service.client(user)
    honest.get("/login", query={"next": "/account"})
    works(honest.post("/login", credentials).location == "/account", "the visitor lands where he wanted to go")
    works("next" not in honest.content(), "the address is used once")
    with service.app.test_request_context("/", base_url=ORIGIN):
        start = service.module("session.pages").start_page()
    # What a former version, or somebody who has the key, has put there.
    for target in ("https://evil.example/login", "//evil.example"):
        visitor = service.client(user)
        visitor.csrf_token()
        visitor.forge(**visitor.content(), next=target)
        answer = visitor.post("/login", {**credentials, "next": "https://evil.example"})
        assert answer.status == 303
        harm(lands_on(answer.location or "") != ORIGIN, f"the login leads to {answer.location}")
        assert answer.location == start


@protects(
    ROW,
    check=insert(
        "session/redirects.py",
        after='can be opened with GET, otherwise `default`."""\n',
        new="    return target or default\n",
    ),
)
def test_no_redirect_of_this_service_names_another_host(service: Service) -> None:
    service.adds_route("/deep/page")
    service.adds_route("/folder/")
    visitor = service.client()
    closed = visitor.get("/deep/page?x=1&next=https://evil.example")
    works(closed.location == "/login?next=/deep/page?x%3D1%26next%3Dhttps://evil.example", "the page comes along")
    visitor.get(str(closed.location))
    works(visitor.content()["next"] == "/deep/page?x=1&next=https://evil.example", "and is kept as it is")
    paths = ["//evil.example/%2e%2e", "//evil.example/folder", "/folder", "//folder", "/\\evil.example", "/"]
    paths += ["//evil.example/deep/page", "/deep//page", "/deep/page?next=//evil.example", "/folder?//evil.example"]
    for path in paths:
        answer = visitor.get(path, headers={"X-Forwarded-Host": "evil.example", "Referer": "https://evil.example/"})
        harm(answer.location and lands_on(answer.location) != ORIGIN, f"{path} leads to {answer.location}")
    for name in ("next", "url", "continue", "return_to", "redirect"):
        for path in ("/login", "/", "/deep/page"):
            fresh = service.client()
            answer = fresh.get(path, query={name: "https://evil.example"})
            harm(answer.location and lands_on(answer.location) != ORIGIN, f"{path}?{name} leads to {answer.location}")
            harm(lands_on(fresh.content().get("next", "/")) != ORIGIN, f"{path}?{name} is kept for after the login")


PIECES = (
    "/",
    "//",
    "\\",
    "account",
    "evil.example",
    "https:",
    "javascript:",
    "@",
    "?",
    "#",
    "%2f",
    "%5c",
    "\t",
    "\n",
    ":",
)


@protects(
    ROW,
    backslash=edit("session/redirects.py", '    if "\\\\" in target:\n        return default\n', ""),
)
def test_no_address_that_anybody_thinks_of_leads_away(service: Service) -> None:
    service.adds_route("/<path:anything>")
    redirects = service.module("session.redirects")
    texts = strategies.lists(strategies.sampled_from(PIECES) | strategies.text(max_size=5), max_size=8).map("".join)
    with service.app.test_request_context("/login", base_url=ORIGIN):
        works(redirects.safe_next("/any/page", DEFAULT) == "/any/page", "a path is taken")

        @settings(max_examples=150, derandomize=True, database=None, deadline=None, phases=PHASES)
        @example("/\\evil.example")
        @given(texts)
        def leads_nowhere_else(target: str) -> None:
            taken = redirects.safe_next(target, DEFAULT)
            harm(lands_on(taken) != ORIGIN, f"{target!r} is taken for an address of this service")
            assert taken in (target, DEFAULT)

        leads_nowhere_else()


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
