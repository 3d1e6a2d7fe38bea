"""Unit tests beside the proofs in test_secrets.py."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import environment
from ..running import Service
from ..service import PACKAGE, SECRETS
from ..test_secrets import NEW_KEY, WHERE, shown

if TYPE_CHECKING:
    import pytest


def names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The team's settings name one secret more."""
    team = import_module(f"{PACKAGE}.app").create_app.settings_class
    monkeypatch.setattr(team, "secrets", {**team.secrets, "PARTNER_API": "opens the API of our partner"})


def test_a_secret_that_the_team_names_is_there_in_every_proof(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    names_another(monkeypatch)
    (told,) = service.start().reasons
    assert told.endswith("It opens the API of our partner. Set it there.")
    service.environment.secrets.update(environment.secrets_of_the_team())
    with service.boot().app_context():
        assert len(service.module("secrets").get("PARTNER_API").reveal()) == 64
    service.secret("PARTNER_API", "of a test of the team's")
    with service.app.app_context():
        assert service.module("secrets").get("PARTNER_API").reveal() == "of a test of the team's"


def test_no_command_prints_a_secret(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from ..test_settings import command

    names_another(monkeypatch)
    service.environment.secrets.update(environment.secrets_of_the_team())
    for arguments in (["secrets", "list"], ["--help"], ["routes"], ["doctor"], ["secrets", "--help"]):
        code, text = command(service, monkeypatch, *arguments)
        assert code == 0, text
        assert shown(service, text) == []
    _, text = command(service, monkeypatch, "secrets", "list")
    assert f"From {WHERE[SECRETS]}" in text
    assert re.search(r"^SMTP_PASSWORD +absent ", text, re.MULTILINE)
    present = {*re.findall(r"^([A-Z_]+) +present ", text, re.MULTILINE)}
    assert "PARTNER_API" in service.environment.secrets
    assert {*service.environment.secrets} <= present


def test_a_secret_at_run_time_is_missing_by_name_and_place(service: Service) -> None:
    secrets = service.module("secrets")
    with service.app.app_context():
        assert secrets.get("SECRET_KEY").reveal() == service.environment.secrets["SECRET_KEY"]
        with_no_value = secrets.SecretMissing("PAYMENT_TOKEN", service.module("state").state().secrets.where)
        assert service.module("state").state().secrets.find("PAYMENT_TOKEN") is None
    assert str(with_no_value).startswith(f"SECRET 'PAYMENT_TOKEN' not found in {WHERE[SECRETS]}")


def test_development_reads_what_is_kept_for_it_without_the_line_break_that_ends_a_file(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir(mode=0o700)
    for name, text in {"ONE": "one\n", "TWO": "two\n\n", "THREE": "three"}.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text, "utf-8")
    backend = service.module("chosen").backend
    monkeypatch.setattr("os.environ", {})
    backend.use_folder(folder)
    settings = backend.Settings()
    assert [*backend.check(settings, production=False, database_users=True)] == []
    secrets = backend.open_secrets(settings)
    found = {name: secrets.get(name).reveal() for name in ("ONE", "TWO", "THREE")}
    assert found == {"ONE": "one", "TWO": "two\n", "THREE": "three"}
    assert secrets.find("FOUR") is None
    assert secrets.find(f"../{folder.name}/ONE") is None


if SECRETS == "env":

    def test_a_command_leaves_the_environment_to_the_server(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        from ..test_settings import command

        before = dict(os.environ)
        for _ in range(2):
            assert command(service, monkeypatch, "secrets", "list")[0] == 0
        handed: list[dict[str, str]] = []
        cli = service.module("commands.cli")
        monkeypatch.setattr(cli.os, "execv", lambda *_arguments: handed.append(dict(os.environ)))
        os.environ.update(before)
        command(service, monkeypatch, "serve")
        assert [{name: one.get(name) for name in service.environment.secrets} for one in handed] == [
            service.environment.secrets
        ]


if SECRETS == "files":

    def test_the_reason_why_a_file_is_not_read_stops_the_start(service: Service) -> None:
        for name, begins in (
            ("SECRET_KEY", "SECRET 'SECRET_KEY' not found in files:{}, where it or its folder may be written by"),
            ("SMTP_PASSWORD", "SMTP_PASSWORD or its folder may be written by others"),
        ):
            given = service.environment.copy()
            given.change({"SMTP_PASSWORD": NEW_KEY})
            variables = given.variables()
            folder = Path(variables["BASTION_SECRETS_DIR"])
            service.environment.settings["BASTION_SECRETS_DIR"] = str(folder)
            assert service.start().app is not None
            (folder / name).chmod(0o660)
            tried = service.start()
            del service.environment.settings["BASTION_SECRETS_DIR"]
            assert [reason.startswith(begins.format(folder)) for reason in tried.reasons] == [True]
            assert NEW_KEY not in tried.text


# --- the repository -----------------------------------------------------------------------------------------------


def test_a_length_of_time_is_told_in_its_largest_unit(service: Service) -> None:
    told = {0: "0 s", -5: "0 s", 59: "59 s", 60: "1 min", 3_599: "59 min", 3_600: "1 h", 86_399: "23 h", 86_400: "1 d"}
    assert {length: service.module("commands.secrets")._span(length) for length in told} == told


def test_a_key_is_the_same_32_bytes_in_hex_and_in_base64(service: Service) -> None:
    ring = service.module("crypto.ring")
    spellings = (
        "00ff" * 16,
        "AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8",
        "AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8=",
    )
    assert {ring.bytes_of(f" {text}\n") for text in spellings} == {bytes((0, 255)) * 16}


def test_a_ring_says_when_its_active_key_is_everywhere_and_which_are_over(service: Service) -> None:
    ring: Any = service.module("crypto.ring")
    purpose, now = ring.PURPOSES["DATA_KEY"], int(service.now().timestamp())
    ago = {"active": 100, "retired": purpose.life - 60, "over": purpose.life + 60}
    keys = [ring.Key(name, name, name.replace("over", "retired"), now - int(since)) for name, since in ago.items()]
    made = ring.Ring(purpose, tuple(keys))
    assert ring.SPREAD - 110 <= made.spreads_for() <= ring.SPREAD - 99
    assert [key.name for key in made.overdue()] == ["over"]
    assert ring.Ring(purpose, (ring.Key("plain", "text", "active"),)).spreads_for() == 0


def test_of_two_next_keys_the_one_that_all_processes_know_becomes_active(service: Service) -> None:
    ring, now = service.module("crypto.ring"), int(service.now().timestamp())
    listed = [
        {"status": status, "since": now - ago} for status, ago in (("active", 9_000), ("next", 3_600), ("next", 0))
    ]
    turned = ring.turned(listed, dict, ring.WAIT, 0, None)
    assert [key["status"] for key in json.loads(turned.text)["keys"]] == ["retired", "active", "next"]
