"""Same data, same answers: pref_voting, on random profiles with and without ties."""

from __future__ import annotations

import importlib
import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.aggregation.kemeny import kemeny_consensus
from consensus.aggregation.rankings import (
    Order,
    borda,
    condorcet_winner,
    copeland,
    pairwise,
    smith_set,
)

ITEMS = 5


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Imported once, before hypothesis looks at the clock.
        importlib.import_module("pref_voting.voting_methods")
        yield


def strict(orders: list[list[int]]) -> Any:
    from pref_voting.profiles import Profile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Profile(orders)


def tied(orders: list[list[list[int]]]) -> Any:
    from pref_voting.profiles_with_ties import ProfileWithTies

    ranks = [{item: r for r, group in enumerate(order) for item in group} for order in orders]
    return ProfileWithTies(ranks, candidates=list(range(ITEMS)))


def winners(scores: Any) -> list[int]:
    return [int(i) for i in np.flatnonzero(np.asarray(scores) >= np.max(scores) - 1e-9)]


@st.composite
def profiles(draw: st.DrawFn) -> list[list[int]]:
    return draw(st.lists(st.permutations(range(ITEMS)), min_size=1, max_size=9))


@st.composite
def tied_profiles(draw: st.DrawFn) -> list[list[list[int]]]:
    """Weak orders of all items: each item gets a level, equal levels are ties."""
    levels = st.lists(st.integers(0, 3), min_size=ITEMS, max_size=ITEMS)
    voters = draw(st.lists(levels, min_size=1, max_size=8))
    return [
        [[i for i in range(ITEMS) if row[i] == level] for level in sorted(set(row))]
        for row in voters
    ]


@settings(deadline=None, max_examples=60)
@given(profiles())
def test_borda_agrees(orders: list[list[int]]) -> None:
    profile = strict(orders)
    scores = profile.borda_scores()
    ours = borda(pairwise(orders, ITEMS))
    # Wins less losses are twice the points less a constant.
    points = np.array([scores[i] for i in range(ITEMS)])
    np.testing.assert_allclose(ours, 2 * points - len(orders) * (ITEMS - 1), atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(profiles())
def test_copeland_agrees(orders: list[list[int]]) -> None:
    scores = strict(orders).copeland_scores()
    ours = copeland(pairwise(orders, ITEMS))
    # Theirs is wins less losses; ours wins plus half the draws.
    theirs = np.array([scores[i] for i in range(ITEMS)])
    np.testing.assert_allclose(ours, (theirs + ITEMS - 1) / 2, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(profiles())
def test_condorcet_winners_agree(orders: list[list[int]]) -> None:
    assert condorcet_winner(pairwise(orders, ITEMS)) == strict(orders).condorcet_winner()


@settings(deadline=None, max_examples=60)
@given(profiles())
def test_smith_sets_agree(orders: list[list[int]]) -> None:
    from pref_voting.c1_methods import top_cycle

    assert sorted(smith_set(pairwise(orders, ITEMS))) == sorted(top_cycle(strict(orders)))


@settings(deadline=None, max_examples=25)
@given(profiles())
def test_every_kemeny_order_agrees(orders: list[list[int]]) -> None:
    from pref_voting.other_methods import kemeny_young_rankings

    theirs, cost = kemeny_young_rankings(strict(orders))
    ours = kemeny_consensus(pairwise(orders, ITEMS))
    assert sorted(ours.orders) == sorted(tuple(order) for order in theirs)
    assert ours.exact
    assert ours.cost == pytest.approx(cost)


@settings(deadline=None, max_examples=60)
@given(tied_profiles())
def test_borda_copeland_and_condorcet_agree_on_profiles_with_ties(
    orders: list[list[list[int]]],
) -> None:
    from pref_voting.c1_methods import copeland as their_copeland
    from pref_voting.scoring_methods import borda_for_profile_with_ties

    profile = tied(orders)
    listed: list[Order] = [list(order) for order in orders]
    preferences = pairwise(listed, ITEMS)
    assert winners(copeland(preferences)) == sorted(their_copeland(profile))
    assert winners(borda(preferences)) == sorted(borda_for_profile_with_ties(profile))
    assert condorcet_winner(preferences) == profile.condorcet_winner()


@pytest.mark.parametrize("seed", range(3))
def test_kemeny_agrees_on_seven_items(seed: int) -> None:
    from pref_voting.other_methods import kemeny_young_rankings

    rng = np.random.default_rng(seed)
    orders = [rng.permutation(7).tolist() for _ in range(9)]
    theirs, _ = kemeny_young_rankings(strict(orders))
    ours = kemeny_consensus(pairwise(orders, 7))
    assert sorted(ours.orders) == sorted(tuple(order) for order in theirs)


def test_a_cycle_of_three_is_the_same_cycle() -> None:
    orders = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    profile = strict(orders)
    preferences = pairwise(orders, 3)
    for i, j in itertools.permutations(range(3), 2):
        assert preferences[i, j] == profile.support(i, j)
    assert condorcet_winner(preferences) is None is profile.condorcet_winner()
