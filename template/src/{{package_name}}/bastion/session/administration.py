"""User administration: list and invite accounts, change their roles, disable them and end their sessions.

The pages never show or set a password: otherwise an administrator could impersonate a user without a trace. Every
change needs the permission and a recent login.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import Response, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import EmailField, SelectMultipleField
from wtforms.validators import InputRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from .. import audit
from ..audit.refusal import refuse
from ..identity import factors, recovery, registration, sessions, users
from ..identity.users import LONGEST_IDENTIFIER, MANAGE, READ
from ..request.access import requires
from ..request.authentication import current_user
from ..state import state
from .factors import confirm
from .forms import ListQuery, SubmittedForm, perform
from .pages import blueprint


class UsersQuery(ListQuery):
    """The page number of the list, and the prefix of the addresses (`q`)."""

    sorts = ("email",)


class InvitationForm(SubmittedForm):
    """The address to invite, and its roles."""

    email = EmailField("Email address", [InputRequired(), Length(max=LONGEST_IDENTIFIER)])
    roles = SelectMultipleField("Roles", widget=ListWidget(prefix_label=False), option_widget=CheckboxInput())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names: list[Any] = sorted(state().team.roles)  # texts: of pairs WTForms 3.4 makes no choices
        self.roles.choices = names


@blueprint.get("/users")
@requires(READ)
def users_list() -> ResponseReturnValue:
    """Show all accounts by address, one page at a time."""
    query = UsersQuery.read()
    rows, more = users.page(query.page.number, query.q.data or "")
    audit.record("user.listed", session_id=current_user.session_id)
    return render_template(
        "bastion/users.html",
        users=rows,
        total=users.count(query.q.data or ""),
        protected=factors.holders(row.id for row in rows),
        page=query.page.number,
        more=more,
        q=query.q.data or "",
        may_change=_may_change(),
    )


@blueprint.get("/users/<uuid:user_id>")
@requires(READ)
def user(user_id: UUID) -> ResponseReturnValue:
    """Show one account and the possible actions."""
    page = _page(user_id, SubmittedForm(formdata=None))
    audit.record("user.read", user_id=user_id, session_id=current_user.session_id)
    return page


def _page(user_id: UUID, form: SubmittedForm) -> str:
    found = users.shown(user_id)
    if found is None:
        refuse(404, "ownership-404")
    return render_template(
        "bastion/user.html",
        user=found,
        form=form,
        roles=sorted(state().team.roles),
        held=factors.held(user_id),
        may_change=_may_change(),
    )


def _may_change() -> bool:
    return MANAGE in current_user.permissions


def _change(user_id: UUID, action: Callable[[], object], message: str) -> Response:
    """Run the action and confirm it on the user's page, or show there why it failed."""
    if users.shown(user_id) is None:
        refuse(404, "ownership-404")
    form = SubmittedForm()
    perform(form, lambda: _page(user_id, form), action)
    flash(message, "success")
    return make_response(redirect(url_for("bastion.user", user_id=user_id), 303))


@blueprint.post("/users/<uuid:user_id>/disable")
@requires(MANAGE, fresh=True)
def disable_user(user_id: UUID) -> ResponseReturnValue:
    """Disable an account; its sessions end at once."""
    return _change(
        user_id,
        lambda: users.set_active(user_id, False, by=current_user.id),
        "The account is disabled; its sessions have ended.",
    )


@blueprint.post("/users/<uuid:user_id>/enable")
@requires(MANAGE, fresh=True)
def enable_user(user_id: UUID) -> ResponseReturnValue:
    """Enable an account again; its old sessions stay ended."""
    return _change(user_id, lambda: users.set_active(user_id, True, by=current_user.id), "The account is enabled.")


@blueprint.post("/users/<uuid:user_id>/roles/<role>/give")
@requires(MANAGE, fresh=True)
def give_role(user_id: UUID, role: str) -> ResponseReturnValue:
    """Give a role of settings.py; it counts from the next request."""
    return _change(user_id, lambda: users.permit(user_id, role, by=current_user.id), "The role is given.")


@blueprint.post("/users/<uuid:user_id>/roles/<role>/take")
@requires(MANAGE, fresh=True)
def take_role(user_id: UUID, role: str) -> ResponseReturnValue:
    """Take a role away; the change counts from the next request."""
    return _change(
        user_id, lambda: users.permit(user_id, role, remove=True, by=current_user.id), "The role is taken away."
    )


@blueprint.post("/users/<uuid:user_id>/reset")
@requires(MANAGE, fresh=True)
def start_reset(user_id: UUID) -> ResponseReturnValue:
    """End the sessions of an account and mail its owner a reset link, which no administrator sees."""
    found = users.shown(user_id)
    if found is None:
        refuse(404, "ownership-404")
    return _change(
        user_id,
        lambda: recovery.start_reset(user_id, found.email, by=current_user.id),
        "A link to choose a new password is on its way to the user.",
    )


@blueprint.route("/users/<uuid:user_id>/factors/remove", methods=["GET", "POST"])
@requires(MANAGE, fresh=True)
def reset_factors(user_id: UUID) -> ResponseReturnValue:
    """Remove the second factors of a user who lost them; the user must set up a new one."""
    if request.method == "POST":
        return _change(
            user_id,
            lambda: factors.reset(user_id, by=current_user.id),
            "The second factors are removed, and all sessions of this account have ended.",
        )
    found = users.shown(user_id)
    if found is None:
        refuse(404, "ownership-404")
    return confirm(
        "Remove the second factors?",
        f"{found.email} then signs in with the password alone, once, to set up a new one. Make sure first that it is "
        "this person who asks: somebody who knows the password may be asking in his place.",
        "Remove second factors",
        url_for("bastion.reset_factors", user_id=user_id),
        back=(found.email, url_for("bastion.user", user_id=user_id)),
    )


@blueprint.post("/users/<uuid:user_id>/end-sessions")
@requires(MANAGE, fresh=True)
def end_sessions_of_user(user_id: UUID) -> ResponseReturnValue:
    """End every session of one account."""
    answer = _change(user_id, lambda: sessions.end_all(user_id), "All sessions of this account have ended.")
    audit.record("session.ended_by_administrator", user_id=user_id, by=str(current_user.id))
    return answer


@blueprint.post("/users/end-sessions")
@requires(MANAGE, fresh=True)
def end_sessions_of_everybody() -> ResponseReturnValue:
    """End every session of every user except the current one."""
    ended = sessions.end_of_everybody(but=current_user.session_id)
    audit.record("session.ended_of_everybody", user_id=current_user.id, count=ended)
    flash("All other sessions of all users have ended.", "success")
    return redirect(url_for("bastion.users_list"), 303)


@blueprint.route("/users/invite", methods=["GET", "POST"])
@requires(MANAGE, fresh=True)
def invite() -> ResponseReturnValue:
    """Mail a link that makes an account with these roles."""
    registration.require_mode("open", "invitation")
    form = InvitationForm()

    def page() -> str:
        return render_template("bastion/invite.html", form=form)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: registration.invite(form.email.data or "", form.roles.data or [], by=current_user.id))
    flash("The invitation is on its way, if the address has no account yet.", "success")
    return redirect(url_for("bastion.users_list"), 303)
