"""Slow clients do not occupy worker threads for long, whether they send or receive slowly.

Gunicorn's `timeout` limits the worker, not a client. As many half-sent requests as there are threads would stop the
service (Slowloris), and so would as many unread answers. The server's own output follows the service's rules: JSON logs
without secrets, refusals with every header, and no server name. Source: ASVS 13.4.6, 15.2.2, 16.2.4; CWE-400; RFC 9110,
15.5.9.
"""

from __future__ import annotations

import re
import socket
from collections import deque
from contextlib import suppress
from errno import EPIPE
from functools import partial
from selectors import EVENT_READ
from time import monotonic
from typing import Any, Final

from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.http import errors, wsgi  # type: ignore[import-untyped]
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]
from gunicorn.util import close_graceful, http_date  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from .. import log

READ_SECONDS: Final = 10.0  # for head and body of one request: 1 MiB at 1 Mbit/s; Kubernetes and proxies probe as often
GATHERED_BYTES: Final = 65_536  # collected before a thread is used: every sane head and form; 1000 of them are 64 MiB
ANSWER_SECONDS: Final = 10.0  # to take each PIECE_BYTES of answers: 1 Mbit/s again; most proxies take all at once
PIECE_BYTES: Final = 1_048_576
LINGER_SECONDS: Final = 0.2  # for the last answer to arrive, when the client had more to send
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_EXPECTS: Final = re.compile(rb"\A[^\r\n]+ HTTP/1\.1\r\n(?:.*\r\n)?expect:[ \t]*100-continue[ \t]*\r\n", re.I | re.S)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*\r\n", re.IGNORECASE)
_SIZE: Final = re.compile(rb"([0-9a-f]++)[ \t]*+(?:;[^\r\n]*+)?\r\n", re.IGNORECASE)
LONGEST_SIZE_LINE: Final = 8190  # bytes; gunicorn refuses a longer one
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*+0*+(\d*+)[ \t]*+\r\n", re.IGNORECASE)
MOST_DIGITS: Final = 9  # of a length: whatever has more is refused unread
REFUSED: Final = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
    errors.InvalidResponseHeader: 500,
    errors.InvalidResponseHeaderName: 500,
}
"""Statuses for requests or answers that gunicorn can't read or send. Any other fault of a request is 400."""


