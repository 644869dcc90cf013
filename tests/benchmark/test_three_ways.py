"""Every aggregator and stopping rule from the library, from a policy's row, and in a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from consensus.benchmark.replay import ReplaySettings, replay
from consensus.benchmark.run_format.run import RecordedRun
from consensus.orchestrators.concluding import conclude
from consensus.orchestrators.spec import AGGREGATORS, Poll, Stopping
from consensus.orchestrators.stopping import settled
from consensus.policy.check import check
from consensus.policy.load import load_policy
from consensus.policy.route import route_type
from consensus.policy.rows import Stop
from consensus.tasks import Approve
from tests.benchmark.fit_fixtures import MODELS, simulated
from tests.engine_fixtures import policy_file
from tests.orchestrators.ballot_box import OPTIONS, hop, spec

AGGREGATED = {
    "majority": "vote",
    "mean": "mean",
    "cisc": "cisc",
    "weighted": "weighted",
    "blocks": "blocks",
    "stacked": "stacked",
    "scores": "softmax",
}
"""A policy's aggregator → the replay's strategy."""

STOPPED = {
    "margin": "certain",
    "ahead_by_k": "ahead:level=2",
    "posterior": "odds",
    "adaptive": "beta:level=0.95",
    "value": "value",
    "lead": "votes",
}
"""A policy's stopping rule → the replay's."""

A, R = OPTIONS
ROW = '[tasks.t]\nkind = "approve"\nstrategy = "vote"\n'
TASK = Approve(type="t", subject="s", criteria="c")


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return simulated(120, seats=2, confidence=True, distributions=True)


def test_nothing_that_a_policy_may_name_is_missing_here() -> None:
    assert set(AGGREGATED) == set(AGGREGATORS)
    assert set(STOPPED) == set(get_args(Stop.model_fields["rule"].annotation))
    assert set(STOPPED) == set(get_args(Stopping.model_fields["rule"].annotation))


@pytest.mark.parametrize("aggregator", sorted(AGGREGATED))
def test_an_aggregator_decides_in_all_three(
    aggregator: Any, run: RecordedRun, tmp_path: Path
) -> None:
    said = conclude("approve", OPTIONS, [hop([A, A, R], aggregator=aggregator)])
    assert (said.action, said.outcome) == ("act", A)
    row = (
        f'[tasks.t]\nkind = "approve"\nstrategy = "vote"\nseats = 3\naggregator = "{aggregator}"\n'
    )
    table = load_policy(policy_file(tmp_path, row))
    assert route_type(table, "t").hops[0].spec.aggregator == aggregator
    assert not [f.message for f in check(table) if f.level == "error"]
    found = replayed(run, AGGREGATED[aggregator])
    assert found.figures["accuracy"] > 0.6


@pytest.mark.parametrize("rule", sorted(STOPPED))
def test_a_stopping_rule_stops_in_all_three(rule: Any, run: RecordedRun, tmp_path: Path) -> None:
    spread: dict[str, Any] = {"spread": 1.0} if rule == "lead" else {}
    losses: dict[str, Any] = {"losses": {"false_approve": 1e-9}} if rule == "value" else {}
    made = spec(9, stop=Stopping(rule=rule, confidence=0.8, **spread), quorum=1, **losses)
    ballots = hop([A] * 8).ballots
    if rule == "value":
        from consensus.ballots import Cost

        ballots = tuple(b.model_copy(update={"cost": Cost(pico_usd=10**12)}) for b in ballots)
    assert settled(TASK, made, Poll(ballots=ballots), 1) is not None
    stop = f'stop = {{ rule = "{rule}"{", spread = 1.0" if spread else ""} }}'
    row = f"{ROW}seats = 5\n{stop}\n"
    table = load_policy(policy_file(tmp_path, row))
    served = route_type(table, "t").hops[0].spec.stop
    assert served is not None
    assert served.rule == rule
    found = replayed(run, f"adaptive:{STOPPED[rule]}", seats=6)
    assert np.isfinite(found.figures["accuracy"])
    assert found.figures["calls_per_case"] <= 6


def replayed(run: RecordedRun, strategy: str, seats: int | None = None) -> Any:
    settings = ReplaySettings(
        frontier=MODELS[0], panel=MODELS, strategy=strategy, seats=seats, calibrate=True, draws=2
    )
    return replay(run, settings)
