"""When to ask whom next: optimal stopping on the lattice of samples asked so far.

A state is how many samples of each member have been asked. In every state a stacked model gives the
posterior; the value of asking member m next is the gain in the expected credit less λ times its
cost, both estimated by least squares on a few functions of the posterior (Longstaff & Schwartz,
Review of Financial Studies 2001), backwards from the full state. Costs are regressed too: models
that think longer on hard cases cost more exactly where one wants to ask them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.stacking import Slots, fit_weights, posterior
from consensus.benchmark.auto.table import State, Table

__all__ = [
    "Beliefs",
    "Policy",
    "Stack",
    "Walk",
    "believe",
    "choose_caps",
    "decide",
    "fit_policies",
    "fit_stacks",
    "lattice_states",
    "walk",
]  # fmt: skip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Stack = Mapping[State, Floats]
"""The stacked model's weights in every state."""

RIDGE = 1e-3
"""Of the regressions, relative to the mean square of the basis."""

RATIO_RIDGE = 1e-2
"""The same where scores are read: their basis has twice as many functions."""

KNOTS = (0.4, 0.55, 0.7, 0.85, 0.95)
"""Where the value of asking may bend, in the leader's probability."""

RATIO_KNOTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""The same, where scores are read: in the second's probability over the leader's."""

STEEP_KNOTS = (0.1, 0.3, 0.6, 0.8)
"""The same for the part that grows with the leader's probability."""


@dataclass(frozen=True)
class Beliefs:
    """A state's posterior on R rows.

    Attributes:
        slots: (N,) probability of one option of each slot.
        basis: (R, B) functions of the posterior that gains are regressed on.
        cost_basis: (R, B+1) the same with the case's relative price so far.
        top: (R,) probability of the leader.
        credit: (R,) credit of the leader, ties shared; what is never shown to a policy.
    """

    slots: Floats
    basis: Floats
    cost_basis: Floats
    top: Floats
    credit: Floats


@dataclass(frozen=True)
class Policy:
    """Whom to ask first, and in every state what asking each member is worth.

    Attributes:
        price: λ, credit a unit of cost.
        first: the member asked first.
        gain: (state, member) → weights on the basis.
        cost: (state, member) → weights on the cost basis; shared by all prices.
    """

    price: float
    first: int
    gain: Mapping[tuple[State, int], Floats]
    cost: Mapping[tuple[State, int], Floats]


@dataclass(frozen=True)
class Walk:
    """What a policy did on R rows."""

    credit: Floats
    cost: Floats
    dollars: Floats
    calls: Floats
    latency: Floats
    final: list[tuple[State, Ints]]
    """The rows that stopped in each state."""


def choose_caps(
    typical: Sequence[int], costs: Sequence[float], *, states: int, seats: int | None
) -> State:
    """How many samples of each member the lattice reaches.

    One of each, then more of the cheap ones (in the order of cap × √cost) while the lattice stays
    below ``states`` states.
    """
    caps = [min(1, have) for have in typical]
    most = max(typical) if seats is None else min(max(typical), seats)
    while True:
        options = [
            (caps[m] * np.sqrt(max(costs[m], 1e-12)), m)
            for m in range(len(caps))
            if 0 < caps[m] < min(typical[m], most)
            and np.prod([c + 1 + (i == m) for i, c in enumerate(caps)]) <= states
        ]
        if not options:
            return tuple(caps)
        caps[min(options)[1]] += 1


def lattice_states(caps: State, seats: int | None) -> list[State]:
    """Every state but the empty one, fewest samples first."""
    every = itertools.product(*(range(cap + 1) for cap in caps))
    return sorted(
        (s for s in every if 0 < sum(s) <= (sum(caps) if seats is None else seats)),
        key=lambda s: (sum(s), s),
    )


