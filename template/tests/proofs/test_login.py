"""Proofs of identity/login.py: a login that fails tells nobody which accounts exist, neither by words nor by work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import edit, harm, protects, refused, works
from .logins import PATH, SIGNED_IN, HashSpy, attempt, causes, cheap_user, seen_by_client, sessions_of
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service
    from .wire import Response


REFUSAL = "        refuse_uniformly()\n    attempt"  # of a failed login
VERIFY = "state().passwords.verify(password, row.password_hash if row is not None else None, attempt.rank)"


def refusing(status: str) -> str:
    """As REFUSAL, with another status."""
    return f"        refuse({status}, 'login-uniform-failure')\n    attempt"


@protects(
    "login-uniform-failure",
    unknown=edit("identity/login.py", REFUSAL, refusing("401 if row else 404")),
    disabled=edit("identity/login.py", REFUSAL, refusing("403 if row and not row.active else 401")),
)
def test_no_answer_to_a_failed_login_tells_whether_there_is_an_account(service: Service) -> None:
    user = cheap_user(service)
    HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    answers = {}
    for cause, (identifier, password) in causes(service, cheap=True).items():
        answers[cause] = attempt(service.client(), identifier, password), identifier
    views = {cause: seen_by_client(*answer) for cause, answer in answers.items()}
    harm([cause for cause, view in views.items() if view != views["wrong password"]], "an answer tells its cause")
    assert len(views) == 5
    for answer, _ in answers.values():
        refused(answer, 401, "login-uniform-failure")
    reasons = [event["reason"] for event in service.log if event["event"] == "login.failure"]
    assert reasons == ["password", "unknown", "disabled", "password", "unknown"]  # whoever runs the service learns it


class Work:
    """What an attempt costs: the parameters of each hash that is compared, and the statements sent to the database."""

    def __init__(self, service: Service) -> None:
        from sqlalchemy import event

        self.service = service
        self.spy = HashSpy(service, quick=True)
        self.statements = 0
        with service.app.app_context():
            event.listen(service.module("database").db.engine, "before_cursor_execute", self._count)

    def _count(self, *_arguments: object) -> None:
        self.statements += 1

    def of(self, identifier: str, password: str) -> tuple[Response, list[str], int]:
        client = self.service.client()
        client.honest("POST", {}, None, None, None)  # the login page is open: only the attempt is counted
        self.spy.compared.clear()
        self.statements = 0
        answer = attempt(client, identifier, password)
        return answer, ["$".join(text.split("$")[:4]) for text in self.spy.compared], self.statements


@protects(
    "login-same-work",
    unknown=edit(
        "identity/login.py",
        VERIFY,
        "row is not None and state().passwords.verify(password, row.password_hash, attempt.rank)",
    ),
    disabled=edit("identity/login.py", VERIFY, f"(row is None or row.active) and {VERIFY}"),
    passkey=edit("identity/login.py", VERIFY, f"(row is None or row.password_hash is not None) and {VERIFY}"),
    trace=edit("audit.py", 'if row["bucket"] is None and row["outcome"] == SUCCESS:', 'if row["bucket"] is None:'),
)
def test_no_failed_login_takes_less_work_than_another(service: Service) -> None:
    work, user = Work(service), service.user()
    one = ["$argon2id$v=19$m=65536,t=3,p=4"]
    answer, hashes, _ = work.of(user.email, user.password)
    works(answer.status == SIGNED_IN, "the right password signs in")
    works(hashes == one, "and is compared once")
    done = {cause: work.of(*sent) for cause, sent in causes(service, cheap=False).items() if cause != "deleted"}
    harm([cause for cause, (_, hashes, _) in done.items() if hashes != one], "an attempt costs another amount of work")
    assert len(done) == 4
    harm(len({statements for _, _, statements in done.values()}) > 1, "an attempt asks the database more often")
    assert min(statements for _, _, statements in done.values()) >= 3  # counter, account, audit
    for answer, _, _ in done.values():
        refused(answer, 401, "login-uniform-failure")


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
    canary = "canary-9f1c correct horse battery"
    user = service.user(password=canary)
    works(attempt(service.client(), user.email, canary).status == SIGNED_IN, "in the body the password signs in")
    before, client = sessions_of(service, user), service.client()
    sent = {"identifier": user.email, "password": canary}
    shown, posted = client.get(PATH, query=sent), client.post(PATH, {}, query=sent)
    harm(sessions_of(service, user) - before, "a password in an address signed in")
    assert (shown.status, posted.status) == {"session": (200, 422), "jwt": (405, 400)}[AUTH]
    assert canary.split()[0] not in service.output
    assert canary.split()[0] not in shown.text + posted.text
