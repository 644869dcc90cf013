from __future__ import annotations

from typing import Any

import pytest

from consensus import Approve
from consensus.orchestrators.spec import Poll, Stopping
from consensus.orchestrators.stopping import only_counts, settled
from tests.orchestrators.ballot_box import ballot, spec
from tests.orchestrators.calibrations import calibration

TASK = Approve(type="t", subject="s")
FOUR = Poll(ballots=tuple(ballot(i, "approve") for i in range(4)))
MARGIN = Stopping(rule="margin")


@pytest.mark.parametrize("aggregator", ["majority", "mean"])
def test_margin_is_certain_of_counts_and_of_means(aggregator: Any) -> None:
    five = spec(5, aggregator=aggregator, stop=MARGIN)
    assert only_counts(five)
    assert settled(TASK, five, FOUR, 1) is not None


@pytest.mark.parametrize("aggregator", ["cisc", "weighted", "blocks", "stacked", "scores"])
def test_margin_never_stops_what_more_than_counts_decides(aggregator: Any) -> None:
    five = spec(5, aggregator=aggregator, stop=MARGIN)
    assert settled(TASK, five, FOUR, 1) is None


def test_margin_never_stops_a_calibrated_panel() -> None:
    five = spec(5, aggregator="mean", calibration=calibration("mean"), stop=MARGIN)
    assert settled(TASK, five, FOUR, 1) is None


def test_other_rules_may_stop_a_learned_panel() -> None:
    five = spec(5, aggregator="weighted", stop=Stopping(rule="ahead_by_k"))
    assert settled(TASK, five, FOUR, 1) is not None


def test_the_adaptive_rule_stops_what_is_settled_and_nothing_else() -> None:
    nine = spec(9, quorum=2, stop=Stopping(rule="adaptive"))
    split = Poll(ballots=tuple(ballot(i, ("approve", "reject")[i % 2]) for i in range(4)))
    assert settled(TASK, nine, FOUR, 5) is not None
    assert settled(TASK, nine, split, 5) is None
