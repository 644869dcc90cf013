"""From votes to the probability of each option: independent seats, and seats that err together.

Independent seats with confusion matrices: log P(z=k|v) = log π_k + Σ_i log C_i[k, v_i] (Dawid &
Skene 1979); symmetric errors give each seat the weight log((K−1)p/(1−p)) (Nitzan & Paroush 1982).

Seats of one block (the same model under many framings) err together, and independence then
overstates certainty badly. Within a block the case has a hidden vote distribution around C[k, ·],
Dirichlet with concentration s = 1/ρ − 1, so that two seats' errors correlate by ρ and

    log P(counts | k) = log DirichletMultinomial(counts; s·C[k, ·]) ,

a Pólya urn (Eggenberger & Pólya 1923; Minka 2000). Blocks are multiplied; ``discount`` raises each
block's likelihood to a power ≤ 1 where the blocks are themselves correlated. At p = .8 and ρ = .44
four votes to none give .914, eight to two .735 (a simulation in the tests gives them back).

Half votes count as half of the next vote's evidence (the log-likelihood is linear between whole
counts).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    BoolArray,
    FloatArray,
    IntArray,
    as_log,
    canonical_sum,
    check_unit,
    option_mask,
    rising_table,
    softmax,
)

__all__ = [
    "COLD_ACCURACY",
    "COLD_CORRELATION",
    "block_discount",
    "block_posterior",
    "cold_start_posterior",
    "confusion_block_posterior",
    "confusion_from_gold",
    "independent_posterior",
    "nitzan_paroush",
    "symmetric_confusion",
    "weighted_posterior",
]

COLD_ACCURACY = 0.75
"""Assumed accuracy of a seat without a profile: the median model's on recorded medical cases."""

COLD_CORRELATION = 0.44
"""Assumed correlation of two seats' errors without a profile: nine judges of seven families carry
about two effective votes, 9/(1+8ρ) = 2; recorded sets give .35–.49 between models."""


def block_posterior(
    counts_by_block: npt.ArrayLike,
    p: npt.ArrayLike = COLD_ACCURACY,
    rho: npt.ArrayLike = COLD_CORRELATION,
    prior: npt.ArrayLike | None = None,
    *,
    options: npt.ArrayLike | None = None,
    discount: float = 1.0,
) -> FloatArray:
    """Posterior over options from blocks of seats with symmetric, correlated errors.

    Args:
        counts_by_block: votes (..., B, K); half votes allowed.
        p: accuracy of a seat, one number or one a block (B,); strictly between 1/K and 1.
        rho: correlation of two seats' errors within a block, in [0, 1), one number or (B,).
        prior: (..., K); uniform over the case's options if not given. Zero stays zero.
        options: bool (..., K): which options the case has.
        discount: power in (0, 1] on each block's likelihood, see :func:`block_discount`.

    Returns:
        Probabilities (..., K), 0 for options the case lacks; the prior where nobody voted.
    """
    n = np.asarray(counts_by_block, dtype=np.float64)
    if n.ndim < 2:
        raise ValueError("counts_by_block has the shape (..., blocks, options)")
    mask = option_mask(options, n.shape)
    _check_discount(discount)
    evidence = _symmetric_evidence(n, p, rho, mask)
    return _finish(discount * canonical_sum(evidence, axis=-2), prior, mask)


def cold_start_posterior(
    counts_by_block: npt.ArrayLike,
    prior: npt.ArrayLike | None = None,
    *,
    options: npt.ArrayLike | None = None,
) -> FloatArray:
    """Posterior without a profile: equal seats, all of them in one block.

    Uses :data:`COLD_ACCURACY` and :data:`COLD_CORRELATION`. Different models err together about as
    much as one model under different framings, so blocks are pooled. Mark it uncalibrated.
    """
    pooled = np.asarray(counts_by_block, dtype=np.float64).sum(axis=-2, keepdims=True)
    return block_posterior(pooled, COLD_ACCURACY, COLD_CORRELATION, prior, options=options)


