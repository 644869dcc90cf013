from __future__ import annotations

import itertools

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.aggregation import paired
from consensus.aggregation._numerics import FitError, FloatArray
from consensus.aggregation.rankings import pairwise


def win_list(wins: FloatArray) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i, j in itertools.product(range(len(wins)), repeat=2)
        for _ in range(int(wins[i, j]))
    ]


def tournament(items: int, games: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=items)
    wins = np.zeros((items, items))
    for _ in range(games):
        i, j = rng.choice(items, 2, replace=False)
        if rng.random() > 1 / (1 + np.exp(theta[i] - theta[j])):
            wins[i, j] += 1
        else:
            wins[j, i] += 1
    return wins


@pytest.mark.parametrize("seed", range(3))
def test_bradley_terry_agrees_with_choix(seed: int) -> None:
    wins = tournament(6, 60, seed)
    ours = paired.bradley_terry(wins, ridge=0.2)
    theirs = choix.opt_pairwise(6, win_list(wins), alpha=0.1, tol=1e-10)
    np.testing.assert_allclose(ours.theta, theirs - theirs.mean(), atol=1e-5)


def test_maximum_likelihood_agrees_with_choixs_other_algorithm() -> None:
    wins = tournament(5, 200, 3)
    ours = paired.bradley_terry(wins, ridge=0.0)
    theirs = choix.ilsr_pairwise(5, win_list(wins), alpha=0.0)
    np.testing.assert_allclose(ours.theta, theirs - theirs.mean(), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_plackett_luce_agrees_with_choix_on_partial_lists(seed: int) -> None:
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(6)[: rng.integers(2, 7)].tolist() for _ in range(30)]
    ours = paired.plackett_luce(orders, 6, ridge=0.2)
    theirs = choix.opt_rankings(6, orders, alpha=0.1, tol=1e-10)
    np.testing.assert_allclose(ours.theta, theirs - theirs.mean(), atol=1e-4)


def test_lists_of_two_are_comparisons() -> None:
    orders = [[0, 1], [1, 0], [0, 2], [2, 1], [0, 1]]
    np.testing.assert_allclose(
        paired.plackett_luce(orders, 3).theta,
        paired.bradley_terry(pairwise(orders, 3)).theta,
        atol=1e-9,
    )


def test_items_below_a_top_list_were_there_and_lost() -> None:
    below = paired.plackett_luce([[0], [0], [1]], 3, unlisted="below")
    assert below.groups == [(0,), (1,), (2,)]
    assert paired.plackett_luce([[0], [0], [1]], 3).groups == [(0, 1, 2)]


def test_equals_in_a_list_come_out_equal() -> None:
    fit = paired.plackett_luce([[0, [1, 2], 3]] * 3, 4)
    assert fit.groups == [(0,), (1, 2), (3,)]


def test_unlinked_items_are_reported_and_need_a_ridge() -> None:
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[1, 0] = wins[2, 3] = wins[3, 2] = 2
    assert not paired.bradley_terry(wins, ridge=0.1).linked
    with pytest.raises(FitError, match="never lost"):
        paired.bradley_terry(wins, ridge=0.0)


def test_an_item_that_always_wins_has_no_maximum_likelihood() -> None:
    wins = np.array([[0.0, 3.0], [0.0, 0.0]])
    assert paired.bradley_terry(wins, ridge=0.1).linked
    with pytest.raises(FitError, match="no bound"):
        paired.bradley_terry(wins, ridge=0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(5)))
def test_the_order_of_items_decides_nothing(seed: int, new: list[int]) -> None:
    wins = tournament(5, 20, seed)
    renamed = np.empty_like(wins)
    renamed[np.ix_(new, new)] = wins
    before, after = paired.bradley_terry(wins), paired.bradley_terry(renamed)
    np.testing.assert_allclose(after.theta[new], before.theta, atol=1e-8)
    assert [sorted(new[i] for i in group) for group in before.groups] == [
        list(group) for group in after.groups
    ]


def test_items_with_the_same_record_share_a_group() -> None:
    wins = np.array([[0, 3, 3], [1, 0, 2], [1, 2, 0]], dtype=float)
    assert paired.bradley_terry(wins).groups == [(0,), (1, 2)]


