"""A choice as data: shares, seats and the coin that decides which part answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.benchmark.auto.search import Candidate, Chosen
from consensus.benchmark.auto.serving import SEED, coin, serve, side_of
from consensus.benchmark.evidence import calibration_mask
from consensus.benchmark.run_format.columns import Member
from tests.benchmark.test_auto import auto, simulated

A, B = Member("a", "base"), Member("b", "terse")


def candidate(kind: Any, cost: float, key: Any) -> Candidate:
    return Candidate(kind, {}, np.zeros(1), cost, key)


def test_a_mix_names_the_share_and_the_seats_of_each_part_cheapest_first() -> None:
    panel, one = candidate("scores", 3.0, (2, 1)), candidate("single", 1.0, 1)
    served = serve(Chosen(((panel, 0.7), (one, 0.3)), 0.8, 2.4), [A, B])
    assert served == {
        "mix": [
            {
                "share": 0.3,
                "strategy": {
                    "strategy": "single",
                    "models": ["b"],
                    "variants": ["terse"],
                    "seats": 1,
                },
            },
            {
                "share": 0.7,
                "strategy": {
                    "strategy": "vote",
                    "models": ["a", "a", "b"],
                    "variants": ["base", "base", "terse"],
                    "seats": 3,
                    "aggregator": "scores",
                },
            },
        ],
        "coin": "sha256(mix-0:task_id)",
    }


def test_a_panel_read_by_confusions_says_how_its_calibration_is_fitted() -> None:
    crowd = Chosen(((candidate("crowd", 2.0, (1, 1)), 1.0),), 0.8, 2.0)
    told = serve(crowd, [A, B], balanced=True)["mix"][0]["strategy"]
    assert told["aggregator"] == "blocks"
    assert told["fit"] == ["--aggregator", "blocks", "--no-labels", "--balanced"]


def test_one_part_needs_no_coin() -> None:
    served = serve(Chosen(((candidate("vote", 2.0, (1, 1)), 1.0),), 0.8, 2.0), [A, B])
    assert served["coin"] is None
    assert served["mix"][0]["share"] == 1.0


def test_the_coin_is_the_first_64_bits_of_the_hash_that_it_names() -> None:
    # sha256("mix-0:case-1") by coreutils' sha256sum: the same on every machine.
    assert coin("case-1") == int("9e8d544c039cef73", 16) / 2**64


def test_the_shares_are_kept_and_a_task_always_falls_on_the_same_side() -> None:
    ids = [f"case/{i}" for i in range(20_000)]
    sides = np.array([side_of(i, (0.3, 0.7)) for i in ids])
    assert np.mean(sides == 0) == pytest.approx(0.3, abs=0.01)
    assert [side_of(i, (0.3, 0.7)) for i in ids[:50]] == sides[:50].tolist()


def test_shares_that_round_below_one_leave_nobody_out() -> None:
    assert {side_of(f"t{i}", (0.0, 0.0)) for i in range(20)} == {1}


def test_the_coin_does_not_follow_the_calibration_halves() -> None:
    ids = [f"case/{i}" for i in range(20_000)]
    first = np.array([coin(i) < 0.5 for i in ids])
    for seed in (0, 1):
        both = np.mean(first[calibration_mask(tuple(ids), seed)])
        assert both == pytest.approx(0.5, abs=0.02)
    assert not SEED.isdigit()


def test_what_auto_chose_can_be_served_and_a_fixed_choice_stands_beside_it(tmp_path: Path) -> None:
    run = simulated(tmp_path, 300, {"a": (0.7, 1.0), "b": (0.7, 1.0), "dear": (0.9, 20.0)})
    chosen = auto(run, "dear", "a,b,dear", "budget:0.5").figures["chosen"]
    assert sum(part["share"] for part in chosen["serve"]["mix"]) == pytest.approx(1, abs=1e-3)
    fixed = chosen["serve_fixed"]
    kinds = {part["strategy"]["strategy"] for part in fixed["mix"]}
    assert kinds <= {"single", "vote"}
    assert fixed["expected"]["cost_ratio"] <= 0.5
    assert fixed["coin"] == ("sha256(mix-0:task_id)" if len(fixed["mix"]) > 1 else None)
