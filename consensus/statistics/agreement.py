"""Agreement beyond chance: Cohen's kappa and Krippendorff's alpha.

Sources: Cohen (1960; weighted 1968); Krippendorff, "Computing Krippendorff's Alpha-Reliability"
(2011), whose example is in the tests.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["cohen_kappa", "confusion", "krippendorff_alpha", "overlap_confusion"]

Level = Literal["nominal", "ordinal", "interval"]


def confusion(first: ArrayLike, second: ArrayLike, categories: int) -> NDArray[np.float64]:
    """Counts of (first, second) category pairs, shape (categories, categories).

    Both are vectors of integers 0 … ``categories - 1``; negative means missing, and such a case
    is left out.
    """
    left, right = np.asarray(first, dtype=int), np.asarray(second, dtype=int)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError("paired labels must be vectors of one length")
    keep = (left >= 0) & (right >= 0)
    table = np.zeros((categories, categories))
    np.add.at(table, (left[keep], right[keep]), 1.0)
    return table


def overlap_confusion(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Confusion matrix of decisions that may be tied, shape (K, K).

    A decision is a row of shares that sum to one (a tie of two is two halves). Two decisions agree
    to the extent of their overlap ``sum_k min(p_k, q_k)``, on the diagonal; what is left of both is
    spread off it in proportion. Equal rows agree fully, whatever their ties.

    Args:
        first: shape (n, K).
        second: the same cases, shape (n, K).
    """
    p, q = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if p.shape != q.shape or p.ndim != 2:
        raise ValueError("paired decisions must be matrices of one shape")
    shared = np.minimum(p, q)
    table = np.diag(shared.sum(axis=0)).astype(float)
    rest_p, rest_q = p - shared, q - shared
    mass = rest_p.sum(axis=1)
    scale = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
    return np.asarray(table + (rest_p * scale[:, None]).T @ rest_q)


def cohen_kappa(
    table: ArrayLike, *, weights: Literal["none", "linear", "quadratic"] = "none"
) -> float | None:
    """Cohen's kappa of a square confusion matrix (counts or shares).

    Returns:
        None where chance agreement is complete (both raters used one and the same category), or
        for an empty table: kappa is not defined there.
    """
    counts = np.asarray(table, dtype=float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError("kappa needs a square confusion matrix")
    total = counts.sum()
    if total <= 0:
        return None
    shares = counts / total
    expected = np.outer(shares.sum(axis=1), shares.sum(axis=0))
    index = np.arange(len(counts))
    distance = np.abs(index[:, None] - index[None, :]).astype(float)
    if weights == "none":
        distance = (distance > 0).astype(float)
    elif weights == "quadratic":
        distance = distance**2
    chance = float(np.sum(distance * expected))
    if chance <= 1e-15:
        return None
    return 1 - float(np.sum(distance * shares)) / chance


def krippendorff_alpha(values: ArrayLike, *, level: Level = "nominal") -> float | None:
    """Krippendorff's alpha of raters × units, with missing values.

    Args:
        values: shape (raters, units), numbers; NaN is missing. Units with fewer than two values
            pair with nothing and are left out.
        level: how far apart two values are: ``nominal`` (equal or not), ``ordinal`` (by the mass
            of values between them), ``interval`` (squared difference).

    Returns:
        None where there is nothing to pair, or no variation at all.
    """
    data = np.asarray(values, dtype=float)
    if data.ndim != 2:
        raise ValueError("alpha needs a matrix of raters by units")
    present = np.isfinite(data)
    data = data[:, present.sum(axis=0) >= 2]
    present = np.isfinite(data)
    if data.size == 0:
        return None
    categories, codes = np.unique(data[present], return_inverse=True)
    counts = np.zeros((data.shape[1], len(categories)))
    np.add.at(counts, (np.nonzero(present)[1], codes), 1.0)
    raters = counts.sum(axis=1)
    weighted = counts / (raters - 1)[:, None]
    coincidence = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    marginal = coincidence.sum(axis=1)
    total = marginal.sum()
    distance = _squared_distance(categories, marginal, level)
    expected = float(np.sum(distance * np.outer(marginal, marginal)) / (total - 1))
    if expected <= 0:
        return None
    return 1 - float(np.sum(distance * coincidence)) / expected


def _squared_distance(
    categories: NDArray[np.float64], marginal: NDArray[np.float64], level: Level
) -> NDArray[np.float64]:
    if level == "nominal":
        return 1.0 - np.eye(len(categories))
    if level == "interval":
        return np.asarray((categories[:, None] - categories[None, :]) ** 2)
    # The mass between c and k, with half of each end.
    middle = np.cumsum(marginal) - marginal / 2
    return np.asarray((middle[:, None] - middle[None, :]) ** 2)
