"""Fits on decisions that were looked at with unequal chances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from consensus.aggregation._numerics import FitError
from consensus.benchmark._fit_data import case_weights, repeat_rows
from consensus.benchmark.fitting import fit_calibration
from consensus.benchmark.run_format.run import RecordedRun
from consensus.cli.bench import app
from consensus.errors import DataError
from consensus.ledger import Ledger
from consensus.ledger.feedback import give_label
from consensus.models.protocol import Request
from consensus.orchestrators.calibration import BlocksFit, load_calibration
from consensus.statistics.weighted import effective_cases, truncated
from consensus.tasks import Approve
from tests.benchmark.fit_fixtures import MODELS, simulated
from tests.engine_fixtures import engine_of


def looked_at(run: RecordedRun, share: float, seed: int = 0) -> RecordedRun:
    """As from a ledger: split panels are all looked at, of the others a share."""
    agreed = np.array(
        [
            len({tuple(v) for v in run.rows.votes[run.rows.case == case].tolist()}) == 1
            for case in range(len(run.cases))
        ]
    )
    chance = np.where(agreed, share, 1.0)
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(chance)) < chance)
    part = run.take_cases(kept)
    for record, case in zip(part.cases.records, kept.tolist(), strict=True):
        record["weight"] = 1 / float(chance[case])  # type: ignore[index]
    part.source["kind"] = "ledger"  # type: ignore[index]
    return part


def accuracy_of(run: RecordedRun, model: str) -> float:
    member = next(i for i, one in enumerate(run.members) if one.model == model)
    mine = run.rows.member == member
    credit = run.cases.credit[run.rows.case[mine]]
    return float((run.rows.votes[mine] * credit).sum(axis=1).mean())


def test_weights_give_back_what_all_cases_would_have_said() -> None:
    run = simulated(6000, models=dict.fromkeys(MODELS, 0.8), rho=0.3, seed=4)
    part = looked_at(run, 0.1)
    made = fit_calibration(part, MODELS, aggregator="blocks").calibration
    plain = fit_calibration(part.__class__(**{**vars(part), "source": {}}), MODELS).calibration
    assert isinstance(made.fit, BlocksFit)
    assert isinstance(plain.fit, BlocksFit)
    truth = accuracy_of(run, MODELS[0])
    assert made.fit.accuracy[0] == pytest.approx(truth, abs=0.03)
    assert plain.fit.accuracy[0] < truth - 0.1


@pytest.mark.parametrize("family", ["weighted", "blocks", "stacked", "mean"])
def test_every_family_takes_weights_and_says_what_they_leave(family: Any) -> None:
    models = dict(zip(MODELS, (0.6, 0.7, 0.92), strict=True))
    part = looked_at(
        simulated(2500, models=models, confidence=True, distributions=True, seed=5), 0.2
    )
    made, report = fit_calibration(part, MODELS, aggregator=family)
    assert report.effective is not None
    assert report.effective < report.cases
    assert report.to_dict()["weights"]["n_eff"] == report.effective
    assert report.after is not None
    assert report.before is not None
    assert report.after.log_loss < report.before.log_loss
    assert len(made.stages[0].misses) == pytest.approx(report.effective, abs=2)
    assert any("one over the chance" in note for note in report.notes)


def test_a_suites_own_weights_are_no_chances() -> None:
    run = simulated(100)
    for number, record in enumerate(run.cases.records):
        record["weight"] = 1.0 + number  # type: ignore[index]
    assert case_weights(run) is None


def test_few_effective_cases_are_too_few_however_many_there_are() -> None:
    part = simulated(120)
    part.source["kind"] = "ledger"  # type: ignore[index]
    for number, record in enumerate(part.cases.records):
        record["weight"] = 1.0 if number % 6 else 30.0  # type: ignore[index]
    with pytest.raises(FitError, match="say as much as"):
        fit_calibration(part, MODELS)


def test_rows_are_repeated_as_their_weights_say() -> None:
    weights = np.array([1.0, 4.0, 1.0, 2.0])
    count = np.bincount(repeat_rows(weights, 100), minlength=4)
    assert count.sum() == round(100 * effective_cases(weights))
    assert count / count.sum() == pytest.approx(weights / 8, abs=0.005)


def test_one_weight_cannot_outweigh_all_others() -> None:
    weights = np.array([1.0] * 15 + [1000.0])
    cut = truncated(weights)
    assert cut[-1] == pytest.approx(4 * weights.mean())
    assert truncated(np.ones(7)).tolist() == [1.0] * 7


async def test_the_command_fits_on_a_ledgers_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(request: Request) -> str:
        text = "\n".join(turn.text for turn in request.turns)
        return "reject" if "7" in text and request.model == "scripted/b" else "approve"

    rows = '[tasks.t]\nstrategy = "vote"\nseats = 2\nmin_agreement = 0.4\nframings = ["plain"]\n'
    engine, _ = engine_of(tmp_path, rows, says)
    async with engine:
        made = [
            await engine.decide(Approve(type="t", subject=f"no {n}.", criteria="c"))
            for n in range(100)
        ]
    with Ledger(tmp_path / "ledger.db") as book:
        for number, decision in enumerate(made):
            split = decision.action != "act"
            if split or number % 2 == 0:
                right = "reject" if "7" in str(number) else "approve"
                give_label(book, str(decision.receipt_id), right, probability=1 if split else 0.5)
    monkeypatch.chdir(tmp_path)
    arguments = ["fit", "--ledger", "ledger.db", "--panel", "scripted/a,scripted/b"]
    done = CliRunner().invoke(app, [*arguments, "--type", "t", "--out", "c.json", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert 20 <= report["weights"]["n_eff"] < report["cases"]
    assert load_calibration("c.json").models == ("scripted/a", "scripted/b")
    without = CliRunner().invoke(app, [*arguments, "--out", "c.json"])
    assert isinstance(without.exception, DataError)
    assert "--type" in str(without.exception)


def test_balanced_fits_a_rare_label_as_if_it_were_common() -> None:
    run = simulated(900, models=dict.fromkeys(MODELS, 0.8), seed=8)
    rejected = run.cases.credit[:, 1] > 0
    part = run.take_cases(np.flatnonzero(rejected | (np.arange(900) % 6 == 0)))
    fitted = fit_calibration(part, MODELS, balanced=True)
    assert any("each label counts alike" in note for note in fitted.report.notes)
    assert not any("chance" in note for note in fitted.report.notes)
    plain, even = fit_calibration(part, MODELS).calibration.fit, fitted.calibration.fit
    assert isinstance(plain, BlocksFit)
    assert isinstance(even, BlocksFit)
    assert plain.prior is not None
    assert plain.prior[0] < 0.25
    assert even.prior == pytest.approx((0.5, 0.5), abs=0.01)


def test_balanced_needs_labels_that_mean_the_same_in_every_case() -> None:
    run = simulated(60, options=("A", "B", "C"), kind="choose")
    with pytest.raises(DataError, match="the same labels") as refused:
        fit_calibration(run, MODELS, balanced=True)
    assert refused.value.where == "--balanced"
