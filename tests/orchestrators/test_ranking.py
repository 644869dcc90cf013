"""Orders from lists: the best few, partial lists, ties, cycles, positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.orchestrators.concluding import Conclusion, conclude
from consensus.orchestrators.spec import HopRecord
from tests.orchestrators.ballot_box import ballot, spec

ITEMS = ("ash", "birch", "cedar", "elm")


def said(
    orders: list[Any],
    top: int | None = None,
    shown: Sequence[tuple[int, ...]] | None = None,
    items: tuple[str, ...] = ITEMS,
    **fields: Any,
) -> Conclusion:
    ballots = tuple(
        ballot(i, order, order=shown[i] if shown else ()) for i, order in enumerate(orders)
    )
    hop = HopRecord(name="v", spec=spec(len(orders), **fields), ballots=ballots)
    return conclude("rank", items, [hop], top=top)


def test_the_best_two_act_as_a_set_where_their_own_order_is_open() -> None:
    orders = [("ash", "birch", "cedar", "elm"), ("birch", "ash", "cedar", "elm")] * 2
    assert said(orders).action == "escalate"
    found = said(orders, top=2)
    assert (found.action, found.outcome) == ("act", ("ash", "birch"))
    assert any("within the best 2: item 1 = item 2" in reason for reason in found.reasons)
    assert found.agreement == 1.0


def test_a_tie_across_the_border_leaves_the_best_open() -> None:
    orders = [("ash", "birch", "cedar", "elm"), ("ash", "cedar", "birch", "elm")]
    found = said(orders, top=2)
    assert found.action == "escalate"
    assert set(found.tied) == {"birch", "cedar"}
    assert any("1 are certain, 1 of 2 tied" in reason for reason in found.reasons)


def test_a_set_that_more_seats_name_is_more_probable() -> None:
    whole = [("ash", "birch", "cedar", "elm")] * 3
    torn = [*whole[:2], ("cedar", "ash", "birch", "elm")]
    first, second = said(whole, top=2).probability, said(torn, top=2).probability
    assert first is not None
    assert second is not None
    assert first > second


def test_lists_of_the_best_put_the_rest_below() -> None:
    orders = [("ash", "birch", "cedar"), ("ash", "birch", "elm"), ("ash", "birch", "cedar")]
    assert said(orders, top=3).outcome == ("ash", "birch", "cedar")


def test_a_list_that_leaves_items_out_says_nothing_of_them() -> None:
    orders = [("cedar", "elm"), ("ash", "birch", "cedar", "elm"), ("elm", "cedar")]
    assert said(orders).outcome == ("ash", "birch", "cedar", "elm")


def test_equals_in_a_list_are_no_preference() -> None:
    orders = [[["ash", "birch"], "cedar", "elm"], ("birch", "ash", "cedar", "elm")]
    assert said(orders).outcome == ("birch", "ash", "cedar", "elm")


def test_a_cycle_is_reported_by_numbers_and_not_by_text() -> None:
    orders = [
        ("ash", "birch", "cedar", "elm"),
        ("birch", "cedar", "ash", "elm"),
        ("cedar", "ash", "birch", "elm"),
    ]
    found = said(orders)
    told = [reason for reason in found.reasons if "a cycle" in reason]
    assert told == ["a cycle: most put item 1 before 2, 2 before 3, and 3 before 1"]
    assert found.action == "escalate"


def test_lists_that_follow_the_order_shown_are_reported() -> None:
    shown = [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1)]
    orders = [tuple(ITEMS[i] for i in order) for order in shown]
    assert any("mean Kendall τ of +1.00" in r for r in said(orders, shown=shown).reasons)


def test_comparisons_that_follow_the_place_are_reported_with_an_interval() -> None:
    ballots = tuple(
        ballot(i, ("A", "B")[i % 2], order=((0, 1, 2), (1, 0, 2))[i % 2]) for i in range(6)
    )
    hop = HopRecord(name="v", spec=spec(6), ballots=ballots)
    found = conclude("compare", ("A", "B", "tie"), [hop])
    assert any("6 of 6 ballots chose the candidate shown first" in r for r in found.reasons)


@given(
    st.lists(st.permutations(ITEMS), min_size=1, max_size=5),
    st.integers(1, 3) | st.none(),
    st.randoms(use_true_random=False),
)
def test_the_order_of_lists_changes_nothing(orders: Any, top: int | None, random: Any) -> None:
    lists = [tuple(order) for order in orders]
    moved = list(lists)
    random.shuffle(moved)
    one, other = said(lists, top), said(moved, top)
    assert (one.outcome, one.tied, one.posterior) == (other.outcome, other.tied, other.posterior)


@given(st.lists(st.permutations(ITEMS), min_size=1, max_size=5), st.permutations(ITEMS))
def test_the_order_of_the_task_s_items_changes_no_outcome(orders: Any, items: Any) -> None:
    lists = [tuple(order) for order in orders]
    one, other = said(lists, 2), said(lists, 2, items=tuple(items))
    assert one.outcome == other.outcome
    assert set(one.tied) == set(other.tied)


@given(st.permutations(ITEMS), st.integers(1, 5))
def test_a_unanimous_panel_gets_its_order(order: Any, seats: int) -> None:
    found = said([tuple(order)] * seats, quorum=1)
    assert found.outcome == tuple(order)
    assert found.agreement == 1.0


def test_a_whole_order_is_not_asked_for_by_a_top_of_all_items() -> None:
    from consensus import Rank
    from consensus.errors import TaskError

    with pytest.raises(TaskError, match="leaves nothing out"):
        Rank(type="t", items=ITEMS, top=4)