def confusion_block_posterior(
    counts_by_block: npt.ArrayLike,
    confusion: npt.ArrayLike,
    rho: npt.ArrayLike = COLD_CORRELATION,
    prior: npt.ArrayLike | None = None,
    *,
    discount: float = 1.0,
) -> FloatArray:
    """Posterior from blocks whose errors differ by class: approvers that say yes, say.

    Args:
        counts_by_block: votes (..., B, V).
        confusion: (B, K, V): P(a seat of the block answers v | the truth is k); rows sum to 1.
        rho: within-block error correlation in [0, 1), one number or (B,).
        prior: (..., K); uniform if not given.
        discount: as in :func:`block_posterior`.
    """
    n = np.asarray(counts_by_block, dtype=np.float64)
    c = _check_confusion(confusion)
    if n.ndim < 2 or n.shape[-2] != c.shape[0] or n.shape[-1] != c.shape[2]:
        raise ValueError(f"counts {n.shape} do not fit confusion matrices {c.shape}")
    _check_discount(discount)
    step = _step(rho, c.shape[0])
    table = rising_table(c, step[:, None, None], _longest(n))
    blocks, classes, answers = c.shape
    b = np.arange(blocks)[:, None, None]
    k = np.arange(classes)[None, :, None]
    v = np.arange(answers)[None, None, :]
    evidence = _between(n[..., None, :], lambda whole: table[b, k, v, whole])
    flat = np.moveaxis(evidence, -2, -3).reshape(*n.shape[:-2], classes, blocks * answers)
    return _finish(discount * canonical_sum(flat), prior, None)


def independent_posterior(
    votes: npt.ArrayLike, confusion: npt.ArrayLike, prior: npt.ArrayLike | None = None
) -> FloatArray:
    """Posterior of independent seats: log π_k + Σ_i log C_i[k, v_i].

    Args:
        votes: (..., seats), −1 = missing (no evidence).
        confusion: (seats, K, V).
        prior: (..., K); uniform if not given.
    """
    v = np.asarray(votes, dtype=np.int64)
    c = _check_confusion(confusion)
    if v.shape[-1] != c.shape[0]:
        raise ValueError(f"{v.shape[-1]} seats voted, {c.shape[0]} have a confusion matrix")
    by_answer = np.moveaxis(as_log(c), 2, 1)
    evidence = by_answer[np.arange(c.shape[0]), np.maximum(v, 0)]
    evidence = np.where((v >= 0)[..., None], evidence, 0.0)
    return _finish(canonical_sum(evidence, axis=-2), prior, None)


def weighted_posterior(
    votes: npt.ArrayLike,
    weights: npt.ArrayLike,
    options: int,
    prior: npt.ArrayLike | None = None,
) -> FloatArray:
    """Posterior of independent seats with symmetric errors: softmax of the weighted count.

    Args:
        votes: (..., seats), −1 = missing.
        weights: log-odds of the seats, see :func:`nitzan_paroush`; broadcast against votes.
        options: K.
        prior: (..., K); uniform if not given.
    """
    from consensus.aggregation.votes import tally

    return _finish(tally(votes, options, weights), prior, None)


def nitzan_paroush(accuracy: npt.ArrayLike, options: int = 2) -> FloatArray:
    """Weight log((K−1)p/(1−p)) of a seat with symmetric errors; below chance it is negative."""
    p = check_unit("accuracy", accuracy)
    return np.asarray(np.log((options - 1) * p / (1.0 - p)), dtype=np.float64)


def symmetric_confusion(accuracy: npt.ArrayLike, options: int) -> FloatArray:
    """Confusion matrices (..., K, K) with ``accuracy`` (...) on the diagonal, the rest shared."""
    p = np.asarray(accuracy, dtype=np.float64)[..., None, None]
    off = (1.0 - p) / max(options - 1, 1)
    return np.asarray(np.where(np.eye(options, dtype=np.bool_), p, off), dtype=np.float64)


def confusion_from_gold(
    votes: npt.ArrayLike,
    truth: npt.ArrayLike,
    options: int,
    *,
    strength: float = 4.0,
    centre: npt.ArrayLike | None = None,
) -> FloatArray:
    """Confusion matrices (seats, K, K) from gold cases, smoothed by a Dirichlet prior.

    Args:
        votes: (cases, seats), −1 = missing.
        truth: (cases,), −1 = unknown.
        options: K.
        strength: pseudo-votes a row. A seat with few cases stays near ``centre``.
        centre: (K, K) or (seats, K, K), rows summing to 1; by default symmetric with each seat's
            own accuracy, itself shrunk to the accuracy of the whole panel.
    """
    v = np.asarray(votes, dtype=np.int64)
    z = np.asarray(truth, dtype=np.int64)
    if v.ndim != 2 or z.shape != v.shape[:1]:
        raise ValueError("votes is (cases, seats) and truth (cases,)")
    if strength <= 0.0:
        raise ValueError("strength must be above 0: an unseen answer is not an impossible one")
    counts = np.zeros((v.shape[1], options, options))
    known = (v >= 0) & (z >= 0)[:, None]
    case, seat = np.nonzero(known)
    np.add.at(counts, (seat, z[case], v[case, seat]), 1.0)
    if centre is None:
        hits = np.trace(counts, axis1=1, axis2=2)
        total = counts.sum(axis=(1, 2))
        pooled = (hits.sum() + 1.0) / (total.sum() + options)
        own = (hits + strength * pooled) / (total + strength)
        centre = symmetric_confusion(own, options)
    smoothed = counts + strength * np.asarray(centre, dtype=np.float64)
    return np.asarray(smoothed / smoothed.sum(axis=-1, keepdims=True), dtype=np.float64)


