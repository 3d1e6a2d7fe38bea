"""Edges of the proofs in test_scope.py: further attacks on the same protections."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, func, literal, select, union_all, update
from sqlalchemy.orm import aliased, foreign, joinedload, relationship, selectinload

from ..harness import edit, harm, protects, works
from ..test_scope import SECRET, Team
from .steps import declares

if TYPE_CHECKING:
    from ..running import Service

FOUND = (SECRET, [SECRET], 1, True)


def attack(service: Service, team: Team, ways: dict[str, Any], status: int = 200) -> None:
    """Run each query for a colleague, who must find the row unless it is refused, and for a stranger."""
    team.ways.update(ways)
    colleague, stranger = service.client(team.colleague).login(), service.client(service.user()).login()
    works(team.asks(colleague, "visible").json["found"] == SECRET, "a colleague reads the row")
    for way in ways if status == 200 else ():
        works(team.asks(colleague, way).json["found"] in FOUND, f"a colleague finds the row ({way})")
    answers = {way: team.asks(stranger, way) for way in ways}
    read = [way for way, answer in answers.items() if answer.status == 200 and answer.json["found"]]
    harm(read, f"a user outside the team read its rows: {read}")
    harm(team.titles() != [SECRET], "a user outside the team changed a row")
    assert [answer.status for answer in answers.values()] == [status] * len(ways)


@protects("scope-shared-rows", alias=edit("request/scope.py", "include_aliases=True", "include_aliases=False"))
def test_scope_reaches_aliases_joins_and_subqueries(service: Service) -> None:
    team = Team(service)
    member = team.member

    def alias(session: Any, model: Any, _item: uuid.UUID) -> Any:
        other = aliased(model)
        return session.scalars(select(other.title)).all()

    attack(
        service,
        team,
        {
            "alias": alias,
            "column": lambda session, model, item: session.scalar(select(model.title).where(model.id == item)),
            "join": lambda session, model, _item: session.scalars(
                select(model.title).join_from(member, model, member.team == model.team).distinct()
            ).all(),
            "subquery": lambda session, model, _item: session.scalar(
                select(func.count()).select_from(select(model).subquery())
            ),
            "exists": lambda session, model, item: session.scalar(
                select(literal(1)).where(select(model).where(model.id == item).exists())
            ),
            "in": lambda session, model, _item: session.scalar(
                select(func.count(member.user_id.distinct())).where(
                    member.team.in_(select(model.team)), member.user_id == team.author.id
                )
            ),
            "common table": lambda session, model, _item: session.scalars(
                select(select(model.title).cte().c.title)
            ).all(),
            "union": lambda session, model, _item: session.scalars(
                union_all(select(model.title), select(model.title).where(model.id.is_(None)))
            ).all(),
            "legacy": lambda session, model, _item: session.query(model).count(),
        },
    )


@protects(
    "scope-shared-rows",
    relationship=edit(
        "request/scope.py",
        "not has_request_context() or",
        "not has_request_context() or execution.is_relationship_load or",
    ),
    joined=edit("request/scope.py", "include_aliases=True)", "include_aliases=True, propagate_to_loaders=False)"),
)
def test_scope_reaches_relationships(service: Service) -> None:
    team = Team(service)
    member, shared = team.member, team.shared
    if not hasattr(member, "rows"):
        on = foreign(shared.team) == member.team
        member.rows = relationship(shared, primaryjoin=on, viewonly=True)

    def through(*options: Any) -> Any:
        def read(session: Any, _model: Any, _item: uuid.UUID) -> Any:
            wanted = select(member).where(member.user_id == team.author.id).options(*options)
            return [row.title for row in session.scalars(wanted).unique().one().rows]

        return read

    def afterwards(session: Any, _model: Any, _item: uuid.UUID) -> Any:
        wanted = select(member).where(member.user_id == team.author.id).execution_options(unscoped="only the member")
        return [row.title for row in session.scalars(wanted).one().rows]

    loaded = {"joined": through(joinedload(member.rows)), "in": through(selectinload(member.rows))}
    attack(service, team, {"lazy": through(), "unscoped parent": afterwards, **loaded})


@protects(
    "scope-shared-rows",
    table=edit(
        "request/scope.py",
        "if any(isinstance(node, named) and node in tables for node in iterate(statement)):",
        "if False:",
    ),
    bulk=edit("request/scope.py", " or (execution.is_update and isinstance(execution.parameters, list)):", ":"),
)
def test_statements_that_no_scope_reaches_are_refused(service: Service) -> None:
    team = Team(service)

    def listed(session: Any, model: Any, item: uuid.UUID) -> None:
        session.execute(update(model), [{"id": item, "title": "stolen"}])

    ways = {
        "table": lambda session, model, _item: session.scalars(select(model.__table__.c.title)).all(),
        "function": lambda session, model, _item: session.scalar(func.min(model.title)),
        "exists": lambda session, model, item: session.scalar(select(exists().where(model.id == item))),
        "within": lambda session, model, _item: session.scalar(
            select(func.count(team.member.__table__.c.user_id.distinct())).where(
                team.member.__table__.c.team.in_(select(model.__table__.c.team)),
                team.member.__table__.c.user_id == team.author.id,
            )
        ),
        "listed": listed,
    }
    attack(service, team, ways, status=500)


@protects(
    "scope-shared-rows",
    reason=edit(
        "request/scope.py", 'execution.execution_options.get("unscoped")', '"unscoped" in execution.execution_options'
    ),
)
def test_only_a_reason_leaves_the_scope_out(service: Service) -> None:
    team = Team(service)
    team.ways["reason"] = lambda session, model, _item: session.scalar(
        select(model.title).execution_options(unscoped="the figures of all teams")
    )
    stranger = service.client(service.user()).login()
    works(team.asks(stranger, "reason").json["found"] == SECRET, "a statement with a reason finds the row")
    with service.app.app_context():
        found = service.module("database").db.session.scalar(select(team.shared.title))
    works(found == SECRET, "a command finds the row")

    def without(reason: object) -> Any:
        return lambda session, model, _item: session.scalar(select(model.title).execution_options(unscoped=reason))

    for reason in ("", None, False):
        team.ways["none"] = without(reason)
        harm(team.asks(stranger, "none").json["found"], "a statement without a reason left the scope out")


@protects(
    "scope-shared-rows",
    user=edit("request/scope.py", "if kept is None or kept[0] is not principal:", "if kept is None:"),
)
def test_scope_follows_the_user_of_the_request(service: Service) -> None:
    team, principal = Team(service), service.module("identity.principal")
    session, g = service.module("database").db, service.module("request.authentication").g
    now, user = service.module("clock").now(), team.author
    with service.app.test_request_context():
        g.principal = principal.Principal(user.id, user.email, uuid.uuid4(), now, now, frozenset(), frozenset())
        works(session.session.scalar(select(team.shared.title)) == SECRET, "the author finds the row")
        g.principal = principal.ANONYMOUS
        harm(session.session.scalar(select(team.shared.title)), "a client that signed out finds the row")
        g.pop("principal")
        harm(session.session.scalar(select(team.shared.title)), "a client finds the row before authentication")


@protects("scope-shared-rows", declared=edit("request/scope.py", 'if "visible_to" not in', 'if "visible_two" in'))
def test_a_scoped_model_declares_its_scope(service: Service) -> None:
    scoped: Any = service.module().Scoped

    class OfTeam(scoped):  # type: ignore[misc]
        """A rule that several models share."""

        @classmethod
        def visible_to(cls, _user: Any) -> Any: ...

    works(issubclass(type("Ticket", (OfTeam,), {}), scoped), "a model takes the rule of its base class")
    harm(declares(scoped), "a model of shared rows has no rule")
