"""The real gunicorn with the service's real configuration, for what only a socket can show.

It stops proofs from believing what an in-process client says about request lines, header limits and smuggling.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from .harness import Inconclusive
from .service import PACKAGE

START_SECONDS = 60.0  # of which it needs one or two, and more on a busy machine
# Says where the protections lie before anything runs: an editable install points at the original, not at the copy.
_PROGRAM = """
import sys, pathlib
import {package}.bastion as bastion
there, wanted = pathlib.Path(bastion.__file__).resolve(), pathlib.Path({source!r}).resolve()
if not there.is_relative_to(wanted):
    sys.exit(f"bastion was imported from {{there}}, not from {{wanted}}")
{first}
from gunicorn.app.wsgiapp import run
sys.argv = ["gunicorn", "-c", "python:{package}.bastion.server.gunicorn", "--bind", "fd://{listener}"]
sys.argv.append("{package}.app:create_app()")
run()
"""
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


@dataclass(slots=True)
class RealServer:
    """A running server: where it listens, and what it writes."""

    port: int
    process: subprocess.Popen[bytes]
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
        self.file.close()


def start_real_server(root: Path, variables: Mapping[str, str], first: str = "") -> RealServer:
    """Start it on a loopback port of the system's choice and wait for its first answer.

    `first` runs in the server's process before gunicorn does, for what can only be set there.

    Raises Inconclusive when it ends, or answers nothing within a minute.
    """
    source = root / "src"
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    file = tempfile.NamedTemporaryFile(prefix="proof-server-")  # noqa: SIM115  closed in stop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        program = _PROGRAM.format(package=PACKAGE, source=str(source), first=first, listener=listener.fileno())
        process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-c", program],
            env={**kept, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", **variables},
            cwd=root, stdin=subprocess.DEVNULL, stdout=file, stderr=file, pass_fds=(listener.fileno(),),
            start_new_session=True,
        )  # fmt: skip
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


class Pressure:
    """Some threads that send one request after the other, each under a name of its own."""

    def __init__(self, server: RealServer, request: Callable[[int, str], bytes], *, status: int, writers: int) -> None:
        """`request(writer, name)` gives the bytes; an answer that begins with `status` is an acknowledgement."""
        self.acknowledged: list[str] = []
        self._server, self._request = server, request
        self._begins = f"HTTP/1.1 {status} ".encode()
        self._change = threading.Condition()
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(writers)]
        for thread in self._threads:
            thread.start()

    def _write(self, writer: int) -> None:
        number = 0
        while True:
            number += 1
            name = f"writer-{writer}-{number}"
            try:
                answer = exchange(self._server, self._request(writer, name))
            except OSError:  # it is gone
                return
            if answer.startswith(self._begins):
                with self._change:
                    self.acknowledged.append(name)
                    self._change.notify_all()

    def until(self, acknowledged: int) -> bool:
        """Wait for so many acknowledgements; False after a minute without them."""
        with self._change:
            return self._change.wait_for(lambda: len(self.acknowledged) >= acknowledged, timeout=60)

    def end(self) -> None:
        """Wait until all have seen that the server is gone."""
        for thread in self._threads:
            thread.join(timeout=20)
