"""Every kind of secret is exchanged under load in every backend, and what is behind a service goes away under load.

It takes longer than a service's own tests should, and a rotation that works between two requests proves little: two
real servers go on serving people meanwhile. The figures are in docs/reference/rotation.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from services import Service
from support import PAIRS, Combination, Repository

HERE = Path(__file__).parent
PARTS = {
    "keys": "rotation_load.py",
    "password": "password_load.py",
    "mail": "mail_load.py",
    "outage": "outage_load.py",
}
SERVERS = tuple(one for one in PAIRS if one.database != "sqlite")
"""Each backend beside each database that is a server, in one of the two styles."""
SQLITE = tuple(Combination(auth, "sqlite", "files") for auth in ("session", "jwt"))
SECONDS = 300
"""How long one may take; under load it is for 40 at most."""

CASES = [(one, "keys") for one in SQLITE] + [
    (one, part)
    for one in SERVERS
    for part in PARTS
    if one.database == "postgresql" or part != "mail"  # the mail server's password is the same whatever the database is
]
REPRESENTATIVE = (Combination("session", "postgresql", "files"), "password")


@pytest.fixture(scope="module")
def installed(template_repository: Repository, open_folder: Path) -> Callable[[Combination], Service]:
    """A service with all parts beside its proofs, made once."""
    services: dict[Combination, Service] = {}

    def install(combination: Combination) -> Service:
        if combination not in services:
            folder = open_folder / f"load-{combination.name}"
            service = Service.start(template_repository.path, folder, **combination.data)
            service.install(combination)
            service.lay_edges(template_repository.path, combination)
            service.write("tests/proofs/load_servers.py", (HERE / "load_servers.py").read_text("utf-8"))
            for part in PARTS.values():
                service.write(f"tests/proofs/test_{part}", (HERE / part).read_text("utf-8"))
            services[combination] = service
        return services[combination]

    return install


@pytest.mark.parametrize(
    ("combination", "part"),
    [
        pytest.param(*case, id=f"{case[1]}-{case[0].name}", marks=() if case == REPRESENTATIVE else pytest.mark.nightly)
        for case in CASES
    ],
)
def test_no_client_of_two_servers_is_failed_signed_out_or_told_what_is_wrong(
    installed: Callable[[Combination], Service],
    combination: Combination,
    part: str,
    record_property: Callable[[str, object], None],
) -> None:
    done = installed(combination).pytest("-q", "-n0", "-s", f"tests/proofs/test_{PARTS[part]}", seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-4000:]
    figures = [line for line in done.stdout.splitlines() if line.startswith("FIGURE ")]
    assert len(figures) == count_of_tests(part, combination)
    assert f"{len(figures)} passed" in done.stdout.splitlines()[-1]
    for line in figures:
        record_property("figure", line.removeprefix("FIGURE "))  # conftest.py shows it at the end


def count_of_tests(part: str, combination: Combination) -> int:
    """How many tests a part has in this service: an environment is never away, and Vault alone makes database users."""
    if part == "outage":
        return 1 if combination.secrets == "env" else 2
    return 2 if part == "password" and (combination.database, combination.secrets) == ("postgresql", "vault") else 1
