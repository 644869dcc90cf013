"""Same data, same answers: choix."""

from __future__ import annotations

import choix
import numpy as np
import pytest

from consensus.aggregation.paired import bradley_terry, plackett_luce
from consensus.aggregation.rankings import pairwise


@pytest.mark.parametrize("seed", range(3))
def test_bradley_terry_has_the_strengths_of_choixs_own_generator(seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002 - choix draws from the global generator
    theta = choix.generate_params(8, interval=2.0)
    games = choix.generate_pairwise(theta, 400)
    ours = bradley_terry(pairwise([list(game) for game in games], 8), ridge=0.0)
    theirs = choix.mm_pairwise(8, games, alpha=0.0, tol=1e-10, max_iter=100_000)
    np.testing.assert_allclose(ours.theta, theirs - theirs.mean(), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_plackett_luce_has_the_strengths_of_choixs_spectral_method(seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002
    theta = choix.generate_params(6, interval=2.0)
    lists = [list(order) for order in choix.generate_rankings(theta, 200, size=4)]
    ours = plackett_luce(lists, 6, ridge=0.0)
    theirs = choix.ilsr_rankings(6, lists, alpha=0.0)
    np.testing.assert_allclose(ours.theta, theirs - theirs.mean(), atol=1e-5)


def test_the_chance_of_a_win_is_choixs() -> None:
    wins = np.array([[0.0, 7, 3], [2, 0, 4], [5, 1, 0]])
    ours = bradley_terry(wins, ridge=0.1)
    games = [(i, j) for i in range(3) for j in range(3) for _ in range(int(wins[i, j]))]
    theirs = choix.opt_pairwise(3, games, alpha=0.05, tol=1e-12)
    chance, _ = choix.probabilities([0, 1], theirs)
    assert 1 / (1 + np.exp(ours.theta[1] - ours.theta[0])) == pytest.approx(chance, abs=1e-5)
