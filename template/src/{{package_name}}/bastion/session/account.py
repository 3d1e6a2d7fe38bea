"""Pages of the user's own account: view and change it, and re-authenticate.

Opening a page changes nothing, so an image on an attacker's site cannot trigger a change; identity/ decides who may do
what. Pages without a login are in pages.py, factors.py and mailed_link.py.
"""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

from flask import Response, flash, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from .. import audit
from ..audit.refusal import refuse
from ..identity import account, factors, links, passkeys, recovery_codes, sessions, users
from ..identity.passwords import ADVICE, LONGEST_TYPED
from ..identity.users import LONGEST_NAME
from ..request.access import login_required
from ..request.authentication import current_user
from ..state import state
from ..text.user_agent import device_name
from .cookie import NEXT, begin, log_out
from .factors import WRONG_PASSKEY, PasskeyForm
from .forms import AddressForm, NewPasswordForm, SubmittedForm, perform
from .mailed_link import LinkForm, drop, kept, kept_link
from .pages import blueprint, go_on, me
from .redirects import safe_next


class ChangePasswordForm(NewPasswordForm):
    """The current password and a new one."""

    current = PasswordField("Current password", [InputRequired(), Length(max=LONGEST_TYPED)])


class PresentPasswordForm(SubmittedForm):
    """Re-authentication: the password, and a code if the account has a second factor."""

    password = PasswordField("Password", [InputRequired(), Length(max=LONGEST_TYPED)])
    code = StringField("Code", [Length(max=recovery_codes.LONGEST)])


class NameForm(SubmittedForm):
    """The display name."""

    display_name = StringField("Name", [Length(max=LONGEST_NAME)])


# ---- proving once more who it is -------------------------------------------------------------------------------------


@blueprint.route("/reauth", methods=["GET", "POST"])
@login_required(without_factor=True)
def reauthenticate() -> ResponseReturnValue:
    """Re-authenticate before a sensitive action; `next` is the page that required it."""
    form = PresentPasswordForm()
    wanted = safe_next(request.args.get("next"), "")
    if request.method != "POST":
        if wanted:
            session[NEXT] = wanted
        return _reauthentication(form)
    opened = perform(
        form,
        lambda: _reauthentication(form),
        lambda: account.step_up(me(), form.password.data or "", form.code.data or ""),
        wrong="The password or the code is not right.",
    )
    begin(opened.token)
    return go_on()


@blueprint.post("/reauth/passkey")
@login_required(without_factor=True)
def reauthenticate_with_passkey() -> ResponseReturnValue:
    """Re-authenticate with a passkey, without a password."""
    form = PasskeyForm()
    opened = perform(
        form,
        lambda: _reauthentication(form),
        lambda: account.step_up_with_passkey(me(), form.state.data or "", form.answer()),
        wrong=WRONG_PASSKEY,
    )
    begin(opened.token)
    return go_on()


def _reauthentication(form: SubmittedForm) -> str:
    """Return the page with the account's methods; the submitted form shows its errors."""
    held = factors.held(current_user.id)
    asked = passkeys.step_up(me()) if held.passkeys else None
    password = form if isinstance(form, PresentPasswordForm) else PresentPasswordForm(formdata=None)
    password.code.flags.required = bool(held)
    return render_template("bastion/reauthenticate.html", form=form, password=password, held=held, asked=asked)


# ---- one's own account -----------------------------------------------------------------------------------------------


@blueprint.get("/account", endpoint="account")
@login_required
def show_account() -> ResponseReturnValue:
    """Show the user's own name, address, live sessions and recent security events."""
    idle = timedelta(minutes=state().limits.session_idle_minutes)
    rows = [
        {**row._mapping, "current": row.id == current_user.session_id, "device": device_name(row.agent)}
        for row in sessions.live_sessions(current_user.id, idle=idle)
    ]
    events = [{**event, "text": audit.SHOWN[event["kind"]]} for event in account.recent_events(current_user.id)]
    return render_template(
        "bastion/account.html",
        user=users.shown(current_user.id),
        held=factors.held(current_user.id),
        sessions=rows,
        events=events,
    )


