"""A complete production environment, of which a proof changes one thing.

It stops boot proofs from passing because something else was missing: from a complete start, one fault gives one reason.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .service import PACKAGE, Backend, Client
from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    from .running import Service

SECRET_NAMES = frozenset(
    (
        *("SECRET_KEY", "DATA_KEY"),
        *("DATABASE_PASSWORD", "MIGRATION_PASSWORD", "JWT_KEYS", "SMTP_PASSWORD"),
    )
)
HARMLESS = frozenset(
    (
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "USER", "LOGNAME"),
        *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "COVERAGE_PROCESS_START", "CI"),
        *("PYTEST_CURRENT_TEST", "PYTEST_VERSION"),
    )
)
"""What stays of the real environment: nothing that a setting of the service is read from."""
NO_MAIL_SERVER = "mail.invalid"  # mails handed over to it are in `service.mails`


@dataclass(slots=True)
class Environment:
    """Settings and secrets of one start; the secrets go where this service's backend looks for them."""

    settings: dict[str, str]
    secrets: dict[str, str]
    folder: Path
    backend: Backend

    def change(self, changes: Mapping[str, str | None]) -> None:
        """Set each name, or remove it where the value is None. The name says whether it is a secret."""
        for name, value in changes.items():
            values = self.secrets if name in SECRET_NAMES or name in self.secrets else self.settings
            if value is None:
                values.pop(name, None)
            else:
                values[name] = value

    def copy(self) -> Environment:
        return Environment(dict(self.settings), dict(self.secrets), self.folder, self.backend)

    def variables(self) -> dict[str, str]:
        """The environment variables of a start, for which the secrets are put where this service looks for them."""
        return {**self.backend.write(self.folder, self.secrets), **self.settings}


@cache
def random_secrets() -> dict[str, str]:
    """Secrets of this session: new for each run, the same for each proof of it."""
    made = {name: secrets.token_urlsafe(32) for name in ("SECRET_KEY", "DATA_KEY")}
    return {**made, **Client.secrets()}


def secrets_of_the_team() -> dict[str, str]:
    """Those that the team names in its settings: a service that lacks one would not start, and nothing were proven."""
    with only({}):  # no import reads what it should not
        names: Mapping[str, str] = import_module(f"{PACKAGE}.app").create_app.settings_class.secrets
    drawn = random_secrets()["DATA_KEY"].encode()  # not anew: other processes have the same values
    return {name: hmac.digest(drawn, name.encode(), "sha256").hex() for name in names}


def complete(folder: Path, database_url: str, database_password: str, backend: Backend) -> Environment:
    """The environment of a deployment that has done everything right."""
    values = {**secrets_of_the_team(), **random_secrets()}
    if database_password:
        values["DATABASE_PASSWORD"] = database_password
    settings = {
        "DATABASE_URL": database_url,
        "BASTION_TRUSTED_HOSTS": HOST,
        "BASTION_PUBLIC_ORIGIN": ORIGIN,
        "BASTION_PROXY_HOPS": "0",
        "BASTION_SMTP_URL": f"smtps://{NO_MAIL_SERVER}",
        "BASTION_MAIL_FROM": "accounts@app.example",
        "BASTION_FILES_DIR": str(folder / "files"),
        **Client.settings(),
    }
    return Environment(settings, values, folder, backend)


@contextmanager
def only(variables: Mapping[str, str]) -> Iterator[None]:
    """Replace the process's environment by `variables` and the harmless ones, until the end of the block."""
    kept = dict(os.environ)
    replace(variables)
    try:
        yield
    finally:
        test = os.environ.get("PYTEST_CURRENT_TEST")
        os.environ.clear()
        os.environ.update(kept)
        if test is not None:
            os.environ["PYTEST_CURRENT_TEST"] = test


def replace(variables: Mapping[str, str]) -> None:
    """Make `variables` the process's environment, beside the harmless ones."""
    for name in [name for name in os.environ if name not in HARMLESS]:
        del os.environ[name]
    os.environ.update(variables)


# --- a secrets backend that a proof can take away ----------------------------------------------------------------

WHERE = "a stub"


class Stub:
    """A backend with the secrets of the service's own environment; `fault` is what it answers instead, if anything.

    The rules of secrets/kept.py are the same for every backend, so they are proven on none of them alone.
    """

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
