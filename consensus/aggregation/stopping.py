"""When no further ballot is worth its price: bounds, odds, and the value of one more.

Every rule is a pure function over leading axes: one decision now, or all cases of a replay at once
(:mod:`consensus.aggregation.stop_replay` walks recorded sequences). True means stop.

=====================  ==========================================================================
``certain``            leader − runner-up > all that remains: loses nothing against the full panel
``ahead``              first to lead by k votes: Wald's test for known, independent seats
``odds_decided``       the posterior's log-odds of the leader against each rival reach a bound
``beta_decided``       Adaptive-Consistency (Aggarwal et al. 2023, arXiv:2305.11860)
``prior_decided``      the same with a prior per task type (Huang et al. 2026, arXiv:2602.05395)
``value_of_ballots``   expected fall in loss from m more ballots, to hold against their price
=====================  ==========================================================================

``certain`` is about the winner of a plurality. A supermajority, a quorum, a veto or a threshold on
a posterior has its own bound: the ``…_settled`` functions. ``beta_decided``, ``prior_decided`` and
``certain`` certify the mode of the panel, not the truth.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    TIE_TOLERANCE,
    BoolArray,
    FloatArray,
    as_log,
    check_unit,
)

__all__ = [
    "TypePrior",
    "ahead",
    "beta_confidence",
    "beta_decided",
    "certain",
    "fit_type_prior",
    "lead_needed",
    "mixture_sprt_decided",
    "odds_decided",
    "prior_confidence",
    "prior_decided",
    "quorum_settled",
    "sprt_decided",
    "supermajority_settled",
    "veto_settled",
    "wald_bound",
]


def certain(counts: npt.ArrayLike, remaining: npt.ArrayLike) -> BoolArray:
    """Whether the leader of counts (..., K) stays alone in front whatever the rest votes.

    ``remaining`` is the weight of all seats that have not answered yet (...).
    """
    first, second = _first_two(counts)
    rest = np.asarray(remaining, dtype=np.float64)
    return np.asarray(first - second > rest + TIE_TOLERANCE * np.maximum(1.0, first), np.bool_)


def supermajority_settled(
    counts: npt.ArrayLike, remaining: npt.ArrayLike, needed: npt.ArrayLike
) -> BoolArray:
    """Whether some option has ``needed`` votes already, or none can reach them any more.

    ``needed`` is absolute, counted in configured seats, and more than half of them.
    """
    first, _ = _first_two(counts)
    need = np.asarray(needed, dtype=np.float64) - TIE_TOLERANCE
    rest = np.asarray(remaining, dtype=np.float64)
    return np.asarray((first >= need) | (first + rest < need), dtype=np.bool_)


def quorum_settled(
    valid: npt.ArrayLike, remaining: npt.ArrayLike, quorum: npt.ArrayLike
) -> BoolArray:
    """Whether the quorum cannot be met any more: further calls are wasted."""
    most = np.asarray(valid, dtype=np.float64) + np.asarray(remaining, dtype=np.float64)
    return np.asarray(most < np.asarray(quorum, dtype=np.float64) - TIE_TOLERANCE, np.bool_)


def veto_settled(
    against: npt.ArrayLike, remaining: npt.ArrayLike, vetoes: npt.ArrayLike
) -> BoolArray:
    """Whether a minority veto has been cast already or cannot be cast any more."""
    have = np.asarray(against, dtype=np.float64)
    need = np.asarray(vetoes, dtype=np.float64) - TIE_TOLERANCE
    rest = np.asarray(remaining, dtype=np.float64)
    return np.asarray((have >= need) | (have + rest < need), dtype=np.bool_)


def lead_needed(p: float, options: int = 2, error: float = 0.05) -> int:
    """Votes to lead by: k = ⌈ln((K−1)(1−ε)/ε)/ln((K−1)p/(1−p))⌉ for known accuracy ``p``.

    For independent seats with symmetric errors. ``error`` is the wanted error ε. With two options
    this is Wald's sequential test.
    """
    check_unit("p", p, low=1.0 / options)
    check_unit("error", error)
    top = math.log((options - 1) * (1.0 - error) / error)
    exact = top / math.log((options - 1) * p / (1.0 - p))
    return max(1, math.ceil(exact - 1e-12))


def ahead(counts: npt.ArrayLike, lead: npt.ArrayLike) -> BoolArray:
    """Whether the leader of counts (..., K) is ``lead`` votes before the runner-up."""
    first, second = _first_two(counts)
    return np.asarray(
        first - second >= np.asarray(lead, dtype=np.float64) - TIE_TOLERANCE, dtype=np.bool_
    )


def odds_decided(posterior: npt.ArrayLike, error: npt.ArrayLike = 0.05) -> BoolArray:
    """Whether log(P(leader)/P(rival)) ≥ log((1−α)/α) against *each* rival.

    ``posterior`` is (..., K), from any model of the seats; ``error`` is α.
    """
    first, second = _first_two(posterior)
    check_unit("error", error)
    a = np.asarray(error, dtype=np.float64)
    with np.errstate(divide="ignore"):
        odds = np.log(first) - np.log(second)
    return np.asarray(odds >= np.log((1.0 - a) / a) - TIE_TOLERANCE, dtype=np.bool_)


def beta_confidence(counts: npt.ArrayLike) -> FloatArray:
    """1 − I_½(a+1, b+1) for first a and second b of counts (..., K): P(first beats second).

    Whole counts give it as the binomial sum P(Bin(a+b+1, ½) ≤ a); others are rounded down for the
    leader and up for the runner-up, which errs towards another ballot.
    """
    first, second = _first_two(counts)
    a = np.floor(first).astype(np.int64)
    b = np.ceil(second).astype(np.int64)
    if a.ndim == 0:
        return np.asarray(_beta_half(int(a), int(b)), dtype=np.float64)
    table = _beta_table(int(a.max(initial=0)), int(b.max(initial=0)))
    return np.asarray(table[a, b], dtype=np.float64)


def beta_decided(counts: npt.ArrayLike, threshold: float = 0.95) -> BoolArray:
    """Adaptive-Consistency's rule: :func:`beta_confidence` ≥ ``threshold``."""
    return np.asarray(beta_confidence(counts) >= threshold, dtype=np.bool_)