def fit_stacks(
    table: Table, rows: Ints, weights: Floats, states: Sequence[State], *, l2: float,
    near: Stack | None = None,
) -> dict[State, Floats]:  # fmt: skip
    """Fit the stacked model of every state on some of the rows.

    Args:
        table: the evidence.
        rows: which of its rows.
        weights: (R,) of all rows.
        states: which states.
        l2: precision of the prior, in cases.
        near: weights of a similar fit to start from.
    """
    slots, flat = table.slots.take(rows)
    fitted = {}
    for state in states:
        start = None if near is None else near[state]
        design = table.design(state)[flat]
        prior = l2 * table.penalties(design.shape[1])
        fitted[state] = fit_weights(slots, design, weights[rows], l2=prior, start=start)
    return fitted


def believe(table: Table, state: State, weights: Floats, rows: Ints, expected: float) -> Beliefs:
    """The posterior of a state on some rows; ``expected``: its mean cost."""
    slots, flat = table.slots.take(rows)
    share = posterior(slots, table.design(state)[flat] @ weights)
    each = share / slots.multiplicity
    spent = table.spent(state, "cost")[rows]
    return summarise(slots, each, spent, expected, by_ratio=any(table.means))


def summarise(
    slots: Slots, each: Floats, spent: Floats, expected: float, *, by_ratio: bool
) -> Beliefs:
    """Beliefs from the probability of one option of each slot."""
    top = slots.largest(each)
    near = each >= (top * (1 - 1e-9) - 1e-12)[slots.case]
    leaders = slots.sum(near * slots.multiplicity)
    credit = slots.sum(near * slots.multiplicity * slots.credit) / leaders
    below = np.where(near, -1.0, each)
    second = np.where(leaders > 1, top, np.maximum(slots.largest(below), 0.0))
    relative = (
        np.where(np.isfinite(spent), spent, expected) / expected
        if expected > 0
        else (np.ones_like(top))
    )
    relative = np.clip(relative, 0, 5)
    basis = _ratio_basis(top, second, relative) if by_ratio else _level_basis(top, second)
    return Beliefs(each, basis, np.column_stack([basis, relative]), top, np.asarray(credit))


def _ratio_basis(top: Floats, second: Floats, relative: Floats) -> Floats:
    """(R, B) straight pieces in how near the second is, at every level of the leader.

    The last tells how much a doubt is worth on a case that is longer (dearer) than the usual: what
    more samples settle there differs, as their price does.
    """
    near = second / np.maximum(top, 1e-12)
    bends = [np.maximum(near - knot, 0.0) for knot in RATIO_KNOTS]
    steep = [top * np.maximum(near - knot, 0.0) for knot in STEEP_KNOTS]
    length = near * (relative - 1.0)
    return np.stack([np.ones_like(top), near, *bends, top, top * near, *steep, length], axis=1)


def _level_basis(top: Floats, second: Floats) -> Floats:
    """(R, B) straight pieces in the leader's probability: few votes make few ratios."""
    pieces = [np.maximum(top - knot, 0.0) for knot in KNOTS]
    near = second / np.maximum(top, 1e-12)
    return np.stack([np.ones_like(top), top, *pieces, second, top * second, near], axis=1)


def _solver(basis: Floats, weights: Floats, ridge: float) -> Floats:
    """(B, R) the matrix that regresses on a basis."""
    weighted = basis * weights[:, None]
    gram = weighted.T @ basis / weights.sum()
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    # The inverse is small; solving for every row at once would be handed to threads, and wait.
    return np.asarray(np.linalg.inv(gram) @ (weighted.T / weights.sum()))


