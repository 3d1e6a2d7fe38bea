"""Proofs of what becomes of secrets when something fails: they are in no error, whoever collects it, and in no child.

They stop a key or a password from being sent to a tracker of errors with the local variables of a stack.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import pytest

from .harness import edit, harm, protects, works
from .running import Service, collecting
from .service import DATABASE

if TYPE_CHECKING:
    import pytest

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

    service.adds_route("/signs", mark="public", view=signs)
    visitor = service.client()
    works(visitor.get("/signs").status == 200, "the service signs")
    with collecting() as collector, monkeypatch.context() as broken:
        broken.setattr(hmac, "new", fails_in_the_library)
        answer = visitor.get("/signs")
    works("no memory" in collector.text, "a collector gets the error of a library")
    harm(known(service, collector.text), "the local variables of a stack hold a secret")
    assert answer.status == 500
    assert known(service, service.output + answer.text) == []


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
