"""Edges of the proofs in test_queries.py: further attacks on the same protections."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from ..accounts import administrator
from ..harness import edit, harm, protects, refused, works
from ..logins import seen_by_client
from ..probe_model import TABLE, model
from ..service import AUTH
from ..test_queries import DONE, SECRET
from .steps import session_ids

if TYPE_CHECKING:
    from ..running import Service
    from ..wire import BaseClient, Response


@protects(
    "ownership-404",
    body=edit(
        "request/queries.py",
        "    if row is None:\n",
        "    if row is None and db.session.get(model, ident) is not None:\n"
        '        refuse(403, "ownership-404")\n    if row is None:\n',
    ),
)
def test_answers_do_not_reveal_other_users_objects(service: Service) -> None:
    probe = service.adds_probe()
    owner, other = service.user(), service.client(service.user()).login()
    own = probe.add(other.user, "a thing of his own")
    works(probe.read(other, own).status == 200, "a user reads their own object")
    theirs, missing = probe.add(owner, SECRET), uuid.uuid4()
    answers = {}
    for item in (theirs, missing):
        answers[item] = [probe.read(other, item), probe.change(other, item), probe.delete(other, item)]
    told = [
        one
        for one, two in zip(*answers.values(), strict=True)
        if seen_by_client(one, SECRET) != seen_by_client(two, SECRET)
    ]
    harm(told, "the answer reveals that another user's object exists")
    for answer in (*answers[theirs], *answers[missing]):
        refused(answer, 404, "ownership-404")


@protects(
    "ownership-404",
    list=edit("request/queries.py", "select(model).where(model.user_id == current_user.id)", "select(model)"),
)
def test_lists_searches_and_counts_exclude_other_users(service: Service) -> None:
    probe = service.adds_probe()
    owner, other = service.user(), service.user()
    for number in range(25):  # more than one page
        probe.add(owner, f"{SECRET} {number:02}")
    probe.add(other, "one of his own")
    thief = service.client(other).login()
    own = service.client(owner).login()
    first, second = probe.list(own), probe.list(own, page=2)
    works(len(probe.titles(first)) == 20, "the owner sees a page of their objects")
    works("one of his own" in probe.list(thief, q="his own").text, "the other user finds their own object")
    answers = [probe.list(thief), probe.list(thief, q="canary"), probe.list(thief, page=2), probe.list(thief, q="%")]
    answers.append(probe.list(thief, sort="reverse"))
    harm([answer for answer in answers if SECRET in answer.text], "a list shows another user's objects")
    assert [probe.titles(answer) for answer in answers] == [["one of his own"], [], [], [], ["one of his own"]]
    assert len(probe.titles(second)) == 5  # and the rest on another
    if AUTH == "session":
        assert ("page=2" in first.text, "page=3" in second.text) == (True, False)
    # What is counted would show in the number of pages.
    assert "page=2" not in answers[0].text
    if AUTH == "jwt":
        assert [answer.json["total"] for answer in answers] == [1, 0, 1, 0, 1]
        last = probe.list(own, page=3, size=10, q="canary")  # the address beside it keeps the query
        beside = (last.json["previous"], last.json["next"])
        assert beside == ("/probe?page=2&size=10&q=canary", None)
        assert first.json["next"] == "/probe?page=2"


@protects(
    "ownership-404",
    nobody=edit("request/queries.py", "    if not current_user.is_authenticated:", "    if False:"),
)
def test_rows_without_an_owner_belong_to_no_visitor(service: Service) -> None:
    from sqlalchemy import Column, MetaData, Table, Uuid
    from sqlalchemy.orm import registry

    # Apart from the service's own tables, which other proofs count.
    orphans = Table("proof_orphan", MetaData(), Column("id", Uuid, primary_key=True), Column("user_id", Uuid))

    class Orphan:
        """A row that may have no owner because the account was deleted."""

    registry().map_imperatively(Orphan, orphans)

    def count() -> dict[str, int]:
        session = service.module("database").db.session
        return {"found": len(session.scalars(service.module().owned(Orphan)).all())}

    service.adds_route("/count", mark="public", view=count)
    user = service.user()
    orphans.create(service.engine)
    with service.engine.begin() as connection:
        rows = [{"id": uuid.uuid4(), "user_id": owner} for owner in (user.id, None, None)]
        connection.execute(orphans.insert(), rows)
    works(service.client(user).login().get("/count").json == {"found": 1}, "a user finds their own rows")
    found = service.client().get("/count").json["found"]
    harm(found, "an unauthenticated client finds rows without an owner")


def end(client: BaseClient, session_id: uuid.UUID) -> Response:
    """End one session as the style's client does."""
    if AUTH == "jwt":
        return client.delete(f"/auth/sessions/{session_id}")
    return client.post(f"/account/sessions/{session_id}/end")


