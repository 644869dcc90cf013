"""Calibrations fitted on simulated panels whose truth is known, and on the recorded ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consensus.aggregation._numerics import FitError
from consensus.ballots import Ballot
from consensus.benchmark.evidence import calibration_mask
from consensus.benchmark.fitting import fit_calibration
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from consensus.orchestrators.calibration import (
    BlocksFit,
    Calibration,
    MeanFit,
    OptionScoresFit,
    ScoresFit,
    WeightedFit,
    load_calibration,
)
from consensus.orchestrators.concluding import Conclusion, conclude
from consensus.orchestrators.spec import HopRecord, StrategySpec
from tests.benchmark.data_fixtures import real_run
from tests.benchmark.fit_fixtures import MODELS, recorded, simulated

OPTIONS = ("approve", "reject")


def live(
    made: Calibration,
    answers: list[tuple[str, str]],
    kind: Any = "approve",
    options: tuple[str, ...] = OPTIONS,
) -> Conclusion:
    ballots = tuple(
        Ballot(seat=i, model=model, framing="plain", answer=answer)
        for i, (model, answer) in enumerate(answers)
    )
    spec = StrategySpec(
        name="v",
        orchestrator="vote",
        models=made.models,
        seats=len(ballots),
        aggregator=made.aggregator,
        calibration=made.at(None),
    )
    return conclude(kind, options, [HopRecord(name="v", spec=spec, ballots=ballots)])


def test_four_to_none_and_three_to_one_are_worth_what_the_simulation_says() -> None:
    """p = .8, ρ = .44, four seats of one model: P(correct | 4–0) = .914."""
    run = simulated(8000, models={"m/a": 0.8}, seats=4, seed=1)
    made = fit_calibration(run, ["m/a"], seats=4, aggregator="blocks").calibration
    assert isinstance(made.fit, BlocksFit)
    assert made.fit.accuracy[0] == pytest.approx(0.8, abs=0.02)
    assert made.fit.within[0] == pytest.approx(0.44, abs=0.03)
    assert made.stages[0].temperature == pytest.approx(1.0, abs=0.06)
    four = live(made, [("m/a", "approve")] * 4).posterior["approve"]
    assert four == pytest.approx(0.914, abs=0.02)


@pytest.mark.parametrize("family", ["weighted", "blocks", "stacked", "mean"])
def test_a_calibrated_posterior_is_truer_than_a_cold_start_on_cases_held_out(family: Any) -> None:
    accuracies = (0.75, 0.75, 0.75) if family == "mean" else (0.6, 0.7, 0.92)
    models = dict(zip(MODELS, accuracies, strict=True))
    run = simulated(3000, models=models, confidence=True, distributions=True)
    report = fit_calibration(run, MODELS, aggregator=family).report
    assert report.before is not None
    assert report.after is not None
    assert report.after.log_loss < report.before.log_loss - 0.02
    assert report.after.ece < 0.04
    assert report.after.accuracy > report.before.accuracy
    assert sum(cases for *_, cases in report.after.bins) == report.held_out
    assert report.notes == ()


def test_an_approver_that_says_yes_to_everything_gets_its_confusion() -> None:
    run = simulated(2000, models={"m/a": 0.85}, bias={"m/a": 0.6}, seed=2)
    made = fit_calibration(run, ["m/a"]).calibration
    yes = live(made, [("m/a", "approve")]).probability
    no = live(made, [("m/a", "reject")]).probability
    assert yes is not None
    assert no is not None
    assert yes < 0.7 < 0.8 < no


def test_confidence_that_is_noise_gets_no_weight() -> None:
    run = simulated(400, seed=3)
    rng = np.random.default_rng(0)
    run.rows.confidence[:] = rng.uniform(0.4, 1.0, len(run.rows))
    made = fit_calibration(run, MODELS, aggregator="weighted").calibration
    assert isinstance(made.fit, WeightedFit)
    assert all(m.b < 0.15 for m in made.fit.maps)


def test_a_label_bias_is_taken_out_and_prevalence_is_not() -> None:
    run = simulated(1500, models={"m/a": 0.8, "m/b": 0.8}, distributions=True, bias={"m/a": 0.5})
    made = fit_calibration(run, ["m/a", "m/b"], aggregator="mean").calibration
    assert isinstance(made.fit, MeanFit)
    assert made.fit.bias is not None
    assert made.fit.bias_from in ("batch", "labels")
    assert made.fit.bias[0][0] > 0.6
    assert made.fit.bias[1][0] == pytest.approx(0.5, abs=0.04)


def skewed(tilt: float, *, approved: float, cases: int = 900, seed: int = 3) -> RecordedRun:
    """One model whose log-odds for approve are the truth's, plus noise, plus ``tilt``."""
    rng = np.random.default_rng(seed)
    records, lines = [], []
    for case in range(cases):
        right = int(rng.random() >= approved)
        odds = (1.5 if right == 0 else -1.5) + rng.normal() + tilt
        yes = float(1 / (1 + np.exp(-odds)))
        name = f"c{case}"
        about = {"case_id": name, "task_kind": "approve", "task_type": "t", "label": OPTIONS[right]}
        records.append((name, {**about, "options": list(OPTIONS)}, OPTIONS))
        lines.append(
            {
                "case": name,
                "model": "m/a",
                "variant": "plain",
                "sample": 0,
                "answer": OPTIONS[int(yes < 0.5)],
                "scores": [yes, 1 - yes],
            }
        )
    return recorded(records, lines)


