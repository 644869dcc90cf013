"""Stopping rules over recorded sequences of votes: when each would have stopped, and with what.

Any function of (counts_by_block, remaining) that returns a truth value per case is a rule; the ones
of :mod:`consensus.aggregation.stopping` are wrapped here by name. Waves are respected: between two
waves nothing can be stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from consensus.aggregation import stop_value, stopping
from consensus.aggregation._numerics import BoolArray, FloatArray, IntArray
from consensus.aggregation.posteriors import block_posterior

__all__ = [
    "Rule",
    "Stopped",
    "ahead_rule",
    "beta_rule",
    "certain_rule",
    "mixture_sprt_rule",
    "odds_rule",
    "prior_rule",
    "sprt_rule",
    "stop_times",
    "value_rule",
    "wave_ends",
    "window_agrees",
    "window_stop_times",
]


class Rule(Protocol):
    """Says for each case whether to stop.

    Args:
        counts_by_block: (..., B, K) votes so far.
        remaining: (..., B) seats of each block that have not been asked.

    Returns:
        bool (...).
    """

    def __call__(self, counts_by_block: FloatArray, remaining: FloatArray, /) -> BoolArray:
        """Whether to stop."""
        ...


class Stopped(NamedTuple):
    """Where each case stopped.

    Attributes:
        calls: (cases,) seats asked, failed ones included.
        counts: (cases, B, K) votes held then.
        early: (cases,) whether the rule stopped before the sequence ended.
    """

    calls: IntArray
    counts: FloatArray
    early: BoolArray


def wave_ends(seats: int, waves: Sequence[int] = (3, 2)) -> IntArray:
    """Numbers of seats after which a rule is asked: the last wave's size repeats.

    ``wave_ends(8)`` is 3, 5, 7, 8.
    """
    if not waves or min(waves) < 1:
        raise ValueError("waves must be positive")
    ends: list[int] = []
    done = 0
    while done < seats:
        done = min(seats, done + waves[min(len(ends), len(waves) - 1)])
        ends.append(done)
    return np.array(ends, dtype=np.int64)


def stop_times(
    votes: npt.ArrayLike,
    options: int,
    rule: Rule,
    *,
    blocks: npt.ArrayLike | None = None,
    waves: Sequence[int] = (1,),
) -> Stopped:
    """Walk vote sequences (cases, T) and stop each case where ``rule`` first says so.

    Args:
        votes: in the order in which seats would be asked; −1 = a failed call: it was made and
            brings no vote.
        options: K.
        rule: see :class:`Rule`.
        blocks: (T,) block of each seat; one block if not given.
        waves: sizes of the waves, see :func:`wave_ends`.
    """
    v = np.asarray(votes, dtype=np.int64)
    if v.ndim != 2:
        raise ValueError("votes has the shape (cases, seats)")
    if v.size and (v.max() >= options or v.min() < -1):
        raise ValueError(f"votes must lie in −1 … {options - 1}")
    cases, seats = v.shape
    of = np.zeros(seats, dtype=np.int64) if blocks is None else np.asarray(blocks, np.int64)
    number = int(of.max()) + 1 if seats else 1
    calls = np.full(cases, seats, dtype=np.int64)
    final = np.zeros((cases, number, options))
    early = np.zeros(cases, dtype=np.bool_)
    counts = np.zeros((cases, number, options))
    open_cases = np.arange(cases)
    start = 0
    for end in wave_ends(seats, waves).tolist():
        for seat in range(start, end):
            vote = v[open_cases, seat]
            cast = np.flatnonzero(vote >= 0)
            counts[cast, of[seat], vote[cast]] += 1.0
        start = end
        if end == seats:
            break
        rest = np.bincount(of[end:], minlength=number).astype(np.float64)
        stop = np.asarray(rule(counts, np.broadcast_to(rest, (len(open_cases), number))))
        done = open_cases[stop]
        calls[done], early[done], final[done] = end, True, counts[stop]
        open_cases, counts = open_cases[~stop], counts[~stop]
        if not open_cases.size:
            break
    final[open_cases] = counts
    return Stopped(calls, final, early)


def certain_rule() -> Rule:
    """Rule 1: the leader cannot be caught."""
    return lambda counts, remaining: stopping.certain(counts.sum(axis=-2), remaining.sum(axis=-1))


def ahead_rule(lead: int) -> Rule:
    """Rule 2: first to lead by ``lead``, see :func:`.stopping.lead_needed`."""
    return lambda counts, _: stopping.ahead(counts.sum(axis=-2), lead)


def odds_rule(
    p: npt.ArrayLike,
    rho: npt.ArrayLike,
    error: float = 0.05,
    *,
    prior: npt.ArrayLike | None = None,
    discount: float = 1.0,
) -> Rule:
    """Rule 3: the block posterior's odds against each rival."""
    return lambda counts, _: stopping.odds_decided(
        block_posterior(counts, p, rho, prior, discount=discount), error
    )


