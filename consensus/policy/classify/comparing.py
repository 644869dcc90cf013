"""Kinds of classifiers side by side, on the same cases, none of which had been seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consensus.statistics.intervals import Interval, wilson
from consensus.statistics.paired import mcnemar

__all__ = ["COVERAGES", "Rival", "Row", "compare"]

COVERAGES = (1.0, 0.8, 0.6, 0.4, 0.2)

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rival:
    """One kind, on n cases.

    Attributes:
        name: as it is shown.
        hits: whether its class was right, (n,).
        leaders: the probability that it gave that class, (n,); None where it gives none.
        cpu_ms: processor milliseconds of this process for one text.
        latency_ms: median of one text.
        usd_per_1000: what a thousand texts cost.
    """

    name: str
    hits: Bools
    leaders: Floats | None
    cpu_ms: float
    latency_ms: float
    usd_per_1000: float


@dataclass(frozen=True, slots=True)
class Row:
    """A rival's figures.

    Attributes:
        accuracy, interval: share of cases whose class is right, with its 95 % interval (Wilson).
        gained, lost: cases that it has right and the first rival wrong, and the other way round.
        p_value: of McNemar's exact test against the first rival, two-sided; 1 for the first.
        curve: accuracy among the surest 100, 80, 60, 40 and 20 % of cases.
    """

    rival: Rival
    n: int
    accuracy: float
    interval: Interval
    gained: int
    lost: int
    p_value: float
    curve: tuple[float, ...] | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.rival.name,
            "n": self.n,
            "accuracy": self.accuracy,
            "ci95": [self.interval.low, self.interval.high],
            "gained": self.gained,
            "lost": self.lost,
            "p_value": self.p_value,
            "accuracy_at_coverage": dict(zip(map(str, COVERAGES), self.curve, strict=True))
            if self.curve is not None
            else None,
            "cpu_ms": self.rival.cpu_ms,
            "latency_ms": self.rival.latency_ms,
            "usd_per_1000": self.rival.usd_per_1000,
        }


def compare(rivals: Sequence[Rival]) -> list[Row]:
    """Each rival's figures; paired tests are against the first.

    Raises:
        ValueError: they are not about the same number of cases.
    """
    first = rivals[0]
    rows = []
    for rival in rivals:
        test = mcnemar(rival.hits, first.hits)
        n, right = len(rival.hits), int(rival.hits.sum())
        curve = None if rival.leaders is None else _curve(rival.hits, rival.leaders)
        rows.append(
            Row(
                rival,
                n,
                right / n,
                wilson(right, n),
                test.only_first,
                test.only_second,
                test.p_value,
                curve,
            )
        )
    return rows


def _curve(hits: Bools, leaders: Floats) -> tuple[float, ...]:
    """Accuracy among the surest share; cases that are as sure as the last share its credit."""
    found = []
    for coverage in COVERAGES:
        kept = max(1, round(coverage * len(hits)))
        bar = np.sort(leaders)[::-1][kept - 1]
        sure, tied = leaders > bar, leaders == bar
        credit = hits[sure].sum() + (kept - sure.sum()) * hits[tied].mean()
        found.append(float(credit / kept))
    return tuple(found)
