"""Breaks the code that decides, and counts which breaks the tests notice.

A seeded sample of small wrong edits (another comparison, another operator, a constant one higher, a
condition negated, ...) in aggregation, the decision rule, quorum and prices. Each is run against
the tests that execute its line, those of its own file first and quick ones first, until one fails.

A run is resumable: what is done is in the work folder. What was killed stays so while its file and
the test that killed it are as they were, what survived while its file and its tests are.

    python -m benchmarks.reliability mutation --sample 500 --seed 7 --write
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.reliability import _mutation_runs as runs
from benchmarks.reliability._mutants import Mutant, mutants_of
from benchmarks.reliability._mutation_coverage import Covered, covered, digest
from benchmarks.reliability._writing import keep

ROOT = runs.ROOT
MUTATED = (
    *sorted((ROOT / "consensus/aggregation").glob("*.py")),
    *(ROOT / "consensus/orchestrators" / f"{name}.py" for name in ("checks", "concluding")),
    *(ROOT / "consensus/orchestrators" / f"{name}.py" for name in ("leading", "stopping")),
    *(ROOT / "consensus/models" / f"{name}.py" for name in ("_billing", "price_map", "prices")),
)
TESTS = (
    "tests/aggregation",
    "tests/orchestrators",
    "tests/models/test_billing.py",
    "tests/models/test_prices.py",
    "tests/models/test_prices_against_litellm.py",
    "tests/models/test_gateway.py",
)
SURVIVORS = Path(__file__).with_name("survivors.json")
SLOW_S = 3.0
MOST_S = 30.0
PATIENCE = 4
STARTING_S = 15.0
CHECKED = 20
TARGET = 0.9
ROOMS = ("aggregation", "orchestrators", "models")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("mutation", description=__doc__.split("\n\n")[0])
    parser.add_argument("--sample", type=int, default=500, help="how many mutants to try")
    parser.add_argument("--seed", type=int, default=7, help="which ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--work", type=Path, default=ROOT / ".mutation", help="what is done")
    parser.add_argument("--only", help="mutants of files whose path holds this text")
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    chosen = parser.parse_args(arguments)
    os.chdir(ROOT)
    os.environ |= {"CI": "true", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    mutants = sample(chosen.sample, chosen.seed, chosen.only)
    chosen.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
        runs.warm()
        known = covered(chosen.work / "coverage.json", TESTS, MUTATED, SLOW_S)
        if known.failed:
            print("without a mutant these fail:", *known.failed, sep="\n  ", file=sys.stderr)
            return 1
        run = Run(mutants, known, Fates(chosen.work / "fates.jsonl"), chosen.jobs)
        fates = run.all()
    section = _section(mutants, fates, chosen.seed)
    print(section)
    if chosen.write:
        keep("mutation", section)
    return 0


def sample(size: int, seed: int, only: str | None) -> list[Mutant]:
    """Those with the least hashes, so that a change of one file leaves the draw from others."""
    drawn: list[tuple[str, Mutant]] = []
    for file in MUTATED:
        seen: Counter[str] = Counter()
        for one in mutants_of(file, str(file.relative_to(ROOT))):
            said = f"{one.path} {one.before} {one.after}"
            seen[said] += 1
            mark = hashlib.sha256(f"{seed} {said} {seen[said]}".encode()).hexdigest()
            drawn.append((mark, one))
    drawn.sort(key=lambda pair: pair[0])
    return [one for _, one in drawn[:size] if only is None or only in one.path]


def _tests_of(mutant: Mutant, known: Covered) -> list[str]:
    """The tests that run its lines; of what runs at import, those that run any of its file."""
    seconds, lines = known.seconds, known.lines[mutant.path]
    at = {name for line in range(mutant.line, mutant.end + 1) for name in lines.get(line, ())}
    names = at or {name for found in lines.values() for name in found}
    own = f"test_{Path(mutant.path).stem.strip('_')}.py"
    quick = sorted(
        (name for name in names if seconds.get(name, 0) <= SLOW_S),
        key=lambda name: (own not in name, seconds[name], name),
    )
    taken, spent = [], 0.0
    for name in quick:
        spent += seconds[name]
        if spent > MOST_S:
            break
        taken.append(name)
    return taken


class Fates:
    """What became of mutants, in a file; read as far as it still holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[Mutant, runs.Fate]:
        """Those that still hold."""
        fates: dict[Mutant, runs.Fate] = {}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for row in map(json.loads, lines):
            mutant = Mutant(**row["mutant"])
            if row["marks"] == {name: self._mark(name) for name in row["marks"]}:
                fates[mutant] = row["fate"]
            else:
                fates.pop(mutant, None)
        return fates

    def add(self, mutant: Mutant, fate: runs.Fate, by: str, tests: Sequence[str]) -> None:
        """Keep one more: it rests on the test that noticed it, else on all that did not."""
        files = {mutant.path, *(one.partition("::")[0] for one in ([by] if by else tests))}
        marks = {name: self._mark(name) for name in sorted(files)}
        row = {"mutant": mutant.as_dict(), "fate": fate, "by": by, "marks": marks}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    @staticmethod
    def _mark(name: str) -> str:
        file = ROOT / name
        if file.is_dir():
            return digest(*file.glob("**/*.py"))
        return digest(file) if file.exists() else ""


