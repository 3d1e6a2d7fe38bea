"""Mutates bastion/ of rendered services and runs the proofs that can notice: `uv run python scripts/mutate.py`.

A protection is proven if its sabotage is noticed; this asks the same of every other small change. What to mutate and
what not is in operators.py, which proofs are run in relevance.py, how they are run in in_service.py. A mutant that no
proof notices is a survivor: a proof is missing a clause, or the change changes nothing, and then explained.toml says so
with a reason. All services together count: what the proofs of one style notice is noticed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from services import Service
from support import ROOT, Combination, Repository, done, uv

from .operators import Mutant, identities, modules, mutants
from .relevance import Relevance

HERE: Final = Path(__file__).resolve().parent
FOLDER: Final = ROOT / ".mutation"
PROOFS: Final = "tests/proofs"
SERVICES: Final = ("session-sqlite-env", "jwt-postgresql-env")  # SQLite has no locks of rows to be taken away
LEAST_KILLED: Final = 0.90
SECONDS: Final = 10.0
"""A mutant that is noticed is so by one of the first 20 proofs, in 2 s or less; what has cost so much more survived."""
NOTICED: Final = frozenset({"killed", "timeout", "crash"})


@dataclass(frozen=True)
class Target:
    """A service with its environment, and where the results of its mutants are kept."""

    name: str
    path: Path

    @property
    def bastion(self) -> Path:
        [found] = self.path.glob("src/*/bastion")
        return found

    @property
    def results(self) -> Path:
        return FOLDER / f"{self.name}.results.jsonl"

    def digest(self, *folders: str) -> str:
        """Of all modules below these folders."""
        return self._digest(file for folder in folders for file in sorted((self.path / folder).rglob("*.py")))

    def tests(self) -> dict[str, str]:
        """Each file of proofs, with its digest."""
        return {str(file.relative_to(self.path)): self._digest([file]) for file in self._modules(tests=True)}

    def without_tests(self) -> str:
        """The digest of the service, and of what its proofs share."""
        return self._digest(self._modules(tests=False))

    def _modules(self, *, tests: bool) -> list[Path]:
        """Without chosen.py, which names the template's commit: that is another one at each rendering."""
        found = [*(self.path / "src").rglob("*.py"), *(self.path / PROOFS).rglob("*.py")]
        return sorted(one for one in found if one.name.startswith("test_") == tests and one.name != "chosen.py")

    def _digest(self, files: Iterable[Path]) -> str:
        total = hashlib.sha256()
        for file in files:
            total.update(str(file.relative_to(self.path)).encode() + b"\0" + file.read_bytes() + b"\0")
        return total.hexdigest()[:16]


@dataclass
class Result:
    """A mutant and what became of it."""

    mutant: Mutant
    verdict: str = "not tried"
    by: str = ""
    why: str = ""
    harm: bool = False
    tried: int = 0
    of: int = 0
    seconds: float = 0.0
    explained: str = ""

    @property
    def noticed(self) -> bool:
        return self.verdict in NOTICED

    def as_dict(self) -> dict[str, Any]:
        told = {name: value for name, value in asdict(self.mutant).items() if name != "text"}
        return told | {name: value for name, value in asdict(self).items() if name != "mutant"}


# --- services -------------------------------------------------------------------------------------------------


def rendered(name: str, *, edges: bool = True) -> Target:
    """Render the working tree, with the versions that are tested together and, unless the core only is asked, edges."""
    path = FOLDER / name
    shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as folder:
        repository = Repository.make(Path(folder) / "template")
        repository.release("v1.0.0")
        combination = Combination.parse(name)
        service = Service.start(repository.path, path, **combination.data)
        service.install(combination)
        if edges:
            service.lay_edges(repository.path, combination)
    return Target(name, path)


def with_coverage(target: Target) -> Target:
    """The library that maps lines to proofs: of this project, and in this copy of a service alone."""
    if not [*target.path.glob(".venv/lib/python*/site-packages/coverage")]:
        version = importlib.metadata.version("coverage")
        done(uv("pip", "install", "--quiet", f"coverage=={version}", cwd=target.path))
    return target


