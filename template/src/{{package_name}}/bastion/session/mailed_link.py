"""A mailed link's token leaves the address bar at once: it goes, signed, into a cookie, and nothing has happened yet.

In an address it would be in the browser's history and in the Referer of the next page; and mail scanners open every
link, so opening one must not use it. The pages that have one mailed are here as well; what a stranger must not learn is
decided in identity/. Source: ASVS 3.5.3, 14.2.1.
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
    """A form that a mailed link leads to. It is for the account of that link, whatever was opened since.

    The cookie alone would let whoever makes the browser open a link of his have its user choose his password.
    """

    purpose: ClassVar = links.EMAIL  # whose form has no other field
    link = HiddenField("Link", [Length(max=64)])

    def __init__(self) -> None:
        mark = _mark(kept(self.purpose))
        super().__init__(link=mark)
        if self.is_submitted() and not compare_digest(request.form.get("link", "").encode(), mark.encode()):
            refuse(409, "login-credentials-in-body-only")


class ResetForm(LinkForm, NewPasswordForm):
    """The new password that the reader of a mailed link chooses."""

    purpose = links.RESET


class ActivateForm(LinkForm, NewPasswordForm):
    """What the reader of a mailed link decides about the new account."""

    purpose = links.ACTIVATE
    display_name = StringField("Name", [Length(max=LONGEST_NAME)])


def address_of(purpose: str, token: str | None) -> str:
    """The address to put into a mail, of this service's own origin; without a token the page to ask for a new link."""
    origin = state().settings.public_origin
    return f"{origin}/forgot" if token is None else f"{origin}/link/{purpose}/{token}"


def by_hand(purpose: str, token: str) -> str:
    """How to go on from the mail on a developer's terminal."""
    return f"Open {address_of(purpose, token)}"


def cookie_name() -> str:
    """`__Host-link`; in development over http browsers take it without the prefix alone."""
    return "__Host-link" if state().settings.production else "link"


def keep(response: Response, purpose: str, token: str) -> None:
    """Put the token into the cookie, for its purpose alone."""
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
    """The token that the cookie holds for this purpose, or an empty text."""
    return signing.unsign(f"link-{_kind(purpose)}", request.cookies.get(cookie_name(), ""), GOOD_FOR) or ""


def _mark(token: str) -> str:
    """Names the link in its form; it opens nothing, and is not what is stored of it."""
    return sha256(f"form {token}".encode()).hexdigest()


def drop(response: Response) -> None:
    """The link was used: forget the cookie."""
    response.delete_cookie(cookie_name(), path="/", secure=state().settings.production, httponly=True, samesite="Lax")


def _kind(purpose: str) -> str:
    """Links of several purposes lead to one form, which takes each of them."""
    return PAGES[purpose].rpartition(".")[2]


# ---- the pages -----------------------------------------------------------------------------------------------------


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
    if purpose not in PAGES or len(token) > LONGEST_LINK_TOKEN or not token.isascii():
        refuse(404, "mailed-link-fixed-origin")
    answer = make_response(redirect(url_for(PAGES[purpose]), 303))
    keep(answer, purpose, token)
    return answer


def kept_link(*purposes: str) -> Any:
    """The good link in this browser's cookie; 410 when there is none, 429 for a network that tries many."""
    token = kept(purposes[0])
    if not token:
        links.gone(purposes[0])
    return links.find(token, *purposes)


@blueprint.route("/activate", methods=["GET", "POST"])
@public
def activate() -> ResponseReturnValue:
    """Choose the password of the account that a mailed link makes."""
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
    """Choose another password, by a mailed link."""
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
