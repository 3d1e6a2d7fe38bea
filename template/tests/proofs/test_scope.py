"""Row scopes: a user outside a team can neither read, find, change nor delete its rows, however a view queries them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, String, delete, event, func, select, update
from sqlalchemy.orm import Mapped, mapped_column

from .harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from .running import Service

SECRET = "canary of the team"
WAYS: dict[str, Callable[[Any, Any, uuid.UUID], Any]] = {
    "list": lambda session, model, _item: [row.title for row in session.scalars(select(model))],
    "get": lambda session, model, item: getattr(session.get(model, item), "title", None),
    "count": lambda session, model, _item: session.scalar(select(func.count()).select_from(model)) or None,
    "update": lambda session, model, item: session.execute(
        update(model).where(model.id == item).values(title=model.title + "!")
    ).close(),
    "delete": lambda session, model, item: session.execute(delete(model).where(model.id == item)).close(),
}
"""Queries as a team writes them, none with a condition on the user, and what each answers a client."""
READING, WRITING = ("visible", "list", "get", "count"), ("update", "delete")


def models(service: Service) -> tuple[Any, Any]:
    """The members of teams and the rows that each team shares, on the service's own Base; made once in a process."""
    base: Any = service.module("database").Base
    if "proof_shared" in base.metadata.info:
        return base.metadata.info["proof_shared"]  # type: ignore[no-any-return]
    scoped: Any = service.module().Scoped
    apart = MetaData()  # from the service's own tables, which other proofs look at

    class Member(base):  # type: ignore[misc]
        """A user's place in a team."""

        metadata = apart
        __tablename__ = "proof_member"
        user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        team: Mapped[str] = mapped_column(String(20), primary_key=True)

    class Shared(scoped, base):  # type: ignore[misc]
        """A row of a team, with its author."""

        metadata = apart
        __tablename__ = "proof_shared"
        author_id: Mapped[uuid.UUID]
        team: Mapped[str] = mapped_column(String(20))
        title: Mapped[str] = mapped_column(String(200))

        @classmethod
        def visible_to(cls, user: Any) -> Any:
            return cls.team.in_(select(Member.team).where(Member.user_id == user.id))

    base.metadata.info["proof_shared"] = Member, Shared  # the registry alone would forget them
    return Member, Shared


class Team:
    """Two users who share rows, and a view for each query of WAYS."""

    def __init__(self, service: Service) -> None:
        self.service, (self.member, self.shared), self.ways = service, models(service), {**WAYS}
        service.adds_route("/shared/<way>/<uuid:item>", view=self._view)
        self.shared.metadata.create_all(service.engine)
        self.author, self.colleague = service.user(), service.user()
        for user in (self.author, self.colleague):
            self.run(self.member.__table__.insert().values(user_id=user.id, team="blue"))
        self.row = self.add()

    def _view(self, way: str, item: uuid.UUID) -> Any:
        session = self.service.module("database").db.session
        if way == "visible":
            return {"found": self.service.module().visible_or_404(self.shared, item).title}
        found = self.ways[way](session, self.shared, item)
        session.commit()
        return {"found": found}

    def asks(self, client: Any, way: str, item: uuid.UUID | None = None) -> Any:
        """Call the view of this query about a row, the first one if none is given."""
        return client.get(f"/shared/{way}/{item or self.row}")

    def run(self, statement: Any) -> Any:
        """Execute a statement through a connection of its own, and give the first column if it has rows."""
        with self.service.engine.begin() as connection:
            result = connection.execute(statement)
            return [*result.scalars()] if result.returns_rows else None

    def add(self) -> uuid.UUID:
        """Insert a row of the author's."""
        made = uuid.uuid4()
        self.run(self.shared.__table__.insert().values(id=made, author_id=self.author.id, team="blue", title=SECRET))
        return made

    def titles(self) -> Any:
        """The titles of all rows."""
        return self.run(select(self.shared.__table__.c.title))


RULES = "        execution.statement = statement.options(*_rules())\n"


@protects(
    "scope-shared-rows",
    select=edit("request/scope.py", RULES, f"        if not execution.is_select:\n    {RULES}"),
    write=edit("request/scope.py", RULES, f"        if execution.is_select:\n    {RULES}"),
    id=edit(
        "request/scope.py",
        "select(model).where(model.id == ident)",
        'select(model).where(model.id == ident).execution_options(unscoped="all")',
    ),
)
def test_shared_rows_stay_within_their_team(service: Service) -> None:
    team = Team(service)
    colleague, author = service.client(team.colleague).login(), service.client(team.author).login()
    for way in READING:
        works(team.asks(colleague, way).json["found"] in (SECRET, [SECRET], 1), f"a colleague reads the row ({way})")
    works(team.asks(colleague, "update").status == 200, "a colleague changes the row")
    works(team.asks(colleague, "delete", team.add()).status == 200, "a colleague deletes a row")
    works(team.titles() == [f"{SECRET}!"], "both are in the database")
    # A row's author who has left is a stranger to it.
    team.run(delete(team.member.__table__).where(team.member.__table__.c.user_id == team.author.id))
    for stranger in (author, service.client(service.user(roles=("admin",))).login()):
        answers = {way: team.asks(stranger, way) for way in READING}
        written = [team.asks(stranger, way) for way in WRITING]
        read = [way for way, answer in answers.items() if answer.status == 200 and answer.json["found"]]
        harm(read, f"a user outside the team read its rows: {read}")
        harm(team.titles() != [f"{SECRET}!"], "a user outside the team changed or deleted a row")
        refused(answers.pop("visible"), 404, "scope-shared-rows")
        assert [answer.status for answer in (*answers.values(), *written)] == [200] * 5


@protects(
    "scope-shared-rows",
    anonymous=edit(
        "request/scope.py", "model.visible_to(current_user) if known else false()", "model.visible_to(current_user)"
    ),
)
def test_unauthenticated_requests_find_no_scoped_row(service: Service) -> None:
    """Of every Scoped model of the service: its rule is in the statement, and holds for a user without a role."""
    Team(service)
    sent: list[str] = []
    scope, database = service.module("request.scope"), service.module("database")
    found, now, user = scope.scoped_models(), service.module("clock").now(), service.user()
    principal = service.module("identity.principal")
    with service.app.app_context():
        event.listen(database.db.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    signed_in = principal.Principal(user.id, user.email, uuid.uuid4(), now, now, frozenset(), frozenset())
    for who in (signed_in, principal.ANONYMOUS):
        sent.clear()
        with service.app.test_request_context():
            service.module("request.authentication").g.principal = who
            for model in found:
                database.db.session.scalars(select(model)).all()
        works(len(sent) == len(found), "each model can be queried")
    bare = [one for one in sent if not re.search(r"WHERE.*(0 = 1|1 != 1|false)", one, re.DOTALL)]
    harm(bare, f"an unauthenticated client can find rows: {bare}")
