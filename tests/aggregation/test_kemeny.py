from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consensus.aggregation.kemeny import kemeny_consensus
from consensus.aggregation.rankings import borda, disagreement, pairwise, rank_groups


def brute_force(w: np.ndarray) -> tuple[float, set[tuple[int, ...]]]:
    costs = {order: disagreement(order, w) for order in itertools.permutations(range(len(w)))}
    best = min(costs.values())
    return best, {order for order, cost in costs.items() if cost <= best + 1e-9}


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_all_optimal_orders_are_found(items: int, voters: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = pairwise([rng.permutation(items).tolist() for _ in range(voters)], items)
    cost, orders = brute_force(w)
    found = kemeny_consensus(w)
    assert found.cost == pytest.approx(cost)
    assert set(found.orders) == orders
    assert found.number == len(orders)
    assert found.exact


@pytest.mark.parametrize("seed", range(4))
def test_kemeny_equals_brute_force_at_seven_items(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = pairwise([rng.permutation(7).tolist() for _ in range(4)], 7)
    cost, orders = brute_force(w)
    found = kemeny_consensus(w)
    assert found.cost == pytest.approx(cost)
    assert set(found.orders) == orders


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_partial_lists_with_fractional_weights_equal_brute_force(items: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(items)[: rng.integers(2, items + 1)].tolist() for _ in range(5)]
    w = pairwise(orders, items, rng.random(5).tolist())
    cost, best = brute_force(w)
    found = kemeny_consensus(w)
    assert found.cost == pytest.approx(cost)
    assert set(found.orders) == best


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 10_000))
@example(4, 4, 6)  # equals through a third item only, after one that is always first
def test_the_groups_join_what_optimal_orders_put_differently(
    items: int, voters: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    found = kemeny_consensus(
        pairwise([rng.permutation(items).tolist() for _ in range(voters)], items)
    )
    group = {item: g for g, members in enumerate(found.groups) for item in members}
    for order in found.orders:
        places = [group[item] for item in order]
        assert places == sorted(places)
    if found.number == 1:
        assert [len(g) for g in found.groups] == [1] * items


def test_no_votes_make_everything_one_group() -> None:
    found = kemeny_consensus(np.zeros((5, 5)))
    assert found.groups == ((0, 1, 2, 3, 4),)
    assert (found.number, found.cost) == (120, 0.0)


def test_the_list_of_orders_is_cut_and_says_so() -> None:
    found = kemeny_consensus(np.zeros((8, 8)), limit=10)
    assert len(found.orders) == 10
    assert found.number == 40_320


def test_many_items_without_long_cycles_are_solved_exactly() -> None:
    rng = np.random.default_rng(1)
    items = 30
    orders = []
    for _ in range(9):
        noisy = np.arange(items) + rng.normal(0, 1.0, items)
        orders.append(np.argsort(noisy).tolist())
    found = kemeny_consensus(pairwise(orders, items))
    assert found.exact
    assert len(found.orders[0]) == items


@pytest.mark.parametrize("seed", range(5))
def test_the_local_search_reaches_the_exact_cost_where_both_run(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = pairwise([rng.permutation(9).tolist() for _ in range(5)], 9)
    exact = kemeny_consensus(w)
    local = kemeny_consensus(w, exact_up_to=0)
    assert local.cost == pytest.approx(exact.cost)
    assert not local.exact


def test_the_local_search_is_no_worse_than_borda() -> None:
    rng = np.random.default_rng(2)
    w = pairwise([rng.permutation(25).tolist() for _ in range(6)], 25)
    start = [item for group in rank_groups(borda(w)) for item in group]
    assert kemeny_consensus(w).cost <= disagreement(start, w)


def test_a_tie_is_judged_in_proportion_to_the_weights() -> None:
    w = 1e8 * np.array([[0.0, 0.1 + 0.2], [0.3, 0.0]])
    assert w[0, 1] != w[1, 0]
    assert kemeny_consensus(w).number == 2
