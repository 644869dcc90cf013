from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation.stop_scores import lead_ballots, lead_decided, lead_spread, lead_standing
from consensus.aggregation.stopping import certain


def test_the_standing_is_the_lead_over_what_the_rest_moves_it_by() -> None:
    assert lead_standing([9.0, 3.0, 1.0], 4, 1.5) == pytest.approx(6 / (1.5 * 2))


def test_nothing_left_to_ask_is_decided_even_at_a_tie() -> None:
    assert lead_standing([2.0, 2.0], 0, 1.0) == math.inf


def test_a_tie_before_the_last_ballot_has_no_standing() -> None:
    assert lead_standing([2.0, 2.0], 1, 1.0) == 0.0
    assert lead_standing([0.1 + 0.2, 0.3], 1, 1.0) == 0.0


def test_a_lead_that_no_ballot_moves_is_decided() -> None:
    assert lead_standing([2.0, 1.0], 5, 0.0) == math.inf
    assert lead_standing([1.0, 1.0], 5, 0.0) == 0.0


def test_options_that_a_case_lacks_are_no_rivals() -> None:
    assert lead_standing([3.0, -np.inf, 1.0], 4, 1.0) == pytest.approx(1.0)


def test_a_simulated_walk_is_overturned_as_often_as_claimed() -> None:
    rng = np.random.default_rng(1)
    lead, rest, spread = 3.0, 6, 1.7
    later = lead + rng.normal(0, spread, (200_000, rest)).sum(axis=1)
    standing = float(lead_standing([lead, 0.0], rest, spread))
    claimed = 0.5 * math.erfc(standing / math.sqrt(2))
    assert (later < 0).mean() == pytest.approx(claimed, abs=0.003)


def test_the_spread_is_that_of_the_simulated_ballots() -> None:
    rng = np.random.default_rng(2)
    ballots = np.zeros((20_000, 8, 2))
    ballots[:, :, 0] = 1.0 + rng.normal(0, 2.0, (20_000, 8))
    assert lead_spread(ballots) == pytest.approx(2.0, rel=0.02)


def test_seats_that_always_say_the_same_have_no_spread() -> None:
    assert lead_spread(np.tile([7.0, 3.0], (5, 4, 1))) == 0.0


def test_a_single_seat_has_no_spread_to_measure() -> None:
    with pytest.raises(ValueError, match="shape"):
        lead_spread(np.zeros((4, 1, 2)))


def test_a_chance_of_a_half_is_no_claim() -> None:
    with pytest.raises(ValueError, match="chance"):
        lead_decided([1.0, 0.0], 2, 1.0, chance=0.5)


@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=5),
    st.integers(1, 9),
    st.floats(0.1, 3.0),
)
def test_relabelling_options_changes_nothing(totals: list[int], rest: int, spread: float) -> None:
    order = np.random.default_rng(sum(totals)).permutation(len(totals))
    assert lead_standing(totals, rest, spread) == lead_standing(
        np.array(totals)[order], rest, spread
    )


@given(st.lists(st.integers(0, 9), min_size=2, max_size=5), st.integers(1, 9))
def test_what_cannot_be_caught_is_decided_at_a_small_chance_where_votes_move_by_one(
    counts: list[int], rest: int
) -> None:
    # Certainty needs a lead above R, this rule one of z·σ·√R: at σ = ½ and R ≥ 1 less is enough.
    if certain(counts, rest):
        assert lead_decided(counts, rest, 0.5, chance=0.05)


def test_a_smaller_chance_asks_for_a_greater_lead() -> None:
    leads = np.array([[lead, 0.0] for lead in range(12)])
    few = lead_decided(leads, 4, 1.0, chance=0.2).sum()
    many = lead_decided(leads, 4, 1.0, chance=0.01).sum()
    assert few > many > 0


def test_no_cases_have_no_spread_to_measure() -> None:
    with pytest.raises(ValueError, match="shape"):
        lead_spread(np.zeros((0, 2, 2)))


def test_the_spread_is_of_the_two_options_in_front() -> None:
    ballots = np.array([[[5.0, 4.0, 0.0], [7.0, 4.0, 3.0]]])
    assert lead_spread(ballots) == pytest.approx(np.std([1.0, 3.0], ddof=1))


def test_a_first_place_counts_half_a_point_beside_its_score() -> None:
    both = lead_ballots([[1.0, 0.0]], [[4.0, 3.0]], "both")
    assert both.tolist() == [[4.5, 3.0]]
