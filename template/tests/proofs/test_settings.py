"""Proofs of settings.py: a service that nobody told its mode is in production, and no file can tell it otherwise.

They stop a debugger, an open host list or a lax cookie from being one forgotten variable or one stray file away.
"""

from __future__ import annotations

import io
import ipaddress
import os
import re
import socket
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from pydantic import AliasChoices, Field
from pydantic.fields import FieldInfo

from .harness import edit, harm, protects, works
from .running import Service
from .service import PACKAGE, SECRETS
from .wire import HOST

DEBUG_ON = "FLASK_DEBUG is on. Unset it; for development run `dev`."
MODE = 'Field("production", validation_alias=variable("BASTION_ENV"))'
READS_A_FILE = (
    edit("settings.py", "return (init_settings, env_settings)", "return (env_settings, dotenv_settings)"),
    edit("settings.py", "SettingsConfigDict(hide_input_in_errors=True", 'SettingsConfigDict(env_file=".env"'),
)


@protects("production-by-default", mode=edit("settings.py", MODE, MODE.replace("production", "development")))
def test_a_service_that_nobody_told_its_mode_does_not_start_with_the_debugger_on(service: Service) -> None:
    works(service.client().get("/healthz").status == 200, "the complete environment starts")
    asked = service.start(BASTION_ENV="development", FLASK_DEBUG="1")
    works(asked.app is not None, "development that was asked for may debug")
    for off in ("", "0", "false", "False", "no"):
        works(service.start(FLASK_DEBUG=off).app is not None, "who says that it is off is no danger")
    for on in ("1", "true", "yes", "off"):  # Flask takes whatever else is there for yes
        tried = service.start(FLASK_DEBUG=on)
        harm(tried.app is not None, "it started with FLASK_DEBUG though nobody asked for development")
        assert tried.reasons == [DEBUG_ON]


@protects(
    "production-by-default",
    spelling=edit("settings.py", 'env: Literal["production", "development"]', "env: str"),
)
def test_no_other_spelling_of_development_switches_the_mode(service: Service) -> None:
    works(service.start(BASTION_ENV="production").app is not None, "the mode may be named")
    for value in ("Development", "DEVELOPMENT", "dev", " development", "development ", "debug", "testing", ""):
        tried = service.start(BASTION_ENV=value)
        harm(tried.app is not None, f"it started with BASTION_ENV={value!r}")
        assert tried.reasons == ["BASTION_ENV: Input should be 'production' or 'development'. Correct it."]


