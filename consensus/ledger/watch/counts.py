"""What is counted of a row, day by day, and what that says against its profile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from consensus.ledger.watch.baseline import Baseline
from consensus.policy.watch_settings import Monitor
from consensus.statistics.sequential import (
    Excess,
    RateTest,
    bet_logs,
    mean_excess,
    upper_mean,
)

__all__ = ["DAYS_KEPT", "MEANS", "RATES", "Counts", "Reading"]

RATES: tuple[Monitor, ...] = ("escalation", "undecided", "gate", "disagreement")
MEANS: tuple[Monitor, ...] = ("cost", "output")

DAYS_KEPT = 120
"""Days with decisions of a row that are kept apart; the older ones are one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One monitor of one row as it stands.

    Attributes:
        excess: how surely production is worse than the profile, and since which day.
        since: that day, in days since 1970.
        profile: the profile's rate or mean.
        limit: the p-value at which this monitor rejects.
    """

    monitor: Monitor
    excess: Excess
    since: int
    profile: float
    limit: float

    def crossed(self, ratio: float, least: int) -> bool:
        """Whether it is an alarm: the test rejects *and* the excess is large enough to matter."""
        found = self.excess
        return found.p_value <= self.limit and found.ratio > ratio and found.n >= least

    @property
    def rate(self) -> float:
        """Of production, from the day on which the excess most plausibly began."""
        return self.excess.total / self.excess.n if self.excess.n else 0.0


@dataclass(slots=True)
class Counts:
    """One row's days.

    Attributes:
        baseline: hash of the evidence that they are held against.
        rates: monitor → day → decisions and bad ones among them.
        means: monitor → day → decisions, the sum of their values, and the bets' logarithms.
    """

    baseline: str
    rates: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    means: dict[str, dict[int, tuple[int, float, list[float]]]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Counts:
        """As :meth:`to_json` wrote it."""
        return cls(
            str(data["baseline"]),
            {
                name: {int(day): [int(n), int(k)] for day, (n, k) in days.items()}
                for name, days in data["rates"].items()
            },
            {
                name: {
                    int(day): (int(n), float(total), [float(log) for log in logs])
                    for day, (n, total, logs) in days.items()
                }
                for name, days in data["means"].items()
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"baseline": self.baseline, "rates": self.rates, "means": self.means}

    def add_rate(self, monitor: str, day: int, n: int, bad: int) -> None:
        """Count decisions of a day."""
        days = self.rates.setdefault(monitor, {})
        before = days.get(day, [0, 0])
        days[day] = [before[0] + n, before[1] + bad]
        _thin(days)

    def add_values(self, monitor: str, day: int, values: Iterable[float], bound: float) -> None:
        """Bet on the values of a day's decisions against the profile's upper bound."""
        given = list(values)
        days = self.means.setdefault(monitor, {})
        n, total, logs = days.get(day, (0, 0.0, []))
        gained = [float(log) for log in bet_logs(given, bound)]
        together = [a + b for a, b in zip(logs, gained, strict=True)] if logs else gained
        days[day] = (n + len(given), total + math.fsum(given), together)
        _thin_means(days)

    def forget(self, monitor: str) -> None:
        """Begin this monitor anew."""
        self.rates.pop(monitor, None)
        self.means.pop(monitor, None)

    def reading(self, monitor: Monitor, baseline: Baseline, alpha: float) -> Reading | None:
        """How a monitor stands; None where the profile has nothing to hold it against."""
        horizon = baseline.horizon_days
        if monitor in RATES:
            against = baseline.rate(monitor)
            days = self.rates.get(monitor, {})
            if against is None or not days:
                return None
            n, bad = against
            order = sorted(days)
            found = _excess(n, bad, horizon, tuple((days[day][0], days[day][1]) for day in order))
            return Reading(monitor, found, order[found.since], bad / n, alpha)
        mean = baseline.mean(monitor)
        held = self.means.get(monitor, {})
        if mean is None or not held:
            return None
        order = sorted(held)
        found = mean_excess([held[day] for day in order], mean[0], horizon=horizon)
        return Reading(monitor, found, order[found.since], mean[0], alpha / 2)


def bound_of(baseline: Baseline, monitor: str, alpha: float) -> float | None:
    """What the mean of a monitor is bet against; None where the profile has nothing."""
    mean = baseline.mean(monitor)
    return None if mean is None else upper_mean(*mean, delta=alpha / 2)


@lru_cache(maxsize=512)
def _test(n: int, bad: int, horizon: int) -> RateTest:
    return RateTest(n, bad, horizon=horizon)


@lru_cache(maxsize=4096)
def _excess(n: int, bad: int, horizon: int, days: tuple[tuple[int, int], ...]) -> Excess:
    """Most rows have nothing new at most looks."""
    return _test(n, bad, horizon).after(days)


def _thin(days: dict[int, list[int]]) -> None:
    """Put the two oldest days together: what is counted from the first day on stays whole."""
    while len(days) > DAYS_KEPT:
        first, second = sorted(days)[:2]
        later = days.pop(second)
        days[first] = [a + b for a, b in zip(days[first], later, strict=True)]


def _thin_means(days: dict[int, tuple[int, float, list[float]]]) -> None:
    while len(days) > DAYS_KEPT:
        first, second = sorted(days)[:2]
        (n, total, logs), (more, sum_, gained) = days[first], days.pop(second)
        together = [a + b for a, b in zip(logs, gained, strict=True)]
        days[first] = (n + more, total + sum_, together)
