"""Tests that may be looked at whenever one likes: production against the profile of a row.

**A rate** (:func:`rate_excess`). Of a profile of n0 cases k0 were bad; is production worse? For a
true profile rate p0 the product over decisions of ``r^x / (1 + (r - 1)·p0)`` is a supermartingale
as long as production is no worse than p0, for every odds ratio r > 1: an e-process (Ramdas et al.,
Statistical Science 2023). Odds ratios are mixed, and so are the days on which the drift may have
begun: ``R_t = (1 + R_{t-1})·L_t`` sums the e-processes that began on every day (the e-detector of
Shin, Ramdas & Rinaldo, NEJSDS 2024), so ``P(R ever ≥ c within d days) ≤ d/c``. Half of the weight
is on the first day alone: production that differs mostly does from its first day on.

The profile's own uncertainty is not estimated away: for *every* p0 its exact p-value
``P(Bin(n0, p0) ≤ k0)`` is combined with production's, p1 and p2, in a rule between Bonferroni's and
Fisher's: reject p0 if ``p1 ≤ a`` or ``p1·p2 ≤ c``, which for independent p-values happens with
probability at most ``a + c·ln(1/a)``. Every p0 must be rejected. So with alarms at ``p ≤ alpha`` a
row as good as its profile gives a false one with probability at most alpha within any first
``horizon`` days, whatever the true rate is, however often one looks. (Fisher's rule alone never
rejects a rate that the profile makes implausible by itself; Bonferroni's alone throws away what
both say together.)

**A mean** (:func:`mean_excess`). Costs and lengths have no known upper end, but none is negative,
which is enough to bet that the mean is above m: ``1 + b·(x/m - 1)`` is never negative for b < 1
(Waudby-Smith & Ramdas, JRSS B 2024). m is the profile's upper bound at half of alpha.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BETS", "Excess", "RateTest", "bet_logs", "mean_excess", "rate_excess", "upper_mean"]

Floats = NDArray[np.float64]

ODDS: Floats = np.array([1.15, 1.25, 1.4, 1.6, 1.9, 2.4, 3.2, 5.0, 10.0, 30.0])
"""Odds ratios that are mixed, in equal parts."""

BETS: Floats = np.array([0.01, 0.03, 0.1, 0.2, 0.35, 0.55, 0.8])
"""Shares of the capital that are bet on a mean, mixed in equal parts."""

LARGEST = 20.0
"""Values beyond so many means are taken as that: one outlier is no drift. It only loses power."""

GRID = 160
"""Profile rates that are tried; between two of them the worse end of each factor is taken."""

UNLIKELY = 1e-7
"""A profile rate that explains the profile worse than this cannot explain an alarm away."""


OF_PROFILE = 0.6
"""The part of alpha that may be spent on the profile's uncertainty alone."""


class Excess(NamedTuple):
    """How surely production is worse than the profile, after some days.

    Attributes:
        p_value: valid at any time; of "no worse than the profile", over ``horizon`` days.
        e_value: the averaged e-process at the profile rate that best explains both.
        since: index of the day on which the excess most plausibly began; 0 without days.
        n: decisions from that day on.
        total: bad ones among them; the sum of their values, of a mean.
        ratio: their rate over the profile's; infinite where the profile's is 0 and theirs is not.
    """

    p_value: float
    e_value: float
    since: int
    n: int
    total: float
    ratio: float


