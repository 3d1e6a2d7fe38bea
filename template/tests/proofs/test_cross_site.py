"""A request that another site began changes nothing and shows nothing, though it carries everything else.

The cookie or token, the CSRF token and the Referer are right in each attack: only where it began is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import harm, insert, protects, refused, works
from .wire import ORIGIN

if TYPE_CHECKING:
    from .running import Service


ROW = "csrf-cross-site-blocked"
LAYER = insert("cross_site.py", after='    site = request.headers.get("Sec-Fetch-Site")\n', new="    return\n")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


@protects(ROW, layer=LAYER)
def test_a_request_that_another_site_began_changes_nothing(service: Service) -> None:
    seen = service.adds_route("/probe", methods=UNSAFE)
    victim = service.client(service.user()).login()
    own = {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN, "Referer": f"{ORIGIN}/page"}
    for method in UNSAFE:
        works(victim.send(method, "/probe", headers=own).status == 200, f"{method} from a page of this service")
    seen.clear()
    for method in UNSAFE:
        for site in ("cross-site", "same-site", ""):
            # Even an Origin that is right does not make up for what the browser says about the site.
            answer = victim.send(method, "/probe", headers={**own, "Sec-Fetch-Site": site})
            harm(seen, f"a {method} that a {site} page began ran")
            refused(answer, 403, ROW)
