"""Unit tests beside the proofs in test_database_tls.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..service import DATABASE
from ..test_database_tls import start

if TYPE_CHECKING:
    from pathlib import Path

    from ..running import Service


CUT = "DATABASE_URL: sslrootcert must be the absolute path of a readable file of certificates (PEM), as of the "

if DATABASE == "postgresql":

    def test_what_is_no_file_of_certificates_verifies_nobody(service: Service, tmp_path: Path) -> None:
        (tmp_path / "empty.pem").touch()
        (tmp_path / "wrong.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        for file in ("", "system", "ca.pem", tmp_path, tmp_path / "missing.pem", *sorted(tmp_path.iterdir())):
            [reason] = start(service, 1, f"sslmode=verify-full&sslrootcert={file}").reasons
            assert reason.startswith(CUT)
            assert str(tmp_path) not in reason


if DATABASE == "mysql":

    def test_what_is_no_file_of_certificates_verifies_nobody(service: Service, tmp_path: Path) -> None:
        (tmp_path / "empty.pem").touch()
        (tmp_path / "wrong.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        for file in ("system", "ca.pem", tmp_path, tmp_path / "missing.pem", *sorted(tmp_path.iterdir())):
            [reason] = start(service, 1, f"ssl_ca={file}").reasons
            assert reason.startswith("DATABASE_URL: ssl_ca must be the absolute path of a readable file of certifi")
            assert str(tmp_path) not in reason
