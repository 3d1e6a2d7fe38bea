# mypy: ignore-errors
# It is checked where it runs: its neighbours are those of a rendered service.
"""Two running servers of a service, people who go on using it, and what may fail behind it: for what needs a load.

It stops an exchange or an outage from being seen by one process, between two requests, and nowhere else. It runs in a
service, into which test_rotation_under_load.py copies it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import count
from threading import Condition, Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Self

from . import environment
from .harness import HarnessError
from .service import AUTH, DATABASE, PACKAGE, SECRETS
from .wire import Response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .real_server import RealServer
    from .running import Service
    from .service import Client

PEOPLE = 8
PACE = 1.2  # seconds of the service's time from one round of a person to the next: a session has 120 requests a minute
STEP = 30.0  # seconds that the clock goes forward at once, so that nobody misses the moment to ask for his next token
ENDS_SOON = 480.0  # seconds that an access token, of ten minutes, has left when the next one is asked for
WITHIN = 30.0  # seconds for what should take less than one
LOST = 0  # in the place of a status: no answer, or half of one
# The clock of a server is the one of the proof, which a file moves. `{more}` is what else can only be set there.
FIRST = """
from datetime import UTC, datetime, timedelta
from {package}.bastion import clock
def source():
    with open({file!r}) as file:
        return datetime.now(UTC) + timedelta(seconds=float(file.read()))
clock._source = source
{more}
"""


def settle(service: Service) -> None:
    """One place of the secrets for this process and its servers; otherwise each start would have one of its own."""
    found = service.environment.variables()
    place = {name: value for name, value in found.items() if name not in environment.SECRET_NAMES}
    service.environment.settings.update(place)
    environment.replace(service.environment.variables())


class Servers:
    """Two servers whose clocks are the service's; whoever asks gets the one and the other in turn."""

    def __init__(self, service: Service, folder: Path, *, more: str = "", **changes: str) -> None:
        self.service, self._file = service, folder / "seconds"
        self._away, self._changes, self._turn = 0.0, changes, count()
        self._first = FIRST.format(package=PACKAGE, file=str(self._file), more=more)
        self._lock, self._busy = Lock(), Counter[int]()
        self.travel(0)
        self.running = [self._start() for _ in range(2)]

    def _start(self) -> RealServer:
        return self.service.real_server(first=self._first, **self._changes)

    def travel(self, seconds: float) -> None:
        """Move the clock of all at once."""
        self._away += seconds
        new = self._file.with_suffix(".new")
        new.write_text(str(self._away), "utf-8")
        new.rename(self._file)
        self.service.travel(seconds=seconds)

    def restart_in_turn(self, **changes: str) -> None:
        """As platforms do it: another one answers before one gets no more requests, ends what it has, and stops."""
        self._changes |= changes
        for number, former in enumerate([*self.running]):
            made = self._start()
            with self._lock:
                self.running[number] = made
            within(lambda former=former: self._busy[former.port] == 0, "its requests are answered")
            os.kill(former.process.pid, signal.SIGTERM)
            assert former.process.wait(timeout=25) == 0

    def serve(self, client: Client, told: Counter[int] | None = None) -> Client:
        """From here on this client's requests go to them, and each status is `told`."""

        def exchange(method: str, path: str, headers: dict[str, str], body: bytes, *_more: Any) -> Response:
            return self._exchange(client, told, method, path, headers, body)

        client._exchange = exchange
        return client

    def _exchange(
        self, client: Client, told: Counter[int] | None, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Response:
        more = {"X-Forwarded-For": client.address, "X-Forwarded-Proto": "https", "Connection": "close"}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**headers, **more}.items())]
        answered = b""
        with self._one() as server, suppress(OSError):
            answered = self.service.raw(server, "\r\n".join((*lines, "", "")).encode() + body, seconds=WITHIN)
        answer = parsed(answered)
        if told is not None:
            told[answer.status] += 1
        client._keep_cookies(answer, "https")
        return answer

    @contextmanager
    def _one(self) -> Iterator[RealServer]:
        with self._lock:
            server = self.running[next(self._turn) % len(self.running)]
            self._busy[server.port] += 1
        try:
            yield server
        finally:
            with self._lock:
                self._busy[server.port] -= 1


