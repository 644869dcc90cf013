"""What further ballots are worth, and when a posterior's decision can no longer change.

The value of m more ballots is the expected fall of the least expected loss (Raiffa & Schlaifer
1961): the predictive distribution of the next votes is the Pólya urn of
:mod:`consensus.aggregation.posteriors`, so that correlated seats are known to bring less. Looking
one ballot ahead is blind where one vote cannot change the decision but three can; the rule
therefore looks at every m up to a horizon.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    TIE_TOLERANCE,
    BoolArray,
    FloatArray,
    IntArray,
    canonical_sum,
    option_mask,
    rising_table,
)
from consensus.aggregation.posteriors import block_posterior

__all__ = [
    "MOST_OUTCOMES",
    "approval_losses",
    "expected_loss",
    "plain_losses",
    "threshold_settled",
    "value_of_ballots",
    "worth_asking",
]

MOST_OUTCOMES = 2_000
"""The most different outcomes of the next ballots that are looked at; the horizon is cut to it."""


def plain_losses(options: int, wrong: float = 1.0, escalate: float | None = None) -> FloatArray:
    """Losses (actions, K): ``wrong`` for each wrong option; ``escalate`` adds a sure-price row."""
    table = wrong * (1.0 - np.eye(options))
    if escalate is not None:
        table = np.vstack([table, np.full(options, escalate)])
    return np.asarray(table, dtype=np.float64)


def approval_losses(
    false_approve: float, false_reject: float, escalate: float | None = None
) -> FloatArray:
    """Losses (actions, 2) of an approval with the options (approve, reject) in this order."""
    table = np.array([[0.0, false_approve], [false_reject, 0.0]])
    if escalate is not None:
        table = np.vstack([table, [escalate, escalate]])
    return table


def expected_loss(posterior: npt.ArrayLike, losses: npt.ArrayLike) -> FloatArray:
    """Least expected loss over the actions: posterior (..., K), losses (A, K) → (...)."""
    p = np.asarray(posterior, dtype=np.float64)[..., None, :]
    return np.asarray(
        canonical_sum(p * np.asarray(losses, dtype=np.float64)).min(axis=-1), dtype=np.float64
    )


def value_of_ballots(
    counts_by_block: npt.ArrayLike,
    losses: npt.ArrayLike,
    *,
    p: npt.ArrayLike,
    rho: npt.ArrayLike,
    block: int = 0,
    ballots: int = 1,
    prior: npt.ArrayLike | None = None,
    options: npt.ArrayLike | None = None,
    discount: float = 1.0,
) -> FloatArray:
    """Expected fall in loss from ``ballots`` more votes of seats in ``block``.

    Args:
        counts_by_block: (..., B, K) whole votes so far.
        losses: (actions, K), in any unit; the value is in the same.
        p, rho, prior, options, discount: as in :func:`.posteriors.block_posterior`.
        block: where the next seats belong.
        ballots: how many are asked together.

    Returns:
        (...), never negative.
    """
    n = np.asarray(counts_by_block, dtype=np.float64)
    blocks, width = n.shape[-2:]
    mask = option_mask(options, n.shape)
    posterior = block_posterior(n, p, rho, prior, options=mask, discount=discount)
    accuracy = float(np.broadcast_to(np.asarray(p, dtype=np.float64), (blocks,))[block])
    r = float(np.broadcast_to(np.asarray(rho, dtype=np.float64), (blocks,))[block])
    predictive = _predictive(n[..., block, :], accuracy, r / (1.0 - r), ballots, mask)
    joint = posterior[..., None, :] * predictive
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != width:
        raise ValueError(f"losses has the shape (actions, {width})")
    after = canonical_sum(joint[..., None, :] * table).min(axis=-1)
    return np.maximum(expected_loss(posterior, table) - canonical_sum(after), 0.0)


def worth_asking(
    counts_by_block: npt.ArrayLike,
    losses: npt.ArrayLike,
    *,
    price: float,
    remaining: int,
    p: npt.ArrayLike,
    rho: npt.ArrayLike,
    block: int = 0,
    horizon: int = 9,
    prior: npt.ArrayLike | None = None,
    options: npt.ArrayLike | None = None,
    discount: float = 1.0,
) -> IntArray:
    """How many more ballots to ask: the m ≤ remaining with the greatest value − m·price.

    Args:
        price: of one ballot, in the unit of ``losses``.
        remaining: seats that could still be asked.
        horizon: the furthest m that is looked at; cut where outcomes pass :data:`MOST_OUTCOMES`.

    Returns:
        (...), 0 = stop now.
    """
    n = np.asarray(counts_by_block, dtype=np.float64)
    best = np.zeros(n.shape[:-2], dtype=np.int64)
    gain = np.zeros(n.shape[:-2])
    for m in range(1, min(remaining, horizon) + 1):
        if math.comb(m + n.shape[-1] - 1, m) > MOST_OUTCOMES:
            break
        value = value_of_ballots(
            n,
            losses,
            p=p,
            rho=rho,
            block=block,
            ballots=m,
            prior=prior,
            options=options,
            discount=discount,
        )
        net = value - m * price
        better = net > gain + TIE_TOLERANCE * np.maximum(1.0, np.abs(gain)) * max(price, 1e-12)
        best = np.where(better, m, best)
        gain = np.where(better, net, gain)
    return np.asarray(best, dtype=np.int64)


def threshold_settled(
    counts_by_block: npt.ArrayLike,
    remaining: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    *,
    p: npt.ArrayLike,
    rho: npt.ArrayLike,
    prior: npt.ArrayLike | None = None,
    options: npt.ArrayLike | None = None,
    discount: float = 1.0,
) -> BoolArray:
    """Whether "act on option k iff P(k) ≥ its threshold" can no longer change.

    Args:
        counts_by_block: (..., B, K) votes so far.
        remaining: (..., B) or (B,) seats of each block still to answer.
        thresholds: one, or (K,).

    Returns:
        (...): True where every option's comparison with its threshold is fixed. The bound gives
        every rival all remaining votes at once: exact for two options, on the safe side for more.
    """
    n = np.asarray(counts_by_block, dtype=np.float64)
    mask = option_mask(options, n.shape)
    rest = np.broadcast_to(np.asarray(remaining, dtype=np.float64), n.shape[:-1])[..., None]
    width = n.shape[-1]
    need = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (width,))
    settled = np.ones(n.shape[:-2], dtype=np.bool_)
    for k in range(width):
        own = np.arange(width) == k
        worst = np.where(own, n, n + rest)
        best = np.where(own, n + rest, n)
        low = block_posterior(worst, p, rho, prior, options=mask, discount=discount)[..., k]
        high = block_posterior(best, p, rho, prior, options=mask, discount=discount)[..., k]
        fixed = (low >= need[k] - TIE_TOLERANCE) | (high < need[k] - TIE_TOLERANCE)
        settled &= fixed if mask is None else fixed | ~mask[..., k]
    return np.asarray(settled, dtype=np.bool_)


@lru_cache(maxsize=128)
def _compositions(total: int, parts: int) -> tuple[tuple[int, ...], ...]:
    if parts == 1:
        return ((total,),)
    return tuple(
        (head, *tail)
        for head in range(total + 1)
        for tail in _compositions(total - head, parts - 1)
    )


def _predictive(
    n: FloatArray, p: float, step: float, ballots: int, mask: BoolArray | None
) -> FloatArray:
    """P(next votes | counts, truth): (..., outcomes, K) for the Pólya urn of one block."""
    width = n.shape[-1]
    if math.comb(ballots + width - 1, ballots) > MOST_OUTCOMES:
        raise ValueError(f"{ballots} ballots over {width} options have too many outcomes")
    if (n != np.floor(n)).any():
        n = np.floor(n)
    outcomes = np.array(_compositions(ballots, width), dtype=np.int64)
    whole = n.astype(np.int64)[..., None, :]
    longest = int(whole.max(initial=0)) + ballots
    sizes = np.asarray(width if mask is None else mask.sum(axis=-1), dtype=np.int64)
    wrong = np.where(sizes > 1, (1.0 - p) / np.maximum(sizes - 1, 1), 1.0)
    right_table = rising_table(p, step, longest)
    wrong_table = rising_table(wrong, step, longest)
    all_table = rising_table(1.0, step, int(n.sum(axis=-1).max(initial=0)) + ballots)
    right = right_table[whole + outcomes] - right_table[whole]
    if mask is None:
        missed = wrong_table[whole + outcomes] - wrong_table[whole]
    else:
        flat = wrong_table.reshape(-1, longest + 1)
        row = np.arange(flat.shape[0]).reshape(sizes.shape)[..., None, None]
        missed = flat[row, whole + outcomes] - flat[row, whole]
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, ballots + 1)))])
    ways = log_factorial[ballots] - log_factorial[outcomes].sum(axis=-1)
    cast = n.sum(axis=-1).astype(np.int64)
    norm = all_table[cast + ballots] - all_table[cast]
    base = canonical_sum(missed)[..., None]
    log_p = ways[:, None] + base - missed + right - norm[..., None, None]
    if mask is not None:
        lacking = np.logical_and(outcomes > 0, np.logical_not(mask)[..., None, :])
        possible = np.logical_not(lacking.any(axis=-1))
        log_p = np.where(np.asarray(possible)[..., None], log_p, -np.inf)
    return np.asarray(np.exp(log_p), dtype=np.float64)
