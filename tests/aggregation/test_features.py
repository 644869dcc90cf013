from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import features as f
from consensus.aggregation._numerics import IntArray
from tests.aggregation.strategies import vote_arrays

NAN = float("nan")


def test_vote_shares_are_of_the_groups_seats() -> None:
    found = f.vote_features([0, 0, 1, -1], 2, [0, 0, 1, 1], names=["a", "b"])
    assert found.names == ("votes:a", "votes:b", "votes²:a", "votes²:b", "votes:a×b")
    expected: list[list[float]] = [[1, 0, 1, 0, 0], [0, 0.5, 0, 0.25, 0]]
    np.testing.assert_allclose(found.values, expected)


def test_single_seats_have_no_square_of_themselves() -> None:
    assert f.vote_features([0, 1], 2, [0, 1], pairs=False).names == ("votes:0", "votes:1")


def test_a_group_that_was_not_asked_says_nothing() -> None:
    votes = f.vote_features([0, -1], 2, [0, 1])
    scores = f.score_features([[7.0, 3.0], [NAN, NAN]], [0, 1])
    ballots = f.distribution_features([[0.7, 0.3], [NAN, NAN]], [0, 1])
    for part in (votes, scores, ballots):
        asked = [i for i, name in enumerate(part.names) if "1" in name]
        assert not part.values[:, asked].any()


def test_scores_are_centred_and_first_places_shared() -> None:
    found = f.score_features([[7, 7, 1], [8, 4, 3]], [0, 0], names=["m"])
    assert found.names == ("score:m", "first:m")
    np.testing.assert_allclose(found.values[:, 0], [2.5, 0.5, -3.0])
    np.testing.assert_allclose(found.values[:, 1], [0.75, 0.25, 0.0])


def test_log_probabilities_are_centred() -> None:
    found = f.distribution_features([[0.8, 0.2]], [0])
    np.testing.assert_allclose(found.values[:, 0], [np.log(2), -np.log(2)])


def test_unstated_confidence_says_nothing() -> None:
    found = f.confidence_features([0, 1], [0.9, NAN], 2, [0, 1])
    np.testing.assert_allclose(found.values, [[np.log(9), 0.0], [0.0, 0.0]])


def test_parts_are_set_side_by_side() -> None:
    one = f.vote_features([0, 1], 2, [0, 1])
    two = f.confidence_features([0, 1], [0.9, 0.6], 2, [0, 1])
    both = f.join(one, two)
    assert both.names == one.names + two.names
    assert both.values.shape == (2, len(both.names))


@given(vote_arrays(), st.data())
def test_seats_of_a_group_are_exchangeable(case: tuple[IntArray, int], data: st.DataObject) -> None:
    votes, options = case
    order = list(data.draw(st.permutations(range(len(votes)))))
    groups = np.arange(len(votes)) % 2
    np.testing.assert_array_equal(
        f.vote_features(votes, options, groups).values,
        f.vote_features(votes[order], options, groups[order]).values,
    )


def test_groups_must_cover_the_seats() -> None:
    with pytest.raises(ValueError, match="groups"):
        f.vote_features([0, 1], 2, [0])


def test_confidence_is_the_groups_mean_log_odds() -> None:
    found = f.confidence_features([0, 0, 1], [0.8, 0.6, 0.9], 2, [0, 0, 1])
    odds = np.log(np.array([0.8, 0.6, 0.9]) / np.array([0.2, 0.4, 0.1]))
    assert found.values[:, 0] == pytest.approx([(odds[0] + odds[1]) / 2, 0.0])
    assert found.values[:, 1] == pytest.approx([0.0, odds[2]])
