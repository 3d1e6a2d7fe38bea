"""Unit tests beside the proofs in test_database.py."""

from __future__ import annotations

import shutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .. import place
from ..service import DATABASE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ..running import Service


# --- the address of the database, and its files: tests, no proofs of a row -----------------------------------------

REPLACING = {
    "postgresql": ("password", "passfile", "user", "service", "options", "sslpassword", "connect_timeout"),
    "mysql": (
        "password",
        "passwd",
        "user",
        "read_default_file",
        "init_command",
        "charset",
        "local_infile",
        "ssl_disabled",
    ),
}

if DATABASE != "sqlite":

    def test_no_option_of_the_address_replaces_the_password_or_the_user(service: Service) -> None:
        address = service.database.url + ("&" if "?" in service.database.url else "?")
        if DATABASE == "postgresql":
            assert service.start(DATABASE_URL=f"{address}sslmode=prefer&application_name=proof").app is not None
        for name in REPLACING[DATABASE]:
            tried = service.start(DATABASE_URL=f"{address}{name}=canary")
            assert tried.app is None
            [reason] = tried.reasons
            assert reason.startswith(f"DATABASE_URL has {name} after the `?`")
            assert "canary" not in tried.text

    def test_dev_has_a_database_of_its_own_that_ends_with_it_and_keeps_what_was_written(
        service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> None:
        import pytest
        from sqlalchemy import create_engine, make_url, text
        from sqlalchemy.exc import OperationalError

        dialect, server = service.module(f"database.{DATABASE}"), service.module("database.server")
        home = import_module(f"..local_{DATABASE}", __package__)._home(tmp_path)
        password, ends = tmp_path / "password", list[Any]()
        password.write_text("of-development", encoding="utf-8")
        monkeypatch.setattr(server.atexit, "register", lambda _end, started: ends.append(started))
        driver = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}[DATABASE]
        request.addfinalizer(lambda: shutil.rmtree(home))
        for statement in ("CREATE TABLE kept (id INTEGER)", "SELECT * FROM kept"):
            url = dialect.development_url(tmp_path, "notes", password)
            assert dialect.development_url(tmp_path, "notes", password) == url  # a second command finds it
            engine = create_engine(make_url(url).set(drivername=driver, password="of-development"))
            with engine.begin() as connection:
                connection.execute(text(statement))
            engine.dispose()
            for started in reversed(ends):
                server._end(started)
            with pytest.raises(OperationalError):
                engine.connect()
            ends.clear()
        monkeypatch.setattr(server, "PROJECT", tmp_path)
        with pytest.raises(RuntimeError, match="Only a checkout of the service starts a database, "):
            dialect.development_url(tmp_path, "notes", password)

    def test_root_gives_nobody_no_folder_that_somebody_else_has_made(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import os
        import pwd

        import pytest

        own = pwd.getpwuid(os.getuid())
        local = import_module(f"..local_{DATABASE}", __package__)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(local, "_nobody", lambda: own)
        home = local._home(tmp_path / "project")
        assert local._home(tmp_path / "project") == home  # the second command finds it again
        assert home.stat().st_mode & 0o777 == 0o700
        home.rmdir()
        (tmp_path / "precious").mkdir()
        for target in ("precious", "missing"):
            home.symlink_to(tmp_path / target)
            with pytest.raises(RuntimeError, match="is a link or somebody else's"):
                local._home(tmp_path / "project")
            home.unlink()
        home.mkdir()
        monkeypatch.setattr(local, "_nobody", lambda: pwd.struct_passwd((*own[:2], own.pw_uid + 1, *own[3:])))
        if own.pw_uid == 0:
            os.chown(home, own.pw_uid + 2, -1)
        with pytest.raises(RuntimeError, match="is a link or somebody else's"):
            local._home(tmp_path / "project")


if DATABASE == "sqlite":

    def test_an_address_of_no_file_is_refused_with_its_cure(service: Service, tmp_path: Path) -> None:
        no_file = "DATABASE_URL must name a SQLite file, as in sqlite:////var/lib/my-service/data.sqlite."
        no_path = "DATABASE_URL must name a SQLite file by its absolute path (four slashes) and nothing else."
        no_folder = "the folder of the SQLite file does not exist. Make it, writable for the service alone."
        addresses = {
            "no address": no_file,
            "postgresql://127.0.0.1/app": no_file,
            "sqlite://": no_path,
            "sqlite:///data.sqlite": no_path,
            f"sqlite:///{tmp_path}/data.sqlite?mode=ro": no_path,
            f"sqlite:///{tmp_path}/missing/data.sqlite": f"DATABASE_URL: {no_folder}",
        }
        assert {one: service.start(DATABASE_URL=one).reasons for one in addresses} == {
            one: [reason] for one, reason in addresses.items()
        }
        tried = service.start(BASTION_MIGRATION_USER="owner")
        assert tried.reasons == ["BASTION_MIGRATION_USER is set, and SQLite has no users. Remove it."]

    def test_the_package_is_where_the_code_lies(service: Service) -> None:
        code = service.module("database.sqlite").CODE
        assert place.source().resolve() == code


def test_each_key_of_a_table_has_a_name_that_a_migration_can_call(service: Service) -> None:
    """A database makes up names of its own otherwise, and the next migration can't find what it has to change."""
    table = service.module("identity.models").Link.__table__
    names = {str(one.name) for one in (*table.constraints, *table.indexes)}
    assert names == {
        *(f"fk_auth_link_{one}" for one in ("user_id_auth_user", "session_id_auth_session", "inviter_id_auth_user")),
        *("pk_auth_link", "uq_auth_link_token_hash", "ix_auth_link_user_id", "ix_auth_link_email"),
    }
