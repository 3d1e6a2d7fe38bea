"""Cross-site requests change and read nothing, although their session, CSRF token and Referer are valid.

The cookie or token, the CSRF token and the Referer are right in each attack: only where it began is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import edit, harm, insert, protects, refused, works
from .test_headers import made, visitor
from .wire import ORIGIN

if TYPE_CHECKING:
    from .running import Service
    from .wire import Response


ROW = "csrf-cross-site-blocked"
LAYER = insert("request/cross_site.py", after='    site = request.headers.get("Sec-Fetch-Site")\n', new="    return\n")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


@protects(ROW, layer=LAYER)
def test_a_request_that_another_site_began_changes_nothing(service: Service) -> None:
    seen = service.adds_route("/probe", methods=UNSAFE)
    victim = service.client(service.user()).login()
    own = {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN, "Referer": f"{ORIGIN}/page"}
    for method in UNSAFE:
        works(victim.send(method, "/probe", headers=own).status == 200, f"{method} from this service's page passes")
    seen.clear()
    for method in UNSAFE:
        for site in ("cross-site", "same-site", ""):
            # Even an Origin that is right does not make up for what the browser says about the site.
            answer = victim.send(method, "/probe", headers={**own, "Sec-Fetch-Site": site})
            harm(seen, f"a {method} request from a {site} page ran the view")
            refused(answer, 403, ROW)


# --- other origins ---------------------------------------------------------------------------------------------------


CORS_ROW = "cors-exact-origin"


def opened(answer: Response) -> list[tuple[str, str]]:
    """What an answer allows scripts of other origins."""
    return [header for header in answer.headers if header[0].lower().startswith("access-control-")]


@protects(CORS_ROW, view=edit("edge/headers.py", " or name.startswith(PREFIX)", ""))
def test_no_answer_is_open_to_other_origins_unless_they_are_named(service: Service) -> None:
    def careless() -> Any:
        from flask import Response

        everybody = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}
        return Response("{}", mimetype="application/json", headers=everybody)

    service.at_least(requests_per_minute_and_session=120)
    service.adds_route("/careless", mark="public", view=careless)
    client = visitor(service)
    works(client.get("/careless").json == {}, "a client of this origin reads the answer")
    answers = made(service, client)
    for origin in (ORIGIN, "https://evil.example", "null"):
        for path in ("/careless", "/kind/shared", "/missing", "/healthz"):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answers[f"{path} {origin}"] = client.get(path, headers={"Origin": origin})
            answers[f"preflight {path} {origin}"] = client.send("OPTIONS", path, headers=asked)
    harm({name: found for name, one in answers.items() if (found := opened(one))}, "another origin may read an answer")
    assert {one.status for name, one in answers.items() if name.startswith("preflight")} <= {403, 404, 405}
