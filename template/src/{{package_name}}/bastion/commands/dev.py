"""`<service> dev`: make missing keys and database, and run the service on this machine as in production.

Only convenience differs: keys and database are made and kept below instance/, mode 0600, and cookies work over http on
a loopback address. No protection is off. No file can switch it on: only the process's environment can.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import click
from flask import Flask
from werkzeug import Request, Response
from werkzeug.serving import run_simple

from .. import chosen
from ..clock import now
from ..database import connect
from ..delivery import outbox
from ..secrets import OF_EVERY_SERVICE
from ..settings import variables
from ..settings.exceptions import ended
from ..state import state_of
from . import migrations

FOLDER: Final = Path("instance")
HOST: Final = "localhost"
PORT: Final = 8000
PROJECT: Final = Path(__file__).resolve().parents[4]
"""The folder of the service, when it is installed as `uv sync` does it."""


def asked_for() -> bool:
    """Return whether this process's environment selects development."""
    return os.environ.get("BASTION_ENV") == "development"


def prepare(package: str, port: int | None = None) -> int:
    """Make keys and database below instance/ where the environment names none, and return the port; idempotent.

    Mailed links point to `port` of this machine, unless the environment names another origin; without `port`, to the
    last one given. Raise RuntimeError in a folder below that of the service.
    """
    if PROJECT in Path.cwd().parents and (PROJECT / "pyproject.toml").is_file():
        raise RuntimeError(f"Run this in the folder of the service, {PROJECT}: what it makes lies in {FOLDER}/ there.")
    folder = FOLDER.absolute()
    folder.mkdir(mode=0o700, exist_ok=True)
    port = _remembered(folder / "port", port)
    keys = folder / "secrets"
    keys.mkdir(mode=0o700, exist_ok=True)
    if os.environ.get("BASTION_PUBLIC_ORIGIN") in (None, f"http://{HOST}:{PORT}"):
        os.environ["BASTION_PUBLIC_ORIGIN"] = f"http://{HOST}:{port}"
    os.environ.setdefault("BASTION_PROXY_HOPS", "0")
    os.environ.setdefault("BASTION_REGISTRATION", "open")
    names = dict.fromkeys((*OF_EVERY_SERVICE, *chosen.dialect.SECRETS), new_key) | chosen.style.DEVELOPMENT_SECRETS
    for name, make in names.items():
        file = keys / name
        if not file.exists():
            _write(file, make())
    chosen.backend.use_folder(keys)
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = chosen.dialect.development_url(folder, package, (keys / "DATABASE_PASSWORD"))
    os.environ.setdefault("BASTION_FILES_DIR", str(folder / "files"))
    return port


def _remembered(file: Path, port: int | None) -> int:
    """Return the given port and store it for commands in other terminals; without one, return the stored port."""
    if port is not None:
        file.write_text(str(port), encoding="utf-8")
        return port
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return int(text) if text.isdecimal() and text.isascii() else PORT


def new_key() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)


def reloaded() -> bool:
    """Return whether this is the process that a reload replaces."""
    return os.environ.get("WERKZEUG_RUN_MAIN") == "true"


def serve(app: Flask, name: str, port: int) -> None:
    """Serve with reload, only on a loopback address."""
    if reloaded():
        outbox.start(app)  # not in the other process, which lives on when the code changes
    else:
        click.echo(f"http://{HOST}:{port}  (development; stop with Ctrl-C)")
        click.echo(f"An administrator: uv run {name} dev users create you@example.com --role admin")
    files = [str(file) for file in Path(app.root_path).glob("*.toml")]
    run_simple(HOST, port, app, use_reloader=True, threaded=True, extra_files=files)


def wait_for_an_edit(reasons: str, port: int) -> None:
    """Show in the browser as well why the service does not start, until one of its files changes."""

    @Request.application
    def told(_request: Request) -> Response:
        return Response(f"{reasons}\n", 503, mimetype="text/plain")

    run_simple(HOST, port, told, use_reloader=True, threaded=True)


def findings(app: Flask) -> Iterator[str]:
    """Yield the findings of `doctor`."""
    if migrations.pending(app):
        yield "The database has pending migrations: run `db upgrade`."
    service = state_of(app)
    with app.app_context(), connect() as connection:
        if service.settings.production and chosen.dialect.owns_tables(connection):
            yield "The database's role owns the tables and can drop them: make two roles (docs/bastion/database.md)."
    yield from ended(service.exemptions, now().date())
    granted = frozenset().union(*service.team.roles.values())
    for endpoint, rule in sorted(service.rules.items()):
        for permission in sorted(rule.permissions - granted):
            yield f"The route {endpoint!r} requires {permission!r}, which no role in settings.py has."
    known = variables(type(service.team))
    prefix = str(service.team.model_config.get("env_prefix", "")).upper()
    for name in sorted(name for name in os.environ if prefix and name.startswith(prefix) and name not in known):
        near = get_close_matches(name, sorted(known), n=1)
        yield f"{name} is no setting of settings.py." + (f" Did you mean {near[0]}?" if near else "")
    if not service.security_contact:
        yield "No security contact: `uvx copier update --defaults --vcs-ref :current: -d security_contact=...`."
