"""A block of seats that err together: its correlation by likelihood, and what one more is worth.

The number of right seats of a case is beta-binomial with mean p and intraclass correlation ρ
(Skellam 1948), fitted by likelihood with an interval from its own profile. What is measured without
that model (correlations between judges, within one judge, effective votes) is in
:mod:`consensus.statistics.dependence`, and the moments estimate that the fit starts from is its.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    ConvergenceError,
    FitError,
    FloatArray,
    check_unit,
)
from consensus.statistics.dependence import within_correlation

__all__ = [
    "BlockCorrelation",
    "accuracy_of_majority",
    "beta_binomial_fit",
    "marginal_value",
]


class BlockCorrelation(NamedTuple):
    """Beta-binomial fit of a block of seats.

    Attributes:
        p: accuracy of a seat.
        rho: correlation of two seats' errors on a case, ≥ 0.
        low, high: 95 % profile-likelihood interval of rho.
        cases: how many it rests on.
    """

    p: float
    rho: float
    low: float
    high: float
    cases: int


def beta_binomial_fit(correct: npt.ArrayLike, seats: npt.ArrayLike) -> BlockCorrelation:
    """Maximum likelihood of (p, ρ), with a profile interval of ρ.

    Args:
        correct: (cases,) seats that were right.
        seats: (cases,) or one number: seats that answered; cases with fewer than one are left out.

    Raises:
        FitError: without two cases, or where all seats are always right or always wrong.
        ConvergenceError: where the optimiser gives up.
    """
    from scipy.optimize import brentq, minimize, minimize_scalar
    from scipy.special import betaln
    from scipy.stats import chi2

    k, n = _counts(correct, seats)
    moments = within_correlation(_passes(k, n))
    if moments is None or k.sum() in (0.0, n.sum()):
        raise FitError("ρ needs several seats on several cases, some right and some wrong")
    start = min(max(moments, 0.01), 0.9)
    pairs, times = np.unique(np.stack([k, n]), axis=1, return_counts=True)

    def loss(p: float, rho: float) -> float:
        s = 1.0 / rho - 1.0
        a, b = s * p, s * (1.0 - p)
        return -float(
            (times * (betaln(pairs[0] + a, pairs[1] - pairs[0] + b) - betaln(a, b))).sum()
        )

    def squash(v: float) -> float:
        return float(1.0 / (1.0 + np.exp(-v)))

    floor = 1e-6  # ρ = 0 is a limit of the family, not a member
    share = float(k.sum() / n.sum())

    def at_logits(v: npt.NDArray[np.float64]) -> float:
        return loss(squash(float(v[0])), max(squash(float(v[1])), floor))

    best = minimize(
        at_logits,
        np.array([np.log(share / (1 - share)), np.log(start / (1 - start))]),
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000},
    )
    if not best.success:
        raise ConvergenceError("the beta-binomial fit did not converge")
    p, rho = squash(best.x[0]), max(squash(best.x[1]), floor)

    def excess(r: float) -> float:
        at = minimize_scalar(lambda v: loss(squash(v), r), bounds=(-12, 12), method="bounded")
        return float(2.0 * (at.fun - best.fun) - chi2.ppf(0.95, 1))

    low = brentq(excess, floor, rho) if rho > floor and excess(floor) > 0 else 0.0
    top = 1.0 - 1e-6
    high = brentq(excess, rho, top) if excess(top) > 0 else 1.0
    return BlockCorrelation(p, 0.0 if rho <= 2 * floor else rho, low, high, int(n.size))


def accuracy_of_majority(seats: int, p: float, rho: float) -> float:
    """P(a majority of ``seats`` is right) for two options, ties counted half.

    Beta-binomial with mean ``p`` and correlation ``rho``: at p = .8, ρ = .44 it is .80, .82, .83,
    .84 for 1, 3, 9, 101 seats.
    """
    check_unit("p", p)
    if not 0.0 <= rho < 1.0:
        raise ValueError("rho must lie in [0, 1)")
    ways = [math.comb(seats, k) for k in range(seats + 1)]
    if rho == 0.0:
        mass = [w * p**k * (1.0 - p) ** (seats - k) for k, w in enumerate(ways)]
    elif p in (0.0, 1.0):
        mass = [float(k == seats * p) for k in range(seats + 1)]
    else:
        s = 1.0 / rho - 1.0
        a, b = s * p, s * (1.0 - p)
        mass = [
            math.exp(math.log(w) + _log_beta(k + a, seats - k + b) - _log_beta(a, b))
            for k, w in enumerate(ways)
        ]
    return math.fsum(
        m * (1.0 if 2 * k > seats else 0.5 * (2 * k == seats)) for k, m in enumerate(mass)
    )


def marginal_value(seats: int, p: float, rho: float, more: int = 2) -> float:
    """Accuracy that ``more`` further seats add to a majority of ``seats``.

    Two by default: with two options, an even seat breaks no tie in expectation and adds nothing.
    """
    return accuracy_of_majority(seats + more, p, rho) - accuracy_of_majority(seats, p, rho)


def _counts(correct: npt.ArrayLike, seats: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    k = np.asarray(correct, dtype=np.float64).ravel()
    n = np.broadcast_to(np.asarray(seats, dtype=np.float64), k.shape).ravel()
    if (k < 0).any() or (k > n).any():
        raise ValueError("correct must lie between 0 and seats")
    held = n >= 1
    if not held.any():
        raise FitError("there are no answered cases")
    return k[held], n[held]


def _passes(right: FloatArray, answered: FloatArray) -> FloatArray:
    """Counts as (cases, most seats) of 1, 0 and NaN: which seat was right does not matter here."""
    column = np.arange(int(answered.max()))[None, :]
    passes = np.where(column < right[:, None], 1.0, 0.0)
    return np.where(column < answered[:, None], passes, np.nan)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
