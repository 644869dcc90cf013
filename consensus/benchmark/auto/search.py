"""The search of ``auto``: candidates, what each is expected to do, and which one is chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from consensus.errors import DataError
from consensus.statistics import convex_hull

__all__ = [
    "CAUTION",
    "Candidate",
    "Chosen",
    "Goal",
    "choose",
    "folds_of",
    "lead_over",
    "parse_goal",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARITY_MARGIN = 0.005
"""``parity`` aims this share above the frontier's accuracy: the estimate that was picked as just
good enough is more often too high than too low."""

BUDGET_SLACK = 0.02
"""``budget`` aims this share below its limit, for cases dearer than those calibrated on."""

CAUTION = 0.5
"""Standard errors that something more complicated must be better by: than one model, or confusion
matrices than the plurality of the same seats."""


@dataclass(frozen=True)
class Goal:
    """What to look for; ``ratio`` only for a budget: a share of one frontier pass's cost."""

    kind: Literal["parity", "quality", "budget"]
    ratio: float | None = None


def parse_goal(text: str) -> Goal:
    """Read ``parity``, ``quality`` or ``budget:RATIO``.

    Raises:
        DataError: for anything else.
    """
    if text in ("parity", "quality"):
        return Goal("parity" if text == "parity" else "quality")
    kind, _, number = text.partition(":")
    try:
        ratio = float(number)
    except ValueError:
        ratio = 0.0
    if kind != "budget" or not 0 < ratio < float("inf"):
        raise DataError(
            f'unknown goal "{text}"', where="--goal", fix="parity, quality or budget:RATIO"
        )
    return Goal("budget", ratio)


@dataclass(frozen=True)
class Candidate:
    """Something that could be chosen, measured on cases it was not fitted on.

    Attributes:
        kind: what sort; the plain ones need no fit.
        detail: what exactly, as JSON values.
        credit: (n,) credit of each calibration case, mean over sample orders.
        cost: mean cost a case, in the search's unit.
        key: how to run it.
    """

    kind: Literal["single", "vote", "scores", "stack", "blocks", "crowd", "adaptive"]
    detail: Mapping[str, Any]
    credit: Floats
    cost: float
    key: Any

    @property
    def plain(self) -> bool:
        """One model, one call."""
        return self.kind == "single"


@dataclass(frozen=True)
class Chosen:
    """One candidate, or a coin between two.

    Attributes:
        parts: (candidate, share of the cases) pairs; the shares sum to one.
        credit, cost: expected.
        note: why, where the goal could not be met as asked.
    """

    parts: tuple[tuple[Candidate, float], ...]
    credit: float
    cost: float
    note: str = ""


def folds_of(case_ids: Sequence[str], folds: int) -> Ints:
    """(n,) fold of each case, by the hash of its id: no order of cases plays a part."""
    rank = np.argsort([hashlib.sha256(f"fold:{c}".encode()).hexdigest() for c in case_ids])
    fold = np.empty(len(case_ids), dtype=np.int64)
    fold[rank] = np.arange(len(case_ids)) % folds
    return fold


