"""What an extension takes that sends errors to a tracker: each error, with the local variables of its stack.

It stops proofs from looking at a log alone, which shows less than what such an extension gets.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


class Collector:
    """Takes what an extension that sends errors to a tracker takes: each error with its local variables."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def take(self, error: BaseException | None) -> None:
        if error is not None:
            dump = traceback.TracebackException.from_exception(error, capture_locals=True)
            # The proofs' own functions know all secrets.
            dump.stack[:] = [frame for frame in dump.stack if not Path(frame.filename).is_relative_to(HERE)]
            self.texts.append("".join(dump.format()))

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Within the block it listens at Flask's signal and, as such extensions do, at every logger."""
    from flask import got_request_exception

    collector, calls = Collector(), logging.Logger.callHandlers

    def hear(_app: object, exception: BaseException, **_more: object) -> None:
        collector.take(exception)

    def call(self: logging.Logger, record: logging.LogRecord) -> None:
        if record.exc_info:
            collector.take(record.exc_info[1])
        event = record.msg if isinstance(record.msg, dict) else {}
        if isinstance(event.get("exc_info"), BaseException):
            collector.take(event["exc_info"])
        calls(self, record)

    setattr(logging.Logger, "callHandlers", call)  # noqa: B010  no type checker follows an extension that does this
    try:
        with got_request_exception.connected_to(hear):
            yield collector
    finally:
        setattr(logging.Logger, "callHandlers", calls)  # noqa: B010
