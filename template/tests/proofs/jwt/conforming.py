"""Requests made by schemathesis from the service's own description, and what in the answers the description denies.

It stops a description that everybody believes and nobody has compared with the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from ..wire import ORIGIN

if TYPE_CHECKING:
    from ..jwt_client import Client
    from ..running import Service

CHECKS: Final[list[Any]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
TAKEN: Final = ("parameters", "requestBody", "security")
EXAMPLES: Final = 2  # of each operation: so many that fit, and as many that don't
Caller = Callable[[str], tuple["Client", Mapping[str, str]]]
"""Gives for a path an honest client, and the values of those of its variables that name something of his."""


def is_openapi(document: Mapping[str, Any]) -> bool:
    """Whether the schema of OpenAPI 3.1 itself has nothing to say against it."""
    return OPENAPI_31_VALIDATOR.is_valid(document)


class Compared:
    """Every operation of a service, called; what was answered, and what of it the description does not say."""

    def __init__(self, service: Service, caller: Caller) -> None:
        self._service, self._caller, self._numbers = service, caller, count()
        self.answered: set[tuple[str, str, int]] = set()
        self.denied: list[str] = []
        with service.app.app_context():
            document = service.module("jwt.openapi").describe(service.app)
        self._schema = schemathesis.openapi.from_dict(document)
        operations: Any = self._schema.get_all_operations()
        self.operations = [found.ok() for found in operations]

    def all(self) -> None:
        """Call every operation with what its description allows, and with what it does not."""
        for operation in self.operations:
            self._calls(operation, GenerationMode.POSITIVE)
            if [name for name in TAKEN if operation.definition.raw.get(name)]:  # else nothing can be wrong with a call
                self._calls(operation, GenerationMode.NEGATIVE)

    def _calls(self, operation: Any, mode: GenerationMode) -> None:
        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=[*HealthCheck],
        )
        @given(operation.as_strategy(generation_mode=mode))
        def call(case: Case[Any]) -> None:
            self._call(case, honest=mode is GenerationMode.POSITIVE)

        call()

    def _call(self, case: Case[Any], *, honest: bool) -> None:
        client, known = self._caller(case.operation.path)
        if honest:
            case.path_parameters.update({name: known[name] for name in case.path_parameters.keys() & known.keys()})
        address = f"192.0.2.{next(self._numbers) % 250 + 1}"

        def application(environ: dict[str, Any], start: Any) -> Any:
            return self._service.app(environ | {"REMOTE_ADDR": address}, start)

        headers = {"Authorization": f"Bearer {client.token}", "User-Agent": client.agent}
        answer = case.call(app=application, base_url=ORIGIN, headers=headers)
        self.answered.add((case.method, case.operation.path, answer.status_code))
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            self.denied += [f"{case.operation.label}: {one.title}: {one.message}" for one in group.exceptions]
