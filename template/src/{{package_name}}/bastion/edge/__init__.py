"""Edge layer: checks on every request before the app sees it, and security headers on every answer.

It is plain WSGI around the app. A refused request therefore runs no hook, loads no session and writes no row. If the
app fails to make an answer, a fixed 500 with every header leaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from .. import log
from ..state import state_of
from . import health, media_types, request_line
from .address import ProxyRule
from .answers import STATUS_LINES, Headers, Refusal, Reply
from .ceiling import NetworkCeiling
from .cookies import guard_cookies
from .cors import Cors
from .headers import HSTS, ID_KEY, PRELOAD, SHAREABLE, HeaderTable, csp_nonce, frameable, no_referrer, shareable
from .hosts import Hosts
from .https_only import HttpsOnly
from .last_resort import FALLBACK, Body, close_quietly, report
from .size import BodyLimit

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["SHAREABLE", "Edge", "EdgeSettings", "csp_nonce", "frameable", "install", "no_referrer", "shareable"]


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """The edge's settings as plain values, so that it can be read, run and proven without Flask."""

    trusted_hosts: frozenset[str]
    public_origin: str
    production: bool
    page_policy: bool  # text/html is a page; False: the service has no pages, and sets no cookie
    error_body: Callable[[int, str, str, str], tuple[str, bytes]]  # status, title, text, request id: content type, body
    texts: Mapping[int, tuple[str, str]]  # title and text of each status that the edge or the server refuses with
    ready: Callable[[], bool]
    proxy_hops: int
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    trust_unix_socket: bool
    ceiling_per_minute: int
    ceiling_per_session: int
    session_of: Callable[[WSGIEnvironment], str | None]  # only by signature: the key for counting a signed-in session
    max_body_bytes: int
    body_limit: Callable[[WSGIEnvironment], int]  # of this request's route, where that is larger
    image_origins: tuple[str, ...]
    font_origins: tuple[str, ...]
    frame_ancestors: tuple[str, ...]
    hsts: str  # empty: none
    cors_origins: tuple[str, ...]