class _Socket(socket.socket):
    """A client's connection with a time limit on every wait of a thread."""

    def __init__(self, fileno: int) -> None:
        """Take over an accepted connection."""
        super().__init__(fileno=fileno)
        self.patience = ANSWER_SECONDS

    def setblocking(self, flag: bool, /) -> None:
        """Wait for the client at most ANSWER_SECONDS, where gunicorn would wait without limit."""
        self.settimeout(ANSWER_SECONDS if flag else 0.0)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send while the client reads fast enough; otherwise treat it as disconnected.

        A socket's time-out covers all data of one call, so a long answer goes in pieces. Many short ones have no more
        time than a long one of the same length.
        """
        whole = memoryview(data)
        for start in range(0, len(whole), PIECE_BYTES):
            piece, began = whole[start : start + PIECE_BYTES], monotonic()
            self.settimeout(max(self.patience, 0.001))
            try:
                super().sendall(piece, flags)
            except TimeoutError:
                raise BrokenPipeError(EPIPE, "the client does not take its answer") from None
            earned = ANSWER_SECONDS * len(piece) / PIECE_BYTES
            self.patience = min(self.patience - (monotonic() - began) + earned, ANSWER_SECONDS)


class _Unreader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads until the deadline; then request and connection end as if the client had disconnected."""

    # begin() sets the values without a default, before any read.
    deadline: float
    looked: int
    """Where the search for an empty line continues. The main loop must not scan all bytes again for each new one.
    Otherwise a few clients that add single bytes to a long head would delay all others."""
    body_at: int
    """Where the body begins, once the head is complete."""
    next_chunk: int
    """Where the next chunk begins, as far as chunks were parsed."""
    trailer_at: int
    """Where the last chunk ends, once it has arrived."""
    length: int | None = None
    """The body's length from the head; None: it comes in chunks."""
    has_leave: bool
    """Whether the client got a 100 (Continue) for its body."""
    is_read = False
    """Whether a thread reads a body that is still arriving."""
    is_cut = False
    """Whether a read ended before the request did: later bytes may be the rest of its body."""

    def chunk(self, size_hint: int | None = None) -> bytes:
        left, piece = self.deadline - monotonic(), b""
        if left > 0:
            self.sock.settimeout(left)
            with suppress(TimeoutError):
                piece = super().chunk(size_hint)
        if not piece:
            self.is_cut = True
        return piece

    def begin(self) -> None:
        """Expect a request from now on: the first of a connection, or the next."""
        self.deadline, self.has_leave = monotonic() + READ_SECONDS, False
        self.looked = self.body_at = self.next_chunk = self.trailer_at = 0

    def is_gathered(self, received: bytes) -> bool:
        """Return whether a thread would have work: the head, and a short body, are complete.

        This does not parse the request, gunicorn does: a wrong result costs time and nothing else.
        """
        if not self._has_head(received):
            return False
        return len(received) >= GATHERED_BYTES or self.is_whole(received)

    def is_whole(self, received: bytes) -> bool:
        """Return whether a request with a complete head is complete."""
        if self.length is None:
            return self._has_all_chunks(received)
        return len(received) - self.body_at >= self.length

    def _has_head(self, received: bytes) -> bool:
        """Return whether the head is complete; parse its body length once."""
        if not self.body_at and (end := self._empty_line(received, 0)):
            self.body_at = self.next_chunk = end
            head = received[:end]
            length = _LENGTH.search(head)
            digits = length[1] if length and len(length[1]) <= MOST_DIGITS else b""
            self.length = None if _CHUNKED.search(head) else int(digits or b"0")
        return bool(self.body_at)

    def _empty_line(self, received: bytes, start: int) -> int:
        """Return where the first empty line from `start` on ends; 0 if there is none yet."""
        found = received.find(b"\r\n\r\n", max(start, self.looked - 3))
        if found < 0:
            self.looked = len(received)
            return 0
        return found + 4

    def _has_all_chunks(self, received: bytes) -> bool:
        """Return whether the last chunk and its trailer arrived; continue at the last position: there may be many."""
        end = len(received)
        while not self.trailer_at and self.next_chunk <= end and (size := _SIZE.match(received, self.next_chunk)):
            length = int(size[1], 16)
            if length == 0:
                self.trailer_at = size.end() - 2
            self.next_chunk = size.end() + length + 2
        if self.trailer_at:
            return bool(self._empty_line(received, self.trailer_at))
        line = received[self.next_chunk :]
        return len(line) > LONGEST_SIZE_LINE or b"\r\n" in line  # is refused

    def waits_for_leave(self, received: bytes) -> bool:
        """Return whether the client waits for a 100 before its body (RFC 9110, 10.1.1); True once a request.

        Gunicorn sends it as well, but in a thread, which would then wait for the body.
        """
        if self.has_leave or not self._has_head(received) or len(received) > self.body_at:
            return False
        if not _EXPECTS.search(received[: self.body_at]):
            return False
        self.has_leave = True
        return True


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's threads, which get only gathered requests. The worker's main loop waits for all clients."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Initialise like gunicorn, with half of the threads for bodies that are still arriving."""
        super().__init__(*args, **options)
        self.readers = max(1, self.cfg.threads // 2)
        self.unread: deque[TConn] = deque()

    def enqueue_req(self, conn: TConn) -> None:
        """Wait for a request of this connection: a new one, or one that was kept alive."""
        self.make_room()
        if not conn.initialized:
            conn.sock = _Socket(conn.sock.detach())
            conn.init()
            conn.parser.unreader = _Unreader(conn.sock)
        conn.sock.setblocking(False)
        conn.parser.unreader.begin()
        conn.timeout = conn.parser.unreader.deadline
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))
        # Read at once: bytes sent together with the previous request are no longer in the socket.
        self.on_pending_socket_readable(conn, conn.sock)

    def make_room(self) -> None:
        """Close the longest waiting client, an idle one first, when nine tenths of the connections are in use.

        A full worker accepts no further one: clients that send nothing would block all others for ten seconds.
        """
        if self.nr_conns > self.worker_connections * 9 // 10:
            for longest in (*self.keepalived_conns, *self.pending_conns)[:1]:
                longest.timeout = 0.0  # the main loop closes it in this round

    def on_pending_socket_readable(self, conn: TConn, client: Any) -> None:
        """Read the available bytes without waiting, and queue the connection for a thread once they are a request."""
        unreader = conn.parser.unreader
        received, gone = unreader.take_buffered(), False
        try:
            piece = client.recv(GATHERED_BYTES)
            received, gone = received + piece, not piece
        except BlockingIOError:
            pass
        except OSError:
            gone = True
        unreader.unread(received)
        if unreader.waits_for_leave(received):
            with suppress(OSError):
                client.send(CONTINUE)
        too_long = len(received) >= GATHERED_BYTES and b"\r\n\r\n" not in received
        if not (gone or too_long or unreader.is_gathered(received)):
            return  # until murder_pending() closes it
        if gone or too_long:
            unreader.deadline = 0.0  # no thread waits for the rest: gunicorn refuses the incomplete request
        self.poller.unregister(client)
        if gone or too_long or unreader.is_whole(received):
            self.pending_conns.remove(conn)
            super().enqueue_req(conn)
        else:
            self.unread.append(conn)
            self._read_more()

    def _read_more(self) -> None:
        """Let threads read long bodies, but only half of the threads: clients that announce long bodies and send slowly
        would occupy all of them. Other connections wait until a slot is free or murder_pending() closes them."""
        while self.unread and self.readers:
            conn = self.unread.popleft()
            if conn in self.pending_conns:
                self.pending_conns.remove(conn)
                self.readers -= 1
                conn.parser.unreader.is_read = True
                super().enqueue_req(conn)

    def murder_pending(self) -> None:
        """Close connections past their deadline, and keep none of their bytes."""
        super().murder_pending()
        while self.unread and self.unread[0] not in self.pending_conns:
            self.unread.popleft()

    def finish_request(self, conn: TConn, fs: Any) -> None:
        """Finish an answered request; if its thread read a body, free the slot for another one."""
        unreader = conn.parser.unreader
        if unreader.is_read:
            unreader.is_read = False
            self.readers += 1
        super().finish_request(conn, fs)
        self._read_more()

    def handle_quit(self, sig: int, frame: object) -> None:
        """Stop at once. Gunicorn would take the pool's lock, and deadlock if a request just got a thread."""
        super(ThreadWorker, self).handle_quit(sig, frame)

    def handle(self, conn: TConn) -> object:
        """Answer one request in a thread, and return whether the connection is kept."""
        kept: object = super().handle(conn)
        if not kept:
            # Gunicorn waits in the main loop for the client to close: a client that never closes would stop all others.
            close_graceful(conn.sock, timeout=LINGER_SECONDS)
            conn.close = _nothing_left
        return kept

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Keep the connection only after a whole body: a proxy sends another visitor's request on it.

        Gunicorn reads the rest that the view did not. A failed read is not refused: the answer has been sent.
        """
        with suppress(errors.ParseException):
            return super()._keepalive_after(conn, keepalive) and not conn.parser.unreader.is_cut
        return False

    def handle_error(self, _req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Refuse unreadable requests like the edge: gunicorn's page has no headers, and quotes the client.

        The log has only the type of the fault; the line or address with the fault may hold a credential.
        """
        status = REFUSED.get(type(exc), 400) if isinstance(exc, errors.ParseException) else 500
        line, headers, body = self.wsgi.wsgi_app.unreadable(status)
        if status == 500:
            self.log.exception("Error handling request")
        else:
            self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", type(exc).__name__)
        lines = (f"HTTP/1.1 {line}", f"Date: {http_date()}", "Connection: close", *map(": ".join, headers), "", "")
        with suppress(OSError):
            client.sendall("\r\n".join(lines).encode("latin-1") + body)


def _nothing_left(graceful: bool = False) -> None:
    """Replace a close that is already done."""


class _Response(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """A response without a Server header, so that scanners for a vulnerable version get no hint."""

    def should_close(self) -> bool:
        """Announce the close of a connection whose request has no certain end."""
        return bool(super().should_close() or self.req.unreader.is_cut or self.req.body.failed)

    def default_headers(self) -> list[str]:
        """Return gunicorn's headers, which it adds after all our layers, without Server."""
        return [line for line in super().default_headers() if not line.startswith("Server:")]


wsgi.Response = _Response  # there is no setting for it


class ServerLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """The server's own entries in the service's log."""

    def setup(self, cfg: Any) -> None:
        """Set up like gunicorn, with our handler in the place of its own."""
        super().setup(cfg)
        self.error_log.handlers[:] = [log.handler()]
