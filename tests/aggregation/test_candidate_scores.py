from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation.candidate_scores import NOISE, NOISE_CASES, judge_candidates

NONE = float("nan")


def test_where_every_judge_sees_all_the_means_decide() -> None:
    found = judge_candidates([[9, 5, 4], [7, 6, 2]])
    assert found.leaders == (0,)
    assert found.quality == pytest.approx([8 - 5.5, 5.5 - 5.5, 3 - 5.5])


def test_a_candidate_gains_nothing_by_meeting_the_generous_judge() -> None:
    # The generous judge adds 4 to all; candidate 2 meets it only, candidate 0 the strict ones too.
    scores = [[NONE, 8, 9], [6, NONE, 5], [6, 4, NONE]]
    assert np.nanmean(scores, axis=0).argmax() == 2
    found = judge_candidates(scores)
    assert found.leaders == (0,)
    assert found.quality == pytest.approx([1.0, -1.0, 0.0])


def test_whole_points_count_and_not_only_who_came_first() -> None:
    found = judge_candidates([[9, 2], [5, 6], [5, 6]])
    assert found.leaders == (0,)
    assert found.first[0] > 0.5


def test_equals_are_a_tie_and_share_the_probability() -> None:
    found = judge_candidates([[7, 7, 2], [8, 8, 1]])
    assert found.leaders == (0, 1)
    assert found.first[0] == pytest.approx(found.first[1])


def test_candidates_that_no_chain_of_judges_links_are_not_compared() -> None:
    found = judge_candidates([[9, 8, NONE, NONE], [NONE, NONE, 5, 2]])
    assert found.groups == ((0, 1), (2, 3))
    assert found.leaders == (0, 2)


def test_a_candidate_that_nobody_scored_has_no_place() -> None:
    found = judge_candidates([[9, 5, NONE], [8, 6, NONE]])
    assert found.first[2] == 0
    assert np.isnan(found.quality[2])


def test_more_judges_who_agree_make_it_surer_and_judges_who_err_together_less_so() -> None:
    two = judge_candidates([[8, 5]] * 2, correlation=0.0).first[0]
    six = judge_candidates([[8, 5]] * 6, correlation=0.0).first[0]
    assert six > two > judge_candidates([[8, 5]] * 2, correlation=0.44).first[0]
    assert judge_candidates([[8, 5]] * 6).first[0] < six


def test_a_lone_score_compares_nothing() -> None:
    with pytest.raises(ValueError, match="no judge"):
        judge_candidates([[9, NONE], [NONE, 3]])


POINTS = st.one_of(st.integers(1, 10), st.just(NONE))


@given(
    st.lists(st.tuples(POINTS, POINTS, st.integers(1, 10), st.integers(1, 10)), min_size=1,
             max_size=6),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_order_of_the_judges_changes_no_bit_and_probabilities_sum_to_one(
    rows: list[tuple[float, ...]], random: object
) -> None:
    found = judge_candidates(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = judge_candidates(shuffled)
    np.testing.assert_array_equal(found.quality, again.quality)
    np.testing.assert_array_equal(found.first, again.first)
    assert found.first.sum() == pytest.approx(1.0)
    assert found.leaders


def test_the_probability_of_two_candidates_by_hand() -> None:
    scores = np.array([[7.0, 4.0], [8.0, 3.0], [6.0, 6.5]])
    gaps = scores[:, 0] - scores[:, 1]
    left = ((gaps - gaps.mean()) ** 2 / 2).sum()  # three judges, one difference: two are free
    noise = (left + NOISE_CASES * NOISE**2) / (2 + NOISE_CASES)
    # The error is that of the judges' mean gap, which errs together by the correlation.
    deviation = math.sqrt(2 * noise * (1 + 2 * 0.44) / 3)
    found = judge_candidates(scores)
    assert found.first[0] == pytest.approx(NormalDist().cdf(gaps.mean() / deviation), abs=1e-4)
