"""Pages of second factors: the second step of a login, and the enrolment and removal of factors.

identity/ decides whether a code or passkey is valid; opening a page adds no row. Recovery codes appear in one answer
only, which no address leads back to, so an attacker in a later session cannot read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import segno
from flask import Response, flash, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from wtforms import HiddenField, StringField
from wtforms.validators import InputRequired, Length

from ..audit.refusal import refuse
from ..crypto import signing
from ..identity import factors, flows, login, passkeys, recovery_codes
from ..identity.sessions import Opened
from ..request.access import login_required, public
from ..request.authentication import current_user
from ..text import strict_json
from .cookie import PENDING, arrival, begin, enter
from .forms import LoginForm, PlainText, SubmittedForm, perform
from .pages import blueprint, go_on, login_page, me, start_page

LONGEST_CREDENTIAL: Final = 16_384  # characters: an RSA key and its certificates take about 4,000
QUIET: Final = 4  # modules of white that a reader needs around a QR code (ISO/IEC 18004)
WRONG_CODE: Final = "This code is not right. Codes of an app are good for thirty seconds, and each of them once."
WRONG_PASSKEY: Final = "This passkey was not accepted."
ENDED: Final = "This sign-in took too long, or there were too many wrong codes. Sign in again."
T = TypeVar("T")


class CodeForm(SubmittedForm):
    """A code of an authenticator app, or a recovery code."""

    code = StringField("Code", [InputRequired(), Length(max=recovery_codes.LONGEST)])


class PasskeyForm(SubmittedForm):
    """Fields that passkey.js fills in: the device's answer, and the signed challenge that it answers."""

    state = HiddenField("Challenge", [InputRequired(), Length(max=signing.LONGEST)])
    credential = HiddenField("Passkey", [InputRequired("The device gave no answer."), Length(max=LONGEST_CREDENTIAL)])

    def answer(self) -> dict[str, Any]:
        """Return the answer, parsed as strict JSON; 400 for invalid JSON."""
        try:
            found: dict[str, Any] = strict_json.loads((self.credential.data or "").encode())
        except strict_json.InvalidJSON:
            refuse(400, "json-strict")
        return found


class NewPasskeyForm(PasskeyForm):
    """A new passkey, and the name by which its owner recognises it."""

    name = StringField("Name", [InputRequired(), Length(max=passkeys.LONGEST_NAME), PlainText()])


class PasskeyNameForm(SubmittedForm):
    """A new name for a passkey."""

    name = StringField("Name", [InputRequired(), Length(max=passkeys.LONGEST_NAME), PlainText()])


# ---- signing in ------------------------------------------------------------------------------------------------------


@blueprint.route("/login/passkey", methods=["GET", "POST"])
@public
def passkey_login() -> ResponseReturnValue:
    """Sign in with a passkey, no password. All clients get the same options, and all failures look the same."""
    form = PasskeyForm()

    def page() -> str:
        return render_template("bastion/login_passkey.html", form=form, asked=passkeys.login())

    if request.method != "POST":
        return page()
    opened = perform(
        form,
        page,
        lambda: login.with_passkey(form.state.data or "", form.answer(), arrival()),
        wrong=WRONG_PASSKEY,
    )
    enter(opened)
    return go_on()


@blueprint.get("/login/factor")
@public
def second_factor() -> ResponseReturnValue:
    """Ask for the second factor of the waiting login; redirect to the login form without one."""
    if flows.find(flows.LOGIN, _handle()) is None:
        if session.pop(PENDING, None) is not None:
            flash(ENDED, "info")
        return redirect(url_for("bastion.login"), 303)
    return _factor_page(CodeForm(formdata=None))


@blueprint.post("/login/factor")
@public
def check_code() -> ResponseReturnValue:
    """Complete the waiting login with a code."""
    form = CodeForm()
    return _complete(
        form, WRONG_CODE, lambda: login.with_code(_handle(), form.code.data or "", arrival()), field="code"
    )


@blueprint.post("/login/factor/passkey")
@public
def check_second_passkey() -> ResponseReturnValue:
    """Complete the waiting login with a passkey."""
    form = PasskeyForm()
    return _complete(
        form,
        WRONG_PASSKEY,
        lambda: login.with_second_passkey(_handle(), form.state.data or "", form.answer(), arrival()),
    )