def in_service(target: Target, work: dict[str, Any], results: Path) -> None:
    """Run the plugin in the service; it appends to `results` as it goes."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(work, file)
        file.flush()
        command = [
            *(target.path / ".venv" / "bin" / "python", "-m", "pytest", "-q", "-p", "in_service", "--sabotage"),
            *(
                f"--work={file.name}",
                f"--results={results.resolve()}",
                PROOFS,
            ),  # "=": a path alone sets the root
        ]
        env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        ended = subprocess.run(
            [str(part) for part in command],
            cwd=target.path,
            env={**env, "PYTHONPATH": str(HERE)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode not in (0, 5):
        raise SystemExit(f"pytest ended with {ended.returncode}:\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}")


def relevance(target: Target, workers: int, paths: set[str], *, quick: bool) -> Relevance:
    """The map of lines and proofs: kept, since it costs a whole run of them; of files that changed it is made anew."""
    proofs = FOLDER / f"{target.name}.proofs.jsonl"
    proofs.unlink(missing_ok=True)
    if quick:
        in_service(target, {"list": True}, proofs)
        named = Relevance.read(target.bastion, _lines(proofs), [])
        proofs.unlink()
        wanted = {name for path in paths for name in named.of(path, 1)}
        in_service(target, {"intact": sorted(wanted), "workers": workers}, proofs)
        return Relevance.read(target.bastion, _green(target, _lines(proofs)), [])
    kept = FOLDER / f"{target.name}.map.json"
    digest, files = target.without_tests(), target.tests()
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if known.get("digest") != digest:  # without a service's own modules, and what all proofs use, no map is true
        known = {"digest": digest, "files": {}, "proofs": [], "maps": []}
    changed = {name for name in files.keys() | known["files"].keys() if files.get(name) != known["files"].get(name)}
    if changed:
        print(f"{target.name}: which proof runs which line ({len(changed)} files) ...", flush=True)
        with_coverage(target)
        work = {"map": str(kept), "workers": workers, "files": sorted(changed & files.keys())}
        in_service(target, work, proofs)
        parts = [kept.with_suffix(f".{number}") for number in range(workers)]
        known["files"] = files
        known["proofs"] = [one for one in known["proofs"] if _file(one["proof"]) not in changed] + [*_lines(proofs)]
        # What a changed proof ran before stays in the old maps: it may be run once in vain.
        known["maps"] += [json.loads(part.read_text(encoding="utf-8")) for part in parts]
        for file in (*parts, proofs):
            file.unlink()
        kept.write_text(json.dumps(known), encoding="utf-8")
    return Relevance.read(target.bastion, _green(target, known["proofs"]), known["maps"])


def _file(proof: str) -> str:
    return proof.partition("::")[0]


def _green(target: Target, proofs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What is red without any mutant would notice each."""
    for proof in proofs:
        if proof["error"]:
            print(f"{target.name}: left out, red without any mutant: {proof['proof']}: {proof['error']}", flush=True)
        else:
            yield proof


# --- one service ----------------------------------------------------------------------------------------------


def chosen(target: Target, only: Sequence[str], share: float, seed: str, least: int = 0) -> list[Mutant]:
    """The mutants of the asked modules; of these a share that is the same for the same seed, whatever else is asked.

    Of a small module the share is larger, so that it has `least` (one or two fewer if some of them are no mutants).
    """
    paths = [path for path in modules(target.bastion) if not only or any(Path(path).match(one) for one in only)]
    made: list[Mutant] = []
    for path in paths:
        text = (target.bastion / path).read_text(encoding="utf-8")
        draws = {identity: _drawn(seed, identity) for identity in identities(path, text)}
        wanted = {identity for identity, draw in draws.items() if draw < share}
        wanted |= {*sorted(draws, key=draws.__getitem__)[:least]}
        made += mutants(path, text, wanted.__contains__)
    return made


def _drawn(seed: str, identity: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}/{identity}".encode()).digest()[:8], "big") / 2**64


