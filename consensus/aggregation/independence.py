"""How many votes a panel is worth: error correlation, effective votes, value of the next seat.

Two views of the same thing. Pairwise: φ, the correlation of two seats' error indicators over cases.
By block: the number of right seats of a case is beta-binomial with mean p and intraclass
correlation ρ (Skellam 1948); the moments estimate is the analysis-of-variance one (Ridout et al.
1999), the likelihood one has an interval from its own profile. N seats then carry
n_eff = N/(1+(N−1)ρ) independent ones (Kish 1965).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    ConvergenceError,
    FitError,
    FloatArray,
    check_unit,
)
from consensus.statistics import dependence
from consensus.statistics.dependence import effective_votes

__all__ = [
    "BlockCorrelation",
    "PairCorrelation",
    "accuracy_of_majority",
    "beta_binomial_fit",
    "effective_votes",
    "error_correlation",
    "intraclass_correlation",
    "marginal_value",
    "mean_error_correlation",
]


class PairCorrelation(NamedTuple):
    """Mean pairwise error correlation of a panel.

    Attributes:
        rho: mean φ over pairs of seats.
        low, high: percentile bootstrap over cases, 95 %.
        matrix: (seats, seats) φ; NaN where a seat never errs, always errs, or shares no case.
    """

    rho: float
    low: float
    high: float
    matrix: FloatArray


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


def error_correlation(correct: npt.ArrayLike) -> FloatArray:
    """φ between seats: (cases, seats) of 0, 1, NaN → (seats, seats), 1 on the diagonal.

    Each pair is taken over the cases that both answered. Being right correlates as erring does.
    """
    phi = dependence.error_correlation(correct)
    np.fill_diagonal(phi, 1.0)
    return phi


def mean_error_correlation(
    correct: npt.ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> PairCorrelation:
    """Mean φ over the pairs of a panel, with a bootstrap interval over cases.

    Raises:
        FitError: with fewer than two seats that both err and are right on shared cases.
    """
    y = np.asarray(correct, dtype=np.float64)
    matrix = error_correlation(y)
    pairs = np.triu_indices(matrix.shape[0], 1)
    if not pairs[0].size or np.isnan(matrix[pairs]).all():
        raise FitError("error correlation needs two seats that are right on some cases, not all")
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        sample = error_correlation(y[rng.integers(0, len(y), len(y))])[pairs]
        if not np.isnan(sample).all():
            means.append(np.nanmean(sample))
    low, high = np.quantile(means, [0.025, 0.975])
    return PairCorrelation(float(np.nanmean(matrix[pairs])), float(low), float(high), matrix)


def intraclass_correlation(correct: npt.ArrayLike, seats: npt.ArrayLike) -> float:
    """Moments estimate of ρ: right seats (cases,) out of answering seats (cases,).

    The analysis-of-variance estimator; it can come out slightly negative.

    Raises:
        FitError: without two cases, or where all seats are always right or always wrong.
    """
    k, n = _counts(correct, seats)
    total, cases = n.sum(), n.size
    share = k.sum() / total
    if cases < 2 or total <= cases or share in (0.0, 1.0):
        raise FitError("ρ needs several seats on several cases, some right and some wrong")
    between = (n * (k / n - share) ** 2).sum() / (cases - 1)
    within = (k * (1 - k / n)).sum() / (total - cases)
    size = (total - (n**2).sum() / total) / (cases - 1)
    return float((between - within) / (between + (size - 1) * within))


def beta_binomial_fit(correct: npt.ArrayLike, seats: npt.ArrayLike) -> BlockCorrelation:
    """Maximum likelihood of (p, ρ), with a profile interval of ρ.

    Args:
        correct: (cases,) seats that were right.
        seats: (cases,) or one number: seats that answered; cases with fewer than one are left out.

    Raises:
        FitError: as :func:`intraclass_correlation`.
        ConvergenceError: where the optimiser gives up.
    """
    from scipy.optimize import brentq, minimize, minimize_scalar
    from scipy.special import betaln
    from scipy.stats import chi2

    k, n = _counts(correct, seats)
    start = min(max(intraclass_correlation(k, n), 0.01), 0.9)
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
    from scipy.special import betaln, gammaln

    check_unit("p", p)
    if not 0.0 <= rho < 1.0:
        raise ValueError("rho must lie in [0, 1)")
    k = np.arange(seats + 1)
    ways = gammaln(seats + 1) - gammaln(k + 1) - gammaln(seats - k + 1)
    if rho == 0.0:
        mass = np.exp(ways + k * np.log(p) + (seats - k) * np.log1p(-p))
    else:
        s = 1.0 / rho - 1.0
        a, b = s * p, s * (1.0 - p)
        mass = np.exp(ways + betaln(k + a, seats - k + b) - betaln(a, b))
    return float(mass[2 * k > seats].sum() + 0.5 * mass[2 * k == seats].sum())


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
