"""Proofs of what becomes of secrets when something fails: they are in no error, whoever collects it, and in no child.

They stop a key or a password from being sent to a tracker of errors with the local variables of a stack.
"""

from __future__ import annotations

import hmac
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .collector import Collector, collecting
from .harness import edit, harm, protects, works
from .running import Service
from .service import DATABASE, PACKAGE

if TYPE_CHECKING:
    from .wire import Response

CALLS = "        return super().handle_user_exception(e)"
UNCLEARED = edit("__init__.py", f"        log.forget_locals(e)\n{CALLS}", CALLS)


def known(service: Service, text: str) -> list[str]:
    """The secrets that can be read in a text, as they are or as the bytes that they are handed on as."""
    return sorted(name for name, value in service.environment.secrets.items() if value in text)


def fails_in_the_library(*_arguments: object, **_more: object) -> None:
    raise RuntimeError("no memory")


@protects("secrets-never-shown", locals=UNCLEARED)
def test_no_collector_of_errors_gets_a_key_with_the_variables_of_a_stack(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signs() -> str:
        return str(service.module("signing").sign("a-purpose", "a value"))

    def uses() -> str:
        partner = service.module("secrets").get("SECRET_KEY")
        raise ValueError(f"no connection with {partner}")

    service.adds_route("/signs", mark="public", view=signs)
    service.adds_route("/uses", mark="public", view=uses)
    visitor = service.client()
    works(visitor.get("/signs").status == 200, "the service signs")
    answers: list[Response] = []
    with collecting() as collector:
        answers.append(visitor.get("/uses"))
        works("no connection with" in collector.text, "a collector gets the error of a view")
        works("in dispatch_request" in collector.text, "with its stack")
        with monkeypatch.context() as broken:
            broken.setattr(hmac, "new", fails_in_the_library)
            answers.append(visitor.get("/signs"))
        works("no memory" in collector.text, "and that of a library deep below")
    harm(known(service, collector.text), "the local variables of a stack hold a secret")
    assert [answer.status for answer in answers] == [500, 500]
    assert known(service, service.output + "".join(answer.text for answer in answers)) == []


if DATABASE != "sqlite":

    @protects("secrets-never-shown", locals=UNCLEARED)
    def test_no_collector_of_errors_gets_the_password_of_a_database_that_is_away(service: Service) -> None:
        service.adds_route("/probe")
        client = service.client(service.user()).login()
        works(client.get("/probe").status == 200, "the database answers")
        service.take_database_away()
        with collecting() as collector:
            answer = client.get("/probe")
        works("OperationalError" in collector.text, "a collector gets the error of the connection")
        harm(known(service, collector.text), "the driver's variables hold the password")
        assert answer.status == 503
        assert known(service, service.output + answer.text) == []


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
    module = service.module("guards")
    starts: list[Callable[[], object]] = [
        lambda: service.boot(BASTION_TRUSTED_HOSTS=""),
        lambda: service.boot(SECRET_KEY="a" * 64),
        lambda: service.boot(BASTION_THREADS="many"),
        lambda: service.boot(SECRET_KEY=service.environment.secrets["THROTTLE_KEY"]),
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
    child = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, check=True)  # noqa: S603
    assert "BASTION_TRUSTED_HOSTS" in child.stdout
    assert known(service, child.stdout) == []
