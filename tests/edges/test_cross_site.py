"""Edges of the proofs in test_cross_site.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, insert, protects, refused, works
from ..routes import routes
from ..service import AUTH
from ..test_cross_site import LAYER, ROW, UNSAFE
from ..wire import ORIGIN

if TYPE_CHECKING:
    from ..running import Service


# What a browser of before 2020 sends: no Fetch Metadata.
OLD = {"Sec-Fetch-Site": None, "Sec-Fetch-Mode": None, "Sec-Fetch-Dest": None}


@protects(
    ROW,
    origin=edit("request/cross_site.py", "origin is not None and origin == expected_origin()", "origin is not None"),
)
def test_an_old_browser_is_believed_only_with_the_own_origin(service: Service) -> None:
    seen = service.adds_route("/probe", methods=UNSAFE)
    victim = service.client(service.user()).login()
    for method in UNSAFE:
        works(victim.send(method, "/probe", headers={**OLD, "Origin": ORIGIN}).status == 200, f"{method} passes")
    works(seen == [*UNSAFE], "the view ran for each")
    seen.clear()
    for method in UNSAFE:
        for origin in FOREIGN:
            headers = {**OLD, "Origin": origin, "Referer": f"{ORIGIN}/page"}
            answer = victim.send(method, "/probe", headers=headers)
            harm(seen, f"a {method} request with the Origin {origin!r} ran the view")
            refused(answer, 403, ROW)


@protects(
    ROW,
    null=insert(
        "request/cross_site.py",
        after='    origin = request.headers.get("Origin")\n',
        new='    if origin == "null":\n        origin = None\n',
    ),
)
def test_origin_null_of_a_sandboxed_frame_is_refused(service: Service) -> None:
    seen = service.adds_route("/probe", methods=UNSAFE)
    victim = service.client(service.user()).login()
    without = {"Sec-Fetch-Site": "none", "Origin": None}
    works(victim.post("/probe", headers=without).status == 200, "a request without Origin that no page began passes")
    works(seen == ["POST"], "the view ran for that request")
    seen.clear()
    for site in ("none", None):
        answer = victim.post("/probe", headers={**OLD, "Sec-Fetch-Site": site, "Origin": "null"})
        harm(seen, f"Origin: null with Sec-Fetch-Site {site} ran the view")
        refused(answer, 403, ROW)


# What a page on another site can do with an address of this service, beside a link to it.
EMBEDDINGS = [
    ("GET", "no-cors", "script"),
    ("GET", "no-cors", "image"),
    ("GET", "no-cors", "style"),
    ("GET", "no-cors", "video"),
    ("GET", "no-cors", "empty"),
    ("GET", "cors", "empty"),
    ("GET", "cors", "script"),
    ("GET", "navigate", "iframe"),
    ("GET", "navigate", "frame"),
    ("GET", "navigate", "embed"),
    ("GET", "navigate", "object"),
    ("GET", "same-origin", "document"),
    ("GET", "websocket", "websocket"),
    ("GET", None, None),
    ("HEAD", "no-cors", "empty"),
    ("HEAD", "navigate", "document"),
    ("OPTIONS", "cors", "empty"),
]


@protects(
    ROW,
    embed=edit(
        "request/cross_site.py",
        '            and request.headers.get("Sec-Fetch-Mode") == "navigate"\n'
        '            and request.headers.get("Sec-Fetch-Dest") == "document"\n',
        "",
    ),
)
def test_another_site_can_link_to_a_page_but_not_embed_it(service: Service) -> None:
    canary = "what only this user may read"
    seen = service.adds_route("/probe", methods=("GET", "HEAD", "OPTIONS"), view=lambda: canary)
    victim = service.client(service.user()).login()
    for site in ("cross-site", "same-site", "same-origin", "none"):
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        works(victim.get("/probe", headers=link).text == canary, f"a {site} link opens the page")
    works(victim.get("/probe", headers=OLD).text == canary, "an old browser opens the page")
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    works(victim.get("/probe", headers=own).text == canary, "a script of this service reads the page")
    of_the_browser = {**own, "Sec-Fetch-Site": "none"}
    works(victim.get("/probe", headers=of_the_browser).text == canary, "the browser's own fetch reads the page")
    works(len(seen) == 7, "the view ran for each request")
    seen.clear()
    for site in ("cross-site", "same-site"):
        for method, mode, destination in EMBEDDINGS:
            how = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
            answer = victim.send(method, "/probe", headers=how)
            harm(canary in answer.text, f"a {site} page read the user's page: {method} {mode} {destination}")
            harm(seen, f"a {site} page ran the view: {method} {mode} {destination}")
            refused(answer, 403, ROW)


@protects(ROW, layer=LAYER)
def test_only_shareable_answers_are_readable_cross_site(service: Service) -> None:
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    seen = service.adds_route("/probe", mark="public")
    reader = service.client()
    shareable = service.module("edge").SHAREABLE
    shared = [one for one in routes(service) if one.endpoint in shareable and one.method == "GET"]
    assert AUTH == "session" or "/.well-known/jwks.json" in {one.path for one in shared}
    for one in shared:
        answer = reader.get(one.path, headers=embedded)
        works(answer.status == 200, f"{one} can be read from every origin")
        works(answer.header("Cross-Origin-Resource-Policy") == "cross-origin", f"{one} allows cross-origin embedding")
    works(reader.get("/probe").status == 200, "a client reads the public page")
    seen.clear()
    answer = reader.get("/probe", headers=embedded)
    harm(seen, "another site embedded a public page that is not shareable")
    refused(answer, 403, ROW)
    assert answer.header("Cross-Origin-Resource-Policy") == "same-origin"


@protects(
    ROW,
    absent=edit(
        "request/cross_site.py",
        "    if site is None and origin is None and accept_without_origin:\n",
        "    if origin is None:\n",
    ),
)
def test_request_without_origin_is_refused_where_cookies_sign_in(service: Service) -> None:
    seen = service.adds_route("/probe", methods=UNSAFE)
    client = service.client(service.user()).login()
    works(client.post("/probe", headers={"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}).status == 200, "it passes")
    seen.clear()
    silent = client.post("/probe", headers={**OLD, "Origin": None, "Referer": f"{ORIGIN}/page"})
    if AUTH == "jwt":
        works(silent.status == 200, "a program that sends neither header passes")
        works(seen == ["POST"], "the view ran for the program")
        seen.clear()
        silent = client.post("/probe", headers={**OLD, "Sec-Fetch-Site": "cross-site", "Origin": None})
    harm(seen, "a POST request without its origin ran the view")
    refused(silent, 403, ROW)


FOREIGN = (
    "https://evil.example",
    "null",
    "",
    "http://app.example",
    "https://app.example:8443",
    "https://app.example.evil.com",
    "https://app.example.",
    "https://evil-app.example",
    "https://sub.app.example",
    "https://app.example/",
    "https://app.example, https://evil.example",
    "app.example",
)


@protects(ROW, layer=LAYER)
def test_no_site_of_any_spelling_changes_anything_by_any_method(service: Service) -> None:
    seen = service.adds_route("/probe", methods=UNSAFE)
    victim = service.client(service.user()).login()
    own = {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN, "Referer": f"{ORIGIN}/page"}
    for method in UNSAFE:
        works(victim.send(method, "/probe", headers=own).status == 200, f"{method} from this service's page passes")
    works(seen == [*UNSAFE], "the view ran for each method")
    typed = victim.post("/probe", headers={"Sec-Fetch-Site": "none", "Origin": None})
    works(typed.status == 200, "a request that the browser itself began passes")
    seen.clear()
    for method in UNSAFE:
        for site in ("cross-site", "same-site", "none", "", "SAME-ORIGIN", "same-origin, cross-site", "unknown"):
            # Even an Origin that is right does not make up for what the browser says about the site.
            answer = victim.send(method, "/probe", headers={**own, "Sec-Fetch-Site": site})
            harm(seen, f"a {method} request from a {site} page ran the view")
            refused(answer, 403, ROW)
    other_origin = victim.post("/probe", headers={**own, "Sec-Fetch-Site": "cross-site", "Origin": FOREIGN[0]})
    harm(seen, "a form of another site was accepted")
    refused(other_origin, 403, ROW)