class Run:
    """Both ways, one after the other."""

    def __init__(self, mutants: list[Mutant], known: Covered, fates: Fates, jobs: int) -> None:
        self.mutants, self.fates, self.jobs = mutants, fates, jobs
        self.tests = {one: _tests_of(one, known) for one in mutants}
        self.known = known

    def all(self) -> dict[Mutant, runs.Fate]:
        """Every mutant's fate."""
        for one in self._waiting():
            if not self.tests[one]:
                self.fates.add(one, "uncovered", "", TESTS)
        if self._waiting():
            child = os.fork()
            if not child:
                runs.collected(TESTS, self._swapped)
                os._exit(0)
            if os.waitpid(child, 0)[1]:
                raise SystemExit("the quick runs ended badly")
        self._through(self._waiting(), runs.imported)
        return self.fates.read()

    def _waiting(self) -> list[Mutant]:
        done = self.fates.read()
        return [one for one in self.mutants if one not in done]

    def _swapped(self, session: pytest.Session) -> None:
        self._through(self._waiting(), runs.Swapping(session))

    def _through(
        self,
        waiting: list[Mutant],
        way: Callable[[Mutant | None, Sequence[str]], runs.Ended],
    ) -> None:
        if not waiting:
            return
        everything = sorted({name for one in waiting for name in self.tests[one]})
        self._control(way, everything)
        running: dict[Mutant, runs.Fork] = {}
        began, total = time.monotonic(), len(waiting)
        while waiting or running:
            while waiting and len(running) < self.jobs:
                one = waiting.pop()
                running[one] = self._fork(way, one, self.tests[one])
            time.sleep(0.005)
            for one, fork in list(running.items()):
                verdict = fork.verdict()
                if verdict is not None:
                    del running[one]
                    if verdict.fate is not None:
                        self.fates.add(one, verdict.fate, verdict.by, self.tests[one])
                    left = len(waiting) + len(running)
                    spent = time.monotonic() - began
                    print(f"\r{total - left}/{total}  {spent:.0f} s", end="", file=sys.stderr)
        print(file=sys.stderr)

    def _fork(
        self,
        way: Callable[[Mutant | None, Sequence[str]], runs.Ended],
        mutant: Mutant | None,
        tests: Sequence[str],
    ) -> runs.Fork:
        expected = sum(self.known.seconds[name] for name in tests)
        return runs.Fork(lambda: way(mutant, tests), STARTING_S + PATIENCE * expected)

    def _control(
        self, way: Callable[[Mutant | None, Sequence[str]], runs.Ended], tests: Sequence[str]
    ) -> None:
        """The same tests in the same way, with nothing wrong: none may fail."""
        fork = self._fork(way, None, tests)
        while (verdict := fork.verdict()) is None:
            time.sleep(0.05)
        if verdict.fate != "survived":
            raise SystemExit(f"without a mutant: {verdict.fate}, {verdict.by}")


def _section(mutants: list[Mutant], fates: dict[Mutant, runs.Fate], seed: int) -> str:
    """The table, and every survivor with why it may live."""
    from consensus.statistics.intervals import wilson

    alive = [one for one in mutants if fates[one] in ("survived", "uncovered")]
    reasons: dict[str, str] = json.loads(SURVIVORS.read_text()) if SURVIVORS.exists() else {}
    count, n = Counter(fates.values()), len(mutants)
    killed = n - len(alive)
    low, high = wilson(killed, n)
    met = "met" if killed >= TARGET * n else "not met"
    head = (
        "## Mutation\n\n"
        f"`python -m benchmarks.reliability mutation --sample {n} --seed {seed}`: drawn from "
        f"{', '.join(ROOMS)}; each run against the quick tests (at most {SLOW_S:g} s each) that "
        "execute its line.\n\n"
        f"**{killed} of {n} killed: {killed / n:.1%}** (95 % interval {low:.1%} to {high:.1%}; "
        f"target {TARGET:.0%}: {met}), {count['timeout']} of them by running too long; "
        f"{count['uncovered']} on lines that no quick test executes.\n\n"
        "| where | mutants | killed |\n|---|---|---|"
    )
    rows = [head]
    for room in ROOMS:
        here = [one for one in mutants if one.path.startswith(f"consensus/{room}/")]
        dead = sum(one not in alive for one in here)
        if here:
            rows.append(f"| consensus/{room} | {len(here)} | {dead} ({dead / len(here):.0%}) |")
    rows += ["", "Survivors, and why:", ""]
    for one in sorted(alive, key=lambda m: (m.path, m.line, m.way)):
        text = (ROOT / one.path).read_text().splitlines()[one.line - 1].strip()
        key = f"{one.path} | {text} | {one.before} → {one.after}"
        why = reasons.get(key, "not looked at")
        rows.append(f"- `{one.path}:{one.line}` `{one.before}` → `{one.after}`: {why}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
