"""Two routes on the same cases: is one better, is one as good, how many cases would tell.

Everything is paired by case: both routes judged the same cases, and the cases are what was
sampled. The bootstrap (Efron 1979) resamples cases; McNemar's test (1947) is used in its exact
binomial form.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consensus.statistics.intervals import Interval

__all__ = [
    "BootstrapResult",
    "McNemar",
    "Parity",
    "bootstrap_ratio",
    "cases_for_parity",
    "mcnemar",
    "paired_bootstrap",
    "parity",
]

_CHUNK = 4_000_000
"""Most numbers held at once while resampling (32 MB of counts)."""
_KEPT = 12_000_000
"""Most numbers kept for the next call (48 MB of counts)."""
_ALONE = 200_000
"""Multiplications up to which a product of matrices stays in one thread."""


class BootstrapResult(NamedTuple):
    """An estimate with its percentile interval over resampled cases."""

    estimate: float
    interval: Interval


class McNemar(NamedTuple):
    """McNemar's exact test: cases that only one side got right, and the two-sided p-value."""

    only_first: int
    only_second: int
    p_value: float


class Parity(NamedTuple):
    """Whether the first route is at most ``epsilon`` worse than the second.

    Attributes:
        difference: mean of first minus second.
        lower: one-sided lower bound of it at ``1 - alpha``.
        passes: ``lower >= -epsilon``.
        more_cases: how many more cases would let it pass with the asked power if the difference
            seen is the true one; 0 if it passes, None if no number would (the difference itself
            lies at or below ``-epsilon``).
    """

    difference: float
    lower: float
    passes: bool
    more_cases: int | None


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike | None = None,
    *,
    draws: int = 4000,
    seed: int = 0,
    level: float = 0.95,
) -> BootstrapResult:
    """Mean of ``first - second`` over cases, with a percentile interval over resampled cases.

    Args:
        first: shape (n,), a credit a case.
        second: the same cases in the same order; zeros where it is None.
        draws: resamples.
        seed: same seed, same interval.
        level: two-sided confidence level.
    """
    values = np.asarray(first, dtype=float)
    if second is not None:
        other = np.asarray(second, dtype=float)
        if other.shape != values.shape:
            raise ValueError(f"paired values need one shape, not {values.shape} and {other.shape}")
        values = values - other
    return bootstrap_ratio(values, np.ones_like(values), draws=draws, seed=seed, level=level)


def bootstrap_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    draws: int = 4000,
    seed: int = 0,
    level: float = 0.95,
) -> BootstrapResult:
    """``sum(numerator) / sum(denominator)`` over cases, with a percentile interval.

    How often each case was drawn is kept for the next call on as many cases, since a sweep over one
    data set asks a thousand times. Of more cases than can be kept, those with equal numerator and
    denominator are exchangeable: multinomial counts over the distinct pairs are the same
    distribution, and far fewer numbers.

    Raises:
        ValueError: for no cases, unequal shapes, or a denominator that does not sum above zero.
    """
    top = np.asarray(numerator, dtype=float)
    bottom = np.asarray(denominator, dtype=float)
    if top.ndim != 1 or top.shape != bottom.shape or top.size == 0:
        raise ValueError("numerator and denominator must be vectors of one length, at least 1")
    if not (np.all(np.isfinite(top)) and np.all(np.isfinite(bottom))):
        raise ValueError("numerator and denominator must be finite")
    if bottom.sum() <= 0:
        raise ValueError("the denominator must sum above zero")
    if top.size * draws <= _KEPT:
        # In an order of their own, so that it is not the order of the cases that is resampled.
        pairs = np.column_stack([top, bottom])[np.lexsort((bottom, top))]
        unit = np.abs(pairs).max(axis=0).clip(1e-300)
        sums = _product(_resamples(top.size, draws, seed), (pairs / unit).astype(np.float32))
        ratios = _ratios(sums.astype(float) * unit)
    else:
        pairs, counts = np.unique(np.column_stack([top, bottom]), axis=0, return_counts=True)
        rng = np.random.default_rng(seed)
        shares = counts / counts.sum()
        ratios = np.empty(draws)
        step = max(1, _CHUNK // len(counts))
        for start in range(0, draws, step):
            size = min(step, draws - start)
            sums = rng.multinomial(top.size, shares, size=size) @ pairs
            ratios[start : start + size] = _ratios(sums)
    ratios = ratios[np.isfinite(ratios)]
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return BootstrapResult(float(top.sum() / bottom.sum()), Interval(float(low), float(high)))


def _ratios(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1])


