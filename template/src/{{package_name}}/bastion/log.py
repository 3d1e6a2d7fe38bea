"""Each log entry is one line of JSON on standard output, and no secret is in it, at any level.

A log is read by more people than the database: a password, token or key that reaches it is stolen without an attack.
The filter looks at field names, positional arguments, exception texts and stacks, and at patterns in any text.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final, cast

import structlog

from . import clock

REDACTED: Final = "[redacted]"
LONGEST_VALUE: Final = 2048  # characters; one entry can't fill a disk
_SENSITIVE: Final = frozenset(
    "password passwd secret token authorization cookie code otp key keys dsn seed".split()  # noqa: SIM905
)
_HARMLESS: Final = frozenset({"status_code", "key_id", "lineno"})
_WORDS: Final = re.compile(r"[A-Za-z][a-z]*|[A-Z]+")
_PATTERNS: Final = (
    re.compile(r"-----BEGIN [A-Z ]{1,40}-----.*?(-----END [A-Z ]{1,40}-----|\Z)", re.DOTALL),  # PEM
    re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(\.[\w-]*){1,3}"),  # JWT and JWE
    re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]*(?=@)"),  # user:password@ in a URL
    re.compile(r"(?i)(?<=\bbearer )\S+"),
    re.compile(r"(?i)(?<=\bpassword=)[^\s&;,]+"),  # libpq's key=value form
    re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])"),  # 256 bits in base64url: session and refresh tokens
)

REQUEST_ID: Final[ContextVar[str]] = ContextVar("bastion_request_id", default="-")


def _is_sensitive(name: str) -> bool:
    return name not in _HARMLESS and any(word.lower() in _SENSITIVE for word in _WORDS.findall(name))


def redact(value: object) -> object:
    """The value without secrets: sensitive fields and known patterns replaced, long texts cut, containers walked."""
    if isinstance(value, str):
        for pattern in _PATTERNS:
            value = pattern.sub(REDACTED, value)
        return value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "…"
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {k: REDACTED if _is_sensitive(str(k)) else redact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return (
            type(value)(redact(item) for item in value) if type(value) in (list, tuple) else [redact(v) for v in value]
        )
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact(str(value))


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return cast("dict[str, Any]", redact(event))


def _stamp(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    moment = clock.now()
    event["ts"] = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
    event.setdefault("request_id", REQUEST_ID.get())
    return event


class RedactArguments(logging.Filter):
    """Cleans `%s` arguments before they are formatted into a text in which no field name is left to look at."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.args:
            args = record.args if isinstance(record.args, Mapping) else tuple(record.args)
            record.args = cast("Any", redact(args))
        return True


def formatter() -> logging.Formatter:
    """Makes one line of JSON of a record, whoever logged it (this service, Flask, SQLAlchemy, gunicorn)."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _stamp,
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact_event,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
    )


class _Handler(logging.StreamHandler[Any]):
    """Ours, so that a second start in one process replaces it instead of logging twice."""


def configure(level: str) -> None:
    """Send every logger of the process through the one formatter to standard output."""
    handler = _Handler(sys.stdout)
    handler.setFormatter(formatter())
    handler.addFilter(RedactArguments())
    root = logging.getLogger()
    root.handlers[:] = [kept for kept in root.handlers if not isinstance(kept, _Handler)]
    root.addHandler(handler)
    root.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _stamp,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger of this name; log an event's name and fields, never a formatted sentence with values in it."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


_log = get_logger("bastion")


def refused(reason: str, **fields: object) -> None:
    """Log that a protection refused a request; `reason` is the protection's id in the catalogue, told to no client."""
    _log.warning("refused", reason=reason, **fields)