def choose(
    candidates: Sequence[Candidate],
    goal: Goal,
    *,
    weights: Floats,
    frontier_credit: Floats,
    frontier_cost: float,
) -> Chosen:
    """Choose by goal.

    ``quality``: the greatest lead over the best single model, less ``CAUTION`` standard errors of
    that lead; of those within a tenth of a point, the cheapest; the single model if none leads.
    ``parity`` and ``budget``: the point of the candidates' convex hull that reaches the frontier's
    credit (plus ``PARITY_MARGIN``), or costs what is allowed: a candidate or a coin between two. A
    single model that does as well for no more money, within caution, is preferred.

    Args:
        candidates: at least one single model among them.
        goal: the goal.
        weights: (n,) of the cases.
        frontier_credit: (n,) of one frontier pass.
        frontier_cost: mean, in the same unit as the candidates'.
    """
    if goal.kind == "quality":
        return _best(candidates, weights)
    mean = np.array([np.average(c.credit, weights=weights) for c in candidates])
    cost = np.array([c.cost for c in candidates])
    hull = convex_hull(cost, mean)
    if goal.kind == "parity":
        target = float(np.average(frontier_credit, weights=weights)) + PARITY_MARGIN
        if hull.quality[-1] < target:
            best = _best(candidates, weights)
            return Chosen(best.parts, best.credit, best.cost, "nothing reaches the frontier")
        wanted = float(np.interp(target, hull.quality, hull.cost))
        picked = _mix(candidates, hull.points, hull.cost, hull.quality, wanted)
        floor = target
    else:
        limit = (goal.ratio or 0.0) * frontier_cost * (1 - BUDGET_SLACK)
        if hull.cost[0] > limit:
            cheapest = candidates[int(hull.points[0])]
            return Chosen(
                ((cheapest, 1.0),), float(hull.quality[0]), float(hull.cost[0]),
                "nothing is as cheap as the budget: the cheapest",
            )  # fmt: skip
        picked = _mix(candidates, hull.points, hull.cost, hull.quality, limit)
        floor = -np.inf
    return _simpler(picked, candidates, weights, floor)


def _best(candidates: Sequence[Candidate], weights: Floats) -> Chosen:
    singles = [c for c in candidates if c.plain]
    base = max(singles, key=lambda c: (np.average(c.credit, weights=weights), -c.cost))
    leads = [lead_over(base.credit, c.credit, weights) for c in candidates]
    scores = [lead - CAUTION * error for lead, error in leads]
    top = max(scores)
    picked = base
    if top > 0:
        close = [c for c, s in zip(candidates, scores, strict=True) if s >= top - 0.001]
        picked = min(close, key=lambda c: c.cost)
    return Chosen(((picked, 1.0),), float(np.average(picked.credit, weights=weights)), picked.cost)


def lead_over(base: Floats, credit: Floats, weights: Floats) -> tuple[float, float]:
    """Mean lead of one credit over another, and its standard error over cases."""
    difference = credit - base
    mean = float(np.average(difference, weights=weights))
    spread = (weights * (difference - mean)) ** 2
    return mean, float(np.sqrt(spread.sum()) / weights.sum())


def _mix(
    candidates: Sequence[Candidate], points: Ints, costs: Floats, quality: Floats, wanted: float
) -> Chosen:
    right = int(np.searchsorted(costs, wanted, side="left"))
    if right >= len(costs):
        last = candidates[int(points[-1])]
        return Chosen(((last, 1.0),), float(quality[-1]), float(costs[-1]))
    left = max(0, right - 1)
    upper, lower = candidates[int(points[right])], candidates[int(points[left])]
    share = 1.0
    if right > left:
        share = float(np.clip((wanted - costs[left]) / (costs[right] - costs[left]), 0, 1))
    if share > 0.98:
        return Chosen(((upper, 1.0),), float(quality[right]), float(costs[right]))
    if share < 0.02:
        return Chosen(((lower, 1.0),), float(quality[left]), float(costs[left]))
    return Chosen(
        ((lower, 1 - share), (upper, share)),
        float((1 - share) * quality[left] + share * quality[right]),
        float((1 - share) * costs[left] + share * costs[right]),
    )


def _simpler(
    picked: Chosen, candidates: Sequence[Candidate], weights: Floats, floor: float
) -> Chosen:
    """A single model that is no dearer and as good, within caution and above the floor."""
    credit = np.sum([share * c.credit for c, share in picked.parts], axis=0)
    for single in sorted((c for c in candidates if c.plain), key=lambda c: c.cost):
        if single.cost > picked.cost * (1 + 1e-9):
            break
        quality = float(np.average(single.credit, weights=weights))
        lead, error = lead_over(single.credit, credit, weights)
        if lead <= CAUTION * error and quality >= floor:
            return Chosen(((single, 1.0),), quality, single.cost, picked.note)
    return picked
