"""Refusals: a protection logs its reason, and audits security events; the client gets only the fixed answer.

A reason in an answer would show an attacker which of several guesses came close.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NoReturn

from werkzeug.exceptions import HTTPException

from .. import log
from . import refused


class Refused(HTTPException):
    """Ends a refused request: status, headers and errors leave; its id in the catalogue is only in the log."""

    def __init__(self, status: int, *, headers: Iterable[tuple[str, str]], errors: list[dict[str, str]] | None) -> None:
        super().__init__()
        self.code = status
        self.errors = errors
        self._headers = [*headers]

    def get_headers(self, environ: object = None, scope: object = None) -> list[tuple[str, str]]:  # noqa: ARG002
        return list(self._headers)


def refuse(
    status: int,
    reason: str,
    *,
    retry_after: int | None = None,
    headers: Iterable[tuple[str, str]] = (),
    errors: list[dict[str, str]] | None = None,
    about: Mapping[str, object] = MappingProxyType({}),
) -> NoReturn:
    """Log the refusal under the protection's id and end the request with `status`; `retry_after` is in seconds.

    `about` describes the refused object, in the log and in the audit; it holds no secret and no typed text.
    """
    log.refused(reason, status=status, **about)
    refused(status, reason, about)
    extra = [("Retry-After", str(retry_after))] if retry_after is not None else []
    raise Refused(status, headers=[*headers, *extra], errors=errors)
