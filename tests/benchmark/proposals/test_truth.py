from __future__ import annotations

import numpy as np
import pytest

from consensus.benchmark.proposals.truth import false_certificates, tally
from consensus.benchmark.proposals.trying import front
from consensus.policy.mix import coin

IDS = [f"c{i}" for i in range(400)]


def columns(seed: int, rates: dict[str, float]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: (rng.random(400) < rate).astype(float) for name, rate in rates.items()}


def test_false_certificates_stay_below_delta_where_every_certificate_would_be_false() -> None:
    cells = []
    for seed in range(10):
        credits_ = columns(seed, {"cheap": 0.90, "dear": 0.93})
        costs = {"cheap": np.ones(400), "dear": np.full(400, 2.0)}
        floors = {float(c.mean()) + 1e-6 for c in credits_.values()}
        cells += false_certificates(
            "t", IDS, credits_, costs, floors=sorted(floors), delta=0.1, splits=40
        )
    pooled = tally(cells)
    assert pooled.runs == 40 * len(cells)
    assert 0 < pooled.share <= 0.1
    assert pooled.naive > 5 * pooled.false


def test_a_floor_that_is_far_below_is_certified_and_true() -> None:
    credits_ = columns(0, {"only": 0.97})
    (cell,) = false_certificates(
        "t", IDS, credits_, {"only": np.ones(400)}, floors=[0.8], delta=0.05, splits=20
    )
    assert (cell.certified, cell.false, cell.naive) == (20, 0, 0)


def test_no_run_has_the_whole_interval() -> None:
    assert tally([]).interval() == (0.0, 1.0)


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "b", "a"]])
def test_the_front_is_what_nothing_cheaper_equals_from_the_dearest_down(order: list[str]) -> None:
    cost = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert front(order, cost, {"a": 0.8, "b": 0.8, "c": 0.9}) == ["c", "a"]


def test_coins_between_neighbours_are_certified_and_false_no_oftener_than_delta() -> None:
    cells = []
    for seed in range(10):
        credits_ = columns(seed, {"cheap": 0.80, "dear": 0.95})
        costs = {"cheap": np.ones(400), "dear": np.full(400, 2.0)}
        thrown = np.array([coin(case) for case in IDS])
        mixed = np.where(thrown < 0.5, credits_["dear"], credits_["cheap"])
        floors = [0.75, float(mixed.mean()) - 0.04, float(mixed.mean()) + 1e-6]
        cells += false_certificates(
            "t", IDS, credits_, costs, floors=floors, delta=0.1, splits=20, coins=(0.5,)
        )
    pooled = tally(cells)
    assert pooled.coins > 100
    assert pooled.coins_false <= pooled.false <= 0.1 * pooled.runs


def test_without_shares_no_coin_is_thrown() -> None:
    credits_ = columns(0, {"cheap": 0.80, "dear": 0.95})
    costs = {"cheap": np.ones(400), "dear": np.full(400, 2.0)}
    cells = false_certificates("t", IDS, credits_, costs, floors=[0.8], delta=0.1, splits=20)
    assert tally(cells).coins == 0
