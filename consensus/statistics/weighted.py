"""What a few cases that were looked at say of all of them: weights and a bound.

A case is looked at with a chance that is known before (Poisson sampling), so 1/chance is how many
cases it stands for (Horvitz & Thompson, JASA 1952). Errors are weighed and not successes: they are
few, and a case that nobody looked at then counts as no error rather than as no success. The bound
is by betting (Waudby-Smith & Ramdas, JRSS B 2024): weighed errors lie within 0 and 1/least chance,
whatever the chances are and whether or not they go with quality, so it holds at every n.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consensus.statistics.bounds import rate_bound

__all__ = ["WeightedMean", "effective_cases", "truncated", "weighted_lcb", "weighted_mean"]

Floats = NDArray[np.float64]

STAKES = (0.9, 0.6, 0.3)
"""Shares of the largest bet, staked side by side: large ones for few errors, small for many.
Fixed beforehand, so the order of the cases means nothing."""


class WeightedMean(NamedTuple):
    """A mean credit of all cases, estimated from those looked at, and its standard error."""

    mean: float
    standard_error: float


def effective_cases(weights: ArrayLike) -> float:
    """How many cases of equal weight say as much: (sum w)^2 / sum w^2 (Kish, 1965); 0 for none.

    Args:
        weights: shape (n,), not negative.
    """
    w = np.asarray(weights, dtype=float)
    squares = float((w**2).sum())
    return float(w.sum()) ** 2 / squares if squares > 0 else 0.0


def truncated(weights: ArrayLike) -> Floats:
    """Weights cut off at sqrt(n) times their mean (Ionides, JCGS 2008).

    A fit bears a little bias better than one case that outweighs all others; a bound does not, and
    is never given truncated weights.

    Args:
        weights: shape (n,), above 0.
    """
    w = np.asarray(weights, dtype=float)
    return w if not w.size else np.minimum(w, np.sqrt(w.size) * w.mean())


def weighted_mean(credits_: ArrayLike, chances: ArrayLike, *, cases: int) -> WeightedMean:
    """Unbiased estimate of the mean credit of ``cases`` cases: 1 - sum((1 - credit)/chance)/cases.

    It may fall outside 0 and 1: cutting it off there would bias it.

    Args:
        credits_: shape (k,), within [0, 1], of the cases that were looked at.
        chances: shape (k,), within (0, 1]: the chance that each had to be looked at.
        cases: in all, looked at or not; at least k. None at all: the mean is NaN.
    """
    errors, _ = _weighed(credits_, chances, cases)
    if cases == 0:
        return WeightedMean(float("nan"), float("nan"))
    mean = float(errors.sum()) / cases
    squares = float((errors**2).sum()) - cases * mean**2
    spread = max(0.0, squares) / max(1, cases - 1)
    return WeightedMean(1 - mean, float(np.sqrt(spread / cases)))


def weighted_lcb(
    credits_: ArrayLike, chances: ArrayLike, *, cases: int, least: float, delta: float
) -> float:
    """Lower bound of the mean credit of the distribution that ``cases`` cases were drawn from.

    Where every case was looked at it is the bound of plain credits, exact for credits of 0 and 1.

    Args:
        credits_: shape (k,), within [0, 1], of the cases that were looked at.
        chances: shape (k,): the chance that each had to be looked at.
        cases: in all, looked at or not; at least k.
        least: the smallest chance that any of the ``cases`` had, looked at or not. It is a fact of
            the design: the smallest *seen* would leave out whatever is looked at so rarely that it
            never was.
        delta: chance allowed that the true mean lies below the bound.
    """
    errors, weights = _weighed(credits_, chances, cases)
    if not 0 < least <= 1 or (weights.size and least > weights.min() + 1e-12):
        raise ValueError(f"least must lie in (0, 1] and below every chance, not {least}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1, not {delta}")
    if cases == 0:
        return 0.0
    if least == 1 and errors.size == cases:
        return rate_bound(1 - errors, delta=delta).bound
    return 1 - _bounded(errors, cases, 1 / least, delta)


def _bounded(errors: Floats, cases: int, largest: float, delta: float) -> float:
    """Upper bound of the mean of ``cases`` values in [0, ``largest``], all 0 but ``errors``.

    Of each share c of the most that may be staked, the capital against a mean m is the product of
    1 + c·(m - x)/(largest - m): a martingale's value if the mean is m, so the average over shares
    passes 1/delta with probability at most delta. It rises with m, so it has one root.
    """
    shares = np.array(STAKES)
    wanted = math.log(1 / delta) + math.log(shares.size)

    def loses(mean: float) -> bool:
        gap = largest - mean
        logs = (cases - errors.size) * np.log1p(shares * mean / gap)
        logs += np.log1p(shares[:, None] * (mean - errors[None, :]) / gap).sum(axis=1)
        return float(np.logaddexp.reduce(logs)) >= wanted

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if loses(middle):
            high = middle
        else:
            low = middle
    return high


def _weighed(credits_: ArrayLike, chances: ArrayLike, cases: int) -> tuple[Floats, Floats]:
    """Errors over chances, and the chances."""
    values = np.asarray(credits_, dtype=float)
    weights = np.asarray(chances, dtype=float)
    if values.ndim != 1 or values.shape != weights.shape:
        raise ValueError("credits and chances must be vectors of one length")
    if values.size > cases:
        raise ValueError(f"{values.size} cases were looked at, of {cases}")
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError("credits must lie within 0 and 1")
    if values.size and not (weights.min() > 0 and weights.max() <= 1):
        raise ValueError("chances must lie above 0 and not above 1")
    return (1 - values) / weights, weights