class RateTest:
    """One profile's test: what does not depend on production is worked out once.

    Args:
        profile_n, profile_k: cases, and bad ones among them.
        horizon: days that alpha is meant for.

    Raises:
        ValueError: no case, more bad ones than cases, or a horizon below one day.
    """

    def __init__(self, profile_n: int, profile_k: int, *, horizon: int = 30) -> None:
        if profile_n < 1 or not 0 <= profile_k <= profile_n or horizon < 1:
            raise ValueError(f"not a profile: {profile_k} of {profile_n}, {horizon} days")
        from scipy.special import bdtr, betaincinv

        self.profile_n, self.profile_k, self.horizon = profile_n, profile_k, horizon
        if profile_k == profile_n:
            self._rates = np.array([1.0])
            self._explains = np.array([1.0])
        else:
            good = profile_n - profile_k
            low = 0.0 if profile_k == 0 else betaincinv(profile_k, good + 1, 1e-3)
            high, end = (betaincinv(profile_k + 1, good, 1 - p) for p in (1e-3, UNLIKELY))
            rates = np.unique(
                np.concatenate([np.linspace(low, high, GRID - 20), np.linspace(high, end, 21)])
            )
            rates = rates[rates > 0]
            explains = np.asarray(bdtr(profile_k, profile_n, rates), dtype=float)
            # The interval below a rate: its profile p-value is at most that of its lower end.
            self._rates = rates
            self._explains = np.concatenate([[1.0], explains[:-1]])
        self._beyond = UNLIKELY / OF_PROFILE
        self._growth = np.log1p(np.outer(self._rates, ODDS - 1))
        self._logs = np.log(ODDS)

    def after(self, counts: ArrayLike) -> Excess:
        """The excess after some days of production.

        Args:
            counts: (days, 2) decisions and bad ones of each day, the oldest first.
        """
        days = _days(counts)
        logs = np.full(self._growth.shape, -np.inf)
        for n, k in days:
            logs = np.logaddexp(0.0, logs) + self._gain(n, k)
        return self._judge(logs, days)

    def each(self, counts: ArrayLike) -> Iterator[Excess]:
        """The excess after the first day, after the second, and so on; each looks at all before."""
        days = _days(counts)
        logs = np.full(self._growth.shape, -np.inf)
        for last, (n, k) in enumerate(days, start=1):
            logs = np.logaddexp(0.0, logs) + self._gain(n, k)
            yield self._judge(logs, days[:last])

    def _gain(self, n: float, k: float) -> Floats:
        """What some decisions do to the logarithm of every e-process."""
        return np.asarray(k * self._logs - n * self._growth, dtype=float)

    def _judge(self, logs: Floats, days: Floats) -> Excess:
        if not len(days) or not days[:, 0].sum():
            return Excess(1.0, 0.0, 0, 0, 0.0, 0.0)
        log_e = _mixed(self._gain(*days.sum(axis=0)), logs, self.horizon)
        both = _together(self._explains, np.exp(-np.maximum(log_e, 0.0)))
        worst = int(both.argmax())
        since = self._since(days, worst)
        n, total = days[since:].sum(axis=0)
        return Excess(
            p_value=max(float(both[worst]), self._beyond),
            e_value=float(np.exp(min(float(log_e[worst]), 700.0))),
            since=since,
            n=int(n),
            total=float(total),
            ratio=_ratio(float(total), int(n), self.profile_k / self.profile_n),
        )

    def _since(self, days: Floats, place: int) -> int:
        """The day from which on the e-process of the best odds ratio is largest."""
        gains = days[:, 1:] * self._logs - days[:, :1] * self._growth[place]
        after = np.cumsum(gains[::-1], axis=0)[::-1]
        return int(after.max(axis=1).argmax())


def rate_excess(profile_n: int, profile_k: int, counts: ArrayLike, *, horizon: int = 30) -> Excess:
    """:class:`RateTest` for one look."""
    return RateTest(profile_n, profile_k, horizon=horizon).after(counts)


def upper_mean(mean: float, sd: float, n: int, *, delta: float) -> float:
    """Upper bound of a profile's mean, by the normal approximation; infinite without cases.

    Raises:
        ValueError: delta is no chance.
    """
    from scipy.special import ndtri

    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1, not {delta}")
    return math.inf if n < 1 else mean + float(ndtri(1 - delta)) * sd / math.sqrt(n)


