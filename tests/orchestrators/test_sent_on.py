"""Every rule that keeps a hop from acting is told in one plain sentence, also where another hop
was asked afterwards and acted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from consensus.orchestrators.checks import Check, CheckPurpose
from consensus.orchestrators.concluding import conclude
from consensus.orchestrators.spec import Acceptance, HopRecord, Losses
from tests.orchestrators.ballot_box import OPTIONS, failure, hop
from tests.orchestrators.test_checks import checked, judgement
from tests.orchestrators.test_live_strategies import TASK, decided, in_turn

A, R = OPTIONS


def gated(purpose: CheckPurpose, floor: float | None = None) -> HopRecord:
    check = Check(purpose=purpose, oracle="g", floor=floor)
    return checked(hop([A, A, A]), judgement(A, False), checks=(check,))


def broken() -> HopRecord:
    one = hop([A, A, A, A, None], escalate_on=("schema",))
    return one.model_copy(update={"failures": (failure(4, "schema"),)})


QUORUM = "seats gave a valid ballot; the quorum is 2, so they decide nothing"
NEXT = "the next hop was asked"

RULES: dict[str, tuple[HopRecord, str]] = {
    "min_agreement": (
        hop([A, A, R], min_agreement=0.9),
        "vote: 2 of 3 seats back it; the row asks for 90%: the next hop was asked",
    ),
    "majority": (
        hop([A, A, R, None, None], quorum=3),
        "vote: 2 of 5 seats back it; the row asks for more than half: the next hop was asked",
    ),
    "veto": (hop([A, A, R], veto=1), "vote: 1 seats reject; 1 are a veto: the next hop was asked"),
    "losses": (
        hop([A, A, R], losses=Losses(false_approve=20)),
        f"vote: P(approve) = 0.636 does not pass 0.952, which losses 20 : 1 ask for: {NEXT}",
    ),
    "alpha": (
        hop([A, A, R], alpha=0.05),
        "vote: P = 0.636 is below 1 − α = 0.950: the next hop was asked",
    ),
    "conformal": (
        hop([A, A, A], conformal=True, alpha=0.1),
        f"vote: no calibration covers these ballots: a prediction set cannot be drawn: {NEXT}",
    ),
    "accept posterior": (
        hop([A, A, R], accept=Acceptance(by="posterior", threshold=0.9)),
        "vote: posterior 0.636 is below the step's 0.900: the next hop was asked",
    ),
    "accept agreement": (
        hop([A, A, R], accept=Acceptance(by="agreement", threshold=0.9)),
        "vote: agreement 0.667 is below the step's 0.900: the next hop was asked",
    ),
    "accept margin": (
        hop([A, A, R], accept=Acceptance(by="margin", threshold=0.9)),
        "vote: margin 0.272 is below the step's 0.900: the next hop was asked",
    ),
    "accept oracle": (
        hop([A, A, A], accept=Acceptance(by="oracle")),
        "vote: the step asks for an oracle's verdict, and there is none: the next hop was asked",
    ),
    "check gate": (gated("gate"), "vote: the gate (g) is not passed: the next hop was asked"),
    "check quality": (
        gated("quality", 0.8),
        f"vote: trigger: the quality (g) scores 0.000, below its floor 0.800: {NEXT}",
    ),
    "check accept": (
        gated("accept"),
        "vote: the step's acceptance (g) is not passed: the next hop was asked",
    ),
    "tie": (hop([A, R]), "vote: a tie: the next hop was asked"),
    "escalate_on": (
        broken(),
        "trigger: vote gave an answer outside its schema: the next hop was asked",
    ),
    "quorum": (
        hop([A, None, None]),
        f"vote: 1 of 3 configured {QUORUM}",
    ),
}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_what_sent_a_hop_on_is_told_once_by_the_decision_that_came_of_the_next(rule: str) -> None:
    first, sentence = RULES[rule]
    assert conclude("approve", OPTIONS, [first]).action != "act"
    said = conclude("approve", OPTIONS, [first, hop([A], first=10, name="frontier")])
    assert said.action == "act"
    assert said.reasons.count(sentence) == 1, said.reasons
    assert sum(reason.endswith("the next hop was asked") for reason in said.reasons) <= 1


def test_no_way_to_accept_a_step_and_no_check_is_left_out_of_the_table() -> None:
    for by in get_args(Acceptance.model_fields["by"].annotation):
        assert f"accept {by}" in RULES
    for purpose in get_args(CheckPurpose):
        assert f"check {purpose}" in RULES


def test_a_hop_that_would_have_acted_is_not_said_to_have_been_sent_on() -> None:
    said = conclude("approve", OPTIONS, [hop([A, A, A]), hop([A], first=3, name="frontier")])
    assert not any("the next hop was asked" in reason for reason in said.reasons)


async def test_the_receipt_says_what_sent_the_vote_on(tmp_path: Path) -> None:
    rows = '[tasks.t]\nstrategy = "vote"\nseats = 3\nmin_agreement = 0.9\n'
    answers: Any = in_turn("approve", "reject", "approve", "approve")
    decision, _ = await decided(
        tmp_path, rows + 'tier = "small"\nescalate_to = ["frontier"]\n', answers, TASK
    )
    assert decision.outcome == "approve"
    assert RULES["min_agreement"][1] in decision.reasons
