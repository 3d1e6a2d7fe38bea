"""Second factors and passkeys for programs: complete a waiting login; enrol, use and remove the user's own.

This stops an attacker with only the password. A waiting login has no token pair, only a handle for its next step, sent
only in bodies. identity/ makes the decisions. Each answer that replaces a session holds the new pair.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from flask import Blueprint
from pydantic import ConfigDict, Field, JsonValue, SecretStr

from ..audit.refusal import refuse
from ..identity import account, factors, passkeys
from ..identity import login as identity
from ..identity.principal import second_factor_missing
from ..identity.recovery_codes import LONGEST as LONGEST_CODE
from ..identity.sessions import Opened
from ..request.access import login_required, public
from ..request.authentication import current_user
from . import refresh
from .account import answering
from .api import operation
from .endpoints import DeviceToken, LoginAnswer, TokenAnswer, arrival
from .schema import Answer, Schema

blueprint: Final = Blueprint("bastion_factors", __name__)
LONGEST_STATE: Final = 1_000  # characters; ours have about 300
LONGEST_PART: Final = 8_192  # characters of what an authenticator made; the chain of certificates of a TPM has 6,000
MOST_TRANSPORTS: Final = 10
# A user without their required second factor can use only the first two.
looking: Final = login_required(without_factor=True)
enrolling: Final = login_required(without_factor=True, fresh=True)
changing: Final = login_required(fresh=True)

MfaToken = Annotated[SecretStr, Field(min_length=1, max_length=100)]
Code = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_CODE)]
State = Annotated[str, Field(min_length=1, max_length=LONGEST_STATE)]
PasskeyName = Annotated[str, Field(min_length=1, max_length=passkeys.LONGEST_NAME)]
Part = Annotated[str, Field(min_length=1, max_length=LONGEST_PART)]


class FromBrowser(Schema):
    """Part of PublicKeyCredential.toJSON(). Browsers add members to it; unknown ones are dropped."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": True})


class Attested(FromBrowser):
    """The authenticator's answer for a new passkey."""

    client_data: Part = Field(alias="clientDataJSON")
    attestation_object: Part = Field(alias="attestationObject")
    transports: Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=MOST_TRANSPORTS)] = []  # noqa: RUF012


class Asserted(FromBrowser):
    """The authenticator's signed answer."""

    client_data: Part = Field(alias="clientDataJSON")
    authenticator_data: Part = Field(alias="authenticatorData")
    signature: Part
    user_handle: Annotated[str, Field(max_length=LONGEST_PART)] | None = Field(None, alias="userHandle")


class Credential(FromBrowser):
    """The members that both ceremonies share."""

    id: Part
    raw_id: Part = Field(alias="rawId")
    type: Annotated[str, Field(min_length=1, max_length=50)]

    def as_sent(self) -> dict[str, Any]:
        """Return the members that are read, under the browser's names."""
        return self.model_dump(by_alias=True, exclude_none=True)


class NewCredential(Credential):
    """RegistrationResponseJSON, the answer of navigator.credentials.create()."""

    response: Attested


class KnownCredential(Credential):
    """AuthenticationResponseJSON, the answer of navigator.credentials.get()."""

    response: Asserted


class WaitingBody(Schema):
    """The handle of a login that waits for its second factor."""

    mfa_token: MfaToken


class FactorBody(WaitingBody):
    """A code of the authenticator app, or a recovery code."""

    code: Code
    device_token: DeviceToken = SecretStr("")


class PasskeyLoginBody(Schema):
    """The answer of a passkey, with the `state` that came with its options."""

    state: State
    credential: KnownCredential
    device_token: DeviceToken = SecretStr("")


class PasskeyFactorBody(PasskeyLoginBody):
    """The same answer, for a waiting login."""

    mfa_token: MfaToken


class PasskeyBody(Schema):
    """The answer of a passkey, with the `state` that came with its options."""

    state: State
    credential: KnownCredential


class CodeBody(Schema):
    """The present code of the app that is being enrolled."""

    code: Code