class TypePrior(NamedTuple):
    """What the panel's votes look like on a task type: a mixture of sorted vote shares.

    Attributes:
        shares: (M, R), each row descending and summing to 1: the share of the first, second, …
            answer in one pattern.
        weights: (M,), summing to 1.
    """

    shares: FloatArray
    weights: FloatArray


def fit_type_prior(
    counts: npt.ArrayLike, *, pseudo: float = 0.5, grid: int = 20, ranks: int = 6
) -> TypePrior:
    """Learn a :class:`TypePrior` from past cases of the task type.

    Args:
        counts: (cases, K) votes of panels that were polled in full.
        pseudo: pseudo-votes spread over the K options: a unanimous history is not a certainty.
        grid: shares are rounded to 1/grid, so that like cases share an atom.
        ranks: answers told apart; the rest are lumped into the last.
    """
    c = np.asarray(counts, dtype=np.float64)
    if c.ndim != 2 or c.shape[1] < 2 or not (c.sum(axis=1) > 0).any():
        raise ValueError("counts has the shape (cases, options ≥ 2) and holds votes")
    c = c[c.sum(axis=1) > 0]
    shares = -np.sort(-(c + pseudo / c.shape[1]), axis=1)
    shares /= shares.sum(axis=1, keepdims=True)
    if shares.shape[1] > ranks:
        tail = shares[:, ranks - 1 :].mean(axis=1, keepdims=True)
        shares = np.concatenate([shares[:, : ranks - 1], tail], axis=1)
        shares /= shares.sum(axis=1, keepdims=True)
    key = np.round(shares * grid).astype(np.int64)
    _, which, number = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    atoms = np.zeros((number.size, shares.shape[1]))
    np.add.at(atoms, which.reshape(-1), shares)
    return TypePrior(atoms / number[:, None], number / number.sum())


def prior_confidence(counts: npt.ArrayLike, prior: TypePrior) -> FloatArray:
    """Posterior probability that the leader of counts (..., K) is the panel's mode.

    Follows counts of first, second and the rest only (L = 3 in 2602.05395, where that is proved
    enough): for each pattern of the prior and each pair of answers i ≠ j that first and second may
    be, the likelihood is q_i^a · q_j^b · (1−q_i−q_j)^r.
    """
    c = np.asarray(counts, dtype=np.float64)
    first, second = _first_two(c)
    rest = np.maximum(c.sum(axis=-1) - first - second, 0.0)
    triples = np.stack([first, second, rest], axis=-1).reshape(-1, 3)
    # Many cases share few triples, told apart by one number each: far faster than by rows.
    key = triples @ np.array([1.0, math.pi, math.pi**2])
    _, at, where = np.unique(key, return_index=True, return_inverse=True)
    found = np.array([_mode_probability(prior, *row) for row in triples[at].tolist()])
    return np.asarray(found[where.reshape(-1)].reshape(first.shape), dtype=np.float64)


