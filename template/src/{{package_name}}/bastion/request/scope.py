"""Row scopes: in a request, each query of a Scoped model finds only the rows that the signed-in user may see.

A condition that every view has to repeat is missing from one of them, and there an id or a list gives away the rows of
another organisation (IDOR). So a model declares its condition once, and SQLAlchemy adds it. Source: ASVS 8.2.2, 8.3.1.
"""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID, uuid4

from flask import g, has_request_context
from sqlalchemy import ColumnClause, ColumnElement, FunctionElement, Table, event, false, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Mapped, ORMExecuteState, Session, mapped_column, with_loader_criteria
from sqlalchemy.sql.visitors import iterate

from ..audit.refusal import refuse
from ..database import Base, db
from ..identity.principal import Principal
from .authentication import current_user


class Scoped:
    """Mixin for rows that several users share: a random id, and `visible_to`, the one rule for who may see a row.

    In a request the rule applies to every SELECT, UPDATE and DELETE of the ORM, also in joins, subqueries and
    relationships; an unauthenticated client finds no row. `execution_options(unscoped="the reason")` leaves it out.
    It does not apply outside a request (commands, jobs, threads), to text() and to statements on a connection.
    """

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)

    def __init_subclass__(cls, **options: Any) -> None:
        if "visible_to" not in {name for base in cls.__mro__ if base is not Scoped for name in vars(base)}:
            raise TypeError(f"{cls.__name__} is Scoped, so it needs a class method visible_to(cls, user)")
        super().__init_subclass__(**options)

    @classmethod
    def visible_to(cls, user: Principal) -> ColumnElement[bool]:
        """Return the condition for the rows that this signed-in user may see."""
        raise NotImplementedError


S = TypeVar("S", bound=Scoped)


def visible_or_404(model: type[S], ident: UUID) -> S:
    """Return the row of this id if the signed-in user may see it; otherwise 404, whether it exists or not."""
    row = db.session.scalars(select(model).where(model.id == ident)).first()
    if row is None:
        refuse(404, "scope-shared-rows", about={"object": model.__name__, "id": str(ident)})
    return row


def scoped_models() -> list[type[Scoped]]:
    """Return every model of the service that is Scoped."""
    return [mapper.class_ for mapper in Base.registry.mappers if issubclass(mapper.class_, Scoped)]


def _rules() -> tuple[Any, ...]:
    """Return the rules of all models for the user of this request, made once for each user."""
    principal = g.get("principal")
    kept: tuple[object, tuple[Any, ...]] | None = g.get("bastion_scope")
    if kept is None or kept[0] is not principal:
        known = current_user.is_authenticated
        rules = ((model, model.visible_to(current_user) if known else false()) for model in scoped_models())
        kept = g.bastion_scope = principal, tuple(with_loader_criteria(*rule, include_aliases=True) for rule in rules)
    return kept[1]


@event.listens_for(Session, "do_orm_execute")
def _restrict(execution: ORMExecuteState) -> None:
    """Add the rules to a statement of a request; raise InvalidRequestError where SQLAlchemy could not apply them."""
    if not has_request_context() or execution.execution_options.get("unscoped"):
        return
    statement: Any = execution.statement
    if not execution.is_orm_statement or (execution.is_update and isinstance(execution.parameters, list)):
        tables = {model.__table__ for model in scoped_models()}  # type: ignore[attr-defined]
        named: Any = Table
        if tables and isinstance(statement, FunctionElement):  # without select(), its columns name no table
            named, tables = ColumnClause, {*iterate(statement)}
        if any(isinstance(node, named) and node in tables for node in iterate(statement)):
            raise InvalidRequestError(
                "A scoped table is queried without its model, or updated by a list of ids, so no rule of visible_to() "
                'can apply. Use select(Model), update(Model).where(...), or execution_options(unscoped="the reason").'
            )
    elif execution.is_select or execution.is_update or execution.is_delete:
        execution.statement = statement.options(*_rules())
