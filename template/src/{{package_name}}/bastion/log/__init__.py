"""Log redaction: each entry is one line of JSON on standard output without secrets, at any level.

More people read a log than the database: a password, token or key that reaches it is stolen without an attack. The
filter checks field names, positional arguments, exception texts and stacks. In any text it replaces known patterns and
the secrets that this service has read.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections import Counter
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from threading import Lock
from typing import Any, Final, cast

import structlog
from flask import g, has_request_context, request

from .. import clock

REDACTED: Final = "[redacted]"
LONGEST_READ: Final = 65_536  # characters that the patterns read; a long text must not cost more work
LONGEST_SECRET: Final = 4096  # characters; so much beside a cut is dropped
LONGEST_VALUE: Final = 2048  # characters; one entry can't fill a disk
LONGEST_STACK: Final = 16_384  # characters; its end is kept, where the cause stands
MOST_A_MINUTE: Final = 600  # entries of a kind that no signed-in user caused: ten a second
MOST_KINDS: Final = 1_000  # counted apart; a program may log a text that is new each time
_SENSITIVE: Final = frozenset(  # words of a field's name, in the singular
    """password passwd passphrase pwd secret credential token authorization cookie code otp key apikey dsn
    seed""".split()  # noqa: SIM905
)
_HARMLESS: Final = frozenset({"status_code", "key_id"})
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*")  # SECRET_KEY, secretKey and X-Secret-Key alike
# Each pattern reads a run of characters once: `eyJ` is matched only from the start of a run, and found anywhere in it.
# Otherwise a text that repeats it would take quadratic time.
_PATTERNS: Final = (
    re.compile(r"-----BEGIN [A-Z ]{1,40}-----.*?(-----END [A-Z ]{1,40}-----|\Z)", re.DOTALL),  # PEM
    re.compile(r"(?<![\w-])(?=(?:[\w-]*?[-_])?eyJ[\w-]{5})[\w-]++\.[\w-]+(\.[\w-]*){1,3}"),  # JWT and JWE
    re.compile(r"(?<![\w-])\.?[\w-]{10,}\.[\w-]{6}\.(?:[\w-]{43}|[\w-]{27})(?![\w-])"),  # signed cookie, form token
    re.compile(r"\$argon2\w*\$[^\s'\"]+"),  # hash of a password
    re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]*(?=@)"),  # user:password@ in a URL
    re.compile(r"(?i)(?<=\bbearer )\S+"),
    re.compile(r"(?i)(?<=\bpassword=)[^\s&;,]+"),  # libpq's key=value form
    re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])"),  # 256 bits in base64url: session and refresh tokens
)

SHORTEST_HIDDEN: Final = 12  # characters; a shorter secret may be a word, and masking it everywhere would reveal it
MOST_HIDDEN: Final = 100  # a backend that makes new passwords all the time fills no memory with them
_hidden: tuple[str, ...] = ()

REQUEST_ID: Final[ContextVar[str]] = ContextVar("bastion_request_id", default="-")


def _is_sensitive(name: str) -> bool:
    return name not in _HARMLESS and any(word.lower().rstrip("s") in _SENSITIVE for word in _WORDS.findall(name))


def hide(secret: str) -> None:
    """Replace this text in all later entries: a partner's key has no pattern, and errors quote it as it was sent."""
    global _hidden
    if len(secret) >= SHORTEST_HIDDEN and secret not in _hidden:
        _hidden = (secret, *_hidden)[:MOST_HIDDEN]


def _without_patterns(text: str) -> str:
    for secret in sorted(_hidden, key=len, reverse=True):  # one that is a part of another one comes after it
        text = text.replace(secret, REDACTED)
    for pattern in _PATTERNS:
        text = pattern.sub(REDACTED, text)
    return text