class _Start:
    """The app's status and headers; sent once the first piece exists, so a late failure is a clean 500."""

    __slots__ = ("headers", "status", "written")

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []

    def __call__(
        self, status: str, headers: list[tuple[str, str]], _exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        self.status = status
        self.headers = headers
        return self.written.append


class Edge:
    """The outermost WSGI layer around the app: `_inside` checks the request, `_outside` finishes the headers."""

    def __init__(self, wsgi_app: WSGIApplication, *, settings: EdgeSettings) -> None:
        self._app = wsgi_app
        self._settings = settings
        self._production = settings.production
        self._pages = settings.page_policy
        self._proxies = ProxyRule(settings.proxy_hops, settings.trusted_proxies, unix_socket=settings.trust_unix_socket)
        self._hosts = Hosts(settings.trusted_hosts, settings.public_origin, production=settings.production)
        self._https = HttpsOnly(settings.public_origin, pages=settings.page_policy, production=settings.production)
        self._ceiling = NetworkCeiling(settings.ceiling_per_minute, settings.ceiling_per_session, settings.session_of)
        self._size = BodyLimit(settings.max_body_bytes, settings.body_limit)
        self._cors = Cors(settings.cors_origins)
        self._table = HeaderTable(
            pages=settings.page_policy,
            image_origins=settings.image_origins,
            font_origins=settings.font_origins,
            frame_ancestors=settings.frame_ancestors,
            hsts=settings.hsts,
            cors=self._cors if settings.cors_origins else None,
        )
        self._refused: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, whatever fails inside (PEP 3333)."""
        environ[ID_KEY] = request_id = str(uuid4())
        log.REQUEST_ID.set(request_id)
        start = _Start()
        pieces: Iterable[bytes] | None = None
        try:
            pieces = self._inside(environ, start)
            answer = self._first_piece(environ, start, pieces)
            headers = self._outside(environ, start)
        except Exception as error:  # the last resort
            close_quietly(pieces)
            answer = self._failed(environ, start, error)
            headers = self._outside(environ, start)
        start_response(start.status, headers)
        return answer

    def unreadable(self, status: int) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status line, headers and body for a request or answer that the server could not read or send."""
        environ: WSGIEnvironment = {ID_KEY: str(uuid4()), "REQUEST_METHOD": "GET", "wsgi.url_scheme": "https"}
        log.REQUEST_ID.set(environ[ID_KEY])
        start = _Start()
        answer = self._send(environ, self._reply(environ, status), start)
        return start.status, self._outside(environ, start), b"".join(answer)

    def _inside(self, environ: WSGIEnvironment, start: _Start) -> Iterable[bytes]:
        """Check the request in this order, then call the app; the comments give each position's reason."""
        if environ["PATH_INFO"] in health.PATHS:  # a probe has no host of ours, no https and no allowance
            return self._send(environ, health.answer(environ, self._settings.ready), start)
        self._proxies.settle(environ)  # who asks, over which scheme: before anything looks at either
        refusal = (
            self._hosts.refuse(environ)  # before anything could believe the name
            or self._https.refuse(environ)  # before a credential or body is read
            or self._ceiling.refuse(environ)  # before work is done for the request
            or request_line.refuse_target(environ)  # before a route is looked for
            or request_line.refuse_method(environ)
            or self._cors.refuse(environ)  # a preflight reaches no view
            or self._size.refuse(environ)  # last, since it reads the body
        )
        if refusal is not None:
            return self._refuse(environ, refusal, start)
        return self._app(environ, start)

    def _outside(self, environ: WSGIEnvironment, start: _Start) -> list[tuple[str, str]]:
        """Finish the headers of every answer: cookies first, since the header table depends on those that remain."""
        # A cookie may lack Secure only in development over http on this machine.
        secure = self._production or environ["wsgi.url_scheme"] == "https"
        headers = guard_cookies(start.headers, secure=secure, allowed=self._pages)
        return self._table.finish(environ, start.status, headers)

    def _first_piece(self, environ: WSGIEnvironment, start: _Start, pieces: Iterable[bytes]) -> Iterable[bytes]:
        """Return the body with its first piece made, so that a failure up to there is still a clean 500."""
        answer = pieces
        # A server sends its own file wrapper by sendfile; reading from it here would prevent that.
        if type(pieces) is not list and type(pieces) is not environ.get("wsgi.file_wrapper"):
            rest = iter(pieces)
            answer = Body(pieces, next(rest, b""), rest)
        if not start.status:
            raise RuntimeError("the app began no answer")
        return [*start.written, *answer] if start.written else answer

    def _failed(self, environ: WSGIEnvironment, start: _Start, error: Exception) -> Iterable[bytes]:
        report(error)
        return self._send(environ, self._reply(environ, 500), start)

    def _refuse(self, environ: WSGIEnvironment, refusal: Refusal, start: _Start) -> Iterable[bytes]:
        number = next(self._refused[refusal.reason])
        if refusal.logged:
            address = environ.get("REMOTE_ADDR", "")
            log.refused(refusal.reason, status=refusal.status, count=number, address=address, **refusal.facts)
        return self._send(environ, self._reply(environ, refusal.status, refusal.headers), start)

    def _reply(self, environ: WSGIEnvironment, status: int, headers: Headers = ()) -> Reply:
        if status < 400:
            return Reply(status, "", b"", headers)
        title, text = self._settings.texts[status]
        try:
            content_type, body = self._settings.error_body(status, title, text, environ[ID_KEY])
        except Exception as error:
            report(error)
            content_type, body = FALLBACK
        return Reply(status, content_type, body, headers)

    @staticmethod
    def _send(environ: WSGIEnvironment, reply: Reply, start: _Start) -> Iterable[bytes]:
        headers = [*reply.headers]
        if reply.status != 204:  # which has no length (RFC 9110, 8.6)
            headers.append(("Content-Length", str(len(reply.body))))
        if reply.content_type:
            headers.append(("Content-Type", reply.content_type))
        start.written.clear()
        start(STATUS_LINES[reply.status], headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [reply.body]


def install(
    app: Flask,
    *,
    ready: Callable[[], bool],
    texts: Mapping[int, tuple[str, str]],
    page_policy: bool,
    session_of: Callable[[Flask, dict[str, Any]], str | None],
    body_limit: Callable[[WSGIEnvironment], int],
) -> None:
    """Put the edge around the app as the outermost layer; nothing may wrap `app.wsgi_app` afterwards.

    `ready` returns whether the service can work (it may raise). `texts` holds title and sentence of each status.
    `page_policy`: answers are pages, with a Content-Security-Policy. `session_of` returns the session that a request's
    cookie or token is signed for, without the database. `body_limit` returns the bytes that a request's route allows.
    """
    state = state_of(app)
    settings = state.settings
    edge = EdgeSettings(
        trusted_hosts=frozenset(settings.trusted_hosts),
        public_origin=settings.public_origin,
        production=settings.production,
        page_policy=page_policy,
        error_body=state.error_body,
        texts=texts,
        ready=ready,
        proxy_hops=settings.proxy_hops or 0,
        trusted_proxies=tuple(settings.trusted_proxies),
        trust_unix_socket=settings.bind.startswith("unix:"),  # file permissions say who may connect
        ceiling_per_minute=state.limits.requests_per_minute_and_address,
        ceiling_per_session=state.limits.requests_per_minute_and_session,
        session_of=partial(session_of, app),
        max_body_bytes=state.limits.body_bytes,
        body_limit=body_limit,
        image_origins=state.image_origins,
        font_origins=state.font_origins,
        frame_ancestors=state.frame_ancestors,
        hsts=(HSTS + PRELOAD * settings.hsts_preload) if settings.production else "",
        cors_origins=tuple(settings.cors_origins),
    )
    media_types.install()
    app.wsgi_app = Edge(app.wsgi_app, settings=edge)  # type: ignore[method-assign]
    # Flask's own limits, as a second layer. One byte more: Werkzeug refuses a body that ends exactly at its limit.
    app.config["MAX_CONTENT_LENGTH"] = edge.max_body_bytes + 1
    if settings.production:
        app.config["TRUSTED_HOSTS"] = [host.lower() for host in settings.trusted_hosts]
