from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import score_ballots as sb
from consensus.aggregation._numerics import FloatArray, IntArray, softmax
from consensus.aggregation.learned import fit_conditional_logit

NAN = float("nan")


def judges(cases: int, seed: int) -> tuple[FloatArray, IntArray]:
    """Three samples of a sharp judge, two of a noisy one: whole scores of four candidates."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, cases)
    quality = 5.0 + 2.0 * (np.arange(4) == truth[:, None])
    noise = np.array([0.8, 0.8, 0.8, 3.0, 3.0])[None, :, None]
    raw = quality[:, None, :] + noise * rng.normal(size=(cases, 5, 4))
    return np.clip(np.rint(raw), 1, 10), truth


GROUPS = [0, 0, 0, 1, 1]


def test_the_posterior_is_a_softmax_over_mean_scores() -> None:
    scores = [[8, 6, 4], [6, 6, 6]]
    np.testing.assert_allclose(
        sb.score_posterior(scores, [0, 0], [2.0]), softmax(np.array([7, 6, 5]) / 2.0)
    )


def test_a_group_at_infinite_temperature_is_not_used() -> None:
    scores = [[8, 6, 4], [1, 1, 9]]
    np.testing.assert_allclose(
        sb.score_posterior(scores, [0, 1], [1.0, np.inf]),
        sb.score_posterior(scores[:1], [0], [1.0]),
    )


def test_nothing_scored_is_nothing_known() -> None:
    np.testing.assert_allclose(sb.score_posterior([[NAN, NAN]], [0], [1.0]), [0.5, 0.5])


def test_the_sharper_judge_gets_the_lower_temperature() -> None:
    scores, truth = judges(600, 1)
    temperatures = sb.fit_temperatures(scores, truth, GROUPS)
    assert temperatures[0] < temperatures[1]


def test_a_judge_that_points_the_wrong_way_is_dropped() -> None:
    scores, truth = judges(600, 2)
    scores[:, 3:] = 11 - scores[:, :2]
    temperatures = sb.fit_temperatures(scores[:, [0, 3]], truth, [0, 1])
    assert np.isfinite(temperatures[0])
    backwards = sb.fit_temperatures(11 - scores[:, :1], truth, [0])
    assert np.isinf(backwards[0])


def test_whole_scores_know_more_than_first_places() -> None:
    scores, truth = judges(4000, 3)
    temperatures = sb.fit_temperatures(scores[:2000], truth[:2000], GROUPS)
    chosen = sb.score_posterior(scores[2000:], GROUPS, temperatures).argmax(axis=1)
    first = scores[2000:] >= scores[2000:].max(axis=-1, keepdims=True)
    votes = (first / first.sum(axis=-1, keepdims=True)).sum(axis=1).argmax(axis=1)
    assert (chosen == truth[2000:]).mean() > (votes == truth[2000:]).mean() + 0.02


def test_ordinal_evidence_rises_with_the_score() -> None:
    scores, truth = judges(500, 4)
    table = sb.fit_ordinal(scores, truth, GROUPS)
    assert (np.diff(table.evidence, axis=1) >= -1e-12).all()
    assert table.evidence[0, -1] > 0 > table.evidence[0, 0]


def test_ordinal_evidence_chooses_about_as_well_as_points() -> None:
    scores, truth = judges(4000, 5)
    table = sb.fit_ordinal(scores[:2000], truth[:2000], GROUPS)
    evidence = sb.ordinal_evidence(scores, table)
    temperatures = sb.fit_temperatures(evidence[:2000], truth[:2000], GROUPS)
    chosen = sb.score_posterior(evidence[2000:], GROUPS, temperatures).argmax(axis=1)
    points = sb.fit_temperatures(scores[:2000], truth[:2000], GROUPS)
    by_points = sb.score_posterior(scores[2000:], GROUPS, points).argmax(axis=1)
    right = truth[2000:]
    assert (chosen == right).mean() > (by_points == right).mean() - 0.02


def test_an_unseen_score_is_interpolated() -> None:
    table = sb.OrdinalTable(np.array([1.0, 3.0]), np.array([[-1.0, 1.0]]), np.array([0]))
    np.testing.assert_allclose(
        sb.ordinal_evidence([[2.0, 9.0, NAN]], table), [[0.0, 1.0, NAN]], equal_nan=True
    )


def test_z_scores_make_lenient_and_strict_judges_alike() -> None:
    z = sb.standardised([[9, 8, 7], [3, 2, 1], [5, 5, 5]])
    np.testing.assert_allclose(z[0], z[1])
    np.testing.assert_array_equal(z[2], [0, 0, 0])


@given(st.permutations(range(5)), st.permutations(range(4)))
def test_order_of_samples_and_options_keeps_every_bit(seats: list[int], options: list[int]) -> None:
    scores, _ = judges(6, 6)
    groups = np.array(GROUPS)
    before = sb.score_posterior(scores, groups, [1.0, 2.5])
    after = sb.score_posterior(scores[:, seats][:, :, options], groups[seats], [1.0, 2.5])
    np.testing.assert_array_equal(before[:, options], after)


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        sb.score_posterior([[1, 2]], [0], [0.0])


def test_weak_evidence_gets_a_temperature_above_one() -> None:
    scores, truth = judges(200, 8)
    scores = scores * 10
    found = sb.fit_temperatures(scores, truth, np.zeros(scores.shape[1], dtype=np.int64))
    means = np.moveaxis(scores.mean(axis=1, keepdims=True), -2, -1)
    weight = fit_conditional_logit(means - means.mean(axis=1, keepdims=True), truth, l2=1.0)
    assert 0 < weight.weights[0] < 1
    assert found[0] == pytest.approx(1 / weight.weights[0])


def test_a_lone_score_is_its_ballots_average() -> None:
    assert sb.standardised([[5.0, np.nan]])[0, 0] == 0.0


def test_ordinal_evidence_by_hand() -> None:
    table = sb.fit_ordinal([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]], [0, 0, 0], [0], strength=1.0)
    # Right options scored 1, 1, 0, wrong ones 0, 0, 1; each level has half of all scores, so it
    # gets one pseudo-count.
    assert table.levels.tolist() == [0.0, 1.0]
    assert table.evidence == pytest.approx(np.log([[2 / 3, 3 / 2]]))


def test_a_ballots_own_location_says_nothing_even_with_a_candidate_unscored() -> None:
    low, high = ([[2.0, 1.0, np.nan], [3.0, np.nan, 1.0]], [[7.0, 6.0, np.nan], [3.0, np.nan, 1.0]])
    one, other = (sb.score_posterior(given, [0, 1], [1.0, 1.0]) for given in (low, high))
    assert one == pytest.approx(other)
