"""SQLite for the proofs: a file for each, copied from one that was migrated.

It stops proofs from sharing rows, and from waiting for a disk.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import tempfile
from pathlib import Path

from .databases import MIB, Database, in_memory


class SQLite:
    """Files in a temporary folder, each in a folder of its own beside its journal."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="proof-db-", dir=in_memory(64 * MIB)))

    def _database(self, name: str) -> Database:
        file = self.folder / name / "data.sqlite"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        return Database(name, f"sqlite:///{file}", "", f"sqlite:///{file}")

    def create(self) -> Database:
        return self._database(secrets.token_hex(6))

    def clone(self, template: str) -> Database:
        copy = self._database(secrets.token_hex(6))
        shutil.copy(self.folder / template / "data.sqlite", self.folder / copy.name / "data.sqlite")  # mode included
        return copy

    def settle(self, name: str) -> None:
        """Write the journal into the file, so that the file alone is the database."""
        with sqlite3.connect(self.folder / name / "data.sqlite") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def drop(self, database: Database) -> None:
        shutil.rmtree(self.folder / database.name, ignore_errors=True)

    def take_away(self, database: Database) -> None:
        (self.folder / database.name).rename(self.folder / f"{database.name}-away")

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def open_store() -> SQLite:
    """A new, empty folder of databases."""
    return SQLite()