@blueprint.post("/login/factor/cancel")
@public
def cancel_login() -> ResponseReturnValue:
    """End the waiting login; its token is invalid from then on."""
    login.abandon(_handle())
    session.pop(PENDING, None)
    return redirect(url_for("bastion.login"), 303)


def _handle() -> str:
    """Return the token of this browser's waiting login, or an empty text."""
    kept = session.get(PENDING)
    return kept if isinstance(kept, str) else ""


def _complete(form: SubmittedForm, wrong: str, action: Callable[[], Opened], field: str = "") -> ResponseReturnValue:
    enter(perform(form, lambda: _factor_page(form), action, wrong=wrong, field=field))
    return go_on()


def _factor_page(form: SubmittedForm) -> str:
    """Return the page with the account's methods, or the login form when the waiting login has ended."""
    flow = flows.find(flows.LOGIN, _handle())
    if flow is None:
        session.pop(PENDING, None)
        anew = LoginForm(formdata=None)
        anew.form_errors = [ENDED]
        return login_page(anew)
    held = factors.held(flow.user_id)
    asked = passkeys.second_factor(flow.user_id, flow.id) if held.passkeys else None
    code = form if isinstance(form, CodeForm) else CodeForm(formdata=None)
    return render_template("bastion/login_factor.html", form=form, code=code, held=held, asked=asked)


# ---- what an account has ---------------------------------------------------------------------------------------------


@blueprint.get("/account/factors", endpoint="factors")
@login_required(without_factor=True)
def show_factors() -> ResponseReturnValue:
    """Show the account's second factors and the possible actions."""
    return render_template(
        "bastion/factors.html", held=factors.held(current_user.id), passkeys=passkeys.of(current_user.id)
    )


@blueprint.route("/account/factors/totp", methods=["GET", "POST"], endpoint="totp")
@login_required(without_factor=True, fresh=True)
def begin_totp() -> ResponseReturnValue:
    """Show the seed for an authenticator app in this answer only; no address leads back to it."""
    if request.method == "POST":
        return _totp_page(CodeForm(formdata=None), factors.begin_totp(me()))
    return render_template("bastion/totp.html", form=None, replaces=factors.held(current_user.id).totp)


@blueprint.post("/account/factors/totp/confirm")
@login_required(without_factor=True)  # the seed was given out when this session was fresh, ten minutes ago at the most
def confirm_totp() -> ResponseReturnValue:
    """Activate the app with its first code."""
    form = CodeForm()
    enrolled = perform(form, lambda: _totp_page(form), lambda: factors.confirm_totp(me(), form.code.data or ""))
    return _enrolled(enrolled, "Your authenticator app is set up.")


def _totp_page(form: CodeForm, begun: factors.Enrolment | None = None) -> str:
    return render_template(
        "bastion/totp.html",
        form=form,
        seed=" ".join(begun.seed[start : start + 4] for start in range(0, len(begun.seed), 4)) if begun else "",
        qr=_qr(begun.uri) if begun else None,
    )


def _qr(text: str) -> tuple[int, str]:
    """Return the QR code of this text: its width, and its black modules as an SVG path."""
    rows = [bytes(row) for row in segno.make_qr(text, error="m").matrix_iter(border=QUIET)]
    black = [(x, y) for y, row in enumerate(rows) for x, module in enumerate(row) if module]
    return len(rows), "".join(f"M{x} {y}h1v1h-1z" for x, y in black)


@blueprint.route("/account/factors/passkeys/new", methods=["GET", "POST"])
@login_required(without_factor=True, fresh=True)
def add_passkey() -> ResponseReturnValue:
    """Activate a new passkey."""
    form = NewPasskeyForm()

    def page() -> str:
        return render_template("bastion/add_passkey.html", form=form, asked=passkeys.registration(me()))

    if request.method != "POST":
        return page()
    enrolled = perform(
        form,
        page,
        lambda: factors.register_passkey(me(), form.state.data or "", form.answer(), form.name.data or ""),
    )
    return _enrolled(enrolled, "Your passkey is set up.")


