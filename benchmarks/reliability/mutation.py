"""Breaks the code that decides, and counts which breaks the tests notice.

A seeded sample of small wrong edits (another comparison, another operator, a constant one higher, a
condition negated, ...) in aggregation, the decision rule, quorum and prices. Each is run against
the tests that execute its line, quickest first, until one fails. A run is resumable: what is done
is in the work folder, and is dropped when code or tests change.

    python -m benchmarks.reliability mutation --sample 500 --seed 7 --write
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.reliability import _mutation_runs as runs
from benchmarks.reliability._mutants import Mutant, mutants_of
from benchmarks.reliability._writing import fingerprint, keep

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
    "tests/models/test_prices.py",
    "tests/models/test_prices_against_litellm.py",
    "tests/models/test_gateway.py",
)
SURVIVORS = Path(__file__).with_name("survivors.json")
SLOW_S = 3.0
MOST_S = 45.0
PATIENCE_S = 120.0
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
    mutants = _sample(chosen.sample, chosen.seed, chosen.only)
    work = chosen.work / fingerprint()
    work.mkdir(parents=True, exist_ok=True)
    covered = _coverage(work)
    if covered["failed"]:
        print("without a mutant these fail:", *covered["failed"], sep="\n  ", file=sys.stderr)
        return 1
    fates = _run(mutants, covered, work / "fates.jsonl", chosen.jobs)
    section = _section(mutants, fates, chosen.seed)
    print(section)
    if chosen.write:
        keep("mutation", section)
    return 0


def _sample(size: int, seed: int, only: str | None) -> list[Mutant]:
    every = [one for file in MUTATED for one in mutants_of(file, str(file.relative_to(ROOT)))]
    drawn = random.Random(seed).sample(every, min(size, len(every)))  # noqa: S311 - a sample
    return [one for one in drawn if only is None or only in one.path]


def _coverage(work: Path) -> dict[str, Any]:
    """Which quick tests run which lines, found once by running them all in a fork."""
    kept = work / "coverage.json"
    if not kept.exists():
        runs.warm()
        child = os.fork()
        if not child:
            import pytest

            plugin = runs.Coverage(MUTATED)
            pytest.main([*runs.QUIET[1:], *TESTS], plugins=[plugin])
            kept.write_text(json.dumps(plugin.found()))
            os._exit(0)
        os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _tests_of(mutant: Mutant, covered: dict[str, Any]) -> list[str]:
    """The tests that run its lines; of what runs at import, those that run any of its file."""
    seconds, lines = covered["seconds"], covered["lines"][mutant.path]
    at = {name for line in range(mutant.line, mutant.end + 1) for name in lines.get(str(line), [])}
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


def _run(
    mutants: list[Mutant], covered: dict[str, Any], kept: Path, jobs: int
) -> dict[Mutant, runs.Fate]:
    fates: dict[Mutant, runs.Fate] = {}
    if kept.exists():
        for line in kept.read_text().splitlines():
            row = json.loads(line)
            fates[Mutant(**row["mutant"])] = row["fate"]
    waiting = [one for one in mutants if one not in fates]
    running: dict[int, tuple[Mutant, float]] = {}
    runs.warm()
    began = time.monotonic()

    def end(mutant: Mutant, fate: runs.Fate) -> None:
        fates[mutant] = fate
        with kept.open("a") as file:
            file.write(json.dumps({"mutant": mutant.as_dict(), "fate": fate}) + "\n")
        done = sum(one in fates for one in mutants)
        spent = time.monotonic() - began
        print(f"\r{done}/{len(mutants)}  {spent:.0f} s", end="", file=sys.stderr, flush=True)

    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            tests = _tests_of(mutant, covered)
            if tests:
                running[runs.start(mutant, tests)] = (mutant, time.monotonic())
            else:
                end(mutant, "uncovered")
        time.sleep(0.02)
        for child, (mutant, since) in list(running.items()):
            fate = runs.fate(child, since, PATIENCE_S)
            if fate is not None:
                del running[child]
                end(mutant, fate)
    print(file=sys.stderr)
    return {one: fates[one] for one in mutants}


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
        key = f"{one.path} {one.before} → {one.after}"
        why = reasons.get(key, "not looked at")
        rows.append(f"- `{one.path}:{one.line}` `{one.before}` → `{one.after}`: {why}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
