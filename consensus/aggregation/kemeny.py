"""Kemeny's rule: the orders with the least total disagreement, all of them.

The maximum-likelihood order where every comparison is right with the same chance (Kemeny 1959,
Young 1988). Exact by dynamic programming over subsets (Held & Karp's scheme): the best way to put
the set S on top does not depend on what follows. The items are first split into the classes of
:func:`.rankings.components`, which every optimal order respects, so that the work is exponential in
the longest cycle only. A class above ``exact_up_to`` is searched locally (moves of one item, from
several starts), and the result says so.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import TIE_TOLERANCE, BoolArray, FloatArray, IntArray
from consensus.aggregation.rankings import borda, components, copeland, disagreement

__all__ = ["EXACT_UP_TO", "Kemeny", "kemeny_consensus"]

EXACT_UP_TO = 12
"""Items of one majority class up to which the search is exact (12 takes about 10 ms)."""


class Kemeny(NamedTuple):
    """The optimal orders.

    Attributes:
        orders: best first; all of them, unless ``number`` is greater.
        number: how many optimal orders there are (of those found, where ``exact`` is False).
        cost: their disagreement: weight of pairwise preferences turned round.
        groups: rank groups, best first: items that two optimal orders put differently share one.
        exact: whether optimality is proved.
    """

    orders: tuple[tuple[int, ...], ...]
    number: int
    cost: float
    groups: tuple[tuple[int, ...], ...]
    exact: bool


class _Part(NamedTuple):
    orders: list[tuple[int, ...]]
    number: int
    before: BoolArray
    exact: bool


def kemeny_consensus(
    preferences: npt.ArrayLike,
    *,
    exact_up_to: int = EXACT_UP_TO,
    limit: int = 1000,
    starts: int = 20,
    seed: int = 0,
) -> Kemeny:
    """Find the orders of least disagreement with W (items, items).

    Args:
        preferences: from :func:`.rankings.pairwise`.
        exact_up_to: largest majority class that is solved exactly; 16 is a second or two.
        limit: most orders that are listed.
        starts: of the local search, besides Borda's and Copeland's orders.
        seed: of those starts.
    """
    w = np.asarray(preferences, dtype=np.float64)
    parts = []
    groups: list[tuple[int, ...]] = []
    for members in components(w):
        index = np.array(members)
        inside = w[np.ix_(index, index)]
        part = (
            _exact(inside, limit)
            if len(members) <= exact_up_to
            else _local(inside, limit, starts, seed)
        )
        parts.append(_Part([tuple(index[list(o)].tolist()) for o in part.orders], *part[1:]))
        groups += [tuple(index[list(g)].tolist()) for g in _weak_order(part.before)]
    joined = itertools.islice(itertools.product(*(part.orders for part in parts)), limit)
    orders = tuple(tuple(itertools.chain(*pieces)) for pieces in joined)
    return Kemeny(
        orders=orders,
        number=math.prod(part.number for part in parts),
        cost=disagreement(orders[0], w),
        groups=tuple(groups),
        exact=all(part.exact for part in parts),
    )


def _exact(w: FloatArray, limit: int) -> _Part:
    """All optimal orders, by the least cost from the top (f) and to the bottom (g) of each set."""
    n = len(w)
    full = (1 << n) - 1
    sets = np.arange(full + 1)
    # against[i, S]: weight of "j before i" over j in S; the price of putting i before all of S.
    against = np.zeros((n, full + 1))
    for j in range(n):
        against[:, 1 << j : 2 << j] = against[:, : 1 << j] + w[j][:, None]
    top = np.full(full + 1, np.inf)
    rest = np.full(full + 1, np.inf)
    top[0], rest[full] = 0.0, 0.0
    has = (sets[:, None] >> np.arange(n)) & 1 == 1
    layers = [np.flatnonzero(has.sum(axis=1) == size) for size in range(n + 1)]
    for layer in layers[:-1]:
        for i in range(n):
            source = layer[~has[layer, i]]
            to = source | 1 << i
            np.minimum.at(top, to, top[source] + against[i, full ^ to])
    for layer in reversed(layers[1:]):
        for i in range(n):
            source = layer[has[layer, i]]
            came = source ^ 1 << i
            np.minimum.at(rest, came, rest[source] + against[i, full ^ source])
    best = top[full]
    slack = TIE_TOLERANCE * max(1.0, float(w.sum()))
    # step[S, i]: some optimal order has S on top and i next.
    step = np.zeros((full + 1, n), dtype=np.bool_)
    before = np.zeros((n, n), dtype=np.bool_)
    for i in range(n):
        source = sets[~has[:, i]]
        to = source | 1 << i
        step[source, i] = top[source] + against[i, full ^ to] + rest[to] <= best + slack
        on_path = to[step[source, i]]
        before[i] = (~has[on_path]).any(axis=0)
    number = _count(step, has, full)
    return _Part(list(itertools.islice(_walk(step, 0, full), limit)), number, before, exact=True)


def _count(step: BoolArray, has: BoolArray, full: int) -> int:
    paths = [0] * (full + 1)
    paths[full] = 1
    for s in range(full - 1, -1, -1):
        paths[s] = sum(paths[s | 1 << i] for i in np.flatnonzero(step[s] & ~has[s]).tolist())
    return paths[0]


def _walk(step: BoolArray, s: int, full: int) -> itertools.chain[tuple[int, ...]]:
    if s == full:
        return itertools.chain([()])
    return itertools.chain.from_iterable(
        ((i, *tail) for tail in _walk(step, s | 1 << i, full))
        for i in np.flatnonzero(step[s]).tolist()
    )


def _local(w: FloatArray, limit: int, starts: int, seed: int) -> _Part:
    """Best orders that single-item moves reach from several starts."""
    n = len(w)
    rng = np.random.default_rng(seed)
    by_borda = np.argsort(-borda(w), kind="stable")
    by_copeland = np.argsort(-copeland(w), kind="stable")
    first = [by_borda, by_copeland, *(rng.permutation(n) for _ in range(starts))]
    slack = TIE_TOLERANCE * max(1.0, float(w.sum()))
    best, found = np.inf, set[tuple[int, ...]]()
    for start in first:
        order, cost = _descend(start.astype(np.int64), w, slack)
        if cost < best - slack:
            best, found = cost, set()
        if cost <= best + slack and len(found) < limit:
            found.add(tuple(order.tolist()))
    orders = sorted(found)
    before = np.zeros((n, n), dtype=np.bool_)
    for listed in orders:
        for place, item in enumerate(listed):
            before[item, list(listed[place + 1 :])] = True
    return _Part(orders, len(orders), before, exact=False)


def _descend(order: IntArray, w: FloatArray, slack: float) -> tuple[IntArray, float]:
    """Move the item that gains most to its best place, until none gains."""
    while True:
        v = w[np.ix_(order, order)]
        margin = v - v.T  # margin[a, b] > 0: the item at a should stand before the one at b
        n = len(order)
        gain, move = slack, None
        for a in range(n):
            # To b > a: all of a+1 … b pass in front; to b < a: all of b … a−1 fall behind.
            down = np.cumsum(-margin[a, a + 1 :])
            up = np.cumsum(margin[a, :a][::-1])
            for gains, target in ((down, a + 1), (up, a - 1)):
                if gains.size and gains.max() > gain:
                    k = int(gains.argmax())
                    gain = float(gains[k])
                    move = (a, target + k if target > a else target - k)
        if move is None:
            return order, disagreement(order.tolist(), w)
        a, b = move
        order = np.insert(np.delete(order, a), b, order[a])


def _weak_order(before: BoolArray) -> list[tuple[int, ...]]:
    """Rank groups: items that occur in both orders, directly or through others, are equals."""
    n = len(before)
    tied = (before & before.T) | np.eye(n, dtype=np.bool_)
    for via in range(n):
        tied |= tied[:, via, None] & tied[None, via, :]
    groups = {tuple(np.flatnonzero(row).tolist()) for row in tied}

    def outside(group: tuple[int, ...]) -> int:
        """Items of other groups before it: within it, not every pair need be put both ways."""
        return int(np.delete(before[:, group[0]], group).sum())

    return sorted(groups, key=outside)
