"""Ranking many items by comparing two at a time, the next pair chosen by what it would tell.

Every pair is asked in both orders, so that a liking for the first place cancels. A first round ties
all items together in a ring; after it, strengths are fitted (Bradley & Terry 1952, with ridge) and
the pairs whose outcome is expected to tell most about them are asked (Houlsby et al. 2011), several
at a time and no item in two of them. Where only the best few are wanted, a pair counts by whether
it can move an item across that border. ``seats`` is the most comparisons: a hard bound on calls.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from consensus.aggregation.paired import Strengths, expected_information
from consensus.aggregation.top_set import beats_probability, membership
from consensus.ballots import Ballot, Failure
from consensus.orchestrators.ranking import fit_strengths, wins_of
from consensus.orchestrators.session import Session, poll_seats, sort_poll
from consensus.orchestrators.spec import Poll, StrategySpec
from consensus.orchestrators.together import together
from consensus.panel.seats import Seat
from consensus.tasks import Rank, Task

__all__ = ["CONFIDENCE", "Asking", "choose_pairs", "first_pairs", "pairs"]

CONFIDENCE = 0.8
"""How sure each item must be above the next (each of the best above each of the rest) for an early
end. Seats err together: at ρ = .44 no number of agreeing comparisons passes about .86."""

Pair = tuple[int, int]

_CUT_SHORT = frozenset({"budget", "deadline"})


class Asking(NamedTuple):
    """What was asked so far: comparisons by pair (both orders are one), and the most of each."""

    times: Counter[Pair]
    most: int


async def pairs(task: Task, spec: StrategySpec, session: Session) -> Poll:
    """Compare pairs until the order is settled, nothing more can be asked, or seats run out.

    A task of another kind, or of two items, is a plain vote.
    """
    if not isinstance(task, Rank) or len(task.items) < 3:
        return await poll_seats(session, session.panel)
    voices = _voices(session.panel)
    base = min(seat.index for seat in session.panel)
    top = task.top if task.top is not None and task.top < len(task.items) else None
    sure = CONFIDENCE if spec.stop is None else spec.stop.confidence or CONFIDENCE
    asking = Asking(Counter(), len(voices))
    done: list[Ballot | Failure] = []
    wave = first_pairs(task.items, spec.seats // 2)
    why = "no seat is left for both orders of a pair"
    while wave:
        asked: list[Coroutine[Any, Any, list[Ballot | Failure]]] = []
        for pair in wave:
            voice = voices[(asking.times[pair] + sum(pair)) % len(voices)]
            number = base + len(done) + 2 * len(asked)
            asked.append(_both_orders(session, voice, pair, number))
            asking.times[pair] += 1
        said = await together(asked)
        done += [answer for both in said for answer in both]
        if any(isinstance(a, Failure) and a.failure in _CUT_SHORT for a in done):
            why = "budget or deadline ended it"
            break
        ballots = [answer for answer in done if isinstance(answer, Ballot)]
        strengths = fit_strengths(wins_of(task.items, ballots, top), spec.cold_start.correlation)
        if strengths.linked and _settled(strengths, top, sure):
            why = f"settled at {sure:g}"
            break
        left = (spec.seats - len(done)) // 2
        size = min(left, spec.waves[0] if spec.waves else max(1, len(task.items) // 2))
        wave = choose_pairs(task.items, strengths, asking, size, top=top)
        why = "no seat is left" if left == 0 else "every pair was asked of every voice"
    note = f"{len(done)} comparisons of {len(asking.times)} pairs, {spec.seats} at most: {why}"
    return sort_poll(done).model_copy(update={"notes": (note,)})


def first_pairs(items: Sequence[str], most: int) -> list[Pair]:
    """A ring through all items, or as much of one as ``most`` pairs make.

    Its order comes from a hash of the items' texts, so that no list's order decides.
    """
    around = sorted(range(len(items)), key=lambda i: _hash(items[i]))
    ring = [_pair(a, b) for a, b in zip(around, [*around[1:], around[0]], strict=True)]
    return ring[:most]


def choose_pairs(
    items: Sequence[str],
    strengths: Strengths,
    asking: Asking,
    size: int,
    *,
    top: int | None = None,
) -> list[Pair]:
    """The pairs to ask next, no item in two of them; equal ones by a hash of their texts.

    Args:
        items: their texts.
        strengths: fitted on what was said so far.
        asking: pairs that every voice has answered are left out.
        size: at most so many.
        top: how many best items are wanted; None: the whole order.
    """
    gain = expected_information(strengths)
    if top is not None:
        share = membership(strengths, top)
        doubt = share * (1.0 - share)
        gain = gain * np.maximum(doubt[:, None], doubt[None, :])
    found = [
        (-float(np.round(gain[i, j], 12)), _hash(*sorted((items[i], items[j]))), (i, j))
        for i in range(len(items))
        for j in range(i + 1, len(items))
        if asking.times[i, j] < asking.most
    ]
    chosen: list[Pair] = []
    used: set[int] = set()
    for _, _, pair in sorted(found):
        if len(chosen) >= size:
            break
        if not used & set(pair):
            chosen.append(pair)
            used.update(pair)
    return chosen


def _settled(strengths: Strengths, top: int | None, sure: float) -> bool:
    order = [item for group in strengths.groups for item in group]
    must: Iterable[Pair] = itertools.pairwise(order)
    if top is not None:
        must = itertools.product(order[:top], order[top:])
    return all(beats_probability(strengths, better, worse) >= sure for better, worse in must)


async def _both_orders(
    session: Session, voice: Seat, pair: Pair, number: int
) -> list[Ballot | Failure]:
    one, other = pair
    return await together(
        [session.compare(voice, one, other, number), session.compare(voice, other, one, number + 1)]
    )


def _voices(panel: Sequence[Seat]) -> list[Seat]:
    """One seat of each model: a model asked the same pair again would say the same again."""
    found: dict[str, Seat] = {}
    for seat in panel:
        found.setdefault(seat.model, seat)
    return list(found.values())


def _pair(a: int, b: int) -> Pair:
    return (a, b) if a < b else (b, a)


def _hash(*texts: str) -> str:
    return sha256("\x1f".join(texts).encode()).hexdigest()