def test_the_covariance_is_that_of_simulated_tournaments() -> None:
    rng = np.random.default_rng(5)
    theta = np.array([0.8, 0.0, -0.8])
    found = []
    for _ in range(400):
        wins = np.zeros((3, 3))
        for i, j in itertools.combinations(range(3), 2):
            won = rng.binomial(60, 1 / (1 + np.exp(theta[j] - theta[i])))
            wins[i, j], wins[j, i] = won, 60 - won
        fit = paired.bradley_terry(wins, ridge=0.0)
        found.append((fit.theta[0] - fit.theta[2], fit.covariance))
    spread = np.var([d for d, _ in found])
    mean = np.mean([c[0, 0] + c[2, 2] - 2 * c[0, 2] for _, c in found])
    assert mean == pytest.approx(spread, rel=0.2)


def test_win_probabilities_are_complements() -> None:
    p = paired.win_probability(paired.bradley_terry(tournament(4, 30, 6)))
    np.testing.assert_allclose(p + p.T, 1.0)


def test_the_information_of_a_pair_is_that_of_a_simulation() -> None:
    fit = paired.bradley_terry(tournament(4, 12, 7), ridge=0.5)
    gain = paired.expected_information(fit)
    rng = np.random.default_rng(8)
    theta = rng.multivariate_normal(fit.theta, fit.covariance, 200_000)
    p = 1 / (1 + np.exp(theta[:, 1] - theta[:, 0]))

    def entropy(q: FloatArray) -> FloatArray:
        return np.asarray(-(q * np.log(q) + (1 - q) * np.log(1 - q)))

    expected = float(entropy(p.mean())) - float(entropy(p).mean())
    assert gain[0, 1] == pytest.approx(expected, abs=0.002)


def test_the_next_pair_is_an_open_one_not_a_settled_one() -> None:
    wins = np.array([[0, 40, 40], [40, 0, 1], [1, 1, 0]], dtype=float)
    fit = paired.bradley_terry(wins, ridge=0.3)
    assert paired.next_pairs(fit) == [(1, 2)]


def test_before_any_comparison_every_pair_is_as_good() -> None:
    fit = paired.bradley_terry(np.zeros((3, 3)))
    assert paired.next_pairs(fit) == [(0, 1), (0, 2), (1, 2)]
    allowed = np.zeros((3, 3), dtype=bool)
    allowed[0, 2] = True
    assert paired.next_pairs(fit, allowed) == [(0, 2)]
    assert paired.next_pairs(fit, np.zeros((3, 3), dtype=bool)) == []


def test_choosing_pairs_by_information_orders_items_sooner_than_chance() -> None:
    def kendall(theta: FloatArray, found: FloatArray) -> float:
        pairs = list(itertools.combinations(range(len(theta)), 2))
        return float(np.mean([(theta[i] - theta[j]) * (found[i] - found[j]) > 0 for i, j in pairs]))

    gained = {"active": 0.0, "chance": 0.0}
    for seed in range(12):
        for way in gained:
            rng = np.random.default_rng(seed)
            theta = rng.normal(scale=2.0, size=8)
            wins = np.zeros((8, 8))
            for _ in range(40):
                fit = paired.bradley_terry(wins, ridge=0.3)
                pairs = paired.next_pairs(fit)
                i, j = (
                    pairs[rng.integers(len(pairs))]
                    if way == "active"
                    else rng.choice(8, 2, replace=False).tolist()
                )
                won = rng.random() < 1 / (1 + np.exp(theta[j] - theta[i]))
                wins[(i, j) if won else (j, i)] += 1
            gained[way] += kendall(theta, paired.bradley_terry(wins, ridge=0.3).theta)
    assert gained["active"] > gained["chance"]


def test_an_item_below_the_first_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of the 3"):
        paired.plackett_luce([[0, -1]], 3)


def test_a_ridge_of_a_tenth_is_the_default() -> None:
    orders = [[0, 1, 2], [1, 0, 2]]
    said = paired.plackett_luce(orders, 3, ridge=0.1)
    assert paired.plackett_luce(orders, 3).theta.tolist() == said.theta.tolist()
