from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from consensus.aggregation import judges
from consensus.aggregation._numerics import FitError, FloatArray, IntArray

BETA = np.array([2.0, 1.0, 0.3])
GAMMA = np.array([0.0, 1.0, -0.5])


class Comparisons(NamedTuple):
    judge: IntArray
    first: IntArray
    second: IntArray
    outcome: FloatArray
    theta: FloatArray


def compare(questions: int, seed: int, *, both_orders: bool = True) -> Comparisons:
    """Three judges on all pairs of five items a question."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(questions, 5))
    theta -= theta.mean(axis=1, keepdims=True)
    rows = [
        (m, 5 * q + i, 5 * q + j)
        for q in range(questions)
        for m in range(3)
        for i in range(5)
        for j in range(5)
        if (i != j if both_orders else i < j)
    ]
    m, i, j = np.array(rows).T
    flat = theta.ravel()
    p = 1 / (1 + np.exp(-(BETA[m] * (flat[i] - flat[j]) + GAMMA[m])))
    return Comparisons(m, i, j, (rng.random(len(m)) < p).astype(float), flat)


def fit(data: Comparisons) -> judges.JudgedStrengths:
    return judges.fit_judges(*data[:4], judges=3, items=len(data.theta))


def test_position_effects_are_found_with_their_errors() -> None:
    found = fit(compare(60, 1))
    assert (np.abs(found.position - GAMMA) < 4 * found.position_error).all()
    np.testing.assert_allclose(found.position, GAMMA, atol=0.2)


def test_reliable_judges_are_told_from_noisy_ones() -> None:
    found = fit(compare(60, 2))
    assert found.reliability[0] > found.reliability[1] > found.reliability[2]
    assert found.reliability[0] / found.reliability[2] > 3


def test_strengths_follow_the_truth_better_than_counting_wins() -> None:
    data = compare(80, 3, both_orders=False)
    found = fit(data)
    wins = np.zeros(len(data.theta))
    np.add.at(wins, data.first, data.outcome)
    np.add.at(wins, data.second, 1 - data.outcome)
    assert np.corrcoef(found.theta, data.theta)[0, 1] > np.corrcoef(wins, data.theta)[0, 1] + 0.02


def test_reliability_is_relative_to_the_panel_and_its_spread_is_that_of_the_items() -> None:
    found = fit(compare(150, 4))
    scale = np.exp(np.log(BETA).mean())
    assert np.log(found.reliability).mean() == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(found.reliability, BETA / scale, rtol=0.2)
    # Items were drawn with deviation 1 and centred over five.
    assert found.item_spread == pytest.approx(scale * np.sqrt(0.8), rel=0.15)


def test_many_items_do_not_inflate_the_best_judges_reliability() -> None:
    data = compare(300, 14, both_orders=False)
    found = fit(data)
    assert found.reliability[0] == pytest.approx(2.0 / np.exp(np.log(BETA).mean()), rel=0.25)


def test_showing_pairs_the_other_way_round_turns_only_the_position_effect() -> None:
    m, i, j, y, theta = compare(10, 5)
    turned = fit(Comparisons(m, j, i, 1 - y, theta))
    straight = fit(Comparisons(m, i, j, y, theta))
    np.testing.assert_allclose(turned.theta, straight.theta, atol=1e-4)
    np.testing.assert_allclose(turned.position, -straight.position, atol=1e-4)


def test_ties_pull_neither_way() -> None:
    found = judges.fit_judges([0, 0], [0, 1], [1, 0], [0.5, 0.5], judges=1, items=2)
    np.testing.assert_allclose(found.theta, 0.0, atol=1e-9)


def test_a_vote_against_ones_position_bias_says_more_than_one_along_it() -> None:
    found = fit(compare(60, 6))
    biased = 1  # favours what it is shown first
    along = judges.judged_posterior(found, [biased], [1], [1])
    against = judges.judged_posterior(found, [biased], [0], [1])
    assert against > along > 0.5


def test_the_posterior_of_a_new_pair_is_symmetric() -> None:
    found = fit(compare(20, 7))
    p = judges.judged_posterior(found, [0, 1], [1, 0], [1, 0.0])
    q = judges.judged_posterior(found, [0, 1], [0, 1], [0, 1.0])
    assert float(p + q) == pytest.approx(1.0)
    assert judges.judged_posterior(found, [0], [1], [np.nan]) == pytest.approx(0.5)


def test_the_posterior_of_new_pairs_is_calibrated() -> None:
    found = fit(compare(60, 8))
    rng = np.random.default_rng(9)
    n = 20_000
    d = rng.normal(scale=np.sqrt(2.0) * found.item_spread, size=(n, 1))
    m = np.arange(3)[None, :].repeat(n, axis=0)
    side = rng.integers(0, 2, (n, 3))
    s = found.reliability[m] * d + np.where(side == 1, 1, -1) * found.position[m]
    votes = (rng.random((n, 3)) < 1 / (1 + np.exp(-s))).astype(float)
    p = judges.judged_posterior(found, m, side, votes)
    high = p > 0.9
    assert (d[high, 0] > 0).mean() == pytest.approx(p[high].mean(), abs=0.02)


def test_nothing_compared_is_refused() -> None:
    with pytest.raises(FitError, match="no comparisons"):
        judges.fit_judges([], [], [], [], judges=1, items=2)


def test_an_item_is_not_compared_with_itself() -> None:
    with pytest.raises(ValueError, match="itself"):
        judges.fit_judges([0], [1], [1], [1], judges=1, items=2)


def test_a_prior_without_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="spread"):
        judges.fit_judges([0], [0], [1], [1.0], judges=1, items=2, spread=0.0)


@pytest.mark.parametrize("outcome", [-0.5, 1.5])
def test_an_outcome_outside_of_nothing_and_one_is_refused(outcome: float) -> None:
    with pytest.raises(ValueError, match="outcomes"):
        judges.fit_judges([0], [0], [1], [outcome], judges=1, items=2)
