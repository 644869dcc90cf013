"""Who is among the best: probabilities from fitted strengths.

Strengths are taken as normal around the fit, each with its own standard error and independent of
the others (the covariance that the common mean brings is small where items are several): then
P(i is the best) = ∫ φᵢ(x) Πⱼ Φⱼ(x) dx, and P(S is the top set) = ∫ Σᵢ∈S φᵢ(x) Πⱼ∈S∖i (1 − Φⱼ(x))
Πₖ∉S Φₖ(x) dx, i being the least of S. One grid for all integrals; nothing is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from consensus.aggregation._numerics import FloatArray, canonical_sum
from consensus.aggregation.paired import Strengths

__all__ = ["beats_probability", "first_probabilities", "membership", "top_probability"]

GRID = 801
REACH = 6.0
"""Standard errors that the grid goes beyond the outermost strengths."""


def first_probabilities(strengths: Strengths) -> FloatArray:
    """(items,) probability of each item of being the best; sums to one."""
    density, below = _grid(strengths)
    mass = np.array(
        [
            _integral(density[i] * np.prod(np.delete(below, i, axis=0), axis=0))
            for i in range(len(below))
        ]
    )
    return np.asarray(mass / float(canonical_sum(mass)), dtype=np.float64)


def top_probability(strengths: Strengths, chosen: Collection[int]) -> float:
    """Probability that just these items are the best ones.

    Raises:
        ValueError: for no item, all of them, or an unknown one.
    """
    inside = sorted(set(chosen))
    n = len(strengths.theta)
    if not 0 < len(inside) < n or inside[0] < 0 or inside[-1] >= n:
        raise ValueError(f"a top set has 1 to {n - 1} of the items")
    density, below = _grid(strengths)
    others = [i for i in range(n) if i not in inside]
    beaten = np.prod(below[others], axis=0)
    total = [
        _integral(density[i] * np.prod(1.0 - below[[j for j in inside if j != i]], axis=0) * beaten)
        for i in inside
    ]
    return float(min(max(math.fsum(total), 0.0), 1.0))


def beats_probability(strengths: Strengths, i: int, j: int) -> float:
    """Probability that item i is stronger than item j, by the fit's own covariance of the two."""
    cov = strengths.covariance
    spread = math.sqrt(max(float(cov[i, i] + cov[j, j] - 2.0 * cov[i, j]), 1e-12))
    return _normal_below(float(strengths.theta[i] - strengths.theta[j]) / spread)


def membership(strengths: Strengths, top: int) -> FloatArray:
    """(items,) rough probability of each item of being among the best ``top``.

    Its strength against the middle between the ``top``-th and the next: good enough to see which
    items a further comparison could move across the border.
    """
    ordered = np.sort(strengths.theta)[::-1]
    border = (ordered[top - 1] + ordered[top]) / 2.0
    error = np.sqrt(np.maximum(np.diag(strengths.covariance), 1e-12))
    return np.array([_normal_below(z) for z in ((strengths.theta - border) / error).tolist()])


def _grid(strengths: Strengths) -> tuple[FloatArray, FloatArray]:
    """Density · step and distribution function of every item on one grid, (items, GRID)."""
    theta = strengths.theta
    error = np.sqrt(np.maximum(np.diag(strengths.covariance), 1e-12))
    low, high = (theta - REACH * error).min(), (theta + REACH * error).max()
    x = np.linspace(low, high, GRID)
    z = (x[None, :] - theta[:, None]) / error[:, None]
    edges = np.concatenate([[low], (x[1:] + x[:-1]) / 2.0, [high]])
    at_edges = _below((edges[None, :] - theta[:, None]) / error[:, None])
    return np.diff(at_edges, axis=1), _below(z)


def _below(z: FloatArray) -> FloatArray:
    return np.array([[_normal_below(value) for value in row] for row in z.tolist()])


def _normal_below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def _integral(mass: FloatArray) -> float:
    return math.fsum(mass.tolist())