def prior_decided(counts: npt.ArrayLike, prior: TypePrior, threshold: float = 0.95) -> BoolArray:
    """Whether :func:`prior_confidence` ≥ ``threshold``."""
    return np.asarray(prior_confidence(counts, prior) >= threshold, dtype=np.bool_)


def sprt_decided(
    counts: npt.ArrayLike, p1: float = 0.75, alpha: float = 0.05, beta: float = 0.05
) -> BoolArray:
    """Wald's test on the two leading answers: share ½ against ``p1`` (ConSol, arXiv:2503.17587).

    Stops when the likelihood ratio leaves (β/(1−α), (1−β)/α) on either side. A comparator: the
    leader is chosen after looking, so α is nominal.
    """
    check_unit("p1", p1, low=0.5)
    first, second = _first_two(counts)
    ratio = first * math.log(p1 / 0.5) + second * math.log((1.0 - p1) / 0.5)
    high, low = math.log((1.0 - beta) / alpha), math.log(beta / (1.0 - alpha))
    return np.asarray((ratio >= high) | (ratio <= low), dtype=np.bool_)


def mixture_sprt_decided(counts: npt.ArrayLike, alpha: float = 0.05) -> BoolArray:
    """Mixture test on the two leading answers: share ½ against uniform on (½, 1); ratio ≥ 1/α.

    The one-sided form of ConSol's second rule (arXiv:2503.17587), with Robbins' mixture.
    """
    check_unit("alpha", alpha)
    first, second = _first_two(counts)
    a, b = np.floor(first), np.ceil(second)
    size = (a + b + 1).astype(np.int64)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size.max() + 1)))])
    log_beta = logs[a.astype(np.int64)] + logs[b.astype(np.int64)] - logs[size]
    # The integral of θ^a (1−θ)^b over (½, 1) is B(a+1, b+1) · P(θ > ½).
    ratio = log_beta + np.log(2.0 * beta_confidence(counts)) + (a + b) * math.log(2.0)
    return np.asarray(ratio >= -math.log(alpha), dtype=np.bool_)


def wald_bound(p: float, options: int = 2, error: float = 0.05) -> float:
    """Fewest expected votes of *any* test with error ≤ ε for independent symmetric seats.

    Wald's lower bound (1945) for telling the truth from one rival with their places exchanged:
    (1−2ε)·ln((1−ε)/ε) over the divergence (p−q)·ln(p/q), q = (1−p)/(K−1).
    """
    check_unit("p", p, low=1.0 / options)
    check_unit("error", error, high=0.5)
    q = (1.0 - p) / (options - 1)
    evidence = (1.0 - 2.0 * error) * math.log((1.0 - error) / error)
    return evidence / ((p - q) * math.log(p / q))


def _first_two(values: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    x = np.asarray(values, dtype=np.float64)
    if x.shape[-1] == 1:
        return x[..., 0], np.zeros_like(x[..., 0])
    top = np.partition(x, -2, axis=-1)
    return top[..., -1], top[..., -2]


@lru_cache(maxsize=4096)
def _beta_half(a: int, b: int) -> float:
    n = a + b + 1
    return float(sum(math.comb(n, j) for j in range(a + 1)) / 2**n)


@lru_cache(maxsize=64)
def _beta_table(most_first: int, most_second: int) -> FloatArray:
    table = np.array(
        [[_beta_half(a, b) for b in range(most_second + 1)] for a in range(most_first + 1)]
    )
    table.flags.writeable = False
    return table


def _mode_probability(prior: TypePrior, first: float, second: float, rest: float) -> float:
    q = prior.shares
    ranks = q.shape[1]
    logs = as_log(q)
    other = as_log(np.maximum(1.0 - q[:, :, None] - q[:, None, :], 0.0))

    def power(log: FloatArray, times: float) -> FloatArray:
        return times * log if times > 0.0 else np.zeros_like(log)  # 0·log 0 counts as 0

    score = power(logs, first)[:, :, None] + power(logs, second)[:, None, :] + power(other, rest)
    score[:, np.arange(ranks), np.arange(ranks)] = -np.inf
    score += as_log(prior.weights)[:, None, None]
    top = score.max()
    if not np.isfinite(top):
        return 0.0
    mass = np.exp(score - top)
    return float(mass[:, 0, :].sum() / mass.sum())