def free(tilt: float) -> RecordedRun:
    """What that model answers to content-free questions."""
    yes = float(1 / (1 + np.exp(-tilt)))
    records, lines = [], []
    for case in range(3):
        about = {"case_id": f"f{case}", "task_kind": "approve", "task_type": "t"}
        records.append((f"f{case}", {**about, "label": "approve", "options": OPTIONS}, OPTIONS))
        line = {"case": f"f{case}", "model": "m/a", "variant": "plain", "sample": 0}
        lines.append({**line, "answer": "approve", "scores": [yes, 1 - yes]})
    return recorded(records, lines)


def test_the_way_with_the_least_log_loss_takes_the_bias_out() -> None:
    report = fit_calibration(
        skewed(2.0, approved=0.8), ["m/a"], aggregator="mean", content_free=free(2.0)
    ).report
    assert set(report.bias_log_loss) == {"none", "batch", "labels", "content_free"}
    assert report.bias_from == min(report.bias_log_loss, key=report.bias_log_loss.__getitem__)
    assert report.after is not None
    assert report.after.ece < 0.06


def test_a_content_free_answer_is_the_bias_itself() -> None:
    """Prevalence is .8, so a batch's mean is no bias; the answer to nothing is."""
    made = fit_calibration(
        skewed(2.0, approved=0.8), ["m/a"], aggregator="mean", content_free=free(2.0)
    )
    losses = made.report.bias_log_loss
    assert losses["content_free"] < losses["none"] - 0.02
    if made.report.bias_from == "content_free":
        assert isinstance(made.calibration.fit, MeanFit)
        assert made.calibration.fit.bias is not None
        assert made.calibration.fit.bias[0][0] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)


def test_without_bias_nothing_is_divided_out() -> None:
    report = fit_calibration(skewed(0.0, approved=0.9), ["m/a"], aggregator="mean").report
    assert report.bias_log_loss["none"] <= report.bias_log_loss["batch"]
    assert report.bias_from in ("none", "labels")


def test_content_free_answers_to_other_options_are_refused() -> None:
    other = simulated(30, models={"m/a": 0.8}, options=("yes", "no"), kind="choose")
    with pytest.raises(DataError, match="options"):
        fit_calibration(skewed(0.0, approved=0.5), ["m/a"], aggregator="mean", content_free=other)


def test_prediction_sets_hold_the_truth_as_often_as_they_promise() -> None:
    """Over 200 seeds, at α = .1; a panel's discrete posterior may only cover more."""
    covered: list[float] = []
    acted: list[float] = []
    for seed in range(200):
        run = simulated(220, models={"m/a": 0.7, "m/b": 0.8}, distributions=True, seed=seed)
        report = fit_calibration(
            run, ["m/a", "m/b"], aggregator="mean", seed=seed, alpha=0.1
        ).report
        assert report.coverage is not None
        assert report.acted is not None
        covered.append(report.coverage)
        acted.append(report.acted)
    assert np.mean(covered) >= 0.9 - 0.02
    assert 0.0 < np.mean(acted) < 1.0


def test_only_the_calibration_half_is_learned_from() -> None:
    """Wrong labels on the other half change the report and not one number of the calibration."""
    run = simulated(400, seed=5)
    first = fit_calibration(run, MODELS)
    held = np.flatnonzero(~calibration_mask(run.cases.ids, 0))
    run.cases.credit[held] = run.cases.credit[held][:, ::-1]
    second = fit_calibration(run, MODELS)
    assert second.calibration == first.calibration
    assert first.report.after is not None
    assert second.report.after is not None
    assert second.report.after.accuracy < first.report.after.accuracy - 0.3


