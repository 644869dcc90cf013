"""Intervals against scipy, and against the figures that textbooks print."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from consensus.statistics import (
    beta_lcb,
    beta_ucb,
    cases_for_floor,
    clopper_pearson,
    mean_interval,
    wilson,
)

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_equals_scipy(counts: tuple[int, int], level: float) -> None:
    k, n = counts
    reference = binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level=level) == pytest.approx((reference.low, reference.high), abs=1e-10)


@given(COUNTS, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_clopper_pearson_equals_scipy(counts: tuple[int, int], level: float) -> None:
    k, n = counts
    reference = binomtest(k, n).proportion_ci(level, method="exact")
    mine = clopper_pearson(k, n, level=level)
    assert mine == pytest.approx((reference.low, reference.high), abs=1e-9)


@given(COUNTS)
def test_the_lower_bound_is_the_rate_at_which_so_many_passes_are_delta_rare(
    counts: tuple[int, int],
) -> None:
    k, n = counts
    if k == 0:
        assert beta_lcb(k, n) == 0
        return
    tail = binomtest(k, n, beta_lcb(k, n, delta=0.05), alternative="greater").pvalue
    assert tail == pytest.approx(0.05, abs=1e-8)


@given(COUNTS)
def test_the_bounds_mirror_each_other(counts: tuple[int, int]) -> None:
    k, n = counts
    assert beta_ucb(k, n, delta=0.1) == pytest.approx(1 - beta_lcb(n - k, n, delta=0.1), abs=1e-9)


@pytest.mark.parametrize(
    ("floor", "delta", "cases"),
    [
        (0.90, 0.05, 29),
        (0.95, 0.05, 59),
        (0.98, 0.05, 149),
        (0.99, 0.05, 299),
        (0.90, 0.10, 22),
        (0.99, 0.01, 459),
    ],
)
def test_fewest_cases_without_a_failure(floor: float, delta: float, cases: int) -> None:
    assert cases_for_floor(floor, delta=delta) == cases


@pytest.mark.parametrize("failures", [1, 3, 10])
def test_fewest_cases_with_failures_is_the_first_that_passes(failures: int) -> None:
    n = cases_for_floor(0.95, failures=failures)
    assert beta_lcb(n - failures, n) >= 0.95
    assert beta_lcb(n - 1 - failures, n - 1) < 0.95


@given(COUNTS)
def test_the_interval_of_a_mean_of_zeros_and_ones_is_wilsons(counts: tuple[int, int]) -> None:
    k, n = counts
    values = np.r_[np.ones(k), np.zeros(n - k)]
    assert mean_interval(values) == pytest.approx(wilson(k, n), abs=1e-12)


def test_means_over_passes_vary_less_than_single_passes() -> None:
    single = np.r_[np.ones(50), np.zeros(50)]
    averaged = np.r_[np.full(50, 0.75), np.full(50, 0.25)]
    assert mean_interval(averaged, draws=8).width < mean_interval(single).width


def test_the_interval_of_fractional_values_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    truth, covered, trials = 0.7, 0, 1500
    for _ in range(trials):
        rate = rng.beta(1.4, 0.6, size=120)
        values = rng.binomial(4, rate) / 4
        covered += mean_interval(values, draws=4).covers(truth)
    assert covered / trials == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    for function in (wilson, clopper_pearson, beta_lcb, beta_ucb):
        with pytest.raises(ValueError, match="successes"):
            function(k, n)
