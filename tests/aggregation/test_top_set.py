from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation.paired import bradley_terry
from consensus.aggregation.top_set import (
    beats_probability,
    first_probabilities,
    membership,
    top_probability,
)

matrices = st.lists(st.integers(0, 6), min_size=16, max_size=16).map(
    lambda values: np.array(values, dtype=float).reshape(4, 4) * (1 - np.eye(4))
)


def independent(theta: np.ndarray, error: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(theta, error, size=(200_000, len(theta)))


def test_the_integrals_agree_with_sampling() -> None:
    wins = np.array([[0, 3, 2, 4], [1, 0, 3, 2], [0, 1, 0, 3], [1, 0, 1, 0]], dtype=float)
    fit = bradley_terry(wins)
    drawn = independent(fit.theta, np.sqrt(np.diag(fit.covariance)))
    best = np.bincount(drawn.argmax(axis=1), minlength=4) / len(drawn)
    assert first_probabilities(fit) == pytest.approx(best, abs=0.005)
    top = np.sort(np.argsort(-drawn, axis=1)[:, :2], axis=1)
    share = float((top == [0, 1]).all(axis=1).mean())
    assert top_probability(fit, [0, 1]) == pytest.approx(share, abs=0.005)


@given(matrices)
def test_every_set_of_two_is_the_best_with_probabilities_that_sum_to_one(wins: np.ndarray) -> None:
    fit = bradley_terry(wins)
    total = sum(top_probability(fit, pair) for pair in itertools.combinations(range(4), 2))
    assert total == pytest.approx(1.0, abs=2e-3)
    assert first_probabilities(fit).sum() == pytest.approx(1.0)


@given(matrices, st.permutations(range(4)))
def test_renaming_the_items_renames_the_probabilities(wins: np.ndarray, order: list[int]) -> None:
    moved = wins[np.ix_(order, order)]
    one, other = first_probabilities(bradley_terry(wins)), first_probabilities(bradley_terry(moved))
    assert other == pytest.approx(one[order], abs=1e-6)


@given(matrices)
def test_a_stronger_item_beats_a_weaker_one_more_often_than_not(wins: np.ndarray) -> None:
    fit = bradley_terry(wins)
    for i, j in itertools.combinations(range(4), 2):
        p = beats_probability(fit, i, j)
        assert p + beats_probability(fit, j, i) == pytest.approx(1.0)
        assert (p >= 0.5) == (fit.theta[i] >= fit.theta[j]) or p == pytest.approx(0.5)


def test_items_at_the_border_are_the_doubtful_members() -> None:
    wins = np.triu(np.full((4, 4), 5.0), 1)
    share = membership(bradley_terry(wins), 2)
    doubt = share * (1 - share)
    assert doubt[1] > doubt[0]
    assert doubt[2] > doubt[3]


@pytest.mark.parametrize("chosen", [[], [0, 1, 2, 3], [7]])
def test_what_is_no_top_set_is_refused(chosen: list[int]) -> None:
    with pytest.raises(ValueError, match="top set"):
        top_probability(bradley_terry(np.ones((4, 4)) - np.eye(4)), chosen)
