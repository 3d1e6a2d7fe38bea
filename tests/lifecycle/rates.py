"""What came of the years of many services, counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from .simulation import Step

CARELESS: Final = 1 / 8
"""The share of updates by teams that do what they may not, for which 95 % without a conflict are promised.

It is that of the lab which the promise comes from; in the simulation they are a quarter, so that much goes wrong.
"""


@dataclass(frozen=True)
class Rate:
    """The counts of some services. A fix is promised once to a service: by the first version that has it."""

    services: int
    updates: int  # that Copier was asked for
    clean: int  # of those: done, without a conflict
    conflicts: int  # updates with one
    untold_conflicts: int  # conflicts that `check` does not name
    refused: int  # by Copier
    promised: int
    present: int
    told: int  # not present, and `check` says so with the advisory
    silent: int  # not present, and `check` says nothing of it
    alarms: int  # looks at a service, after an update, that found something
    differing: int  # files that `flask-bastion update` writes otherwise than Copier
    merged: int  # updates that it makes without a conflict
    corrected: int  # of those: from what the code is, since the answers file says another thing
    stopped: int  # of the merged: not put in place, since a fix would not be there afterwards
    lost: int  # fixes of single updates that are not present after them
    healed: int  # of those: present after `flask-bastion update --restore` in place of the update
    cpu: float  # seconds of one update, the median

    @property
    def share(self) -> float:
        """Of the updates, those without a conflict by Copier; 1 if there was none."""
        return self.clean / self.updates if self.updates else 1.0

    @property
    def our_share(self) -> float:
        """The same by `flask-bastion update`."""
        return self.merged / self.updates if self.updates else 1.0


def _restored(step: Step) -> set[str]:
    return {outcome.fix for outcome in step.ours.restored if outcome.present}


class Rates:
    """The steps of many services, in any grouping."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def of(self, *, respects: bool | None = None, way: str = "") -> Rate:
        """Of the services whose team does or does not change only their own files, and that update this way."""
        steps = [step for step in self._steps if respects in (None, step.respects) and way in ("", step.way)]
        asked = [step for step in steps if step.how != "claimed"]
        fixes = {(step.service, outcome.fix): outcome for step in reversed(steps) for outcome in step.outcomes}
        missing = [outcome for outcome in fixes.values() if not outcome.present]
        conflicts = [step for step in asked if step.conflicts]
        merged = [step.ours for step in asked if step.how == "updated" and not step.ours.refuses]
        return Rate(
            services=len({step.service for step in steps}),
            updates=len(asked),
            clean=sum(step.how == "updated" and not step.conflicts for step in asked),
            conflicts=len(conflicts),
            untold_conflicts=sum(not step.told for step in asked),
            refused=sum(step.how == "refused" for step in asked),
            promised=len(fixes),
            present=sum(outcome.present for outcome in fixes.values()),
            told=sum(outcome.told for outcome in missing),
            silent=sum(not outcome.told for outcome in missing),
            alarms=sum(bool(step.findings) for step in steps),
            differing=sum(len(step.ours.differs) for step in asked),
            merged=len(merged),
            corrected=sum(one.corrected for one in merged),
            stopped=sum(bool(one.misses) for one in merged),
            lost=sum(len(step.lost) for step in asked),
            healed=sum(one.fix in _restored(step) for step in asked for one in step.lost),
            cpu=median([step.cpu for step in asked] or [0.0]),
        )

    def blended(self) -> float:
        """The updates without a conflict, of all, if CARELESS of them were by teams that do what they may not."""
        return (1 - CARELESS) * self.of(respects=True).share + CARELESS * self.of(respects=False).share

    def missed(self) -> list[str]:
        """What of our promise did not come true, a sentence each."""
        respectful, everybody = self.of(respects=True), self.of()
        promises = {
            "A service that respects what is whose met a conflict.": respectful.clean == respectful.updates,
            "A service that respects what is whose raised an alarm.": respectful.alarms == 0,
            "A service that respects what is whose lacks a fix.": respectful.present == respectful.promised,
            "Fewer than 95 % of all updates are without a conflict.": self.blended() >= 0.95,
            "`flask-bastion update` makes fewer than 95 % of the updates without one.": everybody.our_share >= 0.95,
            "A conflict was not told.": everybody.untold_conflicts == 0,
            "A fix was lost without a word.": everybody.silent == 0,
            "`flask-bastion update` writes another thing than Copier.": everybody.differing == 0,
        }
        return [sentence for sentence, kept in promises.items() if not kept]

    def table(self) -> Iterator[str]:
        """The rates as Markdown, a line each."""
        yield (
            "| services | updates | without a conflict: `flask-bastion update` | Copier alone "
            "| fixes promised | there | lost, and reported | lost silently |"
        )
        yield "|---|---:|---:|---:|---:|---:|---:|---:|"
        for name, rate in self.rows():
            shares = f"{rate.merged} ({100 * rate.our_share:.1f} %) | {rate.clean} ({100 * rate.share:.1f} %)"
            yield (
                f"| {name} ({rate.services}) | {rate.updates} | {shares} "
                f"| {rate.promised} | {rate.present} | {rate.told} | {rate.silent} |"
            )

    def rows(self) -> Iterator[tuple[str, Rate]]:
        """The groups that are told."""
        yield "change only their own files", self.of(respects=True)
        yield "don't", self.of(respects=False)
        yield "**all**", self.of()
        for way, name in (("each", "each version, one by one"), ("skipped", "some skipped"), ("jump", "one jump")):
            yield name, self.of(way=way)
