"""Static files: their addresses carry a hash of the content, and scripts the integrity that a browser checks.

Without the hash a browser runs yesterday's script in today's page for an hour after an update. A cache that keeps a
file under the hash of another version serves the wrong one for a year, so only the right hash is kept.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, request
from werkzeug.security import safe_join

OURS: Final = Path(__file__).parent / "static"
YEAR: Final = 31_536_000  # seconds; the longest that caches honour (RFC 9111, 1.2.2)
HEX_DIGITS: Final = 16  # of the hash in an address: 64 bits distinguish versions


@functools.lru_cache(maxsize=512)
def _digest(path: str, _changed: int) -> bytes:
    return hashlib.sha384(Path(path).read_bytes()).digest()


def digest(folder: Path | str, filename: str) -> bytes:
    """Return the SHA-384 of a file in this folder, or no bytes when there is no such file."""
    path = safe_join(str(folder), filename)
    try:
        return _digest(path, Path(path).stat().st_mtime_ns) if path else b""
    except OSError:
        return b""


def address(filename: str) -> str:
    """Return the address of one of our files, also outside of a request."""
    return f"/static/bastion/{filename}?v={digest(OURS, filename).hex()[:HEX_DIGITS]}"


def integrity(filename: str) -> str:
    """Return the `integrity` of one of our scripts. Source: Subresource Integrity, W3C."""
    return f"sha384-{base64.b64encode(digest(OURS, filename)).decode()}"


def install(app: Flask) -> None:
    """Add the hash to each address of a static file, and let caches keep the answer to the right one."""

    def version(endpoint: str | None, filename: str) -> str:
        folder = {"bastion.static": OURS, "static": app.static_folder}.get(endpoint or "")
        return digest(folder, filename).hex()[:HEX_DIGITS] if folder else ""

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if found := version(endpoint, values.get("filename", "")):
            values.setdefault("v", found)

    @app.after_request
    def keep(answer: Response) -> Response:
        if (given := request.args.get("v")) is None or request.endpoint not in ("static", "bastion.static"):
            return answer
        if given == version(request.endpoint, (request.view_args or {}).get("filename", "")):
            answer.cache_control.max_age, answer.cache_control.immutable = YEAR, True
        else:
            answer.headers["Cache-Control"] = "no-store"
        return answer

    app.jinja_env.globals["integrity"] = integrity
