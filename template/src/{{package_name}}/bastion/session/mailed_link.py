"""Mailed links: opening one moves its token at once from the address into a signed cookie, and uses nothing up.

This stops leaks of the token through the browser's history and the Referer. Mail scanners open every link, so opening
must not use it. The pages that request such mails are here too; identity/ decides what their answers may reveal.
Source: ASVS 3.5.3, 14.2.1.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Any, ClassVar, Final

from flask import Response, flash, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from wtforms import HiddenField, StringField
from wtforms.validators import Length

from ..audit.refusal import refuse
from ..crypto import signing
from ..edge import no_referrer
from ..identity import links, recovery, registration
from ..identity.passwords import ADVICE
from ..identity.users import LONGEST_NAME
from ..request.access import public
from ..request.authentication import current_user
from ..state import state
from .cookie import device_token
from .forms import AddressForm, NewPasswordForm, SubmittedForm, perform
from .pages import blueprint

PAGES: Final = {
    links.ACTIVATE: "bastion.activate",
    links.INVITE: "bastion.activate",
    links.CREATE: "bastion.activate",
    links.RESET: "bastion.reset",
    links.EMAIL: "bastion.confirm_email",
}
"""Purpose of a link to the endpoint of the page with its form."""
GOOD_FOR: Final = timedelta(minutes=10)  # to fill in the form
LONGEST_LINK_TOKEN: Final = 100  # characters; ours have 43


class LinkForm(SubmittedForm):
    """A form that a mailed link leads to, bound to this link even if the browser has opened another one since.

    Otherwise an attacker could open their own link in a victim's browser, and the victim would set its password.
    """

    purpose: ClassVar = links.EMAIL  # whose form has no other field
    link = HiddenField("Link", [Length(max=64)])

    def __init__(self) -> None:
        mark = _mark(kept(self.purpose))
        super().__init__(link=mark)
        if self.is_submitted() and not compare_digest(request.form.get("link", "").encode(), mark.encode()):
            refuse(409, "login-credentials-in-body-only")


class ResetForm(LinkForm, NewPasswordForm):
    """The new password for the account of a mailed link."""

    purpose = links.RESET


class ActivateForm(LinkForm, NewPasswordForm):
    """The password and name for the new account of a mailed link."""

    purpose = links.ACTIVATE
    display_name = StringField("Name", [Length(max=LONGEST_NAME)])


def address_of(purpose: str, token: str | None) -> str:
    """Return the address for a mail, of this service's own origin; without a token, of the page to request a link."""
    origin = state().settings.public_origin
    return f"{origin}/forgot" if token is None else f"{origin}/link/{purpose}/{token}"


def by_hand(purpose: str, token: str) -> str:
    """Return the instruction for a mail on a developer's terminal."""
    return f"Open {address_of(purpose, token)}"


def cookie_name() -> str:
    """Return `__Host-link`, or `link` in development, where browsers over http refuse the prefix."""
    return "__Host-link" if state().settings.production else "link"


def keep(response: Response, purpose: str, token: str) -> None:
    """Put the token into the signed cookie, valid only for its purpose."""
    response.set_cookie(
        cookie_name(),
        signing.sign(f"link-{_kind(purpose)}", token),
        max_age=GOOD_FOR,
        secure=state().settings.production,
        httponly=True,
        samesite="Lax",
        path="/",
    )


def kept(purpose: str) -> str:
    """Return the cookie's token for this purpose, or an empty text."""
    return signing.unsign(f"link-{_kind(purpose)}", request.cookies.get(cookie_name(), ""), GOOD_FOR) or ""


def _mark(token: str) -> str:
    """Return the name of the link in its form; it opens nothing and differs from the stored hash."""
    return sha256(f"form {token}".encode()).hexdigest()


def drop(response: Response) -> None:
    """Delete the cookie of a used link."""
    response.delete_cookie(cookie_name(), path="/", secure=state().settings.production, httponly=True, samesite="Lax")


def _kind(purpose: str) -> str:
    """Return the form's name: links of several purposes share one form, which accepts each of them."""
    return PAGES[purpose].rpartition(".")[2]


# ---- the pages -----------------------------------------------------------------------------------------------------


@blueprint.route("/register", methods=["GET", "POST"])
@public
def register() -> ResponseReturnValue:
    """Request an account. Nothing is decided here: the mailed link makes it."""
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
    """Request a link to set a new password."""
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
    """Ask the visitor to check their mail: the same page whether or not a mail is sent."""
    return render_template("bastion/sent.html")


@blueprint.get("/link/<purpose>/<token>")
@public
def open_link(purpose: str, token: str) -> ResponseReturnValue:
    """Move the token of a mailed link from the address into the cookie. It is neither used nor looked up here."""
    no_referrer(request.environ)
    if purpose not in PAGES or len(token) > LONGEST_LINK_TOKEN or not token.isascii():
        refuse(404, "mailed-link-fixed-origin")
    answer = make_response(redirect(url_for(PAGES[purpose]), 303))
    keep(answer, purpose, token)
    return answer


def kept_link(*purposes: str) -> Any:
    """Return the usable link of this browser's cookie; 410 without one, 429 after too many wrong tokens."""
    token = kept(purposes[0])
    if not token:
        links.gone(purposes[0])
    return links.find(token, *purposes)


@blueprint.route("/activate", methods=["GET", "POST"])
@public
def activate() -> ResponseReturnValue:
    """Set the password of the new account of a mailed link."""
    link = kept_link(*links.MAKES_ACCOUNT)
    form = ActivateForm()

    def page() -> str:
        return render_template("bastion/activate.html", form=form, email=link.email, advice=ADVICE)

    if request.method != "POST":
        return page()
    token = kept(links.ACTIVATE)
    perform(form, page, lambda: registration.activate(token, form.password.data or "", form.display_name.data or ""))
    return _used("Your account is ready. Sign in with your address and password.")


@blueprint.route("/reset", methods=["GET", "POST"])
@public
def reset() -> ResponseReturnValue:
    """Set a new password by a mailed link."""
    link = kept_link(links.RESET)
    form = ResetForm()

    def page() -> str:
        return render_template("bastion/reset.html", form=form, email=link.email, advice=ADVICE)

    if request.method != "POST":
        return page()
    perform(form, page, lambda: recovery.complete_reset(kept(links.RESET), form.password.data or ""))
    if current_user.is_authenticated and current_user.id == link.user_id:
        session.clear()  # its row has ended with all others
    return _used("Your password is changed, and all sessions have ended. Sign in again.")


def _used(message: str) -> Response:
    flash(message, "success")
    answer = make_response(redirect(url_for("bastion.login"), 303))
    drop(answer)
    return answer
