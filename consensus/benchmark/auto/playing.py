"""What was learned, applied to cases: whole panels, and policies that ask one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import votes as voting
from consensus.benchmark.auto.lattice import Policy, believe, decide
from consensus.benchmark.auto.stacking import Slots
from consensus.benchmark.auto.table import Recipe, State, Table
from consensus.benchmark.run_format.columns import Member
from consensus.benchmark.strategy import leaders
from consensus.orchestrators.calibration import Calibration

__all__ = ["Model", "fixed_shares", "follow"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """What was learned: enough to decide new cases.

    Attributes:
        members: which of the panel's members take part.
        named: the same by name.
        caps: most samples of each.
        unit: what cost is counted in: ``dollars`` or ``calls``.
        recipe: what was learned about single members.
        used: the optional features in use.
        stacks: the weights of every state.
        expected: the mean cost of every state.
        scored: whether scores are read.
        confusions: calibrations of panels that are read by confusion matrices, by candidate.
    """

    members: tuple[int, ...]
    named: tuple[Member, ...]
    caps: State
    unit: str
    recipe: Recipe
    used: frozenset[str]
    stacks: Mapping[State, Floats]
    expected: Mapping[State, float]
    scored: bool
    confusions: Mapping[tuple[str, State], Calibration] = field(default_factory=dict)


def fixed_shares(table: Table, model: Model | None, kind: str, state: State) -> Floats:
    """(R, K) the decision of a whole panel."""
    if kind == "vote":
        counts = np.sum([table.votes[m][:, :c].sum(axis=1) for m, c in enumerate(state)], axis=0)
        return np.asarray(voting.plurality(counts, table.valid).credit)
    if kind == "scores":
        parts = [s[:, :c] for s, c in zip(table.scores, state, strict=True) if s is not None]
        return leaders(_nan_mean(np.concatenate(parts, axis=1)), table.valid)
    if model is None:
        raise ValueError("a stacked panel needs its model")
    rows = np.arange(len(table))
    here = believe(table, state, model.stacks[state], rows, model.expected[state])
    return _leaders(table.slots, table.option, table.valid, here.slots)


def _nan_mean(scores: Floats) -> Floats:
    given = np.isfinite(scores)
    count = given.sum(axis=1)
    total = np.where(given, scores, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _leaders(slots: Slots, option: Ints, valid: NDArray[np.bool_], each: Floats) -> Floats:
    """(R, K) the leading options, ties shared; a slot nobody named stands for all its options."""
    top = slots.largest(each)
    near = each >= (top * (1 - 1e-9) - 1e-12)[slots.case]
    named = option >= 0
    shares = np.zeros(valid.shape)
    shares[slots.case[near & named], option[near & named]] = 1.0
    unnamed = slots.case[near & ~named]
    if unnamed.size:
        known = np.zeros(valid.shape, dtype=bool)
        known[slots.case[named], option[named]] = True
        shares[unnamed] += valid[unnamed] & ~known[unnamed]
    return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), 1))


def follow(table: Table, model: Model, policy: Policy) -> tuple[Floats, dict[str, Floats]]:
    """Run a policy on new cases: beliefs are worked out only where it comes."""
    size = len(table)
    shares = np.zeros(table.valid.shape)
    spent = {name: np.zeros(size) for name in ("called", "dollars", "latency", "escalated")}
    members = len(table.caps)

    def pay(rows: Ints, m: int, sample: int) -> None:
        for name in ("called", "dollars", "latency"):
            spent[name][rows] += getattr(table, name)[m][rows, sample]

    every = np.arange(size)
    first = tuple(int(i == policy.first) for i in range(members))
    pay(every, policy.first, 0)
    waiting: dict[State, list[Ints]] = {first: [every]}
    while waiting:
        state = min(waiting, key=lambda s: (sum(s), s))
        rows = np.sort(np.concatenate(waiting.pop(state)))
        here = believe(table, state, model.stacks[state], rows, model.expected[state])
        choice = decide(policy, state, here)
        stop = choice < 0
        if stop.any():
            slots, flat = table.slots.take(rows)
            found = _leaders(slots, table.option[flat], table.valid[rows], here.slots)
            shares[rows[stop]] = found[stop]
        for m in np.unique(choice[~stop]).tolist():
            go = rows[choice == m]
            spent["escalated"][go] = 1.0
            pay(go, m, state[m])
            after = tuple(count + (i == m) for i, count in enumerate(state))
            waiting.setdefault(after, []).append(go)
    return shares, spent