def _product(counts: NDArray[np.float32], pairs: NDArray[np.float32]) -> NDArray[np.float32]:
    """``counts @ pairs`` in pieces that no library hands to threads, which would wait for them."""
    step = max(1, _ALONE // pairs.size)
    return np.concatenate([counts[i : i + step] @ pairs for i in range(0, len(counts), step)])


@lru_cache(maxsize=2)
def _resamples(cases: int, draws: int, seed: int) -> NDArray[np.float32]:
    """(draws, cases) how often each case is in each resample."""
    rng = np.random.default_rng(seed)
    counts = np.empty((draws, cases), dtype=np.float32)
    step = max(1, _CHUNK // cases)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = rng.integers(cases, size=(rows, cases)) + np.arange(rows)[:, None] * cases
        found = np.bincount(drawn.ravel(), minlength=rows * cases)
        counts[start : start + rows] = found.reshape(rows, cases)
    return counts


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar's exact test on two vectors of right (1) and wrong (0).

    Cases on which both sides agree say nothing; the rest are coin flips if the sides are equal.
    """
    from scipy.special import bdtr

    left, right = _binary(first), _binary(second)
    if left.shape != right.shape:
        raise ValueError(f"paired values need one shape, not {left.shape} and {right.shape}")
    only_first = int(np.sum(left & ~right))
    only_second = int(np.sum(~left & right))
    discordant = only_first + only_second
    p_value = 1.0
    if discordant:
        p_value = min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5)))
    return McNemar(only_first, only_second, p_value)


def cases_for_parity(
    variance: float,
    *,
    epsilon: float,
    alpha: float = 0.05,
    power: float = 0.8,
    true_difference: float = 0.0,
) -> int | None:
    """Cases after which a one-sided parity test passes with the given power.

    ``n = ((z_{1-alpha} + z_power)² · variance) / (epsilon + true_difference)²``.

    Args:
        variance: of the per-case difference; with 0/1 credits and no true difference it is the
            share of discordant cases.
        epsilon: the loss that still counts as parity, as a share (.02 is two points).
        alpha: one-sided error.
        power: chance to pass.
        true_difference: first minus second, as a share.

    Returns:
        None where no number of cases would do: ``true_difference <= -epsilon``.
    """
    if variance < 0 or epsilon < 0:
        raise ValueError("variance and epsilon must be at least 0")
    margin = epsilon + true_difference
    if margin <= 0:
        return None
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return max(1, math.ceil(z * z * variance / margin**2))


def parity(
    first: ArrayLike,
    second: ArrayLike,
    *,
    epsilon: float,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Parity:
    """Test ``mean(first - second) >= -epsilon`` on paired cases (one-sided normal bound).

    The bound uses the sample variance, floored by one discordant case in ``n + 1``: a handful of
    cases without any difference proves nothing.
    """
    values = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    n = values.size
    if n < 2:
        raise ValueError("parity needs at least two paired cases")
    difference = float(values.mean())
    variance = max(float(values.var(ddof=1)), 1 / (n + 1))
    lower = difference - NormalDist().inv_cdf(1 - alpha) * math.sqrt(variance / n)
    passes = lower >= -epsilon
    if passes:
        return Parity(difference, lower, True, 0)
    needed = cases_for_parity(
        variance, epsilon=epsilon, alpha=alpha, power=power, true_difference=difference
    )
    return Parity(difference, lower, False, None if needed is None else max(1, needed - n))


def _binary(values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if not np.all((array == 0) | (array == 1)):
        raise ValueError("McNemar's test needs right (1) and wrong (0); split credits have no pair")
    return array.astype(bool)
