"""Who is among the best: probabilities from fitted strengths.

Strengths are taken as normal around the fit, with its covariance. Item i is the best where all of
its differences dⱼ = θᵢ − θⱼ are positive; S is the top set with i as its least where those to the
rest of S are negative and all others positive. Each difference keeps its own mean and variance, and
their correlations are those nearest to one common factor, rⱼₖ ≈ aⱼaₖ: exact for two or three items,
and wherever errors of items are independent but for their common mean. Then the probability is one
integral (Dunnett & Sobel 1955), ∫ φ(x) Πⱼ Φ((zⱼ + aⱼx)/√(1 − aⱼ²)) dx; nothing is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache

import numpy as np

from consensus.aggregation._numerics import FloatArray, canonical_sum
from consensus.aggregation.paired import Strengths

__all__ = ["beats_probability", "first_probabilities", "membership", "top_probability"]

GRID = 241
REACH = 7.0
"""The grid goes from minus to plus so many standard deviations of the common factor."""

NEGLIGIBLE = 1e-9
"""An item is not looked at closer where a single other one leaves it less than this."""

MOST_SHARED = 0.998
FACTOR_STEPS = 30


def first_probabilities(strengths: Strengths) -> FloatArray:
    """(items,) probability of each item of being the best; sums to one."""
    n = len(strengths.theta)
    mass = np.array([_all_positive(strengths, i, np.ones(n)) for i in range(n)])
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
    sign = np.ones(n)
    sign[inside] = -1.0
    total = [_all_positive(strengths, i, sign) for i in inside]
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


def _all_positive(strengths: Strengths, i: int, sign: FloatArray) -> float:
    """P(sign[j] · (θᵢ − θⱼ) > 0 for every other j)."""
    others = np.delete(np.arange(len(strengths.theta)), i)
    if not len(others):
        return 1.0
    cov, s = strengths.covariance, sign[others]
    apart = cov[i, i] - cov[i, others][None, :] - cov[others, i][:, None]
    apart = (apart + cov[np.ix_(others, others)]) * np.outer(s, s)
    spread = np.sqrt(np.maximum(np.diag(apart), 1e-12))
    z = s * (strengths.theta[i] - strengths.theta[others]) / spread
    if _normal_below(float(z.min())) < NEGLIGIBLE:
        return 0.0
    shared = _common_factor(apart / np.outer(spread, spread))
    x, weight = _grid()
    inner = (z[:, None] + shared[:, None] * x[None, :]) / np.sqrt(1.0 - shared**2)[:, None]
    return math.fsum((weight * np.prod(_below(inner), axis=0)).tolist())


@lru_cache(maxsize=1)
def _grid() -> tuple[FloatArray, FloatArray]:
    """Points of the common factor, and the probability of each."""
    edges = np.linspace(-REACH, REACH, GRID + 1)
    return (edges[1:] + edges[:-1]) / 2.0, np.diff(_below(edges[None, :])[0])


def _common_factor(correlation: FloatArray) -> FloatArray:
    """(m,) a with aⱼaₖ nearest to the correlations off the diagonal (principal factor)."""
    m = len(correlation)
    if m == 1:
        return np.zeros(1)
    matrix = correlation.copy()
    off = np.abs(correlation - np.diag(np.diag(correlation)))
    own = off.max(axis=1)
    for _ in range(FACTOR_STEPS):
        np.fill_diagonal(matrix, own)
        values, vectors = np.linalg.eigh(matrix)
        factor = vectors[:, -1] * math.sqrt(max(float(values[-1]), 0.0))
        own = np.minimum(factor**2, MOST_SHARED**2)
    return np.asarray(np.clip(factor, -MOST_SHARED, MOST_SHARED))


def _below(z: FloatArray) -> FloatArray:
    return np.array([[_normal_below(value) for value in row] for row in z.tolist()])


def _normal_below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
