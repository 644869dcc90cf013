"""Paired comparisons against scipy, brute force and the power figures of the literature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from consensus.statistics import (
    bootstrap_ratio,
    cases_for_parity,
    mcnemar,
    paired_bootstrap,
    parity,
)

RNG = np.random.default_rng(11)


def test_the_paired_bootstrap_agrees_with_scipys() -> None:
    first = RNG.random(300).round(1)
    second = (first + RNG.normal(0, 0.3, 300)).clip(0, 1)
    mine = paired_bootstrap(first, second, draws=20_000)
    theirs = bootstrap(
        (first - second,), np.mean, n_resamples=20_000, method="percentile", rng=RNG
    ).confidence_interval
    assert mine.estimate == pytest.approx(float(np.mean(first - second)))
    assert mine.interval == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_the_same_seed_gives_the_same_interval_in_any_order_of_cases() -> None:
    values = RNG.integers(-1, 2, 200).astype(float)
    shuffled = RNG.permutation(values)
    assert paired_bootstrap(values, seed=3) == paired_bootstrap(shuffled, seed=3)
    assert paired_bootstrap(values, seed=3) != paired_bootstrap(values, seed=4)


def test_the_ratio_bootstrap_weighs_cases_by_their_denominator() -> None:
    result = bootstrap_ratio([1.0, 0.0, 3.0], [1.0, 1.0, 4.0])
    assert result.estimate == pytest.approx(4 / 6)
    assert result.interval.covers(4 / 6)


def test_pairing_narrows_the_interval() -> None:
    base = RNG.integers(0, 2, 400).astype(float)
    almost = base.copy()
    almost[:10] = 1 - almost[:10]
    paired = paired_bootstrap(base, almost).interval
    alone = paired_bootstrap(base, RNG.permutation(almost)).interval
    assert paired.width < alone.width / 2


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (10, 3), (2, 40), (300, 250)])
def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_cases(b: int, c: int) -> None:
    first = np.r_[np.ones(b), np.zeros(c), np.ones(7), np.zeros(9)]
    second = np.r_[np.zeros(b), np.ones(c), np.ones(7), np.zeros(9)]
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second) == (b, c)
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert result.p_value == pytest.approx(expected)


def test_mcnemar_refuses_split_credits() -> None:
    with pytest.raises(ValueError, match="split"):
        mcnemar([0.5, 1], [1, 0])


def test_parity_at_five_percent_discordance_and_two_points_takes_about_770_cases() -> None:
    assert cases_for_parity(0.05, epsilon=0.02) == pytest.approx(773, abs=1)


def test_the_computed_number_of_cases_has_the_asked_power() -> None:
    n = cases_for_parity(0.10, epsilon=0.03)
    assert n is not None
    rng = np.random.default_rng(2)
    passes = 0
    for _ in range(2000):
        moves = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05], size=n)
        passes += parity(moves, np.zeros(n), epsilon=0.03).passes
    assert passes / 2000 == pytest.approx(0.8, abs=0.03)


def test_no_number_of_cases_proves_parity_of_a_route_that_is_worse() -> None:
    assert cases_for_parity(0.1, epsilon=0.01, true_difference=-0.01) is None
    worse = np.r_[np.full(30, -1.0), np.zeros(70)]
    assert parity(worse, np.zeros(100), epsilon=0.02).more_cases is None


def test_thirty_identical_cases_are_no_proof_of_parity() -> None:
    result = parity(np.ones(30), np.ones(30), epsilon=0.01)
    assert not result.passes
    assert result.more_cases is not None
    assert result.more_cases > 100


def test_more_cases_counts_only_those_still_missing() -> None:
    values = np.r_[np.full(20, -1.0), np.full(20, 1.0), np.zeros(360)]
    result = parity(values, np.zeros(400), epsilon=0.01)
    total = cases_for_parity(float(values.var(ddof=1)), epsilon=0.01)
    assert total is not None
    assert result.more_cases == total - 400
