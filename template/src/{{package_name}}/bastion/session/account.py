"""The pages of an account's life: registering, mailed links, a forgotten password, and what its owner changes.

A page only asks and shows; who may do what, and what a stranger must not learn, is decided in identity/. Opening a page
or a link changes nothing, so neither a mail scanner nor another site's image can use one.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from flask import Response, flash, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from wtforms import EmailField, PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, Length

from .. import audit
from ..audit.refusal import refuse
from ..edge import no_referrer
from ..identity import account, factors, links, passkeys, recovery, recovery_codes, registration, sessions, users
from ..identity.passwords import ADVICE, LONGEST_TYPED
from ..identity.users import LONGEST_IDENTIFIER, LONGEST_NAME
from ..request.access import login_required, public
from ..request.authentication import current_user
from ..state import state
from . import mailed_link
from .cookie import NEXT, begin, device_token, log_out
from .factors import WRONG_PASSKEY, PasskeyForm
from .forms import SubmittedForm, perform
from .mailed_link import LinkForm
from .pages import blueprint, go_on, me
from .redirects import safe_next

LONGEST_LINK_TOKEN: Final = 100  # characters; ours have 43


class AddressForm(SubmittedForm):
    """An address to mail to. Whether it has an account makes no difference to any answer."""

    email = EmailField("Email address", [InputRequired(), Length(max=LONGEST_IDENTIFIER)])


class NewPasswordForm(SubmittedForm):
    """A new password, twice: what nobody can see is easily mistyped."""

    password = PasswordField("New password", [InputRequired(), Length(max=LONGEST_TYPED)])
    again = PasswordField(
        "New password again",
        [InputRequired(), Length(max=LONGEST_TYPED), EqualTo("password", "The two passwords are not the same.")],
    )


class ResetForm(LinkForm, NewPasswordForm):
    """The new password that the reader of a mailed link chooses."""

    purpose = links.RESET


class ActivateForm(LinkForm, NewPasswordForm):
    """What the reader of a mailed link decides about the new account."""

    purpose = links.ACTIVATE
    display_name = StringField("Name", [Length(max=LONGEST_NAME)])


class ChangePasswordForm(NewPasswordForm):
    """The present password and a new one."""

    current = PasswordField("Current password", [InputRequired(), Length(max=LONGEST_TYPED)])


class PresentPasswordForm(SubmittedForm):
    """Who is signed in proves it once more, with a code as well if his account has a second factor."""

    password = PasswordField("Password", [InputRequired(), Length(max=LONGEST_TYPED)])
    code = StringField("Code", [Length(max=recovery_codes.LONGEST)])


class NameForm(SubmittedForm):
    """The name that is shown."""

    display_name = StringField("Name", [Length(max=LONGEST_NAME)])


# ---- registering, and what mailed links lead to ----------------------------------------------------------------------


@blueprint.route("/register", methods=["GET", "POST"])
@public
def register() -> ResponseReturnValue:
    """Ask for an account. Nothing about it is decided here: the mailed link makes it."""
    registration.require_mode("open")
    form = AddressForm()

    def page() -> str:
        return render_template("bastion/register.html", form=form)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: registration.register(form.email.data or ""))
    return redirect(url_for("bastion.sent"), 303)


@blueprint.route("/forgot", methods=["GET", "POST"])
@public
def forgot() -> ResponseReturnValue:
    """Ask for a link to choose another password."""
    form = AddressForm()

    def page() -> str:
        return render_template("bastion/forgot.html", form=form)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: recovery.request_reset(form.email.data or "", device_token()))
    return redirect(url_for("bastion.sent"), 303)


@blueprint.get("/sent")
@public
def sent() -> ResponseReturnValue:
    """Look into your mail: the same page whether there is one or not."""
    return render_template("bastion/sent.html")


@blueprint.get("/link/<purpose>/<token>")
@public
def open_link(purpose: str, token: str) -> ResponseReturnValue:
    """Take the token of a mailed link out of the address. The link is neither used nor looked up here."""
    no_referrer(request.environ)
    if purpose not in mailed_link.PAGES or len(token) > LONGEST_LINK_TOKEN or not token.isascii():
        refuse(404, "mailed-link-fixed-origin")
    answer = make_response(redirect(url_for(mailed_link.PAGES[purpose]), 303))
    mailed_link.keep(answer, purpose, token)
    return answer


def _kept_link(*purposes: str) -> Any:
    """The good link in this browser's cookie; 410 when there is none, 429 for a network that tries many."""
    token = mailed_link.kept(purposes[0])
    if not token:
        links.gone(purposes[0])
    return links.find(token, *purposes)


