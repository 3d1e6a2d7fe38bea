"""A client that is slow to send holds no thread while it does, and one that reads nothing none for long.

Gunicorn's `timeout` watches over the worker, not over a client: as many half-sent requests as there are threads would
stop the service for everybody (Slowloris), and so would as many answers that nobody reads. What the server itself says
is like all the rest: its log is JSON without secrets, its refusals carry every header, and nothing tells what it is.
Source: ASVS 13.4.6, 15.2.2, 16.2.4; CWE-400; RFC 9110, 15.5.9.
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
"""What gunicorn can't read or send, by the status of its refusal. Whatever else is wrong with a request is 400."""


class _Socket(socket.socket):
    """A client's connection, for which no thread waits without an end."""

    def __init__(self, fileno: int) -> None:
        """Take over an accepted connection."""
        super().__init__(fileno=fileno)
        self.patience = ANSWER_SECONDS

    def setblocking(self, flag: bool, /) -> None:
        """Wait for the client so long and no longer, where gunicorn would wait for ever."""
        self.settimeout(ANSWER_SECONDS if flag else 0.0)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send for as long as the client takes enough of it; otherwise that counts as if it had gone.

        The time-out of a socket is for all that is sent at once, so a long answer goes in pieces; and many short ones
        have no more time than a long one of the same length.
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
    """Reads until the deadline; then the request ends, as if its client had gone, and so does the connection."""

    # What has no value here is set by begin(), before anything is read.
    deadline: float
    looked: int
    """How far an empty line was looked for. In the main loop no byte is looked at again for each that follows: a few
    clients that send one now and then behind a long head would keep everybody waiting."""
    body_at: int
    """Where the body begins, once the head is there."""
    next_chunk: int
    """Where the next chunk begins, as far as it was looked at."""
    trailer_at: int
    """Where the last chunk ends, once it is there."""
    length: int | None = None
    """What the head says of the body; None: it comes in chunks."""
    has_leave: bool
    """Whether the client was told to send its body."""
    is_read = False
    """Whether a thread reads a body that is still on its way."""
    is_cut = False
    """Whether a read ended before the request did: what comes later may be the rest of its body."""

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
        """Whether a thread would have something to do: the head, and a short body, are complete.

        This reads no request, gunicorn does: a wrong answer costs time and nothing else.
        """
        if not self._has_head(received):
            return False
        return len(received) >= GATHERED_BYTES or self.is_whole(received)

    def is_whole(self, received: bytes) -> bool:
        """Whether nothing is missing of a request whose head is there."""
        if self.length is None:
            return self._has_all_chunks(received)
        return len(received) - self.body_at >= self.length

    def _has_head(self, received: bytes) -> bool:
        """Whether the head is there; what it says of the body is read once."""
        if not self.body_at and (end := self._empty_line(received, 0)):
            self.body_at = self.next_chunk = end
            head = received[:end]
            length = _LENGTH.search(head)
            digits = length[1] if length and len(length[1]) <= MOST_DIGITS else b""
            self.length = None if _CHUNKED.search(head) else int(digits or b"0")
        return bool(self.body_at)

    def _empty_line(self, received: bytes, start: int) -> int:
        """Where the first empty line from `start` on ends; 0 if there is none yet."""
        found = received.find(b"\r\n\r\n", max(start, self.looked - 3))
        if found < 0:
            self.looked = len(received)
            return 0
        return found + 4

    def _has_all_chunks(self, received: bytes) -> bool:
        """Whether the last chunk is there, and what follows it; from where it was looked last: there may be many."""
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
        """Whether the client sends no body before it has read a 100 (RFC 9110, 10.1.1); True once a request.

        Gunicorn says it as well, but in a thread, which would then wait for the body.
        """
        if self.has_leave or not self._has_head(received) or len(received) > self.body_at:
            return False
        if not _EXPECTS.search(received[: self.body_at]):
            return False
        self.has_leave = True
        return True


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's threads, to which a request comes once it is there. The worker's main loop waits for all of them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """As gunicorn's, with a half of the threads for bodies that are still on their way."""
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
        # Read at once: what was sent together with the request before is in no socket any more.
        self.on_pending_socket_readable(conn, conn.sock)

    def make_room(self) -> None:
        """Let go who waits for longest, an idle client first, while there are almost as many as a worker takes.

        It takes no further one before it has room: a crowd that sends nothing would keep everybody out for ten seconds.
        """
        if self.nr_conns > self.worker_connections * 9 // 10:
            for longest in (*self.keepalived_conns, *self.pending_conns)[:1]:
                longest.timeout = 0.0  # the main loop closes it in this round

    def on_pending_socket_readable(self, conn: TConn, client: Any) -> None:
        """Take what has come, without waiting, and give the connection to a thread when that is a request."""
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
            unreader.deadline = 0.0  # no thread waits for the rest: gunicorn refuses what it has
        self.poller.unregister(client)
        if gone or too_long or unreader.is_whole(received):
            self.pending_conns.remove(conn)
            super().enqueue_req(conn)
        else:
            self.unread.append(conn)
            self._read_more()

    def _read_more(self) -> None:
        """Let threads read long bodies, but never all of them: who announces much and sends it slowly, or not at all,
        would have all threads wait for it. The others go on waiting, until murder_pending() closes them."""
        while self.unread and self.readers:
            conn = self.unread.popleft()
            if conn in self.pending_conns:
                self.pending_conns.remove(conn)
                self.readers -= 1
                conn.parser.unreader.is_read = True
                super().enqueue_req(conn)

    def murder_pending(self) -> None:
        """Close whoever has waited for long enough, and keep nothing of what he sent."""
        super().murder_pending()
        while self.unread and self.unread[0] not in self.pending_conns:
            self.unread.popleft()

    def finish_request(self, conn: TConn, fs: Any) -> None:
        """A thread has answered."""
        unreader = conn.parser.unreader
        if unreader.is_read:
            unreader.is_read = False
            self.readers += 1
        super().finish_request(conn, fs)
        self._read_more()

    def handle_quit(self, sig: int, frame: object) -> None:
        """Stop at once. Gunicorn would take the pool's lock, and wait for ever if a request just got a thread."""
        super(ThreadWorker, self).handle_quit(sig, frame)

    def handle(self, conn: TConn) -> object:
        """Answer one request in a thread, and say whether the connection is kept."""
        kept: object = super().handle(conn)
        if not kept:
            # Gunicorn waits for the client to close in the main loop: one that never does would stop everybody.
            close_graceful(conn.sock, timeout=LINGER_SECONDS)
            conn.close = _nothing_left
        return kept

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Keep the connection only after a whole body: a proxy sends another visitor's request on it.

        Gunicorn reads what the view did not. A read that fails is not refused: the answer has been sent.
        """
        with suppress(errors.ParseException):
            return super()._keepalive_after(conn, keepalive) and not conn.parser.unreader.is_cut
        return False

    def handle_error(self, _req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Refuse what could not be read as the edge refuses: gunicorn's page has no headers, and quotes the client.

        The log names the kind of the fault alone; the line or the address that it was in may hold a credential.
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
    """In place of the closing that was done."""


class _Response(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """An answer that does not say what sent it: who looks for a server with a known hole need not come here."""

    def should_close(self) -> bool:
        """Announce the end of a connection whose request has no certain end."""
        return bool(super().should_close() or self.req.unreader.is_cut or self.req.body.failed)

    def default_headers(self) -> list[str]:
        """Gunicorn's, which it adds behind every layer of ours."""
        return [line for line in super().default_headers() if not line.startswith("Server:")]


wsgi.Response = _Response  # there is no setting for it


class ServerLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """The server's own entries in the service's log."""

    def setup(self, cfg: Any) -> None:
        """Gunicorn's set-up, with our handler in the place of its own."""
        super().setup(cfg)
        self.error_log.handlers[:] = [log.handler()]
