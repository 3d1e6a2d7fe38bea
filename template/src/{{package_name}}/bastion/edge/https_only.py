"""HTTPS only: in production redirect pages to https and refuse every other clear-text request unread.

An attacker on the network path reads a login's password over http, even if the answer is a redirect to https.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote
from wsgiref.types import WSGIEnvironment

from .answers import Refusal

ROW: Final = "https-only"
API: Final = "/api/"  # programs ask here; a program that follows a redirect keeps sending its token in clear text
_READING: Final = frozenset({"GET", "HEAD"})
_QUERY: Final = "!$%&'()*+,-./:;=?@_~"  # of RFC 3986 a query's own characters; quoting leaves them as they are


class HttpsOnly:
    """Redirects or refuses clear text. RFC 6797, 7.2; RFC 9110, 15.4.9; ASVS 4.1.2 (redirect only pages), 12.2.1."""

    def __init__(self, public_origin: str, *, pages: bool, production: bool) -> None:
        self._origin = public_origin
        self._pages = pages
        self._production = production

    def refuse(self, environ: WSGIEnvironment) -> Refusal | None:
        """Pass https; answer 308 to the public origin for GET and HEAD of a page, and 403 for every other request."""
        if environ["wsgi.url_scheme"] == "https" or not self._production:
            return None
        in_clear = "HTTP_AUTHORIZATION" in environ
        if self._pages and environ["REQUEST_METHOD"] in _READING and not in_clear and not self._is_api(environ):
            return Refusal(308, ROW, headers=(("Location", self._address(environ)),))
        return Refusal(403, ROW, facts={"identified_in_clear": in_clear})

    @staticmethod
    def _is_api(environ: WSGIEnvironment) -> bool:
        return str(environ["PATH_INFO"]).startswith(API)

    def _address(self, environ: WSGIEnvironment) -> str:
        # From the setting, never from the Host header; the slash between keeps the path out of the host name.
        path = quote(environ["PATH_INFO"].encode("latin-1"), safe="/:@!$&'()*+,;=~-._")
        query = quote(environ.get("QUERY_STRING", "").encode("latin-1"), safe=_QUERY)
        return f"{self._origin}/{path.lstrip('/')}" + (f"?{query}" if query else "")