@blueprint.route("/activate", methods=["GET", "POST"])
@public
def activate() -> ResponseReturnValue:
    """Choose the password of the account that a mailed link makes."""
    link = _kept_link(*links.MAKES_ACCOUNT)
    form = ActivateForm()

    def page() -> str:
        return render_template("bastion/activate.html", form=form, email=link.email, advice=ADVICE)

    if request.method != "POST":
        return page()
    token = mailed_link.kept(links.ACTIVATE)
    perform(form, page, lambda: registration.activate(token, form.password.data or "", form.display_name.data or ""))
    return _used("Your account is ready. Sign in with your address and password.")


@blueprint.route("/reset", methods=["GET", "POST"])
@public
def reset() -> ResponseReturnValue:
    """Choose another password, by a mailed link."""
    link = _kept_link(links.RESET)
    form = ResetForm()

    def page() -> str:
        return render_template("bastion/reset.html", form=form, email=link.email, advice=ADVICE)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: recovery.complete_reset(mailed_link.kept(links.RESET), form.password.data or ""))
    if current_user.is_authenticated and current_user.id == link.user_id:
        session.clear()  # its row has ended with all others
    return _used("Your password is changed, and all sessions have ended. Sign in again.")


def _used(message: str) -> Response:
    flash(message, "success")
    answer = make_response(redirect(url_for("bastion.login"), 303))
    mailed_link.drop(answer)
    return answer


# ---- proving once more who it is -------------------------------------------------------------------------------------


@blueprint.route("/reauth", methods=["GET", "POST"])
@login_required(without_factor=True)
def reauthenticate() -> ResponseReturnValue:
    """Ask once more who it is before something sensitive; `next` is where it was asked for."""
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
    """The same by a passkey, which needs no password."""
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
    """What this account can be asked for; the form that was sent shows what was wrong with it."""
    held = factors.held(current_user.id)
    asked = passkeys.step_up(me()) if held.passkeys else None
    password = form if isinstance(form, PresentPasswordForm) else PresentPasswordForm(formdata=None)
    password.code.flags.required = bool(held)
    return render_template("bastion/reauthenticate.html", form=form, password=password, held=held, asked=asked)


# ---- one's own account -----------------------------------------------------------------------------------------------


@blueprint.get("/account", endpoint="account")
@login_required
def show_account() -> ResponseReturnValue:
    """Name, address, live sessions and recent security events of one's own."""
    idle = timedelta(minutes=state().limits.session_idle_minutes)
    rows = [
        {**row._mapping, "current": row.id == current_user.session_id}
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
    """End one of one's own sessions; another user's is not there."""
    if not sessions.end(session_id, current_user.id):
        refuse(404, "ownership-404")
    audit.record("session.ended", user_id=current_user.id, session_id=session_id)
    return _back("The session has ended.")


@blueprint.post("/account/sessions/end-others")
@login_required(fresh=True)
def end_others() -> ResponseReturnValue:
    """End all of one's own sessions but this one."""
    ended = sessions.end_all(current_user.id, but=current_user.session_id)
    if ended:  # or whoever is in could write rows without end
        audit.record("session.ended_others", user_id=current_user.id, session_id=current_user.session_id, count=ended)
    return _back("All other sessions have ended.")


@blueprint.route("/account/name", methods=["GET", "POST"])
@login_required
def change_name() -> ResponseReturnValue:
    """Change the name that is shown."""
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
    """Change the password, with the present one."""
    form = ChangePasswordForm()

    def page() -> str:
        return render_template("bastion/password.html", form=form, email=current_user.email, advice=ADVICE)

    if request.method != "POST":
        return page()
    opened = perform(
        form, page, lambda: account.change_password(me(), form.current.data or "", form.password.data or "")
    )
    begin(opened.token)
    return _back("Your password is changed, and all other sessions have ended.")


@blueprint.route("/account/email", methods=["GET", "POST"])
@login_required(fresh=True)
def change_email() -> ResponseReturnValue:
    """Ask for another address; it counts when the link that is mailed to it was confirmed."""
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
    """Put the address of a mailed link in force, for the account that asked for it."""
    link = _kept_link(links.EMAIL)
    if link.user_id != current_user.id:
        links.gone(links.EMAIL)
    form = LinkForm()

    def page() -> str:
        return render_template("bastion/confirm_email.html", form=form, email=link.email)

    if request.method != "POST":
        return page()
    opened = perform(form, page, lambda: account.confirm_email_change(me(), mailed_link.kept(links.EMAIL)))
    begin(opened.token)
    answer = _back("Your address is changed, and all other sessions have ended.")
    mailed_link.drop(answer)
    return answer


@blueprint.post("/account/export")
@login_required(fresh=True)
def export() -> ResponseReturnValue:
    """Everything that is stored about oneself, as a file."""
    text = json.dumps(account.export(me()), default=str, ensure_ascii=False, indent=2)
    answer = Response(text, mimetype="application/json")
    answer.headers["Content-Disposition"] = 'attachment; filename="my-data.json"'
    return answer


@blueprint.route("/account/delete", methods=["GET", "POST"])
@login_required(fresh=True)
def delete_account() -> ResponseReturnValue:
    """Delete one's own account with everything that belongs to it."""
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
