"""A service as a person starts it, and the browser that a person has.

It stops journeys from passing in a harness alone: the command of the README serves, and Chromium draws the pages.
"""

from __future__ import annotations

import email
import email.policy
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from services import Service

SECONDS = 60.0
LINK = re.compile(r"https?://\S+/link/\S+")


def chromium() -> str | None:
    """The browser of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def free_port() -> int:
    """One that is opened seconds later: none of those that the system gives meanwhile to whoever asks for any."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # Linux gives 32768 and more
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass
class Running:
    """A service under `dev`, at an origin of its own."""

    service: Service
    port: int
    log: Path
    read: set[str] = field(default_factory=set)

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    def command(self, *arguments: str, **settings: str) -> str:
        """One command of the service, in development, with further settings."""
        done = subprocess.run(
            [str(self.service.path / ".venv/bin/my-service"), "dev", "--port", str(self.port), *arguments],
            cwd=self.service.path,
            env={**environment(), **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def mailed_link(self, address: str) -> str:
        """The link of the next mail to this address that has one; the service sends by itself."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for file in sorted((self.service.path / "instance/mail").glob("*.eml")):
                if file.name in self.read:
                    continue
                mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
                body = mail.get_body(("plain",))
                if mail["To"] != address or body is None:
                    continue
                self.read.add(file.name)
                if found := LINK.search(str(body.get_content())):
                    return found[0]
            time.sleep(0.2)
        raise AssertionError(f"no link came for {address}; the service said:\n{self.log.read_text()[-3000:]}")


def environment() -> dict[str, str]:
    """What a fresh terminal has: nothing that this run of the tests has set."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


@contextmanager
def dev(service: Service, folder: Path) -> Iterator[Running]:
    """Start `dev`, wait until it answers, and stop it with all that it started."""
    port, log = free_port(), folder / "dev.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(service.path / ".venv/bin/my-service"), "dev", "--port", str(port)],
            cwd=service.path,
            env={**environment(), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Running(service, port, log)
    try:
        _wait(running, process)
        yield running
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=SECONDS)


def _wait(running: Running, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{running.origin}/healthz", timeout=2) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the service did not start:\n{running.log.read_text()[-3000:]}")
