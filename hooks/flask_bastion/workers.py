"""Look at many folders in a few processes: one that crashes, hangs or takes all memory loses only its own result.

A repository may hold what kills a parser. A process has one folder at a time, so it is known whose fault its end was;
it is replaced, and the folder's result says what happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, cast

SECONDS: Final = 60.0
"""By the clock, for one folder: it takes some hundredths of a second, and a busy machine makes that longer."""
LARGEST_ANSWER: Final = 1024 * 1024
"""Bytes; a row has some thousands."""
_START: Final = "import sys; sys.path.insert(0, sys.argv[1]); from flask_bastion.scan import serve; serve()"
Answer = dict[str, Any]


class WorkerError(Exception):
    """The processes don't start, whatever they are to look at. The text says what to do."""


def answers(
    question: Mapping[str, Any], tasks: Iterable[tuple[str, str]], jobs: int, *, seconds: float = SECONDS
) -> Iterator[tuple[str, Answer | str]]:
    """For each (path, key) that path with the answer, or with what went wrong, as they come. Raises WorkerError."""
    waiting = deque(tasks)
    running: list[_Worker] = []
    with selectors.DefaultSelector() as selector, tempfile.TemporaryDirectory(prefix="flask-bastion-") as scratch:
        try:
            while waiting or any(worker.path for worker in running):
                while len(running) < min(jobs, len(waiting) + sum(worker.path != "" for worker in running)):
                    worker = _Worker(question, seconds, scratch)
                    running.append(worker)
                    selector.register(worker.out, selectors.EVENT_READ, worker)
                for worker in running:
                    if waiting and worker.ready and not worker.path:
                        worker.give(*waiting.popleft(), seconds)
                ends = min(worker.ends for worker in running)
                heard = {key.data for key, _ in selector.select(max(0.0, ends - time.monotonic()))}
                for worker in tuple(running):
                    path, answer = worker.path, worker.hear() if worker in heard else None
                    if answer is None and time.monotonic() > worker.ends:
                        answer = f"Looking at it took longer than {seconds:.0f} seconds."
                    if answer is None:
                        continue
                    if not worker.ready:
                        raise WorkerError(f"{sys.executable} does not start to look at repositories. {answer}")
                    if isinstance(answer, str) or answer["last"]:
                        running.remove(worker)
                        selector.unregister(worker.out)
                        worker.end()
                    if path:
                        yield path, answer
        finally:
            for worker in running:  # all, before waiting for one: the user may press Ctrl-C again
                worker.kill()
            for worker in running:
                worker.end()


class _Worker:
    """One process, and the path that it looks at ("" if it waits for one)."""

    def __init__(self, question: Mapping[str, Any], seconds: float, scratch: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-I", "-c", _START, str(Path(__file__).resolve().parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "TMPDIR": scratch},  # it is killed in the end, and leaves nothing that way
            start_new_session=True,  # Ctrl-C is for us
        )
        self._heard = b""
        self._in, self.out = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)  # pipes
        self.ready = False
        self.path = ""
        self.ends = time.monotonic() + seconds
        self._say(question)

    def give(self, path: str, key: str, seconds: float) -> None:
        """Have it look at a path, for at most so many seconds."""
        self.path, self.ends = path, time.monotonic() + seconds
        self._say({"path": path, "key": key})

    def hear(self) -> Answer | str | None:
        """What it answers, or why it never will; None if it is still at it."""
        heard = os.read(self.out.fileno(), 65536)
        self._heard += heard
        if not heard:
            return f"Looking at it ended the process (status {self._process.wait()})."
        if len(self._heard) > LARGEST_ANSWER:
            return "Looking at it found too much to report."
        if not self._heard.endswith(b"\n"):
            return None
        line, self._heard, self.ends = self._heard, b"", float("inf")
        if not self.ready:
            self.ready = True
            return None
        self.path = ""
        answer: Answer = json.loads(line)
        return answer

    def kill(self) -> None:
        """Send its end to it, whatever it is at."""
        self._process.kill()

    def end(self) -> None:
        """The same, and wait until it is gone."""
        self.kill()
        self._process.communicate()

    def _say(self, what: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended, which is heard
            self._in.write(json.dumps(what).encode() + b"\n")
            self._in.flush()
