# mypy: ignore-errors
# It is checked where it runs: its neighbours are those of a rendered service.
"""The password of the database is exchanged under load, and at the worst moment: when everybody has to sign in anew.

It stops a rotation from working because a pool happened to hold open connections. It runs in a service, into which
test_rotation_under_load.py copies it.
"""

from __future__ import annotations

import importlib
import secrets as random
import time
from typing import TYPE_CHECKING, Any

from .load_servers import Crowd, Servers, settle, tell
from .service import DATABASE, SECRETS
from .test_database import end_all
from .test_database_password import NAME, login_of_its_own

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .running import Service

ROTATES: bool = importlib.import_module(f".backend_{SECRETS}", __package__).ROTATES
TIMES = 3
LEASE = 6  # seconds of everybody's clock that a database user of Vault's lasts


def test_no_request_fails_while_the_password_of_the_database_is_exchanged(service: Service, tmp_path: Path) -> None:
    url, password, change = login_of_its_own(service)
    service.setting("DATABASE_URL", url)
    service.setting(NAME, password)
    settle(service)
    servers = Servers(service, tmp_path)
    assert opens(url, password)
    with Crowd(servers) as crowd:
        for _ in range(TIMES):
            if ROTATES:
                password = exchange(service, crowd, url, password, change)
            else:
                url, password = restart_with_another(service, servers, url, password)
            crowd.travels(60)  # nobody exchanges it twice a minute
    crowd.check()
    how = "one after the other, then all connections lost" if ROTATES else "restarts in turn"
    tell("DATABASE_PASSWORD", f"{crowd.figures()}; {TIMES} exchanges ({how}); the former one was refused at once")


if (DATABASE, SECRETS) == ("postgresql", "vault"):

    def test_no_request_fails_over_the_ends_of_three_leases(service: Service, tmp_path: Path) -> None:
        from .test_backend_vault import makes_users

        makes_users(service, seconds=LEASE)
        settle(service)
        servers = Servers(service, tmp_path)
        signed_in = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"
        seen: set[str] = set()
        over = time.monotonic() + 3.5 * LEASE
        with Crowd(servers) as crowd:
            while time.monotonic() < over:
                crowd.goes_round()
                seen |= {name for (name,) in service.rows(f"{signed_in} AND usename LIKE 'v-%'")}
        crowd.check()
        left = {name for (name,) in service.rows("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'")}
        gone = seen - left
        assert len(gone) >= 3 * len(servers.running), "too few leases ended while their users were signed in"
        tell(
            "leases of DATABASE_PASSWORD",
            f"{crowd.figures()}; {len(gone)} database users that were signed in ended, after {LEASE} s each",
        )


def exchange(service: Service, crowd: Crowd, url: str, former: str, change: Callable[[str], Any]) -> str:
    """Store a new one, and give it to the database directly afterwards, as the page database.md says."""
    new = random.token_urlsafe(32)
    service.rotate(**{NAME: new})
    change(new)
    assert (opens(url, former), opens(url, new)) == (False, True)
    crowd.goes_round()
    with crowd.held():  # whoever is in the middle of a request would lose it, with or without an exchange
        before = connections(service)
        end_all(service)
    crowd.goes_round()
    assert connections(service) - before, "nobody had to sign in anew"
    return new


def restart_with_another(service: Service, servers: Servers, url: str, former: str) -> tuple[str, str]:
    """Servers with another login are started in turn; then the former one is taken away."""
    from sqlalchemy import make_url

    store: Any = service.baseline.store
    new = random.token_urlsafe(32)
    if DATABASE == "postgresql":  # a role has one password
        name = f"own_{random.token_hex(6)}"
        store._run(f"CREATE ROLE {name} LOGIN PASSWORD '{new}' IN ROLE {store.role}")
        other = make_url(url).set(username=name).render_as_string(hide_password=False)
        end = [f"DROP ROLE {make_url(url).username}"]
    else:  # a user of MariaDB may have several ways to prove who he is
        name, other = make_url(url).username, url
        both = " OR ".join(f"mysql_native_password USING PASSWORD('{one}')" for one in (new, former))
        store._run(f"ALTER USER {name} IDENTIFIED VIA {both}")
        end = [f"ALTER USER {name} IDENTIFIED BY '{new}'"]
    assert (opens(url, former), opens(other, new)) == (True, True)
    service.restart(**{"DATABASE_URL": other, NAME: new})
    servers.restart_in_turn(DATABASE_URL=other)
    store._run(*end)
    assert (opens(url, former), opens(other, new)) == (False, True)
    return other, new


def opens(url: str, password: str) -> bool:
    """Whether somebody who has this password gets in now."""
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    driver = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}[DATABASE]
    engine = create_engine(make_url(url).set(drivername=driver, password=password), poolclass=NullPool)
    try:
        engine.connect().close()
    except DBAPIError:
        return False
    return True


def connections(service: Service) -> set[int]:
    """Those that are open to the database of this service, by numbers that no later one has."""
    if DATABASE == "postgresql":
        asked = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    else:
        asked = "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
    return {number for (number,) in service.rows(asked)}
