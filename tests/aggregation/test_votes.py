from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import votes as v
from consensus.aggregation._numerics import IntArray
from tests.aggregation.strategies import vote_arrays


@given(vote_arrays())
def test_tally_counts_what_a_counter_counts(case: tuple[IntArray, int]) -> None:
    votes, options = case
    expected = Counter(votes.tolist())
    assert v.tally(votes, options).tolist() == [expected[k] for k in range(options)]


def test_tally_serves_one_case_and_many_alike() -> None:
    many = np.array([[0, 1, 1, -1], [2, 2, -1, -1]])
    together = v.tally(many, 3)
    assert together.shape == (2, 3)
    for row, expected in zip(many, together, strict=True):
        np.testing.assert_array_equal(v.tally(row, 3), expected)


def test_tally_rejects_an_answer_outside_the_options() -> None:
    with pytest.raises(ValueError, match="−1 … 2"):
        v.tally([0, 3], 3)


@given(vote_arrays(), st.randoms(use_true_random=False), st.data())
def test_a_weighted_tally_keeps_every_bit_when_seats_are_permuted(
    case: tuple[IntArray, int], random: object, data: st.DataObject
) -> None:
    votes, options = case
    weights = np.array(
        data.draw(
            st.lists(st.floats(-3, 3), min_size=len(votes), max_size=len(votes)), label="weights"
        )
    )
    order = np.array(data.draw(st.permutations(range(len(votes)))))
    before = v.tally(votes, options, weights)
    after = v.tally(votes[order], options, weights[order])
    np.testing.assert_array_equal(before, after)


def test_blocks_partition_the_tally() -> None:
    votes = np.array([[0, 1, 1, 2, -1]])
    blocks = v.tally_blocks(votes, 3, [0, 1, 0, 1, 1])
    np.testing.assert_array_equal(blocks, [[[1, 1, 0], [0, 1, 1]]])


def test_a_recorded_double_answer_is_half_a_vote_for_each() -> None:
    named = np.array([[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(v.half_votes(named), [1.5, 0, 0, 0.5])


def test_a_single_leader_wins_by_its_lead() -> None:
    result = v.plurality([5, 2, 1])
    assert (int(result.winner), float(result.lead), bool(result.tied)) == (0, 3.0, False)
    np.testing.assert_array_equal(result.credit, [1, 0, 0])


def test_a_tie_has_no_winner_and_splits_its_credit() -> None:
    result = v.plurality([2, 1, 2])
    assert (int(result.winner), float(result.lead), bool(result.tied)) == (-1, 0.0, True)
    np.testing.assert_array_equal(result.credit, [0.5, 0, 0.5])


def test_nobody_voting_is_neither_a_win_nor_a_tie() -> None:
    result = v.plurality([0, 0, 0])
    assert (int(result.winner), bool(result.tied)) == (-1, False)
    assert not result.leaders.any()
    assert not result.credit.any()


def test_counts_that_differ_in_the_last_bit_tie() -> None:
    assert v.plurality([0.1 + 0.2, 0.3]).tied


def test_an_option_that_a_case_lacks_cannot_lead() -> None:
    assert v.plurality([1, 9, 0], options=[True, False, True]).winner == 0


@given(vote_arrays(), st.data())
def test_relabelling_options_relabels_the_winner(
    case: tuple[IntArray, int], data: st.DataObject
) -> None:
    votes, options = case
    new = np.array(data.draw(st.permutations(range(options))))
    relabelled = np.where(votes >= 0, new[votes], -1)
    before = v.plurality(v.tally(votes, options))
    after = v.plurality(v.tally(relabelled, options))
    assert bool(before.tied) == bool(after.tied)
    assert after.winner == (new[before.winner] if before.winner >= 0 else -1)


@given(vote_arrays(), st.data())
def test_one_more_vote_for_the_winner_keeps_it_winning(
    case: tuple[IntArray, int], data: st.DataObject
) -> None:
    votes, options = case
    before = v.plurality(v.tally(votes, options))
    if before.winner < 0:
        return
    after = v.plurality(v.tally(np.append(votes, before.winner), options))
    assert after.winner == before.winner


def test_a_supermajority_is_of_configured_seats_not_of_those_that_answered() -> None:
    assert v.supermajority([4, 0], seats=6) == 0
    assert v.supermajority([3, 0], seats=6) == -1


def test_a_strict_supermajority_excludes_exactly_the_share() -> None:
    assert v.supermajority([4, 2], 6, 2 / 3, strict=True) == -1
    assert v.supermajority([5, 1], 6, 2 / 3, strict=True) == 0


def test_two_options_at_half_are_no_supermajority() -> None:
    assert v.supermajority([3, 3], 6, 0.5) == -1


def test_unanimity_needs_every_configured_seat() -> None:
    assert v.unanimous([5, 0], 5) == 0
    assert v.unanimous([4, 0], 5) == -1


def test_a_quorum_counts_valid_ballots_against_an_absolute_number() -> None:
    np.testing.assert_array_equal(v.quorum_met([[3, 1], [1, 0]], 4), [True, False])


def test_a_minority_can_veto() -> None:
    np.testing.assert_array_equal(
        v.minority_veto([[4, 1], [3, 2]], option=1, vetoes=2), [False, True]
    )


def test_agreement_is_a_share_of_configured_seats() -> None:
    assert v.agreement([3, 1], 5) == pytest.approx(0.6)


def test_an_answer_below_missing_is_refused_beside_good_ones() -> None:
    with pytest.raises(ValueError, match="votes must lie"):
        v.tally([0, -2], 2)


def test_no_seats_have_no_blocks() -> None:
    assert v.tally_blocks([], 2, []).shape == (0, 2)


def test_a_supermajority_of_large_weights_is_met_within_their_rounding() -> None:
    assert v.supermajority([2e6 * (1 - 1e-10), 1.0], 3e6) == 0
