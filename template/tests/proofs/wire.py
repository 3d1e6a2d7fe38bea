"""A client that speaks WSGI itself: what it sends and what it gets is exactly what goes over the wire.

It stops proofs from seeing a nicer world than an attacker: the usual test clients normalise headers, merge cookies and
send `Secure` cookies over http.
"""

from __future__ import annotations

import copy
import io
import json as jsonlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote_to_bytes, urlencode, urlsplit

from .webhooks import signature

if TYPE_CHECKING:
    from .running import Service, User

ORIGIN = "https://app.example"
HOST = "app.example"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Headers = Mapping[str, str | None]
Fields = Mapping[str, Any]
Files = Mapping[str, tuple[str, bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


@dataclass(frozen=True, slots=True)
class SetCookie:
    """One Set-Cookie line, taken apart but not interpreted. Attribute names are lower case; a bare one is True."""

    raw: str
    name: str
    value: str
    attributes: dict[str, str | bool]

    @classmethod
    def parse(cls, raw: str) -> SetCookie:
        first, *rest = (part.strip() for part in raw.split(";"))
        name, _, value = first.partition("=")
        attributes: dict[str, str | bool] = {}
        for part in rest:
            key, equals, text = part.partition("=")
            attributes[key.strip().lower()] = text.strip() if equals else True
        return cls(raw, name.strip(), value.strip().strip('"'), attributes)

    @property
    def deletes(self) -> bool:
        """Whether a browser forgets the cookie on this line."""
        age = self.attributes.get("max-age")
        return (isinstance(age, str) and age.lstrip("-").isdigit() and int(age) <= 0) or not self.value


@dataclass(slots=True)
class Response:
    """An answer as the application gave it to the server, nothing normalised."""

    status: int
    phrase: str
    headers: list[tuple[str, str]]
    body: bytes
    events: list[dict[str, Any]] = field(default_factory=list)
    """What the service logged while it answered this request."""

    @classmethod
    def parse(cls, received: bytes) -> Self:
        """One answer as the real server sent it."""
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        _, status, phrase = first.split(" ", 2)
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        return cls(int(status), phrase, headers, body)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """The first header of this name, or None."""
        return next(iter(self.headers_named(name)), None)

    def headers_named(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def mimetype(self) -> str:
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)

    @property
    def location(self) -> str | None:
        return self.header("Location")

    @property
    def set_cookies(self) -> list[SetCookie]:
        return [SetCookie.parse(line) for line in self.headers_named("Set-Cookie")]

    @property
    def request_id(self) -> str | None:
        return self.header("X-Request-ID")


class BaseClient:
    """What the clients of both styles share: one visitor with an address, a cookie jar and perhaps a user."""

    def __init__(self, service: Service, user: User | None = None, address: str = "192.0.2.10") -> None:
        self.service = service
        self.user = user
        self.address = address
        self.agent = "Mozilla/5.0 (proof)"
        self.cookies: dict[str, str] = {}

    # What differs between the styles ------------------------------------------------------------------------

    def login(self, *, through_form: bool = False) -> Self:
        raise NotImplementedError

    def honest(
        self, method: str, data: Fields | None, json: Any, body: bytes | None, content_type: str | None
    ) -> tuple[dict[str, str], bytes]:
        """The headers and the body with which an honest client of this style sends this."""
        raise NotImplementedError

    def upload(self, data: Fields, files: Files, query: Fields) -> tuple[bytes, str, Fields]:
        """The body, its type and the query with which an honest client of this style sends these files."""
        raise NotImplementedError

    # What they share ----------------------------------------------------------------------------------------

    def copy(self) -> Self:
        """A second client that holds a copy of the cookie or token: a thief, or a replay after logout."""
        other = copy.copy(self)
        other.cookies = dict(self.cookies)
        return other

    def get(self, path: str, **more: Any) -> Response:
        return self.send("GET", path, **more)

    def post(self, path: str, data: Fields | None = None, **more: Any) -> Response:
        return self.send("POST", path, data, **more)

    def put(self, path: str, data: Fields | None = None, **more: Any) -> Response:
        return self.send("PUT", path, data, **more)

    def patch(self, path: str, data: Fields | None = None, **more: Any) -> Response:
        return self.send("PATCH", path, data, **more)

    def delete(self, path: str, data: Fields | None = None, **more: Any) -> Response:
        return self.send("DELETE", path, data, **more)

    def send(
        self,
        method: str,
        path: str,
        data: Fields | None = None,
        *,
        json: Any = None,
        body: bytes | None = None,
        content_type: str | None = None,
        headers: Headers | None = None,
        query: Mapping[str, Any] | None = None,
        scheme: str = "https",
        environ: Mapping[str, Any] | None = None,
        files: Files | None = None,
    ) -> Response:
        """Send one request as an honest client does, and keep the cookies of the answer.

        `data` are fields in the style's own form (a form, or a JSON object); `json` is JSON in both; `body` is sent as
        it is. `files` are names and contents of files, in a form or, in the jwt style, one as the body. `headers`
        replaces single headers, and None removes one. `environ` changes the WSGI environment last (None removes), for
        example for a stream of one's own as "wsgi.input".
        """
        method = method.upper()
        if files is not None:
            body, content_type, query = self.upload(data or {}, files, query or {})
        ours, sent = self.honest(method, data, json, body, content_type)
        merged = {"Host": HOST, "User-Agent": self.agent, **ours, **signature(self.service, method, path, sent)}
        if self.cookies and scheme == "https":
            merged["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if content_type is not None:
            merged["Content-Type"] = content_type
        if sent or method not in SAFE:
            merged["Content-Length"] = str(len(sent))
        for name, value in (headers or {}).items():
            for known in [key for key in merged if key.lower() == name.lower()]:
                del merged[known]
            if value is not None:
                merged[name] = value
        if query:
            path += ("&" if "?" in path else "?") + urlencode(query, doseq=True)
        return self._exchange(method, path, merged, sent, scheme, environ or {})

    def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        scheme: str,
        changes: Mapping[str, Any],
    ) -> Response:
        service = self.service
        application = service.app
        seen = len(service.log)
        environ = _environ(method, path, headers, body, scheme, self.address)
        for key, value in changes.items():
            if value is None:
                environ.pop(key, None)
            else:
                environ[key] = value
        response = call(application, environ)
        events = service.log[seen:]
        if identity := response.request_id:
            events = [event for event in events if event.get("request_id") in (identity, "-", None)]
        response.events = events
        self._keep_cookies(response, scheme)
        return response

    def _keep_cookies(self, response: Response, scheme: str) -> None:
        """As a browser does it: what the prefix __Host- demands, and no Secure cookie over http."""
        for line in response.set_cookies:
            flags = line.attributes
            if flags.get("secure") and scheme != "https":
                continue
            host_only = flags.get("secure") and flags.get("path") == "/" and "domain" not in flags
            if line.name.startswith("__Host-") and not host_only:
                continue
            if line.deletes:
                self.cookies.pop(line.name, None)
            else:
                self.cookies[line.name] = line.value


def _environ(
    method: str, path: str, headers: Mapping[str, str], body: bytes, scheme: str, address: str
) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) that gunicorn makes of such a request."""
    target, _, query = path.partition("?")
    if "://" in target:
        target = urlsplit(target).path
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(target).decode("latin-1"),
        "QUERY_STRING": query.partition("#")[0],
        "RAW_URI": path,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": address,
        "REMOTE_PORT": "40000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = value
    return environ


def call(application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> Response:
    """Run a WSGI application once; the status and the headers are those given to start_response last."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        if started and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        started[:] = [(status, list(headers))]
        return written.append

    parts = application(environ, start_response)
    try:
        written.extend(parts)
    finally:
        if close := getattr(parts, "close", None):
            close()
    status, headers = started[0]
    code, _, phrase = status.partition(" ")
    return Response(int(code), phrase, headers, b"".join(written))
