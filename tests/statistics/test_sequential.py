from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from consensus.statistics.sequential import (
    BETS,
    ODDS,
    OF_PROFILE,
    RateTest,
    bet_logs,
    mean_excess,
    rate_excess,
    upper_mean,
)
from consensus.statistics.sequential import _together as together


def test_the_e_process_of_one_day_is_the_mixture_by_hand() -> None:
    # The profile is so large that it leaves no doubt about its rate of 0.1.
    n0 = 10**9
    found = rate_excess(n0, n0 // 10, [[40, 12]], horizon=1)
    by_hand = np.mean([r**12 / (1 + (r - 1) * 0.1) ** 40 for r in ODDS])
    assert found.e_value == pytest.approx(by_hand, rel=0.01)


def test_the_sum_over_days_on_which_a_drift_may_begin_is_that_by_hand() -> None:
    n0 = 10**9
    days = [[30, 3], [20, 6], [25, 9]]
    found = rate_excess(n0, n0 // 10, days, horizon=30)
    total = 0.0
    for begins in range(3):
        n, k = np.sum(days[begins:], axis=0)
        total += float(np.mean([r**k / (1 + (r - 1) * 0.1) ** n for r in ODDS]))
    n, k = np.sum(days, axis=0)
    whole = float(np.mean([r**k / (1 + (r - 1) * 0.1) ** n for r in ODDS]))
    assert found.e_value == pytest.approx(whole / 2 + total / 60, rel=0.01)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
def test_the_bet_on_a_rate_gains_nothing_on_average_where_nothing_changed(rate: float) -> None:
    outcomes = np.arange(31)
    chances = binom.pmf(outcomes, 30, rate)
    for odds in ODDS:
        gains = odds**outcomes / (1 + (odds - 1) * rate) ** 30
        assert float(chances @ gains) == pytest.approx(1.0)


def test_two_independent_p_values_together_are_a_p_value() -> None:
    rng = np.random.default_rng(7)
    p = together(rng.uniform(size=400_000), rng.uniform(size=400_000))
    for alpha in (0.01, 0.05, 0.2):
        share = float((p <= alpha).mean())
        assert share <= alpha * 1.03
        assert share >= alpha * 0.9, "nothing is given away either"


def test_a_profile_that_is_implausible_by_itself_needs_no_product() -> None:
    assert together(np.array([0.03]), np.array([1.0]))[0] == pytest.approx(0.03 / OF_PROFILE)


@pytest.mark.parametrize(("n0", "rate"), [(50, 0.1), (200, 0.1), (500, 0.03)])
def test_false_alarms_within_the_horizon_stay_below_alpha_whatever_the_profile(
    n0: int, rate: float
) -> None:
    rng = np.random.default_rng(11)
    runs, alpha = 120, 0.2
    alarms = 0
    for _ in range(runs):
        test = RateTest(n0, int(rng.binomial(n0, rate)), horizon=10)
        days = np.column_stack([np.full(10, 80), rng.binomial(80, rate, 10)])
        alarms += any(found.p_value <= alpha for found in test.each(days))
    assert alarms <= binom.ppf(0.999, runs, alpha)


def test_a_small_profile_cannot_convict_however_much_is_seen() -> None:
    # 10 of 100 is compatible with a true .16; a million decisions do not change that.
    assert rate_excess(100, 10, [[1_000_000, 160_000]]).p_value > 0.05
    assert rate_excess(1000, 100, [[1_000_000, 160_000]]).p_value < 0.01


def test_a_late_drift_is_dated_and_not_diluted_by_quiet_days() -> None:
    days = [[100, 10]] * 60 + [[100, 22]] * 4
    found = rate_excess(500, 50, days)
    assert 55 <= found.since <= 61
    assert found.ratio > 1.8
    assert found.p_value < 0.05


def test_looking_at_each_day_is_the_same_as_looking_once() -> None:
    days = [[50, 5], [50, 9], [0, 0], [50, 14]]
    test = RateTest(300, 30)
    assert [round(x.p_value, 12) for x in test.each(days)] == [
        round(test.after(days[: i + 1]).p_value, 12) for i in range(4)
    ]


@given(
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    st.lists(
        st.integers(0, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=6
    ),
)
def test_a_p_value_is_one_and_falls_with_every_bad_decision_more(
    profile: tuple[int, int], days: list[tuple[int, int]]
) -> None:
    found = rate_excess(*profile, days)
    assert 0 <= found.p_value <= 1
    assert found.e_value >= 0
    worse = [(n, n) for n, _ in days]
    assert rate_excess(*profile, worse).p_value <= found.p_value + 1e-9


def test_a_profile_without_a_single_bad_case_has_an_infinite_ratio() -> None:
    found = rate_excess(200, 0, [[100, 20]])
    assert found.ratio == math.inf
    assert found.p_value < 0.01


def test_nothing_seen_says_nothing() -> None:
    assert rate_excess(100, 10, []).p_value == 1.0
    assert mean_excess([], 1.0).p_value == 1.0


@pytest.mark.parametrize(("n", "k", "horizon"), [(0, 0, 30), (10, 11, 30), (10, -1, 30), (5, 1, 0)])
def test_what_is_no_profile_is_refused(n: int, k: int, horizon: int) -> None:
    with pytest.raises(ValueError, match="not a profile"):
        RateTest(n, k, horizon=horizon)


@pytest.mark.parametrize("counts", [[[3, 4]], [[-1, 0]], [1, 2]])
def test_what_are_no_counts_is_refused(counts: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="counts"):
        rate_excess(10, 1, counts)


def test_the_bet_on_a_mean_gains_nothing_on_average_at_its_bound() -> None:
    values = np.array([0.0, 0.5, 1.0, 2.5])  # their mean is the bound
    gains = np.exp(np.array([bet_logs([value], 1.0) for value in values])).mean(axis=0)
    assert gains == pytest.approx(np.ones(len(BETS)))


def test_one_outlier_is_no_drift() -> None:
    values = [1.0] * 200 + [1e9]
    found = mean_excess([(201, float(np.sum(values)), bet_logs(values, 1.1))], 1.0)
    assert found.p_value > 0.025


def test_a_mean_half_as_high_again_is_found() -> None:
    rng = np.random.default_rng(3)
    days = []
    for _ in range(10):
        values = rng.exponential(1.5, 100)
        days.append((100, float(values.sum()), bet_logs(values, 1.1)))
    found = mean_excess(days, 1.0)
    assert found.p_value < 0.001
    assert found.ratio == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize(("values", "bound"), [([-1.0], 1.0), ([1.0], 0.0), ([1.0], math.inf)])
def test_what_cannot_be_bet_on_is_refused(values: list[float], bound: float) -> None:
    with pytest.raises(ValueError, match="bets"):
        bet_logs(values, bound)


def test_the_bound_of_a_mean_is_the_normal_one_and_infinite_without_cases() -> None:
    assert upper_mean(1.0, 2.0, 100, delta=0.025) == pytest.approx(1.392, abs=1e-3)
    assert upper_mean(1.0, 2.0, 0, delta=0.025) == math.inf
    with pytest.raises(ValueError, match="delta"):
        upper_mean(1.0, 2.0, 10, delta=0.0)
