# mypy: ignore-errors
# It is checked where it runs: its neighbours are those of a rendered service.
"""The secrets backend, or the database, goes away under load: who can't be served is told to come back, no more.

It stops an outage from becoming somebody else's account, a lost write, a sign-out or a restart. It runs in a service,
into which test_rotation_under_load.py copies it.
"""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .load_servers import Crowd, Servers, relays, settle, tell, within
from .service import DATABASE, SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .running import Service

ROTATES: bool = importlib.import_module(f".backend_{SECRETS}", __package__).ROTATES
STALE = 3600  # seconds that a value counts which was read before; see secrets/kept.py
STEP = 400.0  # seconds; shorter than a session may idle, and than a token lives

if ROTATES:

    def test_a_backend_that_goes_away_under_load_costs_nothing_for_an_hour_and_then_only_503(
        service: Service, tmp_path: Path
    ) -> None:
        settle(service)
        changed, hang, refuse, come_back = failing(service)
        servers = Servers(service, tmp_path, **changed)
        with Crowd(servers) as crowd:
            crowd.goes_on(1)
            begin = crowd.told
            hang()
            crowd.travels(2 * STEP, STEP)
            slowest = max(one.slowest for one in crowd.people)
            refuse()
            crowd.travels(STALE - 3 * STEP, STEP)
            assert 503 not in crowd.since(begin), "what was read within the hour was not used"
            crowd.travels(4 * STEP, STEP)
            before = crowd.told
            crowd.goes_on(2)
            assert crowd.since(before) == {503}, "somebody was served without a secret"
            come_back()
            servers.travel(11)  # a question that failed is asked again after ten
            recovers(crowd)
        crowd.check(503)
        tell("outage of the backend", f"{crowd.figures()}; while it hung, slowest {slowest:.2f} s; no restart")


def failing(service: Service) -> tuple[dict[str, str], Any, Any, Any]:
    """Settings that lead the servers to a backend of which the functions take away and give back what it has."""
    variables = service.environment.settings
    if SECRETS == "files":
        ours = Path(variables["BASTION_SECRETS_DIR"])  # of this process, which the people need to read their cookies
        theirs, away = ours.with_name("theirs"), ours.with_name("away")
        shutil.copytree(ours, theirs)
        found = {"BASTION_SECRETS_DIR": str(theirs)}
        return found, lambda: None, lambda: theirs.rename(away), lambda: away.rename(theirs)
    names = {name: value for name, value in variables.items() if name.startswith((f"BASTION_{SECRETS.upper()}_", "A"))}
    made, changed = relays(names)
    assert made

    def every(name: str) -> Any:
        return lambda: [getattr(relay, name)() for relay in made]

    return changed, every("hang"), every("refuse"), every("pass_on")


if DATABASE != "sqlite":

    def test_a_database_that_is_killed_under_load_costs_503_and_no_acknowledged_write(
        service: Service, tmp_path: Path
    ) -> None:
        settle(service)
        keeps_what_it_has_acknowledged(service)
        servers = Servers(service, tmp_path)
        back = 0.0
        with Crowd(servers) as crowd:
            for _ in range(2):
                crowd.goes_on(2)
                with killed(service):
                    time.sleep(1)  # who is in the middle of a request may still be answered
                    before = crowd.told
                    crowd.goes_on(3)
                    assert crowd.since(before) == {503}, "somebody was served without the database"
                began = time.monotonic()
                back = max(back, recovers(crowd) - began)
        crowd.check(503)
        kept = sum(len(one.kept) for one in crowd.people)
        tell(
            "outage of the database",
            f"{crowd.figures()}; killed twice; {kept} acknowledged writes, lost: 0; served again {back:.1f} s after it "
            "took connections, no restart",
        )


def recovers(crowd: Crowd) -> float:
    """Wait until everybody is served again, and give the moment of the last refusal."""
    crowd.goes_round()
    crowd.goes_round()
    before = crowd.told
    crowd.goes_on(2)
    assert 503 not in crowd.since(before), "it does not recover by itself"
    return max(one.refused_at for one in crowd.people)


def keeps_what_it_has_acknowledged(service: Service) -> None:
    """As in earnest: the servers of proofs forget, in a crash, what they have not written yet."""
    store: Any = service.baseline.store
    if DATABASE == "postgresql":
        store._run(f"ALTER DATABASE {service.database.name} SET synchronous_commit = on")
    else:
        store._run("SET GLOBAL innodb_flush_log_at_trx_commit = 1")


@contextmanager
def killed(service: Service) -> Iterator[None]:
    """Its server ends without a word (kill -9); at the end of the block it is started again on the same data."""
    store: Any = service.baseline.store
    server = store.server
    assert server is not None, "it is somebody else's"
    server.process.kill()
    server.process.wait(timeout=10)
    yield
    owner = (server.folder / "data").stat()
    user, group = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else (None, None)  # no server runs as root
    with (server.folder / "log").open("ab") as log:
        server.process = subprocess.Popen(
            server.process.args, user=user, group=group, cwd=server.folder, start_new_session=True,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
        )  # fmt: skip

    place = server.folder / {"postgresql": f".s.PGSQL.{server.port}", "mysql": "socket"}[DATABASE]

    def answers() -> bool:
        assert server.process.poll() is None, (server.folder / "log").read_text("utf-8", "replace")[-500:]
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(place)) != 0:
                return False
        try:
            store._run("SELECT 1")
        except Exception:
            return False
        return True

    within(answers, "it takes connections again")
