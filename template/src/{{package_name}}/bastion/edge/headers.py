"""Security headers: every answer carries the whole table, each header once, whichever code made the answer.

Without them a page can be framed, sniffed as another type or made to run injected script. Error pages need them most,
because hooks that run after the view do not run there.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Final
from wsgiref.types import WSGIEnvironment

from .cors import PREFIX, Cors
from .media_types import UNKNOWN, said

Pair = tuple[str, str]

ID_KEY: Final = "bastion.request_id"  # environ keys
_NONCE: Final = "bastion.csp_nonce"
_SHAREABLE: Final = "bastion.shareable"
_NO_REFERRER: Final = "bastion.no_referrer"
_FRAMEABLE: Final = "bastion.frameable"
SHAREABLE: Final = frozenset({"bastion.jwks", "bastion.security_txt"})
"""Endpoints whose answers are public, also to other origins; their views call `shareable`."""

# Browser features for pages: all off, except that the service's own pages may use passkeys.
PERMISSIONS: Final = (
    "accelerometer=()",
    "browsing-topics=()",
    "camera=()",
    "display-capture=()",
    "fullscreen=()",
    "geolocation=()",
    "gyroscope=()",
    "hid=()",
    "identity-credentials-get=()",
    "magnetometer=()",
    "microphone=()",
    "midi=()",
    "payment=()",
    "publickey-credentials-create=(self)",
    "publickey-credentials-get=(self)",
    "serial=()",
    "usb=()",
)
# Two years, as browsers' preload lists ask; a shorter time lets one visit over a hostile line fall back to http.
HSTS: Final = "max-age=63072000; includeSubDomains"
PRELOAD: Final = "; preload"  # asks browsers to know it before the first visit; hard to take back, so only when wanted
REFERRER: Final = "same-origin"  # a page's address may hold private data; other origins must not receive it
NO_REFERRER: Final = "no-referrer"
# For every answer that is not a page: a browser that shows it as a document can run and load nothing.
DATA_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
DOWNLOAD_POLICY: Final = f"{DATA_POLICY}; sandbox"
SANDBOXED: Final = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})  # what users may show inline
# Dropped from the app's answer, beside the names of the table: they reveal versions, or are set here.
_REMOVED: Final = frozenset(
    {
        "content-security-policy",
        "cross-origin-embedder-policy",
        "referrer-policy",
        "reporting-endpoints",
        "server",
        "strict-transport-security",
        "x-powered-by",
        "x-request-id",
    }
)
_UNSENDABLE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")  # RFC 9110, 5.5; a server would fail on it halfway


def page_policy(
    nonce: str, image_origins: Iterable[str] = (), font_origins: Iterable[str] = (), frame_ancestors: Iterable[str] = ()
) -> str:
    """Return a page's Content-Security-Policy: own files, scripts only by nonce. Source: CSP Level 3; ASVS 3.4.3."""
    directives = (
        "default-src 'none'",
        f"script-src 'nonce-{nonce}'",
        "style-src 'self'",
        " ".join(("img-src 'self'", *image_origins)),
        " ".join(("font-src 'self'", *font_origins)),
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        " ".join(("frame-ancestors", *(frame_ancestors or ("'none'",)))),
        "base-uri 'none'",
        "object-src 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
        "report-to csp",
        "report-uri /csp-report",
    )
    return "; ".join(directives)


def csp_nonce(environ: WSGIEnvironment) -> str:
    """Return this answer's nonce (128 random bits), made at the first call. Source: CSP Level 3, 7.1."""
    nonce: str | None = environ.get(_NONCE)
    if nonce is None:
        nonce = environ[_NONCE] = secrets.token_hex(16)
    return nonce


def shareable(environ: WSGIEnvironment) -> None:
    """Let other origins load this answer (such as a public key set): Cross-Origin-Resource-Policy: cross-origin."""
    environ[_SHAREABLE] = True


def no_referrer(environ: WSGIEnvironment) -> None:
    """Keep this answer's address (such as a one-time link's) out of Referer: set Referrer-Policy to no-referrer.

    A form on such a page is posted with `Origin: null` and no Referer: only browsers with Fetch Metadata can use it.
    """
    environ[_NO_REFERRER] = True


def frameable(environ: WSGIEnvironment) -> None:
    """Let the origins that exceptions.toml names under frame_ancestors show this page in a frame."""
    environ[_FRAMEABLE] = True


