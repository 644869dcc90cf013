"""Waves, debate, best-of-n and cascades over the whole path, on scripted models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from consensus import Approve, Choose, Generate
from consensus.assembly import conclude_receipt
from consensus.errors import PolicyError
from consensus.ledger.receipts import replay
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from consensus.orchestrators.stopping import wave_sizes
from tests.engine_fixtures import MODELS, engine_of

TASK = Approve(type="t", subject="Unused, 12 days old.", criteria="Unused, within 30 days.")

VOTE = """
[tasks.t]
strategy = "vote"
tier = "small"
seats = 9
"""


def in_turn(*said: Any) -> Any:
    left = list(said)

    def answer(request: Request) -> Any:
        return left.pop(0) if left else said[-1]

    return answer


async def decided(
    folder: Path, rows: str, behaviour: Any, task: Any = TASK, head: str = MODELS
) -> Any:
    engine, client = engine_of(folder, rows, behaviour, head=head)
    async with engine:
        decision = await engine.decide(task)
        assert engine.ledger is not None
        receipt = engine.ledger.receipt(str(decision.receipt_id))
    assert replay(receipt, conclude_receipt).differences == ()
    return decision, client


@pytest.mark.parametrize(
    ("waves", "seats", "sizes"),
    [((3, 2), 8, [3, 2, 2, 1]), ((5,), 5, [5]), ((1,), 3, [1, 1, 1]), ((4, 4), 3, [3])],
)
def test_waves(waves: tuple[int, ...], seats: int, sizes: list[int]) -> None:
    assert wave_sizes(waves, seats) == sizes


async def test_a_panel_stops_when_the_rest_cannot_change_the_decision(tmp_path: Path) -> None:
    rows = VOTE + 'stop = { rule = "margin" }\nwaves = [3, 2]\n'
    decision, client = await decided(tmp_path, rows, in_turn("approve"))
    assert (decision.action, decision.outcome) == ("act", "approve")
    assert client.calls == 5
    assert any("stopped after 5 of 9 seats" in reason for reason in decision.reasons)


async def test_margin_never_changes_an_outcome(tmp_path: Path) -> None:
    for number, pattern in enumerate(range(0, 512, 37)):
        votes = ["approve" if pattern >> i & 1 else "reject" for i in range(9)]
        folder = tmp_path / str(number)
        folder.mkdir()
        whole, _ = await decided(folder, VOTE, in_turn(*votes))
        rows = VOTE + 'stop = { rule = "margin" }\nwaves = [3, 1]\n'
        waved, client = await decided(folder, rows, in_turn(*votes))
        assert (waved.action, waved.outcome) == (whole.action, whole.outcome)
        assert client.calls <= 9


async def test_margin_asks_on_where_a_loss_threshold_is_still_open(tmp_path: Path) -> None:
    """Five of nine settle the majority, not the posterior that 20 : 1 asks for."""
    rows = VOTE + (
        'stop = { rule = "margin" }\nwaves = [5, 1]\n'
        "losses = { false_approve = 20, false_reject = 1 }\n"
    )
    _, client = await decided(tmp_path, rows, in_turn("approve"))
    assert client.calls > 5


@pytest.mark.parametrize("rule", ["ahead_by_k", "posterior", "adaptive"])
async def test_other_rules_stop_earlier_and_act_on_the_seats_they_asked(
    tmp_path: Path, rule: str
) -> None:
    rows = VOTE.replace("seats = 9", "seats = 25\nquorum = 2")
    rows += f'stop = {{ rule = "{rule}", confidence = 0.9 }}\nwaves = [2, 1]\n'
    decision, client = await decided(tmp_path, rows, in_turn("approve"))
    assert (decision.action, decision.outcome) == ("act", "approve")
    assert client.calls < 13
    assert decision.agreement == pytest.approx(client.calls / 25)


async def test_a_ballot_that_costs_more_than_it_can_save_is_not_asked_for(tmp_path: Path) -> None:
    prices = "".join(f'[prices."scripted/{name}"]\ninput = 1.0\noutput = 1.0\n' for name in "ab")
    for usd, expected in (("0.00001", 1), ("1000.0", 9)):
        rows = VOTE.replace("seats = 9", "seats = 9\nquorum = 1") + (
            'stop = { rule = "value" }\nwaves = [1]\n'
            f"losses = {{ false_approve = {usd}, false_reject = {usd} }}\n"
        )
        folder = tmp_path / usd
        folder.mkdir()
        votes = ["approve", "reject"] * 5
        _, client = await decided(folder, rows, in_turn(*votes), head=MODELS + prices)
        assert client.calls == expected


async def test_failed_seats_do_not_help_a_panel_to_stop(tmp_path: Path) -> None:
    rows = VOTE + 'stop = { rule = "margin" }\nwaves = [3]\n'
    dead = Reply(failure="auth")
    decision, client = await decided(tmp_path, rows, in_turn(dead, dead, dead, "approve"))
    assert client.calls >= 8
    assert (decision.action, decision.agreement) == ("act", pytest.approx(5 / 9, abs=0.12))


DEBATE = """
[tasks.t]
strategy = "debate"
tier = "small"
seats = 3
debate = { max_rounds = 2, low = 0.1, high = 0.99 }
"""


def is_second_round(request: Request) -> bool:
    return len(request.turns) == 3


async def test_a_torn_panel_talks_and_its_changes_of_mind_are_kept(tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        if is_second_round(request):
            return "reject"
        return "approve" if request.model == "scripted/a" else "reject"

    decision, client = await decided(tmp_path, DEBATE, answer)
    assert (decision.outcome, decision.agreement) == ("reject", 1.0)
    assert client.calls == 9  # blind, a round with changes, a round without
    assert {b.earlier[0] for b in decision.ballots} == {"approve", "reject"}
    assert all(len(b.calls) == 3 for b in decision.ballots)
    assert any("seats 0, 2 changed" in reason for reason in decision.reasons)
    assert any("nobody changed" in reason for reason in decision.reasons)


async def test_a_debate_says_its_flips_its_price_and_what_votes_would_have_cost(
    tmp_path: Path,
) -> None:
    def answer(request: Request) -> str:
        if is_second_round(request):
            return "reject"
        return "approve" if request.model == "scripted/a" else "reject"

    priced = "".join(f'[prices."scripted/{m}"]\ninput = 10\noutput = 10\n' for m in "ab")
    (tmp_path / "free").mkdir()
    (tmp_path / "priced").mkdir()
    free, _ = await decided(tmp_path / "free", DEBATE, answer)
    paid, _ = await decided(tmp_path / "priced", DEBATE + priced, answer)
    told = next(reason for reason in free.reasons if "debate changed" in reason)
    assert "changed 2 of 3 ballots (approve → reject 2; for the better or not" in told
    assert "6 calls, 2.0 × the blind votes; as many calls are 6 more plain votes" in told
    told = next(reason for reason in paid.reasons if "debate changed" in reason)
    blind = sum(call.cost.pico_usd for call in paid.ballots) / 1e12
    price = float(re.search(r"for \$([\d.]+), ([\d.]+) ×", told).group(1))  # type: ignore[union-attr]
    assert 0.5 * blind < price < blind
    assert re.search(r"the same money buys \d+ more plain votes", told)


async def test_a_panel_that_agrees_does_not_talk(tmp_path: Path) -> None:
    rows = DEBATE.replace("high = 0.99", "high = 0.85")
    decision, client = await decided(tmp_path, rows, in_turn("approve"))
    assert client.calls == 3
    assert any("no debate" in reason for reason in decision.reasons)


async def test_the_others_are_shown_without_names_and_fenced(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(request: Request) -> Reply:
        if is_second_round(request):
            seen.append(request.turns[-1].text)
        chosen = "approve" if request.model == "scripted/a" else "reject"
        return Reply(chosen, confidence=0.9)

    await decided(tmp_path, DEBATE, answer)
    assert seen
    for text in seen:
        assert "scripted/" not in text
        assert re.search(r"<judge-1[^>]*>", text)


async def test_a_seat_that_fails_in_a_round_keeps_its_ballot(tmp_path: Path) -> None:
    def answer(request: Request) -> Any:
        if is_second_round(request):
            return Reply(failure="auth")
        return "approve" if request.model == "scripted/a" else "reject"

    decision, _ = await decided(tmp_path, DEBATE, answer)
    assert [b.answer for b in decision.ballots] == ["approve", "reject", "approve"]
    assert not decision.failures


BEST = """
[tasks.t]
kind = "generate"
strategy = "best_of_n"
models = ["scripted/a", "scripted/b", "scripted/f"]
seats = 3
"""
WRITE = Generate(type="t", messages=[{"role": "user", "content": "Write a line."}])


async def test_candidates_are_judged_and_nobody_judges_its_own(tmp_path: Path) -> None:
    shown: dict[str, str] = {}

    def answer(request: Request) -> str:
        text = "\n".join(turn.text for turn in request.turns)
        if "line by a" in text or "line by b" in text or "line by f" in text:
            shown[request.model] = text
            best = "line by b" if request.model != "scripted/b" else "line by a"
            number = re.search(rf"Option (\d):\n<option-\d-\w+>\n{best}\n", text)
            assert number is not None
            return number[1]
        return f"line by {request.model[-1]}"

    decision, client = await decided(tmp_path, BEST, answer, WRITE)
    assert client.calls == 6
    assert decision.outcome == "line by b"
    for model, text in shown.items():
        assert f"line by {model[-1]}" not in text
    assert {b.role for b in decision.ballots} == {"candidate", "judge"}


async def test_a_panel_of_one_model_cannot_choose_among_its_own(tmp_path: Path) -> None:
    rows = BEST.replace('"scripted/a", "scripted/b", "scripted/f"', '"scripted/a"')
    decision, client = await decided(tmp_path, rows, in_turn("one", "two", "three"), WRITE)
    assert (decision.action, client.calls) == ("escalate", 3)
    assert any("nobody could judge" in reason for reason in decision.reasons)


CASCADE = """
[tasks.t]
strategy = "cascade"
tier = "small"
seats = 3
escalate_to = ["frontier"]
cascade = { accept = "agreement", thresholds = [1.0] }
"""


async def test_a_cascade_stops_at_a_step_that_is_sure_enough(tmp_path: Path) -> None:
    decision, client = await decided(tmp_path, CASCADE, in_turn("approve"))
    assert (decision.outcome, decision.route) == ("approve", ("cascade",))
    assert client.calls == 3


async def test_a_cascade_goes_on_where_it_is_not_and_keeps_the_evidence(tmp_path: Path) -> None:
    decision, client = await decided(
        tmp_path, CASCADE, in_turn("approve", "reject", "approve", "reject")
    )
    assert decision.route == ("cascade", "frontier")
    assert (decision.outcome, len(decision.ballots)) == ("reject", 4)
    assert client.calls == 4


async def test_named_steps_and_one_threshold_for_each(tmp_path: Path) -> None:
    rows = """
