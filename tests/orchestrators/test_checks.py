from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.orchestrators.checks import (
    NOT_ACCEPTED,
    Check,
    Judgement,
    answer_sha256,
    find_judgement,
)
from consensus.orchestrators.concluding import conclude, propose
from consensus.orchestrators.spec import HopRecord
from tests.orchestrators.ballot_box import OPTIONS, failure, hop

A, R = OPTIONS
GATE = Check(purpose="gate", oracle="g")


def judgement(answer: Any, passed: bool | None = True, **fields: Any) -> Judgement:
    score = None if passed is None else float(passed)
    fields.setdefault("score", score)
    fields.setdefault("oracle", "g")
    return Judgement(oracle_sha256="0", answer=answer_sha256(answer), passed=passed, **fields)


def checked(one: HopRecord, *said: Judgement, checks: tuple[Check, ...] = (GATE,)) -> HopRecord:
    return one.model_copy(update={"checks": checks, "judgements": said})


def test_an_outcome_with_a_passing_judgement_acts() -> None:
    said = conclude("approve", OPTIONS, [checked(hop([A, A, A]), judgement(A))])
    assert (said.action, said.outcome) == ("act", A)


def test_a_check_that_nobody_answered_forbids_the_action() -> None:
    said = conclude("approve", OPTIONS, [checked(hop([A, A, A]))])
    assert (said.action, said.outcome) == ("escalate", None)
    assert said.posterior


def test_a_judgement_of_another_answer_or_of_another_oracle_is_no_pass() -> None:
    for said in (judgement(R), judgement(A, oracle="other")):
        assert conclude("approve", OPTIONS, [checked(hop([A, A, A]), said)]).action == "escalate"


def test_a_judgement_without_a_verdict_is_no_pass_and_the_reasons_say_so() -> None:
    said = conclude("approve", OPTIONS, [checked(hop([A, A, A]), judgement(A, None))])
    assert said.action == "escalate"
    assert said.reasons[-1] == "the gate (g) has no verdict, and without one nothing acts"


def test_only_the_checks_of_the_last_hop_bind() -> None:
    first = checked(hop([A, A, A]), judgement(A, False))
    second = hop([A], first=3, name="frontier")
    assert conclude("approve", OPTIONS, [first, second]).action == "act"


def test_a_floor_is_for_the_score_and_not_for_the_oracles_own_verdict() -> None:
    quality = Check(purpose="quality", oracle="g", floor=0.7)
    for score, action in ((0.7, "act"), (0.69, "escalate")):
        for passed in (True, False):
            one = checked(hop([A, A, A]), judgement(A, passed, score=score), checks=(quality,))
            assert conclude("approve", OPTIONS, [one]).action == action


def test_a_proposal_looks_at_no_check() -> None:
    assert propose("approve", OPTIONS, [checked(hop([A, A, A]))]).outcome == A


def test_a_verdict_counts_before_the_lack_of_one() -> None:
    said = [judgement(A, None), judgement(A, False), judgement(A, None)]
    found = find_judgement(said, "g", answer_sha256(A))
    assert found is not None
    assert found.passed is False


def test_said_again_a_judgement_costs_nothing() -> None:
    from consensus.ballots import Cost

    again = judgement(A, cost=Cost(pico_usd=5), calls=("c",), of="candidate").again()
    assert (again.cost.pico_usd, again.calls, again.of) == (0, (), "outcome")
    assert again.passed


def test_equal_answers_have_one_name_in_whatever_order_their_keys_stand() -> None:
    assert answer_sha256({"a": 1, "b": 2}) == answer_sha256({"b": 2, "a": 1})
    assert answer_sha256(("x", "y")) != answer_sha256(("y", "x"))
    assert answer_sha256("a ") != answer_sha256("a")


def test_text_that_is_none_is_named_as_its_receipt_will_hold_it() -> None:
    assert answer_sha256("\ud800") == answer_sha256("?")