@protects("production-by-default", file=READS_A_FILE)
def test_no_file_beside_the_service_switches_the_mode(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(service.start().app is not None, "the complete environment starts")
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    works(service.start().app is not None, "stray files stop nothing")
    tried = service.start(FLASK_DEBUG="1")
    harm(tried.app is not None, "a file made it development")
    assert tried.reasons == [DEBUG_ON]


@protects("production-by-default", file=READS_A_FILE)
def test_a_command_in_a_folder_with_such_files_ends_with_exit_code_1(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    service.setting("FLASK_DEBUG", None)
    code, _ = command(service, monkeypatch, "secrets", "list")
    works(code == 0, "the command runs in production")
    service.setting("FLASK_DEBUG", "1")
    code, text = command(service, monkeypatch, "secrets", "list")
    harm(code == 0, "a file made it development for a command")
    assert code == 1
    assert text.startswith("This service does not start:\n")
    assert re.findall(r"^  - (.*)$", text, re.MULTILINE) == [DEBUG_ON]
    assert "Traceback" not in text


FILES = "BASTION_ENV=development\nDATABASE_URL={}\n"
if SECRETS == "env":  # with files, a secret among the variables stops the start by itself
    FILES += "SECRET_KEY=from-a-file\n"


@pytest.fixture
def beside_files(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which somebody starts the service, with files of settings in it and above it."""
    folder = tmp_path / "project"
    folder.mkdir()
    for place in (tmp_path, folder):
        for name in (".env", ".flaskenv"):
            (place / name).write_text(FILES.format(service.database.url), "utf-8")
    monkeypatch.chdir(folder)
    return folder


@protects(
    "dotenv-never-in-production",
    settings=(
        edit("settings.py", "return (init_settings, env_settings)", "return (env_settings, dotenv_settings)"),
        edit("settings.py", "SettingsConfigDict(hide_input_in_errors=True", 'SettingsConfigDict(env_file=".env"'),
    ),
)
def test_a_setting_that_is_missing_is_not_taken_from_a_file(service: Service, beside_files: Path) -> None:
    works(service.start().app is not None, "the complete environment starts beside such files")
    tried = service.start(DATABASE_URL=None)
    harm(tried.app is not None, "it started with the database that a file names")
    assert [reason.partition(" ")[0].rstrip(":") for reason in tried.reasons] == ["DATABASE_URL"]
    assert sorted(file.name for file in beside_files.iterdir()) == [".env", ".flaskenv"]


@protects(
    "dotenv-never-in-production",
    entry=(
        edit("cli.py", '    os.environ["FLASK_SKIP_DOTENV"] = "1"\n', ""),
        edit("cli.py", "    group.params.clear()\n", ""),
    ),
)
def test_a_command_takes_nothing_from_a_file_beside_or_above_it(
    service: Service, beside_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _ = command(service, monkeypatch, "secrets", "list")
    works(code == 0, "a command runs beside such files")
    service.setting("DATABASE_URL", None)
    for arguments in (("secrets", "list"), ("db", "upgrade"), ("users", "disable", "ada@example.com")):
        code, text = command(service, monkeypatch, *arguments)
        harm(code == 0, f"`{' '.join(arguments)}` ran on the database that a file names")
        harm("DATABASE_URL" not in text, f"`{' '.join(arguments)}` took the database that a file names")
        assert code == 1
        assert text.startswith("This service does not start:\n")
    code, text = command(service, monkeypatch, "--env-file", str(beside_files / ".env"), "secrets", "list")
    assert (code, "No such option" in text) == (2, True)
    assert sorted(file.name for file in beside_files.iterdir()) == [".env", ".flaskenv"]  # no instance/ was made
    works(os.environ.get("BASTION_ENV") is None, "nothing has changed the mode of this process")


# --- which server serves -----------------------------------------------------------------------------------------


REFUSES = '    raise click.ClickException(f"`{NAME} dev` serves for'
SERVES = "run_simple(HOST, port, app,"


@protects(
    "cli-refuses-dev-server",
    run=edit("cli.py", REFUSES, f"    _create().run(port=0)\n{REFUSES.replace('raise click.ClickException', 'str')}"),
)
def test_flasks_development_server_never_serves_in_production(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    monkeypatch.setattr("flask.Flask.run", lambda *_arguments, **_options: served.append("flask"))
    monkeypatch.setattr("os.execv", lambda _program, arguments: served.append(" ".join(arguments[1:3])))
    service.setting("BASTION_TRUSTED_HOSTS", HOST)
    command(service, monkeypatch, "serve")
    works(served == ["-m gunicorn"], "`serve` becomes gunicorn")
    served.clear()
    code, text = command(service, monkeypatch, "run")
    harm(served, "the development server serves in production")
    name = PACKAGE.replace("_", "-")
    assert (code, text) == (
        1,
        f"Error: `{name} dev` serves for development, `{name} serve` (gunicorn) for production.\n",
    )
    for options in (["--debug"], ["--host", "0.0.0.0"]):  # noqa: S104
        assert command(service, monkeypatch, "run", *options)[0] == 2
    service.setting("BASTION_ENV", "development")
    monkeypatch.setattr(service.module("development"), "prepare", lambda _package: None)
    code, text = command(service, monkeypatch, "serve")
    assert (code, served) == (1, [])
    assert "Unset BASTION_ENV for production." in text


@protects("cli-refuses-dev-server", bind=edit("development.py", SERVES, SERVES.replace("HOST", '"0.0.0.0"')))
def test_the_development_server_listens_to_this_machine_alone(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[str] = []
    development = service.module("development")
    monkeypatch.setattr(development, "run_simple", lambda host, *_arguments, **_options: bound.append(host))
    monkeypatch.chdir(tmp_path)
    code, text = command(service, monkeypatch, "dev", "--port", "8001")
    works((code, len(bound)) == (0, 1), f"`dev` serves: {text}")
    addresses = {str(found[4][0]) for host in bound for found in socket.getaddrinfo(host, 8001)}
    harm([one for one in addresses if not ipaddress.ip_address(one).is_loopback], "others reach a debugging server")
    code, text = command(service, monkeypatch, "dev", "--host", "0.0.0.0")  # noqa: S104
    assert code == 2
    assert "No such option" in text
    assert len(bound) == 1


@protects(
    "boot-refuse-weakened-protection",
    names=edit("guards.py", 'if name.startswith("BASTION_") and name not in known', "if name not in known and False"),
)
def test_a_setting_that_does_not_exist_stops_the_start_and_the_nearest_is_named(service: Service) -> None:
    works(service.start(BASTION_MAILS_PER_HOUR="20").app is not None, "a setting that exists, and is tighter, starts")
    tried = service.start(BASTION_MAILS_PER_HOURS="20")
    harm(tried.app is not None, "a typo left the default in force")
    assert tried.reasons == ["BASTION_MAILS_PER_HOURS is not a setting. Did you mean BASTION_MAILS_PER_HOUR?"]
    tried = service.start(BASTION_TRUSTED_HOST="canary.example")
    assert tried.reasons == ["BASTION_TRUSTED_HOST is not a setting. Did you mean BASTION_TRUSTED_HOSTS?"]
    assert "canary" not in tried.text
    assert service.start(BASTION_QQQQQQQQQQQQ="1").reasons == ["BASTION_QQQQQQQQQQQQ is not a setting. Remove it."]


def test_a_setting_of_the_teams_that_can_not_be_read_is_named_without_its_value(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, read = service.module("settings").TeamSettings, service.module("guards").read

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
    findings, told = service.module("development").findings, "APP_PAGE_SIZES is no setting of settings.py."
    monkeypatch.setenv("APP_PAGE_SIZE", "30")
    assert "APP_" not in "".join(findings(service.app))
    monkeypatch.setenv("APP_PAGE_SIZES", "30")
    found = [*findings(service.app)]
    assert f"{told} Did you mean APP_PAGE_SIZE?" in found
    code, text = command(service, monkeypatch, "doctor")
    assert (code, text.splitlines()[-len(found) - 1 :]) == (0, [*(f"- {one}" for one in found), f"{len(found)} found."])
    assert "owns the tables" not in "".join(found)  # a file has no roles, and a server two of them


def write_files(folder: Path) -> None:
    """Every file that some tool reads settings from."""
    for name in (".env", ".flaskenv"):
        (folder / name).write_text("BASTION_ENV=development\nFLASK_ENV=development\n", "utf-8")
    (folder / "pyproject.toml").write_text('[tool.bastion]\nenv = "development"\n', "utf-8")
    (folder / "settings.toml").write_text('BASTION_ENV = "development"\n', "utf-8")


def command(
    service: Service, monkeypatch: pytest.MonkeyPatch, *arguments: str, errors: io.StringIO | None = None
) -> tuple[object, str]:
    """Run the service's own command in this process: its exit code and all that it printed, or a part with `errors`."""
    cli = service.module("cli")
    made = cli._create

    def create(**how: bool) -> object:
        app = made(**how)
        service._started.append(app)  # its connections are closed with the service
        return app

    printed = io.StringIO()
    with monkeypatch.context() as patch, redirect_stdout(printed), redirect_stderr(errors or printed):
        patch.setattr(cli, "_create", create)
        patch.setattr(sys, "argv", [PACKAGE, *arguments])
        for name, value in service.env.items():  # what an app of this process has taken out is there again
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code, printed.getvalue()


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
