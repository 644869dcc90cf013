"""Scored ballots over the whole path: scripted models, and both SDKs against loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consensus import Approve, Choose, Compare
from consensus.assembly import conclude_receipt
from consensus.engine import Engine
from consensus.errors import PolicyError
from consensus.ledger.receipts import Receipt, replay
from consensus.models.protocol import Request
from consensus.policy.check import check
from consensus.policy.load import load_policy
from tests.engine_fixtures import engine_of, policy_file
from tests.loopback.asking import RequestInfo
from tests.loopback.replies import Reply
from tests.loopback.server import LoopbackProvider

TASK = Choose(type="t", subject="It crashes when I pay.", options=("billing", "bug", "other"))
ROW = """
[tasks.t]
kind = "choose"
strategy = "vote"
tier = "small"
seats = 4
min_agreement = 0.25
ballot = "scores"
"""


def scoring(*rows: tuple[int, int, int]) -> Any:
    """Each seat in turn gives billing, bug and other these scores."""
    left = list(rows)

    def answer(request: Request) -> Any:
        row = left.pop(0) if len(left) > 1 else left[0]
        scores = dict(zip(TASK.options, row, strict=True))
        return {"rationale": "r", "scores": scores}

    return answer


async def decided(folder: Path, rows: str, behaviour: Any, task: Any = TASK) -> tuple[Any, Any]:
    engine, client = engine_of(folder, rows, behaviour)
    async with engine:
        decision = await engine.decide(task)
        assert engine.ledger is not None
        receipt = engine.ledger.receipt(str(decision.receipt_id))
    again = Receipt.from_bytes(receipt.to_bytes())
    assert replay(again, conclude_receipt).differences == ()
    return decision, client


SPLIT = ((9, 2, 2), (6, 7, 2), (9, 3, 1), (5, 6, 1))


async def test_the_whole_score_decides_where_the_votes_are_split(tmp_path: Path) -> None:
    decision, client = await decided(tmp_path, ROW, scoring(*SPLIT))
    assert (decision.action, decision.outcome) == ("act", "billing")
    assert client.calls == 4
    assert all(ballot.scores is not None for ballot in decision.ballots)


async def test_a_row_may_count_the_votes_of_scored_ballots(tmp_path: Path) -> None:
    rows = ROW + 'aggregator = "majority"\n'
    decision, _ = await decided(tmp_path, rows, scoring(*SPLIT))
    assert (decision.action, decision.tied) == ("escalate", ("billing", "bug"))


async def test_a_seat_that_scores_two_alike_gives_each_half_a_vote(tmp_path: Path) -> None:
    rows = ROW.replace("seats = 4", "seats = 3") + 'aggregator = "majority"\n'
    decision, _ = await decided(tmp_path, rows, scoring((8, 8, 1), (2, 9, 1), (3, 2, 9)))
    assert decision.ballots[0].answer == ("billing", "bug")
    posterior = decision.posterior
    assert posterior["bug"] > posterior["other"] > posterior["billing"]


@pytest.mark.parametrize("aggregator", ["mean", "cisc", "weighted", "blocks", "stacked", "scores"])
async def test_no_aggregator_takes_a_ballot_for_two_as_one_for_the_first(
    aggregator: str, tmp_path: Path
) -> None:
    rows = ROW.replace("seats = 4", "seats = 2") + f'aggregator = "{aggregator}"\n'
    decision, _ = await decided(tmp_path, rows, scoring((8, 8, 1)))
    assert (decision.action, decision.tied) == ("escalate", ("billing", "bug"))


async def test_a_missing_option_is_asked_for_again_and_then_fails(tmp_path: Path) -> None:
    def answer(request: Request) -> Any:
        return {"rationale": "r", "scores": {"billing": 9, "bug": 2}}

    decision, client = await decided(tmp_path, ROW, answer)
    assert decision.action == "abstain"
    assert {failure.failure for failure in decision.failures} == {"schema"}
    assert client.calls == 8


async def test_candidates_that_are_scored_alike_are_a_tie_of_the_comparison(
    tmp_path: Path,
) -> None:
    rows = ROW.replace('"choose"', '"compare"')
    task = Compare(type="t", subject="2 + 2?", a="four", b="4")
    same = {"rationale": "r", "scores": {"first": 7, "second": 7}}
    decision, _ = await decided(tmp_path, rows, lambda request: same, task)
    assert decision.outcome == "tie"


LEAD = ROW + "quorum = 1\nwaves = [1]\n"


async def test_a_panel_stops_where_the_rest_can_hardly_turn_its_lead_in_scores(
    tmp_path: Path,
) -> None:
    rows = LEAD + 'stop = { rule = "lead", evidence = "scores", spread = 1.5 }\n'
    decision, client = await decided(tmp_path, rows, scoring((9, 2, 2)))
    assert (decision.outcome, client.calls) == ("billing", 1)
    assert any("the lead in scores" in reason for reason in decision.reasons)


async def test_a_close_race_is_asked_to_the_end(tmp_path: Path) -> None:
    rows = LEAD + 'stop = { rule = "lead", evidence = "scores", spread = 3.0 }\n'
    _, client = await decided(tmp_path, rows, scoring((7, 6, 2)))
    assert client.calls == 4


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (LEAD + 'stop = { rule = "lead" }\n', "needs a spread"),
        (LEAD + "stop = { spread = 1.0 }\n", "belongs to rule lead"),
        (
            LEAD.replace('"scores"', '"structured"')
            + 'stop = { rule = "lead", evidence = "both", spread = 1.0 }\n',
            "gives no scores",
        ),
    ],
)
def test_a_lead_that_cannot_be_known_is_refused_in_one_line(
    rows: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(PolicyError, match=said) as caught:
        engine_of(tmp_path, rows)
    assert "policy.toml:" in str(caught.value)


def test_scored_ballots_without_a_calibration_are_no_finding(tmp_path: Path) -> None:
    file = policy_file(tmp_path, ROW)
    codes = {finding.code for finding in check(load_policy(file, strict=False))}
    assert "uncalibrated" not in codes


HAIKU, NANO = "anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("model", [HAIKU, NANO])
async def test_scores_come_through_the_structured_outputs_of_a_provider(
    model: str, tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        f'version = 1\n[tiers]\nsmall = ["{model}"]\n[defaults]\ntier = "small"\n' + ROW
    )
    reply = Reply(fields={"scores": {"billing": 3, "bug": 9, "other": 1}})
    schemas: list[Any] = []

    def answer(asked: RequestInfo) -> Reply:
        schemas.append(asked.schema)
        return reply

    loopback_env.set_script(answer)
    async with Engine(file, ledger=tmp_path / "ledger.db") as engine:
        decision = await engine.decide(TASK)
    assert (decision.action, decision.outcome) == ("act", "bug")
    assert decision.ballots[0].scores == {"billing": 3.0, "bug": 9.0, "other": 1.0}
    assert decision.cost.pico_usd > 0
    (schema,) = {json.dumps(asked) for asked in schemas}
    assert json.loads(schema)["properties"]["scores"]["required"] == list(TASK.options)


async def test_an_approval_may_be_scored_too(tmp_path: Path) -> None:
    rows = ROW.replace('"choose"', '"approve"')
    said = {"rationale": "r", "scores": {"approve": 9, "reject": 2}}
    task = Approve(type="t", subject="Unused.", criteria="Unused.")
    decision, _ = await decided(tmp_path, rows, lambda request: said, task)
    assert (decision.action, decision.outcome) == ("act", "approve")