def fit_policies(
    table: Table,
    beliefs: Mapping[State, Beliefs],
    rows: Ints,
    weights: Floats,
    prices: Sequence[float],
) -> list[Policy]:
    """The best policy at each price λ, by backward induction.

    Args:
        table: the evidence.
        beliefs: honest posteriors of every state on ``rows`` (from models that did not see them).
        rows: the rows.
        weights: (len(rows),).
        prices: λ, credit a unit of cost.
    """
    states = sorted(beliefs, key=sum, reverse=True)
    ridge = RATIO_RIDGE if any(table.means) else RIDGE
    solve = {s: _solver(beliefs[s].basis, weights, ridge) for s in states}
    cost: dict[tuple[State, int], Floats] = {}
    expected: dict[tuple[State, int], Floats] = {}
    for state in states:
        by_cost = _solver(beliefs[state].cost_basis, weights, ridge)
        for m, _ in _next(state, beliefs):
            paid = np.nan_to_num(table.cost[m][rows, state[m]])
            cost[state, m] = by_cost @ paid
            expected[state, m] = np.maximum(beliefs[state].cost_basis @ cost[state, m], 0.0)
    members = len(table.caps)
    singles = [tuple(int(i == m) for i in range(members)) for m in range(members)]
    policies = []
    for price in prices:
        value: dict[State, Floats] = {}
        gain: dict[tuple[State, int], Floats] = {}
        for state in states:
            here = beliefs[state]
            best = np.zeros(len(rows))
            for m, after in _next(state, beliefs):
                weight = solve[state] @ (value[after] - here.top)
                gain[state, m] = weight
                best = np.maximum(best, here.basis @ weight - price * expected[state, m])
            value[state] = here.top + best
        start = [
            np.average(value[s], weights=weights)
            - price * np.average(np.nan_to_num(table.cost[m][rows, 0]), weights=weights)
            if s in value
            else -np.inf
            for m, s in enumerate(singles)
        ]
        policies.append(Policy(price, int(np.argmax(start)), gain, cost))
    return policies


def _next(state: State, known: Mapping[State, Beliefs]) -> list[tuple[int, State]]:
    steps = []
    for m in range(len(state)):
        after = tuple(count + (i == m) for i, count in enumerate(state))
        if after in known:
            steps.append((m, after))
    return steps


def decide(policy: Policy, state: State, here: Beliefs) -> Ints:
    """(R,) whom to ask next in a state; −1 to stop."""
    best = np.zeros(len(here.top))
    choice = np.full(len(here.top), -1, dtype=np.int64)
    for m in range(len(state)):
        weight = policy.gain.get((state, m))
        if weight is None:
            continue
        price = policy.price * np.maximum(here.cost_basis @ policy.cost[state, m], 0.0)
        net = here.basis @ weight - price
        better = net > best
        best[better], choice[better] = net[better], m
    return choice


def walk(table: Table, beliefs: Mapping[State, Beliefs], rows: Ints, policy: Policy) -> Walk:
    """Follow a policy on rows whose beliefs are known in every state."""
    size = len(rows)
    credit = np.zeros(size)
    spent = {name: np.zeros(size) for name in ("cost", "dollars", "called", "latency")}
    members = len(table.caps)
    final: list[tuple[State, Ints]] = []

    def pay(at: Ints, m: int, sample: int) -> None:
        for name, total in spent.items():
            total[at] += getattr(table, name)[m][rows[at], sample]

    first = tuple(int(i == policy.first) for i in range(members))
    open_rows: dict[State, list[Ints]] = {first: [np.arange(size)]}
    pay(np.arange(size), policy.first, 0)
    while open_rows:
        # Fewest samples first: everything that will reach a state is there when its turn comes.
        state = min(open_rows, key=lambda s: (sum(s), s))
        at = np.concatenate(open_rows.pop(state))
        here = beliefs[state]
        part = Beliefs(here.slots, here.basis[at], here.cost_basis[at], here.top[at],
                       here.credit[at])  # fmt: skip
        choice = decide(policy, state, part)
        stop = at[choice < 0]
        if stop.size:
            credit[stop] = here.credit[stop]
            final.append((state, stop))
        for m in np.unique(choice[choice >= 0]).tolist():
            go = at[choice == m]
            pay(go, m, state[m])
            after = tuple(count + (i == m) for i, count in enumerate(state))
            open_rows.setdefault(after, []).append(go)
    return Walk(credit, spent["cost"], spent["dollars"], spent["called"], spent["latency"], final)
