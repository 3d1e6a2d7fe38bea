"""The service under attack: production settings, a database of its own, a clock that can be moved, and its log.

It stops proofs from switching anything off to get at something: what they need is added from outside.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import secrets
import shutil
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TextIO
from unittest import mock

from jinja2 import BytecodeCache

from . import environment, place
from .databases import Baseline, Database, Store
from .probe_model import create_table
from .real_server import RealServer, exchange, start_real_server
from .sabotage import in_a_fork
from .service import AUTH, PACKAGE, Backend, Client

if TYPE_CHECKING:
    from email.message import EmailMessage

    from flask import Flask
    from jinja2.bccache import Bucket
    from sqlalchemy import Engine

PASSWORD = "correct horse battery staple"  # of the proofs' users; its hash is made once in a session
Mark = str | tuple[str, ...] | Callable[[Callable[..., Any]], Callable[..., Any]] | None


class Recorder:
    """Stands where the service's log goes: keeps each line, and passes it on for pytest to show."""

    def __init__(self, through: TextIO) -> None:
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._through = through
        self._rest = ""

    def write(self, text: str) -> int:
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            self.lines.append(line)
            if line.startswith("{"):
                with suppress(ValueError):
                    self.events.append(json.loads(line))
        with suppress(ValueError):  # closed: pytest has gone on
            self._through.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(ValueError):
            self._through.flush()

    def isatty(self) -> bool:
        return False


class Collector:
    """Takes what an error tracker takes, which is more than a log: each error with the local variables of its stack."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def take(self, error: BaseException | None) -> None:
        if error is not None:
            dump = traceback.TracebackException.from_exception(error, capture_locals=True)
            # The proofs' own functions know all secrets.
            dump.stack[:] = [
                frame for frame in dump.stack if not Path(frame.filename).is_relative_to(Path(__file__).parent)
            ]
            self.texts.append("".join(dump.format()))

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Within the block it listens at Flask's signal and, as such extensions do, at every logger."""
    from flask import got_request_exception

    collector, calls = Collector(), logging.Logger.callHandlers

    def hear(_app: object, exception: BaseException, **_more: object) -> None:
        collector.take(exception)

    def call(self: logging.Logger, record: logging.LogRecord) -> None:
        if record.exc_info:
            collector.take(record.exc_info[1])
        event = record.msg if isinstance(record.msg, dict) else {}
        if isinstance(event.get("exc_info"), BaseException):
            collector.take(event["exc_info"])
        calls(self, record)

    setattr(logging.Logger, "callHandlers", call)  # noqa: B010  no type checker follows an extension that does this
    try:
        with got_request_exception.connected_to(hear):
            yield collector
    finally:
        setattr(logging.Logger, "callHandlers", calls)  # noqa: B010


@dataclass(frozen=True, slots=True)
class User:
    """A user of the proofs."""

    id: uuid.UUID
    email: str
    password: str
    methods: str = "password"
    """How his quick login says that he proved who he is; administrators must have a second factor."""


@dataclass(frozen=True, slots=True)
class Start:
    """A start that was tried: the app, or the reasons why there is none."""

    app: Flask | None
    reasons: list[str]
    text: str
    """The whole error text, for secrets that must not be in it."""


