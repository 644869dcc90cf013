"""What is learned on calibration cases, and how it is judged: on the folds left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.lattice import Beliefs, believe, fit_stacks
from consensus.benchmark.auto.members import sample_orders
from consensus.benchmark.auto.stacking import posterior
from consensus.benchmark.auto.table import Recipe, State, Table, learn_recipe, learn_scores
from consensus.benchmark.evidence import Evidence

__all__ = ["FOLDS", "L2", "LARGE", "by_case", "calibration_table", "honest_beliefs", "useful_sets"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 4
"""Of small calibration halves; those of ``LARGE`` cases or more need only three."""

LARGE = 1500

L2 = 1.0

ROWS = 2600
"""Rows (cases times sample orders) that a search looks at where orders matter."""


def calibration_table(
    part: Evidence, caps: State, unit: str, weights: Floats, seed: int
) -> tuple[Table, Recipe]:
    """The recipe of the calibration cases, and their features in several sample orders."""
    number = int(np.clip(ROWS // max(1, len(part)), 2, 8))
    recipe = learn_recipe(part, weights)
    orders = sample_orders(part, caps, number, seed)
    return Table(orders, recipe, caps, unit, scored=part.scores is not None), recipe


def useful_sets(table: Table, fold: Ints, weights: Floats, caps: State) -> frozenset[str]:
    """The optional features that lower the log loss on held-out folds by two standard errors.

    Small calibration halves cannot carry them; large ones gain a point by them.
    """
    state = tuple(min(1, cap) for cap in caps)
    plain: Floats | None = None
    best, margin = frozenset[str](), 0.0
    for used in table.options():
        table.used = used
        loss = np.zeros(len(table))
        fitted: dict[State, Floats] | None = None
        for f in range(int(fold.max()) + 1):
            inside, outside = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
            fitted = fit_stacks(table, outside, weights, [state], l2=L2, near=fitted)
            slots, flat = table.slots.take(inside)
            share = posterior(slots, table.design(state)[flat] @ fitted[state])
            loss[inside] = -slots.sum(
                slots.truth * np.log(np.maximum(share / slots.multiplicity, 1e-12))
            )
        each = by_case(table, loss * weights) * table.orders
        if plain is None:
            plain = each
            continue
        gain = plain - each
        lower = float(gain.mean() - 2 * gain.std() / np.sqrt(len(gain)))
        if lower > margin:
            best, margin = used, lower
    return best


def honest_beliefs(
    table: Table,
    states: Sequence[State],
    stacks: Mapping[State, Floats],
    expected: Mapping[State, float],
    fold: Ints,
    weights: Floats,
    part: Evidence,
) -> dict[State, Beliefs]:
    """Posteriors of every row from models that did not see its case.

    That goes for what its scores are worth, too: on rb2, scales learned on all cases promised half
    a point too much.
    """
    found: list[dict[State, Beliefs]] = []
    rows: list[Ints] = []
    for f in range(int(fold.max()) + 1):
        inside, outside = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        blind = table
        if part.scores is not None:
            cases, first = np.unique(table.case[outside], return_index=True)
            blind = table.judged_by(
                *learn_scores(part.take(cases), weights[outside][first] * table.orders)
            )
        fitted = fit_stacks(blind, outside, weights, states, l2=L2, near=stacks)
        found.append({s: believe(blind, s, fitted[s], inside, expected[s]) for s in states})
        rows.append(inside)
    back = np.argsort(np.concatenate(rows))
    return {
        s: Beliefs(
            np.empty(0),
            *(
                np.concatenate([getattr(beliefs[s], name) for beliefs in found])[back]
                for name in ("basis", "cost_basis", "top", "credit")
            ),
        )
        for s in states
    }


def by_case(table: Table, values: Floats) -> Floats:
    """(R,) → (n,): means over the sample orders of each case."""
    return np.asarray(values.reshape(table.orders, table.cases).mean(axis=0))