def test_temperatures_are_of_cases_that_the_fit_had_not_seen() -> None:
    """Coins, judged by a fit with many columns: on its own cases it would look sure, and right."""
    coins = {f"m/{i}": 0.5 for i in range(6)}
    run = simulated(160, models=coins, confidence=True, seed=11)
    run.rows.confidence[:] = np.random.default_rng(1).uniform(0.5, 1, len(run.rows))
    made = fit_calibration(run, list(coins), aggregator="stacked").calibration
    assert made.stages[0].temperature > 1.5


def test_models_that_never_answered_together_say_nothing_together() -> None:
    run = simulated(200, models={"m/a": 0.9, "m/b": 0.9}, seed=12)
    run.rows.votes[run.rows.member == run.rows.case % 2] = 0
    made = fit_calibration(run, ["m/a", "m/b"], aggregator="stacked").calibration
    assert made.stages[0].cases == 0
    both = live(made, [("m/a", "approve"), ("m/b", "approve")])
    assert both.posterior == {"approve": 0.5, "reject": 0.5}


def test_another_seed_is_another_half_and_another_hash() -> None:
    run = simulated(200, seed=6)
    first, again, other = (fit_calibration(run, MODELS, seed=s).calibration for s in (0, 0, 1))
    assert first == again
    assert first.data_sha256 != other.data_sha256


def test_failed_models_leave_stages_of_their_own() -> None:
    run = simulated(600, failing=0.2, seed=7)
    found = fit_calibration(run, MODELS, aggregator="stacked")
    made = found.calibration
    assert len(made.stages) == 7
    assert made.stages[0].cases < made.stages[-1].cases
    assert live(made, [("m/b", "reject")]).calibrated


def test_a_panel_of_many_models_has_the_stages_of_cascades_and_failures() -> None:
    models = {f"m/{i}": 0.75 for i in range(6)}
    made = fit_calibration(simulated(150, models=models), list(models)).calibration
    parts = {stage.models for stage in made.stages}
    names = tuple(models)
    assert {names, names[:3], names[1:], names[2:3]} <= parts
    assert len(parts) < 20


def test_recorded_names_become_the_policys() -> None:
    run = simulated(120, options=("accept", "reject"), seed=8)
    with pytest.raises(DataError, match="--as accept=approve"):
        fit_calibration(run, MODELS)
    names = {"accept": "approve", "m/a": "openai/a"}
    made = fit_calibration(run, MODELS, names=names).calibration
    assert made.models == ("openai/a", "m/b", "m/c")
    assert made.options == OPTIONS


def test_comparisons_without_a_tie_get_one_that_is_rare() -> None:
    run = simulated(200, options=("1", "2"), kind="pairwise", seed=9)
    made = fit_calibration(run, MODELS, names={"1": "A", "2": "B"}).calibration
    assert made.options == ("A", "B", "tie")
    result = live(made, [(m, "B") for m in MODELS], "compare", ("A", "B", "tie"))
    assert result.outcome == "B"
    assert result.posterior["tie"] < 0.1


def test_candidates_that_differ_by_case_have_no_options() -> None:
    run = simulated(200, options=("A", "B", "C", "D"), kind="choice", seed=10)
    made = fit_calibration(run, MODELS, aggregator="stacked").calibration
    assert made.options is None
    found = live(made, [(m, "the third text") for m in MODELS], "choose", ("x", "the third text"))
    assert found.outcome == "the third text"


def test_a_file_holds_what_was_fitted(tmp_path: Any) -> None:
    made = fit_calibration(simulated(200), MODELS, fitted_on="2026-11-22").calibration
    assert load_calibration(made.save(tmp_path / "c.json")) == made
    assert (tmp_path / "c.json").stat().st_size < 20_000


def scores_run(cases: int = 120) -> RecordedRun:
    """Whole scores from 1 to 10 by a lenient judge, a strict one and a noisy one."""
    rng = np.random.default_rng(0)
    points = [str(p) for p in range(1, 11)]
    records: list[Any] = []
    lines = []
    for case in range(cases):
        true = rng.uniform(2, 9)
        right = str(round(true))
        record = {"case_id": f"c{case}", "task_kind": "score", "task_type": "essay"}
        records.append(
            (f"c{case}", {**record, "scale": [1, 10], "credits": {right: 1.0}}, tuple(points))
        )
        said = {
            "m/a": true + 1.5 + 0.3 * rng.normal(),
            "m/b": true - 1.5 + 0.3 * rng.normal(),
            "m/c": true + 2.5 * rng.normal(),
        }
        lines += [
            {"case": f"c{case}", "model": m, "answer": str(int(np.clip(round(s), 1, 10)))}
            for m, s in said.items()
        ]
    return recorded(records, lines)