class CompiledTemplates(BytecodeCache):
    """Jinja's bytecode cache in memory: each proof has an app of its own, whose templates are the same.

    Jinja's key holds the path and its checksum the source, so a sabotaged copy compiles its own.
    """

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._compiled:
            bucket.bytecode_from_string(self._compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._compiled[bucket.key] = bucket.bytecode_to_string()


TEMPLATES: Final = CompiledTemplates()


@dataclass
class Service:
    """One service for one proof. Add routes first; the app is made when `app`, `client` or `user` is first used."""

    baseline: Baseline
    folder: Path
    database: Database
    environment: environment.Environment
    recorder: Recorder
    recommended: bool = False
    """Whether the team's exceptions.toml is left out: edges judge what is the same in every service."""
    mails: list[EmailMessage] = field(default_factory=list)
    """What the service has sent so far; see mails.py."""
    _additions: list[Callable[[Flask], None]] = field(default_factory=list)
    _needed: dict[str, int] = field(default_factory=dict)
    _servers: list[RealServer] = field(default_factory=list)
    _started: list[Flask] = field(default_factory=list)
    _away: timedelta = timedelta()
    _source: Any = None
    _sends: Any = None
    _held: datetime | None = None

    # --- places and modules ---------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """The service's root: of the scratch copy in a sabotaged run, so that edits of other files are seen."""
        return place.root

    @property
    def bastion(self) -> Path:
        """The folder of the protections."""
        return place.bastion()

    def module(self, name: str = "") -> ModuleType:
        """The module <package>.bastion.<name>, for spies and for calls of the service's own functions."""
        return importlib.import_module(f"{PACKAGE}.bastion.{name}" if name else f"{PACKAGE}.bastion")

    # --- the environment ------------------------------------------------------------------------------------

    @property
    def env(self) -> dict[str, str]:
        """The complete production environment; what a secrets backend needs lies where it leads."""
        return self.environment.variables()

    def setting(self, name: str, value: str | None) -> None:
        """Change or remove (None) one environment variable, before the app is made."""
        self._before()
        self.environment.change({name: value})
        environment.replace(self.environment.variables())

    def secret(self, name: str, value: str | None) -> None:
        """Change or remove (None) one secret, where this service's backend looks for it."""
        self.setting(name, value)

    def rotate(self, **changes: str | None) -> None:
        """Change or remove (None) secrets where the running app looks for them, as an operator does meanwhile."""
        self.environment.change(changes)
        self.environment.backend.change(os.environ, changes)

    # --- before the start -----------------------------------------------------------------------------------

    def adds(self, function: Callable[[Flask], None]) -> None:
        """Run `function(app)` after the team's function and before the seal. Raises RuntimeError after the start."""
        self._before()
        self._additions.append(function)

    def adds_route(
        self,
        path: str,
        *,
        methods: tuple[str, ...] = ("GET",),
        mark: Mark = "login_required",
        view: Callable[..., Any] | None = None,
        endpoint: str | None = None,
    ) -> list[str]:
        """Add a bare route, with no form or body of its own, and give the list to which each run of it is appended.

        `mark` is "login_required", "public", a tuple of permissions, a decorator, or None for a route without a rule.
        """
        seen: list[str] = []
        name = endpoint or "probe" + "".join(c if c.isalnum() else "_" for c in path)

        def answer(**_values: Any) -> Any:
            return {"probe": "ran"}

        answer_of = view or answer

        def add(app: Flask) -> None:
            from flask import request

            @functools.wraps(answer_of)
            def recorded(**values: Any) -> Any:
                seen.append(request.method)
                return answer_of(**values)

            bastion = self.module()
            if mark is None:
                marked: Callable[..., Any] = recorded
            elif isinstance(mark, tuple):
                marked = bastion.requires(*mark)(recorded)
            elif isinstance(mark, str):
                marked = getattr(bastion, mark)(recorded)
            else:
                marked = mark(recorded)
            app.add_url_rule(path, name, marked, methods=list(methods))

        self.adds(add)
        return seen

    def adds_probe(self) -> Any:
        """Add the probe feature, things that belong to users, and give how it is used: see probe_model.ProbeBase."""
        made = importlib.import_module(f".probe_{AUTH}", __package__).Probe(self)
        self.adds(made.install)
        return made

    def _before(self) -> None:
        if "app" in vars(self):
            raise RuntimeError("the app has been made already; add and change before you use app, client or user")

    # --- the start ------------------------------------------------------------------------------------------

    @cached_property
    def app(self) -> Flask:
        """The finished app, made at the first use with everything that was added."""
        return self._make()

    def boot(self, **changes: str | None) -> Flask:
        """A further start, with the given settings and secrets changed (None removes). Raises what the start raises."""
        changed = self.environment.copy()
        changed.change(changes)
        environment.replace(changed.variables())
        try:
            return self._make()
        finally:
            environment.replace(self.environment.variables())

    def restart(self, **changes: str | None) -> None:
        """From here on the app is a new one, with settings and secrets changed (None removes), as if deployed anew."""
        self.environment.change(changes)
        environment.replace(self.environment.variables())
        self.app = self._make()

    def start(self, **changes: str | None) -> Start:
        """Like boot(), but a refusal of the service (ConfigError, SecretMissing) is given back, reason by reason.

        Any other exception is raised: it refuses nothing.
        """
        refusals = (self.module("settings").ConfigError, self.module("secrets").SecretMissing)
        try:
            return Start(self.boot(**changes), [], "")
        except refusals as refusal:
            return Start(None, list(getattr(refusal, "reasons", [str(refusal)])), str(refusal))

    def _make(self, *, migrates: bool = False) -> Flask:
        module = importlib.import_module(f"{PACKAGE}.app")
        create_app = module.create_app
        if self._additions:
            team, additions = create_app.__wrapped__, tuple(self._additions)

            @functools.wraps(team)
            def extended(app: Flask) -> None:
                team(app)
                for add in additions:
                    add(app)

            create_app = self.module().service(create_app.settings_class)(extended)
        exceptions = self.module("settings.exceptions")
        limits = mock.patch.object(exceptions, "read", functools.partial(self._read_exceptions, exceptions.read))
        with limits, redirect_stdout(self.recorder), redirect_stderr(self.recorder):
            app: Flask = create_app(migrates=migrates)
        app.jinja_env.bytecode_cache = TEMPLATES
        self._started.append(app)
        if self._sends is None:
            self._sends = self._transport._by_smtp
            self._transport._by_smtp = self._hand_over
        return app

    @property
    def _transport(self) -> Any:
        return self.module("delivery.transport")

    def _hand_over(self, message: EmailMessage, server: Any, certificates: str) -> None:
        """Keep a mail for the server that does not exist; send others."""
        if server.host == environment.NO_MAIL_SERVER:
            self.mails.append(message)
        else:
            self._sends(message, server, certificates)

    def migrate(self, work: Callable[[Any], object] = lambda alembic: alembic.upgrade()) -> None:
        """Bring the database up to date as `db upgrade` does: as the role that owns the tables, where there are two.

        `work` is done with Flask-Alembic instead.
        """
        changed, owner = self.environment.copy(), self.database.owner
        if owner:
            changed.change({"BASTION_MIGRATION_USER": owner, "MIGRATION_PASSWORD": self.database.owner_password})
            changed.change({"DATABASE_PASSWORD": None})
        environment.replace(changed.variables())
        try:
            app = self._make(migrates=True)
            with app.app_context():
                work(self.module("commands.migrations").install(app))
        finally:
            environment.replace(self.environment.variables())

    @property
    def limits(self) -> Any:
        """The limits in force, exceptions.toml included: a proof goes to these, never to a number of its own."""
        return self.module("state").state_of(self.app).limits

    def at_least(self, **limits: int) -> None:
        """Start with limits of at least these, which this proof needs and does not prove."""
        self._before()
        self._needed |= limits

    def _read_exceptions(self, read: Callable[[Path], Any], file: Path) -> Any:
        if self.recommended and file.parent == self.root / "src" / PACKAGE:
            return read(self.folder / "none")
        declared = read(file)
        raised = {name: max(least, getattr(declared.limits, name)) for name, least in self._needed.items()}
        return replace(declared, limits=replace(declared.limits, **raised))

    # --- people ---------------------------------------------------------------------------------------------

    def user(
        self,
        email: str | None = None,
        *,
        roles: tuple[str, ...] = (),
        password: str | None = PASSWORD,
        active: bool = True,
    ) -> User:
        """A new account, written to the database directly; `password` None makes one without a password.

        The service's own hasher made its hash. Where the hash is not what is proven, logins.cheap_user() costs less.
        """
        self.app  # noqa: B018  the models are imported with it
        email = email or f"user-{secrets.token_hex(4)}@example.com"
        stored: str | None = self.baseline.password_hash
        if password is None:
            stored = None
        elif password != PASSWORD:
            with self.app.app_context():
                stored = self.module("state").state().passwords.hash(password)
        methods = "password totp" if roles else "password"
        made = User(uuid.uuid4(), email, password or "", methods)
        with self.engine.begin() as connection:
            connection.execute(
                self.module("identity.models")
                .User.__table__.insert()
                .values(
                    id=made.id,
                    email=email,
                    password_hash=stored,
                    active=active,
                    roles=" ".join(sorted(roles)),
                    created_at=self.now(),
                )
            )
        return made

    def client(self, user: User | None = None, address: str = "192.0.2.10") -> Client:
        """A visitor at this address, not logged in yet: `service.client(service.user()).login()`."""
        return Client(self, user, address)

    # --- what can be observed -------------------------------------------------------------------------------

    @property
    def log(self) -> list[dict[str, Any]]:
        """The events that the service has written to its log so far."""
        return self.recorder.events

    @property
    def output(self) -> str:
        """Everything that it has written to standard output and error, as it is."""
        return "\n".join(self.recorder.lines)

    @cached_property
    def engine(self) -> Engine:
        """An engine of the proofs' own, apart from the service's."""
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        return create_engine(self.database.engine_url, poolclass=NullPool)

    def rows(self, sql: str, **values: Any) -> list[Any]:
        """Rows of a statement with bound parameters (:name), through a connection of its own; changes are committed."""
        from sqlalchemy import text

        with self.engine.begin() as connection:
            result = connection.execute(text(sql), values)
            return list(result.all()) if result.returns_rows else []

    def take_database_away(self) -> None:
        """From now on the database does not answer."""
        self._dispose()
        self.baseline.store.take_away(self.database)

    # --- time -----------------------------------------------------------------------------------------------

    def travel(self, **timedelta_arguments: float) -> None:
        """Move the service's clock by this much, from where it is: travel(minutes=30, seconds=1)."""
        clock: Any = self.module("clock")
        if self._source is None:
            self._source = clock._source
        self._away += timedelta(**timedelta_arguments)
        away, source = self._away, self._source
        clock._source = (lambda: source() + away) if self._held is None else self.now

    def stop_time(self) -> None:
        """From here on the service's clock stands still and moves by travel() alone: for an end to the second."""
        self._held = datetime.now(UTC)
        self.travel()

    def now(self) -> datetime:
        """The service's time."""
        return (self._held or datetime.now(UTC)) + self._away

    # --- the real server ------------------------------------------------------------------------------------

    def real_server(self, *, first: str = "", **changes: str | None) -> RealServer:
        """Start gunicorn on a free loopback port, with the given settings changed, and wait until it answers.

        It stands behind one trusted proxy, which is the proof: say so in each request with X-Forwarded-For and
        X-Forwarded-Proto: https. What was added with adds_route() is not in it. `first` is code that its process runs
        before gunicorn.
        """
        changed = self.environment.copy()
        changed.change({"BASTION_PROXY_HOPS": "1", "BASTION_TRUSTED_PROXIES": "127.0.0.1/32", **changes})
        server = start_real_server(place.root, changed.variables(), first)
        self._servers.append(server)
        return server

    def raw(self, server: RealServer, data: bytes, *, seconds: float = 20.0) -> bytes:
        """Send these bytes, and read until the server closes or says nothing for a while (`seconds` at most)."""
        return exchange(server, data, seconds)

    # --- the end --------------------------------------------------------------------------------------------

    def _dispose(self) -> None:
        for app in self._started:
            with app.app_context():
                for engine in self.module("database").db.engines.values():
                    engine.dispose()
        if "engine" in vars(self):
            self.engine.dispose()

    def close(self) -> None:
        """Put everything back as it was."""
        for server in self._servers:
            server.stop()
        if self._source is not None:
            clock: Any = self.module("clock")
            clock._source = self._source
        if self._sends is not None:
            self._transport._by_smtp = self._sends
        log: Any = sys.modules.get(f"{PACKAGE}.bastion.log")
        if log is not None:
            log._hidden = ()  # the next service has other secrets, and may write what was one here
        self._dispose()
        with suppress(Exception):
            self.baseline.store.drop(self.database)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def service(baseline: Baseline, *, recommended: bool = False) -> Iterator[Service]:
    """A service on a copy of the migrated database, in an environment that holds nothing else."""
    folder = Path(tempfile.mkdtemp(prefix="proof-"))
    database = baseline.store.clone(baseline.template)
    complete = environment.complete(folder, database.url, database.password, baseline.backend)
    made = Service(baseline, folder, database, complete, Recorder(sys.stdout), recommended)
    with environment.only(made.environment.variables()):
        try:
            yield made
        finally:
            made.close()


# --- what is made once in a session -----------------------------------------------------------------------------


def prepare(store: Store, backend: Backend) -> Baseline:
    """Migrate one database with the service's own migrations, and hash the proofs' password with its own hasher."""
    folder = Path(tempfile.mkdtemp(prefix="proof-"))
    database = store.create()
    complete = environment.complete(folder, database.url, database.password, backend)
    recorder = Recorder(sys.stdout)
    with environment.only(complete.variables()):
        made = Service(Baseline(store, backend, "", ""), folder, database, complete, recorder)
        try:
            made.migrate()
            with made.app.app_context():
                hashed = made.module("state").state().passwords.hash(PASSWORD)
            create_table(made)
        finally:
            made._dispose()
            shutil.rmtree(folder, ignore_errors=True)
    store.settle(database.name)
    return Baseline(store, backend, database.name, hashed)


def prepare_in_a_fork(store: Store, backend: Backend) -> tuple[Baseline, list[str]]:
    """The same in a child, so that this process never imports the service; also the libraries that it imports."""
    environment.random_secrets()  # drawn here, so that all children share them
    before = set(sys.modules)

    def work() -> dict[str, Any]:
        made = prepare(store, backend)
        libraries = [name for name in sys.modules if name not in before]
        return {"template": made.template, "hash": made.password_hash, "libraries": libraries}

    done: Mapping[str, Any] = in_a_fork(work)
    return Baseline(store, backend, done["template"], done["hash"]), list(done["libraries"])


__all__ = ["AUTH", "PASSWORD", "RealServer", "Recorder", "Service", "Start", "User", "prepare", "service"]
