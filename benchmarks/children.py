"""The driver's side of a child process: start it, ask for a block, read its CPU time, and interleave several."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol, Self

import psutil  # type: ignore[import-untyped]

from peers import AGENT, HOST
from serve import REFUSED, Caller, peer

HERE = Path(__file__).parent
CONNECTIONS = 4
PATIENCE = 60.0  # seconds until a child that doesn't answer counts as broken


class Place:
    """Where one peer runs: its folder and its whole environment, in which nothing of the driver's own is inherited."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name, self.folder = name, folder
        folder.mkdir(parents=True, exist_ok=True)
        paths = [str(HERE), *filter(None, [environment.get("PYTHONPATH")])]
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "BENCHMARK_PEER": name,
            **environment,
            "PYTHONPATH": os.pathsep.join(paths),
        }

    @property
    def log(self) -> Path:
        return self.folder / "stderr.log"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(HERE / "serve.py"), *arguments]

    def run(self, *arguments: str) -> str:
        """Run one task to its end; RuntimeError with the end of its log if it fails."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                self.command(*arguments), cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=log,
                stdin=subprocess.DEVNULL, check=False, timeout=5 * PATIENCE,
            )  # fmt: skip
        if done.returncode:
            raise self.broken(" ".join(arguments))
        return done.stdout.decode()

    def broken(self, what: str) -> RuntimeError:
        return RuntimeError(f"{what} failed:\n{self.log.read_text('utf-8', 'replace')[-3000:]}")


class Child(Protocol):
    name: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def block(self, count: int) -> float:
        """CPU microseconds a request, over `count` requests."""


class InProcess:
    """The peer's WSGI app called in its own process, without a server."""

    def __init__(self, place: Place) -> None:
        self.name, self.place = place.name, place

    def __enter__(self) -> Self:
        with self.place.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.place.command("serve", self.name), cwd=self.place.folder, env=self.place.environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        if self._line() != "ready":
            raise self.place.broken(self.name)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        end(self.process)

    def _line(self) -> str:
        return self.process.stdout.readline().strip() if self.process.stdout else ""

    def block(self, count: int) -> float:
        if self.process.stdin:
            print(count, file=self.process.stdin, flush=True)
        line = self._line()
        if not line:
            raise self.place.broken(self.name)
        return int(line) / count / 1000


class Server:
    """The peer under gunicorn, 1 worker and 4 threads, on loopback; the worker's CPU is read from outside."""

    def __init__(self, place: Place) -> None:
        self.name, self.place = place.name, place
        self.path = peer(place.name).PATH

    def __enter__(self) -> Self:
        rows = [Caller(*row) for row in json.loads((self.place.folder / "callers.json").read_text("utf-8"))]
        self.callers: Iterator[Caller] = cycle(rows)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        options = [f"--bind=127.0.0.1:{self.port}", "--workers=1", f"--threads={CONNECTIONS}", "--no-control-socket"]
        with self.place.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--worker-class=gthread", *options, "serve:application"],
                cwd=self.place.folder, env=self.place.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.worker = self._worker()
        status, body = self._get(http.client.HTTPConnection("127.0.0.1", self.port), rows[0]._replace(headers={}))
        if status not in REFUSED or b"@" in body:
            raise RuntimeError(f"{self.name} answers an anonymous visitor with {status}")
        self.block(100)
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)

    def _worker(self) -> int:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            workers = psutil.Process(self.process.pid).children()
            with socket.socket() as probe:
                if workers and probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return int(workers[0].pid)
            time.sleep(0.1)
        end(self.process)
        raise self.place.broken(self.name)

    def _get(self, connection: http.client.HTTPConnection, caller: Caller) -> tuple[int, bytes]:
        # The driver plays the proxy that ends TLS in front of a service: it names the client and the scheme.
        forwarded = {"X-Forwarded-For": caller.address, "X-Forwarded-Proto": "https", "X-Forwarded-Host": HOST}
        connection.request("GET", self.path, headers={"Host": HOST, "User-Agent": AGENT, **forwarded, **caller.headers})
        response = connection.getresponse()
        return response.status, response.read()

    def _several(self, share: list[Caller]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        for caller in share:
            status, body = self._get(connection, caller)
            if status != 200 or caller.email.encode() not in body:
                raise RuntimeError(f"{self.name}: a wrong answer: {status} {body[:300]!r}")
        connection.close()

    def block(self, count: int) -> float:
        chosen = list(islice(self.callers, count))
        begin = cpu_ns(self.worker)
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(self._several, [chosen[part::CONNECTIONS] for part in range(CONNECTIONS)]))
        return (cpu_ns(self.worker) - begin) / count / 1000


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Ask this one process to end, and insist after 10 s."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_ns(pid: int) -> int:
    """CPU time of another process so far, all threads; on Linux from its CPU clock (clock_getcpuclockid(3)), since
    the times in /proc count in steps of 10 ms."""
    if sys.platform == "linux":
        return time.clock_gettime_ns((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return int((times.user + times.system) * 1e9)


def interleave(children: list[Child], rounds: int, count: int, seconds: float) -> dict[str, list[float]]:
    """A B C, A B C, ...: what each child took in each round, in microseconds a request.

    Ends early when `seconds` are over, but not before the fifth round: neighbours on the machine then touch every
    child alike, which is why only ratios within a round mean anything.
    """
    taken: dict[str, list[float]] = {child.name: [] for child in children}
    until = time.monotonic() + seconds
    with ExitStack() as stack:
        for child in children:
            stack.enter_context(child)
        for number in range(rounds):
            if number >= 5 and time.monotonic() > until:
                break
            for child in children:
                taken[child.name].append(child.block(count))
    return taken
