"""What models make of each option, learned from their votes alone (Dawid–Skene)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consensus.aggregation._numerics import FitError
from consensus.ballots import Ballot
from consensus.benchmark.fitting import fit_calibration
from consensus.benchmark.replay import ReplaySettings, replay
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from consensus.orchestrators.concluding import conclude
from consensus.orchestrators.spec import HopRecord, StrategySpec
from tests.benchmark.fit_fixtures import MODELS, simulated

SIX = {f"m/{name}": 0.78 for name in "abcdef"}
YES = {"m/a": 0.75, "m/b": 0.75, "m/c": 0.75, "m/d": 0.75}
"""Four of the six say yes three times in four whatever they see."""


@pytest.fixture(scope="module")
def yes_sayers() -> RecordedRun:
    return simulated(800, models=SIX, rho=0.1, bias=YES)


def test_confusions_without_labels_beat_the_vote_of_yes_sayers(yes_sayers: RecordedRun) -> None:
    asked = ReplaySettings("m/e", tuple(SIX), "vote")
    vote = replay(yes_sayers, asked).figures["accuracy"]
    crowd = replay(yes_sayers, replace(asked, strategy="dawid_skene")).figures["accuracy"]
    assert crowd > vote + 0.05


def test_no_label_is_looked_at_in_fitting(yes_sayers: RecordedRun) -> None:
    fitted = fit_calibration(yes_sayers, tuple(SIX), gold=False)
    turned = replace(
        yes_sayers, cases=replace(yes_sayers.cases, credit=yes_sayers.cases.credit[:, ::-1].copy())
    )
    blind = fit_calibration(turned, tuple(SIX), gold=False)
    assert fitted.calibration == blind.calibration
    assert fitted.report.after is not None
    assert fitted.report.before is not None
    assert fitted.report.after.accuracy > fitted.report.before.accuracy + 0.05
    assert fitted.report.coverage is None


def test_what_rests_on_votes_alone_is_not_called_calibrated(yes_sayers: RecordedRun) -> None:
    made = fit_calibration(yes_sayers, tuple(SIX), gold=False).calibration
    spec = StrategySpec(
        name="t", orchestrator="vote", models=tuple(SIX), seats=6, aggregator="blocks",
        calibration=made.at(0.1), alpha=0.1, conformal=True,
    )  # fmt: skip
    ballots = tuple(
        Ballot(seat=i, model=model, framing="plain", answer="reject" if i > 2 else "approve")
        for i, model in enumerate(SIX)
    )
    hop = HopRecord(name="t", spec=spec, ballots=ballots)
    found = conclude("approve", ("approve", "reject"), [hop])
    assert not found.calibrated
    assert found.action == "escalate"
    assert max(found.posterior, key=lambda option: found.posterior[option]) == "reject"
    assert any("fitted without labels" in reason for reason in found.reasons)


def test_certainty_is_a_cold_starts_and_not_that_of_votes_that_agree(
    yes_sayers: RecordedRun,
) -> None:
    report = fit_calibration(yes_sayers, tuple(SIX), gold=False).report
    assert report.after is not None
    assert report.after.ece < 0.15
    assert np.isfinite(report.after.log_loss)


def test_options_that_mean_something_else_in_every_case_are_refused() -> None:
    letters = simulated(60, options=("A", "B", "C"), kind="choose")
    with pytest.raises(FitError, match="mean the same in every case"):
        fit_calibration(letters, MODELS, gold=False)
    with pytest.raises(DataError, match="mean something else"):
        replay(letters, ReplaySettings("m/a", MODELS, "dawid_skene"))
    with pytest.raises(DataError, match="only confusions"):
        fit_calibration(simulated(60), MODELS, aggregator="stacked", gold=False)