@blueprint.post("/account/sessions/<uuid:session_id>/end")
@login_required(fresh=True)
def end_session(session_id: UUID) -> ResponseReturnValue:
    """End one of the user's own sessions; 404 for a session of another user."""
    if not sessions.end(session_id, current_user.id):
        refuse(404, "ownership-404")
    audit.record("session.ended", user_id=current_user.id, session_id=session_id)
    return _back("The session has ended.")


@blueprint.post("/account/sessions/end-others")
@login_required(fresh=True)
def end_others() -> ResponseReturnValue:
    """End all of the user's own sessions except this one."""
    ended = sessions.end_all(current_user.id, but=current_user.session_id)
    if ended:  # otherwise a signed-in attacker could write rows without end
        audit.record("session.ended_others", user_id=current_user.id, session_id=current_user.session_id, count=ended)
    return _back("All other sessions have ended.")


@blueprint.route("/account/name", methods=["GET", "POST"])
@login_required
def change_name() -> ResponseReturnValue:
    """Change the display name."""
    shown = users.shown(current_user.id)
    form = NameForm(display_name=shown.display_name if shown is not None else "")

    def page() -> str:
        return render_template("bastion/name.html", form=form)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: account.update_profile(me(), form.display_name.data or ""))
    return _back("Your name is changed.")


@blueprint.route("/account/password", methods=["GET", "POST"])
@login_required
def change_password() -> ResponseReturnValue:
    """Change the password after a check of the current one."""
    form = ChangePasswordForm()

    def page() -> str:
        return render_template("bastion/password.html", form=form, email=current_user.email, advice=ADVICE)

    if request.method != "POST":
        return page()
    opened = perform(
        form,
        page,
        lambda: account.change_password(me(), form.current.data or "", form.password.data or ""),
        field="current",
    )
    begin(opened.token)
    return _back("Your password is changed, and all other sessions have ended.")


@blueprint.route("/account/email", methods=["GET", "POST"])
@login_required(fresh=True)
def change_email() -> ResponseReturnValue:
    """Request a new address; it takes effect after the mailed link is confirmed."""
    form = AddressForm()

    def page() -> str:
        return render_template("bastion/email.html", form=form)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: account.request_email_change(me(), form.email.data or ""))
    return _back("Open the link that is on its way to the new address. Until then nothing changes.", "info")


@blueprint.route("/account/email/confirm", methods=["GET", "POST"])
@login_required
def confirm_email() -> ResponseReturnValue:
    """Activate the address of a mailed link, only for the account that requested it."""
    link = kept_link(links.EMAIL)
    if link.user_id != current_user.id:
        links.gone(links.EMAIL)
    form = LinkForm()

    def page() -> str:
        return render_template("bastion/confirm_email.html", form=form, email=link.email)

    if request.method != "POST":
        return page()
    opened = perform(form, page, lambda: account.confirm_email_change(me(), kept(links.EMAIL)))
    begin(opened.token)
    answer = _back("Your address is changed, and all other sessions have ended.")
    drop(answer)
    return answer


@blueprint.post("/account/export")
@login_required(fresh=True)
def export() -> ResponseReturnValue:
    """Return all stored data about the user as a file."""
    text = json.dumps(account.export(me()), default=str, ensure_ascii=False, indent=2)
    answer = Response(text, mimetype="application/json")
    answer.headers["Content-Disposition"] = 'attachment; filename="my-data.json"'
    return answer


@blueprint.route("/account/delete", methods=["GET", "POST"])
@login_required(fresh=True)
def delete_account() -> ResponseReturnValue:
    """Delete the user's own account and everything that belongs to it."""
    form = SubmittedForm()

    def page() -> str:
        return render_template("bastion/delete_account.html", form=form)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: account.delete_account(me()))
    log_out()
    flash("Your account is deleted.", "success")
    return redirect(url_for("bastion.login"), 303)


def _back(message: str, kind: str = "success") -> Response:
    flash(message, kind)
    return make_response(redirect(url_for("bastion.account"), 303))
