"""Who takes part in a search, what a pass of each costs, and in which orders samples come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.search import Goal
from consensus.benchmark.auto.table import State
from consensus.benchmark.evidence import Evidence

__all__ = [
    "case_weights",
    "choose_members",
    "fixed_orders",
    "mean_pass_cost",
    "pass_means",
    "rows_of",
    "sample_orders",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_MEMBERS = 6


def case_weights(train: Evidence, *, balanced: bool) -> Floats:
    """(n,) weights of mean 1; balanced: each label weighs the same together."""
    if not balanced:
        return np.ones(len(train))
    gold = train.credit.argmax(axis=1)
    classes, index, counts = np.unique(gold, return_inverse=True, return_counts=True)
    return np.asarray(len(train) / (len(classes) * counts[index]))


def rows_of(everything: Evidence, part: Evidence) -> Ints:
    """(n,) where the cases of a part stand in the whole."""
    place = {case_id: i for i, case_id in enumerate(everything.case_ids)}
    return np.array([place[case_id] for case_id in part.case_ids], dtype=np.int64)


def pass_means(top: Evidence) -> tuple[Floats, float]:
    """Credit of one frontier pass by case, and its mean cost (NaN if unknown)."""
    count = np.maximum(top.available.sum(axis=1), 1)
    credit = np.nansum(top.pass_credit(), axis=(1, 2)) / count
    return credit, float((top.cost.sum(axis=(1, 2)) / count).mean())


def mean_pass_cost(part: Evidence, m: int, unit: str) -> float:
    """Mean cost of a recorded pass of one member, in ``unit`` (dollars or calls)."""
    if unit == "calls":
        return 1.0
    here = part.present[:, m]
    return float(part.cost[:, m][here].mean()) if here.any() else 0.0


def choose_members(
    train: Evidence, goal: Goal, frontier_cost: float
) -> tuple[list[int], str, tuple[str, ...]]:
    """Which members take part, and what cost is counted in."""
    everyone = list(range(len(train.members)))
    costs = [float(train.cost[:, m][train.present[:, m]].mean()) if train.present[:, m].any()
             else np.nan for m in everyone]  # fmt: skip
    priced = [m for m in everyone if np.isfinite(costs[m])]
    notes: list[str] = []
    if not priced or not np.isfinite(frontier_cost):
        unit = "calls"
        kept = everyone
        notes.append("no prices: a call counts as one unit of cost")
        if goal.kind != "quality" and priced:
            notes.append("the frontier has no known price")
    elif len(priced) == len(everyone):
        unit, kept = "dollars", everyone
    elif goal.kind == "quality":
        unit, kept = "calls", everyone
        notes.append("some prices are unknown: a call counts as one unit of cost")
    else:
        unit, kept = "dollars", priced
        names = ", ".join(train.members[m].name for m in everyone if m not in priced)
        notes.append(f"left out, without a known price: {names}")
    if len(kept) > MOST_MEMBERS:
        credit = np.nan_to_num(train.pass_credit()).mean(axis=(0, 2))
        by_accuracy = sorted(kept, key=lambda m: (-credit[m], train.members[m].name))
        best_so_far, frontier = -np.inf, []
        for m in sorted(kept, key=lambda m: (np.nan_to_num(costs[m]), -credit[m])):
            if credit[m] > best_so_far:
                best_so_far = credit[m]
                frontier.append(m)
        # Those that nothing else beats in both, the best first; then the next best.
        ranked = [*sorted(frontier, key=lambda m: -credit[m]), *by_accuracy]
        kept = sorted(list(dict.fromkeys(ranked))[:MOST_MEMBERS])
        notes.append(f"searched over the {MOST_MEMBERS} most promising of the members")
    return kept, unit, tuple(notes)


def fixed_orders(part: Evidence, caps: State) -> bool:
    """Whether no choice among samples is left: one sample each."""
    return max(caps) == 1 and int(part.typical.max()) <= 1


def sample_orders(part: Evidence, caps: State, number: int, seed: int) -> list[Evidence]:
    """The evidence in random sample orders; a single one where there is no choice."""
    if fixed_orders(part, caps):
        return [part.compact(1)]
    rng = np.random.default_rng(seed)
    return [part.shuffled(rng, max(caps)) for _ in range(number)]
