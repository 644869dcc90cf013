"""Simulates the watch of escalations: ``python -m benchmarks.watching [--write]``.

Every run draws a profile of its own, so the profile's uncertainty is in every figure. One look a
day. *Quiet* months escalate at the true rate that the profile was drawn from; a *drift* escalates
at .16 in place of .10 from the first day on, or after 30 quiet days. Beside the watch stands the
naive alarm: more than 1.15 times the profile's rate, over the last 100 decisions and over all.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from consensus.benchmark.study import replace_sections
from consensus.policy.watch_settings import ALARM_RATIO, WatchSettings
from consensus.statistics.intervals import clopper_pearson
from consensus.statistics.sequential import RateTest, bet_logs, mean_excess, upper_mean

SETTINGS = WatchSettings()
PROFILES = (100, 200, 500)
VOLUMES = (50, 500)
QUIET, DRIFT = 0.10, 0.16
DEARER = 1.5
MONTH = 30
LONGEST = 90
RUNS = 100
SEED = 20261122

METHOD = (
    "`python -m benchmarks.watching`: simulated days of decisions, put through the very tests that "
    "the watch uses (design/watching.md). Every run draws its own profile, so the profile's "
    "uncertainty is in every figure."
)

Floats = NDArray[np.float64]


class Cell(NamedTuple):
    """One profile size and volume: alarms in quiet months, and days to find the drift."""

    n: int
    volume: int
    false: int
    naive: int
    quiet: int
    late: Floats
    later: Floats


def first_alarm(test: RateTest, days: Floats, *, begins: int = 0) -> float:
    """Days from ``begins`` to the first alarm; infinite where there is none."""
    for day, found in enumerate(test.each(days), start=1):
        large = found.ratio > ALARM_RATIO and found.n >= SETTINGS.least
        if large and found.p_value <= SETTINGS.alpha:
            return float(day - begins)
    return float("inf")


def traffic(rng: np.random.Generator, volume: int, rates: list[float]) -> Floats:
    """Decisions and escalations of some days."""
    return np.column_stack([np.full(len(rates), volume), rng.binomial(volume, rates)]).astype(float)


def cell(rng: np.random.Generator, n: int, volume: int, runs: int) -> Cell:
    """Every run of one profile size and volume."""
    false = naive = 0
    late, later = [], []
    for _ in range(runs):
        bad = int(rng.binomial(n, QUIET))
        test = RateTest(n, bad, horizon=SETTINGS.horizon_days)
        month = traffic(rng, volume, [QUIET] * MONTH)
        false += np.isfinite(first_alarm(test, month))
        totals = month.cumsum(axis=0)
        naive += bool((totals[:, 1] / totals[:, 0] > ALARM_RATIO * bad / n).any())
        late.append(first_alarm(test, traffic(rng, volume, [DRIFT] * LONGEST)))
        mixed = traffic(rng, volume, [QUIET] * MONTH + [DRIFT] * (LONGEST - MONTH))
        after = first_alarm(test, mixed, begins=MONTH)
        if after > 0:
            later.append(after)
    return Cell(n, volume, int(false), naive, runs, np.array(late), np.array(later))


def costs(rng: np.random.Generator, runs: int) -> tuple[int, Floats]:
    """Skewed costs (log-normal, sd as large as the mean): quiet months, and 25 % dearer ones."""
    sigma = float(np.sqrt(np.log(2)))
    false, found = 0, []

    def draw(size: int, mean: float) -> Floats:
        return np.asarray(rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, size), dtype=float)

    for _ in range(runs):
        profile = draw(200, 1.0)
        mean, sd = float(profile.mean()), float(profile.std(ddof=1))
        bound = upper_mean(mean, sd, 200, delta=SETTINGS.alpha / 2)
        for true, quiet in ((1.0, True), (DEARER, False)):
            days: list[tuple[int, float, Floats]] = []
            alarm = float("inf")
            for day in range(MONTH):
                values = draw(50, true)
                days.append((50, float(values.sum()), bet_logs(values, bound)))
                now = mean_excess(days, mean, horizon=SETTINGS.horizon_days)
                if now.p_value <= SETTINGS.alpha / 2 and now.ratio > SETTINGS.ratio:
                    alarm = day + 1.0
                    break
            if quiet:
                false += np.isfinite(alarm)
            else:
                found.append(alarm)
    return int(false), np.array(found)


def possible(n: int) -> float:
    """Share of profiles that are compatible with no rate as high as the drift's, at alpha."""
    seen = np.arange(n + 1)
    return float(binom.pmf(seen, n, QUIET)[binom.cdf(seen, n, DRIFT) <= SETTINGS.alpha].sum())


def page(cells: list[Cell], dear: tuple[int, Floats]) -> list[str]:
    """The table, as Markdown."""
    head = (
        f"{cells[0].quiet} runs a line; alpha {SETTINGS.alpha:g} within {SETTINGS.horizon_days} "
        f"days, ratio {ALARM_RATIO:g}, one look a day. Days to the alarm are medians (90th "
        f"percentiles) over all runs; *never*: not within {LONGEST} days ({LONGEST - MONTH} after "
        "a quiet month). *Possible*: the share that any test at alpha could find with this profile "
        "and endless production."
    )
    columns = (
        "profile n",
        "decisions a day",
        "quiet months with a false alarm (95 %)",
        "naive 1.15 × alone",
        "possible",
        ".10 → .16 found within 30 days",
        "days to the alarm",
        "after a quiet month",
    )
    lines = [head, "", f"| {' | '.join(columns)} |", "|--:" * len(columns) + "|"]
    for one in cells:
        low, high = clopper_pearson(one.false, one.quiet)
        soon = float((one.late <= MONTH).mean())
        lines.append(
            f"| {one.n} | {one.volume} | {one.false} of {one.quiet} ({low:.0%} to {high:.0%}) "
            f"| {one.naive} of {one.quiet} | {possible(one.n):.0%} | {soon:.0%} "
            f"| {_delay(one.late)} | {_delay(one.later)} |"
        )
    false, found = dear
    dearer = (
        f"Cost a decision (log-normal, sd = mean; profile of 200, 50 a day): {false} of "
        f"{len(found)} quiet months with a false alarm; 50 % dearer is found in "
        f"{float(np.isfinite(found).mean()):.0%} of months, after {_delay(found)} days."
    )
    return [*lines, "", dearer]


def _delay(days: Floats) -> str:
    middle, last = (float(np.quantile(days, q, method="higher")) for q in (0.5, 0.9))
    said = ["never" if not np.isfinite(value) else f"{value:.0f}" for value in (middle, last)]
    return f"{said[0]} ({said[1]})"


def main() -> None:
    """Simulate, print, and with ``--write`` put the table into benchmarks/RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.watching")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--write", action="store_true", help="replace the section of RESULTS.md")
    given = parser.parse_args()
    began = time.process_time()
    rng = np.random.default_rng(SEED)
    cells = [cell(rng, n, volume, given.runs) for n in PROFILES for volume in VOLUMES]
    text = "\n".join(page(cells, costs(rng, given.runs)))
    sys.stdout.write(f"{text}\n\n{time.process_time() - began:.0f} s of CPU\n")
    if given.write:
        results = Path("benchmarks/RESULTS.md")
        section = f"## The watch: false alarms and delay\n\n{METHOD}\n\n{text}"
        before = results.read_text(encoding="utf-8")
        after = replace_sections(before, {"watching": section}, where=str(results))
        results.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