def parsed(answered: bytes) -> Response:
    """An answer as it came; one that is not whole has the status LOST."""
    head, end, rest = answered.partition(b"\r\n\r\n")
    status, *named = head.decode("latin-1").split("\r\n")
    if not end or not status.startswith("HTTP/1.1 "):
        return Response(LOST, "", [], b"")
    pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in named)]
    answer = Response(int(status.split(" ")[1]), "", pairs, rest)
    whole = len(rest) == int(answer.header("Content-Length") or len(rest))
    return answer if whole else Response(LOST, "", [], b"")


class Person:
    """Somebody with an account, who changes his name and looks at it, and knows what he has to see."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        servers = crowd.servers
        self.told = Counter[int]()
        self.email = f"person-{number}@example.com"
        user = servers.service.user(self.email)
        self.client = servers.serve(servers.service.client(user, f"203.0.113.{number + 1}"), self.told).login()
        self.names = {""}
        """Those that he may have: the last one that the service said it has kept, and later ones of unknown fate."""
        self.kept: list[str] = []
        self.wrong: list[str] = []
        self.signed_out = 0
        self.slowest = 0.0
        self.refused_at = 0.0
        """When he was last told to come back, by the clock of this machine."""
        self.began = 0.0
        self.done = float("-inf")
        """When his last whole round began, by the service's clock."""
        self._numbers = count(1)

    def round(self) -> None:
        """Change the name, and look at the account."""
        self.began = self.client.service.now().timestamp()
        if self._has_a_token():
            name = f"{self.email.partition('@')[0]} number {next(self._numbers)}"
            self.names.add(name)
            answer = self._ask(self.client.rename, name)
            if answer is not None and answer.status == self.client.DONE["rename"]:
                self.names = {name}
                self.kept.append(name)
            answer = self._ask(self.client.account)
            if answer is not None and answer.status == 200:
                self._look(answer.text)
        self.done = self.began

    def _ask(self, call: Any, *arguments: str) -> Response | None:
        since = time.monotonic()
        try:
            answer = call(*arguments)
        except HarnessError:  # no page with a form could be opened
            answer = None
        moment = time.monotonic()
        self.slowest = max(self.slowest, moment - since)
        if answer is None or answer.status == 503:
            self.refused_at = moment
        if answer is None:
            return None
        away = "/login" in (answer.location or "") or answer.status == 401
        self.signed_out += away
        return answer

    def _look(self, text: str) -> None:
        names, people = ({*re.findall(rf"person-\d+{after}", text)} for after in (r" number \d+", "(?=@)"))
        if not names <= self.names or people != {self.email.partition("@")[0]}:
            self.wrong.append(f"{self.email} saw {sorted(names | people)} in the place of {sorted(self.names)}")

    def _has_a_token(self) -> bool:
        """Whether he is signed in, as far as he knows. A program asks for its next token before this one ends."""
        if AUTH != "jwt":
            return True
        from .jwt.forging import claims_of

        left = claims_of(self.client.token)["exp"] - self.began
        if left < ENDS_SOON:
            answer = self._ask(self.client.post, "/auth/refresh", {"refresh_token": self.client.refresh_token})
            if answer is not None and answer.status == 200:
                self.client.token, self.client.refresh_token = answer.json["access_token"], answer.json["refresh_token"]
                return True
        return left > 60