def test_judges_are_fitted_by_what_they_say_and_read_better_than_their_median() -> None:
    found = fit_calibration(scores_run(), MODELS, aggregator="scores")
    fit = found.calibration.fit
    assert isinstance(fit, ScoresFit)
    assert found.calibration.scale == (1.0, 10.0)
    assert fit.location[0] - fit.location[1] == pytest.approx(2.8, abs=0.4)
    assert fit.noise[2] > 3 * fit.noise[0]
    assert found.report.error is not None
    before, after = found.report.error
    assert after < 0.8 * before


def test_what_cannot_be_fitted_is_one_line() -> None:
    with pytest.raises(FitError, match="20 are the fewest"):
        fit_calibration(simulated(20), MODELS)
    with pytest.raises(DataError, match="no answers of"):
        fit_calibration(simulated(100), ["m/z"])
    with pytest.raises(DataError, match='no cases of type "u"'):
        fit_calibration(simulated(100), MODELS, task_type="u")
    with pytest.raises(DataError, match="--aggregator scores"):
        fit_calibration(scores_run(), MODELS)
    with pytest.raises(DataError, match="no seat scored the options"):
        fit_calibration(simulated(100), MODELS, aggregator="scores")


@pytest.mark.needs("recorded-data")
def test_on_medagents_the_learned_panel_beats_its_cold_start() -> None:
    run = real_run("medagents")
    report = fit_calibration(
        run, ["gpt-4o-mini", "o3-mini", "DeepSeek-R1"], aggregator="blocks"
    ).report
    assert report.before is not None
    assert report.after is not None
    assert report.after.log_loss < report.before.log_loss
    assert report.after.accuracy > report.before.accuracy
    assert report.coverage == pytest.approx(0.95, abs=0.02)


def scored_run(cases: int = 400, seed: int = 4) -> RecordedRun:
    """Two judges give each of four options a score: one sees the right one, the other hardly."""
    rng = np.random.default_rng(seed)
    letters = ("A", "B", "C", "D")
    records, lines = [], []
    for case in range(cases):
        right = int(rng.integers(4))
        name = f"c{case}"
        about = {"case_id": name, "task_kind": "choose", "task_type": "t", "label": letters[right]}
        records.append((name, {**about, "options": list(letters)}, letters))
        for model, skill in (("m/a", 1.5), ("m/b", 0.2)):
            scores = np.round(rng.normal(size=4) + skill * (np.arange(4) == right) + 5, 1)
            line = {"case": name, "model": model, "variant": "plain", "sample": 0}
            top = letters[int(scores.argmax())]
            lines.append({**line, "answer": top, "scores": scores.tolist()})
    return recorded(records, lines)


def test_scores_of_options_are_read_with_a_temperature_for_each_model() -> None:
    run = scored_run()
    fitted = fit_calibration(run, ["m/a", "m/b"], aggregator="scores")
    fit = fitted.calibration.fit
    assert isinstance(fit, OptionScoresFit)
    assert fitted.calibration.aggregator == "scores"
    whole = fit.weights[0]
    assert whole[0] > 2 * whole[1]
    after, before = fitted.report.after, fitted.report.before
    assert after is not None
    assert before is not None
    assert after.log_loss < before.log_loss
    assert after.accuracy > before.accuracy


def test_a_live_panel_of_scores_gets_the_posterior_of_the_replay() -> None:
    run = scored_run()
    made = fit_calibration(run, ["m/a", "m/b"], aggregator="scores").calibration
    assert isinstance(made.fit, OptionScoresFit)
    scores = {"m/a": [5.0, 7.0, 4.0, 5.0], "m/b": [6.0, 5.0, 5.0, 4.0]}
    options = ("A", "B", "C", "D")
    ballots = tuple(
        Ballot(
            seat=i,
            model=model,
            framing="plain",
            answer="A",
            scores=dict(zip(options, given, strict=True)),
        )
        for i, (model, given) in enumerate(scores.items())
    )
    spec = StrategySpec(
        name="v",
        orchestrator="vote",
        models=made.models,
        seats=2,
        aggregator="scores",
        calibration=made.at(None),
    )
    hop = HopRecord(name="v", spec=spec, ballots=ballots)
    found = conclude("choose", options, [hop])
    logits = sum(
        w * np.array(scores[m]) for m, w in zip(made.models, made.fit.weights[0], strict=True)
    )
    expected = np.exp(logits / made.stages[0].temperature)
    assert found.calibrated
    assert list(found.posterior.values()) == pytest.approx(expected / expected.sum())
