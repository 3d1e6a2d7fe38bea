"""Proofs of database TLS: the service verifies the server's certificate, so an impostor gets no password and no data.

They stop a service from sending its password to whoever takes the connection, encrypted or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, works
from .impostors import HOST, Authority, contexts, impostor, real_one
from .service import DATABASE

if TYPE_CHECKING:
    from pathlib import Path

    from .running import Service, Start


ROW = "database-tls-verified"
AWAY = (
    "DATABASE_URL: the database does not answer (OperationalError). Check that it runs, its address, user, password "
    "and certificate."
)


def start(service: Service, port: int, query: str, host: str = HOST, **changes: str) -> Start:
    """A start with the database at this address."""
    url = f"{DATABASE}://{service.database.name}@{host}:{port}/{service.database.name}?{query}"
    return service.start(DATABASE_URL=url, **changes)


def used(service: Service, store: Any, query: str, ask: str) -> tuple[Any, ...]:
    """Start with the real server at its address of the network, and ask it about the service's connection."""
    from sqlalchemy import make_url

    own = store.create()
    user = make_url(own.url).username
    url = f"{DATABASE}://{user}@{HOST}:{store.server.port}/{own.name}?{query}"
    app = service.start(DATABASE_URL=url, DATABASE_PASSWORD=own.password).app
    works(app, "the service starts with a valid server certificate")
    assert app is not None
    with app.app_context(), service.module("database").connect() as connection:
        return tuple(connection.exec_driver_sql(ask).one())


if DATABASE == "postgresql":
    UNVERIFIED = (
        "DATABASE_URL names another machine and does not verify it, so anybody on the way could be the database. Add "
        "?sslmode=verify-full&sslrootcert=/path/of/ca.pem, the authority that signed the server's certificate."
    )
    MODES = ("disable", "allow", "prefer", "require", "verify-ca", "Verify-Full", "verify-full&sslmode=disable")

    @protects(
        ROW,
        mode=edit(
            "database/postgresql.py",
            'if url.query.get("sslmode") != "verify-full":',
            'if url.query.get("sslmode") not in ("verify-full", "verify-ca", "require"):',
        ),
    )
    def test_whoever_answers_in_the_databases_place_does_not_get_the_password(service: Service, tmp_path: Path) -> None:
        authority, stranger = Authority(tmp_path), Authority(tmp_path)
        verified = f"sslmode=verify-full&sslrootcert={authority.file}"
        with real_one(authority) as store:
            found = used(service, store, verified, "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            works(found == (True, "TLSv1.3"), "the server reports an encrypted connection")
        for kind, context in contexts(authority, stranger).items():
            with impostor(context) as thief:
                tried = start(service, thief.port, verified)
                harm(thief.passwords, f"an impostor got the password: {kind}")
                assert tried.reasons == [AWAY]
                assert thief.asked == 1
        with impostor(authority.context("db.example")) as thief:
            for mode in MODES:
                tried = start(service, thief.port, f"sslmode={mode}&sslrootcert={authority.file}")
                harm(thief.passwords, f"an impostor got the password with sslmode={mode}")
                assert tried.reasons == [UNVERIFIED]
            assert start(service, thief.port, f"sslrootcert={authority.file}").reasons == [UNVERIFIED]
            assert thief.asked == 0


if DATABASE == "mysql":
    UNVERIFIED = (
        "DATABASE_URL names another machine and does not verify it, so anybody on the way could be the database. Add "
        "?ssl_ca=/path/of/ca.pem, the authority that signed the server's certificate."
    )

    @protects(
        ROW,
        certificate=edit("database/mysql.py", '"ssl_verify_identity": True', '"ssl_verify_identity": False'),
        machine=edit(
            "database/mysql.py", 'elif authority is None and not on_this_machine(url.host or ""):', "elif False:"
        ),
    )
    def test_whoever_answers_in_the_databases_place_does_not_get_the_password(service: Service, tmp_path: Path) -> None:
        authority, stranger = Authority(tmp_path), Authority(tmp_path)
        verified = f"ssl_ca={authority.file}"
        with real_one(authority) as store:
            _, version = used(service, store, verified, "SHOW STATUS LIKE 'Ssl_version'")
            works(version == "TLSv1.3", "the server reports an encrypted connection")
        for kind, context in contexts(authority, stranger).items():
            with impostor(context) as thief:
                tried = start(service, thief.port, verified)
                harm(thief.passwords, f"an impostor got the password: {kind}")
                assert tried.reasons == [AWAY]
                assert thief.asked == 1
        with impostor(None) as thief:
            tried = start(service, thief.port, "")
            harm(thief.passwords, "an impostor got the password, because the service verified no certificate")
            assert tried.reasons == [UNVERIFIED]
            for host in ("127.1", "db.internal", "localhost.example", "[::]", "[2001:db8::1]"):
                assert start(service, thief.port, "", host=host).reasons == [UNVERIFIED]
            for host in ("127.0.0.1", "127.0.0.9", "localhost", "[::1]"):
                assert start(service, 1, "", host=host).reasons == [AWAY]
            assert thief.asked == 0
