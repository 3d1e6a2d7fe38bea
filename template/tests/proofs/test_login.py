"""Proofs of login and logout: a failed login does not reveal if an account exists, and a link signs no user out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, refused, works
from .logins import PATH, SIGNED_IN, HashSpy, attempt, causes, seen_by_client, sessions_of
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service, User


REFUSAL = "        attempts.refuse_uniformly()\n    attempt"  # of a failed login
VERIFY = "state().passwords.verify(password, row.password_hash if row is not None else None, attempt.rank)"


def refusing(status: str) -> str:
    """As REFUSAL, with another status."""
    return f"        refuse({status}, 'login-uniform-failure')\n    attempt"


@protects(
    "login-uniform-failure",
    unknown=edit("identity/login.py", REFUSAL, refusing("401 if row else 404")),
    disabled=edit("identity/login.py", REFUSAL, refusing("403 if row and not row.active else 401")),
)
@protects(
    "login-same-work",
    unknown=edit(
        "identity/attempts.py",
        VERIFY,
        "row is not None and state().passwords.verify(password, row.password_hash, attempt.rank)",
    ),
    disabled=edit("identity/attempts.py", VERIFY, f"(row is None or row.active) and {VERIFY}"),
    passkey=edit("identity/attempts.py", VERIFY, f"(row is None or row.password_hash is not None) and {VERIFY}"),
)
def test_neither_answer_nor_work_of_a_failed_login_tells_whether_there_is_an_account(service: Service) -> None:
    user, spy = service.user(), HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password is accepted")
    works(len(spy.compared) == 1, "the login compares the password once")
    views = {}
    for cause, (identifier, password) in causes(service, cheap=True).items():
        spy.compared.clear()
        answer = attempt(service.client(), identifier, password)
        harm(len(spy.compared) != 1, f"a failed login takes a different amount of work: {cause}")
        views[cause] = seen_by_client(answer, identifier)
        harm(views[cause] != views["wrong password"], f"a failed login reveals its cause: {cause}")
        refused(answer, 401, "login-uniform-failure")
    assert len(views) == 5


# --- login-credentials-in-body-only ---------------------------------------------------------------------------------

VALUES = {
    "session": (edit("session/pages.py", "    form = LoginForm()\n", "    form = LoginForm(request.values)\n"),),
    "jwt": (
        edit(
            "jwt/api.py", "        elif request.query_string:  # nothing was declared", "        elif False:  # nothing"
        ),
        edit(
            "jwt/api.py",
            "    data = request.get_data()\n",
            "    import json\n\n    sent = {**request.args.to_dict(), **json.loads(request.get_data())}\n"
            "    data = json.dumps(sent).encode()\n",
        ),
    ),
}[AUTH]


@protects("login-credentials-in-body-only", values=VALUES)
def test_a_password_in_an_address_signs_nobody_in(service: Service) -> None:
    user, client = service.user(), service.client()
    works(attempt(client, user.email, user.password).status == SIGNED_IN, "a password in the body is accepted")
    before, sent = sessions_of(service, user), {"identifier": user.email, "password": user.password}
    shown, posted = client.get(PATH, query=sent), client.post(PATH, {}, query=sent)
    harm(sessions_of(service, user) - before, "a password in a query string opened a session")
    assert (shown.status, posted.status) == {"session": (200, 422), "jwt": (405, 400)}[AUTH]
    assert user.password not in service.output + shown.text + posted.text


# --- signing out ------------------------------------------------------------------------------------------------------

ROW = "logout-post-and-clears"
LOGOUT_PATH = {"session": "/logout", "jwt": "/auth/logout"}[AUTH]
FILE = {"session": "session/pages.py", "jwt": "jwt/endpoints.py"}[AUTH]
DONE = {"session": 303, "jwt": 204}[AUTH]
GET = edit(FILE, f'@blueprint.post("{LOGOUT_PATH}")\n', f'@blueprint.route("{LOGOUT_PATH}", methods=["GET", "POST"])\n')
# What another site, or a mail, can make a browser open: as a link, where request/cross_site.py has nothing against it.
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Referer": None}


def live(service: Service, user: User) -> int:
    """How many sessions of this user have not ended."""
    statement = (
        "SELECT count(*) FROM auth_session JOIN auth_user ON auth_user.id = auth_session.user_id"
        " WHERE auth_user.email = :email AND auth_session.revoked_at IS NULL"
    )
    return int(service.rows(statement, email=user.email)[0][0])


@protects(ROW, get=GET)
def test_no_link_or_image_signs_anybody_out(service: Service) -> None:
    service.at_least(sessions_per_account=2)
    user = service.user()
    browser, other = service.client(user).login(), service.client(user).login()
    works(other.post(LOGOUT_PATH).status == DONE, "a user signs out")
    works(live(service, user) == 1, "signing out ends only that session")
    headers: dict[str, Any] = LINK if AUTH == "session" else {}
    answers = [browser.get(LOGOUT_PATH, headers=headers), browser.get(f"{LOGOUT_PATH}?csrf_token=1", headers=headers)]
    harm(live(service, user) != 1, "a GET request signed the user out")
    assert [answer.status for answer in answers] == [405, 405]
    assert answers[0].header("Allow") == "POST"
