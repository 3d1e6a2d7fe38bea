"""Edges of the proofs in test_login.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import test_login as core
from ..harness import Edit, edit, harm, protects, refused, works
from ..logins import (
    SIGNED_IN,
    WRONG,
    HashSpy,
    attempt,
    causes,
    cheap_user,
    device_of,
    seen_by_client,
    sessions_of,
)
from ..service import AUTH
from ..test_login import DONE, LOGOUT_PATH, REFUSAL, ROW, refusing
from .core import sabotages

if TYPE_CHECKING:
    import pytest

    from ..running import Service, User
    from ..wire import Response


class Work:
    """Record the cost of an attempt: the parameters of each compared hash, and the SQL statements."""

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
    "login-uniform-failure",
    under_way=edit(
        "identity/sessions.py", '== values["user_id"], USERS.active, *further)', '== values["user_id"], *further)'
    ),
)
def test_disabling_an_account_stops_a_login_in_progress(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    other, victim = cheap_user(service), cheap_user(service)
    spy, users = HashSpy(service), service.module("identity.users")
    disabled: list[str] = []

    def verify(target: str, password: bytes) -> bool:
        matched = HashSpy.verify(spy, target, password)
        if disabled:
            users.set_active(users.find(disabled.pop()), False)
        return matched

    monkeypatch.setattr(spy, "verify", verify)
    works(attempt(service.client(), other.email, other.password).status == SIGNED_IN, "the right password signs in")
    disabled.append(victim.email)
    answer = attempt(service.client(), victim.email, victim.password)
    works(disabled == [], "the account was disabled after its password was compared")
    harm(sessions_of(service, victim), "a session of a disabled account was opened, live once the account is enabled")
    plain = attempt(service.client(), other.email, WRONG)
    assert seen_by_client(answer, victim.email) == seen_by_client(plain, other.email)
    refused(answer, 401, "login-uniform-failure")
    assert [event["reason"] for event in service.log if event["event"] == "login.failure"] == ["disabled", "password"]


@protects("login-same-work", dummy=edit("identity/passwords.py", "return usable", "return True"))
def test_the_dummy_hash_lets_nobody_in(service: Service) -> None:
    from argon2 import PasswordHasher, Type

    user = cheap_user(service)
    passwords = service.module("state").state_of(service.app).passwords
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    # As if the attacker had found a password that the dummy's random tag belongs to.
    passwords._dummy = PasswordHasher(1, 8, 1, type=Type.ID).hash(WRONG.encode())
    victim: User = service.user(password=None)
    answer = attempt(service.client(), victim.email, WRONG)
    harm(sessions_of(service, victim), "the dummy password opened an account without a password")
    refused(answer, 401, "login-uniform-failure")


# --- login-credentials-in-body-only ---------------------------------------------------------------------------------


@protects(
    "throttle-no-lockout-abuse",
    others=edit(
        "identity/devices.py",
        ".where(DEVICES.user_id == user_id).order_by(DEV",
        ".where(DEVICES.user_id != user_id).order_by(DEV",
    ),
)
def test_each_account_remembers_its_own_last_ten_devices(service: Service) -> None:
    owner, other, stranger = (cheap_user(service) for _ in range(3))

    def known(user: User) -> int:
        table = service.module("identity.models").Device.__table__
        with service.engine.connect() as connection:
            return len(connection.execute(table.select().where(table.c.user_id == user.id)).all())

    def signs_in(user: User, device: str | None = None) -> str:
        answer = attempt(service.client(address="198.51.100.7"), user.email, user.password, device)
        assert answer.status == SIGNED_IN
        return device_of(answer)

    devices = [signs_in(owner) for _ in range(10)]
    for _ in range(10):
        signs_in(other)
    works((known(owner), known(other)) == (10, 10), "each account remembers ten devices")
    signs_in(stranger)
    harm((known(owner), known(other)) != (10, 10), "a stranger's login removed other users' devices")
    signs_in(owner)
    assert (known(owner), known(other), known(stranger)) == (10, 10, 1)
    assert signs_in(owner, devices[1]) == devices[1]
    assert signs_in(owner, devices[0]) != devices[0]  # the one that was used longest ago is a new one again


@protects(
    "login-uniform-failure",
    unknown=edit("identity/login.py", REFUSAL, refusing("401 if row else 404")),
    disabled=edit("identity/login.py", REFUSAL, refusing("403 if row and not row.active else 401")),
)
def test_failed_logins_do_not_reveal_whether_an_account_exists(service: Service) -> None:
    user = cheap_user(service)
    HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    answers = {}
    for cause, (identifier, password) in causes(service, cheap=True).items():
        answers[cause] = attempt(service.client(), identifier, password), identifier
    views = {cause: seen_by_client(*answer) for cause, answer in answers.items()}
    harm([cause for cause, view in views.items() if view != views["wrong password"]], "an answer reveals the cause")
    assert len(views) == 5
    for answer, _ in answers.values():
        refused(answer, 401, "login-uniform-failure")
    reasons = [event["reason"] for event in service.log if event["event"] == "login.failure"]
    assert reasons == ["password", "unknown", "disabled", "password", "unknown"]  # the operator learns the reason


@protects(
    "login-same-work",
    **sabotages(
        core.test_neither_answer_nor_work_of_a_failed_login_tells_whether_there_is_an_account,
        "login-same-work",
        "unknown",
        "disabled",
        "passkey",
    ),
    trace=edit(
        "audit/__init__.py", 'if row["bucket"] is None and row["outcome"] == SUCCESS:', 'if row["bucket"] is None:'
    ),
)
def test_no_failed_login_takes_less_work_than_another(service: Service) -> None:
    work, user = Work(service), service.user()
    one = ["$argon2id$v=19$m=65536,t=3,p=4"]
    answer, hashes, _ = work.of(user.email, user.password)
    works(answer.status == SIGNED_IN, "the right password signs in")
    works(hashes == one, "the login compares the password once")
    done = {cause: work.of(*sent) for cause, sent in causes(service, cheap=False).items() if cause != "deleted"}
    harm([cause for cause, (_, hashes, _) in done.items() if hashes != one], "an attempt takes different work")
    assert len(done) == 4
    harm(len({statements for _, _, statements in done.values()}) > 1, "an attempt sends more SQL statements")
    assert min(statements for _, _, statements in done.values()) >= 3  # counter, account, audit
    for answer, _, _ in done.values():
        refused(answer, 401, "login-uniform-failure")


# --- signing out ------------------------------------------------------------------------------------------------------

CLOSED = {"session": 303, "jwt": 401}[AUTH]


FAMILY: dict[str, Edit] = {}
if AUTH == "jwt":
    FAMILY["jwt"] = edit(
        "jwt/refresh.py",
        "    return connection.execute(ended).rowcount == 1\n",
        "    return ended is not None\n",
    )


@protects(ROW, **FAMILY)
def test_nothing_of_the_login_opens_anything_after_the_logout(service: Service) -> None:
    seen = service.adds_route("/probe")
    user = service.user()
    client, kept = service.client(user).login(through_form=True), service.client(user).login()
    thief = client.copy()
    works(thief.get("/probe").status == 200, "before the logout, a copied credential opens the page")
    seen.clear()
    out = client.post(LOGOUT_PATH)
    works(out.status == DONE, "the user signs out")
    answer = thief.get("/probe")
    harm(seen, "after the logout, a copied credential opened the page")
    assert answer.status == CLOSED
    assert out.header("Cache-Control") == "no-store"
    assert kept.get("/probe").status == 200  # only this login has ended
