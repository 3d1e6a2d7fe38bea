"""Proofs of settings/: production is the default mode, and no .env file changes a setting.

They stop a debugger, an open host list or a lax cookie from being one forgotten variable or one stray file away.
"""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import pytest

from . import place
from .harness import edit, harm, protects, works
from .running import Service
from .service import PACKAGE, SECRETS
from .wire import HOST

DEBUG_ON = "FLASK_DEBUG is on. Unset it; for development run `dev`."
MODE = 'Field("production", validation_alias=variable("BASTION_ENV"))'


@protects("production-by-default", mode=edit("settings/__init__.py", MODE, MODE.replace("production", "development")))
def test_a_service_that_nobody_told_its_mode_does_not_start_with_the_debugger_on(service: Service) -> None:
    works(service.client().get("/healthz").status == 200, "the service starts with a complete environment")
    asked = service.start(BASTION_ENV="development", FLASK_DEBUG="1")
    works(asked.app is not None, "the service starts in development mode with the debugger")
    tried = service.start(FLASK_DEBUG="1")
    harm(tried.app is not None, "the service started with FLASK_DEBUG without development mode")
    assert tried.reasons == [DEBUG_ON]


FILES = "BASTION_ENV=development\nDATABASE_URL={}\n"
if SECRETS == "env":  # with files, a secret among the variables stops the start by itself
    FILES += "SECRET_KEY=from-a-file\n"


@pytest.fixture
def beside_files(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which somebody starts the service, with files of settings in it and above it."""
    folder = tmp_path / "project"
    folder.mkdir()
    for above in (tmp_path, folder):
        for name in (".env", ".flaskenv"):
            (above / name).write_text(FILES.format(service.database.url), "utf-8")
    monkeypatch.chdir(folder)
    return folder


@protects(
    "dotenv-never-in-production",
    settings=(
        edit("settings/__init__.py", "return (init_settings, env_settings)", "return (env_settings, dotenv_settings)"),
        edit(
            "settings/__init__.py", "SettingsConfigDict(hide_input_in_errors=True", 'SettingsConfigDict(env_file=".env"'
        ),
    ),
)
def test_a_setting_that_is_missing_is_not_taken_from_a_file(service: Service, beside_files: Path) -> None:
    works(service.start().app is not None, "the service starts with a complete environment beside .env files")
    tried = service.start(DATABASE_URL=None)
    harm(tried.app is not None, "the service started with the database URL of a .env file")
    assert [reason.partition(" ")[0].rstrip(":") for reason in tried.reasons] == ["DATABASE_URL"]
    assert sorted(file.name for file in beside_files.iterdir()) == [".env", ".flaskenv"]


# --- which server serves -----------------------------------------------------------------------------------------

REFUSES = '    raise click.ClickException(f"`{NAME} dev` serves for'


@protects(
    "cli-refuses-dev-server",
    run=edit(
        "commands/cli.py",
        REFUSES,
        f"    _create().run(port=0)\n{REFUSES.replace('raise click.ClickException', 'str')}",
    ),
)
def test_flasks_development_server_never_serves_in_production(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    monkeypatch.setattr("flask.Flask.run", lambda *_arguments, **_options: served.append("flask"))
    monkeypatch.setattr("os.execv", lambda _program, arguments: served.append(" ".join(arguments[1:3])))
    service.setting("BASTION_TRUSTED_HOSTS", HOST)
    command(service, monkeypatch, "serve")
    works(served == ["-m gunicorn"], "`serve` starts gunicorn")
    served.clear()
    code, text = command(service, monkeypatch, "run")
    harm(served, "the development server started in production")
    name = PACKAGE.replace("_", "-")
    assert (code, text) == (
        1,
        f"Error: `{name} dev` serves for development, `{name} serve` (gunicorn) for production.\n",
    )


def command(
    service: Service, monkeypatch: pytest.MonkeyPatch, *arguments: str, errors: io.StringIO | None = None
) -> tuple[object, str]:
    """Run the service's own command in this process: its exit code and all that it printed, or a part with `errors`."""
    cli = service.module("commands.cli")
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


# --- what the team has loosened --------------------------------------------------------------------------------------


def test_no_declared_exception_of_this_service_has_ended(service: Service) -> None:
    # Red on purpose once the last day is over: each line names the entry and what to do with it.
    exceptions = service.module("settings.exceptions")
    declared = exceptions.read(place.source() / "exceptions.toml")
    found = [*declared.reasons, *exceptions.ended(declared.exemptions, datetime.now(UTC).date())]
    assert found == [], "\n".join(found)
