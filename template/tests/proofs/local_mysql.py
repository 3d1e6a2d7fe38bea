"""A real MariaDB on a loopback port, its data below instance/, so that `dev` needs no server; `dev` runs this file.

Its programs come from Debian's mariadb-server-core, or from wherever the PATH leads. The server ends
with the process that started it; a second command finds the one that runs. The proofs find its programs by it, too.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import pymysql
from pymysql.converters import escape_string

STARTS_WITHIN: Final = 30.0  # seconds
PLACES: Final = ("/usr/local/sbin", "/usr/sbin", "/usr/local/libexec", "/usr/libexec")  # not on everybody's PATH
# Of the server itself nobody signs in: it has no socket, and its root is known by the socket alone.
_INITIAL: Final = ("--auth-root-authentication-method=socket", "--skip-test-db", "--innodb-log-file-size=16M")
_SETTINGS: Final = (
    *("--bind-address=127.0.0.1", "--socket=", "--skip-name-resolve", "--skip-log-bin", "--innodb-log-file-size=16M"),
    "--local-infile=0",
)


def start(folder: Path, name: str, password: str) -> int:
    """The port of the running server, user and database `name`. Raises RuntimeError when there are no programs."""
    home = _home(folder)
    data, port_file = home / "data", home / "port"
    if not (data / "mysql").exists():
        initialise(data, *_INITIAL)
        port_file.write_text(str(_free_port()), encoding="utf-8")
    port = int(port_file.read_text(encoding="utf-8"))
    if not _answers(port, name, password):
        _run_until_exit(home, port, name, password)
    return port


def _home(folder: Path) -> Path:
    """MariaDB refuses to run as root; there it runs as nobody, who can't reach into root's folders.

    Everybody can guess that name: a link, or a folder of somebody else, would be given to nobody, and is refused.
    """
    if os.geteuid() != 0:
        home = folder / "mysql"
    else:
        home = Path(tempfile.gettempdir()) / f"mysql-{hashlib.sha256(bytes(folder)).hexdigest()[:16]}"
    with suppress(FileExistsError):
        home.mkdir(mode=0o700)
    if os.geteuid() == 0:
        found = home.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, _nobody().pw_uid):
            raise RuntimeError(f"{home} is a link or somebody else's. Find out who made it, then remove it.")
        os.chown(home, _nobody().pw_uid, _nobody().pw_gid, follow_symlinks=False)
    return home


def _nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def user() -> int | None:
    """As whom the server runs; None for whoever this is."""
    return _nobody().pw_uid if os.geteuid() == 0 else None


def group() -> int | None:
    """The group that goes with `user`."""
    return _nobody().pw_gid if os.geteuid() == 0 else None


def binary(name: str) -> Path:
    """A program of MariaDB. Raises RuntimeError when there is none."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(PLACES))
    if found is None:
        raise RuntimeError(f"There is no `{name}`. Install MariaDB (Debian: mariadb-server-core), or set DATABASE_URL.")
    return Path(found).resolve()


def initialise(data: Path, *options: str) -> None:
    """Make the system tables of a new server in `data`, whose parent is its user's."""
    made = subprocess.run(  # noqa: S603  (a fixed program with fixed arguments)
        [binary("mariadb-install-db"), "--no-defaults", f"--datadir={data}", f"--tmpdir={data.parent}", *options],
        capture_output=True, check=False, cwd="/", user=user(), group=group(),
    )  # fmt: skip
    if made.returncode != 0:
        raise RuntimeError(f"mariadb-install-db failed: {made.stdout.decode('utf-8', 'replace')[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int, name: str, password: str) -> bool:
    try:
        pymysql.connect(
            host="127.0.0.1", port=port, user=name, password=password, database=name, ssl_disabled=True
        ).close()
    except pymysql.OperationalError:
        return False
    return True


def _run_until_exit(home: Path, port: int, name: str, password: str) -> None:
    first = home / "first.sql"
    who = f"'{escape_string(name)}'@'127.0.0.1'"
    statements = (
        f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4",
        f"CREATE USER IF NOT EXISTS {who}",
        f"ALTER USER {who} IDENTIFIED BY '{escape_string(password)}'",
        f"GRANT ALL PRIVILEGES ON `{name}`.* TO {who}",
    )
    descriptor = os.open(first, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(";\n".join((*statements, "")))
    if os.geteuid() == 0:
        os.chown(first, _nobody().pw_uid, _nobody().pw_gid)
    server = subprocess.Popen(  # noqa: S603  (a fixed program with fixed arguments)
        [
            *(binary("mariadbd"), "--no-defaults", f"--datadir={home / 'data'}", f"--port={port}", *_SETTINGS),
            # A server that starts deletes the temporary tables of all in a common folder, and these crash.
            *(f"--tmpdir={home}", f"--init-file={first}", f"--log-error={home / 'log.err'}"),
        ],
        cwd="/",
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # the log has it
        user=user(),
        group=group(),
    )
    atexit.register(_end, server)
    deadline = time.monotonic() + STARTS_WITHIN
    try:
        while not _answers(port, name, password):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The MariaDB for development did not start: {home / 'log.err'} says why.")
            time.sleep(0.05)
    finally:
        first.unlink()


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()


def main(folder: Path, name: str, password: Path) -> None:
    """Tell the port of the running server, and wait until nobody holds standard input open; or tell what is wrong."""
    try:
        port = start(folder, name, password.read_text(encoding="utf-8"))
    except RuntimeError as reason:
        print(*str(reason).split())  # on one line
    else:
        print(port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