def attack(target: Target, wanted: Sequence[Mutant], results: dict[str, Result], args: argparse.Namespace) -> None:
    """Bring `results` up to date for these mutants; those that are known to be noticed are not run again."""
    for mutant in wanted:
        results.setdefault(mutant.id, Result(mutant))
    proofs = target.digest(PROOFS) + ("-quick" if args.quick else "")
    for known in _lines(target.results):
        if known["id"] in results and _still_true(known, proofs) and not args.again:
            _take(results[known["id"]], known)
    waiting = [mutant for mutant in wanted if not results[mutant.id].noticed]
    waiting = [mutant for mutant in waiting if mutant.id not in _tried(target, proofs)] if not args.again else waiting
    if not waiting:
        return
    map_ = relevance(target, args.workers, {mutant.path for mutant in waiting}, quick=args.quick)
    durations = {name: proof.seconds for name, proof in map_.proofs.items()}
    work: list[dict[str, Any]] = []
    unseen: list[dict[str, Any]] = []
    for mutant in waiting:
        names = map_.of(mutant.path, mutant.line)
        stamp = {"proofs": proofs, "of": len(names)}
        if names:
            work.append(
                {"id": mutant.id, "path": mutant.path, "text": mutant.text, "proofs": names, "seconds": args.seconds}
                | {"durations": {name: durations[name] for name in names}, "stamp": stamp}
            )
        else:
            unseen.append({"id": mutant.id, "verdict": "not covered"} | stamp)
    print(f"{target.name}: {len(work)} mutants to try, {len(unseen)} that no proof runs", flush=True)
    begun = time.monotonic()
    with target.results.open("a", encoding="utf-8") as kept:
        kept.writelines(json.dumps(one) + "\n" for one in unseen)
    for part in range(0, len(work), PART):
        in_service(target, {"mutants": work[part : part + PART], "workers": args.workers}, target.results)
        print(f"  {min(part + PART, len(work))} of {len(work)}, {time.monotonic() - begun:.0f} s", flush=True)
    for one in _lines(target.results):
        if one["id"] in results and one["proofs"] == proofs:
            _take(results[one["id"]], one)


PART: Final = 50
"""So many mutants are run by one process of pytest, between two lines that say how far it is."""


def _take(result: Result, told: dict[str, Any]) -> None:
    if result.noticed:
        return
    result.verdict, result.by, result.why = told["verdict"], told.get("by", ""), told.get("why", "")
    result.harm, result.tried, result.of = told.get("harm", False), told.get("tried", 0), told.get("of", 0)
    result.seconds = told.get("seconds", 0.0)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        yield from (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())


def _tried(target: Target, proofs: str) -> set[str]:
    return {one["id"] for one in _lines(target.results) if _still_true(one, proofs)}


def _still_true(known: dict[str, Any], proofs: str) -> bool:
    """What was noticed is so as long as the module is the same; a survivor meets new proofs.

    A time-out or a crash may have been the machine's fault, so a later run tries once more.
    """
    return known["verdict"] == "killed" or (
        known["verdict"] in ("survived", "not covered") and known["proofs"] == proofs
    )


# --- the outcome ----------------------------------------------------------------------------------------------


