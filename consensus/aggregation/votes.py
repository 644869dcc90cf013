"""Votes counted: plurality with explicit ties, half votes, supermajority, quorum, veto.

Conventions as in :mod:`consensus.aggregation`. Counts are exact, so every rule here gives the same
answer for the same ballots in any order, to the last bit. A tie is reported, never broken.

Sources: May 1952 (majority between two), Young 1974 (scoring rules); the minority veto against
judges that agree too readily: Jain et al. 2025, arXiv:2510.11822.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    TIE_TOLERANCE,
    BoolArray,
    FloatArray,
    IntArray,
    canonical_sum,
    leading,
)

__all__ = [
    "Plurality",
    "agreement",
    "half_votes",
    "minority_veto",
    "plurality",
    "quorum_met",
    "supermajority",
    "tally",
    "tally_blocks",
    "unanimous",
]


class Plurality(NamedTuple):
    """Who leads a count. Shapes: ``counts``, ``leaders``, ``credit`` (..., K); the rest (...).

    Attributes:
        counts: the votes of each option.
        leaders: every option that shares first place; none where nobody voted.
        tied: more than one leader.
        winner: index of the single leader; −1 for a tie or an empty count.
        lead: first place minus second place; 0 for a tie.
        credit: 1/(number of leaders) for each leader: what a tie-split accuracy counts.
    """

    counts: FloatArray
    leaders: BoolArray
    tied: BoolArray
    winner: IntArray
    lead: FloatArray
    credit: FloatArray


def tally(votes: npt.ArrayLike, options: int, weights: npt.ArrayLike | None = None) -> FloatArray:
    """Count votes (..., seats), −1 = missing, into (..., K).

    Args:
        votes: option indices.
        options: K.
        weights: of the seats, broadcast against ``votes``; 1 if not given. Weighted counts are
            summed in canonical order.

    Raises:
        ValueError: for an index ≥ K or below −1.
    """
    v = np.asarray(votes, dtype=np.int64)
    if v.size and (v.max() >= options or v.min() < -1):
        raise ValueError(f"votes must lie in −1 … {options - 1}")
    cast = v[..., None] == np.arange(options)
    if weights is None:
        return np.asarray(cast.sum(axis=-2), dtype=np.float64)
    w = np.broadcast_to(np.asarray(weights, dtype=np.float64), v.shape)[..., None]
    return canonical_sum(np.where(cast, w, 0.0), axis=-2)


def tally_blocks(votes: npt.ArrayLike, options: int, blocks: npt.ArrayLike) -> FloatArray:
    """Count votes (..., seats) within blocks of seats into (..., B, K).

    Args:
        votes: option indices, −1 = missing.
        options: K.
        blocks: (seats,) the block 0 … B−1 of each seat.
    """
    of = np.asarray(blocks, dtype=np.int64)
    v = np.asarray(votes, dtype=np.int64)
    if of.shape != v.shape[-1:]:
        raise ValueError(f"blocks names {of.size} seats, votes have {v.shape[-1]}")
    parts = [tally(v[..., of == b], options) for b in range(int(of.max()) + 1 if of.size else 0)]
    if not parts:
        return np.zeros((*v.shape[:-1], 0, options))
    return np.stack(parts, axis=-2)


def half_votes(named: npt.ArrayLike) -> FloatArray:
    """Count ballots that may name several options, each splitting one vote equally.

    Args:
        named: bool (..., seats, K); a recorded ``A/D`` marks A and D; a missing ballot marks none.

    Returns:
        Counts (..., K); they sum to the number of ballots that named anything.
    """
    mask = np.asarray(named, dtype=np.bool_)
    share = mask / np.maximum(mask.sum(axis=-1, keepdims=True), 1)
    return canonical_sum(share, axis=-2)


def plurality(counts: npt.ArrayLike, options: npt.ArrayLike | None = None) -> Plurality:
    """Say who leads counts (..., K); ties are flagged with the package's tolerance.

    ``options`` (bool, (..., K)) leaves out what a case does not offer.
    """
    c = np.asarray(counts, dtype=np.float64)
    if options is not None:
        c = np.where(np.asarray(options, dtype=np.bool_), c, 0.0)
    leaders = leading(c) & (c > 0.0)
    number = leaders.sum(axis=-1)
    single = number == 1
    winner = np.where(single, leaders.argmax(axis=-1), -1)
    if c.shape[-1] > 1:
        first_two = np.partition(c, -2, axis=-1)[..., -2:]
        lead = np.where(single, first_two[..., 1] - first_two[..., 0], 0.0)
    else:
        lead = c[..., 0]
    return Plurality(
        counts=c,
        leaders=np.asarray(leaders, dtype=np.bool_),
        tied=np.asarray(number > 1, dtype=np.bool_),
        winner=np.asarray(winner, dtype=np.int64),
        lead=np.asarray(lead, dtype=np.float64),
        credit=np.asarray(leaders / np.maximum(number, 1)[..., None], dtype=np.float64),
    )


def quorum_met(counts: npt.ArrayLike, quorum: float) -> BoolArray:
    """Whether at least ``quorum`` configured seats cast a valid ballot.

    Failed seats are no ballots and do not lower what is asked for: pass the absolute number.
    """
    total = canonical_sum(counts)
    return np.asarray(total >= quorum - TIE_TOLERANCE * max(1.0, abs(quorum)), dtype=np.bool_)


def supermajority(
    counts: npt.ArrayLike, seats: float, share: float = 2 / 3, *, strict: bool = False
) -> IntArray:
    """Find the option with at least (``strict``: more than) ``share`` of the *configured* seats.

    Returns:
        Its index (...), or −1 where no option, or more than one, has that many.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError("share must lie in (0, 1]")
    c = np.asarray(counts, dtype=np.float64)
    needed = share * seats
    slack = TIE_TOLERANCE * max(1.0, abs(needed))
    enough = (c > needed + slack) if strict else (c >= needed - slack) & (c > 0.0)
    return np.asarray(
        np.where(enough.sum(axis=-1) == 1, enough.argmax(axis=-1), -1), dtype=np.int64
    )


def unanimous(counts: npt.ArrayLike, seats: float) -> IntArray:
    """Find the option that every configured seat voted for; −1 where there is none."""
    return supermajority(counts, seats, 1.0)


def minority_veto(counts: npt.ArrayLike, option: int, vetoes: float) -> BoolArray:
    """Whether ``option`` (say, reject) has at least ``vetoes`` votes, whatever the majority says.

    Approvers tend to say yes: a single informed no can outweigh many easy yeses (2510.11822).
    """
    if vetoes <= 0:
        raise ValueError("vetoes must be above 0")
    against = np.asarray(counts, dtype=np.float64)[..., option]
    return np.asarray(against >= vetoes - TIE_TOLERANCE * max(1.0, vetoes), dtype=np.bool_)


def agreement(counts: npt.ArrayLike, seats: float) -> FloatArray:
    """Share of the configured seats that voted for a leader; a tie gives one leader's share."""
    return np.asarray(np.asarray(counts, dtype=np.float64).max(axis=-1) / seats, dtype=np.float64)
