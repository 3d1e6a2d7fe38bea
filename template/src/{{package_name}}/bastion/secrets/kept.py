"""Stale-while-error cache of secrets: refresh every five minutes, serve stale for an hour in an outage.

A service that asks at each request fails with its backend. One that asks only once misses the rotation of a stolen key.
One that continues with an empty value signs with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final

from flask import has_app_context

from .. import log
from ..clock import seconds
from .secret import BackendFault, Found, Secret, SecretMissing, SecretUnavailable, same

FRESH: Final = 300.0  # seconds that a value is used before the backend is asked again; ASVS 13.3.4
STALE: Final = 3600.0  # seconds since the backend's last answer that its value still counts; then nothing does
AGAIN: Final = 10.0  # seconds between two reads after a failure, or between two refreshes out of turn
WARN: Final = 60.0  # seconds between two warnings about one name
LEAST: Final = 1.0  # seconds between two questions about what ends soon
GONE: Final = "has it no more"
SLOW: Final = 1.0  # seconds; a question that failed after so long would have failed for every name
PAUSES: Final = (0.2, 0.8)  # seconds before the second and the third attempt of the first question

Fetch = Callable[[str], Found | None]
"""Reads one name, within 5 s: None when there is no such secret. Raises BackendFault. It sets the time limits."""
Why = Callable[[str], str | None]
_log: Final = log.get_logger("bastion.secrets")


@dataclass(slots=True)
class _Kept:
    """The cache entry of one name. A failed read changes only `fault`: the last answer stays."""

    answer: Found | None = None
    answered_at: float = float("-inf")
    last: Found | None = None  # the last answer that was a value, and when it was given
    last_at: float = float("-inf")
    fault: str | None = None
    asked_at: float = float("-inf")
    refreshed_at: float = float("-inf")  # the last refresh out of turn
    pause: float = 0.0
    warned_at: float = float("-inf")

    def is_due(self) -> bool:
        """Return whether it is time to ask the backend."""
        return not _within(seconds() - self.asked_at, self.pause)

    def counts(self) -> bool:
        """Return whether the last answer may still be used."""
        return abs(seconds() - self.answered_at) < STALE

    def is_waited_for(self) -> bool:
        """Return whether readers wait for a read in progress: no usable answer, or a long overdue one and no fault."""
        old = not _within(seconds() - self.asked_at, self.pause + AGAIN)
        return not self.counts() or (old and self.fault is None)


class Secrets:
    """The secrets of one service, by name; `where` names the chosen backend's place in errors.

    `connect` opens a client and returns its fetch function, anew in each process and after a failure. `unusable`
    returns, as the end of a sentence, why an existing secret is not read. `fresh` is in seconds. `on_outage` receives a
    name and the fault, at most once a minute, in the context of an app.
    """

    def __init__(
        self,
        connect: Callable[[], Fetch],
        where: str,
        unusable: Why = lambda _name: None,
        *,
        fresh: float = FRESH,
    ) -> None:
        self.where = where
        self.on_outage: Callable[[str, str], None] = lambda _name, _fault: None
        self.unusable = unusable
        self._connect = connect
        self._fresh = fresh
        self._kept: dict[str, _Kept] = {}
        self._fetch: Fetch | None = None
        self._lock = Lock()
        self._pid = os.getpid()
        self._silent_at = float("-inf")

    def get(self, name: str) -> Secret:
        """Return this secret. Raise SecretMissing if there is none, SecretUnavailable if the backend can't say."""
        return self.found(name).value

    def found(self, name: str) -> Found:
        """Return the secret with the backend's metadata. A secret that was deleted still counts for an hour."""
        kept = self._known(name)
        if (answer := kept.answer) is None and _within(seconds() - kept.last_at, STALE):
            answer = kept.last
        if answer is None and kept.last is not None:
            raise SecretUnavailable(name, self.where, GONE)
        if answer is None:
            why = self.unusable(name)
            raise SecretMissing(name, self.where if why is None else f"{self.where}, where it {why}")
        if _has_ended(answer):
            raise SecretUnavailable(name, self.where, kept.fault or "gave what has ended")
        return answer

    def find(self, name: str) -> Secret | None:
        """Return this secret, or None when it is absent or has ended: for the few that are optional."""
        answer = self._known(name).answer
        return answer.value if answer is not None and not _has_ended(answer) else None

    def refresh(self, name: str, used: Secret | None = None) -> bool:
        """Ask again early, at most once in ten seconds; return whether the value differs from the one before.

        For a caller that meets an unknown key or a refused password, which only a newer value can explain. Only that
        caller waits. With `used`, compare with that value instead. Scheduled reads do not count for the ten seconds:
        the rotation may have come right after one.
        """
        before = self._kept.get(name)
        if before is None or before.fault is not None:  # then it is asked every ten seconds anyway
            return False
        with self._lock:
            kept = self._kept[name]
            if kept.fault is None and not (_within(seconds() - kept.refreshed_at, AGAIN) or self._is_silent()):
                kept = self._kept[name] = self._ask(name, replace(kept, refreshed_at=seconds()))
        known = used if used is not None else before.answer.value if before.answer else None
        return kept.answer is not None and (known is None or not same(kept.answer.value.reveal(), known.reveal()))

    def renew(self) -> None:
        """Refresh every name that is due, so that requests rarely have to, and an outage meets recent answers."""
        for name in [*self._kept]:
            with suppress(SecretUnavailable):
                self._known(name)

    # --- asking ---------------------------------------------------------------------------------------------

    def _known(self, name: str) -> _Kept:
        """Return the entry of a name, refreshed if due. Raise SecretUnavailable when it is too old to count."""
        if self._pid != os.getpid():  # a client's connection belongs to the process that opened it, and so does a lock
            self._pid, self._fetch, self._lock = os.getpid(), None, Lock()
        kept = self._kept.setdefault(name, _Kept())
        if kept.is_due() and not self._is_silent() and self._lock.acquire(blocking=kept.is_waited_for()):
            try:
                kept = self._kept[name]
                if kept.is_due() and not self._is_silent():
                    self._kept[name] = self._ask(name, kept)
            finally:
                self._lock.release()
        kept = self._kept[name]
        if kept.fault is not None or (kept.answer is None and kept.last is not None):
            self._warn(name, kept)
        if not kept.counts():
            raise SecretUnavailable(name, self.where, kept.fault or "does not answer")
        return kept

    def _is_silent(self) -> bool:
        """True for 10 s after a read of any name timed out; no read is made in that time."""
        return _within(seconds() - self._silent_at, AGAIN)

    def _ask(self, name: str, kept: _Kept) -> _Kept:
        """Read the name from the backend and return the new entry."""
        began = time.monotonic()
        try:
            answer = self._attempt(name, first=kept.fault is None and kept.answered_at == float("-inf"))
        except BackendFault as error:
            if time.monotonic() - began > SLOW:
                self._silent_at = seconds()
            return replace(kept, fault=error.fault, asked_at=seconds(), pause=AGAIN)
        moment = seconds()
        kept = replace(kept, answer=answer, answered_at=moment, fault=None, asked_at=moment, pause=self._fresh)
        if answer is None:
            return kept
        log.hide(answer.value.reveal().strip())
        if answer.ends_at is not None:  # a third of a lease's remaining time is enough to get another one
            kept = replace(kept, pause=min(self._fresh, max((answer.ends_at - moment) / 3, LEAST)))
        return replace(kept, last=answer, last_at=moment, warned_at=float("-inf"))

    def _attempt(self, name: str, *, first: bool) -> Found | None:
        """Make three attempts at the first read, so that a start survives a short outage; one at each later read."""
        for pause in (*(PAUSES if first else ()), None):
            try:
                if self._fetch is None:
                    self._fetch = self._connect()
                answer = self._fetch(name)
                return answer if answer is not None and answer.value.reveal().strip() else None
            except BackendFault:
                self._fetch = None
                if pause is None:
                    raise
                time.sleep(pause)
        return None

    def _warn(self, name: str, kept: _Kept) -> None:
        moment = seconds()
        if _within(moment - kept.warned_at, WARN):
            return
        kept.warned_at = moment
        fault = kept.fault or GONE
        _log.warning("secret_backend_unavailable", name=name, fault=fault)
        if has_app_context():
            self.on_outage(name, fault)


def _has_ended(answer: Found) -> bool:
    return answer.ends_at is not None and seconds() >= answer.ends_at


def _within(passed: float, limit: float) -> bool:
    """Return whether less than `limit` seconds have passed; a clock that was set back counts as the end."""
    return 0 <= passed < limit
