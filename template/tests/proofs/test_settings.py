"""Proofs of settings.py: a service that nobody told its mode is in production, and no file can tell it otherwise.

They stop a debugger, an open host list or a lax cookie from being one forgotten variable or one stray file away.
"""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from .harness import edit, harm, protects, works
from .running import Service
from .service import PACKAGE

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
    tried = service.start(FLASK_DEBUG="1")
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


def test_a_setting_that_does_not_exist_stops_the_start_and_the_nearest_is_named(service: Service) -> None:
    assert service.start().app is not None
    tried = service.start(BASTION_TRUSTED_HOST="canary.example")
    assert tried.app is None
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

    monkeypatch.setenv("APP_PAGE_SIZE", "30")
    assert read(Settings)[0].page_size == 30
    monkeypatch.setenv("APP_PAGE_SIZE", "canary")
    settings, reasons = read(Settings)
    assert settings.page_size == 20  # what else is wrong is found with the default
    assert [reason.partition(":")[0] for reason in reasons] == ["APP_PAGE_SIZE"]
    monkeypatch.setenv("APP_COLOURS", "canary, no JSON")
    settings, more = read(Settings)
    assert settings is None
    assert len(more) == 1
    assert "colours" in more[0]
    assert "canary" not in "".join([*reasons, *more])


def write_files(folder: Path) -> None:
    """Every file that some tool reads settings from."""
    for name in (".env", ".flaskenv"):
        (folder / name).write_text("BASTION_ENV=development\nFLASK_ENV=development\n", "utf-8")
    (folder / "pyproject.toml").write_text('[tool.bastion]\nenv = "development"\n', "utf-8")
    (folder / "settings.toml").write_text('BASTION_ENV = "development"\n', "utf-8")


def command(service: Service, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[object, str]:
    """Run the service's own command in this process: its exit code, and everything it printed."""
    cli = service.module("cli")
    made = cli._create

    def create() -> object:
        app = made()
        service._started.append(app)  # its connections are closed with the service
        return app

    printed = io.StringIO()
    with monkeypatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.setattr(cli, "_create", create)
        patch.setattr(sys, "argv", [PACKAGE, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code, printed.getvalue()