class NewPasskeyBody(Schema):
    """The answer of a new passkey, the `state` that came with its options, and the passkey's name."""

    state: State
    credential: NewCredential
    name: PasskeyName


class NameBody(Schema):
    """The new name of a passkey."""

    name: PasskeyName


class OptionsAnswer(Answer):
    """`options` are for the browser (PublicKeyCredential.parseCreationOptionsFromJSON or parseRequestOptionsFromJSON);
    send `state` back with its answer, once and within five minutes."""

    options: dict[str, JsonValue]
    state: str


class PasskeyAnswer(Answer):
    """A passkey. A suspended one cannot be used: its counter went back, so it may have been copied."""

    id: UUID
    name: str
    created_at: datetime
    used_at: datetime | None
    suspended: bool
    backed_up: bool


class FactorsAnswer(Answer):
    """The account's second factors. `missing`: this login was proved without the second factor that is `required`, so
    it may only enrol one, or use it with POST /auth/reauthenticate."""

    totp: bool
    passkeys: list[PasskeyAnswer]
    recovery_codes: int
    required: bool
    missing: bool


class SeedAnswer(Answer):
    """The seed for an authenticator app: `uri` as a QR code, or `secret` to type."""

    secret: str
    uri: str


class CodesAnswer(TokenAnswer):
    """The new pair, and recovery codes, shown only here; empty when the added factor is not the first."""

    recovery_codes: list[str]


def _asked(asked: passkeys.Asked) -> OptionsAnswer:
    return OptionsAnswer(options=asked.options, state=asked.state)


def _renewed(opened: Opened) -> TokenAnswer:
    return TokenAnswer.of(refresh.first_pair(opened))


def _enrolled(enrolled: factors.Enrolled) -> CodesAnswer:
    return CodesAnswer(**_renewed(enrolled.opened).model_dump(), recovery_codes=enrolled.recovery_codes)


# --- completing a waiting login, and signing in with only a passkey ---------------------------------------------------


@blueprint.post("/auth/login/factor")
@public
@operation(refuses=(401,))
def complete_login(body: FactorBody) -> LoginAnswer:
    """Complete a waiting login with an app code or a recovery code."""
    mfa_token, code = body.mfa_token.get_secret_value(), body.code.get_secret_value()
    return LoginAnswer.opened(identity.with_code(mfa_token, code, arrival(body.device_token)))


@blueprint.post("/auth/login/factor/passkey/options")
@public
@operation(refuses=(401,))
def second_passkey_options(body: WaitingBody) -> OptionsAnswer:
    """Return the browser's options to complete a waiting login with a passkey of the account."""
    return _asked(identity.second_factor_options(body.mfa_token.get_secret_value()))


@blueprint.post("/auth/login/factor/passkey")
@public
@operation(refuses=(401,))
def complete_login_with_passkey(body: PasskeyFactorBody) -> LoginAnswer:
    """Complete a waiting login with a passkey of the account."""
    mfa_token, answer = body.mfa_token.get_secret_value(), body.credential.as_sent()
    return LoginAnswer.opened(identity.with_second_passkey(mfa_token, body.state, answer, arrival(body.device_token)))


@blueprint.post("/auth/login/passkey/options")
@public
@operation
def passkey_login_options() -> OptionsAnswer:
    """Return the browser's options to sign in with only a passkey; the same for all clients."""
    return _asked(passkeys.login())


@blueprint.post("/auth/login/passkey")
@public
@operation(refuses=(401,))
def login_with_passkey(body: PasskeyLoginBody) -> LoginAnswer:
    """Sign in with a passkey, which is two factors and needs no password."""
    return LoginAnswer.opened(identity.with_passkey(body.state, body.credential.as_sent(), arrival(body.device_token)))


# --- one's own --------------------------------------------------------------------------------------------------------


