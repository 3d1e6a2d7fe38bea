"""Edges of the proofs in test_database_roles.py: further attacks on the same protections."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ..databases import executed
from ..harness import edit, harm, protects, works
from ..logins import SIGNED_IN, attempt, cheap_user
from ..service import DATABASE, SECRETS
from ..test_database import migrated
from ..test_database_roles import ROW

if TYPE_CHECKING:
    from ..running import Service


if DATABASE != "sqlite":
    WITHIN_REACH = (
        "MIGRATION_PASSWORD is within reach of a process that does not migrate. Give it to the commands `db ...` alone."
    )
    ADMINISTRATOR = (
        "DATABASE_URL: the role is an administrator of the server, so a statement that an attacker gets past this "
        "service reaches every database and the machine. Make one for this service alone."
    )

    @protects(ROW, secret=edit("database/__init__.py", "if migrates or not dialect.SECRETS:", "if True:"))
    def test_web_process_with_the_owners_password_does_not_start(service: Service) -> None:
        database = service.database
        works(service.start(BASTION_MIGRATION_USER=database.owner).app is not None, "naming the owner reveals nothing")
        service.migrate()
        tries = [service.start(MIGRATION_PASSWORD=database.owner_password)] if SECRETS in ("env", "files") else []
        service.environment.settings["MIGRATION_PASSWORD"] = database.owner_password  # whatever the backend is
        tries.append(service.start())
        del service.environment.settings["MIGRATION_PASSWORD"]
        harm([one for one in tries if one.app], "a web process started that can read the owner's password")
        assert [one.reasons for one in tries] == [[WITHIN_REACH]] * len(tries)
        assert [one for one in tries if database.owner_password in one.text] == []

    # Of a role that is a member of `{team}`, which is itself a member of `{others}`.
    POWERS: dict[str, tuple[str, ...]] = {
        "postgresql": (
            *(
                f"ALTER ROLE {{{who}}} {power}"
                for power in ("SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS")
                for who in ("name", "others")
            ),
            *(
                f"GRANT {role} TO {{{who}}}"
                for role in (
                    *("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"),
                    *("pg_read_all_data", "pg_write_all_data"),
                )
                for who in ("name", "others")
            ),
        ),
        "mysql": (
            "GRANT ALL PRIVILEGES ON *.* TO {name}",
            "GRANT SUPER ON *.* TO {team}",  # a default role, which the service has from the start
            "GRANT FILE ON *.* TO {team}",
            "GRANT FILE ON *.* TO {others}",
            "GRANT CREATE USER ON *.* TO {spare}",  # which the role can take by SET ROLE
            "GRANT SELECT ON mysql.* TO {name}",
            "GRANT ALL PRIVILEGES ON mysql.* TO {spare}",
            "GRANT ALL PRIVILEGES ON `%`.* TO {name}",
        ),
    }

    @contextmanager
    def role(service: Service, power: str | None = None) -> Iterator[dict[str, str]]:
        """Yield the settings of a new role with the service's rights and this power over the server.

        Its name reveals nothing of that power.
        """
        from sqlalchemy import make_url

        name, password = f"proof_boss_{secrets.token_hex(4)}", secrets.token_urlsafe(32)
        team, others, spare = (f"{name}_{ending}" for ending in ("team", "others", "spare"))
        store: Any = service.baseline.store
        url = make_url(service.database.url)
        makes, drops = {
            "postgresql": (
                (
                    f"CREATE ROLE {others} IN ROLE {url.username}",
                    f"CREATE ROLE {team} IN ROLE {others}",
                    f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {team}",
                ),
                (f"DROP ROLE {name}, {team}, {others}",),
            ),
            "mysql": (
                (
                    *(f"CREATE ROLE {role}" for role in (team, others, spare)),
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {url.database}.* TO {others}",
                    f"GRANT {others} TO {team}",
                    f"CREATE USER {name} IDENTIFIED BY '{password}'",
                    *(f"GRANT {role} TO {name}" for role in (team, spare)),
                    f"SET DEFAULT ROLE {team} /*M!100100 FOR */ /*!80000 TO */ {name}",
                ),
                (f"DROP USER {name}", *(f"DROP ROLE {role}" for role in (team, others, spare))),
            ),
        }[DATABASE]
        address = url.set(username=name).render_as_string(hide_password=False)
        with ExitStack() as ends:
            store._run(*makes)
            ends.callback(store._run, *drops)
            if power is not None:
                store._run(power.format(name=name, team=team, others=others, spare=spare))
            yield {"DATABASE_URL": address, "DATABASE_PASSWORD": password}

    @protects(
        ROW,
        administrator=edit(
            "database/__init__.py", "settings.production and dialect.is_administrator(connection)", "False"
        ),
        membership={
            "postgresql": edit("database/postgresql.py", "WHERE pg_has_role(oid, 'MEMBER')", "WHERE rolname = USER"),
            "mysql": edit("database/mysql.py", 'connection.execute(_TAKE, {"role": role})', "pass"),
        }[DATABASE],
    )
    def test_service_refuses_a_database_administrators_role(service: Service) -> None:
        from sqlalchemy import make_url

        works(service.start().app is not None, "the service starts with a role of its own")
        with role(service) as changes:
            works(service.start(**changes).app is not None, "it starts as a member of roles without more rights")
        for power in POWERS[DATABASE]:
            with role(service, power) as changes:
                tried = service.start(**changes)
                harm(tried.app is not None, f"the service started with power over the server: {power}")
                assert tried.reasons == [ADMINISTRATOR]
        for name in ("postgres", "root", "sa", "mysql", "Admin"):
            url = make_url(service.database.url).set(username=name).render_as_string(hide_password=False)
            [reason] = service.start(DATABASE_URL=url).reasons
            assert reason.startswith("DATABASE_URL's user is an administrator of the server. ")
            [reason] = service.start(BASTION_MIGRATION_USER=name).reasons
            assert reason.startswith("BASTION_MIGRATION_USER is an administrator of the server. ")
        user = make_url(service.database.url).username
        [reason] = service.start(BASTION_MIGRATION_USER=user).reasons
        assert reason.startswith("BASTION_MIGRATION_USER is DATABASE_URL's user, too. ")


if DATABASE == "postgresql":
    from ..test_database_roles import SCRIPT

    @protects(
        ROW,
        former=edit(SCRIPT, "member = (SELECT oid FROM pg_roles WHERE rolname = :'application')", "false"),
    )
    def test_the_script_makes_two_roles_of_one(service: Service) -> None:
        shared: Any = service.baseline.store
        store = type(shared)(shared.admin.render_as_string(hide_password=False), None)  # with two roles of its own
        name, friend, heir = (f"proof_{secrets.token_hex(6)}" for _ in "123")
        service._dispose()
        service.database = store._database(name)
        vars(service).pop("engine", None)
        service.environment.change({"DATABASE_URL": service.database.url, "DATABASE_PASSWORD": store.password})
        with ExitStack() as ends:
            ends.callback(store.close)
            store._run(f"CREATE DATABASE {name} OWNER {store.role} TEMPLATE template0")
            store._run(f"CREATE ROLE {friend}", f"CREATE ROLE {heir}")
            ends.callback(store._run, f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {friend}, {heir}")
            service.restart()
            with service.app.app_context():
                service.module("commands.migrations").install(service.app).upgrade()
            # What it was given once, by others than who runs the script, and has passed on.
            programs = "GRANT pg_execute_server_program TO"
            store._run(
                f"ALTER ROLE {store.role} REPLICATION BYPASSRLS",
                f"GRANT {store.owner}, pg_read_server_files TO {store.role} WITH ADMIN OPTION",
                *(f"{programs} {friend} WITH ADMIN OPTION", f"SET ROLE {friend}"),
                *(f"{programs} {store.role} WITH ADMIN OPTION", f"SET ROLE {store.role}", f"{programs} {heir}"),
            )
            ends.callback(store._run, f"REVOKE pg_execute_server_program FROM {friend} CASCADE")
            attacks = ("COPY auth_user TO PROGRAM 'cat >/dev/null'", "COPY auth_user FROM '/dev/null'")
            become = f"SET ROLE {store.owner}"  # the last: the connection stays that
            assert executed(service, ("CREATE TABLE canary (x integer)", *attacks, become))[1] == []
            service._dispose()
            store.run_script(name)
            user = cheap_user(service)
            works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the service connects")
            done, refusals = executed(service, (*attacks, "DROP TABLE canary", "TRUNCATE audit_event", become))
            harm(done, f"the server executed for the former role: {done}")
            assert {refusal.sqlstate for refusal in refusals} == {"42501"}
            assert service.start().app is not None  # no administrator any more
            service.migrate()
            assert executed(service, ("ALTER TABLE auth_user ADD COLUMN canary integer",))[0] == []


if DATABASE == "mysql":
    from ..test_database_roles import REFUSALS, SCRIPT

    @protects(
        ROW, former=edit(SCRIPT, "FROM mysql.user WHERE user = '", "FROM mysql.user WHERE host = ''%'' AND user = '")
    )
    def test_the_script_makes_two_users_of_one(service: Service) -> None:
        store: Any = service.baseline.store
        name, password = service.database.name, service.database.password
        host = service.rows("SELECT SUBSTRING_INDEX(USER(), '@', -1)")[0][0]  # of this machine, as the server sees it
        accounts = (name, f"{name}@'{host}'")
        store._run(
            f"CREATE USER {accounts[1]} IDENTIFIED BY '{password}'",
            *(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {account}" for account in accounts),
            *(f"GRANT ALL PRIVILEGES ON {name}.* TO {account}" for account in accounts),
        )
        service._dispose()
        with ExitStack() as ends:
            ends.callback(store._run, f"DROP USER {accounts[1]}")
            assert executed(service, ("CREATE TABLE canary (x integer)",))[1] == []
            service._dispose()
            store._run(*store.script(name))
            user = cheap_user(service)
            works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the service connects")
            done, refusals = executed(service, ("DROP TABLE canary", "TRUNCATE audit_event"))
            harm(done, f"the server executed for the former user: {done}")
            assert {refusal.args[0] for refusal in refusals} <= REFUSALS


if DATABASE == "postgresql":
    STATEMENTS: tuple[str, ...] = (
        "CREATE TABLE canary (x integer)",
        "CREATE TEMPORARY TABLE canary (x integer)",
        "CREATE VIEW canary AS SELECT 1",
        "CREATE FUNCTION canary() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX canary ON auth_user (email)",
        "CREATE SCHEMA canary",
        "CREATE EXTENSION file_fdw",
        "ALTER TABLE auth_user ADD COLUMN canary integer",
        "ALTER TABLE audit_event OWNER TO CURRENT_USER",
        "DROP TABLE auth_user CASCADE",
        "TRUNCATE audit_event",
        "CREATE TABLE information_schema.canary (x integer)",
        "GRANT {owner} TO CURRENT_USER",
        "CREATE RULE canary AS ON INSERT TO audit_event DO INSTEAD NOTHING",
        "SELECT * FROM pg_authid",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY auth_user TO '/tmp/canary'",
        "COPY auth_user FROM '/etc/passwd'",
        "COPY auth_user TO PROGRAM 'cat'",
        "CREATE ROLE canary",
        "CREATE DATABASE canary",
        "ALTER SYSTEM SET log_statement = 'all'",
        "SET session_replication_role = replica",  # switches foreign keys off
        "SET ROLE {owner}",
    )

    @protects(
        ROW,
        schema=edit(SCRIPT, "GRANT USAGE ON SCHEMA public TO", "GRANT ALL ON SCHEMA public TO"),
        database=edit(SCRIPT, 'REVOKE ALL ON DATABASE :"database" FROM PUBLIC, :"application";', ""),
    )
    def test_no_statement_past_the_service_gets_anything_but_rows(service: Service) -> None:
        service.app  # noqa: B018  it is made before its database is another one
        migrated(service)  # in a database that the service's own script has made
        user = cheap_user(service)
        works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the service reads and writes")
        attacks = tuple(attack.format(owner=service.database.owner) for attack in STATEMENTS)
        done, refusals = executed(service, attacks)
        harm(done, f"the server executed for the service's role: {done}")
        assert len(refusals) == len(attacks)
        assert {refusal.sqlstate for refusal in refusals} == {"42501"}  # insufficient_privilege


if DATABASE == "mysql":
    STATEMENTS = (
        "CREATE TABLE canary (x integer)",
        "CREATE TEMPORARY TABLE canary (x integer)",
        "CREATE VIEW canary AS SELECT 1",
        "CREATE PROCEDURE canary() SELECT 1",
        "CREATE TRIGGER canary BEFORE INSERT ON audit_event FOR EACH ROW SET NEW.details = NULL",
        "CREATE EVENT canary ON SCHEDULE EVERY 1 DAY DO SELECT 1",
        "CREATE INDEX canary ON auth_user (email)",
        "ALTER TABLE auth_user ADD COLUMN canary integer",
        "DROP TABLE auth_link",
        "TRUNCATE audit_event",
        "CREATE DATABASE canary",
        "CREATE USER canary",
        "GRANT ALL PRIVILEGES ON *.* TO CURRENT_USER",
        "SET GLOBAL max_connections = 1",
        "SELECT * FROM mysql.user",
        "SELECT 1 INTO OUTFILE '/tmp/canary'",
        "LOAD DATA INFILE '/etc/passwd' INTO TABLE auth_user",
    )

    @protects(ROW)
    def test_no_statement_past_the_service_gets_anything_but_rows(service: Service) -> None:
        service.app  # noqa: B018  it is made before its database is another one
        migrated(service)  # in a database that the service's own script has made
        user = cheap_user(service)
        works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the service reads and writes")
        attacks = tuple(attack.format(owner=service.database.owner) for attack in STATEMENTS)
        done, refusals = executed(service, attacks)
        harm(done, f"the server executed for the service's role: {done}")
        assert len(refusals) == len(attacks)
        assert {refusal.args[0] for refusal in refusals} <= REFUSALS
        assert service.rows("SELECT load_file('/etc/passwd')") == [(None,)]