def bet_logs(values: ArrayLike, bound: float) -> Floats:
    """What some values do to the logarithm of every bet's capital: shape (len(BETS),), to be added.

    Args:
        values: shape (n,), none negative.
        bound: the mean that is bet against; above 0.
    """
    given = np.asarray(values, dtype=float)
    if bound <= 0 or not math.isfinite(bound) or (given.size and given.min() < 0):
        raise ValueError("bets are on values from 0 up, against a mean above 0")
    relative = np.minimum(given / bound, LARGEST)
    return np.asarray(np.log1p(np.outer(relative - 1, BETS)).sum(axis=0), dtype=float)


def mean_excess(
    days: Sequence[tuple[int, float, ArrayLike]], mean: float, *, horizon: int = 30
) -> Excess:
    """The excess of a mean after some days.

    Args:
        days: of each day its decisions, the sum of their values, and their :func:`bet_logs`.
        mean: of the profile, for the ratio.
        horizon: days that alpha is meant for.

    The p-value is to be held against *half* of alpha: the other half went into the bound.
    """
    if not sum(day[0] for day in days):
        return Excess(1.0, 0.0, 0, 0, 0.0, 0.0)
    logs = np.full(len(BETS), -np.inf)
    gains = np.array([np.asarray(day[2], dtype=float) for day in days])
    for gain in gains:
        logs = np.logaddexp(0.0, logs) + gain
    log_e = float(_mixed(gains.sum(axis=0), logs, horizon))
    since = int(np.cumsum(gains[::-1], axis=0)[::-1].max(axis=1).argmax())
    n = sum(day[0] for day in days[since:])
    total = float(sum(day[1] for day in days[since:]))
    return Excess(
        p_value=min(1.0, math.exp(-log_e)) if log_e > -700 else 1.0,
        e_value=math.exp(min(log_e, 700.0)),
        since=since,
        n=n,
        total=total,
        ratio=_ratio(total, n, mean),
    )


def _mixed(whole: Floats, sums: Floats, horizon: int) -> Floats:
    """Logarithm of the mixture: over the last axis, and over the first day and every day.

    Args:
        whole: logarithms of the e-processes that began on the first day.
        sums: logarithms of the sums of those that began on each day.
    """
    both = np.logaddexp(whole, sums - math.log(horizon)) - math.log(2)
    top = both.max(axis=-1, keepdims=True)
    mean = np.exp(both - top).mean(axis=-1)
    return np.asarray(top[..., 0] + np.log(mean), dtype=float)


_ALPHAS: Floats = np.exp(np.linspace(math.log(1e-12), math.log(0.5), 4000))
_PRODUCTS: Floats = (1 - OF_PROFILE) * _ALPHAS / np.log(1 / (OF_PROFILE * _ALPHAS))
"""c of every alpha, where a is its part for the profile: ``a + c·ln(1/a) = alpha``."""


def _together(profile: Floats, production: Floats) -> Floats:
    """The p-values of pairs of independent p-values."""
    product = np.maximum(profile * production, 1e-300)
    joint = np.exp(np.interp(np.log(product), np.log(_PRODUCTS), np.log(_ALPHAS)))
    joint = np.where(product > _PRODUCTS[-1], 1.0, joint)
    return np.asarray(np.minimum(1.0, np.minimum(profile / OF_PROFILE, joint)), dtype=float)


def _ratio(total: float, n: int, profile: float) -> float:
    if not n or not total:
        return 0.0
    return math.inf if profile == 0 else total / n / profile


def _days(counts: ArrayLike) -> Floats:
    days = np.asarray(counts, dtype=float)
    if days.size == 0:
        return np.zeros((0, 2))
    if days.ndim != 2 or days.shape[1] != 2 or (days < 0).any() or (days[:, 1] > days[:, 0]).any():
        raise ValueError("counts are (days, 2): decisions and bad ones among them")
    return days
