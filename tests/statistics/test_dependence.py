"""Error correlation against numpy, nominal simulations and the table of the literature."""

from __future__ import annotations

import numpy as np
import pytest

from consensus.statistics import (
    effective_votes,
    error_correlation,
    panel_dependence,
    within_correlation,
)


def exchangeable(
    rng: np.random.Generator, cases: int, seats: int, p: float, rho: float
) -> np.ndarray:
    """Errors with rate ``p`` and pairwise correlation ``rho`` (beta-binomial)."""
    total = 1 / rho - 1
    rate = rng.beta(p * total, (1 - p) * total, size=(cases, 1))
    return (rng.random((cases, seats)) < rate).astype(float)


def test_phi_equals_numpys_correlation_on_complete_data() -> None:
    errors = np.random.default_rng(0).integers(0, 2, (200, 4)).astype(float)
    assert error_correlation(errors) == pytest.approx(np.corrcoef(errors.T))


def test_phi_uses_the_cases_that_both_answered() -> None:
    errors = np.random.default_rng(0).integers(0, 2, (50, 2)).astype(float)
    holes = np.vstack([errors, [[1, np.nan], [np.nan, 0]]])
    assert error_correlation(holes) == pytest.approx(error_correlation(errors))


def test_phi_of_a_judge_that_never_errs_is_not_defined() -> None:
    phi = error_correlation(np.array([[0.0, 1], [0, 0], [0, 1]]))
    assert np.isnan(phi[0, 1])
    assert phi[1, 1] == pytest.approx(1)


def test_nine_judges_of_correlation_044_are_two_votes() -> None:
    assert float(effective_votes(9, 0.44)) == pytest.approx(1.99, abs=0.01)
    assert effective_votes([1, 5], [0.3, 0.0]).tolist() == [1, 5]


def test_the_estimate_finds_the_simulated_correlation() -> None:
    errors = exchangeable(np.random.default_rng(4), 20_000, 7, 0.2, 0.44)
    result = panel_dependence(errors, draws=200)
    assert result.rho == pytest.approx(0.44, abs=0.02)
    assert result.n_eff == pytest.approx(7 / (1 + 6 * 0.44), abs=0.1)
    assert within_correlation(errors) == pytest.approx(0.44, abs=0.02)


def test_rho_is_the_mean_pair_covariance_over_the_mean_variance() -> None:
    errors = np.random.default_rng(8).random((60, 4))
    covariance = np.cov(errors.T, bias=True)
    expected = covariance[np.triu_indices(4, 1)].mean() / np.diag(covariance).mean()
    assert panel_dependence(errors, draws=10).rho == pytest.approx(expected)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(9)
    covered = sum(
        panel_dependence(exchangeable(rng, 300, 5, 0.3, 0.4), draws=300).rho_interval.covers(0.4)
        for _ in range(200)
    )
    assert covered / 200 > 0.88


def test_within_correlation_equals_the_anova_formula_by_hand() -> None:
    # Groups (1, 1), (0, 0), (1, 0): MSB = .5, MSW = 1/6, so rho = (1/2 - 1/6) / (1/2 + 1/6).
    assert within_correlation([[1, 1], [0, 0], [1, 0]]) == pytest.approx(0.5)


def test_identical_seats_are_one_vote() -> None:
    one = np.random.default_rng(0).integers(0, 2, (100, 1)).astype(float)
    assert panel_dependence(np.repeat(one, 6, axis=1), draws=50).n_eff == pytest.approx(1)


def test_single_passes_have_no_within_correlation() -> None:
    assert within_correlation(np.array([[1, np.nan], [np.nan, 0]])) is None
