from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import scores as sc
from consensus.aggregation._numerics import ConvergenceError, FitError, FloatArray

NAN = float("nan")
LOCATION = np.array([5.0, 7.0, 4.0, 6.0])
SLOPE = np.array([1.5, 0.5, 1.0, 1.0])
NOISE = np.array([0.5, 0.5, 1.0, 4.0])


def judged(cases: int, seed: int, missing: float = 0.0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=cases)
    s = LOCATION + SLOPE * theta[:, None] + NOISE * rng.normal(size=(cases, 4))
    s[rng.random(s.shape) < missing] = NAN
    return s, theta


def test_leniency_range_and_noise_of_judges_are_found() -> None:
    scores, _ = judged(4000, 1)
    fit = sc.fit_scores(scores)
    np.testing.assert_allclose(fit.location, LOCATION, atol=0.15)
    np.testing.assert_allclose(fit.slope, SLOPE, atol=0.15)
    np.testing.assert_allclose(fit.noise, NOISE, atol=0.15)


def test_they_are_found_with_scores_missing() -> None:
    scores, _ = judged(6000, 2, missing=0.3)
    fit = sc.fit_scores(scores)
    np.testing.assert_allclose(fit.slope, SLOPE, atol=0.2)
    np.testing.assert_allclose(fit.noise, NOISE, atol=0.2)


def test_precision_weighing_beats_the_mean() -> None:
    scores, _ = judged(500, 3)
    fit = sc.fit_scores(scores)
    later, theta = judged(4000, 4)
    weighed = fit.estimate(later).score
    plain = later.mean(axis=1)
    assert np.corrcoef(weighed, theta)[0, 1] > np.corrcoef(plain, theta)[0, 1] + 0.05


def test_standard_errors_cover_as_they_say() -> None:
    scores, _ = judged(3000, 5)
    fit = sc.fit_scores(scores)
    later, theta = judged(4000, 6, missing=0.2)
    found = fit.estimate(later)
    truth = fit.centre + fit.scale * theta
    inside = np.abs(found.score - truth) < 1.96 * found.error
    assert inside.mean() == pytest.approx(0.95, abs=0.015)


def test_a_case_nobody_scored_is_an_average_one_with_all_its_doubt() -> None:
    scores, _ = judged(300, 7)
    fit = sc.fit_scores(scores)
    found = fit.estimate([NAN] * 4)
    assert found.score == pytest.approx(fit.centre)
    assert found.error == pytest.approx(fit.scale)


def test_a_judge_with_few_scores_is_taken_for_an_average_one() -> None:
    scores, _ = judged(400, 8)
    scores[5:, 3] = NAN
    fit = sc.fit_scores(scores, strength=20.0)
    panel = fit.slope[:3].mean()
    assert fit.slope[3] == pytest.approx(panel, rel=0.35)


@given(st.permutations(range(4)))
def test_permuting_judges_keeps_every_bit(order: list[int]) -> None:
    fit = sc.ScoreModel(LOCATION, SLOPE, NOISE, 5.5, 1.0, 100)
    turned = sc.ScoreModel(LOCATION[order], SLOPE[order], NOISE[order], 5.5, 1.0, 100)
    scores = np.array([[6.1, 7.3, 2.2, 9.9], [1.0, NAN, 3.3, 4.7]])
    np.testing.assert_array_equal(fit.estimate(scores), turned.estimate(scores[:, order]))


def test_a_higher_score_never_lowers_the_estimate() -> None:
    fit = sc.ScoreModel(LOCATION, SLOPE, NOISE, 5.5, 1.0, 100)
    base = np.array([6.0, 7.0, 4.0, 5.0])
    for seat in range(4):
        more = base.copy()
        more[seat] += 1.0
        assert fit.estimate(more).score > fit.estimate(base).score


def test_too_little_to_tell_judges_apart_is_refused() -> None:
    with pytest.raises(FitError, match="three cases"):
        sc.fit_scores([[1.0, 2.0], [2.0, 3.0]])
    with pytest.raises(FitError, match="the same"):
        sc.fit_scores(np.full((9, 3), 5.0))


def test_not_converging_raises() -> None:
    with pytest.raises(ConvergenceError, match="2 steps"):
        sc.fit_scores(judged(100, 9)[0], most_steps=2)


def test_the_median_leaves_out_what_is_missing() -> None:
    np.testing.assert_array_equal(
        sc.median([[3, NAN, 1, 2], [4, 1, NAN, NAN], [NAN] * 4]), [2, 2.5, NAN]
    )


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=9))
def test_the_median_is_numpys(values: list[float]) -> None:
    assert sc.median(values) == pytest.approx(float(np.median(values)))


def test_the_trimmed_mean_drops_both_ends() -> None:
    assert sc.trimmed_mean([1, 5, 6, 7, 100], 0.2) == 6.0
    assert sc.trimmed_mean([1, NAN, 6, 8], 0.2) == 5.0


def test_z_means_do_not_let_the_widest_judge_rule() -> None:
    scores = np.array([[1.0, 10.0, 2.0], [2.0, 90.0, 3.0], [4.0, 50.0, 5.0]])
    z = sc.z_mean(scores)
    assert z.argmax() == 2
    assert scores.mean(axis=1).argmax() == 1
    np.testing.assert_allclose(sc.z_mean([[1.0, 5.0], [2.0, 5.0]]), [-0.5, 0.5])


def test_tie_rates_count_shared_first_places() -> None:
    scores = [[[7, 7, 1], [7, 6, 1]], [[5, 5, 5], [5, 5, 5]]]
    assert sc.tie_rates(scores) == sc.TieRates(0.75, 0.5)


def test_the_fit_says_of_how_many_cases_it_is() -> None:
    scores, _ = judged(40, 2)
    assert sc.fit_scores(scores).cases == 40


def test_nothing_is_trimmed_where_no_share_is() -> None:
    assert sc.trimmed_mean([1.0, 2.0, 9.0], 0.0) == pytest.approx(4.0)


def test_half_at_each_end_leaves_nothing_and_is_refused() -> None:
    with pytest.raises(ValueError, match="trim"):
        sc.trimmed_mean([1.0, 2.0], 0.5)


def test_each_case_is_trimmed_by_its_own_number_of_scores() -> None:
    scores = [[0.0, 1.0, 2.0, 3.0, 10.0], [0.0, 1.0, 5.0, np.nan, np.nan]]
    assert sc.trimmed_mean(scores) == pytest.approx([2.0, 2.0])