@protects(
    "ownership-404",
    session=edit(
        "identity/sessions.py",
        "_ending(now(), SESSIONS.id == session_id, SESSIONS.user_id == user_id)",
        "_ending(now(), SESSIONS.id == session_id)",
    ),
)
def test_nobody_ends_another_users_session(service: Service) -> None:
    owner, thief = service.user(), service.client(service.user()).login()
    browser = service.client(owner).login()
    (present,) = session_ids(service, owner)
    service.client(owner).login()
    (other,) = {*session_ids(service, owner)} - {present}
    works(end(browser, other).status == DONE, "a user ends another of their own sessions")
    works(session_ids(service, owner) == [present], "it has ended")
    answers = [end(thief, present), end(thief, uuid.uuid4())]
    harm(session_ids(service, owner) != [present], "another user ended the session")
    for answer in answers:
        refused(answer, 404, "ownership-404")
    assert seen_by_client(answers[0], SECRET) == seen_by_client(answers[1], SECRET)


# --- anonymous-cost-bounded -----------------------------------------------------------------------------------------


@protects(
    "anonymous-cost-bounded",
    page=edit("request/queries.py", "rows.order_by(None).limit(MOST_LISTED)", "rows.order_by(None)"),
)
def test_no_page_reads_a_list_to_its_end(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    probe, queries, read = service.adds_probe(), service.module("request.queries"), list[str]()
    owner = service.user()
    for number in range(50):
        probe.add(owner, f"item {number:02}")
    client = service.client(owner).login()
    works(queries.MOST_LISTED == 10_000, "ten thousand objects are listed")
    monkeypatch.setattr(queries, "MOST_LISTED", 30)
    works(len(probe.titles(probe.list(client))) == 20, "the first page is full")
    listen(service, read)
    answers = [probe.list(client, page=number) for number in (3, 4, 2**31 - 1)]
    harm([answer for answer in answers if probe.titles(answer)], "the database read all rows before a page")
    assert [answer.status for answer in answers] == [200] * 3
    assert (
        len([statement for statement in read if TABLE in statement]) == 3
    )  # each counts, up to the bound, and reads nothing
    assert len(probe.titles(probe.list(client, page=2))) == 10
    for forged in (2**31, -1, "1; DROP TABLE auth_user"):
        refused(probe.list(client, page=forged), 422, "input-validated-typed")
    from sqlalchemy import select

    with service.app.app_context():
        for number, size in ((0, 20), (2**31, 20), (1, 0), (1, 101)):  # whatever a view of the team's asks for
            with pytest.raises(ValueError, match="out of range"):
                queries.page_of(select(model(service)), number, size=size)
        pages = [queries.page_of(select(model(service)), number, size=size) for number, size in ((1, 100), (2, 1))]
        assert [(len(page.items), page.has_previous, page.has_next) for page in pages] == [
            (30, False, False),
            (1, True, True),
        ]


@protects(
    "anonymous-cost-bounded",
    accounts=edit("identity/users.py", "    if number > MOST_PAGES:\n", "    if False:\n"),
)
def test_no_page_reads_all_accounts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, last = administrator(service, monkeypatch), service.user("zoe@example.com")
    users = service.module("identity.users")
    monkeypatch.setattr(users, "PAGE_SIZE", 1)
    monkeypatch.setattr(users, "MOST_PAGES", 1)
    first = manager.users()
    works(first.status == 200, "the first page is shown")
    works(last.email in manager.users(q="zoe").text, "further accounts are found by their beginning")
    answer = manager.users(page=2)
    harm(last.email in answer.text, "the database read all rows before a page")
    assert answer.status == 200
    assert ("page=2" in first.text, "page=3" in answer.text, '"has_next":true' in answer.text) == (False, False, False)


def listen(service: Service, statements: list[str]) -> None:
    """Record each statement that the service sends from here on."""
    from sqlalchemy import event

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    with service.app.app_context():
        event.listen(service.module("database").db.engine, "before_cursor_execute", note)
