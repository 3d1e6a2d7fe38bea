"""A secrets backend that a proof can take away, slow down and change, in the place of the service's own.

It stops the rules of secrets/kept.py, which are the same for every backend, from being proven on one of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .running import Service

WHERE = "a stub"


class Stub:
    """Holds the secrets that the service's own environment holds; `fault` is what it answers instead, if anything."""

    def __init__(self, service: Service) -> None:
        self._module = service.module("secrets")
        self.values: dict[str, str] = dict(service.environment.secrets)
        self.fault: str | None = None
        self.faults_left: int | None = None
        self.only: str | None = None
        self.asked: list[str] = []
        self.connected = 0
        self.clock = 0.0
        """Seconds that pass nowhere but in here: how long questions take."""
        self.meanwhile: Callable[[], None] = lambda: None
        """Called while a question is being answered."""

    def connect(self) -> Callable[[str], Any]:
        """As a backend opens its client."""
        self.connected += 1
        return self._fetch

    def secrets(self) -> Any:
        """The service's own `Secrets` over this backend."""
        return self._module.Secrets(self.connect, WHERE)

    def goes_down(self, fault: str = "does not answer", *, times: int | None = None, only: str | None = None) -> None:
        """From now on, or for so many questions, there is no answer, or none about one name."""
        self.fault, self.faults_left, self.only = fault, times, only

    def comes_back(self) -> None:
        """It answers again."""
        self.fault = None

    def _fetch(self, name: str) -> Any:
        self.asked.append(name)
        self.meanwhile()
        if self.fault is not None and self.faults_left != 0 and self.only in (None, name):
            if self.faults_left is not None:
                self.faults_left -= 1
            raise self._module.BackendFault(self.fault)
        value = self.values.get(name)
        return None if value is None else self._module.Found(self._module.Secret(value))


@contextmanager
def stubbed(service: Service) -> Iterator[Stub]:
    """Within the block every start of the service reads its secrets from a stub, and waits for nothing."""
    backend: Any = service.module("chosen").backend
    kept: Any = service.module("secrets.kept")
    opens, time = backend.open_secrets, kept.time
    stub = Stub(service)
    backend.open_secrets = lambda _settings: stub.secrets()
    kept.time = SimpleNamespace(
        sleep=lambda seconds: stub.asked.append(f"waited {seconds}"), monotonic=lambda: stub.clock
    )
    try:
        yield stub
    finally:
        backend.open_secrets, kept.time = opens, time
