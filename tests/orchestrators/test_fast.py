"""All seats at once, cut off at the deciding ballot: live, over scripted models."""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from consensus.assembly import conclude_receipt
from consensus.decisions import Decision
from consensus.ledger.receipts import replay
from consensus.ledger.store import Ledger
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from consensus.policy.load import load_policy
from consensus.policy.route import route
from consensus.tasks import Approve, Choose
from tests.engine_fixtures import engine_of, policy_file
from tests.models import virtual_time

PRICED = """
version = 1
[tiers]
small = ["scripted/a"]
[prices."scripted/a"]
input = 3
output = 15
[defaults]
strategy = "vote"
tier = "small"
"""
FAST = '[tasks.t]\nkind = "approve"\nseats = {seats}\nlatency = "fast"\nmax_usd = 1\n'
TASK = Approve(type="t", subject="a kettle that broke")


class Slow:
    """Seats that answer one after another: the first at once, each next one a moment later."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.asked = 0
        self.gates: list[asyncio.Event] = []

    async def __call__(self, request: Request) -> Any:
        place, self.asked = self.asked, self.asked + 1
        answer = self.answers[place]
        if answer is None:
            await asyncio.Event().wait()
        return Reply(answer, confidence=0.9)


async def decided(folder: Path, answers: list[Any], row: str = FAST, **options: Any) -> Decision:
    engine, _ = engine_of(
        folder, row.format(seats=len(answers)), Slow(answers), head=PRICED, **options
    )
    async with engine:
        return await engine.decide(TASK)


async def test_the_deciding_ballot_ends_the_wait_for_the_others(tmp_path: Path) -> None:
    decision = await decided(tmp_path, ["approve", "approve", "approve", None, None])
    assert (decision.action, decision.outcome) == ("act", "approve")
    assert len(decision.ballots) == 3
    assert [f.failure for f in decision.failures] == ["cancelled", "cancelled"]
    assert any("2 of 5 seats still being waited for" in reason for reason in decision.reasons)
    assert not any("failed" in reason for reason in decision.reasons)


async def test_what_is_not_settled_is_waited_for(tmp_path: Path) -> None:
    answers = ["approve", "reject", "approve", "reject", "approve"]
    decision = await decided(tmp_path, answers)
    assert (decision.outcome, len(decision.ballots), decision.failures) == ("approve", 5, ())


async def test_a_seat_that_is_cut_off_is_priced_and_its_price_is_marked(tmp_path: Path) -> None:
    decision = await decided(tmp_path, ["approve", "approve", None])
    (cut,) = decision.failures
    with Ledger(tmp_path / "ledger.db") as ledger:
        calls = {call.call_id: call for call in ledger.calls_of(decision.receipt_id or "")}
    (call,) = (calls[name] for name in cut.calls)
    assert (call.failure, call.price_basis) == ("cancelled", "estimated_usage")
    usual = math.ceil(statistics.mean(b.usage.output for b in decision.ballots))
    assert call.usage.output == usual
    assert call.cost_pico == call.usage.input * 3_000_000 + usual * 15_000_000
    assert cut.cost.pico_usd == call.cost_pico
    assert decision.cost.pico_usd == sum(c.cost_pico for c in calls.values())


async def test_a_decision_that_was_cut_short_replays_from_its_receipt(tmp_path: Path) -> None:
    decision = await decided(tmp_path, ["reject", "reject", "reject", None, None])
    with Ledger(tmp_path / "ledger.db") as ledger:
        receipt = ledger.receipt(decision.receipt_id or "")
    assert replay(receipt, conclude_receipt).identical


async def test_cutting_off_changes_no_decision(tmp_path: Path) -> None:
    draw = random.Random(7)
    for number in range(8):
        answers = [draw.choice(["approve", "reject"]) for _ in range(5)]
        outcomes = set()
        for speed in ("fast", "normal"):
            row = FAST.replace('"fast"', f'"{speed}"')
            folder = tmp_path / f"{number}{speed}"
            folder.mkdir()
            decision = await decided(folder, list(answers), row, ledger=False)
            outcomes.add((decision.action, decision.outcome))
        assert len(outcomes) == 1


async def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    await decided(tmp_path, ["approve", "approve", None])
    assert asyncio.all_tasks() == before


async def test_a_decision_that_is_cancelled_cuts_nobody_off_quietly(tmp_path: Path) -> None:
    engine, client = engine_of(
        tmp_path, FAST.format(seats=3), Slow([None, None, None]), head=PRICED
    )
    async with engine:
        before = asyncio.all_tasks()
        deciding = asyncio.create_task(engine.decide(TASK))
        while client.in_flight < 3:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0)
        deciding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deciding
        assert asyncio.all_tasks() == before


@pytest.mark.parametrize("seats", [3, 5, 9])
def test_a_unanimous_panel_takes_hardly_longer_than_one_call(tmp_path: Path, seats: int) -> None:
    """Log-normal answers of 400 ms, sigma .5: medians of 200 decisions, in virtual time."""
    draw = random.Random(seats)
    calls: list[float] = []

    def answer(request: Request) -> Reply:
        calls.append(0.4 * math.exp(draw.gauss(0, 0.5)))
        return Reply("approve", confidence=0.9, latency_s=calls[-1])

    async def main(clock: Any) -> list[float]:
        row = FAST.format(seats=seats).replace("max_usd = 1", "")
        engine, _ = engine_of(tmp_path, row, answer, ledger=False)
        taken = []
        async with engine:
            for _ in range(200):
                begun = clock()
                decision = await engine.decide(TASK)
                assert decision.action == "act"
                taken.append(clock() - begun)
        return taken

    taken = virtual_time.run(main)
    assert statistics.median(taken) <= 1.3 * statistics.median(calls)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("", "margin"),
        ("waves = [3, 2]", "margin"),
        ('stop = { rule = "posterior" }', "posterior"),
        ('aggregator = "weighted"', None),
    ],
)
def test_a_fast_row_asks_all_at_once_by_its_own_rule(
    tmp_path: Path, row: str, rule: str | None
) -> None:
    table = load_policy(policy_file(tmp_path, FAST.format(seats=5) + row, head=PRICED))
    spec = route(table, TASK).hops[0].spec
    assert (spec.latency, spec.waves) == ("fast", ())
    assert (spec.stop and spec.stop.rule) == rule


async def test_a_choice_between_words_is_cut_off_too(tmp_path: Path) -> None:
    row = FAST.replace("approve", "choose").format(seats=3)
    engine, _ = engine_of(tmp_path, row, Slow(["red", "red", None]), head=PRICED)
    async with engine:
        decision = await engine.decide(
            Choose(type="t", subject="a wall", options=("red", "blue", "green"))
        )
    assert (decision.outcome, len(decision.failures)) == ("red", 1)
    assert json.loads(decision.canonical_json())["failures"][0]["message"].startswith("not needed")
