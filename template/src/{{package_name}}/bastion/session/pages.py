"""Signing in and out, and the account page with one's own sessions: everything about them is decided in identity/."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from flask import (
    Blueprint,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue

from .. import audit
from ..access import login_required, public
from ..authentication import current_user
from ..errors import Refused, refuse
from ..identity import sessions
from ..state import state
from . import csp_report
from .cookie import NEXT, log_in, log_out
from .forms import LoginForm
from .redirects import safe_next

STATIC: Final = Path(__file__).parent / "static"
STATIC_SECONDS: Final = 3600  # how long a browser may keep the stylesheet without asking
blueprint: Final = Blueprint("bastion", __name__, template_folder="templates")
MESSAGES: Final = {
    401: "The address or the password is not right.",
    429: "Too many attempts. Wait a while, then try again.",
    503: "Too many people are signing in just now. Try again in a moment.",
}


def start_page() -> str:
    """Where a signed-in visitor begins: the team's start page, or the account."""
    return url_for(state().team.start_page or "bastion.account")


def unauthenticated() -> ResponseReturnValue:
    """Send the visitor to sign in; where he wanted to go comes along and is checked when it is used."""
    wanted = request.full_path.rstrip("?") if request.method == "GET" and request.path != "/" else None
    return redirect(url_for("bastion.login", next=wanted), 303)


def not_fresh() -> ResponseReturnValue:
    """Ask once more who it is before something sensitive."""
    return unauthenticated()


@blueprint.get("/")
@public
def home() -> ResponseReturnValue:
    """The start page for whom is signed in, the login form for everybody else."""
    return redirect(start_page() if current_user.is_authenticated else url_for("bastion.login"), 303)


@blueprint.get("/login")
@public
def login() -> ResponseReturnValue:
    """The login form. `next` is kept in the signed cookie, not in the form."""
    wanted = safe_next(request.args.get("next"), "")
    if wanted:
        session[NEXT] = wanted
    return render_template("bastion/login.html", form=LoginForm())


@blueprint.post("/login")
@public
def check_login() -> ResponseReturnValue:
    """Sign in. Every reason for a failure gives the same page and status."""
    form = LoginForm()
    if not form.validate():
        return render_template("bastion/login.html", form=form), 422
    try:
        log_in(form.identifier.data or "", form.password.data or "")
    except Refused as refused:
        form.form_errors = [MESSAGES.get(refused.code or 401, MESSAGES[401])]
        page = make_response(render_template("bastion/login.html", form=form), refused.code)
        page.headers.extend(refused.get_headers())
        return page
    return redirect(safe_next(session.pop(NEXT, None), start_page()), 303)


@blueprint.post("/logout")
@login_required
def logout() -> ResponseReturnValue:
    """End this session on the server, then tidy up in the browser."""
    audit.record("logout", user_id=current_user.id, session_id=current_user.session_id)
    log_out()
    answer = redirect(url_for("bastion.login"), 303)
    answer.headers["Clear-Site-Data"] = '"storage"'
    return answer


def _idle() -> timedelta:
    return timedelta(minutes=state().limits.session_idle_minutes)


@blueprint.get("/account")
@login_required
def account() -> ResponseReturnValue:
    """One's own address and live sessions."""
    rows = [_described(row) for row in sessions.live_sessions(current_user.id, idle=_idle())]
    return render_template("bastion/account.html", user_email=current_user.email, sessions=rows)


def _described(row: Any) -> dict[str, Any]:
    return {**row._mapping, "current": row.id == current_user.session_id}


@blueprint.post("/account/sessions/<uuid:session_id>/end")
@login_required
def end_session(session_id: UUID) -> ResponseReturnValue:
    """End one of one's own sessions; another user's is not there."""
    if not sessions.end(session_id, current_user.id):
        refuse(404, "ownership-404")
    audit.record("session.ended", user_id=current_user.id, session_id=session_id)
    flash("The session has ended.", "success")
    return redirect(url_for("bastion.account"), 303)


@blueprint.post("/account/sessions/end-others")
@login_required
def end_others() -> ResponseReturnValue:
    """End all of one's own sessions but this one."""
    ended = sessions.end_all(current_user.id, but=current_user.session_id)
    audit.record("session.ended_others", user_id=current_user.id, session_id=current_user.session_id, count=ended)
    flash("All other sessions have ended.", "success")
    return redirect(url_for("bastion.account"), 303)


@blueprint.get("/static/bastion/<path:filename>")
@public
def static(filename: str) -> ResponseReturnValue:
    """The stylesheet; every visitor gets the same bytes."""
    return send_from_directory(STATIC, filename, max_age=STATIC_SECONDS)


@blueprint.post("/csp-report", endpoint="csp_report")  # csrf.py, cross_site.py and authentication.py know it
@public
def csp_reports() -> ResponseReturnValue:
    """Where browsers tell what the Content-Security-Policy stopped."""
    return csp_report.receive()
