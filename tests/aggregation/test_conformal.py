from __future__ import annotations

import math

import numpy as np
import pytest

from consensus.aggregation import conformal as cp
from consensus.aggregation._numerics import FitError, FloatArray, IntArray
from consensus.aggregation.posteriors import block_posterior


def test_the_approve_threshold_minimises_expected_loss() -> None:
    assert cp.approve_threshold(20, 1) == pytest.approx(20 / 21)
    for p in (0.5, 0.94, 0.96):
        cheaper = (1 - p) * 20 < p * 1
        assert cheaper == (p > cp.approve_threshold(20, 1))


def test_the_quantile_is_the_named_order_statistic() -> None:
    scores = np.arange(1, 20) / 100  # 19 cases, 1 − p̂ = .01 … .19
    posterior = np.column_stack([1 - scores, scores])
    truth = np.zeros(19, dtype=int)
    assert cp.conformal_quantile(posterior, truth, 0.05) == pytest.approx(0.19)
    assert cp.conformal_quantile(posterior, truth, 0.10) == pytest.approx(0.18)


def test_too_few_cases_give_sets_of_everything() -> None:
    assert cp.cases_needed(0.05) == 19
    quantile = cp.conformal_quantile([[0.9, 0.1]] * 18, [0] * 18, 0.05)
    assert math.isinf(quantile)
    assert cp.prediction_sets([0.9, 0.1], quantile).all()


def test_a_set_of_one_is_acted_on_and_no_other() -> None:
    sets = [[True, False], [True, True], [False, False]]
    assert cp.singleton(sets).tolist() == [0, -1, -1]


def test_options_that_a_case_lacks_are_in_no_set() -> None:
    sets = cp.prediction_sets([0.5, 0.5, 0.0], math.inf, [True, True, False])
    assert sets.tolist() == [True, True, False]


def panel(cases: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
    """Posteriors of a correlated panel of five over two options, with what it misjudges."""
    truth = rng.integers(0, 2, cases)
    s = 1 / 0.3 - 1
    right = rng.binomial(5, rng.beta(s * 0.8, s * 0.2, cases)).astype(float)
    counts = np.stack([right, 5 - right], axis=-1)
    counts[truth == 1] = counts[truth == 1][:, ::-1]
    return block_posterior(counts[:, None, :], 0.8, 0.3), truth


def test_coverage_holds_over_two_hundred_seeds_and_the_acted_error_is_told() -> None:
    alpha = 0.05
    coverage, acted_error = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        posterior, truth = panel(200, rng)
        quantile = cp.conformal_quantile(posterior, truth, alpha)
        later, answers = panel(500, rng)
        report = cp.act_report(cp.prediction_sets(later, quantile), answers)
        coverage.append(report.coverage)
        acted_error.append(report.error_among_acted)
    assert np.mean(coverage) >= 1 - alpha - 0.02
    assert np.nanmean(acted_error) == pytest.approx(0.046, abs=0.01)  # told, not promised


def test_a_set_of_one_does_not_bound_the_error_among_the_acted() -> None:
    alpha = 0.05
    coverage, acted_error = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        approve = rng.beta(3, 1, 1200)
        truth = (rng.random(1200) < approve).astype(int)
        posterior = np.stack([1 - approve, approve], axis=-1)
        quantile = cp.conformal_quantile(posterior[:200], truth[:200], alpha)
        report = cp.act_report(cp.prediction_sets(posterior[200:], quantile), truth[200:])
        coverage.append(report.coverage)
        acted_error.append(report.error_among_acted)
    assert np.mean(coverage) == pytest.approx(1 - alpha, abs=0.01)
    assert np.mean(acted_error) == pytest.approx(0.098, abs=0.01)


def test_continuous_scores_cover_as_much_as_asked_and_hardly_more() -> None:
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet([1, 1, 1], 700)
        truth = (p.cumsum(axis=1) > rng.random((700, 1))).argmax(axis=1)
        quantile = cp.conformal_quantile(p[:200], truth[:200], 0.1)
        sets = cp.prediction_sets(p[200:], quantile)
        covered.append(cp.act_report(sets, truth[200:]).coverage)
    assert 0.89 <= np.mean(covered) <= 0.92


def test_the_act_report_by_hand() -> None:
    report = cp.act_report(
        [[True, False], [True, False], [True, True], [False, False]], [0, 1, 1, 0]
    )
    assert report == cp.ActReport(0.5, 0.5, 0.5, 1.0, 0.25)


def decisions(cases: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Confidences and whether they were right: the more confident, the more often."""
    confidence = rng.random(cases)
    return confidence, (rng.random(cases) < 0.6 + 0.4 * confidence).astype(float)


def test_the_selective_guarantee_holds_in_all_but_delta_of_the_runs() -> None:
    risk, delta = 0.1, 0.1
    broken = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = cp.selective_threshold(*decisions(400, rng), risk=risk, delta=delta)
        t = max(0.0, min(found.above, 1.0))
        true_error = 0.4 * (1 - (t + 1) / 2) if found.above < 1 else 0.0
        broken += true_error > risk
    assert broken / 300 <= delta


def test_more_cases_certify_more_decisions() -> None:
    rng = np.random.default_rng(1)
    few = cp.selective_threshold(*decisions(150, rng), risk=0.1, delta=0.1)
    many = cp.selective_threshold(*decisions(8000, rng), risk=0.1, delta=0.1)
    assert many.acted > few.acted
    assert many.acted == pytest.approx(0.5, abs=0.1)  # error .1 is met at confidence .5


def test_nothing_is_certified_below_the_least_number_of_cases() -> None:
    found = cp.selective_threshold(np.linspace(0, 1, 58), np.ones(58))
    assert math.isinf(found.above)
    assert cp.selective_threshold(np.linspace(0, 1, 59), np.ones(59)).acted == 1.0


def test_equal_confidences_stand_or_fall_together() -> None:
    confidence = np.repeat([0.9, 0.6], 100)
    found = cp.selective_threshold(confidence, np.repeat([1, 0], 100))
    assert (found.above, found.cases, found.errors) == (0.6, 100, 0)


def test_an_overconfident_panel_is_not_let_act() -> None:
    rng = np.random.default_rng(2)
    found = cp.selective_threshold(rng.random(500), rng.random(500) < 0.8)
    assert math.isinf(found.above)


def test_nothing_to_calibrate_on_is_refused() -> None:
    with pytest.raises(FitError, match="no calibration cases"):
        cp.conformal_quantile(np.zeros((0, 2)), np.zeros(0, dtype=int))


def test_what_cannot_pass_gives_a_threshold_that_nothing_reaches() -> None:
    found = cp.selective_threshold([0.9] * 10, [True] * 10)
    assert found == cp.SelectiveThreshold(math.inf, 0.0, 0, 0, 0.05, 0.05)


def test_fifty_steps_of_five_per_cent_are_the_defaults() -> None:
    rng = np.random.default_rng(3)
    given = [decisions(700, rng) for _ in range(12)]
    usual = [cp.selective_threshold(*one) for one in given]
    assert usual == [cp.selective_threshold(*one, risk=0.05, delta=0.05, steps=50) for one in given]
    assert usual != [cp.selective_threshold(*one, risk=0.05, delta=0.05, steps=51) for one in given]