@blueprint.get("/auth/factors")
@looking
@operation
def show_factors() -> FactorsAnswer:
    """Show the second factors of the account, and whether it must have one."""
    held = factors.held(current_user.id)
    must = second_factor_missing(current_user.permissions, frozenset(), must_enrol=current_user.factor_missing)
    return FactorsAnswer(
        totp=held.totp,
        passkeys=_own_passkeys(),
        recovery_codes=held.recovery_codes,
        required=must,
        missing=current_user.factor_missing,
    )


def _own_passkeys() -> list[PasskeyAnswer]:
    return [
        PasskeyAnswer(
            id=row.id,
            name=row.name,
            created_at=row.created_at,
            used_at=row.used_at,
            suspended=row.suspended_at is not None,
            backed_up=row.backed_up,
        )
        for row in passkeys.of(current_user.id)
    ]


@blueprint.post("/auth/totp")
@enrolling
@operation
def begin_totp() -> SeedAnswer:
    """Begin to enrol an authenticator app. Nothing changes before POST /auth/totp/confirm."""
    begun = factors.begin_totp(current_user)
    return SeedAnswer(secret=begun.seed, uri=begun.uri)


@blueprint.post("/auth/totp/confirm")
@login_required(without_factor=True)  # it was begun in this session when that was fresh, ten minutes ago at the most
@operation(refuses=(410,))
def confirm_totp(body: CodeBody) -> CodesAnswer:
    """Activate the app with its present code; all other logins end, and the answer holds a new pair."""
    with answering():
        return _enrolled(factors.confirm_totp(current_user, body.code.get_secret_value()))


@blueprint.delete("/auth/totp")
@changing
@operation(refuses=(404,))
def remove_totp() -> TokenAnswer:
    """Remove the authenticator app; all other logins end, and the answer holds a new pair."""
    return _renewed(factors.remove_totp(current_user))


@blueprint.post("/auth/recovery-codes")
@changing
@operation(refuses=(404,))
def new_codes() -> CodesAnswer:
    """Make new recovery codes; the old codes and all other logins end, and the answer holds a new pair."""
    return _enrolled(factors.renew_codes(current_user))


@blueprint.post("/auth/passkeys/options")
@enrolling
@operation
def new_passkey_options() -> OptionsAnswer:
    """Return the browser's options to make a passkey for this account."""
    return _asked(passkeys.registration(current_user))


@blueprint.post("/auth/passkeys")
@enrolling
@operation(refuses=(409,))
def add_passkey(body: NewPasskeyBody) -> CodesAnswer:
    """Activate a new passkey; all other logins end, and the answer holds a new pair."""
    with answering("passkey-count-and-owner"):
        return _enrolled(factors.register_passkey(current_user, body.state, body.credential.as_sent(), body.name))


@blueprint.patch("/auth/passkeys/<uuid:passkey_id>")
@changing
@operation
def rename_passkey(passkey_id: UUID, body: NameBody) -> PasskeyAnswer:
    """Rename one of the user's own passkeys."""
    with answering():
        factors.rename_passkey(current_user, passkey_id, body.name)
    renamed = next((passkey for passkey in _own_passkeys() if passkey.id == passkey_id), None)
    if renamed is None:
        refuse(404, "ownership-404")
    return renamed


@blueprint.delete("/auth/passkeys/<uuid:passkey_id>")
@changing
@operation
def remove_passkey(passkey_id: UUID) -> TokenAnswer:
    """Remove one of the user's own passkeys; all other logins end, and the answer holds a new pair."""
    return _renewed(factors.remove_passkey(current_user, passkey_id))


# --- proving once more who it is; with the password: account.py -------------------------------------------------------


@blueprint.post("/auth/reauthenticate/passkey/options")
@looking
@operation
def step_up_options() -> OptionsAnswer:
    """Return the browser's options to re-authenticate with a passkey of the account."""
    return _asked(passkeys.step_up(current_user))


@blueprint.post("/auth/reauthenticate/passkey")
@looking
@operation(refuses=(403,))
def step_up_with_passkey(body: PasskeyBody) -> TokenAnswer:
    """Re-authenticate with a passkey and no password; the answer holds a new pair."""
    return _renewed(account.step_up_with_passkey(current_user, body.state, body.credential.as_sent()))
