"""Cascades of single calls: thresholds from the calibration half, break-even, pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consensus.benchmark.replay import Replayer, ReplaySettings
from consensus.benchmark.run_format.columns import Price
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from tests.benchmark.fit_fixtures import simulated

LETTERS = ("A", "B", "C", "D")


@pytest.fixture(scope="module")
def again() -> Replayer:
    run = simulated(
        500,
        models={"m/small": 0.7, "m/large": 0.9},
        seats=2,
        options=LETTERS,
        kind="choose",
        distributions=True,
    )
    prices = {"m/small": Price(call=1.0), "m/large": Price(call=10.0)}
    return Replayer(replace(run, prices=prices))


def asked(again: Replayer, strategy: str, **more: Any) -> dict[str, Any]:
    panel = ("m/small", "m/large")
    found = again(ReplaySettings("m/large", panel, strategy, calibrate=True, draws=4, **more))
    return found.figures


def test_a_budget_is_kept_and_bought_to_the_full(again: Replayer) -> None:
    cheap = asked(again, "cascade:1+2", goal="budget:0.4")
    dear = asked(again, "cascade:1+2", goal="budget:0.9")
    assert cheap["cost_ratio"] < 0.45 < dear["cost_ratio"] < 0.97
    assert dear["accuracy"] > cheap["accuracy"] > 0.7


def test_parity_is_the_cheapest_that_reaches_the_frontier(again: Replayer) -> None:
    found = asked(again, "cascade:1+1+2", goal="parity", splits=4)
    assert found["difference"] > -0.03
    assert found["cost_ratio"] < 0.95


def test_break_even_and_what_was_reached_are_told(again: Replayer) -> None:
    told = asked(again, "cascade:1+2", goal="budget:0.5")["strategy"]
    assert told["break_even"] == pytest.approx(0.9)
    assert told["reached"][0] == 1.0
    assert len(told["thresholds"]) == 1


def test_a_strategy_against_itself_differs_by_nothing(again: Replayer) -> None:
    one = "cascade:1+2"
    found = asked(again, one, goal="budget:0.5", against=one, splits=2)
    assert found["against"]["difference"] == 0
    assert found["against"]["difference_ci95"] == [0, 0]
    assert found["against"]["cost_ratio"] == found["cost_ratio"]


def test_the_pair_is_the_difference_of_the_two(again: Replayer) -> None:
    found = asked(again, "cascade:1+2", goal="budget:0.9", against="vote", splits=2)
    alone = asked(again, "vote", splits=2)
    assert found["against"]["accuracy"] == pytest.approx(alone["accuracy"])
    assert found["against"]["difference"] == pytest.approx(found["accuracy"] - alone["accuracy"])


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("cascade:1", "names no steps"),
        ("cascade:a+b", "names no steps"),
        ("cascade:1+3", "step 3 is no member"),
        ("cascade:1+1+1", "asks a member 3 times"),
    ],
)
def test_steps_that_cannot_be_are_refused(again: Replayer, strategy: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        asked(again, strategy)


def test_without_prices_there_is_no_cascade() -> None:
    run: RecordedRun = simulated(60, options=LETTERS, kind="choose")
    with pytest.raises(DataError, match="needs the price of every step"):
        Replayer(run)(ReplaySettings("m/a", ("m/a", "m/b"), "cascade:1+2", calibrate=True))
