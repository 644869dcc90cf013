from __future__ import annotations

import numpy as np
import pytest

from consensus.aggregation import independence as ind
from consensus.aggregation._numerics import FitError, FloatArray


def block(cases: int, seats: int, p: float, rho: float, seed: int) -> FloatArray:
    """Right or wrong (cases, seats) of a beta-binomial block."""
    rng = np.random.default_rng(seed)
    s = 1 / rho - 1
    chance = rng.beta(s * p, s * (1 - p), cases)
    return (rng.random((cases, seats)) < chance[:, None]).astype(np.float64)


def test_the_likelihood_fit_finds_both_and_covers_them() -> None:
    y = block(1500, 5, 0.8, 0.44, 5)
    fit = ind.beta_binomial_fit(y.sum(axis=1), 5)
    assert fit.p == pytest.approx(0.8, abs=0.02)
    assert fit.rho == pytest.approx(0.44, abs=0.04)
    assert fit.low < 0.44 < fit.high


def test_the_profile_interval_covers_nineteen_times_in_twenty() -> None:
    hits = 0
    for seed in range(120):
        fit = ind.beta_binomial_fit(block(150, 4, 0.7, 0.3, 100 + seed).sum(axis=1), 4)
        hits += fit.low <= 0.3 <= fit.high
    assert 0.89 <= hits / 120 <= 1.0


def test_independent_seats_have_an_interval_that_reaches_zero() -> None:
    rng = np.random.default_rng(6)
    fit = ind.beta_binomial_fit(rng.binomial(5, 0.7, 300), 5)
    assert fit.low == 0.0
    assert fit.rho < 0.05


def test_missing_ballots_leave_smaller_cases() -> None:
    rng = np.random.default_rng(7)
    y = block(3000, 6, 0.75, 0.3, 8)
    held = rng.random(y.shape) < 0.7
    fit = ind.beta_binomial_fit((y * held).sum(axis=1), held.sum(axis=1))
    assert fit.rho == pytest.approx(0.3, abs=0.04)


def test_seats_that_are_always_right_tell_nothing_of_rho() -> None:
    with pytest.raises(FitError, match="some wrong"):
        ind.beta_binomial_fit([3, 3], 3)


@pytest.mark.parametrize(("seats", "accuracy"), [(1, 0.80), (3, 0.82), (9, 0.83), (101, 0.84)])
def test_correlated_majorities_gain_what_is_documented(seats: int, accuracy: float) -> None:
    assert ind.accuracy_of_majority(seats, 0.8, 0.44) == pytest.approx(accuracy, abs=0.006)


def test_independent_majorities_follow_the_binomial() -> None:
    assert ind.accuracy_of_majority(3, 0.8, 0.0) == pytest.approx(0.8**3 + 3 * 0.8**2 * 0.2)


def test_an_even_seat_adds_nothing() -> None:
    assert ind.marginal_value(3, 0.8, 0.44, more=1) == pytest.approx(0.0, abs=1e-12)


def test_the_next_seats_are_worth_less_and_less_and_less_still_when_they_err_together() -> None:
    gains = [ind.marginal_value(n, 0.8, 0.2) for n in (1, 3, 5)]
    assert gains[0] > gains[1] > gains[2] > 0
    assert ind.marginal_value(3, 0.8, 0.6) < ind.marginal_value(3, 0.8, 0.2)


def test_many_cases_leave_a_narrow_interval() -> None:
    found = ind.beta_binomial_fit(block(900, 5, 0.7, 0.4, 2).sum(axis=1), 5)
    assert 0.3 < found.low < found.rho < found.high < 0.5
