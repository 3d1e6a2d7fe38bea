"""The real gunicorn with the service's real configuration, for what only a socket can show.

It stops proofs from believing what an in-process client says about request lines, header limits and smuggling.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from . import server_parent
from .harness import Inconclusive
from .service import PACKAGE

START_SECONDS = 60.0  # of which it needs one, and more on a busy machine
IMPORT_SECONDS = 60.0  # of the libraries, before the first start
# Says where the protections lie before anything runs: an editable install points at the original, not at the copy.
_PROGRAM = """
import sys, pathlib
import {package}.bastion as bastion
there, wanted = pathlib.Path(bastion.__file__).resolve(), pathlib.Path({source!r}).resolve()
if not there.is_relative_to(wanted):
    sys.exit(f"bastion was imported from {{there}}, not from {{wanted}}")
{first}
from gunicorn.app.wsgiapp import run
sys.argv = ["gunicorn", "-c", "python:{package}.bastion.gunicorn", "--bind", "fd://LISTENER"]
sys.argv.append("{package}.app:create_app()")
run()
"""
_OF_GUNICORN = ("gunicorn.app.wsgiapp", "gunicorn.arbiter", "gunicorn.workers.gthread")
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class Process:
    """A server's process: its parent tells when it has ended."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.returncode if self._ended(0) else None

    def wait(self, timeout: float) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired after so many seconds."""
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        assert self.returncode is not None
        return self.returncode

    def _ended(self, seconds: float) -> bool:
        if self.returncode is None and select.select([self._connection], [], [], seconds)[0]:
            self.returncode = int(self._lines.readline() or "-1")  # without an answer its parent was killed, too
        return self.returncode is not None

    def close(self) -> None:
        """Ask for nothing more: what still runs is ended by its parent."""
        self._lines.close()
        self._connection.close()


class Parent:
    """The process that the servers of a run are forked from. It starts with the first, and ends with the run.

    A new interpreter would import the libraries each time, which is nine tenths of a start.
    """

    def __init__(self, libraries: Sequence[str] = ()) -> None:
        """`libraries` are imported before the forks. A child of this process may ask, too, and be the first."""
        self.libraries = list(libraries)
        self._asks, self._asked = socket.socketpair()
        self._token, token = os.pipe()
        os.write(token, b"1")
        os.close(token)

    def close(self) -> None:
        """Nothing is asked for any more."""
        self._asks.close()
        self._asked.close()
        os.close(self._token)

    def start(self, program: str, source: Path, root: Path, variables: Mapping[str, str], files: list[int]) -> Process:
        """Run `program` with the listener and the output that `files` are, and with `source` first on its path."""
        if os.read(self._token, 1):  # whoever gets the only byte is the first
            self._run()
        mine, theirs = socket.socketpair()
        mine.settimeout(IMPORT_SECONDS)
        with theirs:
            socket.send_fds(self._asks, [b"1"], [theirs.fileno(), *files])
        order = {"program": program, "path": str(source), "folder": str(root), "variables": dict(variables)}
        mine.sendall(json.dumps(order).encode() + b"\n")
        return Process(mine)

    def _run(self) -> None:
        number = self._asked.fileno()
        nothing = subprocess.DEVNULL  # a server's output has a file of its own
        process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, server_parent.__file__, str(number)],
            env={**_kept(), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}, cwd="/",
            stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, pass_fds=(number,), start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        with process.stdin as names:
            names.write(json.dumps([*self.libraries, *_OF_GUNICORN]).encode())
        process.returncode = 0  # nobody waits for it


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


@dataclass(slots=True)
class RealServer:
    """A running server: where it listens, and what it writes."""

    port: int
    process: Process
    file: IO[bytes] = field(repr=False)

    @property
    def output(self) -> str:
        """Everything on its standard output and error so far."""
        self.file.flush()
        return Path(self.file.name).read_text("utf-8", "replace")

    def stop(self) -> None:
        """End the server and its workers, which are a process group of their own."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # at once: nobody is waiting for an answer
        self.process.wait(timeout=30)
        self.process.close()
        self.file.close()


def start_real_server(parent: Parent, root: Path, variables: Mapping[str, str], first: str = "") -> RealServer:
    """Start it on a loopback port of the system's choice and wait for its first answer.

    `first` runs in the server's process before gunicorn does, for what can only be set there.

    Raises Inconclusive when it ends, or answers nothing within a minute.
    """
    source = root / "src"
    file = tempfile.NamedTemporaryFile(prefix="proof-server-")  # noqa: SIM115  closed in stop()
    program = _PROGRAM.format(package=PACKAGE, source=str(source), first=first)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        process = parent.start(program, source, root, {**_kept(), **variables}, [listener.fileno(), file.fileno()])
    server = RealServer(port, process, file)
    deadline = time.monotonic() + START_SECONDS
    probe = b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if b" 200 " in exchange(server, probe, START_SECONDS)[:20]:
                return server
        except OSError:
            time.sleep(0.05)
    text = server.output[-1500:]
    server.stop()
    raise Inconclusive(f"the real server does not start: {text}")


def exchange(server: RealServer, data: bytes, seconds: float = 20.0) -> bytes:
    """Send bytes and read until the server closes the connection, or nothing more comes (at most `seconds`)."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may answer and close before everything was sent
            connection.sendall(data)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            # The first byte may take long; after it a pause of a second is the end of a kept-alive answer.
            connection.settimeout(min(left, 1.0) if received else left)
            try:
                part = connection.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not part:
                break
            received += part
    return bytes(received)
