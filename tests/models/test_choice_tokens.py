"""First-token alternatives read as a distribution over the choices, or not at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.models.choice_tokens import read_first_token


def tops(**probabilities: float) -> list[tuple[str, float]]:
    return [(token, math.log(p)) for token, p in probabilities.items()]


def test_a_choice_is_the_sum_of_the_tokens_that_begin_it() -> None:
    listed = [
        ("approve", math.log(0.5)),
        (" Approve", math.log(0.2)),
        ("APP", math.log(0.1)),
        ("reject", math.log(0.2)),
    ]
    read = read_first_token(("approve", "reject"), listed)
    assert read.probabilities == pytest.approx((0.8, 0.2))
    assert read.coverage == pytest.approx(1.0)


def test_mass_elsewhere_lowers_the_coverage_and_not_the_proportions() -> None:
    read = read_first_token(("yes", "no"), tops(yes=0.3, no=0.1, maybe=0.5))
    assert read.probabilities == pytest.approx((0.75, 0.25))
    assert read.coverage == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("choices", "token"),
    [(("refund", "refuse"), "ref"), (("1", "10"), "1"), (("no", "not sure"), "no")],
)
def test_a_shared_beginning_cannot_be_told(choices: tuple[str, ...], token: str) -> None:
    assert read_first_token(choices, tops(**{token: 0.9})).probabilities is None


def test_a_whole_token_counts_for_itself_where_the_longer_ones_are_tokens_too() -> None:
    listed = [("1", math.log(0.2)), ("10", math.log(0.3)), ("7", math.log(0.5))]
    read = read_first_token(("1", "7", "10"), listed)
    assert read.probabilities == pytest.approx((0.2, 0.5, 0.3))


def test_a_trace_of_a_shared_beginning_spoils_nothing() -> None:
    listed = tops(refund=0.7, reject=0.29, re=0.001)
    assert read_first_token(("refund", "reject"), listed).probabilities == pytest.approx(
        (0.7 / 0.99, 0.29 / 0.99)
    )


def test_a_short_beginning_is_not_taken_for_a_long_word() -> None:
    read = read_first_token(("approve", "reject"), tops(a=0.6, reject=0.3))
    assert read.probabilities is not None
    assert read.probabilities[1] > 0.7


def test_short_choices_are_read_whole() -> None:
    read = read_first_token(("A", "B", "tie"), [*tops(A=0.6), (" B", math.log(0.3)), *tops(t=0.01)])
    assert read.probabilities is not None
    assert read.probabilities[:2] == pytest.approx((0.6 / 0.91, 0.3 / 0.91), abs=0.02)


def test_an_unlisted_choice_gets_what_it_can_have_at_most() -> None:
    read = read_first_token(("yes", "no"), tops(yes=0.9, sure=0.02))
    assert read.probabilities == pytest.approx((0.9 / 0.92, 0.02 / 0.92))
    full = read_first_token(("yes", "no"), tops(yes=1.0))
    assert full.probabilities == (1.0, 0.0)


def test_nothing_is_claimed_where_no_choice_was_begun() -> None:
    read = read_first_token(("yes", "no"), tops(perhaps=0.9))
    assert read == (None, 0.0)
    assert read_first_token(("yes", "no"), []).probabilities is None


def test_a_token_that_is_listed_twice_counts_once() -> None:
    listed = [*tops(yes=0.6, no=0.2), *tops(yes=0.6)]
    assert read_first_token(("yes", "no"), listed).coverage == pytest.approx(0.8)


def test_decoration_is_put_aside() -> None:
    listed = [('"yes', math.log(0.5)), ("no.", math.log(0.25)), ("**", math.log(0.2))]
    assert read_first_token(("yes", "no"), listed).probabilities == pytest.approx((2 / 3, 1 / 3))


@given(
    st.lists(
        st.tuples(st.text(max_size=6), st.floats(-50, 0.5) | st.just(math.nan)),
        min_size=0,
        max_size=8,
    )
)
def test_what_is_claimed_is_a_distribution(listed: list[tuple[str, float]]) -> None:
    read = read_first_token(("yes", "no", "maybe"), listed)
    assert 0 <= read.coverage <= 1
    if read.probabilities is not None:
        assert math.fsum(read.probabilities) == pytest.approx(1)
        assert min(read.probabilities) >= 0


@given(st.permutations(["approve", "reject", "tie"]))
def test_the_order_of_the_choices_does_not_matter(order: list[str]) -> None:
    listed = tops(approve=0.5, reject=0.3, tie=0.1)
    read = read_first_token(order, listed).probabilities
    assert read is not None
    by_name = dict(zip(order, read, strict=True))
    assert by_name == pytest.approx({"approve": 5 / 9, "reject": 3 / 9, "tie": 1 / 9})