class HeaderTable:
    """Adds the header table to an answer and overwrites each value that the app set under one of its names.

    `pages`: text/html is a page with its own policy; without it every answer is data. `image_origins` are further
    sources of images; they switch off Cross-Origin-Embedder-Policy, which would block those images. `frame_ancestors`
    may frame pages that are marked `frameable`; X-Frame-Options can name no origin and is left out there. Source: OWASP
    Secure Headers Project; ASVS 3.4.
    """

    def __init__(
        self,
        *,
        pages: bool,
        image_origins: Iterable[str] = (),
        font_origins: Iterable[str] = (),
        frame_ancestors: Iterable[str] = (),
        hsts: str = HSTS,
        cors: Cors | None = None,
    ) -> None:
        self._pages = pages
        self._cors = cors
        self._images = tuple(image_origins)
        self._fonts = tuple(font_origins)
        self._ancestors = tuple(frame_ancestors)
        self._own = tuple(_table("same-origin", pages, hsts, embed=bool(self._images)))
        self._shared = tuple(_table("cross-origin", pages, hsts, embed=bool(self._images)))
        self._ours = _REMOVED | {name.lower() for name, _ in self._own}
        # An answer that depends on the user says so in Vary, for caches that check nothing else (RFC 9110, 12.5.5).
        self._vary = ("Cookie" if pages else "Authorization", *(("Origin",) if cors else ()))

    def finish(self, environ: WSGIEnvironment, status: str, headers: list[Pair]) -> list[Pair]:
        """Return the headers to send. Raise ValueError for a value that no server can send."""
        out: list[Pair] = []
        kind = disposition = cache = vary = ""
        for header in headers:
            name, value = header
            if not (value.isascii() and value.isprintable()) and _UNSENDABLE.search(value):
                raise ValueError(f"the value of the header {name[:60]!r} can't be sent")
            name = name.lower()
            if name in self._ours or name.startswith(PREFIX):
                continue
            if name == "content-type":
                kind = said(value, pages=self._pages)
            elif name == "content-disposition":
                disposition = value
            elif name == "cache-control":
                cache = f"{cache}, {value}" if cache else value
            elif name == "vary":
                vary = f"{vary}, {value}" if vary else value
            else:
                out.append(header)
        if not kind and status[0] not in "13" and status[:3] != "204":
            kind = UNKNOWN
        if kind.startswith(UNKNOWN):
            disposition = ";".join(("attachment", *disposition.split(";")[1:]))
        if kind:
            out.append(("Content-Type", kind))
        if disposition:
            out.append(("Content-Disposition", disposition))
        page = self._pages and kind.startswith("text/html")
        if disposition[:10].lower() == "attachment" or (disposition and kind in SANDBOXED):
            out.append(("Content-Security-Policy", DOWNLOAD_POLICY))
        elif page:
            policy = page_policy(csp_nonce(environ), self._images, self._fonts, self._frames(environ))
            out.append(("Content-Security-Policy", policy))
            out.append(("Reporting-Endpoints", 'csp="/csp-report"'))
        else:
            out.append(("Content-Security-Policy", DATA_POLICY))
        out.extend(self._shared if _SHAREABLE in environ else self._own)
        if page and self._frames(environ):
            out.remove(("X-Frame-Options", "DENY"))
        out.append(("Referrer-Policy", NO_REFERRER if _NO_REFERRER in environ else REFERRER))
        return self._finish_cache(environ, out, _kept(cache, status, page) if cache else "", vary)

    def _frames(self, environ: WSGIEnvironment) -> tuple[str, ...]:
        return self._ancestors if _FRAMEABLE in environ else ()

    def _finish_cache(self, environ: WSGIEnvironment, out: list[Pair], cache: str, vary: str) -> list[Pair]:
        out.append(("Cache-Control", cache or "no-store"))
        if "public" in cache:
            # A shared cache gives this to everybody, so it holds nothing of one request.
            return [header for header in out if header[0].lower() != "set-cookie"]
        out.append(("X-Request-Id", environ[ID_KEY]))
        if self._cors is not None:
            out.extend(self._cors.headers(environ))
        for name in self._vary:
            if name.lower() not in vary.lower():
                vary = f"{vary}, {name}" if vary else name
        out.append(("Vary", vary))
        return out


def _kept(cache: str, status: str, page: bool) -> str:
    """Return the view's Cache-Control if it names its audience and suits the answer, else an empty text."""
    cache = cache.lower()
    directives = {directive.partition("=")[0].strip() for directive in cache.split(",")}
    if "no-store" in directives or status[:3] not in ("200", "304"):
        return ""  # an error, a redirect or a part that a cache keeps is a way to poison it
    if "private" in directives:
        return cache.replace("public", "private")
    # A page's nonce is for one answer, so no cache may give the page to a second client.
    return cache if "public" in directives and not page else ""


def _table(resource: str, pages: bool, hsts: str, *, embed: bool) -> Iterator[Pair]:
    yield ("X-Content-Type-Options", "nosniff")
    yield ("X-Frame-Options", "DENY")
    yield ("Cross-Origin-Opener-Policy", "same-origin")
    yield ("Cross-Origin-Resource-Policy", resource)
    yield ("Permissions-Policy", ", ".join(PERMISSIONS if pages else _closed(PERMISSIONS)))
    yield ("X-Permitted-Cross-Domain-Policies", "none")
    yield ("X-XSS-Protection", "0")  # the old filter was itself a way to read a page; newer browsers have none
    if hsts:
        yield ("Strict-Transport-Security", hsts)
    if pages and not embed:
        yield ("Cross-Origin-Embedder-Policy", "require-corp")


def _closed(permissions: Iterable[str]) -> Iterator[str]:
    return (permission.replace("=(self)", "=()") for permission in permissions)
