"""Settings and limits: typed and bounded, each limit with its source, read only from the environment.

A limit that is defined in ten places is loosened in one by accident. A setting that no code reads gives false
confidence in a protection. No file is read, so no file can switch the mode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

CommaList = Annotated[list[str], NoDecode]


class ConfigError(RuntimeError):
    """Raised for a refused start. `reasons` has every reason; none contains the value of a setting or secret."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__("This service does not start:\n" + "\n".join(f"  - {reason}" for reason in reasons))


class EnvironmentSettings(BaseSettings):
    """Reads only the environment; an error names the setting and never shows its value."""

    model_config = SettingsConfigDict(hide_input_in_errors=True, extra="ignore", frozen=True, case_sensitive=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings)


def variable(name: str) -> Any:
    """Read a field from the environment variable of exactly this name."""
    return AliasChoices(name)


def comma_list(value: object) -> object:
    """Return `a, b` from the environment as `["a", "b"]`, and another value unchanged for the field's type."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class BastionSettings(EnvironmentSettings):
    """The operator's settings of one deployment. Each is an environment variable of the name in its alias."""

    env: Literal["production", "development"] = Field("production", validation_alias=variable("BASTION_ENV"))
    """Absent means production. Only `<service> dev` sets development, for its own process."""
    database_url: str = Field("", validation_alias=variable("DATABASE_URL"))
    """`sqlite:////absolute/path.sqlite` or `postgresql://user@host:5432/name`; the password is a separate secret."""
    migration_user: str = Field("", validation_alias=variable("BASTION_MIGRATION_USER"))
    """The role that owns the tables, only for `db` commands; empty: DATABASE_URL's role owns them."""
    trusted_hosts: CommaList = Field(default_factory=list, validation_alias=variable("BASTION_TRUSTED_HOSTS"))
    """Host names that may stand in the Host header; `.app.example` allows the names below app.example."""
    public_origin: str = Field("", validation_alias=variable("BASTION_PUBLIC_ORIGIN"))
    """`https://app.example`: the users' address. The only source of absolute URLs, and the issuer of tokens."""
    cors_origins: CommaList = Field(default_factory=list, validation_alias=variable("BASTION_CORS_ORIGINS"))
    """Token style: https origins whose scripts may call, `https://client.example`; empty: no origin."""
    hsts_preload: bool = Field(False, validation_alias=variable("BASTION_HSTS_PRELOAD"))
    """Ask browsers to use only https for this domain and all below it, even before the first visit (preload)."""
    proxy_hops: int | None = Field(None, ge=0, le=3, validation_alias=variable("BASTION_PROXY_HOPS"))
    """How many trusted proxies stand in front; 0 means that clients connect to this process."""
    trusted_proxies: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        default_factory=list, validation_alias=variable("BASTION_TRUSTED_PROXIES")
    )
    """Networks (CIDR) that those proxies connect from; X-Forwarded-* from other peers is removed."""
    bind: str = Field("127.0.0.1:8000", validation_alias=variable("BASTION_BIND"))
    """Where gunicorn listens: `address:port` or `unix:/path`."""
    workers: int = Field(1, ge=1, le=64, validation_alias=variable("WEB_CONCURRENCY"))
    """Worker processes."""
    threads: int = Field(8, ge=2, le=64, validation_alias=variable("BASTION_THREADS"))
    """Threads in each worker process."""
    hash_concurrency: int = Field(1, ge=1, le=8, validation_alias=variable("BASTION_HASH_CONCURRENCY"))
    """Password hashes computed at a time in each process; each takes 64 MiB and a core while it runs."""
    registration: Literal["open", "invitation", "closed"] = Field(
        "invitation", validation_alias=variable("BASTION_REGISTRATION")
    )
    """Who may make an account: any visitor, invited people, or only `users create`."""
    require_mfa: Literal["off", "admins", "all"] = Field("admins", validation_alias=variable("BASTION_REQUIRE_MFA"))
    """Who must have a second factor: no user, users who may see or manage other accounts, or every user."""
    smtp_url: str = Field("", validation_alias=variable("BASTION_SMTP_URL"))
    """`smtps://user@mail.example:465`, or `smtp://…:587` with STARTTLS; the password is the secret SMTP_PASSWORD."""
    smtp_ca: str = Field("", validation_alias=variable("BASTION_SMTP_CA"))
    """A file of CA certificates (PEM) to verify the mail server by; empty: the system's."""
    mail_from: str = Field("", validation_alias=variable("BASTION_MAIL_FROM"))
    """The sender's address of every mail, `accounts@app.example`."""
    files_dir: str = Field("", validation_alias=variable("BASTION_FILES_DIR"))
    """The folder of users' files, an absolute path; only for a service with views that take files."""
    mails_per_hour: int = Field(300, ge=10, le=100_000, validation_alias=variable("BASTION_MAILS_PER_HOUR"))
    """Mails of each kind per hour that unauthenticated clients can cause; above it they are dropped and logged."""
    log_level: Literal["DEBUG", "INFO", "WARNING"] = Field("INFO", validation_alias=variable("BASTION_LOG_LEVEL"))

    @field_validator("trusted_hosts", "trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return comma_list(value)

    @property
    def production(self) -> bool:
        """Return True unless BASTION_ENV is development."""
        return self.env == "production"


class TeamSettings(EnvironmentSettings):
    """Base of the team's own settings: variables with the prefix APP_, and the roles of the service."""

    model_config = SettingsConfigDict(env_prefix="APP_", case_sensitive=False)  # `page_size` is APP_PAGE_SIZE

    secrets: ClassVar[Mapping[str, str]] = {}
    """Maps each further secret that this service needs to its use, as the end of a sentence about it:
    `{"PARTNER_API_KEY": "opens the API of our partner"}`. A missing one stops the start."""
    roles: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Role to permissions. A role that is granted to a user but is not named here permits nothing."""
    start_page: ClassVar[str] = ""
    """Endpoint to show after signing in and at `/`, for example `notes.index`; empty: the account page."""
    nav_links: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(endpoint, label) pairs for the pages' navigation."""


def variables(settings: type[BaseSettings]) -> frozenset[str]:
    """Return the names of the environment variables that a settings class reads."""
    prefix = settings.model_config.get("env_prefix", "")
    names: set[str] = set()
    for name, info in settings.model_fields.items():
        alias = info.validation_alias
        names.add(str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"{prefix}{name}".upper())
    return frozenset(names)


def limit(recommended: int, *, least: int, most: int, row: str, source: str) -> Any:
    """Declare one limit: its value, the bounds for exceptions.toml, its catalogue row and its source."""
    return field(default=recommended, metadata={"least": least, "most": most, "row": row, "source": source})


@dataclass(frozen=True, slots=True)
class Limits:
    """The protective limits. The unit is in the name; exceptions.toml may declare another value within the bounds."""

    # A stolen session is useful only during its lifetime.
    session_idle_minutes: int = limit(
        30, least=5, most=60, row="session-idle-30-min", source="NIST SP 800-63B-4, 2.2.3; ASVS 7.3.1"
    )
    session_absolute_hours: int = limit(
        12, least=1, most=24, row="session-absolute-12-h", source="NIST SP 800-63B-4, 2.2.3; ASVS 7.3.2"
    )
    sessions_per_account: int = limit(5, least=1, most=20, row="session-limit-5", source="ASVS 7.1.2")
    fresh_login_seconds: int = limit(300, least=60, most=900, row="fresh-login-5-min", source="ASVS 7.5.1")
    # A mailed link is a key in a mailbox: short-lived, but not shorter than a slow mail.
    activation_hours: int = limit(
        24, least=1, most=48, row="activation-required-single-use", source="grey-listing delays a mail by hours"
    )
    reset_minutes: int = limit(10, least=5, most=60, row="reset-token-single-use", source="ASVS 6.6.2")
    invitation_days: int = limit(7, least=1, most=14, row="registration-mode-enforced", source="ASVS 6.4.1")
    # Guessing: five attempts reveal nothing about a password of fifteen characters, and leave room for typing errors.
    login_failures: int = limit(
        5, least=3, most=10, row="login-throttle-account", source="OWASP Authentication Cheat Sheet; ASVS 6.3.1"
    )
    login_wait_minutes: int = limit(15, least=5, most=60, row="login-throttle-account", source="ASVS 6.3.1")
    # Password spraying from one network: above the typing errors of a large office, far below a guesser's needs.
    login_failures_per_minute_and_network: int = limit(
        10, least=5, most=60, row="login-throttle-ip", source="ASVS 2.4.1, 6.3.1"
    )
    login_failures_per_hour_and_network: int = limit(
        50, least=10, most=300, row="login-throttle-ip", source="ASVS 2.4.1, 6.3.1"
    )
    csrf_token_minutes: int = limit(
        60, least=10, most=720, row="csrf-token-required", source="Flask-WTF's default; ASVS 3.5.1"
    )
    # Memory and work that one request, or one neighbour, may cost.
    body_bytes: int = limit(1_048_576, least=16_384, most=16_777_216, row="body-limit-1-mib", source="ASVS 5.2.1")
    file_bytes: int = limit(5_242_880, least=65_536, most=16_777_216, row="upload-size-and-quota", source="ASVS 5.2.1")
    files_per_user: int = limit(100, least=10, most=10_000, row="upload-size-and-quota", source="ASVS 5.2.4")
    file_bytes_per_user: int = limit(
        104_857_600, least=1_048_576, most=10_737_418_240, row="upload-size-and-quota", source="ASVS 5.2.4"
    )
    json_values_per_body: int = limit(2_000, least=100, most=20_000, row="json-strict", source="ASVS 15.2.2")
    requests_per_minute_and_address: int = limit(600, least=60, most=6_000, row="default-throttle", source="ASVS 2.4.1")
    requests_per_minute_and_session: int = limit(120, least=30, most=1_200, row="default-throttle", source="ASVS 2.4.1")
    # Token style: these three limit the use of a stolen token.
    access_token_seconds: int = limit(
        600, least=60, most=900, row="jwt-access-10-min", source="RFC 9700, 2.2; ASVS 9.2.1"
    )
    refresh_idle_minutes: int = limit(60, least=5, most=720, row="refresh-lifetimes", source="RFC 9700, 4.14.2")
    refresh_absolute_hours: int = limit(
        24, least=1, most=168, row="refresh-lifetimes", source="NIST SP 800-63B-4, 2.2.3"
    )


LIMIT_BOUNDS: Final[Mapping[str, tuple[int, int, int]]] = {
    f.name: (f.default, f.metadata["least"], f.metadata["most"])  # type: ignore[misc]
    for f in fields(Limits)
}
"""Name of each limit to (recommended, least, most)."""

ORIGIN: Final = re.compile(r"\Ahttps://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,252}[a-z0-9])?)(?::[0-9]{1,5})?\Z")
"""An https origin: scheme, lower-case host, perhaps a port; no path, no user, no slash at the end (RFC 6454)."""
