"""What else the same money, or the same answers, would have bought. In every report.

``best_single``
    one pass of the panel's best member (chosen on the calibration half where there is one).
``all_frontier``
    every case to the frontier model.
``shuffled``
    a coin between two single models at the strategy's own cost: routing that looks at nothing.
``majority``
    plurality of the same seats.
``oracle``
    right wherever any seat is right: what no way of combining these answers can pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.evidence import Evidence
from consensus.benchmark.measure import Measured
from consensus.benchmark.strategy import seat_counts
from consensus.statistics import convex_hull

__all__ = ["control_figures", "oracle_credit"]

Floats = NDArray[np.float64]
Control = dict[str, Any]


def oracle_credit(evidence: Evidence, seats: int | None, *, draws: int, seed: int) -> Floats:
    """(n,) credit of the best of the seats' answers, mean over sample orders."""
    counts = seat_counts(seats, evidence)
    total = np.zeros(len(evidence))
    number = 0
    for part in evidence.draws(draws, counts, seed=seed):
        best = part.running.best(counts).reshape(-1, len(evidence))
        total += best.sum(axis=0)
        number += len(best)
    return total / max(number, 1)


def control_figures(
    *,
    singles: Mapping[str, Measured],
    panel: Sequence[str],
    frontier: Measured,
    majority: Measured,
    oracle: Floats,
    cost: float | None,
    evaluate: NDArray[np.int64],
    calibrate: NDArray[np.int64] | None,
) -> dict[str, Control]:
    """The controls on the cases ``evaluate``.

    Args:
        singles: one pass of each model by name, on all cases.
        panel: the names that are on the panel.
        frontier, majority: measured on all cases.
        oracle: (n,) on all cases.
        cost: the strategy's own cost a case; None if unknown.
        evaluate: the cases that count.
        calibrate: the cases on which choices are made; None: the same.
    """
    choose = evaluate if calibrate is None else calibrate
    best = max(
        sorted(panel),
        key=lambda name: (singles[name].credit[choose].mean(), -_cost_key(singles[name], choose)),
    )
    whole = majority.take(evaluate)
    return {
        "best_single": {**_one(singles[best], evaluate), "model": best},
        "all_frontier": _one(frontier, evaluate),
        "shuffled": _shuffled(singles, cost, evaluate, choose),
        "majority": {
            "accuracy": float(whole.credit.mean()),
            "cost_per_case": _known(whole.cost.mean()),
        },
        "oracle": {
            "accuracy": float(oracle[evaluate].mean()),
            "cost_per_case": _known(whole.cost.mean()),
        },
    }


def _one(measured: Measured, rows: NDArray[np.int64]) -> Control:
    return {
        "accuracy": float(measured.credit[rows].mean()),
        "cost_per_case": _known(measured.cost[rows].mean()),
    }


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _cost_key(measured: Measured, rows: NDArray[np.int64]) -> float:
    return float(np.nan_to_num(measured.cost[rows].mean(), nan=np.inf))


def _shuffled(
    singles: Mapping[str, Measured],
    cost: float | None,
    evaluate: NDArray[np.int64],
    choose: NDArray[np.int64],
) -> Control:
    """The best coin between two priced models at ``cost``; which two is chosen on ``choose``."""
    priced = [n for n in sorted(singles) if np.isfinite(singles[n].cost.mean())]
    if cost is None or not priced:
        return {"accuracy": None, "cost_per_case": None}
    hull = convex_hull(
        [singles[n].cost[choose].mean() for n in priced],
        [singles[n].credit[choose].mean() for n in priced],
    )
    names = [priced[i] for i in hull.points]
    costs = np.array([singles[n].cost[evaluate].mean() for n in names])
    right = np.array([singles[n].credit[evaluate].mean() for n in names])
    upper = int(np.clip(np.searchsorted(costs, cost, side="right"), 0, len(names) - 1))
    lower = max(0, upper - 1)
    share = 0.0
    if costs[upper] > costs[lower]:
        share = float(np.clip((cost - costs[lower]) / (costs[upper] - costs[lower]), 0, 1))
    return {
        "accuracy": float((1 - share) * right[lower] + share * right[upper]),
        "cost_per_case": float((1 - share) * costs[lower] + share * costs[upper]),
        "models": sorted({names[lower], names[upper]}) if 0 < share < 1 else
        [names[upper] if share else names[lower]],
    }  # fmt: skip
