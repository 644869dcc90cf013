"""The value of asking, on beliefs whose best use is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.lattice import Beliefs, decide, fit_policies, summarise
from consensus.benchmark.auto.stacking import Slots

Floats = NDArray[np.float64]


def slots_of(cases: int, options: int = 2) -> Slots:
    start = np.arange(cases, dtype=np.int64) * options
    return Slots(
        start,
        np.full(cases, options, dtype=np.int64),
        np.ones(cases * options),
        np.tile(np.eye(options)[0], cases),
    )


def beliefs_of(leader: Floats, spent: Floats, *, by_ratio: bool = True) -> Beliefs:
    each = np.stack([leader, 1 - leader], axis=1).ravel()
    return summarise(slots_of(len(leader)), each, spent, 1.0, by_ratio=by_ratio)


def table_of(cost: Floats) -> Any:
    """Two members, one sample of each; the second costs ``cost``."""
    return SimpleNamespace(
        caps=(1, 1), cost=[np.full((len(cost), 1), 0.1), cost[:, None]], means=[{1: cost}, {}]
    )


def test_the_second_judge_is_asked_about_the_cases_whose_length_says_that_it_helps() -> None:
    short = np.arange(400) % 2 == 0
    spent = np.where(short, 0.6, 1.4)
    before = beliefs_of(np.full(400, 0.55), spent)
    # The price is the same on every case: only what is gained differs.
    after = beliefs_of(np.where(short, 0.9, 0.56), spent)
    table = table_of(np.ones(400))
    (policy,) = fit_policies(
        table, {(1, 0): before, (1, 1): after}, np.arange(400), np.ones(400), [0.15]
    )
    assert np.array_equal(decide(policy, (1, 0), before) == 1, short)


def test_a_case_of_the_usual_length_has_the_worth_of_its_doubt_alone() -> None:
    leader = np.array([0.5, 0.6, 0.9])
    usual, long = beliefs_of(leader, np.ones(3)), beliefs_of(leader, np.full(3, 2.0))
    assert np.array_equal(usual.basis[:, :-1], long.basis[:, :-1])
    assert np.allclose(usual.basis[:, -1], 0.0)
    assert np.allclose(long.basis[:, -1], (1 - leader) / leader)


def test_an_unknown_cost_is_taken_for_the_usual_one() -> None:
    leader = np.array([0.5, 0.8])
    unknown = beliefs_of(leader, np.full(2, np.nan))
    assert np.array_equal(unknown.basis, beliefs_of(leader, np.ones(2)).basis)


def test_votes_keep_the_worth_of_a_doubt_free_of_length() -> None:
    leader = np.array([0.5, 0.6, 0.9])
    usual = beliefs_of(leader, np.ones(3), by_ratio=False)
    long = beliefs_of(leader, np.full(3, 2.0), by_ratio=False)
    assert np.array_equal(usual.basis, long.basis)
