from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import rankings as r
from consensus.aggregation._numerics import FloatArray

CYCLE = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]


@st.composite
def full_orders(draw: st.DrawFn, *, max_items: int = 6) -> tuple[list[list[int]], int]:
    items = draw(st.integers(2, max_items))
    orders = draw(st.lists(st.permutations(range(items)), min_size=1, max_size=7))
    return [list(order) for order in orders], items


def relabel(w: FloatArray, new: list[int]) -> FloatArray:
    out = np.empty_like(w)
    out[np.ix_(new, new)] = w
    return out


def test_pairwise_counts_who_stands_before_whom() -> None:
    w = r.pairwise([[0, 1, 2], [2, 0, 1]], 3)
    np.testing.assert_array_equal(w, [[0, 2, 1], [0, 0, 1], [1, 1, 0]])


def test_equals_prefer_neither() -> None:
    np.testing.assert_array_equal(r.pairwise([[[0, 1], 2]], 3), [[0, 0, 1], [0, 0, 1], [0, 0, 0]])


def test_unlisted_items_are_unknown_unless_said_to_be_below() -> None:
    assert r.pairwise([[1]], 2).sum() == 0
    np.testing.assert_array_equal(r.pairwise([[1]], 2, unlisted="below"), [[0, 0], [1, 0]])


def test_an_item_listed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        r.pairwise([[0, 1, 0]], 2)


def test_an_unknown_item_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of"):
        r.pairwise([[0, 2]], 2)


@given(full_orders())
def test_borda_orders_full_lists_as_the_classical_points_do(
    case: tuple[list[list[int]], int],
) -> None:
    orders, items = case
    points = np.zeros(items)
    for order in orders:
        for place, item in enumerate(order):
            points[item] += items - 1 - place
    assert r.rank_groups(r.borda(r.pairwise(orders, items))) == r.rank_groups(points)


def test_being_listed_often_is_no_merit_in_shares() -> None:
    # Item 0 wins half of many comparisons, item 2 its only one.
    w = r.pairwise([[0, 1], [1, 0], [0, 1], [0, 1], [1, 0], [2, 1]], 3)
    assert r.borda(w, share=True)[2] > r.borda(w, share=True)[0]


@given(full_orders())
def test_a_condorcet_winner_wins_copeland(case: tuple[list[list[int]], int]) -> None:
    orders, items = case
    w = r.pairwise(orders, items)
    winner = r.condorcet_winner(w)
    if winner is not None:
        assert r.rank_groups(r.copeland(w))[0] == (winner,)
        assert r.smith_set(w) == (winner,)


@given(full_orders())
def test_a_condorcet_winner_wins_every_kemeny_order(case: tuple[list[list[int]], int]) -> None:
    orders, items = case
    winner = r.condorcet_winner(r.pairwise(orders, items))
    if winner is not None:
        assert {order[0] for order in r.kemeny(orders, items)} == {winner}


def test_a_cycle_has_no_winner_and_is_reported() -> None:
    w = r.pairwise(CYCLE, 3)
    assert r.condorcet_winner(w) is None
    assert r.cycles(w) == [(0, 1, 2)]
    assert r.smith_set(w) == (0, 1, 2)
    np.testing.assert_array_equal(r.copeland(w), [1, 1, 1])


def test_the_classes_are_best_first_and_split_at_strict_majorities() -> None:
    orders = [[3, 0, 1, 2, 4], [3, 1, 2, 0, 4], [3, 2, 0, 1, 4]]
    assert r.components(r.pairwise(orders, 5)) == [(3,), (0, 1, 2), (4,)]


@given(full_orders(), st.data())
def test_the_order_of_items_decides_nothing(
    case: tuple[list[list[int]], int], data: st.DataObject
) -> None:
    orders, items = case
    new = list(data.draw(st.permutations(range(items))))
    renamed = [[new[item] for item in order] for order in orders]
    for score in (r.borda, r.copeland):
        before = r.rank_groups(score(r.pairwise(orders, items)))
        after = r.rank_groups(score(r.pairwise(renamed, items)))
        assert [sorted(new[i] for i in group) for group in before] == [list(g) for g in after]
    assert {tuple(new[i] for i in o) for o in r.kemeny(orders, items)} == set(
        r.kemeny(renamed, items)
    )


def test_equal_scores_share_a_group() -> None:
    assert r.rank_groups([0.3, 1.0, 0.1 + 0.2]) == [(1,), (0, 2)]


def test_top_k_shows_the_tie_at_its_border() -> None:
    assert r.top_k([(1,), (0, 2), (3,)], 2) == r.TopK((1,), (0, 2), 1)
    assert r.top_k([(1,), (0, 2), (3,)], 3) == r.TopK((1, 0, 2), (), 0)
    assert r.top_k([(1,), (0, 2)], 1) == r.TopK((1,), (), 0)


def test_disagreement_counts_what_an_order_turns_round() -> None:
    w = r.pairwise([[0, 1, 2], [2, 0, 1]], 3)
    assert r.disagreement([0, 1, 2], w) == 2
    with pytest.raises(ValueError, match="every item"):
        r.disagreement([0, 1], w)


def test_an_item_that_was_never_compared_has_no_share() -> None:
    assert r.borda(r.pairwise([[0, 1]], 3), share=True).tolist() == [1.0, -1.0, 0.0]


def test_small_scores_that_differ_by_more_than_the_tolerance_are_apart() -> None:
    assert r.rank_groups([1.5e-9, 0.0]) == [(0,), (1,)]
