"""Confusion matrices and truths from votes alone (Dawid & Skene 1979), or with some gold.

Expectation–maximisation over sparse votes: the model of crowd-kit's ``DawidSkene``, same start
(vote shares), same answers, as two sparse products a step. It assumes that seats err independently
given the truth. Seats that err together can make it sure of a wrong answer: a panel of one model
under many framings is no crowd, and gold cases anchor it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import ConvergenceError, FitError, FloatArray, IntArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["DawidSkene", "dawid_skene", "dawid_skene_sparse"]

_FLOOR = 1e-10


class DawidSkene(NamedTuple):
    """A fit.

    Attributes:
        posterior: (cases, K).
        confusion: (seats, K, K): P(seat answers v | truth k) at [seat, k, v].
        prior: (K,).
        steps: EM steps taken.
        log_likelihood: of the votes (and the gold), in nats, a vote.
    """

    posterior: FloatArray
    confusion: FloatArray
    prior: FloatArray
    steps: int
    log_likelihood: float


def dawid_skene(
    votes: npt.ArrayLike,
    options: int,
    *,
    gold: npt.ArrayLike | None = None,
    smoothing: float = 0.0,
    tolerance: float = 1e-5,
    most_steps: int = 1000,
) -> DawidSkene:
    """Fit to votes (cases, seats), −1 = missing.

    Args:
        votes: option indices.
        options: K.
        gold: (cases,) known truths, −1 = unknown; known ones stay fixed.
        smoothing: Dirichlet pseudo-votes an entry of the confusion matrices (0: the published
            model; 1 or so keeps small panels from perfect seats).
        tolerance: stop when the log-likelihood a vote rises by less.
        most_steps: after which it gives up.

    Raises:
        FitError: without votes.
        ConvergenceError: after ``most_steps``.
    """
    v = np.asarray(votes, dtype=np.int64)
    if v.ndim != 2:
        raise ValueError("votes has the shape (cases, seats)")
    if v.size and (v.max() >= options or v.min() < -1):
        raise ValueError(f"votes must lie in −1 … {options - 1}")
    from scipy.sparse import csr_array

    cast = v >= 0
    columns = (v + options * np.arange(v.shape[1]))[cast]
    starts = np.concatenate([[0], np.cumsum(cast.sum(axis=1))])
    matrix = csr_array(
        (np.ones(columns.size), columns, starts), shape=(v.shape[0], v.shape[1] * options)
    )
    return _fit(matrix, options, gold, smoothing, tolerance, most_steps)


def dawid_skene_sparse(
    case: npt.ArrayLike,
    seat: npt.ArrayLike,
    vote: npt.ArrayLike,
    *,
    cases: int,
    seats: int,
    options: int,
    gold: npt.ArrayLike | None = None,
    smoothing: float = 0.0,
    tolerance: float = 1e-5,
    most_steps: int = 1000,
) -> DawidSkene:
    """Fit to votes given as triples: case, seat and vote, each (votes,).

    For many seats of whom each votes on few cases; otherwise as :func:`dawid_skene`.
    """
    from scipy.sparse import csr_array

    i, m, v = (np.asarray(a, dtype=np.int64) for a in (case, seat, vote))
    if v.size and (v.min() < 0 or v.max() >= options):
        raise ValueError(f"votes must lie in 0 … {options - 1}")
    matrix = csr_array((np.ones(i.size), (i, m * options + v)), shape=(cases, seats * options))
    return _fit(matrix, options, gold, smoothing, tolerance, most_steps)


def _fit(
    cast: csr_array[np.float64],
    options: int,
    gold: npt.ArrayLike | None,
    smoothing: float,
    tolerance: float,
    most_steps: int,
) -> DawidSkene:
    """EM over the indicator matrix (cases, seats·K) of the votes."""
    cases, width = cast.shape
    seats = width // options
    votes = float(cast.sum())
    if not votes:
        raise FitError("there are no votes")
    turned = cast.T
    known, fixed = _gold(gold, cases, options)
    counts = np.asarray(cast @ np.tile(np.eye(options), (seats, 1)))
    total = counts.sum(axis=1, keepdims=True)
    belief = np.where(total > 0, counts / np.maximum(total, 1.0), 1.0 / options)
    belief[known] = fixed
    confusion, prior = _maximise(turned @ belief, belief, seats, options, smoothing)
    last = -np.inf
    for step in range(1, most_steps + 1):
        by_vote = np.log(confusion).transpose(0, 2, 1).reshape(width, options)
        # Options in rows: reductions over a short last axis would cost more than the products.
        logs = np.ascontiguousarray(np.asarray(cast @ by_vote).T) + np.log(prior)[:, None]
        top = logs.max(axis=0)
        rows = np.exp(logs - top)
        mass = rows.sum(axis=0)
        belief = np.ascontiguousarray((rows / mass).T)
        each = np.log(mass) + top
        if known.size:
            each[known] = logs[fixed.argmax(axis=1), known]
            belief[known] = fixed
        likelihood = float(each.sum()) / votes
        confusion, prior = _maximise(turned @ belief, belief, seats, options, smoothing)
        if likelihood - last < tolerance:
            return DawidSkene(belief, confusion, prior, step, likelihood)
        last = likelihood
    raise ConvergenceError(
        f"Dawid–Skene did not converge in {most_steps} steps",
        fix="raise most_steps or tolerance, add smoothing, or give gold cases",
    )


def _maximise(
    answered: FloatArray, belief: FloatArray, seats: int, options: int, smoothing: float
) -> tuple[FloatArray, FloatArray]:
    """Confusion [seat, k, v] and prior that fit the beliefs best."""
    counts = answered.reshape(seats, options, options).transpose(0, 2, 1) + smoothing
    counts = np.maximum(counts, _FLOOR)
    prior = np.maximum(np.ones(len(belief)) @ belief / len(belief), _FLOOR)
    return counts / counts.sum(axis=2, keepdims=True), prior


def _gold(gold: npt.ArrayLike | None, cases: int, options: int) -> tuple[IntArray, FloatArray]:
    if gold is None:
        return np.zeros(0, dtype=np.int64), np.zeros((0, options))
    g = np.asarray(gold, dtype=np.int64)
    if g.shape != (cases,) or g.max(initial=-1) >= options or g.min(initial=-1) < -1:
        raise ValueError(f"gold has the shape ({cases},) and lies in −1 … {options - 1}")
    known = np.flatnonzero(g >= 0)
    fixed = np.zeros((known.size, options))
    fixed[np.arange(known.size), g[known]] = 1.0
    return known, fixed
