from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.statistics import beta_lcb, rate_bound, weighted_lcb, weighted_mean


def test_the_estimate_by_hand() -> None:
    # Of ten cases three were looked at; the one error had a chance of a quarter: it stands for 4.
    found = weighted_mean([1, 0, 1], [0.5, 0.25, 0.5], cases=10)
    assert found.mean == pytest.approx(0.6)
    assert found.standard_error == pytest.approx(np.std([4] + [0] * 9, ddof=1) / np.sqrt(10))


def test_where_every_case_is_looked_at_it_is_the_plain_bound() -> None:
    credits_ = [1.0] * 18 + [0.0] * 2
    got = weighted_lcb(credits_, [1.0] * 20, cases=20, least=1.0, delta=0.1)
    assert got == beta_lcb(18, 20, delta=0.1)
    graded = [0.5, 1.0, 0.75, 1.0]
    got = weighted_lcb(graded, [1.0] * 4, cases=4, least=1.0, delta=0.1)
    assert got == pytest.approx(rate_bound(graded, delta=0.1).bound)


def test_without_a_case_looked_at_nothing_is_proved() -> None:
    assert weighted_lcb([], [], cases=0, least=0.1, delta=0.1) == 0.0
    few = weighted_lcb([], [], cases=3, least=0.01, delta=0.1)
    assert few == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("delta", [0.1, 0.05])
@pytest.mark.parametrize(
    ("cases", "easy", "hard", "truth"),
    [
        (60, 0.5, 0.5, 0.9),
        (200, 0.1, 0.1, 0.95),
        (200, 0.1, 1.0, 0.8),
        (400, 1.0, 0.05, 0.9),
        (1000, 0.02, 0.02, 0.99),
    ],
)
def test_the_bound_is_too_high_no_oftener_than_delta_whatever_the_chances_go_with(
    cases: int, easy: float, hard: float, truth: float, delta: float
) -> None:
    """Half of the cases are hard: all errors are there, and another chance looks at them."""
    rng = np.random.default_rng(7)
    runs = 300
    too_high = 0
    for _ in range(runs):
        is_hard = rng.random(cases) < 0.5
        right = ~(is_hard & (rng.random(cases) < 2 * (1 - truth)))
        chances = np.where(is_hard, hard, easy)
        seen = rng.random(cases) < chances
        bound = weighted_lcb(
            right[seen].astype(float),
            chances[seen],
            cases=cases,
            least=min(easy, hard),
            delta=delta,
        )
        too_high += bound > truth
    assert too_high <= runs * delta + 3 * np.sqrt(runs * delta * (1 - delta))


def test_the_estimate_is_unbiased_where_hard_cases_are_looked_at_oftener() -> None:
    rng = np.random.default_rng(8)
    found, naive = [], []
    for _ in range(400):
        is_hard = rng.random(300) < 0.3
        right = ~(is_hard & (rng.random(300) < 0.5))
        chances = np.where(is_hard, 0.8, 0.1)
        seen = rng.random(300) < chances
        credits_ = right[seen].astype(float)
        found.append(weighted_mean(credits_, chances[seen], cases=300).mean)
        naive.append(credits_.mean())
    assert np.mean(found) == pytest.approx(0.85, abs=0.005)
    assert np.mean(naive) < 0.7


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.1, 0.3, 1.0])), max_size=12),
    st.integers(0, 40),
    st.permutations(range(12)),
)
def test_the_order_of_the_cases_means_nothing_and_an_error_more_never_helps(
    looked: list[tuple[float, float]], more: int, order: list[int]
) -> None:
    def bound(cases: list[tuple[float, float]], total: int) -> float:
        credits_ = [credit for credit, _ in cases]
        chances = [chance for _, chance in cases]
        return weighted_lcb(credits_, chances, cases=total, least=0.1, delta=0.1)

    total = len(looked) + more
    first = bound(looked, total)
    assert 0 <= first <= 1
    shuffled = [looked[i] for i in order if i < len(looked)]
    assert bound(shuffled, total) == pytest.approx(first, abs=1e-9)
    worse = [(0.0, chance) for _, chance in looked]
    assert bound(worse, total) <= first + 1e-9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1.0], [0.5], 0, 0.5), "looked at"),
        (([1.0], [0.5], 3, 0.6), "least"),
        (([1.0], [0.0], 3, 0.1), "chances"),
        (([1.5], [0.5], 3, 0.1), "credits"),
        (([1.0, 1.0], [0.5], 3, 0.1), "one length"),
    ],
)
def test_what_is_no_design_is_refused(
    arguments: tuple[list[float], list[float], int, float], said: str
) -> None:
    credits_, chances, cases, least = arguments
    with pytest.raises(ValueError, match=said):
        weighted_lcb(credits_, chances, cases=cases, least=least, delta=0.1)
