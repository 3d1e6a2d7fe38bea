"""Proofs of the database roles: injected SQL reaches the service's rows, but no table definition and not the server.

They stop an injection from dropping what it can't read, and a web process from changing tables while it starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .databases import executed
from .harness import edit, harm, insert, protects, works
from .logins import SIGNED_IN, attempt, cheap_user
from .service import DATABASE
from .test_database import migrated

if TYPE_CHECKING:
    from .running import Service


ROW = "database-least-privilege"


def tables(service: Service) -> list[str]:
    """The tables that are in the database."""
    from sqlalchemy import inspect

    return inspect(service.engine).get_table_names()


def with_all_rights(service: Service) -> dict[str, str | None]:
    """What leads a service to its database as the role that owns the tables, as where there is one role alone."""
    from sqlalchemy import make_url

    database = service.database
    if not database.owner:
        return {"DATABASE_URL": database.url, "DATABASE_PASSWORD": database.password or None}
    url = make_url(database.url).set(username=database.owner)
    return {"DATABASE_URL": url.render_as_string(hide_password=False), "DATABASE_PASSWORD": database.owner_password}


@protects(
    ROW,
    create=insert(
        "database/__init__.py",
        after="        _prepare(db.engine, state().dialect, target, secrets)\n",
        new="        Base.metadata.create_all(db.engine)\n",
    ),
)
def test_a_web_process_makes_no_table_in_an_empty_database(service: Service) -> None:
    works(service.client().get("/readyz").status == 200, "the service is ready on the migrated database")
    service._dispose()
    service.database = service.baseline.store.create()
    service.restart(**with_all_rights(service))  # so that it is not the server alone that says no
    answer = service.client().get("/readyz")
    harm(tables(service), "the service created tables in a database without migrations")
    assert answer.status == 503
    assert service.client().get("/healthz").status == 200


if DATABASE == "postgresql":
    SCRIPT = "/deploy/base/database/postgresql.sql"
    ATTACKS: tuple[str, ...] = (
        "CREATE TABLE canary (x integer)",
        "CREATE TEMPORARY TABLE canary (x integer)",
        "ALTER TABLE auth_user ADD COLUMN canary integer",
        "TRUNCATE audit_event",
        "GRANT {owner} TO CURRENT_USER",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY auth_user TO PROGRAM 'cat'",
    )

    @protects(
        ROW,
        grants=edit(
            SCRIPT,
            "  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO",
            "  GRANT ALL ON TABLES TO",
        ),
    )
    def test_a_statement_past_the_service_gets_rows_and_nothing_else(service: Service) -> None:
        service.app  # noqa: B018  it is made before its database is another one
        migrated(service)  # in a database that the service's own script has made
        user = cheap_user(service)
        works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the service reads and writes")
        attacks = tuple(attack.format(owner=service.database.owner) for attack in ATTACKS)
        done, refusals = executed(service, attacks)
        harm(done, f"the server executed for the service's role: {done}")
        assert len(refusals) == len(attacks)
        assert {refusal.sqlstate for refusal in refusals} == {"42501"}  # insufficient_privilege


if DATABASE == "mysql":
    SCRIPT = "/deploy/base/database/mysql.sql"
    ATTACKS = (
        "CREATE TABLE canary (x integer)",
        "CREATE TEMPORARY TABLE canary (x integer)",
        "ALTER TABLE auth_user ADD COLUMN canary integer",
        "TRUNCATE audit_event",
        "GRANT ALL PRIVILEGES ON *.* TO CURRENT_USER",
        "SELECT 1 INTO OUTFILE '/tmp/canary'",
        "LOAD DATA INFILE '/etc/passwd' INTO TABLE auth_user",
    )
    # ER_DBACCESS_DENIED, ER_ACCESS_DENIED, ER_TABLEACCESS_DENIED, ER_SPECIFIC_ACCESS_DENIED, ER_PROCACCESS_DENIED
    REFUSALS = {1044, 1045, 1142, 1227, 1370}

    @protects(ROW, grants=edit(SCRIPT, "'GRANT SELECT, INSERT, UPDATE, DELETE ON '", "'GRANT ALL PRIVILEGES ON '"))
    def test_a_statement_past_the_service_gets_rows_and_nothing_else(service: Service) -> None:
        service.app  # noqa: B018  it is made before its database is another one
        migrated(service)  # in a database that the service's own script has made
        user = cheap_user(service)
        works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the service reads and writes")
        done, refusals = executed(service, ATTACKS)
        harm(done, f"the server executed for the service's user: {done}")
        assert len(refusals) == len(ATTACKS)
        assert {refusal.args[0] for refusal in refusals} <= REFUSALS
