"""Unit tests beside the proofs in test_rotation.py."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from ..edges.test_crypto import Vault, reencrypt
from ..edges.test_rotation import SPREAD
from ..rings import new_key, text_of
from ..test_settings import command

if TYPE_CHECKING:
    import pytest

    from ..running import Service


# --- data ----------------------------------------------------------------------------------------------------------


def test_processes_that_disagree_read_what_the_others_encrypt_and_seal(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(service)
    former, active = service.environment.secrets["DATA_KEY"], new_key()
    service.app  # noqa: B018
    texts = (
        text_of(service, (former, "active"), (active, "next")),
        text_of(service, (former, "retired"), (active, "active")),
    )
    apps = [service.boot(DATA_KEY=text) for text in texts]
    rows = []
    for app in apps * 2:
        service.app = app
        rows.append(vault.add())
        with app.app_context():
            service.module("audit").record("proof.written")
            service.module("audit.chain").seal()
    assert [vault.stored(row)[:5] for row in rows] == [vault.header(former), vault.header(active)] * 2
    for app in apps:
        service.app = app
        assert [vault.get(row).status for row in rows] == [200] * 4
        with app.app_context():
            assert service.module("audit.chain").verify().fault is None
    service.environment.change({"DATA_KEY": texts[1]})
    code, said = reencrypt(service, monkeypatch)
    assert (code, said[0].partition(" again in ")[0]) == (
        1,
        "Error: Some process may still encrypt under the former key. Run this",
    )
    service.travel(seconds=SPREAD + 1)
    assert reencrypt(service, monkeypatch) == (0, ["Encrypted anew: 2.", "All is under DATA_KEY."])


# --- what an operator sees: a test, no proof of a row ---------------------------------------------------------------


def test_the_list_says_what_is_due_and_shows_no_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from ..test_settings import command

    keys = [new_key() for _ in range(3)]
    service.setting("SECRET_KEY", text_of(service, (keys[0], "retired"), (keys[1], "active"), (keys[2], "next")))
    service.travel(seconds=120)
    code, text = command(service, monkeypatch, "secrets", "list")
    assert code == 0
    assert not [key for key in keys if key in text]
    lines = text.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("SECRET_KEY ")]
    name, present, _version, *due = lines[at].split()  # some backends name each version
    assert (name, present, due) == ("SECRET_KEY", "present", ["2", "min", "in", "364", "d"])
    assert [line.strip() for line in lines[at + 1 : at + 5]] == [
        "signs cookies, form tokens and challenges, and hides whose attempts are counted",
        "key 1: retired for 2 min, needed for 1 d",
        "key 2: active for 2 min",
        "key 3: next for 2 min, can become active in 3 min",
    ]
    service.travel(days=400)
    _, text = command(service, monkeypatch, "secrets", "list")
    [line] = [line for line in text.splitlines() if line.startswith("SECRET_KEY ")]
    assert line.endswith("another key, now")


def test_a_command_writes_the_secret_to_standard_output_and_nothing_else(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = io.StringIO()
    code, text = command(service, monkeypatch, "keys", "rotate", "session", errors=told)
    assert code == 0
    keys = json.loads(text)["keys"]
    assert [key["status"] for key in keys] == ["active", "next"]
    assert min(key["since"] for key in keys) > 1_500_000_000  # nobody knows since when a plain key is there
    assert "key.rotated" in told.getvalue()
    assert "Store it as the secret SECRET_KEY" in told.getvalue()
