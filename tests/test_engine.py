"""The whole path on scripted models: what decide promises its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from consensus import Approve, Choose, Compare, Decision, Engine, Generate, Rank, Score, Task
from consensus.assembly import conclude_receipt
from consensus.ballots import Usage
from consensus.errors import LedgerError, PriceError, TaskError
from consensus.ledger.receipts import replay
from consensus.ledger.store import Ledger
from consensus.models.protocol import Completion, Request
from consensus.models.scripted import Reply, ScriptedClient
from tests.engine_fixtures import MODELS, engine_of, policy_file

REFUND = Approve(type="refund", subject="Unused, 12 days old.", criteria="Unused, within 30 days.")

VOTE = """
[tasks.refund]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 5
quorum = 4
"""

PRICED = """
[prices."scripted/a"]
input = 1.0
output = 10.0
cache_read = 0.1
[prices."scripted/b"]
input = 0.3
output = 0.7
[prices."scripted/f"]
input = 15.0
output = 75.0
"""


def seat_by_seat(said: Sequence[object]) -> object:
    """Answers in the order in which the first requests of a decision arrive."""
    left = list(said)

    def answer(request: Request) -> object:
        return left.pop(0) if left else "approve"

    return answer


async def test_a_panel_decides_and_shows_its_ballots(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, VOTE, {"scripted/a": "approve", "scripted/b": "reject"})
    async with engine:
        decision = await engine.decide(REFUND)
    assert (decision.action, decision.outcome, decision.agreement) == ("act", "approve", 0.6)
    assert [b.seat for b in decision.ballots] == [0, 1, 2, 3, 4]
    assert {b.framing for b in decision.ballots} != {"plain"}
    assert client.calls == 5


async def test_all_seats_are_asked_at_once(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, VOTE, lambda request: Reply("approve", latency_s=0.05))
    async with engine:
        await engine.decide(REFUND)
    assert client.peak == 5


async def test_two_failures_of_five_with_quorum_four_abstain_and_are_named(tmp_path: Path) -> None:
    said = ["approve", Reply(failure="auth"), "approve", Reply(failure="auth"), "approve"]
    engine, _ = engine_of(tmp_path, VOTE, seat_by_seat(said))  # type: ignore[arg-type]
    async with engine:
        decision = await engine.decide(REFUND)
    assert (decision.action, decision.outcome) == ("abstain", None)
    assert [f.seat for f in decision.failures] == [1, 3]
    assert {f.failure for f in decision.failures} == {"auth"}
    assert sum("auth" in reason for reason in decision.reasons) == 2


async def test_where_the_row_names_a_stronger_route_it_is_asked(tmp_path: Path) -> None:
    said = ["approve", Reply(failure="auth"), "approve", Reply(failure="auth"), "approve", "reject"]
    rows = VOTE + 'escalate_to = ["frontier"]\n'
    engine, client = engine_of(tmp_path, rows, seat_by_seat(said))  # type: ignore[arg-type]
    async with engine:
        decision = await engine.decide(REFUND)
    assert (decision.action, decision.outcome) == ("act", "reject")
    assert decision.route == ("vote", "frontier")
    assert client.requests[-1].model == "scripted/f"
    assert len({b.seat for b in decision.ballots}) == len(decision.ballots)


async def test_an_even_split_is_a_tie_and_no_outcome(tmp_path: Path) -> None:
    rows = VOTE.replace("seats = 5", "seats = 4")
    engine, _ = engine_of(tmp_path, rows, {"scripted/a": "approve", "scripted/b": "reject"})
    async with engine:
        decision = await engine.decide(REFUND)
    assert (decision.action, decision.outcome) == ("escalate", None)
    assert decision.tied == ("approve", "reject")
    assert any("tie" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    "task",
    [
        REFUND,
        Choose(type="t", subject="s", options=["a", "b"]),
        Compare(type="t", a="one", b="two"),
        Rank(type="t", items=["x", "y"]),
        Score(type="t", subject="s", scale=(1, 10)),
        Generate(type="t", messages=[{"role": "user", "content": "write"}]),
    ],
    ids=lambda task: task.kind,
)
async def test_every_kind_is_decided_by_a_model_that_answers_in_form(
    tmp_path: Path, task: Task
) -> None:
    engine, _ = engine_of(tmp_path, "", None)
    async with engine:
        decision = await engine.decide(task)
    assert (decision.kind, decision.action) == (task.kind, "act")
    assert decision.outcome is not None


async def test_the_frontier_beside_it_is_compared_and_paid_apart(tmp_path: Path) -> None:
    answers = {"scripted/a": "approve", "scripted/b": "approve", "scripted/f": "reject"}
    engine, _ = engine_of(tmp_path, VOTE, answers, head=MODELS + PRICED)
    async with engine:
        alone = await engine.decide(REFUND)
        beside = await engine.decide(REFUND, frontier="scripted/f")
        calls = engine.ledger.calls_of(str(beside.receipt_id)) if engine.ledger else ()
    assert beside.frontier is not None
    assert (beside.frontier.outcome, beside.frontier.agrees) == ("reject", False)
    assert beside.outcome == alone.outcome == "approve"
    assert beside.cost == alone.cost
    assert beside.frontier.cost.pico_usd > 0
    assert {c.purpose for c in calls} == {"ballot", "frontier"}


async def test_the_sum_of_the_calls_is_the_decisions_cost_to_the_last_digit(tmp_path: Path) -> None:
    used = Usage(input=333, cache_read=1024, output=7)
    said = [Reply("approve", usage=used), Reply(text="no ballot"), "reject"]
    engine, _ = engine_of(tmp_path, VOTE, seat_by_seat(said), head=MODELS + PRICED)  # type: ignore[arg-type]
    async with engine:
        decision = await engine.decide(REFUND)
        assert engine.ledger is not None
        calls = engine.ledger.calls_of(str(decision.receipt_id))
    assert len(calls) == 6  # one repair
    assert sum(c.cost_pico for c in calls) == decision.cost.pico_usd > 0
    assert decision.ballots[0].cost.pico_usd == 333 * 1_000_000 + 1024 * 100_000 + 7 * 10_000_000


async def test_the_served_model_is_what_is_billed(tmp_path: Path) -> None:
    used = Usage(input=1000, output=1)
    answers = {"scripted/a": Reply("approve", served_model="scripted/f", usage=used)}
    engine, _ = engine_of(tmp_path, "", answers, head=MODELS + PRICED)
    async with engine:
        decision = await engine.decide(REFUND)
    assert decision.ballots[0].served_model == "scripted/f"
    assert decision.cost.pico_usd == 1000 * 15_000_000 + 75_000_000


async def test_an_unreadable_answer_gets_one_repair_and_then_is_a_failure(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, "", lambda request: Reply(text="hm"))
    async with engine:
        decision = await engine.decide(REFUND)
    assert client.calls == 2
    assert decision.action == "abstain"
    assert decision.failures[0].failure in {"unreadable", "off_list"}


async def test_a_receipt_replays_to_the_same_bytes(tmp_path: Path) -> None:
    said = ["approve", Reply(failure="auth"), "approve", "reject", Reply(text="?"), "reject"]
    rows = VOTE + 'escalate_to = ["frontier"]\nlosses = { false_approve = 20, false_reject = 1 }\n'
    engine, _ = engine_of(tmp_path, rows, seat_by_seat(said), head=MODELS + PRICED)  # type: ignore[arg-type]
    async with engine:
        decision = await engine.decide(REFUND, frontier="scripted/f")
        assert engine.ledger is not None
        receipt = engine.ledger.receipt(str(decision.receipt_id))
    assert receipt.decision.canonical_json() == decision.canonical_json()
    result = replay(receipt, conclude_receipt)
    assert result.differences == ()
    assert result.identical


async def test_a_tampered_receipt_does_not_replay(tmp_path: Path) -> None:
    engine, _ = engine_of(tmp_path, VOTE, {"scripted/a": "approve", "scripted/b": "approve"})
    async with engine:
        decision = await engine.decide(REFUND)
        assert engine.ledger is not None
        receipt = engine.ledger.receipt(str(decision.receipt_id))
    hop = receipt.hops[0]
    ballots = tuple(b.model_copy(update={"answer": "reject"}) for b in hop.ballots)
    forged = receipt.model_copy(update={"hops": (hop.model_copy(update={"ballots": ballots}),)})
    result = replay(forged, conclude_receipt)
    assert not result.identical
    assert "outcome" in result.differences


async def test_a_budget_is_checked_before_each_call_and_gives_a_marked_partial_decision(
    tmp_path: Path,
) -> None:
    rows = VOTE + "max_usd = 0.000001\n"
    engine, client = engine_of(tmp_path, rows, {"scripted/a": "approve"}, head=MODELS + PRICED)
    async with engine:
        decision = await engine.decide(REFUND)
    assert client.calls == 0
    assert decision.partial
    assert decision.action == "abstain"
    assert {f.failure for f in decision.failures} == {"budget"}


async def test_a_deadline_is_kept_and_said(tmp_path: Path) -> None:
    rows = VOTE + "deadline_s = 0.2\n"
    engine, _ = engine_of(tmp_path, rows, lambda request: Reply("approve", latency_s=5.0))
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with engine:
        decision = await engine.decide(REFUND)
    assert loop.time() - started < 2.0
    assert decision.partial
    assert {f.failure for f in decision.failures} == {"deadline"}


async def test_nothing_runs_on_after_a_cancelled_decision(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, VOTE, lambda request: Reply("approve", latency_s=5.0))
    async with engine:
        running = asyncio.create_task(engine.decide(REFUND, frontier="scripted/f"))
        while client.in_flight < 6:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.001)
        before = asyncio.all_tasks()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert client.in_flight == 0
        assert len(asyncio.all_tasks()) < len(before)


async def test_many_come_in_input_order_and_a_bad_one_loses_no_other(tmp_path: Path) -> None:
    def slow_first(request: Request) -> Reply:
        first = "number-0" in "".join(turn.text for turn in request.turns)
        return Reply("approve", latency_s=0.2 if first else 0.0)

    engine, _ = engine_of(tmp_path, "", slow_first)
    tasks: list[object] = [
        Approve(type="refund", subject=f"number-{i}", id=str(i)) for i in range(20)
    ]
    tasks.insert(7, {"kind": "approve", "type": "refund"})
    async with engine:
        decisions = [d async for d in engine.decide_many(tasks, concurrency=4)]  # type: ignore[arg-type]
    assert [d.task_id for d in decisions if d.error is None] == [str(i) for i in range(20)]
    assert decisions[7].action == "abstain"
    assert "subject" in str(decisions[7].error)


async def test_leaving_the_loop_early_cancels_the_rest(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, "", lambda request: Reply("approve", latency_s=0.05))
    tasks = (Approve(type="refund", subject=f"s{i}") for i in range(1000))
    async with engine:
        decisions = engine.decide_many(tasks, concurrency=10)
        seen: list[Decision] = []
        async for decision in decisions:
            seen.append(decision)
            if len(seen) == 3:
                break
        await decisions.aclose()
        assert client.in_flight == 0
    assert client.calls < 100


async def test_a_task_of_another_kind_than_its_row_is_refused(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, VOTE)
    async with engine:
        with pytest.raises(TaskError, match="kind"):
            await engine.decide(Score(type="refund", subject="s", scale=(0, 1)))
    assert client.calls == 0


async def test_a_frontier_without_a_price_is_refused_before_any_call(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, VOTE)
    async with engine:
        with pytest.raises(PriceError, match="openai/nobody"):
            await engine.decide(REFUND, frontier="openai/nobody")
    assert client.calls == 0


async def test_what_cannot_be_kept_is_not_decided(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("not a folder")
    engine, _ = engine_of(tmp_path, VOTE, ledger=Ledger(folder / "ledger.db"))
    async with engine:
        with pytest.raises(LedgerError):
            await engine.decide(REFUND)


async def test_a_ledger_is_not_needed(tmp_path: Path) -> None:
    engine, _ = engine_of(tmp_path, VOTE, {"scripted/a": "approve"}, ledger=False)
    async with engine:
        decision = await engine.decide(REFUND)
    assert decision.receipt_id is None


async def test_what_is_on_a_tape_is_not_asked_again(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, VOTE, {}, tape=tmp_path / "tape.jsonl")
    async with engine:
        first = await engine.decide(REFUND)
    assert client.calls == 5
    again, silent = engine_of(tmp_path, VOTE, {}, tape=tmp_path / "tape.jsonl")
    async with again:
        second = await again.decide(REFUND)
    assert silent.calls == 0
    assert [b.answer for b in second.ballots] == [b.answer for b in first.ballots]
    assert second.cost == first.cost


class SlowToLoad(ScriptedClient):
    """A client whose library takes a while to import; a call before that is a mistake."""

    loads = 0
    loaded = False

    async def prepare(self) -> None:
        self.loads += 1
        await asyncio.sleep(0.3)
        self.loaded = True

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        assert self.loaded
        return await super().complete(request, timeout_s=timeout_s)


async def test_decisions_that_start_together_all_wait_for_the_library_and_not_in_their_deadline(
    tmp_path: Path,
) -> None:
    client = SlowToLoad(lambda request: "approve")
    policy = policy_file(tmp_path, VOTE + "deadline_s = 0.2\n")
    async with Engine(policy, clients={"scripted": client}, ledger=False) as engine:
        first = asyncio.create_task(engine.decide(REFUND))
        others = [asyncio.create_task(engine.decide(REFUND)) for _ in range(9)]
        await asyncio.sleep(0.05)
        first.cancel()  # whoever loads may give up: the next takes over
        decisions = await asyncio.gather(*others)
    assert client.loads == 2
    assert {d.outcome for d in decisions} == {"approve"}
    assert not any(d.failures for d in decisions)


async def test_nothing_is_asked_and_paid_for_where_no_ledger_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    engine, client = engine_of(tmp_path, VOTE, None, ledger=tmp_path / "file/ledger.db")
    async with engine:
        with pytest.raises(LedgerError, match="Not a directory"):
            await engine.decide(REFUND)
    assert client.calls == 0


async def test_after_a_record_was_lost_nothing_is_asked_until_one_can_be_kept(
    tmp_path: Path,
) -> None:
    engine, client = engine_of(tmp_path, VOTE, None)
    async with engine:
        await engine.decide(REFUND)
        before = client.calls
        (tmp_path / "ledger.db").rename(tmp_path / "gone.db")
        assert engine.ledger is not None
        engine.ledger._database._look_again = 0.0  # type: ignore[attr-defined]
        with pytest.raises(LedgerError, match="was removed"):
            await engine.decide(REFUND)
        paid = client.calls - before
        with pytest.raises(LedgerError):
            await engine.decide(REFUND)
        assert client.calls == before + paid
        (tmp_path / "gone.db").rename(tmp_path / "ledger.db")
        assert (await engine.decide(REFUND)).receipt_id
