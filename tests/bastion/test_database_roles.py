"""Unit tests beside the proofs in test_database_roles.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..service import DATABASE
from ..test_database_roles import with_all_rights

if TYPE_CHECKING:
    import pytest

    from ..running import Service


if DATABASE != "sqlite":

    def test_without_the_owners_password_nobody_migrates(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        from ..test_settings import command

        owner, password = service.database.owner, service.database.owner_password
        service.environment.change({"BASTION_MIGRATION_USER": owner})
        code, text = command(service, monkeypatch, "db", "upgrade")
        assert code == 1
        assert "SECRET 'MIGRATION_PASSWORD' not found" in text
        assert "It opens the database for BASTION_MIGRATION_USER." in text
        service.environment.change({"MIGRATION_PASSWORD": password, "DATABASE_PASSWORD": None})
        assert command(service, monkeypatch, "db", "upgrade")[0] == 0
        service.environment.change({"MIGRATION_PASSWORD": "Tr0ub4dor&3x"})
        code, text = command(service, monkeypatch, "db", "upgrade")
        assert code == 1
        assert "MIGRATION_PASSWORD is shorter than 32 random bytes" in text

    def test_the_doctor_says_that_one_role_does_everything(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        from ..test_settings import command

        told = "The database's role owns the tables and can drop them"
        assert told not in command(service, monkeypatch, "doctor")[1]
        service.environment.change(with_all_rights(service))
        assert told in command(service, monkeypatch, "doctor")[1]
