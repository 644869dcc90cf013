"""Stopping by the lead in whatever is added up: scores of candidates, or votes.

Let L be the lead of the best total over the second after t of T ballots. If a ballot tells the two
apart by nothing on average and by σ at random, the R = T − t ballots still to come overturn the
lead with probability Φ(−L/(σ√R)). Stopping where that is small is stochastic curtailment (Lan,
Simon & Halperin, Communications in Statistics C 1, 1982) under no drift, which is on the safe side:
a leader usually leads for a reason. ``certain`` of :mod:`consensus.aggregation.stopping` is its
limit where nothing may be risked.

Scores say more than votes: 9 against 3 is settled by one ballot, 7 against 6 is not. As with every
rule of this kind, what is certified is the decision of the whole panel, not the truth.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import TIE_TOLERANCE, BoolArray, FloatArray

__all__ = [
    "VOTE_POINTS",
    "lead_ballots",
    "lead_decided",
    "lead_level",
    "lead_spread",
    "lead_standing",
]

LeadEvidence = Literal["votes", "scores", "both"]
"""What is added up: votes, scores of the options, or both."""

VOTE_POINTS = 0.5
"""What a first place counts besides its score, in points, where both are added up."""


def lead_ballots(
    votes: npt.ArrayLike, scores: npt.ArrayLike | None, evidence: LeadEvidence
) -> FloatArray:
    """What each ballot gives each option, (..., K).

    Args:
        votes: (..., K) shares of one vote; zeros for a failure.
        scores: (..., K), zeros where a ballot has none; None without scores.
        evidence: what is added up.

    Raises:
        ValueError: scores are to be added up, and there are none.
    """
    v = np.asarray(votes, dtype=np.float64)
    if evidence == "votes":
        return v
    if scores is None:
        raise ValueError("the recording has no scores")
    x = np.asarray(scores, dtype=np.float64)
    return x + VOTE_POINTS * v if evidence == "both" else x


def lead_level(confidence: float) -> float:
    """The standing of :func:`lead_standing` at which a lead holds with this probability."""
    return NormalDist().inv_cdf(confidence)


def lead_spread(ballots: npt.ArrayLike) -> float:
    """σ: how much one ballot moves the lead of the final leader over the final runner-up.

    No truth is needed: only panels that were polled in full.

    Args:
        ballots: (cases, seats, K), what each seat gives each option; all finite.

    Returns:
        The root of the mean variance within cases; 0 where ballots never differ.

    Raises:
        ValueError: without two seats, two options and a case.
    """
    x = np.asarray(ballots, dtype=np.float64)
    if x.ndim != 3 or x.shape[0] < 1 or x.shape[1] < 2 or x.shape[2] < 2:
        raise ValueError("ballots has the shape (cases, seats ≥ 2, options ≥ 2)")
    order = np.argsort(-x.sum(axis=1), axis=-1, kind="stable")[:, None, :2]
    pair = np.take_along_axis(x, np.broadcast_to(order, (*x.shape[:2], 2)), axis=-1)
    gap = pair[..., 0] - pair[..., 1]
    return float(np.sqrt(gap.var(axis=1, ddof=1).mean()))


def lead_standing(
    totals: npt.ArrayLike, remaining: npt.ArrayLike, spread: npt.ArrayLike
) -> FloatArray:
    """L/(σ√R), in standard deviations: how safe the leader of totals (..., K) is.

    Args:
        totals: what has been given to each option so far; −inf for an option that a case lacks.
        remaining: (...) ballots R that have not been cast.
        spread: σ of :func:`lead_spread`.

    Returns:
        (...): inf where nothing remains, or where a lead cannot move (σ = 0); 0 for a tie before
        the last ballot.
    """
    x = np.asarray(totals, dtype=np.float64)
    if x.shape[-1] < 2:
        raise ValueError("totals has at least two options")
    top = np.partition(x, -2, axis=-1)[..., -2:]
    lead = top[..., 1] - top[..., 0]
    lead = np.where(lead > TIE_TOLERANCE * np.maximum(1.0, np.abs(top[..., 1])), lead, 0.0)
    rest = np.asarray(remaining, dtype=np.float64)
    scale = np.asarray(spread, dtype=np.float64) * np.sqrt(rest)
    moved = np.divide(
        lead, scale, out=np.where(lead > 0, np.inf, np.zeros_like(lead)), where=scale > 0
    )
    return np.asarray(np.where(rest > 0, moved, np.inf), dtype=np.float64)


def lead_decided(
    totals: npt.ArrayLike,
    remaining: npt.ArrayLike,
    spread: npt.ArrayLike,
    chance: float = 0.05,
) -> BoolArray:
    """Whether the rest overturns the lead with a probability of at most ``chance``.

    Args:
        totals, remaining, spread: as in :func:`lead_standing`.
        chance: strictly between 0 and ½.
    """
    if not 0.0 < chance < 0.5:
        raise ValueError("chance must lie between 0 and ½")
    needed = lead_level(1.0 - chance)
    return np.asarray(lead_standing(totals, remaining, spread) >= needed, dtype=np.bool_)
