"""Caching: a cache gives no client another user's answer, and no client a poisoned one.

A shared cache, and the browser's own after signing out, keep what they are not told to forget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import Edit, edit, harm, insert, protects, works
from .routes import routes
from .service import AUTH
from .test_headers import made, visitor

if TYPE_CHECKING:
    from .running import Service
    from .wire import BaseClient, Response


ROW = "no-store-by-default"
PUBLIC = "public, max-age=3600"
# The token style sets no cookie at all, on any answer.
COOKIE: dict[str, Edit] = (
    {
        "cookie": edit(
            "edge/headers.py", 'return [header for header in out if header[0].lower() != "set-cookie"]', "return out"
        )
    }
    if AUTH == "session"
    else {}
)
VARY = "Cookie" if AUTH == "session" else "Authorization"


def adds_kept(service: Service) -> None:
    """Views below /kept that say themselves how long others may keep their answers."""
    (service.folder / "kept.txt").write_text("a file in several parts\n")

    def answers(status: int) -> Any:
        from flask import Response

        answer = Response("kept", status, mimetype="text/plain", headers={"Cache-Control": PUBLIC})
        answer.set_cookie("__Host-probe", "canary", secure=True, httponly=True, samesite="Lax", path="/")
        return answer

    def says() -> Any:
        from flask import Response, request

        return Response("own", mimetype="text/plain", headers={"Cache-Control": request.args["cache"]})

    def parts() -> Any:
        from flask import send_file

        return send_file(service.folder / "kept.txt", max_age=3600)

    service.adds_route("/kept/status/<int:status>", mark="public", view=answers)
    service.adds_route("/kept/says", mark="public", view=says)
    service.adds_route("/kept/parts", mark="public", view=parts)


def stored(answers: dict[str, Response]) -> dict[str, list[str]]:
    """The answers that a cache may keep, and what they say."""
    return {
        kind: found for kind, one in answers.items() if (found := one.headers_named("Cache-Control")) != ["no-store"]
    }


@protects(
    ROW,
    path=edit(
        "edge/headers.py",
        'out.append(("Cache-Control", cache or "no-store"))',
        'out.append(("Cache-Control", cache or ("no-store" if "/account" in environ["PATH_INFO"] else "no-cache")))',
    ),
    vary=edit("edge/headers.py", '        out.append(("Vary", vary))\n', ""),
)
def test_no_cache_keeps_an_answer_that_does_not_allow_it(service: Service) -> None:
    adds_kept(service)
    client = visitor(service)
    kept = client.get("/kept/parts")
    works(kept.headers_named("Cache-Control") == [PUBLIC], "a public answer may be cached")
    again = client.get("/kept/parts", headers={"If-None-Match": kept.header("ETag")})
    works((again.status, again.header("Cache-Control")) == (304, PUBLIC), "an unchanged public answer gives 304")

    answers = made(service, client)
    for route in routes(service):
        if route.method == "GET" and not route.access.public:
            answers[str(route)] = client.get(route.path)
    harm(stored(answers), "a cache may store an answer that is not marked public")
    harm(
        {kind: found for kind, one in answers.items() if VARY not in (found := one.header("Vary") or "")},
        "the Vary header does not name the credentials of the request",
    )
    assert {"abort 401", "missing", "raises", "not signed in"} <= answers.keys()


# --- what a shared cache may keep ------------------------------------------------------------------------------

POISON: tuple[dict[str, str], ...] = (
    {"X-Forwarded-Host": "canary.example", "X-Forwarded-Proto": "http", "X-Forwarded-Prefix": "/canary"},
    {"Origin": "https://canary.example", "X-Request-ID": "canary-canary", "User-Agent": "canary"},
    {"Cookie": "__Host-session=canary; other=canary", "Authorization": "Bearer canary"},
)


def cacheable(service: Service, client: BaseClient) -> dict[str, Response]:
    """Every address of the service whose plain answer a shared cache may keep."""
    paths = {route.path for route in routes(service) if route.method == "GET" and route.access.public}
    paths |= {"/static/bastion/bastion.css"} if AUTH == "session" else set()
    answers = {path: client.get(path) for path in paths}
    return {path: one for path, one in answers.items() if "public" in (one.header("Cache-Control") or "")}


def same(one: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = sorted(header for header in one.headers if header[0].lower() not in ("date", "expires"))  # of its second
    return one.status, headers, one.body


@protects(
    "cacheable-answers-constant",
    request_id=insert(
        "edge/headers.py",
        after="            # A shared cache gives this to everybody, so it holds nothing of one request.\n",
        new='            out.append(("X-Request-Id", environ[ID_KEY]))\n',
    ),
    **COOKIE,
)
def test_a_shared_cache_gets_the_same_answer_whoever_asks_and_however(service: Service) -> None:
    adds_kept(service)
    anonymous, signed_in = service.client(), service.client(service.user()).login()
    plain = cacheable(service, anonymous)
    plain["/kept/status/200"] = anonymous.get("/kept/status/200")
    works({one.status for one in plain.values()} == {200}, "the public answers are available")
    own = "/static/bastion/bastion.css" if AUTH == "session" else "/.well-known/jwks.json"
    assert {own, "/kept/parts"} <= plain.keys()
    for path, first in plain.items():
        asked = [anonymous.get(path), signed_in.get(path), *(anonymous.get(path, headers=sent) for sent in POISON)]
        differ = [one for one in asked if "public" in (one.header("Cache-Control") or "") and same(one) != same(first)]
        harm(differ, f"{path} differs by client, and a shared cache gives it to all clients")
        harm(first.set_cookies, f"{path} sets a cookie that a shared cache gives to all clients")
        assert [one for one in asked if "canary" in f"{one.headers}{one.text}"] == []
