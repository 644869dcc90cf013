"""Figures for routers: cost against quality.

Sources: RouterBench (Hu et al. 2024, arXiv 2403.12031) for the non-decreasing convex hull and the
average improvement in quality (AIQ); RouteLLM (Ong et al. 2024, arXiv 2406.18665) for the
performance gap recovered (PGR), its average (APGR) and the call-performance threshold CPT(x).
Costs are in any one unit; qualities in any one unit, higher is better.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Hull",
    "Shuffled",
    "aiq",
    "apgr",
    "convex_hull",
    "cost_saved_at_parity",
    "cpt",
    "hull_quality",
    "mix_at_cost",
    "pareto",
]


class Hull(NamedTuple):
    """Vertices of a non-decreasing convex hull, cheapest first.

    Attributes:
        cost: shape (v,), strictly increasing.
        quality: shape (v,), strictly increasing.
        points: shape (v,), which of the given points each vertex is.
    """

    cost: NDArray[np.float64]
    quality: NDArray[np.float64]
    points: NDArray[np.int64]


class Shuffled(NamedTuple):
    """A coin between two routes that costs a given amount on average.

    Attributes:
        cheap, dear: which of the given points are mixed.
        share: of the cases that go to ``dear``.
        cost, quality: of the mixture.
    """

    cheap: int
    dear: int
    share: float
    cost: float
    quality: float


def pareto(costs: ArrayLike, qualities: ArrayLike) -> NDArray[np.int64]:
    """Indices of the points that no other point beats in both, cheapest first.

    Of points equal in both, the first is named; equality never hides a better one.
    """
    cost, quality = _points(costs, qualities)
    order = np.asarray(np.lexsort((np.arange(cost.size), -quality, cost)), dtype=np.int64)
    best = np.maximum.accumulate(np.concatenate([[-np.inf], quality[order][:-1]]))
    return order[quality[order] > best]


def convex_hull(costs: ArrayLike, qualities: ArrayLike) -> Hull:
    """The non-decreasing concave frontier of the points: what coins between them can reach."""
    cost, quality = _points(costs, qualities)
    stack: list[int] = []
    for point in pareto(cost, quality):
        while len(stack) >= 2:
            a, b = stack[-2], stack[-1]
            rise = (quality[b] - quality[a]) * (cost[point] - cost[a])
            if rise > (quality[point] - quality[a]) * (cost[b] - cost[a]):
                break
            stack.pop()
        stack.append(int(point))
    index = np.array(stack, dtype=np.int64)
    return Hull(cost[index], quality[index], index)


def hull_quality(hull: Hull, cost: ArrayLike) -> NDArray[np.float64]:
    """Best quality on the hull at each cost; NaN below the cheapest point."""
    at = np.asarray(cost, dtype=float)
    value = np.interp(at, hull.cost, hull.quality)
    return np.where(at < hull.cost[0] - 1e-15, np.nan, value)


def aiq(
    costs: ArrayLike, qualities: ArrayLike, *, low: float | None = None, high: float | None = None
) -> float:
    """RouterBench's AIQ: mean quality of the hull between two costs.

    ``low`` and ``high`` default to the cheapest and the dearest point; give the same two to every
    router that is compared. Between a hull's dearest vertex and ``high`` its quality stays level.

    Raises:
        ValueError: where ``low`` lies below the cheapest point or not below ``high``.
    """
    cost, quality = _points(costs, qualities)
    hull = convex_hull(cost, quality)
    start = float(cost.min()) if low is None else low
    end = float(cost.max()) if high is None else high
    if start < hull.cost[0] - 1e-12:
        raise ValueError("low lies below the cheapest point: its quality is not known")
    if end <= start:
        if low is None and high is None:
            return float(quality.max())
        raise ValueError("high must lie above low")
    inside = hull.cost[(hull.cost > start) & (hull.cost < end)]
    knots = np.concatenate([[start], inside, [end]])
    return float(np.trapezoid(hull_quality(hull, knots), knots) / (end - start))


def _recovered(
    strong_share: ArrayLike, qualities: ArrayLike, weak: float, strong: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    share, quality = _points(strong_share, qualities)
    if share.min() < 0 or share.max() > 1:
        raise ValueError("the share of calls to the strong model must lie within 0 and 1")
    if strong == weak:
        raise ValueError("strong and weak are equally good: there is no gap to recover")
    order = np.argsort(share, kind="stable")
    # The ends are the two models themselves.
    shares = np.concatenate([[0.0], share[order], [1.0]])
    gap = (quality[order] - weak) / (strong - weak)
    return shares, np.concatenate([[0.0], gap, [1.0]])


def apgr(strong_share: ArrayLike, qualities: ArrayLike, *, weak: float, strong: float) -> float:
    """RouteLLM's APGR: the performance gap recovered, averaged over the share of strong calls.

    A random router has .5. The curve is joined linearly and ends at the two models themselves.
    """
    shares, gap = _recovered(strong_share, qualities, weak, strong)
    return float(np.trapezoid(gap, shares))


def cpt(
    strong_share: ArrayLike, qualities: ArrayLike, *, weak: float, strong: float, gap: float
) -> float:
    """RouteLLM's CPT(x): the least share of strong calls that recovers ``gap`` of the difference.

    Joined linearly between the points given; 1 where nothing below all strong calls reaches it.
    """
    shares, recovered = _recovered(strong_share, qualities, weak, strong)
    for i in range(len(shares)):
        if recovered[i] >= gap:
            if i == 0 or recovered[i] == recovered[i - 1]:
                return float(shares[i])
            part = (gap - recovered[i - 1]) / (recovered[i] - recovered[i - 1])
            return float(shares[i - 1] + part * (shares[i] - shares[i - 1]))
    return 1.0


def cost_saved_at_parity(
    costs: ArrayLike, qualities: ArrayLike, *, baseline_cost: float, baseline_quality: float
) -> float | None:
    """Share of the baseline's cost saved by the cheapest mixture that is as good.

    Returns:
        ``1 - cost / baseline_cost``, negative where parity costs more; None where no point of the
        hull reaches the baseline's quality.
    """
    if baseline_cost <= 0:
        raise ValueError("the baseline must cost something")
    hull = convex_hull(costs, qualities)
    if hull.quality[-1] < baseline_quality:
        return None
    cost = float(np.interp(baseline_quality, hull.quality, hull.cost))
    return 1 - cost / baseline_cost


def mix_at_cost(costs: ArrayLike, qualities: ArrayLike, cost: float) -> Shuffled:
    """The best coin between two of the points at a given mean cost: the shuffled-routing control.

    Below the cheapest vertex it is the cheapest, above the dearest the best one, at its own cost.
    """
    hull = convex_hull(costs, qualities)
    right = int(np.searchsorted(hull.cost, cost, side="right"))
    left = max(0, right - 1)
    right = min(right, len(hull.cost) - 1)
    if left == right:
        point = int(hull.points[left])
        return Shuffled(point, point, 1.0, float(hull.cost[left]), float(hull.quality[left]))
    if cost <= hull.cost[0]:
        point = int(hull.points[0])
        return Shuffled(point, point, 1.0, float(hull.cost[0]), float(hull.quality[0]))
    share = float((cost - hull.cost[left]) / (hull.cost[right] - hull.cost[left]))
    quality = float((1 - share) * hull.quality[left] + share * hull.quality[right])
    return Shuffled(int(hull.points[left]), int(hull.points[right]), share, cost, quality)


def _points(
    costs: ArrayLike, qualities: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cost, quality = np.asarray(costs, dtype=float), np.asarray(qualities, dtype=float)
    if cost.ndim != 1 or cost.shape != quality.shape or cost.size == 0:
        raise ValueError("costs and qualities must be vectors of one length, at least 1")
    if not (np.all(np.isfinite(cost)) and np.all(np.isfinite(quality))):
        raise ValueError("costs and qualities must be finite")
    return cost, quality
