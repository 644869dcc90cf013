"""From ballots to a conclusion: quorum, ties, losses, hops, order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.orchestrators.concluding import answers_agree, conclude
from consensus.orchestrators.spec import Acceptance, HopRecord, Losses
from tests.orchestrators.ballot_box import OPTIONS, ballot, hop, spec

A, R = OPTIONS


def test_a_majority_of_the_configured_seats_acts() -> None:
    result = conclude("approve", OPTIONS, [hop([A, A, A, R, R])])
    assert (result.action, result.outcome, result.agreement) == ("act", A, 0.6)
    assert sum(result.posterior.values()) == pytest.approx(1)
    assert not result.calibrated


def test_below_quorum_nothing_is_decided_and_every_failed_seat_is_named() -> None:
    result = conclude("approve", OPTIONS, [hop([A, A, A, None, None], quorum=4)])
    assert (result.action, result.outcome) == ("abstain", None)
    for seat in (3, 4):
        assert any(f"seat {seat}" in reason and "timeout" in reason for reason in result.reasons)
    assert any("quorum is 4" in reason for reason in result.reasons)


def test_failures_do_not_shrink_what_a_majority_is_of() -> None:
    result = conclude("approve", OPTIONS, [hop([A, A, None, None, R], quorum=3)])
    assert (result.action, result.agreement) == ("escalate", 0.4)


def test_an_even_split_is_a_tie_and_says_so() -> None:
    result = conclude("approve", OPTIONS, [hop([A, A, R, R])])
    assert (result.action, result.outcome, result.tied) == ("escalate", None, OPTIONS)
    assert result.probability == pytest.approx(0.5)
    assert any("tie" in reason for reason in result.reasons)


def test_three_way_ties_name_only_those_in_first_place() -> None:
    result = conclude("choose", ("x", "y", "z"), [hop(["x", "y", "x", "y", "z"])])
    assert result.tied == ("x", "y")


def test_a_plurality_without_a_majority_is_not_acted_upon() -> None:
    result = conclude("choose", ("a", "b", "c", "d"), [hop(["a", "a", "b", "c", "d"])])
    assert result.action == "escalate"
    assert result.outcome is None


@given(st.permutations([A, A, A, R, None, A, R]))
def test_every_order_of_the_same_ballots_gives_the_same_decision(answers: list[str | None]) -> None:
    shuffled = conclude("approve", OPTIONS, [hop(answers, quorum=3)])
    sorted_ = conclude("approve", OPTIONS, [hop([A, A, A, A, R, R, None], quorum=3)])
    for name in ("action", "outcome", "posterior", "probability", "agreement", "tied"):
        assert getattr(shuffled, name) == getattr(sorted_, name)


@given(st.permutations(range(5)), st.lists(st.floats(0.01, 0.99), min_size=5, max_size=5))
def test_averaged_distributions_do_not_depend_on_order_to_the_last_bit(
    order: list[int], chances: list[float]
) -> None:
    def poll(indices: list[int]) -> HopRecord:
        ballots = tuple(
            ballot(
                seat,
                A if chances[i] >= 0.5 else R,
                distribution={A: chances[i], R: 1 - chances[i]},
            )
            for seat, i in enumerate(indices)
        )
        return HopRecord(name="v", spec=spec(5, aggregator="mean"), ballots=ballots)

    first = conclude("approve", OPTIONS, [poll(list(range(5)))])
    assert conclude("approve", OPTIONS, [poll(order)]).posterior == first.posterior


@given(st.permutations(["a", "b", "c"]))
def test_relabelling_options_relabels_the_posterior(names: list[str]) -> None:
    votes = ["a", "a", "b", "a", "c"]
    rename = dict(zip(["a", "b", "c"], names, strict=True))
    plain = conclude("choose", ("a", "b", "c"), [hop(votes)])
    renamed = conclude("choose", tuple(names), [hop([rename[v] for v in votes])])
    assert {rename[o]: p for o, p in plain.posterior.items()} == renamed.posterior


@pytest.mark.parametrize("aggregator", ["majority", "mean"])
@pytest.mark.parametrize("seats", [1, 3, 5, 9])
def test_a_unanimous_panel_is_never_overruled(aggregator: str, seats: int) -> None:
    result = conclude("approve", OPTIONS, [hop([R] * seats, aggregator=aggregator)])
    assert (result.action, result.outcome, result.agreement) == ("act", R, 1.0)


def test_five_of_five_pass_losses_of_twenty_to_one_and_four_of_five_do_not() -> None:
    losses = Losses(false_approve=20, false_reject=1)
    five = conclude("approve", OPTIONS, [hop([A] * 5, losses=losses)])
    four = conclude("approve", OPTIONS, [hop([A] * 4 + [R], losses=losses)])
    assert (five.action, five.outcome) == ("act", A)
    assert (four.action, four.outcome) == ("escalate", None)
    assert any("losses 20 : 1" in reason for reason in four.reasons)


def test_losses_make_the_cheap_error_easy() -> None:
    losses = Losses(false_approve=20, false_reject=1)
    result = conclude("approve", OPTIONS, [hop([R, R, R, A, A], losses=losses)])
    assert (result.action, result.outcome) == ("act", R)


def test_a_panel_that_leans_to_approve_is_never_turned_into_a_rejection() -> None:
    losses = Losses(false_approve=1000, false_reject=1)
    result = conclude("approve", OPTIONS, [hop([A, A, A, A, R], losses=losses)])
    assert result.action == "escalate"


def test_a_minority_veto_stops_an_approval_and_no_rejection() -> None:
    assert conclude("approve", OPTIONS, [hop([A, A, A, A, R], veto=1)]).action == "escalate"
    assert conclude("approve", OPTIONS, [hop([A, A, A, A, A], veto=1)]).action == "act"
    assert conclude("approve", OPTIONS, [hop([R, R, R, R, A], veto=1)]).action == "act"


def test_alpha_asks_for_certainty() -> None:
    assert conclude("approve", OPTIONS, [hop([A] * 5, alpha=0.01)]).action == "escalate"
    assert conclude("approve", OPTIONS, [hop([A] * 5, alpha=0.10)]).action == "act"


def test_a_supermajority_counts_configured_seats() -> None:
    fields: dict[str, Any] = {"min_agreement": 0.8, "quorum": 3}
    assert conclude("approve", OPTIONS, [hop([A, A, A, A, R], **fields)]).action == "act"
    assert conclude("approve", OPTIONS, [hop([A, A, A, R, R], **fields)]).action == "escalate"
    assert conclude("approve", OPTIONS, [hop([A, A, A, None, None], **fields)]).action == "escalate"


def test_the_stronger_hop_has_the_say_and_the_panel_stays_evidence() -> None:
    split = hop([A, A, R, R])
    frontier = hop([R], first=4, name="frontier")
    result = conclude("approve", OPTIONS, [split, frontier])
    assert (result.action, result.outcome) == ("act", R)
    against = conclude("approve", OPTIONS, [hop([A, A, A, R]), frontier])
    assert against.outcome == R
    assert against.posterior[R] < result.posterior[R]


def test_weak_votes_cannot_outvote_the_frontier_by_numbers_alone() -> None:
    many = hop([A] * 7 + [R] * 2)
    result = conclude("approve", OPTIONS, [many, hop([R], first=9, name="frontier")])
    assert result.posterior[R] > 0.5


def test_a_hop_without_quorum_is_no_evidence() -> None:
    frontier = hop([R], first=5, name="frontier")
    ghosts = conclude("approve", OPTIONS, [hop([A, A, A, None, None], quorum=4), frontier])
    nobody = conclude("approve", OPTIONS, [hop([None] * 5), frontier])
    assert ghosts.outcome == R
    assert ghosts.posterior == nobody.posterior


def test_when_the_stronger_route_fails_the_weak_evidence_escalates_to_a_person() -> None:
    result = conclude(
        "approve", OPTIONS, [hop([A, A, R, R]), hop([None], first=4, name="frontier")]
    )
    assert result.action == "escalate"
    assert result.outcome is None


def test_a_score_is_the_median_and_agreement_counts_seats_within_a_tenth() -> None:
    result = conclude("score", (), [hop([7.0, 8.0, 8.0, 2.0, 8.5])], scale=(0, 10))
    assert (result.action, result.outcome, result.agreement) == ("act", 8.0, 0.8)
    scattered = conclude("score", (), [hop([1.0, 3.0, 5.0, 7.0, 9.0])], scale=(0, 10))
    assert scattered.action == "escalate"


@given(st.permutations(["a", "b", "c"]))
def test_opposite_rankings_are_a_tie(order: list[str]) -> None:
    result = conclude("rank", ("a", "b", "c"), [hop([tuple(order), tuple(reversed(order))])])
    assert result.action == "escalate"
    assert set(result.tied) == {"a", "b", "c"}


def test_a_condorcet_order_is_the_outcome() -> None:
    votes = [("a", "b", "c"), ("a", "c", "b"), ("b", "a", "c")]
    for orders in itertools.permutations(votes):
        result = conclude("rank", ("a", "b", "c"), [hop(list(orders))])
        assert (result.action, result.outcome) == ("act", ("a", "b", "c"))
        assert result.agreement == pytest.approx(2 / 3)


def test_one_generated_text_stands_and_two_different_ones_tie() -> None:
    assert conclude("generate", (), [hop(["text"])]).outcome == "text"
    assert conclude("generate", (), [hop(["one", "two"])]).action == "escalate"
    agreed = conclude("generate", (), [hop([{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}])])
    assert agreed.outcome == {"a": 1, "b": 2}


def test_agreement_of_answers() -> None:
    assert answers_agree("score", 7.0, 7.9, scale=(0, 10))
    assert not answers_agree("score", 7.0, 8.1, scale=(0, 10))
    assert answers_agree("rank", ("a", "b"), ("a", "b"))
    assert not answers_agree("rank", ("a", "b"), ("b", "a"))


def test_what_asks_for_an_oracles_verdict_and_has_none_is_not_acted_upon() -> None:
    unjudged = hop([A, A, A], accept=Acceptance(by="oracle"))
    assert conclude("approve", OPTIONS, [unjudged]).action == "escalate"


def test_a_tie_agrees_as_far_as_its_largest_group() -> None:
    tied = hop(["x", "y", "x", "y", "z"])
    assert conclude("choose", ("x", "y", "z"), [tied]).agreement == 0.4


def test_nobody_agrees_where_nobody_answered() -> None:
    assert conclude("approve", OPTIONS, [hop([None, None, None])]).agreement == 0.0


def of_no_schema(one: HopRecord) -> HopRecord:
    failed = tuple(f.model_copy(update={"failure": "schema"}) for f in one.failures)
    return one.model_copy(update={"failures": failed})


def test_only_a_hop_that_another_followed_is_said_to_have_sent_the_task_on() -> None:
    first = of_no_schema(hop([A, A, None], escalate_on=("schema",)))
    last = of_no_schema(hop([A, A, None], first=3, name="last", escalate_on=("schema",)))
    reasons = conclude("approve", OPTIONS, [first, last]).reasons
    asked = [one for one in reasons if "the next hop was asked" in one]
    assert [one.split(" gave ")[0] for one in asked] == ["trigger: vote"]


def test_a_failure_that_sends_nothing_on_is_told_so_only_below_the_quorum() -> None:
    last = hop([A], first=3, name="last")
    for quorum, told in ((2, False), (3, True)):
        first = of_no_schema(hop([A, A, None], quorum=quorum))
        reasons = conclude("approve", OPTIONS, [first, last]).reasons
        assert any(one.startswith("trigger: vote gave") for one in reasons) is told
