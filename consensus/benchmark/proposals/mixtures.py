"""Coins between two measured rows: qualities and prices that no single row has.

``auto``'s search over the convex hull, on what the rows did when served on the calibration half.
Two aims: the quality that the certificate's floor takes on the evaluation half, and the frontier's.
A mixture is only a candidate: it is measured again as the engine would serve it, coin and all.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.search import PARITY_MARGIN, Chosen, Goal, choose
from consensus.benchmark.auto.search import Candidate as Point
from consensus.benchmark.proposals.candidates import Candidate
from consensus.policy.consequences import Bars
from consensus.policy.rows import BUILT_IN
from consensus.statistics import rate_bound

__all__ = ["LEAST", "Arm", "mixtures"]

Floats = NDArray[np.float64]

LEAST = 40
"""Calibration cases below which no coin is tried: its share would be a guess."""


class Arm(NamedTuple):
    """A measured row that a mixture may hold.

    Attributes:
        candidate: the row.
        credit: (n,) of the calibration half.
        cost: mean, in any one unit.
    """

    candidate: Candidate
    credit: Floats
    cost: float


def mixtures(
    task_type: str, arms: Sequence[Arm], frontier: Arm, bar: Bars, tests: int
) -> Iterator[Candidate]:
    """The mixtures worth a try; none where a row alone does as well.

    Args:
        task_type: part of the names of the strategies that a mixture needs.
        arms: measured rows; those that name a calibration or a strategy of the policy have no part.
        frontier: one frontier call.
        bar: what the certificate asks.
        tests: evaluation cases.
    """
    usable = [arm for arm in arms if _usable(arm.candidate)]
    if len(frontier.credit) < LEAST or len(usable) < 2:
        return
    points = [
        Point(
            "single" if arm.candidate.row["strategy"] == "single" else "vote",
            {},
            arm.credit,
            arm.cost,
            arm.candidate,
        )
        for arm in usable
    ]
    weights = np.ones(len(frontier.credit))
    aims = {
        "at the floor": _needed(bar, tests),
        "like the frontier": float(frontier.credit.mean()) + PARITY_MARGIN,
    }
    seen = set()
    for aim, target in aims.items():
        if target is None or not any(point.plain for point in points):
            continue
        chosen = choose(
            points,
            Goal("parity"),
            weights=weights,
            frontier_credit=np.full(len(weights), target - PARITY_MARGIN),
            frontier_cost=frontier.cost,
        )
        if len(chosen.parts) == 2 and chosen.credit >= target - 1e-9:
            made = _mixed(task_type, chosen, aim)
            if made.name not in seen:
                seen.add(made.name)
                yield made


def _usable(candidate: Candidate) -> bool:
    row = candidate.row
    return candidate.fitted is None and "calibration" not in row and row.get("strategy") in BUILT_IN


def _needed(bar: Bars, tests: int) -> float | None:
    """Quality that clears the floor on so many cases, a standard error of luck allowed for."""
    low, high = 0, tests
    if _bound(tests, tests, bar.delta) < bar.floor:
        return None
    while low < high:
        passes = (low + high) // 2
        if _bound(passes, tests, bar.delta) >= bar.floor:
            high = passes
        else:
            low = passes + 1
    rate = low / tests
    return min(1.0, rate + math.sqrt(rate * (1 - rate) / tests))


def _bound(passes: int, tests: int, delta: float) -> float:
    return rate_bound(np.repeat([1.0, 0.0], [passes, tests - passes]), delta=delta).bound


def _mixed(task_type: str, chosen: Chosen, aim: str) -> Candidate:
    strategies: dict[str, Mapping[str, Any]] = {}
    mix, said = [], []
    first = round(chosen.parts[0][1], 2)
    for (point, _), share in zip(chosen.parts, (first, round(1 - first, 2)), strict=True):
        row = dict(point.key.row)
        table = {"orchestrator": row.pop("strategy"), **row}
        digest = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:8]
        # Named by what it is: the same strategy never stands twice, nor another under its name.
        name = f"{task_type[:100]}-{digest}"
        strategies[name] = table
        mix.append({"share": share, "strategy": name})
        said.append(f"{share:.0%} {point.key.name}")
    name = f"mix {aim}: {', '.join(said)}"
    return Candidate(name, {"mix": mix}, source="auto", strategies=strategies)