def block_discount(blocks: npt.ArrayLike, rho_between: float) -> FloatArray:
    """Power 1/(1+(B−1)ρ) for B voting blocks whose outcomes correlate by ``rho_between``.

    The design effect of B correlated measurements, taken out of the log-likelihood.
    """
    if not 0.0 <= rho_between <= 1.0:
        raise ValueError("rho_between must lie in [0, 1]")
    b = np.maximum(np.asarray(blocks, dtype=np.float64), 1.0)
    return np.asarray(1.0 / (1.0 + (b - 1.0) * rho_between), dtype=np.float64)


def _symmetric_evidence(
    n: FloatArray, p: npt.ArrayLike, rho: npt.ArrayLike, mask: BoolArray | None
) -> FloatArray:
    """Log-likelihood ratio (..., B, K) of each option being true, per block.

    With symmetric errors everything but the option's own count cancels:
    Σ_{j<n} [log(p + j/s) − log(q + j/s)], q = (1−p)/(K−1).
    """
    blocks, width = n.shape[-2:]
    accuracy = np.broadcast_to(np.asarray(p, dtype=np.float64), (blocks,))
    correlation = np.broadcast_to(np.asarray(rho, dtype=np.float64), (blocks,))
    longest = _longest(n)
    key = (tuple(accuracy.tolist()), tuple(correlation.tolist()), longest)
    b = np.arange(blocks)[:, None]
    if mask is None:
        table = _ratio_table(*key, width)
        return _between(n, lambda whole: table[b, whole])
    sizes = mask.sum(axis=-1)
    present = np.unique(sizes)
    tables = np.stack([_ratio_table(*key, int(size)) for size in present])
    which = np.searchsorted(present, sizes)[..., None, None]
    return _between(n, lambda whole: tables[which, b, whole])


@lru_cache(maxsize=512)
def _ratio_table(
    p: tuple[float, ...], rho: tuple[float, ...], longest: int, options: int
) -> FloatArray:
    if options == 1:
        return np.zeros((len(p), longest + 1))
    accuracy = check_unit("p", p, low=1.0 / options)
    step = _step(rho, len(p))
    wrong = (1.0 - accuracy) / (options - 1)
    table = rising_table(accuracy, step, longest) - rising_table(wrong, step, longest)
    table.flags.writeable = False
    return table


def _step(rho: npt.ArrayLike, blocks: int) -> FloatArray:
    """1/s = ρ/(1−ρ) for each block."""
    r = np.broadcast_to(np.asarray(rho, dtype=np.float64), (blocks,))
    if not ((r >= 0.0) & (r < 1.0)).all():
        raise ValueError("rho must lie in [0, 1)")
    return np.asarray(r / (1.0 - r), dtype=np.float64)


def _longest(n: FloatArray) -> int:
    if not n.size:
        return 0
    if not (n.min() >= 0.0 and np.isfinite(n.max())):
        raise ValueError("counts must be finite and not negative")
    return math.ceil(float(n.max()))


def _between(n: FloatArray, lookup: Callable[[IntArray], FloatArray]) -> FloatArray:
    """Look whole counts up, and go linearly between them for half votes."""
    low = np.floor(n)
    whole = low.astype(np.int64)
    found = lookup(whole)
    part = n - low
    if part.any():
        above = lookup(np.ceil(n).astype(np.int64))
        found = found + part * (above - found)
    return found


def _finish(
    evidence: FloatArray, prior: npt.ArrayLike | None, mask: BoolArray | None
) -> FloatArray:
    if prior is not None:
        evidence = evidence + as_log(prior)
        if not np.isfinite(evidence.max(axis=-1)).all():
            raise ValueError("the prior leaves a case without any possible option")
    return softmax(evidence, mask)


def _check_confusion(confusion: npt.ArrayLike) -> FloatArray:
    c = np.asarray(confusion, dtype=np.float64)
    if c.ndim != 3:
        raise ValueError("confusion has the shape (seats or blocks, classes, answers)")
    if not (c > 0.0).all():
        raise ValueError("confusion matrices must be smoothed: every entry above 0")
    if not np.allclose(c.sum(axis=-1), 1.0, atol=1e-6):
        raise ValueError("rows of confusion matrices must sum to 1")
    return c


def _check_discount(discount: float) -> None:
    if not 0.0 < discount <= 1.0:
        raise ValueError("discount must lie in (0, 1]")
