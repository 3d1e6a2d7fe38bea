"""Edges of the proofs in test_database_tls.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works
from ..impostors import HOST, impostor
from ..service import DATABASE
from ..test_database_tls import AWAY, ROW, start

if TYPE_CHECKING:
    from ..running import Service


if DATABASE == "postgresql":
    from ..test_database_tls import UNVERIFIED

    @protects(
        ROW,
        url=edit("database/postgresql.py", '    others = url.query.get("host", ())\n', "    others = ()\n"),
    )
    def test_no_host_that_the_address_hides_goes_unverified(service: Service) -> None:
        works(service.start().app is not None, "a unix socket needs no certificate")
        with impostor(None) as thief:
            for hidden in (
                *(f"host={HOST}&port={thief.port}", f"host=127.0.0.1,{HOST}&port=1,{thief.port}"),
                f"host=127.0.0.1:1&host={HOST}:{thief.port}",
            ):
                tried = start(service, 1, hidden, host="127.0.0.1")
                harm(thief.passwords, f"a local-looking address led to another host unverified: {hidden}")
                assert tried.reasons == [UNVERIFIED]
            for host in (f"127.0.0.1,{HOST}", "127.1", "db.internal", "localhost.example", "[::]", "[2001:db8::1]"):
                assert start(service, thief.port, "", host=host).reasons == [UNVERIFIED]
            for host in ("127.0.0.1", "127.0.0.9", "localhost", "[::1]"):
                assert start(service, 1, "", host=host).reasons == [AWAY]
            assert thief.asked == 0

    @protects(
        ROW,
        environment=edit(
            "database/postgresql.py", "    if settings.production and (found :=", "    if False and (found :="
        ),
    )
    def test_driver_variables_do_not_redirect_the_connection(service: Service) -> None:
        works(service.start().app is not None, "the service starts without driver variables")
        with impostor(None) as thief:
            tried = start(service, thief.port, "", host="localhost", PGHOSTADDR="127.0.0.1")
            harm(thief.passwords, "the password was sent to an unchecked address")
            names = ("PGHOSTADDR", "PGSSLMODE", "PGSERVICE", "PGOPTIONS", "PGSSLROOTCERT", "PGGSSENCMODE", "PGTZ")
            for name in names:
                tried = service.start(**{name: "canary"})
                assert tried.reasons == [
                    f"{name} would change what DATABASE_URL says. Take it out of the environment."
                ], name
                assert "canary" not in tried.text
            assert thief.asked == 0
