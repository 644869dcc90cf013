"""Intervals for rates.

Wilson (1927) for what is shown to people, Clopper and Pearson (1934) where coverage must be
guaranteed, and the one-sided Beta bound that certificates rest on (the lower end of a one-sided
Clopper-Pearson interval).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "Interval",
    "beta_lcb",
    "beta_ucb",
    "cases_for_floor",
    "clopper_pearson",
    "mean_interval",
    "wilson",
    "z_score",
]


class Interval(NamedTuple):
    """A closed interval."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """``high - low``."""
        return self.high - self.low

    def covers(self, value: float) -> bool:
        """Whether ``value`` lies inside, ends included."""
        return self.low <= value <= self.high


def z_score(level: float) -> float:
    """Two-sided standard normal quantile of a confidence level: 1.96 for ``level=0.95``."""
    _check_share(level, "level")
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """Wilson's score interval for a binomial rate.

    Args:
        successes: passes, 0 … ``n``; may be fractional (ties in split credit).
        n: trials; may be fractional (an effective sample size). 0 gives (0, 1).
        level: two-sided confidence level.

    Raises:
        ValueError: if ``successes`` is not within 0 … ``n``.
    """
    _check_counts(successes, n)
    z = z_score(level)
    if n == 0:
        return Interval(0.0, 1.0)
    rate = successes / n
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Rounding must not keep a bound away from a rate of exactly 0 or 1.
    low = 0.0 if successes == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if successes == n else min(1.0, (centre + spread) / scale)
    return Interval(low, high)


def clopper_pearson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Clopper and Pearson's exact interval: coverage at least ``level`` for every true rate."""
    _check_share(level, "level")
    delta = (1 - level) / 2
    return Interval(beta_lcb(successes, n, delta=delta), beta_ucb(successes, n, delta=delta))


def beta_lcb(successes: int, n: int, *, delta: float = 0.05) -> float:
    """One-sided lower bound of a rate: ``BetaInv(delta; k, n - k + 1)``; 0 where ``k = 0``.

    The true rate lies below it with probability at most ``delta``, whatever it is.
    """
    from scipy.special import betaincinv

    _check_counts(successes, n)
    _check_share(delta, "delta")
    if successes == 0:
        return 0.0
    return float(betaincinv(successes, n - successes + 1, delta))


def beta_ucb(successes: int, n: int, *, delta: float = 0.05) -> float:
    """One-sided upper bound of a rate: ``BetaInv(1 - delta; k + 1, n - k)``; 1 where ``k = n``."""
    from scipy.special import betaincinv

    _check_counts(successes, n)
    _check_share(delta, "delta")
    if successes == n:
        return 1.0
    return float(betaincinv(successes + 1, n - successes, 1 - delta))


def cases_for_floor(floor: float, *, delta: float = 0.05, failures: int = 0) -> int:
    """Fewest cases with which :func:`beta_lcb` can reach ``floor`` at ``failures`` failures.

    With no failure it is ``ceil(ln delta / ln floor)``: 59 for a floor of .95 at ``delta`` .05.
    """
    _check_share(floor, "floor")
    _check_share(delta, "delta")
    if failures < 0:
        raise ValueError(f"failures must be at least 0, not {failures}")
    low = failures
    high = max(failures + 1, math.ceil(math.log(delta) / math.log(floor)))
    while beta_lcb(high - failures, high, delta=delta) < floor:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if beta_lcb(middle - failures, middle, delta=delta) >= floor:
            high = middle
        else:
            low = middle
    return high


def mean_interval(values: ArrayLike, *, level: float = 0.95, draws: int = 1) -> Interval:
    """Interval for the mean of per-case credits in [0, 1], clustered by case.

    Credits of 0 and 1 give Wilson's interval exactly. Fractional ones (split ties, means over
    samples) vary less than coin flips, so Wilson's interval is taken at the effective sample size
    ``p (1 - p) / (s² / n)`` (Korn & Graubard, Survey Methodology 1998), never above ``n * draws``.

    Args:
        values: shape (n,), finite, within [0, 1].
        level: two-sided confidence level.
        draws: how many independent passes each credit is the mean of.
    """
    credit = np.asarray(values, dtype=float)
    if credit.ndim != 1 or not np.all(np.isfinite(credit)):
        raise ValueError("values must be a vector of finite numbers")
    if credit.size and (credit.min() < 0 or credit.max() > 1):
        raise ValueError("values must lie within 0 and 1")
    n = credit.size
    if n < 2:
        return wilson(float(credit.sum()), n, level=level)
    mean = float(credit.mean())
    binary_variance = mean * (1 - mean)
    variance = float(credit.var())
    ceiling = float(n * max(1, draws))
    effective = ceiling if variance == 0 else min(ceiling, n * binary_variance / variance)
    if binary_variance == 0:
        effective = float(n)
    return wilson(mean * effective, effective, level=level)


def _check_counts(successes: float, n: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie within 0 and n, not {successes} of {n}")


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, not {value}")
