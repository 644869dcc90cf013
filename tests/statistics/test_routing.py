"""Routing figures on hand-computed examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from consensus.statistics import (
    aiq,
    apgr,
    convex_hull,
    cost_saved_at_parity,
    cpt,
    hull_quality,
    mix_at_cost,
    pareto,
)

# Four routers: the third lies under the line of its neighbours, the fourth is worse and dearer.
COST = [1.0, 3.0, 2.0, 4.0]
QUALITY = [0.5, 0.8, 0.6, 0.7]


def test_the_hull_drops_what_a_coin_between_others_reaches() -> None:
    hull = convex_hull(COST, QUALITY)
    assert hull.points.tolist() == [0, 1]
    assert pareto(COST, QUALITY).tolist() == [0, 2, 1]


def test_the_hull_equals_scipys_upper_hull() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        cost, quality = rng.random(25), rng.random(25)
        best = int(np.argmax(quality))
        points = np.column_stack([cost, quality])
        vertices = set(ConvexHull(points).vertices.tolist())
        hull = convex_hull(cost, quality)
        assert set(hull.points.tolist()) <= vertices
        at = np.linspace(hull.cost[0], cost[best], 50)
        for i in range(25):
            level = hull_quality(hull, max(cost[i], hull.cost[0]))
            assert quality[i] <= level + 1e-12
        assert np.all(np.diff(hull_quality(hull, at)) >= -1e-12)


def test_aiq_by_hand() -> None:
    # Line from (1, .5) to (3, .8), then level at .8 to 4: (1.3 + .8) / 3.
    assert aiq(COST, QUALITY) == pytest.approx((2 * 0.65 + 0.8) / 3)
    assert aiq(COST, QUALITY, low=1, high=3) == pytest.approx(0.65)


def test_aiq_of_a_single_point_is_its_quality() -> None:
    assert aiq([2.0], [0.7]) == 0.7


def test_aiq_refuses_costs_below_the_cheapest() -> None:
    with pytest.raises(ValueError, match="cheapest"):
        aiq(COST, QUALITY, low=0.5, high=3)


def test_a_random_router_has_an_apgr_of_one_half() -> None:
    share = np.linspace(0.1, 0.9, 9)
    assert apgr(share, 0.6 + 0.3 * share, weak=0.6, strong=0.9) == pytest.approx(0.5)


def test_apgr_and_cpt_by_hand() -> None:
    # Half of the gap at 20 % of calls, all of it at 60 %.
    share, quality = [0.6, 0.2], [0.9, 0.75]
    area = 0.2 * 0.25 + 0.4 * 0.75 + 0.4 * 1.0
    assert apgr(share, quality, weak=0.6, strong=0.9) == pytest.approx(area)
    assert cpt(share, quality, weak=0.6, strong=0.9, gap=0.5) == pytest.approx(0.2)
    assert cpt(share, quality, weak=0.6, strong=0.9, gap=0.75) == pytest.approx(0.4)


def test_the_share_that_only_all_strong_calls_recover_is_one() -> None:
    assert cpt([0.5], [0.7], weak=0.6, strong=0.9, gap=1.0) == 1.0


def test_saving_at_parity_is_read_off_the_hull() -> None:
    assert cost_saved_at_parity(
        [1.0, 3.0], [0.5, 0.9], baseline_cost=4.0, baseline_quality=0.7
    ) == pytest.approx(0.5)
    assert cost_saved_at_parity([1.0], [0.5], baseline_cost=4.0, baseline_quality=0.7) is None


def test_the_shuffled_control_spends_what_it_is_given() -> None:
    mix = mix_at_cost(COST, QUALITY, 2.5)
    assert (mix.cheap, mix.dear) == (0, 1)
    assert mix.share == pytest.approx(0.75)
    assert mix.quality == pytest.approx(0.725)


@pytest.mark.parametrize(("cost", "point"), [(0.1, 0), (1.0, 0), (3.0, 1), (9.0, 1)])
def test_beyond_the_ends_the_shuffled_control_is_one_route(cost: float, point: int) -> None:
    mix = mix_at_cost(COST, QUALITY, cost)
    assert mix.quality == QUALITY[point]


def test_equal_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="no gap"):
        apgr([0.5], [0.7], weak=0.6, strong=0.6)
