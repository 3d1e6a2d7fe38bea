"""Operations on the user's own account: registration, reset, changes with re-authentication, export and deletion.

This stops account enumeration: the answer for an address is the same with or without an account. identity/ makes the
decisions. Each answer that replaces a session holds a new pair of tokens; the old pair is invalid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from flask import Blueprint
from pydantic import Field, JsonValue, SecretStr
from pydantic_core import to_jsonable_python

from ..audit.refusal import refuse
from ..identity import account, recovery, registration, users
from ..identity.attempts import BUSY_SECONDS
from ..identity.passwords import LONGEST_TYPED, SHORTEST, Busy
from ..identity.recovery_codes import LONGEST as LONGEST_CODE
from ..request.access import login_required, public
from ..request.authentication import current_user
from . import refresh
from .api import operation
from .endpoints import DeviceToken, TokenAnswer
from .schema import Answer, Schema

blueprint: Final = Blueprint("bastion_account", __name__)
Address = Annotated[str, Field(min_length=1, max_length=users.LONGEST_IDENTIFIER)]
Name = Annotated[str, Field(max_length=users.LONGEST_NAME)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_TYPED)]
# Only documents the minimum length: identity/ checks it, on the normalised password.
NewPassword = Annotated[Password, Field(json_schema_extra={"minLength": SHORTEST})]
MailedToken = Annotated[SecretStr, Field(min_length=1, max_length=100)]


class AddressBody(Schema):
    """The address to mail to."""

    email: Address


class ForgottenBody(AddressBody):
    """The address to reset. With the device token of an earlier login, an attacker cannot use up the limit of mails."""

    device_token: DeviceToken = SecretStr("")


class ActivateBody(Schema):
    """The token of a mailed link, the password and the display name."""

    token: MailedToken
    password: NewPassword
    display_name: Name = ""


class ResetBody(Schema):
    """The token of a mailed link, and the new password."""

    token: MailedToken
    password: NewPassword


class ConfirmBody(Schema):
    """The token of a mailed link."""

    token: MailedToken


class ProofBody(Schema):
    """The current password and, for an account with a second factor, an app code or a recovery code."""

    password: Password
    code: Annotated[SecretStr, Field(max_length=LONGEST_CODE)] = SecretStr("")


class ChangeBody(Schema):
    """The current password and a new one."""

    current_password: Password
    new_password: NewPassword


class ProfileBody(Schema):
    """What a user may change of his account without a mail; nothing else is a field of it."""

    display_name: Name


class AcceptedAnswer(Answer):
    """The same answer for every request that may send a mail; it reveals nothing about the address."""

    status: str = "accepted"


class AccountAnswer(Answer):
    """The signed-in user."""

    id: UUID
    email: str
    display_name: str
    roles: list[str]
    permissions: list[str]
    session_id: UUID
    signed_in_at: datetime
    verified_at: datetime


class EventAnswer(Answer):
    """An event of the account."""

    at: datetime
    kind: str
    address: str


class EventsAnswer(Answer):
    """Recent events, newest first."""

    items: list[EventAnswer]


class ExportAnswer(Answer):
    """All stored data about the user: table name to rows."""

    tables: dict[str, list[dict[str, JsonValue]]]


@contextmanager
def answering(conflict: str = "admin-disable-immediate", **fields: str) -> Iterator[None]:
    """Answer errors of identity/: 422 for a field, 409 for a state, 503 when all hash slots are taken.

    `conflict` is the catalogue id of the protection that refuses with 409, for the log. `fields` are pointers into the
    body where they differ from identity's names: answering(password="#/new_password").
    """
    try:
        yield
    except users.UserError as error:
        text = str(error)  # written for the user who typed it
        if not error.field:
            refuse(409, conflict, errors=[{"detail": text}])
        name = fields.get(error.field, f"#/{error.field}")
        refuse(422, "input-validated-typed", errors=[{"pointer": name, "detail": text}])
    except Busy:
        refuse(503, "password-hash-concurrency", retry_after=BUSY_SECONDS)


# --- without an account, or without its password ------------------------------------------------------------------


@blueprint.post("/auth/register")
@public
@operation(status=202, refuses=(404,))
def register(body: AddressBody) -> AcceptedAnswer:
    """Request an account: a link is mailed to the address."""
    with answering():
        registration.register(body.email)
    return AcceptedAnswer()


@blueprint.post("/auth/activate")
@public
@operation(refuses=(410,))
def activate(body: ActivateBody) -> None:
    """Make the account of a mailed link. Opens no session."""
    with answering():
        registration.activate(body.token.get_secret_value(), body.password.get_secret_value(), body.display_name)


@blueprint.post("/auth/reset")
@public
@operation(status=202)
def request_reset(body: ForgottenBody) -> AcceptedAnswer:
    """Request a password reset: a link is mailed to the address if it has an account."""
    with answering():
        recovery.request_reset(body.email, body.device_token.get_secret_value())
    return AcceptedAnswer()


@blueprint.post("/auth/reset/complete")
@public
@operation(refuses=(410,))
def complete_reset(body: ResetBody) -> None:
    """Set a new password with a mailed link; all logins end. Opens no session."""
    with answering():
        recovery.complete_reset(body.token.get_secret_value(), body.password.get_secret_value())


# --- signed in ----------------------------------------------------------------------------------------------------


@blueprint.post("/auth/reauthenticate")
@login_required(without_factor=True)
@operation(refuses=(403,))
def reauthenticate(body: ProofBody) -> TokenAnswer:
    """Re-authenticate with the password, and a code if needed; returns a new pair."""
    password, code = body.password.get_secret_value(), body.code.get_secret_value()
    return TokenAnswer.of(refresh.first_pair(account.step_up(current_user, password, code)))


@blueprint.post("/auth/password")
@login_required
@operation(refuses=(403,))
def change_password(body: ChangeBody) -> TokenAnswer:
    """Change the password; all other logins end, and the answer holds a new pair."""
    with answering(password="#/new_password"):  # noqa: S106  (a field)
        current, new = body.current_password.get_secret_value(), body.new_password.get_secret_value()
        return TokenAnswer.of(refresh.first_pair(account.change_password(current_user, current, new)))


@blueprint.post("/auth/email")
@login_required(fresh=True)
@operation(status=202)
def request_email_change(body: AddressBody) -> AcceptedAnswer:
    """Request a new address: a link is mailed to it, and a notice to the current one."""
    with answering():
        account.request_email_change(current_user, body.email)
    return AcceptedAnswer()


@blueprint.post("/auth/email/confirm")
@login_required
@operation(refuses=(410,))
def confirm_email_change(body: ConfirmBody) -> TokenAnswer:
    """Activate the new address; all other logins end, and the answer holds a new pair."""
    return TokenAnswer.of(refresh.first_pair(account.confirm_email_change(current_user, body.token.get_secret_value())))


@blueprint.get("/auth/me")
@login_required
@operation
def me() -> AccountAnswer:
    """Return the signed-in user, with their present roles in the database."""
    return _own_account()


@blueprint.patch("/auth/me")
@login_required
@operation
def update_profile(body: ProfileBody) -> AccountAnswer:
    """Change the display name."""
    with answering():
        account.update_profile(current_user, body.display_name)
    return _own_account()


@blueprint.delete("/auth/me")
@login_required(fresh=True)
@operation(refuses=(409,))
def delete_account() -> None:
    """Delete the account and everything that belongs to it."""
    with answering():
        account.delete_account(current_user)


@blueprint.get("/auth/me/export")
@login_required(fresh=True)
@operation
def export() -> ExportAnswer:
    """Return all stored data about the user."""
    return ExportAnswer(tables=to_jsonable_python(account.export(current_user), bytes_mode="base64"))


@blueprint.get("/auth/events")
@login_required
@operation
def events() -> EventsAnswer:
    """Return recent events of the account."""
    return EventsAnswer.model_validate({"items": account.recent_events(current_user.id)})


def _own_account() -> AccountAnswer:
    row = users.shown(current_user.id)
    return AccountAnswer(
        id=current_user.id,
        email=current_user.email,
        display_name="" if row is None else row.display_name,  # gone since this request began
        roles=sorted(current_user.roles),
        permissions=sorted(current_user.permissions),
        session_id=current_user.session_id,
        signed_in_at=current_user.signed_in_at,
        verified_at=current_user.verified_at,
    )
