"""``python -m benchmarks.reference``: time ours beside crowd-kit on the same votes.

Both sides take the same number of EM steps in one process, in turns; the figure is the ratio of
their shortest times, so that what else the machine does hardly matters. ``--out`` writes it into
the results file, between the marks of the section ``reference``.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation.dawid_skene import dawid_skene
from consensus.aggregation.votes import plurality, tally
from consensus.benchmark.study import replace_sections

SECTION = "reference"


class Timed(NamedTuple):
    """One row: shortest seconds of each side, and the greatest difference of their answers."""

    what: str
    ours: float
    theirs: float
    difference: float


def votes_of(cases: int, seats: int, options: int, seed: int) -> NDArray[np.int64]:
    """Votes (cases, seats) of seats whose accuracy lies between .5 and .9."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, options, cases)
    wrong = (truth[:, None] + rng.integers(1, options, (cases, seats))) % options
    right = rng.random((cases, seats)) < rng.uniform(0.5, 0.9, seats)
    return np.asarray(np.where(right, truth[:, None], wrong))


def shortest(calls: tuple[Callable[[], Any], ...], rounds: int) -> list[float]:
    """Each call's shortest time over ``rounds``, taken in turns."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def measure(cases: int, seats: int, options: int, rounds: int) -> list[Timed]:
    """Time Dawid–Skene and the majority vote on both sides."""
    import pandas as pd
    from crowdkit.aggregation import DawidSkene, MajorityVote

    votes = votes_of(cases, seats, options, seed=1)
    task = np.repeat(np.arange(cases), seats)
    worker = np.tile(np.arange(seats), cases)
    frame = pd.DataFrame({"task": task, "worker": worker, "label": votes.ravel()})
    steps = dawid_skene(votes, options).steps

    def theirs() -> Any:
        return DawidSkene(n_iter=steps, tol=-1.0).fit(frame)

    ours_s, theirs_s = shortest((lambda: dawid_skene(votes, options), theirs), rounds)
    mine = dawid_skene(votes, options).posterior
    other = theirs().probas_.sort_index()[list(range(options))].to_numpy()
    rows = [
        Timed(f"Dawid–Skene, {steps} EM steps", ours_s, theirs_s, float(np.abs(mine - other).max()))
    ]
    ours_s, theirs_s = shortest(
        (
            lambda: plurality(tally(votes, options)),
            lambda: MajorityVote().fit_predict(frame),
        ),
        rounds,
    )
    credit = plurality(tally(votes, options)).credit
    said = MajorityVote().fit_predict(frame).sort_index().to_numpy()
    missed = float((credit[np.arange(cases), said] == 0).mean())
    rows.append(Timed("majority vote", ours_s, theirs_s, missed))
    return rows


def render(rows: list[Timed], cases: int, seats: int, options: int) -> str:
    """The section's Markdown."""
    lines = "\n".join(
        f"| {row.what} | {row.ours:.2f} | {row.theirs:.2f} | {row.theirs / row.ours:.0f} × | "
        f"{row.difference:.0e} |"
        for row in rows
    )
    libraries = ("crowd-kit", "numpy", "scipy", "pandas")
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return f"""## Speed beside crowd-kit

{cases:,} tasks × {seats} workers, {options} options; the same votes, the same number of steps, one
process, in turns, the shortest time of each side. **differs**: the greatest difference of a
posterior probability (Dawid–Skene); the share of tasks whose label of theirs is not among our
leaders (majority). Python {platform.python_version()}, {versions}.

| what | ours, s | crowd-kit, s | ratio | differs |
| --- | --- | --- | --- | --- |
{lines}

`python -m benchmarks.reference --tasks {cases} --workers {seats} --labels {options}` repeats it."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the section where asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reference", description="Time ours beside crowd-kit."
    )
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--labels", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--least", type=float, default=10.0, help="exit 1 below this ratio")
    parser.add_argument("--out", type=Path, help="a results file, e.g. benchmarks/RESULTS.md")
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = measure(options.tasks, options.workers, options.labels, options.rounds)
    text = render(rows, options.tasks, options.workers, options.labels)
    print(text)
    if options.out is not None:
        old = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
        new = replace_sections(old, {SECTION: text}, where=str(options.out))
        options.out.write_text(new, encoding="utf-8")
    ratio = rows[0].theirs / rows[0].ours
    if ratio < options.least:
        print(f"Dawid–Skene: {ratio:.1f} ×, less than {options.least:g} ×", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
