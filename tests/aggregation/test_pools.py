from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import pools
from consensus.aggregation._numerics import FloatArray
from tests.aggregation.strategies import ballot_distributions

NAN = float("nan")


def test_the_linear_pool_is_the_mean_of_those_who_answered() -> None:
    ballots = [[0.9, 0.1], [NAN, NAN], [0.5, 0.5]]
    np.testing.assert_allclose(pools.linear_pool(ballots), [0.7, 0.3])


def test_the_linear_pool_weighs_seats() -> None:
    np.testing.assert_allclose(pools.linear_pool([[1, 0], [0, 1]], [3, 1]), [0.75, 0.25])


def test_a_pool_of_nobody_is_missing() -> None:
    assert np.isnan(pools.linear_pool([[NAN, NAN]])).all()
    assert np.isnan(pools.log_pool([[NAN, NAN]])).all()


def test_the_log_pool_at_full_evidence_is_bayes_with_independent_seats() -> None:
    ballots = np.array([[0.8, 0.2], [0.6, 0.4]])
    product = ballots.prod(axis=0)
    np.testing.assert_allclose(
        pools.log_pool(ballots, evidence=2.0), product / product.sum(), atol=1e-12
    )


def test_the_log_pool_of_equal_ballots_is_that_ballot() -> None:
    ballot = np.array([0.7, 0.2, 0.1])
    np.testing.assert_allclose(pools.log_pool(np.stack([ballot] * 4)), ballot)


def test_one_seats_rounded_zero_is_no_veto_in_the_log_pool() -> None:
    ballots = [[0.0, 1.0]] + [[0.99, 0.01]] * 4
    assert pools.log_pool(ballots)[0] > 0.5


def test_a_masked_option_gets_exactly_nothing() -> None:
    pooled = pools.log_pool([[0.5, 0.5, 0.0]], options=[True, True, False])
    np.testing.assert_allclose(pooled, [0.5, 0.5, 0.0])
    assert pooled[2] == 0.0


@given(ballot_distributions(), st.floats(0.3, 4.0), st.data())
def test_permuting_seats_keeps_every_bit(
    ballots: FloatArray, evidence: float, data: st.DataObject
) -> None:
    order = list(data.draw(st.permutations(range(len(ballots)))))
    np.testing.assert_array_equal(pools.linear_pool(ballots), pools.linear_pool(ballots[order]))
    np.testing.assert_array_equal(
        pools.log_pool(ballots, evidence=evidence),
        pools.log_pool(ballots[order], evidence=evidence),
    )


@given(ballot_distributions(), st.data())
def test_relabelling_options_permutes_the_pools_to_the_bit(
    ballots: FloatArray, data: st.DataObject
) -> None:
    order = list(data.draw(st.permutations(range(ballots.shape[1]))))
    for pool in (pools.linear_pool, pools.log_pool):
        np.testing.assert_array_equal(pool(ballots)[order], pool(ballots[:, order]))


@given(ballot_distributions())
def test_an_option_that_every_seat_puts_first_comes_first(ballots: FloatArray) -> None:
    first = np.sort(ballots, axis=1)[:, ::-1]  # every seat's favourite is option 0
    for pool in (pools.linear_pool, pools.log_pool):
        pooled = pool(first)
        assert pooled[0] >= pooled.max() - 1e-12


@given(ballot_distributions())
def test_pools_are_distributions(ballots: FloatArray) -> None:
    assert pools.linear_pool(ballots).sum() == pytest.approx(1.0)
    assert pools.log_pool(ballots, evidence=3.0).sum() == pytest.approx(1.0)


def test_tempering_flattens_above_one_and_sharpens_below() -> None:
    np.testing.assert_allclose(
        pools.tempered([0.8, 0.2], 0.5), [0.64 / 0.68, 0.04 / 0.68], atol=1e-12
    )
    assert pools.tempered([0.8, 0.2], 2.0)[0] < 0.8


def test_tempering_keeps_a_zero_and_a_missing_ballot() -> None:
    out = pools.tempered([[1.0, 0.0], [NAN, NAN]], 3.0)
    np.testing.assert_array_equal(out[0], [1.0, 0.0])
    assert np.isnan(out[1]).all()


def test_contextual_calibration_makes_the_content_free_answer_uniform() -> None:
    bias = np.array([[0.7, 0.2, 0.1]])
    np.testing.assert_allclose(pools.contextual_calibration(bias, bias), np.full((1, 3), 1 / 3))


def test_batch_calibration_recovers_answers_that_a_label_bias_had_flipped() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 400)
    evidence = np.where(truth[:, None] == np.arange(2), 0.75, 0.25)
    biased = evidence * np.array([0.95, 0.05])
    biased /= biased.sum(axis=1, keepdims=True)
    before = (biased.argmax(axis=1) == truth).mean()
    after = pools.batch_calibration(biased[:, None, :])[:, 0].argmax(axis=1)
    assert before < 0.6
    assert (after == truth).mean() == 1.0


def test_a_batch_prior_serves_later_cases() -> None:
    batch = np.array([[[0.9, 0.1]], [[0.7, 0.3]]])
    later = pools.batch_calibration([[0.8, 0.2]], pools.batch_prior(batch))
    np.testing.assert_allclose(later, [[0.5, 0.5]])


def test_a_ballot_that_does_not_sum_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        pools.linear_pool([[0.9, 0.2]])


def test_half_a_missing_ballot_is_refused() -> None:
    with pytest.raises(ValueError, match="whole or missing"):
        pools.linear_pool([[0.9, NAN]])


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        pools.tempered([0.5, 0.5], 0.0)


def test_a_distribution_that_is_missing_in_part_is_missing() -> None:
    assert np.isnan(pools.tempered([[0.5, np.nan], [0.5, 0.5]], 2.0)).tolist() == [
        [True, True],
        [False, False],
    ]