def redact(value: object) -> object:
    """Return the value without secrets: replace sensitive fields and patterns, cut long texts, walk containers."""
    if isinstance(value, str):
        text = _without_patterns(value[:LONGEST_READ])
        if len(value) > LONGEST_READ:
            text = text[:-LONGEST_SECRET]  # it may be the first half of one, which no pattern knows
        return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {redact(str(k)): REDACTED if _is_sensitive(str(k)) else redact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact(str(value))


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    stacks = {name: str(event.pop(name)) for name in ("exception", "stack") if name in event}
    cleaned = cast("dict[str, Any]", redact(event))
    for name, text in stacks.items():
        cut = LONGEST_SECRET if len(text) > LONGEST_READ else 0
        cleaned[name] = _without_patterns(text[-LONGEST_READ:])[cut:][-LONGEST_STACK:]
    return cleaned


def _stamp(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["ts"] = _moment()
    event.setdefault("request_id", REQUEST_ID.get())
    if has_request_context():
        rule = request.url_rule
        event.setdefault("method", request.method)
        event.setdefault("route", rule.rule if rule else None)  # never the address, which may hold a token
        event.setdefault("ip", request.remote_addr)
        who = _signed_in()
        if who is not None:
            event.setdefault("user_id", str(who.id))
            event.setdefault("session", who.session_id.hex[:8])
    return event


def _signed_in() -> Any | None:
    """Return the principal of this request if it is signed in, else None."""
    who = g.get("principal") if has_request_context() else None
    return who if who is not None and who.is_authenticated else None


def _moment() -> str:
    now = clock.now()
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


class RedactArguments(logging.Filter):
    """Cleans `%s` arguments before formatting: the formatted text has no field names left to check."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.__dict__.pop("message", None)  # formatted by a handler that stands before this one
        if record.args:
            named = isinstance(record.args, Mapping)
            record.args = cast("Any", redact(record.args) if named else tuple(map(redact, record.args)))
        if not isinstance(record.msg, str) and not hasattr(record, "_logger"):  # an event of structlog is cleaned later
            record.msg = str(redact(record.msg))
        return True


def formatter(*, readable: bool = False) -> logging.Formatter:
    """Make the formatter for JSON lines, for records of any logger; `readable`: for a terminal, in development."""
    render = (
        structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty()) if readable else structlog.processors.JSONRenderer()
    )
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
            render,
        ],
    )


class Flood(logging.Filter):
    """Limits entries of each kind per minute, and logs after it how many were dropped.

    Refused requests cost a client nothing; a line for each would fill the disk and hide the important ones. Entries
    that signed-in users cause are bounded by the session ceiling, and always written.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()
        self._end = 0.0
        self._lock = Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if _signed_in() is not None:
            return True
        moment, over = clock.seconds(), Counter[str]()
        with self._lock:
            if not moment < self._end <= moment + 60:
                over, self._counts, self._end = self._counts, Counter(), moment + 60
            kind = _kind_of(record)
            if kind not in self._counts and len(self._counts) >= MOST_KINDS:
                kind = "other"
            self._counts[kind] += 1
            passes = self._counts[kind] <= MOST_A_MINUTE
        for name, count in over.items():
            if count > MOST_A_MINUTE:
                _log.warning("entries_left_out", kind=name, count=count - MOST_A_MINUTE)
        return passes


def _kind_of(record: logging.LogRecord) -> str:
    """Return the rate-limit key: event name and reason, or logger:line for third-party libraries."""
    if isinstance(record.msg, Mapping):
        return f"{record.name} {record.msg.get('event')} {record.msg.get('reason', '')}".rstrip()
    return f"{record.name} {record.module}:{record.lineno}"


class _Handler(logging.StreamHandler[Any]):
    """This service's handler type: a second start in one process replaces it instead of logging twice."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Log that an entry was lost, and nothing of it: logging's own handler would print it unfiltered."""
        lost = {"event": "log_entry_lost", "logger": record.name, "level": "error", "ts": _moment()}
        with suppress(OSError, ValueError):  # the stream is closed: there is no reader any more
            self.stream.write(f"{json.dumps(lost)}\n")


def handler(*, readable: bool = False) -> logging.Handler:
    """Make a handler that writes entries of any logger to standard output, cleaned and formatted."""
    made = _Handler(sys.stdout)
    made.setFormatter(formatter(readable=readable))
    made.addFilter(Flood())
    made.addFilter(RedactArguments())
    return made


def to_standard_error() -> None:
    """Send later entries to standard error: for a command whose standard output is another program's input."""
    for one in logging.root.handlers:
        if isinstance(one, _Handler):
            one.setStream(sys.stderr)


def outlets() -> frozenset[tuple[str, object]]:
    """Return the handlers beside ours, each with its logger's name."""
    loggers = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    return frozenset(
        (logger.name, one)
        for logger in (logging.root, *loggers)
        for one in logger.handlers
        if not isinstance(one, (_Handler, logging.NullHandler))
    )


def configured() -> bool:
    """Return whether the layers' entries still reach our handler."""
    ours = [one for name, one in logging.root.manager.loggerDict.items() if name.startswith("bastion")]
    silent = [one for one in ours if isinstance(one, logging.Logger) and (one.disabled or not one.propagate)]
    return not silent and any(isinstance(one, _Handler) for one in logging.root.handlers)


def configure(level: str, *, readable: bool = False) -> None:
    """Send every logger of the process through the one formatter to standard output."""
    root = logging.getLogger()
    root.handlers[:] = [kept for kept in root.handlers if not isinstance(kept, _Handler)]
    root.addHandler(handler(readable=readable))
    for name in ("alembic", "sqlalchemy", "werkzeug"):
        logging.getLogger(name).handlers.clear()  # Flask-Alembic gives two of them a handler that formats by itself
    logging.getLogger("alembic").setLevel(logging.WARNING)
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
    """Return a logger of this name; log an event's name and fields, never a formatted sentence with values in it."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


_log = get_logger("bastion")


def forget_locals(error: BaseException | None) -> None:
    """Clear the local variables of all finished frames of this error and of its causes; the stack itself stays.

    Libraries hold keys and passwords in local variables, and error collectors would record them.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]


def refused(reason: str, **fields: object) -> None:
    """Log that a protection refused a request; `reason` is its id in the catalogue, which no client receives."""
    _log.warning("refused", reason=reason, **fields)