def _enrolled(made: factors.Enrolled, message: str) -> Response:
    """Continue in the renewed session; the first recovery codes are shown only in this answer."""
    onward = start_page() if current_user.factor_missing else url_for("bastion.factors")
    begin(made.opened.token)
    if not made.recovery_codes:
        flash(message, "success")
        return make_response(redirect(onward, 303))
    return make_response(
        render_template("bastion/recovery_codes.html", codes=made.recovery_codes, message=message, onward=onward)
    )


@blueprint.route("/account/factors/passkeys/<uuid:passkey_id>", methods=["GET", "POST"])
@login_required(fresh=True)
def rename_passkey(passkey_id: UUID) -> ResponseReturnValue:
    """Rename one of the user's own passkeys."""
    found = _own_passkey(passkey_id)
    form = PasskeyNameForm(name=found.name)

    def page() -> str:
        action = url_for("bastion.rename_passkey", passkey_id=passkey_id)
        hint = "How you recognise it, for example “My phone”."
        return confirm("Rename a passkey", hint, "Save", action, kind="main", form=form)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: factors.rename_passkey(me(), passkey_id, form.name.data or ""))
    return _back("The passkey has another name.")


@blueprint.route("/account/factors/passkeys/<uuid:passkey_id>/remove", methods=["GET", "POST"])
@login_required(fresh=True)
def remove_passkey(passkey_id: UUID) -> ResponseReturnValue:
    """Remove one of the user's own passkeys."""
    found = _own_passkey(passkey_id)
    if request.method == "POST":
        begin(factors.remove_passkey(me(), passkey_id).token)
        return _back("The passkey is removed, and all other sessions have ended.")
    return confirm(
        f"Remove the passkey “{found.name}”?",
        f"It no longer signs you in. {_consequences()}",
        "Remove passkey",
        url_for("bastion.remove_passkey", passkey_id=passkey_id),
    )


def _own_passkey(passkey_id: UUID) -> Any:
    """Return this passkey of the account; 404 when the account has no such passkey."""
    for one in passkeys.of(current_user.id):
        if one.id == passkey_id:
            return one
    return refuse(404, "ownership-404")


@blueprint.route("/account/factors/totp/remove", methods=["GET", "POST"])
@login_required(fresh=True)
def remove_totp() -> ResponseReturnValue:
    """Remove the authenticator app."""
    if request.method == "POST":
        begin(factors.remove_totp(me()).token)
        return _back("The authenticator app is removed, and all other sessions have ended.")
    return confirm(
        "Remove the authenticator app?",
        f"Its codes no longer sign you in. {_consequences()}",
        "Remove authenticator app",
        url_for("bastion.remove_totp"),
    )


def _consequences() -> str:
    """Return the text about the other effects of removing a factor."""
    held = factors.held(current_user.id)
    last = held.totp + held.passkeys + held.suspended == 1
    codes = " It is your last second factor, so your recovery codes are worthless then, too." if last else ""
    return f"All your other sessions end.{codes}"


@blueprint.route("/account/factors/codes", methods=["GET", "POST"])
@login_required(fresh=True)
def renew_codes() -> ResponseReturnValue:
    """Make new recovery codes, which makes the old ones invalid."""
    if request.method == "POST":
        return _enrolled(factors.renew_codes(me()), "Your old recovery codes are worthless now.")
    return confirm(
        "Make new recovery codes?",
        "You get ten new ones, and the old ones are worthless. All your other sessions end.",
        "Make new codes",
        url_for("bastion.renew_codes"),
        kind="main",
    )


def confirm(
    title: str,
    text: str,
    button: str,
    action: str,
    *,
    kind: str = "danger",
    back: tuple[str, str] | None = None,
    form: PasskeyNameForm | None = None,
) -> str:
    """Return a page that asks for confirmation; it posts to `action`, and its link leads `back` (text, address)."""
    back = back or ("Second factors", url_for("bastion.factors"))
    return render_template(
        "bastion/confirm.html", title=title, text=text, button=button, action=action, kind=kind, back=back, form=form
    )


def _back(message: str) -> Response:
    flash(message, "success")
    return make_response(redirect(url_for("bastion.factors"), 303))