class Crowd:
    """People who go on using the service until the end of the block, each from an address of his own."""

    def __init__(self, servers: Servers, people: int = PEOPLE) -> None:
        self.servers = servers
        self.people = [Person(self, number) for number in range(people)]
        self._over, self._gate = Event(), Condition()
        self._closed, self._inside = False, 0
        self._failed: list[BaseException] = []

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        self._threads = [Thread(target=self._live, args=(person,), daemon=True) for person in self.people]
        for thread in self._threads:
            thread.start()
        self.goes_round()
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.goes_round()
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=2 * WITHIN)
        self.seconds = time.monotonic() - self._since

    def _live(self, person: Person) -> None:
        try:
            while not self._over.is_set():
                if self._now() - person.began < PACE:
                    self._over.wait(0.02)
                    continue
                with self._gate:
                    self._gate.wait_for(lambda: not self._closed or self._over.is_set())
                    self._inside += 1
                try:
                    person.round()
                finally:
                    with self._gate:
                        self._inside -= 1
                        self._gate.notify_all()
        except BaseException as error:
            self._failed.append(error)

    def _now(self) -> float:
        return self.servers.service.now().timestamp()

    def goes_round(self) -> None:
        """Wait until everybody has done all that he does, and has begun with it after this moment."""
        moment = self._now()
        within(lambda: self._failed or all(one.done >= moment for one in self.people), "everybody has been there")
        if self._failed:
            raise self._failed[0]

    def goes_on(self, seconds: float) -> None:
        """Let so much time pass, of everybody's clock."""
        time.sleep(seconds)
        self.goes_round()

    def travels(self, seconds: float, step: float = STEP) -> None:
        """Move the clock step by step; everybody uses the service after each."""
        while seconds > 0:
            self.servers.travel(min(step, seconds))
            seconds -= step
            self.goes_round()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block nobody is on the way; then all come at once."""
        with self._gate:
            self._closed = True
            assert self._gate.wait_for(lambda: self._inside == 0, timeout=WITHIN)
        try:
            yield
        finally:
            with self._gate:
                self._closed = False
                self._gate.notify_all()

    @property
    def told(self) -> Counter[int]:
        """How often each status was given."""
        return sum((one.told.copy() for one in self.people), Counter[int]())  # others go on counting

    def since(self, before: Counter[int]) -> set[int]:
        """The statuses that were given since these were."""
        return {*(self.told - before)}

    def check(self, *allowed: int) -> None:
        """Nobody was signed out, saw another's account or lost what was kept; no status but these and success."""
        if self._failed:
            raise self._failed[0]
        assert [text for one in self.people for text in one.wrong] == []
        assert {one.email: one.signed_out for one in self.people if one.signed_out} == {}
        assert {*self.told} <= {200, self.people[0].client.DONE["rename"], *allowed}, self.told
        rows = "SELECT email, display_name FROM auth_user WHERE email LIKE 'person-%'"
        named = dict(map(tuple, self.people[0].client.service.rows(rows)))
        assert {one.email: named[one.email] for one in self.people if named[one.email] not in one.names} == {}

    def figures(self) -> str:
        """How much they did, for a table."""
        told, slowest = self.told, max(one.slowest for one in self.people)
        bad = {status: number for status, number in sorted(told.items()) if status not in (200, 303)}
        out = sum(one.signed_out for one in self.people)
        return (
            f"{told.total()} requests in {self.seconds:.0f} s, others than 200 and 303: {bad or 0}, "
            f"signed out: {out}, slowest {slowest:.2f} s"
        )


def tell(kind: str, text: str) -> None:
    """A line that test_rotation_under_load.py shows."""
    print(f"\nFIGURE {kind}: {AUTH}-{DATABASE}-{SECRETS}: {text}", flush=True)


def within(condition: Any, what: str, seconds: float = WITHIN) -> None:
    """Wait for it, and fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s it is not so that {what}"
        time.sleep(0.01)


class Relay:
    """Stands before a server on this machine, and passes everything on until it is told otherwise."""

    def __init__(self, port: int) -> None:
        self._upstream, self._hangs, self._open = port, False, set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._listen()

    def _listen(self) -> None:
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """From now on nobody listens here, as after the end of a process."""
        self._listener.shutdown(socket.SHUT_RDWR)  # whoever waits in accept() is woken
        self._listener.close()
        self._cut()

    def hang(self) -> None:
        """From now on whoever connects gets no answer."""
        self._hangs = True
        self._cut()

    def pass_on(self) -> None:
        """As in the beginning."""
        self._cut()
        self._hangs = False
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listen()

    def _cut(self) -> None:
        for one in [*self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._open.add(client)
                if not self._hangs:
                    Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._upstream)) as server:
            self._open.add(server)
            back = Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()
            self._open.discard(server)
        self._open.discard(client)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def relays(variables: dict[str, str]) -> tuple[list[Relay], dict[str, str]]:
    """A relay before each port of this machine that these variables name, and the variables that lead to them."""
    made: dict[str, Relay] = {}

    def led(found: re.Match[str]) -> str:
        if found[1] not in made:
            made[found[1]] = Relay(int(found[1]))
        return f"//127.0.0.1:{made[found[1]].port}"

    changed = {name: re.sub(r"//127\.0\.0\.1:(\d+)", led, value) for name, value in variables.items()}
    return [*made.values()], {name: value for name, value in changed.items() if value != variables[name]}
