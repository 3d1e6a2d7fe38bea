"""Years of updates: the rates of many services with all answers, whose teams do what teams do.

    uv run python benchmarks/years.py [--services N] [--record FILE] [--check]

Each service is rendered at v1.0.0 and updated by Copier's command, as Renovate runs it, until the last of seven
versions (see tests/lifecycle/). Tables in Markdown come out, for docs/updates.md. Sixty services take a quarter of an
hour of CPU; with `--record` each service that is through is kept in a file, and a later run goes on from there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "hooks")]

from lifecycle.rates import Rates  # noqa: E402 - found by the line above
from lifecycle.simulation import Step, simulate  # noqa: E402
from lifecycle.teams import population  # noqa: E402
from lifecycle.years import Years  # noqa: E402
from support import done, run  # noqa: E402

ONE = TypeAdapter(Step)


def recorded(file: Path | None) -> list[Step]:
    """The steps that an earlier run kept; [] if there was none."""
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    return [ONE.validate_json(line) for line in lines]


def steps(count: int, record: Path | None) -> Iterator[Step]:
    """Every step of that many services, those of the record first."""
    known = recorded(record)
    teams = population(count)
    yield from (step for step in known if step.service in {team.name for team in teams})
    left = [team for team in teams if team.name not in {step.service for step in known}]
    with tempfile.TemporaryDirectory() as folder:
        years = Years.make(Path(folder) / "template", lean=True)
        for number, team in enumerate(left, start=1):
            print(f"\r{number} of {len(left)}: {team.name:40}", end="", file=sys.stderr, flush=True)
            found = list(simulate(years, [team], Path(folder) / "services"))
            if record:
                with record.open("a", encoding="utf-8") as file:
                    file.writelines(f"{ONE.dump_json(step).decode()}\n" for step in found)
            yield from found
    print(file=sys.stderr)


def told(everything: list[Step]) -> Iterator[str]:
    """What docs/updates.md says, line by line."""
    git = done(run("git", "--version")).split()[2]
    yield f"Measured on {datetime.now(UTC):%Y-%m-%d} with Copier {version('copier')} and git {git}."
    yield ""
    rates = Rates(everything)
    yield from rates.table()
    yield ""
    rate = rates.of()
    yield f"Without a conflict if an eighth of the updates were by teams that don't: {100 * rates.blended():.1f} %."
    yield f"CPU seconds of one `copier update`, the median: {rate.cpu:.1f}."
    yield f"Conflicts that `check` does not name: {rate.untold_conflicts}. Updates that Copier refused: {rate.refused}."
    yield f"Looks at services that respect what is whose that found anything: {rates.of(respects=True).alarms}."
    yield f"Files that `flask-bastion update` writes otherwise than Copier: {rate.differing}."
    yield f"Updates that it makes from the code, not from the answers file: {rate.corrected}."
    yield f"Updates in which it finds a conflict: {rate.updates - rate.merged}; Copier: {rate.conflicts}."
    yield f"Updates that it stops for a fix that would not be there: {rate.stopped}."
    yield f"Fixes that are there after its `--restore`, of those that were lost: {rate.healed} of {rate.lost}."
    yield ""
    yield "| where there was a conflict | Copier | `flask-bastion update` |"
    yield "|---|---:|---:|"
    left = Counter(file for step in everything for file in step.conflicts)
    found = Counter(file for step in everything for file in step.ours.refuses)
    for file, _ in (left + found).most_common():
        yield f"| `{file}` | {left[file]} | {found[file]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=60)
    parser.add_argument("--record", type=Path, help="keep what is through in this file, and go on from there")
    parser.add_argument("--check", action="store_true", help="a promise that did not come true is an error")
    options = parser.parse_args()
    everything = list(steps(options.services, options.record))
    print("\n".join(told(everything)))
    if options.check and (missed := Rates(everything).missed()):
        sys.exit("\n".join(missed))


if __name__ == "__main__":
    main()
