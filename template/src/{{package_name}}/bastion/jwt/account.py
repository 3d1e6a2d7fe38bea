"""One's own account, for programs: made by a mailed link, changed with the password, taken along, ended.

Everything about it is decided in identity/. What is asked for an address is answered alike whatever it belongs to, and
each answer that replaces a session holds the new pair of tokens: the old one is worth nothing.
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
# The length that counts is that of the normalised password, and is looked at with it; this only says so.
NewPassword = Annotated[Password, Field(json_schema_extra={"minLength": SHORTEST})]
MailedToken = Annotated[SecretStr, Field(min_length=1, max_length=100)]


class AddressBody(Schema):
    """Where to mail to."""

    email: Address


class ForgottenBody(AddressBody):
    """Whose password was forgotten; with what a login gave to this device, no stranger uses up the account's mails."""

    device_token: DeviceToken = SecretStr("")


class ActivateBody(Schema):
    """The token of a mailed link, and what its reader chooses."""

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
    """The present password and, for an account with a second factor, a code of the app or a recovery code."""

    password: Password
    code: Annotated[SecretStr, Field(max_length=LONGEST_CODE)] = SecretStr("")


class ChangeBody(Schema):
    """The present password, and another one."""

    current_password: Password
    new_password: NewPassword


class ProfileBody(Schema):
    """What a user may change of his account without a mail; nothing else is a field of it."""

    display_name: Name


class AcceptedAnswer(Answer):
    """The one answer to whatever may lead to a mail: it tells nothing about the address."""

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
    """Something that happened to the account."""

    at: datetime
    kind: str
    address: str


class EventsAnswer(Answer):
    """What happened lately, newest first."""

    items: list[EventAnswer]


class ExportAnswer(Answer):
    """Everything that is stored about the user: name of a table to his rows."""

    tables: dict[str, list[dict[str, JsonValue]]]


@contextmanager
def answering(conflict: str = "admin-disable-immediate", **fields: str) -> Iterator[None]:
    """Answer what identity/ refuses: 422 for a field, 409 for a state, 503 when all hash slots are taken.

    `conflict` is the catalogue's id of the protection that refuses with 409, for the log.
    `fields` are pointers into the body where they differ from identity's names: answering(password="#/new_password").
    """
    try:
        yield
    except users.UserError as error:
        text = str(error)  # written for whoever typed it
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
    """Ask for an account: a link is mailed to the address."""
    with answering():
        registration.register(body.email)
    return AcceptedAnswer()


@blueprint.post("/auth/activate")
@public
@operation(refuses=(410,))
def activate(body: ActivateBody) -> None:
    """Make the account that a mailed link stands for. Signs nobody in."""
    with answering():
        registration.activate(body.token.get_secret_value(), body.password.get_secret_value(), body.display_name)


@blueprint.post("/auth/reset")
@public
@operation(status=202)
def request_reset(body: ForgottenBody) -> AcceptedAnswer:
    """Forgot the password: a link is mailed to the address if it has an account."""
    with answering():
        recovery.request_reset(body.email, body.device_token.get_secret_value())
    return AcceptedAnswer()


@blueprint.post("/auth/reset/complete")
@public
@operation(refuses=(410,))
def complete_reset(body: ResetBody) -> None:
    """Set a new password by a mailed link; every login ends. Signs nobody in."""
    with answering():
        recovery.complete_reset(body.token.get_secret_value(), body.password.get_secret_value())


# --- signed in ----------------------------------------------------------------------------------------------------


@blueprint.post("/auth/reauthenticate")
@login_required(without_factor=True)
@operation(refuses=(403,))
def reauthenticate(body: ProofBody) -> TokenAnswer:
    """Prove once more who it is, for what asks for that; the login goes on with a new pair."""
    password, code = body.password.get_secret_value(), body.code.get_secret_value()
    return TokenAnswer.of(refresh.first_pair(account.step_up(current_user, password, code)))


@blueprint.post("/auth/password")
@login_required
@operation(refuses=(403,))
def change_password(body: ChangeBody) -> TokenAnswer:
    """Change the password; every other login ends, and this one goes on with a new pair."""
    with answering(password="#/new_password"):  # noqa: S106  (a field)
        current, new = body.current_password.get_secret_value(), body.new_password.get_secret_value()
        return TokenAnswer.of(refresh.first_pair(account.change_password(current_user, current, new)))


@blueprint.post("/auth/email")
@login_required(fresh=True)
@operation(status=202)
def request_email_change(body: AddressBody) -> AcceptedAnswer:
    """Ask for another address: a link is mailed to it, and a notice to the present one."""
    with answering():
        account.request_email_change(current_user, body.email)
    return AcceptedAnswer()


@blueprint.post("/auth/email/confirm")
@login_required
@operation(refuses=(410,))
def confirm_email_change(body: ConfirmBody) -> TokenAnswer:
    """Put the new address in force; every other login ends, and this one goes on with a new pair."""
    return TokenAnswer.of(refresh.first_pair(account.confirm_email_change(current_user, body.token.get_secret_value())))


@blueprint.get("/auth/me")
@login_required
@operation
def me() -> AccountAnswer:
    """Who is signed in, with his roles as the database has them now."""
    return _own_account()


@blueprint.patch("/auth/me")
@login_required
@operation
def update_profile(body: ProfileBody) -> AccountAnswer:
    """Change the name that is shown."""
    with answering():
        account.update_profile(current_user, body.display_name)
    return _own_account()


@blueprint.delete("/auth/me")
@login_required(fresh=True)
@operation(refuses=(409,))
def delete_account() -> None:
    """Delete the account with everything that belongs to it."""
    with answering():
        account.delete_account(current_user)


@blueprint.get("/auth/me/export")
@login_required(fresh=True)
@operation
def export() -> ExportAnswer:
    """Everything that is stored about the user."""
    return ExportAnswer(tables=to_jsonable_python(account.export(current_user), bytes_mode="base64"))


@blueprint.get("/auth/events")
@login_required
@operation
def events() -> EventsAnswer:
    """What happened to the account lately."""
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