[strategies.trio]
orchestrator = "vote"
tier = "small"
seats = 3
[tasks.t]
strategy = "cascade"
tier = "small"
cascade = { steps = ["small", "trio", "frontier"], accept = "posterior", thresholds = [0.99, 0.5] }
"""
    decision, client = await decided(tmp_path, rows, in_turn("approve"))
    assert decision.route == ("small", "trio")
    assert client.calls == 4


def test_a_cascade_without_a_second_step_or_with_wrong_thresholds_is_refused(
    tmp_path: Path,
) -> None:
    for row in (
        CASCADE.replace('escalate_to = ["frontier"]\n', ""),
        CASCADE.replace("[1.0]", "[1.0, 0.5]"),
    ):
        with pytest.raises(PolicyError, match=r"policy.toml:\d+"):
            engine_of(tmp_path, row)


async def test_a_choice_of_many_labels_stops_early_too(tmp_path: Path) -> None:
    labels = [f"label {i}" for i in range(20)]
    rows = VOTE + 'stop = { rule = "margin" }\nwaves = [3, 2]\n'
    task = Choose(type="t", subject="s", options=labels)
    decision, client = await decided(tmp_path, rows, in_turn("label 7"), task)
    assert (decision.outcome, client.calls) == ("label 7", 5)


def test_a_step_whose_oracle_is_nowhere_is_refused_and_not_accepted(tmp_path: Path) -> None:
    rows = CASCADE.replace('accept = "agreement", thresholds = [1.0]', 'accept = "oracle"')
    with pytest.raises(PolicyError, match="oracle"):
        engine_of(tmp_path, rows)