def beta_rule(threshold: float = 0.95) -> Rule:
    """Rule 4: Adaptive-Consistency."""
    return lambda counts, _: stopping.beta_decided(counts.sum(axis=-2), threshold)


def prior_rule(prior: stopping.TypePrior, threshold: float = 0.95) -> Rule:
    """Rule 4 with a prior per task type."""
    return lambda counts, _: stopping.prior_decided(counts.sum(axis=-2), prior, threshold)


def value_rule(
    losses: npt.ArrayLike,
    price: float,
    *,
    p: npt.ArrayLike,
    rho: npt.ArrayLike,
    horizon: int = 5,
    prior: npt.ArrayLike | None = None,
    discount: float = 1.0,
) -> Rule:
    """Rule 5: no number of further ballots, of any one block, is worth its price."""

    def rule(counts: FloatArray, remaining: FloatArray) -> BoolArray:
        ask = np.zeros(counts.shape[:-2], dtype=np.bool_)
        for block in range(counts.shape[-2]):
            left = int(remaining[..., block].max(initial=0.0))
            more = stop_value.worth_asking(
                counts,
                losses,
                price=price,
                remaining=left,
                p=p,
                rho=rho,
                block=block,
                horizon=horizon,
                prior=prior,
                discount=discount,
            )
            ask |= more > 0
        return np.asarray(~ask, dtype=np.bool_)

    return rule


def sprt_rule(p1: float = 0.75, alpha: float = 0.05, beta: float = 0.05) -> Rule:
    """Comparator: Wald's test on the two leaders."""
    return lambda counts, _: stopping.sprt_decided(counts.sum(axis=-2), p1, alpha, beta)


def mixture_sprt_rule(alpha: float = 0.05) -> Rule:
    """Comparator: the mixture test on the two leaders."""
    return lambda counts, _: stopping.mixture_sprt_decided(counts.sum(axis=-2), alpha)


def window_agrees(votes: npt.ArrayLike, window: int) -> BoolArray:
    """ESC (Li et al. 2024, arXiv:2401.10480): whether the last whole window is of one answer.

    ``votes`` (..., t) are those so far; windows do not overlap; a missing vote breaks a window.
    """
    v = np.asarray(votes, dtype=np.int64)
    whole = v.shape[-1] // window * window
    if whole == 0:
        return np.zeros(v.shape[:-1], dtype=np.bool_)
    last = v[..., whole - window : whole]
    return np.asarray((last[..., :1] == last).all(axis=-1) & (last[..., 0] >= 0), np.bool_)


def window_stop_times(votes: npt.ArrayLike, options: int, window: int) -> Stopped:
    """ESC over sequences (cases, T): windows of ``window`` until one is unanimous, or all is used.

    The answer is the plurality of everything drawn, as in the paper.
    """
    v = np.asarray(votes, dtype=np.int64)
    cases, seats = v.shape
    calls = np.full(cases, seats, dtype=np.int64)
    open_ = np.ones(cases, dtype=np.bool_)
    for end in range(window, seats, window):
        stop = open_ & window_agrees(v[:, :end], window)
        calls[stop] = end
        open_ &= ~stop
    drawn = np.where(np.arange(seats) < calls[:, None], v, -1)
    counts = (drawn[..., None] == np.arange(options)).sum(axis=-2, dtype=np.float64)
    return Stopped(calls, counts[:, None, :], calls < seats)
