"""User administration for programs: list, invite, disable and enable accounts, give roles, start resets.

This stops an administrator from impersonating a user: no answer holds a password, token or hash, and no body takes one.
Every change needs a recent login. Source: ASVS 6.4.6, 7.4.5, 7.5.1.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from flask import Blueprint
from pydantic import Field

from .. import audit
from ..audit.refusal import refuse
from ..identity import factors, recovery, registration, sessions, users
from ..request.access import requires
from ..request.authentication import current_user
from ..state import state
from .account import AcceptedAnswer, Address, answering
from .api import operation
from .schema import Answer, PageNumber, Query, Schema, SearchText

blueprint: Final = Blueprint("bastion_administration", __name__)

MOST_ROLES: Final = 20  # of one invitation
may_manage: Final = requires(users.MANAGE, fresh=True)


class UsersQuery(Query):
    """The page of accounts to list, and the prefix of their addresses."""

    page: PageNumber = 1
    q: SearchText = ""


class InvitationBody(Schema):
    """The address to invite, and the roles of the new account."""

    email: Address
    roles: Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=MOST_ROLES)] = []  # noqa: RUF012


class UserAnswer(Answer):
    """An account as an administrator sees it."""

    id: UUID
    email: str
    display_name: str
    active: bool
    roles: list[str]
    created_at: datetime


class OneUserAnswer(UserAnswer):
    """An account, with the number of its live logins."""

    live_sessions: int


class UsersAnswer(Answer):
    """One page of the accounts, by address, and whether there is a next page."""

    items: list[UserAnswer]
    page: int
    has_next: bool


def _found(user_id: UUID) -> Any:
    """Return the account of this id; 404 when there is none."""
    row = users.shown(user_id)
    if row is None:
        refuse(404, "ownership-404")
    return row


def _fields(row: Any) -> dict[str, Any]:
    return {**row._mapping, "roles": row.roles.split()}


@blueprint.get("/auth/users")
@requires(users.READ)
@operation
def list_users(query: UsersQuery) -> UsersAnswer:
    """List the accounts, in pages."""
    rows, has_next = users.page(query.page, query.q)
    audit.record("user.listed", session_id=current_user.session_id)
    return UsersAnswer(items=[UserAnswer(**_fields(row)) for row in rows], page=query.page, has_next=has_next)


@blueprint.get("/auth/users/<uuid:user_id>")
@requires(users.READ)
@operation
def show_user(user_id: UUID) -> OneUserAnswer:
    """Show one account."""
    idle = timedelta(minutes=state().limits.refresh_idle_minutes)
    shown = OneUserAnswer(**_fields(_found(user_id)), live_sessions=len(sessions.live_sessions(user_id, idle=idle)))
    audit.record("user.read", user_id=user_id, session_id=current_user.session_id)
    return shown


@blueprint.post("/auth/users/<uuid:user_id>/disable")
@may_manage
@operation(refuses=(409,))
def disable(user_id: UUID) -> None:
    """Disable an account; its logins end at once."""
    _found(user_id)
    with answering():
        users.set_active(user_id, False, by=current_user.id)


@blueprint.post("/auth/users/<uuid:user_id>/enable")
@may_manage
@operation(refuses=(409,))
def enable(user_id: UUID) -> None:
    """Enable an account again; its old logins stay ended."""
    _found(user_id)
    with answering():
        users.set_active(user_id, True, by=current_user.id)


@blueprint.put("/auth/users/<uuid:user_id>/roles/<role>")
@may_manage
@operation(refuses=(409, 422))
def give_role(user_id: UUID, role: str) -> None:
    """Give an account a role of this service."""
    _found(user_id)
    with answering(role="#"):
        users.permit(user_id, role, by=current_user.id)


@blueprint.delete("/auth/users/<uuid:user_id>/roles/<role>")
@may_manage
@operation(refuses=(409, 422))
def take_role(user_id: UUID, role: str) -> None:
    """Take a role away from an account."""
    _found(user_id)
    with answering(role="#"):
        users.permit(user_id, role, remove=True, by=current_user.id)


@blueprint.post("/auth/users/<uuid:user_id>/reset-factors")
@may_manage
@operation(refuses=(409,))
def reset_factors(user_id: UUID) -> None:
    """Remove all second factors of a user who lost them; their logins end, and they must set up a new one."""
    _found(user_id)
    with answering("mfa-removal-guarded"):
        factors.reset(user_id, by=current_user.id)


@blueprint.post("/auth/users/<uuid:user_id>/reset")
@may_manage
@operation(status=202)
def start_reset(user_id: UUID) -> AcceptedAnswer:
    """End the logins of an account and mail its owner a password reset link."""
    recovery.start_reset(user_id, _found(user_id).email, by=current_user.id)
    return AcceptedAnswer()


@blueprint.delete("/auth/users/<uuid:user_id>/sessions")
@may_manage
@operation
def end_sessions_of(user_id: UUID) -> None:
    """End all logins of an account."""
    _found(user_id)
    ended = sessions.end_all(user_id)
    audit.record("session.ended_by_administrator", user_id=user_id, by=str(current_user.id), count=ended)


@blueprint.delete("/auth/users/sessions")
@may_manage
@operation
def end_everybodys_sessions() -> None:
    """End all logins of all users except the current one."""
    ended = sessions.end_of_everybody(but=current_user.session_id)
    audit.record("session.ended_of_everybody", user_id=current_user.id, session_id=current_user.session_id, count=ended)


@blueprint.post("/auth/invitations")
@may_manage
@operation(status=202, refuses=(404,))
def invite(body: InvitationBody) -> AcceptedAnswer:
    """Mail an invitation; the answer is the same whether or not the address has an account."""
    with answering(role="#/roles"):
        registration.invite(body.email, body.roles, by=current_user.id)
    return AcceptedAnswer()
