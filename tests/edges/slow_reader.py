"""A slow client, for proofs of what it may occupy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def slow_reader(client: socket.socket) -> Iterator[None]:
    """Read a little, twenty times a second, until the block ends or the server closes the connection."""
    done = threading.Event()

    def read() -> None:
        with suppress(OSError):
            while not done.wait(0.05) and client.recv(4096):
                pass

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=20)
