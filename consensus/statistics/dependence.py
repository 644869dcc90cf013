"""How much judges err together, and how many independent votes that leaves.

``phi`` between two judges is the correlation of their errors (Pearson's on 0/1). Within one judge
it is the intraclass correlation of repeated passes (one-way analysis of variance; Fleiss 1981,
Ridout et al., Biometrics 1999). ``n_eff = N / (1 + (N - 1) rho)`` is Kish's design effect (1965):
the variance of the panel's mean error is that of ``n_eff`` independent judges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consensus.statistics.intervals import Interval

__all__ = [
    "EffectiveVotes",
    "effective_votes",
    "error_correlation",
    "panel_dependence",
    "within_correlation",
]

_CHUNK = 4_000_000


class EffectiveVotes(NamedTuple):
    """A panel's dependence.

    Attributes:
        seats: N.
        rho: mean covariance of two seats' errors over their mean variance.
        n_eff: ``N / (1 + (N - 1) rho)``.
        rho_interval, n_eff_interval: percentile intervals over resampled cases.
    """

    seats: int
    rho: float
    n_eff: float
    rho_interval: Interval
    n_eff_interval: Interval


def effective_votes(seats: ArrayLike, rho: ArrayLike) -> NDArray[np.float64]:
    """``N / (1 + (N - 1) rho)``; never negative, infinite where the denominator vanishes."""
    n, r = np.asarray(seats, dtype=float), np.asarray(rho, dtype=float)
    with np.errstate(divide="ignore"):
        return np.asarray(n / np.maximum(1 + (n - 1) * r, 0.0))


def error_correlation(errors: ArrayLike) -> NDArray[np.float64]:
    """Correlation of errors between judges, over the cases that both answered.

    Args:
        errors: shape (cases, judges), within [0, 1] (a tie is half an error); NaN is missing.

    Returns:
        Shape (judges, judges). NaN where a judge has no variation on the shared cases, or where
        there are fewer than two of them.
    """
    data = np.asarray(errors, dtype=float)
    if data.ndim != 2:
        raise ValueError("errors must be a matrix of cases by judges")
    present = np.isfinite(data).astype(float)
    value = np.nan_to_num(data, nan=0.0)
    count = present.T @ present
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (value.T @ present) / count  # mean[i, j]: of i where j is present too
        product = (value.T @ value) / count
        square = ((value**2).T @ present) / count
        variance = square - mean**2
        covariance = product - mean * mean.T
        phi = covariance / np.sqrt(variance * variance.T)
    undefined = (count < 2) | (variance <= 1e-15) | (variance.T <= 1e-15)
    phi = np.clip(phi, -1.0, 1.0)
    phi[undefined] = np.nan
    return np.asarray(phi)


def within_correlation(errors: ArrayLike) -> float | None:
    """Intraclass correlation of one judge's passes over the same cases.

    Args:
        errors: shape (cases, passes); NaN is missing. Cases may have unequal numbers of passes.

    Returns:
        None where no case has two passes or nothing varies; negative where passes of one case
        differ more than those of different cases.
    """
    data = np.asarray(errors, dtype=float)
    if data.ndim != 2:
        raise ValueError("errors must be a matrix of cases by passes")
    present = np.isfinite(data)
    size = present.sum(axis=1).astype(float)
    data, present, size = data[size > 0], present[size > 0], size[size > 0]
    groups, total = len(size), float(size.sum())
    if groups < 2 or total <= groups:
        return None
    value = np.nan_to_num(data, nan=0.0)
    means = value.sum(axis=1) / size
    grand = float(value.sum() / total)
    between = float((size * (means - grand) ** 2).sum()) / (groups - 1)
    within = float((((data - means[:, None]) ** 2)[present]).sum()) / (total - groups)
    typical = (total - float((size**2).sum()) / total) / (groups - 1)
    denominator = between + (typical - 1) * within
    return None if denominator <= 0 else (between - within) / denominator


def panel_dependence(
    errors: ArrayLike, *, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> EffectiveVotes:
    """Dependence of a panel's seats, with intervals over resampled cases.

    Cases on which a seat is missing (NaN) are left out.

    Args:
        errors: shape (cases, seats), within [0, 1].
        draws: resamples of the cases.
        seed: same seed, same interval.
        level: two-sided confidence level.

    Raises:
        ValueError: for fewer than two complete cases, or if no seat ever varies.
    """
    data = np.asarray(errors, dtype=float)
    if data.ndim != 2 or data.shape[1] < 1:
        raise ValueError("errors must be a matrix of cases by seats")
    data = data[np.isfinite(data).all(axis=1)]
    n, seats = data.shape
    if n < 2:
        raise ValueError("dependence needs at least two cases that every seat answered")
    mean = data.mean(axis=1)
    # Every moment that rho needs is a mean over cases, so a resample is one matrix product.
    moments = np.column_stack([data, (data**2).mean(axis=1), mean, mean**2])
    rho = float(_rho(moments.mean(axis=0)[None, :], seats)[0])
    if not np.isfinite(rho):
        raise ValueError("no seat's errors vary: dependence is not defined")
    rng = np.random.default_rng(seed)
    samples = np.empty(draws)
    step = max(1, _CHUNK // n)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size)
        samples[start : start + size] = _rho(counts @ moments / n, seats)
    samples = samples[np.isfinite(samples)]
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    votes = effective_votes(seats, np.array([rho, high, low]))
    return EffectiveVotes(
        seats,
        rho,
        float(votes[0]),
        Interval(float(low), float(high)),
        Interval(float(votes[1]), float(votes[2])),
    )


def _rho(moments: NDArray[np.float64], seats: int) -> NDArray[np.float64]:
    """Mean pair covariance over mean variance, from rows of means of the moments."""
    singles = moments[:, :seats]
    variance = moments[:, seats] - (singles**2).mean(axis=1)
    panel = moments[:, seats + 2] - moments[:, seats + 1] ** 2
    if seats == 1:
        return np.where(variance > 1e-15, 0.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = (seats * panel / variance - 1) / (seats - 1)
    return np.asarray(np.where(variance > 1e-15, rho, np.nan))
