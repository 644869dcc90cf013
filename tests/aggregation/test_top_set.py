from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.aggregation.paired import Strengths, bradley_terry
from consensus.aggregation.top_set import (
    beats_probability,
    first_probabilities,
    membership,
    top_probability,
)

matrices = st.lists(st.integers(0, 6), min_size=16, max_size=16).map(
    lambda values: np.array(values, dtype=float).reshape(4, 4) * (1 - np.eye(4))
)


def sampled(fit: Strengths) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.multivariate_normal(fit.theta, fit.covariance, size=200_000)


def test_the_integrals_agree_with_sampling_from_the_fits_own_covariance() -> None:
    wins = np.array([[0, 3, 2, 4], [1, 0, 3, 2], [0, 1, 0, 3], [1, 0, 1, 0]], dtype=float)
    fit = bradley_terry(wins)
    drawn = sampled(fit)
    best = np.bincount(drawn.argmax(axis=1), minlength=4) / len(drawn)
    assert first_probabilities(fit) == pytest.approx(best, abs=0.005)
    top = np.sort(np.argsort(-drawn, axis=1)[:, :2], axis=1)
    share = float((top == [0, 1]).all(axis=1).mean())
    assert top_probability(fit, [0, 1]) == pytest.approx(share, abs=0.005)


def test_the_better_of_two_is_as_sure_as_their_difference_is() -> None:
    fit = bradley_terry(np.array([[0.0, 4.0], [2.0, 0.0]]))
    assert first_probabilities(fit)[0] == pytest.approx(beats_probability(fit, 0, 1), abs=1e-4)


def test_items_that_met_unevenly_still_follow_the_covariance() -> None:
    # Two often compared with each other, a third seldom with either: errors shared by the pair.
    wins = np.array([[0, 14, 1], [10, 0, 1], [1, 0, 0]], dtype=float)
    fit = bradley_terry(wins)
    best = np.bincount(sampled(fit).argmax(axis=1), minlength=3) / 200_000
    assert first_probabilities(fit) == pytest.approx(best, abs=0.005)


@settings(max_examples=25)
@given(matrices)
def test_every_set_of_two_is_the_best_with_probabilities_that_sum_to_one(wins: np.ndarray) -> None:
    fit = bradley_terry(wins)
    total = sum(top_probability(fit, pair) for pair in itertools.combinations(range(4), 2))
    assert total == pytest.approx(1.0, abs=0.01)
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
