from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import confidence as conf
from consensus.aggregation._numerics import FitError, FloatArray
from consensus.aggregation.posteriors import weighted_posterior

NAN = float("nan")


def logit(p: FloatArray) -> FloatArray:
    return np.asarray(np.log(p / (1 - p)))


def stated(cases: int, a: float, b: float, seed: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    c = rng.uniform(0.05, 0.95, cases)
    y = rng.random(cases) < 1 / (1 + np.exp(-(a + b * logit(c))))
    return c, y.astype(np.float64)


def test_auroc_counts_the_pairs_that_are_the_right_way_round() -> None:
    rng = np.random.default_rng(1)
    c = rng.random(60).round(1)
    y = rng.random(60) < c
    pairs = [float(a > b) + 0.5 * float(a == b) for a in c[y] for b in c[~y]]
    assert conf.auroc(c, y) == pytest.approx(np.mean(pairs))


def test_a_true_slope_is_found() -> None:
    fit = conf.fit_confidence(*stated(30_000, -0.3, 0.6, 2))
    assert fit.a == pytest.approx(-0.3, abs=0.05)
    assert fit.b == pytest.approx(0.6, abs=0.04)
    assert fit.auroc > 0.65


def test_confidence_that_is_noise_keeps_no_slope_worth_speaking_of() -> None:
    slopes = [conf.fit_confidence(*stated(200, 1.0, 0.0, seed)).b for seed in range(200)]
    assert np.mean(np.array(slopes) == 0) > 0.75
    assert np.mean(slopes) < 0.05


def test_confidence_that_points_the_wrong_way_is_not_used() -> None:
    fit = conf.fit_confidence(*stated(2000, 0.5, -0.8, 3))
    assert fit.b == 0.0
    assert fit.apply(0.99) == pytest.approx(float(fit.apply(0.01)))


def test_without_slope_the_map_is_the_seats_accuracy() -> None:
    c = np.full(50, 0.95)
    y = np.array([1.0] * 30 + [0.0] * 20)
    fit = conf.fit_confidence(c, y)
    assert fit.b == 0.0
    assert fit.apply(0.95) == pytest.approx(31 / 52)


def test_confidence_that_was_not_stated_counts_as_the_seats_accuracy() -> None:
    c, y = stated(500, 0.0, 1.0, 4)
    fit = conf.fit_confidence(c, y)
    assert fit.apply(NAN) == pytest.approx(fit.base)


def test_the_map_is_right_on_average() -> None:
    c, y = stated(400, 0.7, 0.5, 5)
    assert conf.fit_confidence(c, y, strength=0.0).apply(c).mean() == pytest.approx(
        y.mean(), abs=1e-6
    )


def test_seats_with_few_cases_lean_on_the_panel() -> None:
    y = np.full((40, 2), NAN)
    y[:, 0] = [1.0] * 36 + [0.0] * 4
    y[:2, 1] = 0.0
    maps = conf.fit_panel(np.full((40, 2), NAN), y)
    assert maps[0].base > 0.85
    assert 0.6 < maps[1].base < maps[0].base


def test_a_seat_never_seen_gets_the_panels_accuracy() -> None:
    y = np.column_stack([np.ones(10), np.full(10, NAN)])
    maps = conf.fit_panel(np.full((10, 2), NAN), y)
    assert maps[1].base == pytest.approx(11 / 12)
    assert maps[1].cases == 0


def test_weights_are_log_odds_of_being_right() -> None:
    maps = [conf.ConfidenceMap(0.0, 1.0, 0.5, 0.8, 100)] * 2
    np.testing.assert_allclose(
        conf.confidence_weights([0.9, 0.5], maps, 3), [np.log(9) + np.log(2), np.log(2)]
    )


def test_weighing_by_calibrated_confidence_beats_counting() -> None:
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 6000)
    c = rng.uniform(0.5, 0.97, (6000, 5))
    right = rng.random((6000, 5)) < c
    votes = np.where(right, truth[:, None], 1 - truth[:, None])
    maps = conf.fit_panel(c[:3000], right[:3000].astype(float))
    weights = conf.confidence_weights(c[3000:], maps)
    weighed = weighted_posterior(votes[3000:], weights, 2).argmax(axis=1)
    counted = (votes[3000:].mean(axis=1) > 0.5).astype(int)
    assert (weighed == truth[3000:]).mean() > (counted == truth[3000:]).mean() + 0.01


def test_cisc_by_hand() -> None:
    e = np.exp([0.9 / 0.5, 0.3 / 0.5])
    np.testing.assert_allclose(conf.cisc([0, 1], [0.9, 0.3], 2, 0.5), e / e.sum())


def test_cisc_at_infinite_temperature_is_the_vote() -> None:
    np.testing.assert_allclose(
        conf.cisc([0, 1, 1, -1], [0.9, 0.1, 0.2, 0.9], 2, float("inf")), [1 / 3, 2 / 3]
    )


def test_cisc_takes_a_missing_confidence_for_an_average_one() -> None:
    np.testing.assert_allclose(
        conf.cisc([0, 1], [0.9, NAN], 2, 1.0), conf.cisc([0, 1], [0.9, 0.9], 2, 1.0)
    )


def test_cisc_of_nobody_is_nothing() -> None:
    np.testing.assert_array_equal(conf.cisc([-1, -1], [0.9, 0.9], 2), [0, 0])


@given(st.permutations(range(5)))
def test_permuting_seats_keeps_every_bit(order: list[int]) -> None:
    votes = np.array([0, 1, 2, 0, -1])
    c = np.array([0.9, 0.77, 0.61, NAN, 0.5])
    np.testing.assert_array_equal(
        conf.cisc(votes, c, 3, 0.3), conf.cisc(votes[order], c[order], 3, 0.3)
    )


def test_the_temperature_is_low_for_telling_confidence_and_infinite_for_noise() -> None:
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 3, 800)
    c = rng.uniform(0.3, 1.0, (800, 4))
    telling = np.where(rng.random((800, 4)) < c**3, truth[:, None], rng.integers(0, 3, (800, 4)))
    assert conf.fit_cisc_temperature(telling, c, truth, 3) < 1.0
    unanimous = np.repeat(truth[:, None], 4, axis=1)
    assert conf.fit_cisc_temperature(unanimous, c, truth, 3) == float("inf")


def test_nothing_to_calibrate_on_is_refused() -> None:
    with pytest.raises(FitError, match="no labelled"):
        conf.fit_confidence([], [])


@pytest.mark.parametrize("stated", [[-0.1, 0.5], [0.5, 1.1]])
def test_confidence_below_nothing_or_above_certainty_is_refused(stated: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        conf.fit_confidence(stated, [0, 1])


def test_confidence_that_is_exactly_uninformative_is_not_used() -> None:
    assert conf.fit_confidence([0.2, 0.8, 0.2, 0.8], [1, 1, 0, 0]).b == 0.0


def test_the_map_of_stated_confidence_means_the_shrunk_accuracy() -> None:
    c, y = stated(40, 0.3, 1.2, 3)
    fitted = conf.fit_confidence(c, y, base=0.6, strength=8.0)
    assert fitted.apply(c).mean() == pytest.approx((y.sum() + 8 * 0.6) / (len(y) + 8))


def test_a_temperature_near_zero_overflows_nothing() -> None:
    assert conf.cisc([0, 1, 1], [0.9, 0.2, 0.1], 2, 1e-4).tolist() == [1.0, 0.0]
