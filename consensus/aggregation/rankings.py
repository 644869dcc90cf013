"""Rankings combined by counting: Borda, Copeland, Condorcet winner, cycles, top-k.

Orders are lists of item indices, best first; a list in a list is a group of equals; items that an
order leaves out are unknown to it (or, by request, below all that it lists). Everything works on
the pairwise matrix W, W[i, j] = weight of the orders that put i before j, so that full lists,
partial lists, ties and single comparisons are one kind of evidence. Results are scores and rank
groups: equals stay equal, whatever the order in which items were given.

Sources: Borda 1784, Condorcet 1785, Copeland 1951, Smith 1973; partial lists as in Emerson 2013.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    TIE_TOLERANCE,
    BoolArray,
    FloatArray,
    canonical_sum,
)

__all__ = [
    "Order",
    "TopK",
    "borda",
    "components",
    "condorcet_winner",
    "copeland",
    "cycles",
    "disagreement",
    "kemeny",
    "pairwise",
    "rank_groups",
    "smith_set",
    "top_k",
]

Order: TypeAlias = Sequence[int | Sequence[int]]
"""Items, best first; a sequence inside is a group of equals."""


class TopK(NamedTuple):
    """The best k, with the tie at the border shown.

    Attributes:
        certain: items that belong to the best k whatever breaks the tie.
        tied: items of which only ``places`` more fit; empty where the cut falls between groups.
        places: how many of ``tied`` fit.
    """

    certain: tuple[int, ...]
    tied: tuple[int, ...]
    places: int


def pairwise(
    orders: Sequence[Order],
    items: int,
    weights: Sequence[float] | None = None,
    *,
    unlisted: Literal["unknown", "below"] = "unknown",
) -> FloatArray:
    """Turn orders into W (items, items): the weight of orders that put i before j.

    Args:
        orders: each lists every item at most once.
        items: how many there are.
        weights: of the orders; 1 if not given.
        unlisted: ``below`` counts an item that a top-k list leaves out as worse than all in it.

    Raises:
        ValueError: for an unknown item, or one listed twice.
    """
    w = np.ones(len(orders)) if weights is None else np.asarray(weights, dtype=np.float64)
    place = np.full((len(orders), items), np.nan)
    for row, order in zip(place, orders, strict=True):
        for depth, entry in enumerate(order):
            for item in [entry] if isinstance(entry, int | np.integer) else entry:
                if not 0 <= item < items:
                    raise ValueError(f"item {item} is not one of the {items}")
                if not np.isnan(row[item]):
                    raise ValueError(f"item {item} is listed twice in one order")
                row[item] = depth
    if unlisted == "below":
        place[np.isnan(place)] = np.inf
    before = place[:, :, None] < place[:, None, :]  # a comparison with NaN is false
    return canonical_sum(np.where(before, w[:, None, None], 0.0), axis=0)


def borda(preferences: npt.ArrayLike, *, share: bool = False) -> FloatArray:
    """Borda scores (items,) of W: pairwise wins less losses.

    For full lists this orders items as the classical points do. ``share`` divides by the
    comparisons an item took part in: with partial lists, being listed often is no merit.
    """
    w = _square(preferences)
    net = canonical_sum(w) - canonical_sum(w.T)
    if not share:
        return net
    seen = canonical_sum(w + w.T)
    return np.asarray(np.where(seen > 0, net / np.where(seen > 0, seen, 1.0), 0.0), np.float64)


def copeland(preferences: npt.ArrayLike) -> FloatArray:
    """Copeland scores (items,): opponents beaten, and half for each drawn with."""
    beats, ties = _majority(_square(preferences))
    return np.asarray(beats.sum(axis=1) + 0.5 * ties.sum(axis=1), dtype=np.float64)


def condorcet_winner(preferences: npt.ArrayLike) -> int | None:
    """Find the item that beats every other in a majority; None where there is none."""
    beats, _ = _majority(_square(preferences))
    winner = np.flatnonzero(beats.sum(axis=1) == len(beats) - 1)
    return int(winner[0]) if winner.size else None


def smith_set(preferences: npt.ArrayLike) -> tuple[int, ...]:
    """Find the smallest group that beats everyone outside it; a Condorcet winner is alone."""
    return components(preferences)[0]


def components(preferences: npt.ArrayLike) -> list[tuple[int, ...]]:
    """Split the items into classes, best first: each beats every item of the later ones.

    These are the strong components of "beats or draws with"; a class of more than one item is a
    cycle or a draw. Every Kemeny order goes through them in this order (Truchon 1998).
    """
    beats, ties = _majority(_square(preferences))
    reach = beats | ties | np.eye(len(beats), dtype=np.bool_)
    for via in range(len(reach)):
        reach |= reach[:, via, None] & reach[None, via, :]
    mutual = reach & reach.T
    strength = reach.sum(axis=1)
    groups = {tuple(np.flatnonzero(row).tolist()) for row in mutual}
    return sorted(groups, key=lambda group: -int(strength[group[0]]))


def cycles(preferences: npt.ArrayLike) -> list[tuple[int, int, int]]:
    """List every majority triangle i beats j beats k beats i, each once, smallest index first."""
    beats, _ = _majority(_square(preferences))
    n = len(beats)
    return [
        (i, j, k)
        for i in range(n)
        for j, k in itertools.permutations(range(i + 1, n), 2)
        if beats[i, j] and beats[j, k] and beats[k, i]
    ]


def rank_groups(scores: npt.ArrayLike) -> list[tuple[int, ...]]:
    """Group items by score (items,), best first; equal scores share a group.

    A group holds scores that follow each other within the package's tolerance.
    """
    s = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-s, kind="stable")
    groups: list[list[int]] = []
    last = np.inf
    for item in order.tolist():
        if groups and last - s[item] <= TIE_TOLERANCE * max(1.0, abs(last)):
            groups[-1].append(item)
        else:
            groups.append([item])
        last = float(s[item])
    return [tuple(sorted(group)) for group in groups]


def top_k(groups: Sequence[Sequence[int]], k: int) -> TopK:
    """Take the best ``k`` of rank groups; a group that only partly fits is shown, not broken."""
    if k < 0:
        raise ValueError("k must not be negative")
    certain: list[int] = []
    for group in groups:
        room = k - len(certain)
        if len(group) > room:
            return TopK(tuple(certain), tuple(group) if room else (), room)
        certain.extend(group)
    return TopK(tuple(certain), (), 0)


def disagreement(order: Sequence[int], preferences: npt.ArrayLike) -> float:
    """Kemeny's cost: the weight of pairwise preferences that a full order turns round."""
    w = _square(preferences)
    along = np.asarray(order, dtype=np.int64)
    if sorted(along.tolist()) != list(range(len(w))):
        raise ValueError("the order must list every item once")
    return float(canonical_sum(np.tril(w[np.ix_(along, along)], -1).ravel()))


def kemeny(orders: Sequence[Order], items: int) -> list[tuple[int, ...]]:
    """Every order of least total disagreement with ``orders``; see :mod:`.kemeny`."""
    from consensus.aggregation.kemeny import kemeny_consensus

    return list(kemeny_consensus(pairwise(orders, items)).orders)


def _majority(w: FloatArray) -> tuple[BoolArray, BoolArray]:
    margin = w - w.T
    slack = TIE_TOLERANCE * np.maximum(1.0, w + w.T)
    draws = np.asarray(np.abs(margin) <= slack, dtype=np.bool_)
    np.fill_diagonal(draws, val=False)
    return np.asarray(margin > slack, dtype=np.bool_), draws


def _square(preferences: npt.ArrayLike) -> FloatArray:
    w = np.asarray(preferences, dtype=np.float64)
    if w.ndim != 2 or w.shape[0] != w.shape[1] or not w.size:
        raise ValueError("preferences has the shape (items, items)")
    if not (w >= 0).all():
        raise ValueError("preferences must be numbers ≥ 0")
    return w
