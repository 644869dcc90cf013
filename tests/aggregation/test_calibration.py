from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import calibration as cal
from consensus.aggregation._numerics import FitError, FloatArray, IntArray
from consensus.aggregation.pools import tempered

PROBABILITIES = st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 1)), min_size=1, max_size=60)


def overconfident(cases: int, seed: int) -> tuple[FloatArray, IntArray]:
    """Three-option posteriors whose logits are three times too large."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(cases, 3))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (honest.cumsum(axis=1) > rng.random((cases, 1))).argmax(axis=1)
    return tempered(honest, 1 / 3), truth


def test_the_temperature_that_spoiled_a_posterior_is_found() -> None:
    posterior, truth = overconfident(20_000, 1)
    assert cal.fit_temperature(posterior, truth) == pytest.approx(3.0, rel=0.05)


def test_tempering_lowers_the_loss_on_other_cases() -> None:
    posterior, truth = overconfident(2000, 2)
    t = cal.fit_temperature(posterior[:1000], truth[:1000])
    later = posterior[1000:]
    assert cal.log_loss(tempered(later, t), truth[1000:]) < cal.log_loss(later, truth[1000:])


def test_a_few_cases_that_are_all_right_do_not_make_certainty() -> None:
    t = cal.fit_temperature([[0.7, 0.3]] * 4, [0] * 4)
    assert 0.1 < t < 1.0


def test_platt_finds_slope_and_shift() -> None:
    rng = np.random.default_rng(3)
    stated = rng.uniform(0.02, 0.98, 40_000)
    x = np.log(stated / (1 - stated))
    y = rng.random(40_000) < 1 / (1 + np.exp(-(-0.5 + 0.4 * x)))
    fit = cal.fit_platt(stated, y)
    assert fit.a == pytest.approx(-0.5, abs=0.05)
    assert fit.b == pytest.approx(0.4, abs=0.03)


def test_platt_targets_keep_a_perfect_record_from_being_certain() -> None:
    fit = cal.fit_platt([0.9] * 8, [1] * 8)
    assert fit.apply(0.9) == pytest.approx(9 / 10, abs=0.01)


def test_the_isotonic_map_pools_equal_inputs_and_goes_linearly_between() -> None:
    fit = cal.fit_isotonic([0.2, 0.2, 0.6, 0.4], [0, 1, 1, 0])
    expected = np.array([1.0, 1.0, 1.0, 2.0, 3.0, 3.0]) / 3
    np.testing.assert_allclose(fit.apply([0.0, 0.2, 0.4, 0.5, 0.6, 1.0]), expected)


def test_the_isotonic_map_finds_a_monotone_truth() -> None:
    rng = np.random.default_rng(4)
    x = rng.random(60_000)
    fit = cal.fit_isotonic(x, rng.random(60_000) < x**2)
    probe = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(fit.apply(probe), probe**2, atol=0.05)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_monotone_fit_is_the_max_min_formula(values: list[float]) -> None:
    y = np.array(values)
    n = len(y)
    expected = [
        max(min(y[a : b + 1].mean() for b in range(i, n)) for a in range(i + 1)) for i in range(n)
    ]
    np.testing.assert_allclose(cal.monotone(y), expected, atol=1e-9)


def test_the_reliability_curve_by_hand() -> None:
    p = [0.1, 0.1, 0.9, 0.9, 0.9]
    y = [0, 1, 1, 1, 0]
    curve = cal.reliability(p, y, bins=2, by="width")
    np.testing.assert_allclose(curve.predicted, [0.1, 0.9])
    np.testing.assert_allclose(curve.observed, [0.5, 2 / 3])
    np.testing.assert_allclose(curve.cases, [2, 3])
    assert cal.ece(p, y, bins=2, by="width") == pytest.approx((2 * 0.4 + 3 * (0.9 - 2 / 3)) / 5)


def test_equal_forecasts_share_a_bin_of_equal_mass() -> None:
    curve = cal.reliability([0.8] * 50 + [0.9] * 50, [1, 0] * 50, bins=10)
    np.testing.assert_allclose(curve.cases, [50, 50])


def test_bins_of_equal_mass_hold_equally_many() -> None:
    rng = np.random.default_rng(5)
    curve = cal.reliability(rng.random(1000), rng.random(1000) < 0.5, bins=8)
    np.testing.assert_allclose(curve.cases, 125, atol=1)


def test_honest_forecasts_have_little_calibration_error() -> None:
    rng = np.random.default_rng(6)
    p = rng.random(50_000)
    y = rng.random(50_000) < p
    assert cal.ece(p, y) < 0.01
    assert cal.ece(p**3, y) > 0.1


@given(PROBABILITIES, st.sampled_from(["mass", "width"]))
def test_the_brier_parts_add_up(pairs: list[tuple[float, int]], by: cal.Bins) -> None:
    p, y = map(np.array, zip(*pairs, strict=True))
    parts = cal.brier_parts(p, y, by=by)
    assert parts.brier == pytest.approx(cal.brier(p, y))
    assert parts.brier == pytest.approx(
        parts.reliability - parts.resolution + parts.uncertainty + parts.within
    )


def test_brier_is_murphys_where_each_bin_holds_one_forecast() -> None:
    parts = cal.brier_parts([0.2] * 10 + [0.8] * 10, [0] * 8 + [1] * 9 + [0] * 3)
    assert parts.within == pytest.approx(0.0, abs=1e-12)


def test_scores_of_many_options_by_hand() -> None:
    posterior = np.array([[0.7, 0.2, 0.1]])
    assert cal.brier(posterior, [0]) == pytest.approx(0.09 + 0.04 + 0.01)
    assert cal.log_loss(posterior, [1]) == pytest.approx(-np.log(0.2))


def test_an_impossible_truth_costs_much_but_not_infinity() -> None:
    assert 20 < cal.log_loss([[1.0, 0.0]], [1]) < 30


@pytest.mark.parametrize("fit", [cal.fit_platt, cal.fit_isotonic, cal.fit_temperature])
def test_nothing_to_calibrate_on_is_refused(fit: object) -> None:
    assert callable(fit)
    with pytest.raises(FitError, match="no cases"):
        fit([], [])


def test_no_neighbouring_temperature_has_a_lower_loss() -> None:
    p, z = overconfident(300, 5)

    def loss(t: float) -> float:
        return float(cal.log_loss(tempered(p, t), z) * len(z) + 0.5 * np.log(t) ** 2)

    t = cal.fit_temperature(p, z, spread=1.0)
    assert loss(t) <= min(loss(t * 1.001), loss(t / 1.001))


def test_values_and_weights_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        cal.monotone([1.0, 2.0], [1.0])
