"""Login and logout pages; identity/ makes the decisions. Other pages: account.py, administration.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, redirect, render_template, request, send_from_directory, session, url_for
from flask.typing import ResponseReturnValue

from .. import audit
from ..audit.refusal import refuse
from ..identity import login as identity
from ..identity import passkeys
from ..request.access import expects_json, login_required, public
from ..request.authentication import current_user
from ..state import state
from . import csp_report
from .cookie import NEXT, accept, arrival, log_in, log_out
from .forms import LoginForm, perform
from .redirects import page_of_action, safe_next

STATIC: Final = Path(__file__).parent / "static"
STATIC_SECONDS: Final = 3600  # how long a browser may keep the stylesheet without asking
blueprint: Final = Blueprint("bastion", __name__, template_folder="templates")


def start_page() -> str:
    """Return the first page of a signed-in user: the team's start page, or the account."""
    return url_for(state().team.start_page or "bastion.account")


def go_on() -> ResponseReturnValue:
    """Redirect after authentication to the requested page, or to the start page."""
    return redirect(safe_next(session.pop(NEXT, None), start_page()), 303)


def me() -> Any:
    """Return the signed-in user itself, not the proxy: it is compared and kept."""
    return current_user._get_current_object()  # type: ignore[attr-defined]


def unauthenticated() -> ResponseReturnValue:
    """Redirect the visitor to the login form; the requested page comes along and is validated on use."""
    wanted = request.full_path.rstrip("?") if request.method == "GET" and request.path != "/" else None
    return _send_to("bastion.login", "deny-by-default", next=wanted)


def not_fresh() -> ResponseReturnValue:
    """Redirect to re-authentication. A posted form is not repeated: the user returns to its page."""
    wanted = request.full_path.rstrip("?") if request.method == "GET" else page_of_action(request.path)
    return _send_to("bastion.reauthenticate", "fresh-login-5-min", next=wanted)


def factor_missing() -> ResponseReturnValue:
    """Redirect a user without a required second factor in this session, to enrol one or to use it."""
    return _send_to("bastion.factors", "mfa-required-for-admins")


def _send_to(page: str, reason: str, **query: Any) -> ResponseReturnValue:
    """Redirect a person to this page; refuse a script with 401, which names the page (RFC 9110, 11.6.1)."""
    if expects_json():
        refuse(401, reason, headers=[("WWW-Authenticate", f'Cookie form-action="{url_for(page)}"')])
    return redirect(url_for(page, **query), 303)


@public
def home() -> ResponseReturnValue:
    """Redirect a signed-in user to the start page, other visitors to the login form."""
    return redirect(start_page() if current_user.is_authenticated else url_for("bastion.login"), 303)


@blueprint.get("/login")
@public
def login() -> ResponseReturnValue:
    """Show the login form. `next` is kept in the signed cookie, not in the form."""
    wanted = safe_next(request.args.get("next"), "")
    if wanted:
        session[NEXT] = wanted
    return login_page(LoginForm())


def login_page(form: LoginForm) -> str:
    """Return the login page. It suggests passkeys before the first attempt: all failures give the same page."""
    asked = None if form.errors else passkeys.login()
    return render_template("bastion/login.html", form=form, asked=asked)


@blueprint.post("/login")
@public
def check_login() -> ResponseReturnValue:
    """Sign in. Every reason for a failure gives the same page and status."""
    form = LoginForm()
    complete = perform(
        form,
        lambda: login_page(form),
        lambda: log_in(form.identifier.data or "", form.password.data or ""),
        wrong="The address or the password is not right.",
    )
    return go_on() if complete else redirect(url_for("bastion.second_factor"), 303)


def sign_in(user_id: UUID, method: str) -> ResponseReturnValue:
    """Sign in a user whom another service has authenticated, and return the answer of the view that checked that.

    `method`, such as "oidc", is recorded and is no second factor. 401 for a disabled account; ValueError for a reserved
    method.
    """
    complete = accept(identity.with_foreign(user_id, method, arrival()))
    return go_on() if complete else redirect(url_for("bastion.second_factor"), 303)


@blueprint.post("/logout")
@login_required(without_factor=True)
def logout() -> ResponseReturnValue:
    """End this session on the server, then clear the browser's data."""
    audit.record("logout", user_id=current_user.id, session_id=current_user.session_id)
    log_out()
    answer = redirect(url_for("bastion.login"), 303)
    answer.headers["Clear-Site-Data"] = '"storage"'
    return answer


@blueprint.get("/static/bastion/<path:filename>")
@public
def static(filename: str) -> ResponseReturnValue:
    """Return the stylesheet or the passkey script; every visitor gets the same bytes."""
    return send_from_directory(STATIC, filename, max_age=STATIC_SECONDS)


@blueprint.post(
    "/csp-report", endpoint="csp_report"
)  # csrf.py, request/cross_site.py and request/authentication.py know it
@public
def csp_reports() -> ResponseReturnValue:
    """Receive browsers' reports of Content-Security-Policy violations."""
    return csp_report.receive()
