"""Risk-coverage against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from consensus.statistics import aurc, coverage_at_risk, excess_aurc, risk_coverage


def test_the_curve_equals_a_walk_through_the_sorted_cases() -> None:
    rng = np.random.default_rng(0)
    confidence, credit = rng.random(50), rng.integers(0, 2, 50).astype(float)
    order = np.argsort(-confidence)
    curve = risk_coverage(confidence, credit)
    for k in range(1, 51):
        assert curve.risk[k - 1] == pytest.approx(1 - credit[order[:k]].mean())
        assert curve.coverage[k - 1] == pytest.approx(k / 50)


def test_equal_confidences_give_the_mean_over_random_orders() -> None:
    rng = np.random.default_rng(1)
    confidence, credit = rng.integers(0, 4, 30) / 4, rng.integers(0, 2, 30).astype(float)
    areas = []
    for _ in range(4000):
        jitter = confidence + rng.random(30) * 1e-9
        areas.append(aurc(jitter, credit))
    assert aurc(confidence, credit) == pytest.approx(np.mean(areas), abs=0.002)


def test_the_order_of_cases_never_matters() -> None:
    rng = np.random.default_rng(2)
    confidence, credit = rng.integers(0, 3, 40) / 3, rng.random(40)
    order = rng.permutation(40)
    assert aurc(confidence[order], credit[order]) == pytest.approx(aurc(confidence, credit))


def test_a_perfect_confidence_has_no_excess() -> None:
    credit = np.r_[np.ones(7), np.zeros(3)]
    assert excess_aurc(credit, credit) == 0
    # The best order errs only after the seventh case: (1/8 + 2/9 + 3/10) / 10.
    assert aurc(credit, credit) == pytest.approx((1 / 8 + 2 / 9 + 3 / 10) / 10)


def test_useless_confidence_has_the_base_rate_as_area() -> None:
    credit = np.r_[np.ones(6), np.zeros(4)]
    assert aurc(np.full(10, 0.95), credit) == pytest.approx(0.4)


def test_coverage_counts_only_thresholds_that_a_rule_can_apply() -> None:
    confidence = np.array([0.9, 0.9, 0.5, 0.5])
    credit = np.array([1.0, 1.0, 1.0, 0.0])
    assert coverage_at_risk(confidence, credit, risk=0.0) == 0.5
    assert coverage_at_risk(confidence, credit, risk=0.25) == 1.0
    assert coverage_at_risk(confidence, 1 - credit, risk=0.1) == 0.0
