"""A mailed link's token leaves the address bar at once: it goes, signed, into a cookie, and nothing has happened yet.

In an address it would be in the browser's history and in the Referer of the next page; and mail scanners open every
link, so opening one must not use it. Source: ASVS 3.5.3, 14.2.1.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import ClassVar, Final

from flask import Response, request
from wtforms import HiddenField
from wtforms.validators import Length

from ..audit.refusal import refuse
from ..crypto import signing
from ..identity import links
from ..state import state
from .forms import SubmittedForm

PAGES: Final = {
    links.ACTIVATE: "bastion.activate",
    links.INVITE: "bastion.activate",
    links.CREATE: "bastion.activate",
    links.RESET: "bastion.reset",
    links.EMAIL: "bastion.confirm_email",
}
"""Purpose of a link to the endpoint of the page with its form."""
GOOD_FOR: Final = timedelta(minutes=10)  # to fill in the form


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
