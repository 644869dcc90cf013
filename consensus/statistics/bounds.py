"""Lower bounds for certificates, and the tests that pick one of several routes.

What is bounded is a route's mean credit on cases drawn alike. Credits of 0 and 1 have Clopper and
Pearson's exact bound (:func:`~consensus.statistics.intervals.beta_lcb`). Credits between (graded
oracles, ties that share) have none of a binomial: for them there are Hoeffding and Bentkus's
(Bates et al., JACM 2021) and the betting bound (Waudby-Smith & Ramdas, JRSS B 2024), both valid for
any distribution on [0, 1] at every n. Several routes: fixed-sequence testing (each at full delta,
in an order fixed beforehand, stop at the first failure) or Learn-then-Test over a set (Angelopoulos
et al., 2110.01052) by Holm's procedure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consensus.statistics.intervals import beta_lcb, cases_for_floor

__all__ = [
    "BoundMethod",
    "RateBound",
    "betting_lcb",
    "cases_to_certify",
    "certification_chance",
    "fixed_sequence",
    "floor_p_value",
    "hoeffding_bentkus_lcb",
    "hoeffding_bentkus_p",
    "learn_then_test",
    "passes_needed",
    "rate_bound",
]

BoundMethod = Literal["clopper-pearson", "betting", "hoeffding-bentkus"]

Floats = NDArray[np.float64]

LARGEST_BET = 0.95
"""Share of the capital that one case may take; below 1, so no capital is ever lost whole."""

SHUFFLES = 25
"""Orders of the cases that the betting bound is averaged over: the order given means nothing."""

MOST_CASES = 1_000_000
"""Plans beyond so many cases are no plans."""


class RateBound(NamedTuple):
    """A lower bound of a mean credit, and how it was made."""

    bound: float
    method: BoundMethod


def rate_bound(credits_: ArrayLike, *, delta: float) -> RateBound:
    """The lower bound that suits these credits: exact where all are 0 or 1, else by betting.

    Args:
        credits_: shape (n,), within [0, 1]; one a case. None at all gives 0.
        delta: chance allowed that the true mean lies below the bound.
    """
    values = _credits(credits_)
    if np.all((values == 0) | (values == 1)):
        return RateBound(beta_lcb(int(values.sum()), values.size, delta=delta), "clopper-pearson")
    return RateBound(betting_lcb(values, delta=delta), "betting")


def floor_p_value(credits_: ArrayLike, floor: float, *, delta: float = 0.05) -> float:
    """p-value of "the true mean is at most ``floor``"; the test that :func:`rate_bound` inverts.

    1 without any case. ``delta``: the level that graded credits are bet for; any is valid.
    """
    from scipy.special import bdtrc

    values = _credits(credits_)
    _check_share(floor, "floor")
    n = values.size
    if n == 0:
        return 1.0
    if np.all((values == 0) | (values == 1)):
        passes = int(values.sum())
        return 1.0 if passes == 0 else float(bdtrc(passes - 1, n, floor))
    return min(1.0, math.exp(-_capital(_orders(values), floor, delta)))


def betting_lcb(credits_: ArrayLike, *, delta: float) -> float:
    """Lower bound of the mean of credits in [0, 1], by betting on each case against a lower mean.

    The capital after n cases is a martingale's value if the mean is what was bet against, so its
    mean over orders of the cases exceeds 1/delta with probability at most delta. Bets go by the
    variance seen so far (predictable plug-in, the paper's section 4.2).

    Args:
        credits_: shape (n,), within [0, 1].
        delta: chance allowed that the true mean lies below the bound.
    """
    values = _credits(credits_)
    _check_share(delta, "delta")
    wanted = math.log(1 / delta)
    if values.size == 0:
        return 0.0
    orders = _orders(values)
    return _bisect(lambda mean: _capital(orders, mean, delta) >= wanted)


def hoeffding_bentkus_p(credits_: ArrayLike, floor: float) -> float:
    """p-value of "the true mean is at most ``floor``" by Hoeffding's and Bentkus's inequalities.

    ``min(exp(-n·h(r, a)), e·P(Bin(n, a) <= ceil(n·r)))`` with the mean loss r = 1 - mean credit,
    a = 1 - floor and h the relative entropy of two coins.
    """
    from scipy.special import bdtr

    values = _credits(credits_)
    _check_share(floor, "floor")
    n = values.size
    if n == 0:
        return 1.0
    risk, allowed = float(1 - values.mean()), 1 - floor
    hoeffding = math.exp(-n * _entropy(min(risk, allowed), allowed))
    bentkus = math.e * float(bdtr(math.ceil(n * risk - 1e-9), n, allowed))
    return min(1.0, hoeffding, bentkus)


def hoeffding_bentkus_lcb(credits_: ArrayLike, *, delta: float) -> float:
    """Lower bound of the mean of credits in [0, 1] by :func:`hoeffding_bentkus_p`."""
    values = _credits(credits_)
    _check_share(delta, "delta")
    return _bisect(lambda floor: hoeffding_bentkus_p(values, floor) <= delta)


def fixed_sequence(p_values: Iterable[float], *, delta: float) -> int:
    """How many hypotheses, from the first on, are rejected: each at ``delta``, up to a failure.

    The order must not depend on the data that the p-values are of. The chance that any true
    hypothesis is rejected is at most ``delta``. Later values are not even looked at.
    """
    _check_share(delta, "delta")
    rejected = 0
    for p in p_values:
        if p > delta:
            break
        rejected += 1
    return rejected


def learn_then_test(p_values: Sequence[float], *, delta: float) -> tuple[bool, ...]:
    """Which hypotheses of a set are rejected; the chance of any false one is at most ``delta``.

    Holm's procedure (1979): valid whatever the dependence, and whatever the order. Use it where no
    order of the routes is plausible beforehand; it pays for every route that was looked at.
    """
    _check_share(delta, "delta")
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, index in enumerate(order):
        if p_values[index] > delta / (len(p_values) - rank):
            break
        rejected[index] = True
    return tuple(rejected)


def passes_needed(n: int, floor: float, *, delta: float) -> int | None:
    """Fewest passes of ``n`` cases with which the exact bound reaches ``floor``; None: not even n.

    ``P(Bin(n, floor) >= k) <= delta`` is the same as ``beta_lcb(k, n) >= floor``.
    """
    from scipy.special import bdtrc

    _check_share(floor, "floor")
    _check_share(delta, "delta")
    if n < 1 or floor**n > delta:
        return None
    low, high = 0, n  # bdtrc(k - 1) <= delta holds at high, and not at low
    while high - low > 1:
        middle = (low + high) // 2
        if bdtrc(middle - 1, n, floor) <= delta:
            high = middle
        else:
            low = middle
    return high


def certification_chance(n: int, truth: float, floor: float, *, delta: float) -> float:
    """Exact chance that a route that is right with probability ``truth`` is certified on n cases.

    At most ``delta`` for every n wherever ``truth <= floor``; the power elsewhere.
    """
    from scipy.special import bdtrc

    needed = passes_needed(n, floor, delta=delta)
    if needed is None:
        return 0.0
    return 1.0 if truth >= 1 else float(bdtrc(needed - 1, n, truth))


def cases_to_certify(
    rate: float, floor: float, *, delta: float, power: float = 0.8, seen: int = 0
) -> int | None:
    """Cases in all with which a route of this rate clears ``floor`` with the given chance.

    Args:
        rate: the route's true rate, as far as it is known; 1: without any failure.
        floor: to be cleared.
        delta: of the bound.
        power: chance to clear it.
        seen: never fewer than so many.

    Returns:
        None where no number would do (``rate <= floor``), or more than a million.
    """
    _check_share(floor, "floor")
    if not 0 <= rate <= 1 or not 0 < power < 1:
        raise ValueError(f"rate and power are shares, not {rate} and {power}")
    if rate <= floor:
        return None
    low = max(seen, cases_for_floor(floor, delta=delta) - 1)
    high = max(low + 1, cases_for_floor(floor, delta=delta))
    while certification_chance(high, rate, floor, delta=delta) < power:
        low, high = high, high * 2
        if high > MOST_CASES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if certification_chance(middle, rate, floor, delta=delta) >= power:
            high = middle
        else:
            low = middle
    return high


# -- parts -----------------------------------------------------------------------------------------


def _orders(values: Floats) -> Floats:
    """(SHUFFLES, n): sorted first, so that the order given cannot matter."""
    rng = np.random.default_rng(values.size)
    ordered = np.sort(values)
    return np.stack([rng.permutation(ordered) for _ in range(SHUFFLES)])


def _capital(orders: Floats, mean: float, delta: float) -> float:
    """Log of the capital of bets that the mean is above ``mean``, averaged over the orders."""
    n = orders.shape[1]
    count = np.arange(1, n + 1)
    average = (0.5 + np.cumsum(orders, axis=1)) / (count + 1)
    spread = (0.25 + np.cumsum((orders - average) ** 2, axis=1)) / (count + 1)
    before = np.column_stack([np.full(len(orders), 0.25), spread[:, :-1]])
    # Not larger where the mean is smaller: so the capital falls with the mean, and has one root.
    bets = np.minimum(np.sqrt(2 * math.log(1 / delta) / (n * before)), LARGEST_BET)
    logs = np.log1p(bets * (orders - mean)).sum(axis=1)
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).mean()))


def _bisect(holds: Callable[[float], bool]) -> float:
    """The largest value in [0, 1] up to which ``holds``; it holds at small values only."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _entropy(p: float, q: float) -> float:
    """Relative entropy of a coin p to a coin q, in nats."""
    first = 0.0 if p <= 0 else p * math.log(p / q)
    second = 0.0 if p >= 1 else (1 - p) * math.log((1 - p) / (1 - q))
    return first + second


def _credits(credits_: ArrayLike) -> Floats:
    values = np.asarray(credits_, dtype=float)
    if values.ndim != 1 or not np.all(np.isfinite(values)):
        raise ValueError("credits must be a vector of finite numbers")
    if values.size and (values.min() < 0 or values.max() > 1):
        raise ValueError("credits must lie within 0 and 1")
    return values


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, not {value}")