def explain(results: Iterable[Result], entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each survivor its reason; returned are the entries that explain nothing any more."""
    used: set[int] = set()
    for result in results:
        mutant = result.mutant
        for number, entry in enumerate(entries):
            kinds = entry["operator"] if isinstance(entry["operator"], list) else [entry["operator"]]
            if (
                (entry["file"], entry["line"]) == (mutant.path, mutant.source)
                and mutant.operator in kinds
                and entry.get("becomes", mutant.becomes) == mutant.becomes
                and not result.noticed
            ):
                used.add(number)
                result.explained = entry["reason"]
    return [entry for number, entry in enumerate(entries) if number not in used]


def told(results: Sequence[Result], stale: Sequence[dict[str, Any]], share: float, seed: str, *, quick: bool) -> str:
    """The outcome for people."""
    lines = [] if share == 1 else [f"A sample of {share:.0%} with the seed {seed!r}."]
    if quick:
        lines.append(
            "Only proofs that name a module were run (--quick): others may notice what survived or is uncovered."
        )
    by_file: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_file[result.mutant.path].append(result)
    lines.append(f"{'module':32} mutants noticed (harm seen, time-out)   survived explained  not covered explained")
    for path, some in [*sorted(by_file.items()), ("all", list(results))]:
        counted = Counter(result.verdict for result in some)
        lines.append(
            f"{path:32} {len(some):7} {sum(one.noticed for one in some):7} "
            f"({sum(one.harm for one in some):9}, {counted['timeout']:8})   "
            f"{counted['survived'] + counted['error']:8} {_explained(some, 'survived'):9}  "
            f"{counted['not covered']:11} {_explained(some, 'not covered'):9}"
        )
    for result in results:
        if not result.noticed and not result.explained:
            mutant, tried = result.mutant, f"{result.verdict} ({result.tried} of {result.of} proofs)"
            lines += [
                "",
                f"{tried}: {mutant.path}:{mutant.line} {mutant.operator}",
                f"  - {mutant.source}",
                f"  + {mutant.becomes}",
                *([f"  {result.why}"] if result.why else []),
            ]
    lines += [f"explains no survivor any more: {one['file']}: {one['line']} ({one['operator']})" for one in stale]
    noticed = sum(result.noticed for result in results)
    left = sum(not result.noticed and not result.explained for result in results)
    seconds = sum(result.seconds for result in results)
    lines += ["", f"{seconds / max(1, len(results)):.1f} s of processor time for a mutant, on average"]
    low, high = interval(noticed, len(results))
    of_all = "" if share == 1 else f" (of all mutants, with 95 % certainty, between {low:.1%} and {high:.1%})"
    lines += [f"{noticed} of {len(results)} noticed, {noticed / len(results):.1%}{of_all}; {left} not explained"]
    return "\n".join(lines)


def interval(noticed: int, tried: int) -> tuple[float, float]:
    """Between which shares the one of all mutants is, with 95 % certainty, seen from a sample (Wilson, 1927)."""
    z = 1.96
    middle, width = noticed + z * z / 2, z * math.sqrt(noticed * (tried - noticed) / tried + z * z / 4)
    return (middle - width) / (tried + z * z), (middle + width) / (tried + z * z)


def _explained(some: Iterable[Result], verdict: str) -> int:
    return sum(bool(result.explained) and result.verdict == verdict for result in some)


def percentage(text: str) -> float:
    return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", default=[], metavar="MODULE", help="identity/login.py, edge/*.py ..."
    )
    parser.add_argument("--share", type=percentage, default=1.0, help="a sample, as 5%% or 0.05 (default: all)")
    parser.add_argument("--seed", default="1", help="another seed is another sample")
    parser.add_argument(
        "--least", type=int, default=0, metavar="N", help="of each module at least so many, beyond the share"
    )
    parser.add_argument("--services", default=",".join(SERVICES), help="combinations of answers (default: %(default)s)")
    parser.add_argument("--service", type=Path, action="append", help="an existing service with its .venv, instead")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2, help="mutants at a time")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of processor time that one mutant gets (%(default)s)"
    )
    parser.add_argument("--core", action="store_true", help="without the edges: only the proofs that a service carries")
    parser.add_argument("--quick", action="store_true", help="only proofs that name the module, without the map")
    parser.add_argument("--again", action="store_true", help="forget what earlier runs found")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every mutant and its verdict")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    names = [] if args.service else args.services.split(",")
    targets = [Target(path.name, path.resolve()) for path in args.service or []] + [
        rendered(name, edges=not args.core) for name in names
    ]
    results: dict[str, Result] = {}
    for target in targets:
        attack(target, chosen(target, args.only, args.share, args.seed, args.least), results, args)
    found = sorted(results.values(), key=lambda one: (one.mutant.path, one.mutant.line, one.mutant.column))
    if not found:
        raise SystemExit("There is no such mutant: --only takes modules relative to bastion/, as identity/login.py.")
    entries = tomllib.loads((HERE / "explained.toml").read_text(encoding="utf-8")).get("survivor", [])
    asked = {result.mutant.path for result in found}
    stale = [one for one in explain(found, entries) if args.share == 1 and not args.quick and one["file"] in asked]
    print(told(found, stale, args.share, args.seed, quick=args.quick))
    if args.json:
        whole = {"share": args.share, "seed": args.seed, "mutants": [result.as_dict() for result in found]}
        args.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    enough = sum(result.noticed for result in found) >= LEAST_KILLED * len(found)
    return 0 if enough and not stale and all(result.noticed or result.explained for result in found) else 1


if __name__ == "__main__":
    sys.exit(main())
