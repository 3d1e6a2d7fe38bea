"""Clients beside the proof: writers that go on until the server is gone, and readers that take their time.

It stops a proof of durability from killing a server that was idle just then.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .real_server import RealServer, exchange


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


@contextmanager
def slow_reader(client: socket.socket) -> Iterator[None]:
    """Meanwhile this client reads a little, twenty times a second, until the server closes or it is over."""
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
