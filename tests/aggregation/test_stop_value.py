from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.aggregation import stop_value as sv
from consensus.aggregation._numerics import FloatArray
from consensus.aggregation.posteriors import block_posterior
from tests.aggregation.strategies import blocked_counts


def urn_probability(sequence: tuple[int, ...], counts: FloatArray, truth: int, p: float, rho: float
) -> float:  # fmt: skip
    """P(next votes in this order | truth), vote by vote from the Pólya urn."""
    options = len(counts)
    s = 1 / rho - 1
    held = counts.copy()
    mass = 1.0
    for vote in sequence:
        centre = p if vote == truth else (1 - p) / (options - 1)
        mass *= (s * centre + held[vote]) / (s + held.sum())
        held[vote] += 1
    return mass


def value_by_enumeration(
    counts: FloatArray, losses: FloatArray, p: float, rho: float, ballots: int
) -> float:
    options = counts.shape[1]
    posterior = block_posterior(counts, p, rho)
    before = (losses * posterior).sum(axis=1).min()
    after = 0.0
    for sequence in itertools.product(range(options), repeat=ballots):
        joint = np.array(
            [posterior[k] * urn_probability(sequence, counts[0], k, p, rho) for k in range(options)]
        )
        after += (losses * joint).sum(axis=1).min()
    return float(before - after)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=3),
    st.integers(1, 3),
    st.floats(0.55, 0.95),
    st.floats(0.05, 0.8),
)
def test_the_value_of_ballots_is_that_of_every_sequence_played_out(
    counts: list[int], ballots: int, p: float, rho: float
) -> None:
    held = np.array([counts], dtype=float)
    losses = sv.plain_losses(len(counts), escalate=0.2)
    found = sv.value_of_ballots(held, losses, p=p, rho=rho, ballots=ballots)
    assert found == pytest.approx(value_by_enumeration(held, losses, p, rho, ballots), abs=1e-9)


def test_one_ballot_is_worth_nothing_where_only_three_can_turn_the_decision() -> None:
    held = np.array([[2.0, 0.0]])
    losses = sv.plain_losses(2)
    assert sv.value_of_ballots(held, losses, p=0.8, rho=0.2) == pytest.approx(0.0, abs=1e-12)
    assert sv.value_of_ballots(held, losses, p=0.8, rho=0.2, ballots=3) > 0.0


def test_a_seat_that_errs_with_the_rest_is_worth_less() -> None:
    held = np.array([[1.0, 1.0]])
    losses = sv.plain_losses(2)
    alone, together = (
        float(sv.value_of_ballots(held, losses, p=0.8, rho=rho, ballots=3)) for rho in (0.1, 0.7)
    )
    assert together < alone


def test_nothing_is_asked_when_the_price_is_above_the_stakes() -> None:
    assert (
        sv.worth_asking([[0, 0]], sv.plain_losses(2), price=1.0, remaining=9, p=0.8, rho=0.3) == 0
    )


def test_many_are_asked_when_a_ballot_is_all_but_free() -> None:
    asked = sv.worth_asking([[0, 0]], sv.plain_losses(2), price=1e-9, remaining=7, p=0.7, rho=0.1)
    assert asked == 7


def test_no_more_is_asked_than_remain() -> None:
    asked = sv.worth_asking(
        [[[0, 0]], [[9, 0]]], sv.plain_losses(2), price=1e-4, remaining=2, p=0.7, rho=0.1
    )
    assert asked.tolist()[0] in (1, 2)
    assert asked.tolist()[1] == 0


def test_dearer_mistakes_buy_more_ballots() -> None:
    def asked(false_approve: float) -> int:
        losses = sv.approval_losses(false_approve, 1.0)
        return int(sv.worth_asking([[1, 0]], losses, price=0.05, remaining=5, p=0.8, rho=0.3))

    assert asked(1.0) == 0
    assert asked(5.0) > 0


def test_masked_options_match_a_smaller_case() -> None:
    mask = np.array([True, True, False])
    wide = sv.value_of_ballots(
        [[2, 1, 0]], sv.plain_losses(3), p=0.8, rho=0.3, ballots=2, options=mask
    )
    narrow = sv.value_of_ballots([[2, 1]], sv.plain_losses(2), p=0.8, rho=0.3, ballots=2)
    assert wide == pytest.approx(float(narrow))


@settings(max_examples=60, deadline=None)
@given(
    blocked_counts(max_options=3),
    st.integers(0, 2),
    st.floats(0.5, 0.95),
    st.floats(0.6, 0.95),
    st.floats(0.0, 0.8),
)
def test_a_settled_threshold_is_never_crossed_by_any_completion(
    counts: FloatArray, left: int, threshold: float, p: float, rho: float
) -> None:
    blocks, options = counts.shape
    remaining = np.full(blocks, left)
    if not sv.threshold_settled(counts, remaining, threshold, p=p, rho=rho):
        return
    now = block_posterior(counts, p, rho) >= threshold - 1e-9
    for votes in itertools.product(range(options), repeat=min(blocks * left, 5)):
        held = counts.copy()
        for i, vote in enumerate(votes):
            held[i % blocks, vote] += 1
        later = block_posterior(held, p, rho) >= threshold - 1e-9
        np.testing.assert_array_equal(now, later)


def test_a_threshold_that_one_vote_can_cross_is_open() -> None:
    assert not sv.threshold_settled([[2, 0]], [1], 0.8, p=0.8, rho=0.44)
    assert sv.threshold_settled([[2, 0]], [0], 0.8, p=0.8, rho=0.44)


def test_too_many_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="too many outcomes"):
        sv.value_of_ballots(np.zeros((1, 12)), sv.plain_losses(12), p=0.8, rho=0.3, ballots=9)


def test_where_nothing_remains_each_case_is_told_so() -> None:
    counts = np.zeros((3, 1, 2))
    asked = sv.worth_asking(counts, sv.plain_losses(2), price=0.0, remaining=0, p=0.7, rho=0.2)
    assert asked.tolist() == [0, 0, 0]


def test_the_horizon_is_cut_where_outcomes_are_too_many() -> None:
    counts = np.zeros((2, 1, 12))
    many = {"price": 0.0, "remaining": 9, "p": 0.7, "rho": 0.2}
    assert sv.worth_asking(counts, sv.plain_losses(12), **many).max() <= 4  # type: ignore[arg-type]


def test_what_is_worth_nothing_is_not_asked_even_for_nothing() -> None:
    counts = np.zeros((1, 1, 2))
    assert sv.worth_asking(counts, np.zeros((2, 2)), price=0.0, remaining=3, p=0.7, rho=0.2) == 0
