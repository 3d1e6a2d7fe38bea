"""Tests of the migrations: each can be reverted, and a restored backup works. They prove no catalogue row.

They stop a step back, or a restore, from being tried for the first time when everything is on fire.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from . import databases
from .harness import works
from .logins import SIGNED_IN, attempt, cheap_user
from .service import DATABASE, PACKAGE
from .test_settings import command

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from .running import Service


NAME = PACKAGE.replace("_", "-")
# --- a backup, by the commands that the document names -------------------------------------------------------------


def commands(service: Service, section: str) -> list[str]:
    """The lines of docs/bastion/database.md that are to be typed, below this heading."""
    document = (service.root / "docs" / "bastion" / "database.md").read_text(encoding="utf-8")
    below = document.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [line.strip() for line in below.splitlines() if line.startswith("    ")]


def typed(service: Service, monkeypatch: pytest.MonkeyPatch, lines: list[str], **variables: str) -> None:
    """Run these, the service's own in this process. Each must succeed."""
    shell: list[str] = []
    for line in lines:
        if line.startswith(f"{NAME} "):
            code, text = command(service, monkeypatch, *line.split()[1:])
            assert code == 0, text
        elif line.startswith("umask "):
            shell.append(line)  # for what follows
        elif not line.startswith("export "):
            script = "\n".join((*shell, line))
            environ = {"PATH": os.environ["PATH"], **variables}
            done = subprocess.run(  # noqa: S603  the document's own words
                ["/bin/sh", "-c", script], cwd=service.root, env=environ, capture_output=True, text=True, timeout=300,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}: {done.stderr}"


def test_a_backup_that_is_made_and_restored_by_the_book_is_the_service_of_then(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = cheap_user(service)
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN
    assert command(service, monkeypatch, "audit", "verify")[0] == 0
    book = BOOKS[DATABASE](service, tmp_path)
    typed(service, monkeypatch, [book.translated(line) for line in commands(service, "Backup")], **book.variables)
    assert book.file.stat().st_mode & 0o777 == 0o600
    if DATABASE == "sqlite":
        code, text = command(service, monkeypatch, "db", "backup", str(book.file))
        assert (code, "Name a new file" in text) == (1, True)  # it takes the place of none
    later = cheap_user(service)
    book.before_restore()
    for line in commands(service, "Restore"):
        typed(service, monkeypatch, [book.translated(line)], **book.variables_of(line))
    book.use_it()
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN
    assert attempt(service.client(), later.email, later.password).status == 401
    service.migrate()
    code, text = command(service, monkeypatch, "audit", "verify")
    # Two logins; the refusal between them has its number when its minute is over.
    assert (code, re.search(r"OK: [23] events", text) is not None) == (0, True)


class SQLiteBook:
    """How a file is backed up and put back."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.file = service, folder / "backup.sqlite"
        self.data = service.database.url.removeprefix("sqlite:///")
        self.variables: dict[str, str] = {}

    def translated(self, line: str) -> str:
        """The line with the places of this machine."""
        line = line.replace(f"/var/backups/{NAME}.sqlite", str(self.file))
        return line.replace(f"/var/lib/{NAME}/data.sqlite", self.data)

    def variables_of(self, _line: str) -> dict[str, str]:
        """What the line finds in its environment."""
        return self.variables

    def before_restore(self) -> None:
        """The service stops."""
        self.service._dispose()

    def use_it(self) -> None:
        """And starts."""
        self.service.restart()


class ServerBook(SQLiteBook):
    """How a database of a server is."""

    dump = ""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.file = service, folder / self.dump
        self.store: Any = service.baseline.store
        self.restored = f"{service.database.name}_r"
        self.prepare()

    def prepare(self) -> None:
        """Find the programs, and where the server is."""
        raise NotImplementedError

    def names(self) -> list[tuple[str, str]]:
        """What stands for what, in this order."""
        role, owner = self.role(), self.service.database.owner
        return [
            (f"application={PACKAGE}", f"application={role}"),
            (f"@application = '{PACKAGE}'", f"@application = '{role}'"),
            (f"{PACKAGE}_owner", owner),
            (f"{PACKAGE}_restored", self.restored),
            (f"{PACKAGE}.dump", str(self.file)),
            (f"{PACKAGE}.sql", str(self.file)),
        ]

    def role(self) -> str:
        """The service's own."""
        from sqlalchemy import make_url

        return str(make_url(self.service.database.url).username)

    def translated(self, line: str) -> str:
        for told, meant in self.names():
            line = line.replace(told, meant)
        return re.sub(rf"\b{PACKAGE}\b", self.service.database.name, line)

    def before_restore(self) -> None:
        """It goes on."""

    def use_it(self) -> None:
        """From here on the restored one is the service's."""
        from sqlalchemy import make_url

        self.service._dispose()
        old = self.service.database
        self.service.database = replace(
            old,
            name=self.restored,
            url=make_url(old.url).set(database=self.restored).render_as_string(hide_password=False),
            engine_url=make_url(old.engine_url).set(database=self.restored).render_as_string(hide_password=False),
        )
        vars(self.service).pop("engine", None)
        self.service.restart(DATABASE_URL=self.service.database.url)


class PostgreSQLBook(ServerBook):
    dump = "backup.dump"

    def prepare(self) -> None:
        servers: Any = importlib.import_module(".servers", __package__)
        url, own = self.store.admin, self.service.database
        where = {"PGHOST": str(url.host or url.query["host"]), "PGPORT": str(url.port or 5432)}
        where["PATH"] = f"{servers.program('pg_dump').parent}:{os.environ['PATH']}"
        self.variables = {**where, "PGUSER": own.owner, "PGPASSWORD": own.owner_password}
        self.administrator = {**where, "PGUSER": url.username, "PGPASSWORD": url.password}

    def variables_of(self, line: str) -> dict[str, str]:
        return self.administrator if line.startswith("psql ") else self.variables


class MySQLBook(ServerBook):
    dump = "backup.sql"

    def prepare(self) -> None:
        if shutil.which("mariadb-dump") is None:
            databases.give_up(databases.NoServer("no mariadb-dump: install it (Debian: mariadb-client)"))
        self.variables = {"MYSQL_PWD": self.service.database.owner_password}
        self.administrator = {"MYSQL_PWD": str(self.store.admin.password)}

    def translated(self, line: str) -> str:
        url = self.store.admin
        socket = url.query.get("unix_socket")
        where = f"--socket={socket} --skip-ssl" if socket else f"--host={url.host} --port={url.port or 3306}"
        line = re.sub(r" --(password|host=\S+|ssl-\S+)", "", super().translated(line))
        return re.sub(r"^mariadb\S*", rf"\g<0> {where}", line).replace("--user=root", f"--user={url.username}")

    def variables_of(self, line: str) -> dict[str, str]:
        return self.administrator if "--init-command" in line else self.variables


BOOKS: dict[str, Any] = {"sqlite": SQLiteBook, "postgresql": PostgreSQLBook, "mysql": MySQLBook}


# --- the tables are as the models say --------------------------------------------------------------------------------


def test_the_tables_are_as_the_models_say(service: Service) -> None:
    models: Any = service.module("database").Base.metadata
    works({"auth_user", "auth_session", "audit_event"} <= models.tables.keys(), "the service has models to compare")

    def has_a_model(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name in models.tables

    with service.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": has_a_model})
        assert compare_metadata(context, models) == []
