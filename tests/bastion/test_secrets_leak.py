"""Unit tests beside the proofs in test_secrets_leak.py."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable

import pytest

from ..running import Collector, Service
from ..service import PACKAGE
from ..test_secrets import known


def test_nothing_that_is_made_to_hold_a_secret_shows_it(service: Service) -> None:
    """An object of ours that ends in a log, or in the text of an error, tells what it is and not what it holds."""
    from dataclasses import fields, is_dataclass

    service.app  # noqa: B018  whatever it uses is imported
    held = {"token", "device_token", "access_token", "refresh_token", "seed", "uri", "secret", "private"}
    held |= {"codes", "recovery_codes", "data", "text"}
    modules = [module for name, module in [*sys.modules.items()] if name.startswith(f"{PACKAGE}.bastion.")]
    classes = {
        one for module in modules for one in vars(module).values() if isinstance(one, type) and is_dataclass(one)
    }
    shown = {
        f"{one.__name__}.{field.name}"
        for one in classes
        for field in fields(one)
        if field.repr and field.name in held and field.type != "int"  # how many there are
    }
    opened = service.module("identity.sessions").Opened, service.module("identity.flows").Begun
    assert {*opened, service.module("identity.login").Arrival} <= classes
    assert shown == set()


def test_no_refused_start_shows_a_secret_to_whoever_collects_its_error(service: Service) -> None:
    module = service.module("settings")
    starts: list[Callable[[], object]] = [
        lambda: service.boot(BASTION_TRUSTED_HOSTS=""),
        lambda: service.boot(SECRET_KEY="a" * 64),
        lambda: service.boot(BASTION_THREADS="many"),
        lambda: service.boot(SECRET_KEY=service.environment.secrets["DATA_KEY"]),
    ]
    collector = Collector()
    for start in starts:
        with pytest.raises(module.ConfigError) as refused:
            start()
        collector.take(refused.value)
    assert len(collector.texts) == len(starts)
    assert known(service, collector.text) == []


def test_a_group_of_errors_and_a_model_that_is_not_valid_show_no_secret(service: Service) -> None:
    from pydantic import BaseModel, ConfigDict, ValidationError

    class Partner(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        key: str
        port: int

    with service.app.app_context():
        secret = service.module("secrets").get("SECRET_KEY")
    with pytest.raises(ValidationError) as refused:
        Partner(key=secret, port="none")  # type: ignore[arg-type]
    several = ExceptionGroup("several", [refused.value, ValueError(f"{secret}")])
    text = "".join(traceback.format_exception(several))
    assert "2 validation errors" in text
    assert known(service, text) == []


def test_no_program_that_the_service_starts_has_a_secret_in_its_environment(service: Service) -> None:
    service.app  # noqa: B018  it has read its secrets
    read = "import pathlib; print(pathlib.Path('/proc/self/environ').read_bytes().decode())"
    if sys.platform != "linux":
        read = "import os; print(dict(os.environ))"
    child = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, check=True)
    assert "BASTION_TRUSTED_HOSTS" in child.stdout
    assert known(service, child.stdout) == []
