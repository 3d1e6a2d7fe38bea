"""Edges of the proofs in test_settings.py: further attacks on the same protections."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path

import pytest

from ..harness import edit, harm, protects, works
from ..running import Service
from ..test_settings import DEBUG_ON, FILES, beside_files, command  # noqa: F401 - a fixture

READS_A_FILE = (
    edit("settings/__init__.py", "return (init_settings, env_settings)", "return (env_settings, dotenv_settings)"),
    edit("settings/__init__.py", "SettingsConfigDict(hide_input_in_errors=True", 'SettingsConfigDict(env_file=".env"'),
)


@protects(
    "production-by-default",
    spelling=edit("settings/__init__.py", 'env: Literal["production", "development"]', "env: str"),
)
def test_no_other_spelling_of_development_switches_the_mode(service: Service) -> None:
    works(service.start(BASTION_ENV="production").app is not None, "the mode may be named")
    for value in ("Development", "DEVELOPMENT", "dev", " development", "development ", "debug", "testing", ""):
        tried = service.start(BASTION_ENV=value)
        harm(tried.app is not None, f"the service started with BASTION_ENV={value!r}")
        assert tried.reasons == ["BASTION_ENV: Input should be 'production' or 'development'. Correct it."]


@protects("production-by-default", file=READS_A_FILE)
def test_no_file_beside_the_service_switches_the_mode(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(service.start().app is not None, "the service starts with a complete environment")
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    works(service.start().app is not None, "the service starts beside stray files")
    tried = service.start(FLASK_DEBUG="1")
    harm(tried.app is not None, "a file switched to development mode")
    assert tried.reasons == [DEBUG_ON]


@protects("production-by-default", file=READS_A_FILE)
def test_stray_files_do_not_switch_the_mode_of_a_command(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    service.setting("FLASK_DEBUG", None)
    code, _ = command(service, monkeypatch, "secrets", "list")
    works(code == 0, "the command runs in production")
    service.setting("FLASK_DEBUG", "1")
    code, text = command(service, monkeypatch, "secrets", "list")
    harm(code == 0, "a file switched a command to development mode")
    assert code == 1
    assert text.startswith("This service does not start:\n")
    assert re.findall(r"^  - (.*)$", text, re.MULTILINE) == [DEBUG_ON]
    assert "Traceback" not in text


@protects(
    "dotenv-never-in-production",
    entry=(
        edit("commands/cli.py", '    os.environ["FLASK_SKIP_DOTENV"] = "1"\n', ""),
        edit("commands/cli.py", "    group.params.clear()\n", ""),
    ),
)
def test_a_command_takes_nothing_from_a_file_beside_or_above_it(
    service: Service,
    beside_files: Path,  # noqa: F811 - pytest's way to ask for the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, _ = command(service, monkeypatch, "secrets", "list")
    works(code == 0, "a command runs beside such files")
    service.setting("DATABASE_URL", None)
    for arguments in (("secrets", "list"), ("db", "upgrade"), ("users", "disable", "ada@example.com")):
        code, text = command(service, monkeypatch, *arguments)
        harm(code == 0, f"`{' '.join(arguments)}` ran on a database that a file names")
        harm("DATABASE_URL" not in text, f"`{' '.join(arguments)}` read the database from a file")
        assert code == 1
        assert text.startswith("This service does not start:\n")
    code, text = command(service, monkeypatch, "--env-file", str(beside_files / ".env"), "secrets", "list")
    assert (code, "No such option" in text) == (2, True)
    assert sorted(file.name for file in beside_files.iterdir()) == [".env", ".flaskenv"]  # no instance/ was made
    works(os.environ.get("BASTION_ENV") is None, "the mode of this process is unchanged")


# --- which server serves -----------------------------------------------------------------------------------------

SERVES = "run_simple(HOST, port, app,"


@protects("cli-refuses-dev-server", bind=edit("commands/dev.py", SERVES, SERVES.replace("HOST", '"0.0.0.0"')))
def test_the_development_server_listens_to_this_machine_alone(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[str] = []
    development = service.module("commands.dev")
    monkeypatch.setattr(development, "run_simple", lambda host, *_arguments, **_options: bound.append(host))
    monkeypatch.chdir(tmp_path)
    code, text = command(service, monkeypatch, "dev", "--port", "8001")
    works((code, len(bound)) == (0, 1), f"`dev` serves: {text}")
    addresses = {str(found[4][0]) for host in bound for found in socket.getaddrinfo(host, 8001)}
    harm([one for one in addresses if not ipaddress.ip_address(one).is_loopback], "others reach the debugging server")
    code, text = command(service, monkeypatch, "dev", "--host", "0.0.0.0")  # noqa: S104
    assert code == 2
    assert "No such option" in text
    assert len(bound) == 1


@protects(
    "boot-refuse-weakened-protection",
    names=edit(
        "start/guards.py", 'if name.startswith("BASTION_") and name not in known', "if name not in known and False"
    ),
)
def test_an_unknown_setting_stops_the_start_with_a_suggestion(service: Service) -> None:
    works(service.start(BASTION_MAILS_PER_HOUR="20").app is not None, "an existing, tighter setting starts")
    tried = service.start(BASTION_MAILS_PER_HOURS="20")
    harm(tried.app is not None, "the service ignored a misspelt setting")
    assert tried.reasons == ["BASTION_MAILS_PER_HOURS is not a setting. Did you mean BASTION_MAILS_PER_HOUR?"]
    tried = service.start(BASTION_TRUSTED_HOST="canary.example")
    assert tried.reasons == ["BASTION_TRUSTED_HOST is not a setting. Did you mean BASTION_TRUSTED_HOSTS?"]
    assert "canary" not in tried.text
    assert service.start(BASTION_QQQQQQQQQQQQ="1").reasons == ["BASTION_QQQQQQQQQQQQ is not a setting. Remove it."]


def write_files(folder: Path) -> None:
    """Write every file from which some tool reads settings."""
    for name in (".env", ".flaskenv"):
        (folder / name).write_text("BASTION_ENV=development\nFLASK_ENV=development\n", "utf-8")
    (folder / "pyproject.toml").write_text('[tool.bastion]\nenv = "development"\n', "utf-8")
    (folder / "settings.toml").write_text('BASTION_ENV = "development"\n', "utf-8")


@protects("production-by-default")
def test_whatever_flask_takes_for_yes_stops_the_start(service: Service) -> None:
    for off in ("", "0", "false", "False", "no"):
        works(service.start(FLASK_DEBUG=off).app is not None, "a switched-off FLASK_DEBUG starts")
    for on in ("1", "true", "yes", "off"):  # Flask takes whatever else is there for yes
        tried = service.start(FLASK_DEBUG=on)
        harm(tried.app is not None, "the service started with FLASK_DEBUG without development mode")
        assert tried.reasons == [DEBUG_ON]


@protects("cli-refuses-dev-server")
def test_no_option_and_no_mode_makes_a_development_server_of_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    monkeypatch.setattr("flask.Flask.run", lambda *_arguments, **_options: served.append("flask"))
    monkeypatch.setattr("os.execv", lambda _program, arguments: served.append(" ".join(arguments[1:3])))
    command(service, monkeypatch, "serve")
    works(served == ["-m gunicorn"], "`serve` starts gunicorn")
    served.clear()
    for options in (["--debug"], ["--host", "0.0.0.0"]):  # noqa: S104
        assert command(service, monkeypatch, "run", *options)[0] == 2
    service.setting("BASTION_ENV", "development")
    monkeypatch.setattr(service.module("commands.dev"), "prepare", lambda _package: None)
    code, text = command(service, monkeypatch, "serve")
    harm(served, "the development server serves in production, or gunicorn in development")
    assert code == 1
    assert "Unset BASTION_ENV for production." in text
