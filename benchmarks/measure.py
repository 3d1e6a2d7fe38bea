"""Which peers are compared with what, the budgets (DESIGN 6), and the tables."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import rendering
from children import Child, InProcess, Place, Server, interleave
from ours import Service, database_environment
from postgres import Postgres, postgres

UNIT = "bare_flask"
PAGE = (UNIT, "flask_login_tutorial", "flask_security_quickstart", "ours_session")
CALL = (UNIT, "flask_jwt_extended_quickstart", "ours_jwt")
REQUESTS_OF_ONE = 40  # of one person in a whole run: far below every ceiling, so nothing has to be switched off
SHOWN = ("flask", "sqlalchemy", "flask-sqlalchemy", "flask-login", "flask-security", "flask-jwt-extended", "copier")


class Comparison(NamedTuple):
    """Ours against one peer: a ratio for each round, and the budget of their median if there is one."""

    what: str
    against: str
    ratios: list[float]
    budget: float | None

    def row(self) -> str:
        middle = median(self.ratios)
        budget = "-" if self.budget is None else f"≤ {self.budget:.2f}"
        verdict = "" if self.budget is None else "met" if middle <= self.budget else "**missed**"
        span = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return f"| {self.what} | {self.against} | **{middle:.2f}** | {span} | {budget} | {verdict} |"


class Figure(NamedTuple):
    """What one peer took: each round's figure, its unit, and each round's relation to bare Flask."""

    what: str
    peer: str
    taken: list[float]
    unit: str
    relative: list[float]

    def row(self) -> str:
        middle = f"{median(self.taken):,.2f} s" if self.unit == "s" else f"{median(self.taken):,.0f} {self.unit}"
        relation = f"{median(self.relative):.2f}" if self.relative else "-"
        return f"| {self.what} | {self.peer} | {middle} | {relation} |"


class Results:
    def __init__(self) -> None:
        self.comparisons: list[Comparison] = []
        self.figures: list[Figure] = []

    def add(
        self, what: str, taken: dict[str, list[float]], ours: str, budgets: Mapping[str, float | None], unit: str
    ) -> None:
        bare = taken.get(UNIT)
        for name, values in taken.items():
            relative = [value / base for value, base in zip(values, bare, strict=True)] if bare else []
            if (what, title(name)) not in {(figure.what, figure.peer) for figure in self.figures}:
                self.figures.append(Figure(what, title(name), values, unit, relative))
        for name, budget in budgets.items():
            ratios = [mine / theirs for mine, theirs in zip(taken[ours], taken[name], strict=True)]
            self.comparisons.append(Comparison(what, title(name), ratios, budget))

    def missed(self) -> bool:
        return any(c.budget is not None and median(c.ratios) > c.budget for c in self.comparisons)

    def tables(self) -> Iterable[str]:
        yield "| ours | against | CPU, ratio | min to max | budget | |"
        yield "|---|---|---|---|---|---|"
        yield from (comparison.row() for comparison in self.comparisons)
        yield ""
        yield "| what | who | CPU | bare Flask = 1 |"
        yield "|---|---|---|---|"
        yield from (figure.row() for figure in self.figures)


def title(name: str) -> str:
    known = {
        UNIT: "bare Flask, one ORM query, no login",
        "flask_login_tutorial": "Flask-Login, the tutorial's way",
        "flask_security_quickstart": "Flask-Security, quick start",
        "flask_jwt_extended_quickstart": "Flask-JWT-Extended, user loaded",
        "ours_session": "ours, session",
        "ours_jwt": "ours, jwt",
        "verbatim": "Copier, as many verbatim files",
        "ours": "ours",
    }
    return known[name]


class Bench:
    """One run: its scratch folder, its template as a repository, and its database server if it has one."""

    def __init__(self, chosen: argparse.Namespace, scratch: Path, server: Postgres | None) -> None:
        self.chosen, self.scratch, self.server = chosen, scratch, server
        (scratch / "template").mkdir()
        self.template = rendering.this_template(scratch / "template")
        self._places: dict[str, Place] = {}

    def place(self, name: str) -> Place:
        """The folder and environment of a peer, made, migrated and with its people signed in at the first call."""
        if name in self._places:
            return self._places[name]
        folder = self.scratch / name
        environment = database_environment(name, folder, self.server, ours=name.startswith("ours_"))
        if name.startswith("ours_"):
            service = Service(self.template, folder / "service", name.removeprefix("ours_"), self.chosen.database)
            environment |= service.environment(behind_proxy=self.chosen.server)
        place = self._places[name] = Place(name, folder, environment)
        place.run("prepare", name, str(self.people()))
        return place

    def people(self) -> int:
        total = int(self.chosen.rounds * self.chosen.requests) + 200
        return max(100, total // REQUESTS_OF_ONE)

    def requests(self, names: Iterable[str]) -> dict[str, list[float]]:
        make: Callable[[Place], Child] = Server if self.chosen.server else InProcess
        children = [make(self.place(name)) for name in names]
        return interleave(children, self.chosen.rounds, self.chosen.requests, self.chosen.seconds)

    def boots(self, names: Iterable[str]) -> dict[str, list[float]]:
        places = [self.place(name) for name in names]
        taken: dict[str, list[float]] = {place.name: [] for place in places}
        for _ in range(self.chosen.starts):
            for place in places:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                place.run("boot", place.name)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                taken[place.name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return taken


def measure(chosen: argparse.Namespace) -> int:
    """Run what was asked for and print it; 1 if a budget was missed and that is to be an error."""
    results, postgresql = Results(), chosen.database == "postgresql"
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        scratch.chmod(0o755)
        server = stack.enter_context(postgres(scratch / "postgresql")) if postgresql else None
        bench = Bench(chosen, scratch, server)
        if chosen.profile:
            name = {"page": "ours_session", "call": "ours_jwt"}[chosen.profile]
            print(bench.place(name).run("profile", name, str(chosen.requests * 5)))
            return 0
        if "rendering" in chosen.only:
            say("rendering")
            count, taken = rendering.measure(scratch, bench.template, chosen.starts)
            results.add(f"rendering {count} files", taken, "ours", {"verbatim": 1.2}, "s")
        if "page" in chosen.only:
            say("a protected page")
            budgets = {"flask_login_tutorial": 0.7 if postgresql else 0.6, "flask_security_quickstart": None}
            results.add("protected page", bench.requests(PAGE), "ours_session", budgets, "µs")
        if "call" in chosen.only:
            say("a protected call")
            budgets = {"flask_jwt_extended_quickstart": 0.9 if postgresql else 0.8}
            results.add("protected JSON call", bench.requests(CALL), "ours_jwt", budgets, "µs")
        if "boot" in chosen.only:
            say("import and boot")
            taken = bench.boots(dict.fromkeys((*PAGE, *CALL)))
            for ours, peers in (("ours_session", PAGE[1:3]), ("ours_jwt", CALL[1:2])):
                part = {name: taken[name] for name in (UNIT, *peers, ours)}
                results.add("import and boot", part, ours, dict.fromkeys(peers), "s")
    print("\n".join(results.tables()))
    print(f"\n{conditions(chosen)}")
    return 1 if chosen.check and results.missed() else 0


def say(what: str) -> None:
    print(f"measuring {what} ...", file=sys.stderr)


def conditions(chosen: argparse.Namespace) -> str:
    mode = "gunicorn, 1 worker, 4 threads" if chosen.server else "in process"
    versions = ", ".join(f"{name} {version(name)}" for name in SHOWN)
    return (
        f"{mode}, {chosen.database}, up to {chosen.rounds} rounds of {chosen.requests} requests, {chosen.starts} starts"
        f" and renderings; Python {platform.python_version()}, {platform.system()} {platform.machine()},"
        f" {os.cpu_count()} cores; {versions}."
    )