def test_candidates_that_the_oracle_refused_count_for_the_quorum_if_one_stands() -> None:
    refused = failure(1, "schema").model_copy(update={"message": NOT_ACCEPTED})
    one = hop(["x", None, None], orchestrator="best_of_n", quorum=2).model_copy(
        update={"failures": (refused, failure(2))}
    )
    said = judgement("x", of="candidate")
    judged = one.model_copy(update={"judgements": (said,)})
    assert conclude("generate", (), [judged]).outcome == "x"
    alone = one.model_copy(update={"failures": (failure(1), failure(2))})
    assert conclude("generate", (), [alone]).action == "abstain"
    none = judged.model_copy(update={"ballots": (), "failures": (refused, refused)})
    assert conclude("generate", (), [none]).action == "abstain"


def test_the_candidate_with_the_highest_score_needs_no_agreement() -> None:
    one = hop(["x", "y", "z"], orchestrator="best_of_n")
    scores = {"x": 0.6, "y": 0.9, "z": 0.8}
    said = tuple(judgement(a, score=s, of="candidate") for a, s in scores.items())
    best = conclude("generate", (), [one.model_copy(update={"judgements": said})])
    assert (best.action, best.outcome) == ("act", "y")
    assert conclude("generate", (), [one]).action == "escalate"


votes = st.lists(st.sampled_from([A, R, None]), min_size=1, max_size=7)
verdicts = st.sampled_from([True, False, None])


@given(votes, st.dictionaries(st.sampled_from(OPTIONS), verdicts))
def test_nothing_acts_without_a_pass_of_that_very_outcome(
    answers: list[str | None], said: dict[str, bool | None]
) -> None:
    given_ = tuple(judgement(answer, passed) for answer, passed in said.items())
    ballots_alone = conclude("approve", OPTIONS, [hop(answers)])
    gated = conclude("approve", OPTIONS, [checked(hop(answers), *given_)])
    if gated.action == "act":
        assert said[str(gated.outcome)] is True
        assert gated.outcome == ballots_alone.outcome
    if ballots_alone.action != "act":
        assert gated.action == ballots_alone.action


@given(votes, st.randoms(use_true_random=False), verdicts)
def test_the_order_of_ballots_and_judgements_changes_nothing(
    answers: list[str | None], random: Any, passed: bool | None
) -> None:
    one = checked(hop(answers), judgement(A, passed), judgement(R, True), judgement(A, None))
    mixed = one.model_copy(
        update={
            "ballots": tuple(random.sample(one.ballots, len(one.ballots))),
            "judgements": tuple(random.sample(one.judgements, len(one.judgements))),
        }
    )
    first, second = (conclude("approve", OPTIONS, [each]) for each in (one, mixed))
    assert (first.action, first.outcome, first.posterior) == (
        second.action,
        second.outcome,
        second.posterior,
    )


@pytest.mark.parametrize("kind", ["off_list", "schema"])
def test_a_failure_that_the_row_sends_on_is_an_objection_and_said(kind: Any) -> None:
    one = hop([A, A, A, None], escalate_on=(kind,)).model_copy(
        update={"failures": (failure(3, kind),)}
    )
    said = conclude("approve", OPTIONS, [one])
    assert said.action == "escalate"
    assert any(reason.startswith("trigger: vote gave") for reason in said.reasons)
    other = one.model_copy(update={"failures": (failure(3, "timeout"),)})
    assert conclude("approve", OPTIONS, [other]).action == "act"


def test_the_reasons_tell_what_was_judged_of_the_outcome_and_not_of_candidates() -> None:
    of_outcome, of_candidate = judgement(A), judgement(A, oracle="other", of="candidate")
    said = conclude("approve", OPTIONS, [checked(hop([A, A, A]), of_outcome, of_candidate)])
    assert [one for one in said.reasons if "oracle" in one] == [
        "vote: oracle g accepts it, score 1.000"
    ]
