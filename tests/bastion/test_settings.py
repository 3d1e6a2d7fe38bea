"""Unit tests beside the proofs in test_settings.py."""

from __future__ import annotations

import pytest
from pydantic import AliasChoices, Field
from pydantic.fields import FieldInfo

from ..running import Service
from ..test_settings import command

# --- which server serves -----------------------------------------------------------------------------------------


def test_a_setting_of_the_teams_that_can_not_be_read_is_named_without_its_value(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, read = service.module("settings").TeamSettings, service.module("start.guards").read

    class Settings(base):  # type: ignore[misc, valid-type]
        page_size: int = 20
        colours: list[str] = []  # noqa: RUF012  (pydantic copies it)
        speed: int = Field(3, validation_alias=AliasChoices("APP_SPEED", "APP_PACE"))

    class Demanding(Settings):
        region: str

    monkeypatch.setenv("APP_PAGE_SIZE", "30")
    assert read(Settings)[0].page_size == 30
    monkeypatch.setenv("APP_PAGE_SIZE", "canary")
    monkeypatch.setenv("APP_SPEED", "canary")
    settings, reasons = read(Settings)
    assert (settings.page_size, settings.speed) == (20, 3)  # what else is wrong is found with the defaults
    assert [reason.partition(":")[0] for reason in reasons] == ["APP_PAGE_SIZE", "APP_SPEED"]
    settings, all_ = read(Demanding)
    assert settings is None  # there is no default to go on with
    assert [reason.partition(":")[0] for reason in all_] == ["APP_PAGE_SIZE", "APP_SPEED", "APP_REGION"]
    monkeypatch.setenv("APP_COLOURS", "canary, no JSON")
    settings, more = read(Settings)
    assert settings is None
    assert len(more) == 1
    assert "colours" in more[0]
    assert "canary" not in "".join([*reasons, *all_, *more])


def test_the_doctor_names_a_setting_that_no_field_of_the_teams_reads(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = type(service.module("state").state_of(service.app).team)
    fields = {**team.model_fields, "page_size": FieldInfo(annotation=int, default=20)}
    monkeypatch.setattr(team, "__pydantic_fields__", fields)
    service.module("commands.migrations").install(service.app)
    findings, told = service.module("commands.dev").findings, "APP_PAGE_SIZES is no setting of settings.py."
    monkeypatch.setenv("APP_PAGE_SIZE", "30")
    assert "APP_" not in "".join(findings(service.app))
    monkeypatch.setenv("APP_PAGE_SIZES", "30")
    found = [*findings(service.app)]
    assert f"{told} Did you mean APP_PAGE_SIZE?" in found
    code, text = command(service, monkeypatch, "doctor")
    assert (code, text.splitlines()[-len(found) - 1 :]) == (0, [*(f"- {one}" for one in found), f"{len(found)} found."])
    assert "owns the tables" not in "".join(found)  # a file has no roles, and a server two of them


LIMITS = {  # recommended, least, most: as the rows of the catalogue give them
    "session_idle_minutes": (30, 5, 60),
    "session_absolute_hours": (12, 1, 24),
    "sessions_per_account": (5, 1, 20),
    "fresh_login_seconds": (300, 60, 900),
    "activation_hours": (24, 1, 48),
    "reset_minutes": (10, 5, 60),
    "invitation_days": (7, 1, 14),
    "login_failures": (5, 3, 10),
    "login_wait_minutes": (15, 5, 60),
    "login_failures_per_minute_and_network": (10, 5, 60),
    "login_failures_per_hour_and_network": (50, 10, 300),
    "csrf_token_minutes": (60, 10, 720),
    "body_bytes": (1_048_576, 16_384, 16_777_216),
    "json_values_per_body": (2_000, 100, 20_000),
    "file_bytes": (5_242_880, 65_536, 16_777_216),
    "files_per_user": (100, 10, 10_000),
    "file_bytes_per_user": (104_857_600, 1_048_576, 10_737_418_240),
    "requests_per_minute_and_address": (600, 60, 6_000),
    "requests_per_minute_and_session": (120, 30, 1_200),
    "access_token_seconds": (600, 60, 900),
    "refresh_idle_minutes": (60, 5, 720),
    "refresh_absolute_hours": (24, 1, 168),
}
NUMBERS = {  # of the environment: without it, least and most
    "BASTION_PROXY_HOPS": (None, 0, 3),
    "WEB_CONCURRENCY": (1, 1, 64),
    "BASTION_THREADS": (8, 2, 64),
    "BASTION_HASH_CONCURRENCY": (1, 1, 8),
    "BASTION_MAILS_PER_HOUR": (300, 10, 100_000),
}


def test_no_bound_of_a_limit_or_setting_has_moved(service: Service) -> None:
    """They are security policy: whoever moves one changes it here too, and is asked why."""
    settings = service.module("settings")
    assert dict(settings.LIMIT_BOUNDS) == LIMITS
    found = {}
    for info in settings.BastionSettings.model_fields.values():
        bounds = {name: getattr(one, name) for one in info.metadata for name in ("ge", "le") if hasattr(one, name)}
        if bounds:
            found[info.validation_alias.choices[0]] = (info.default, bounds["ge"], bounds["le"])
    assert found == NUMBERS
