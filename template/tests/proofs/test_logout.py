"""Signing out: no address that a page can be made to open does it, and what it leaves behind is worth nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import Edit, edit, harm, protects, works
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service, User


ROW = "logout-post-and-clears"
PATH = {"session": "/logout", "jwt": "/auth/logout"}[AUTH]
FILE = {"session": "session/pages.py", "jwt": "jwt/endpoints.py"}[AUTH]
DONE = {"session": 303, "jwt": 204}[AUTH]
GET = edit(FILE, f'@blueprint.post("{PATH}")\n', f'@blueprint.route("{PATH}", methods=["GET", "POST"])\n')
# What another site, or a mail, can make a browser open: as a link, where cross_site.py has nothing against it.
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Referer": None}
FAMILY: dict[str, Edit] = {}
if AUTH == "jwt":
    FAMILY["jwt"] = edit(
        "jwt/refresh.py",
        "    return connection.execute(ended).rowcount == 1\n",
        "    return ended is not None\n",
    )


def live(service: Service, user: User) -> int:
    """How many sessions of this user have not ended."""
    statement = (
        "SELECT count(*) FROM auth_session JOIN auth_user ON auth_user.id = auth_session.user_id"
        " WHERE auth_user.email = :email AND auth_session.revoked_at IS NULL"
    )
    return int(service.rows(statement, email=user.email)[0][0])


@protects(ROW, get=GET)
def test_no_link_or_image_signs_anybody_out(service: Service) -> None:
    user = service.user()
    browser, other = service.client(user).login(), service.client(user).login()
    works(other.post(PATH).status == DONE, "a user signs out")
    works(live(service, user) == 1, "that session has ended, and no other")
    headers: dict[str, Any] = LINK if AUTH == "session" else {}
    answers = [browser.get(PATH, headers=headers), browser.get(f"{PATH}?csrf_token=1", headers=headers)]
    harm(live(service, user) != 1, "a mere link signed the user out")
    assert [answer.status for answer in answers] == [405, 405]
    assert answers[0].header("Allow") == "POST"
