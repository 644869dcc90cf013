"""A stronger route beside a share of the decisions, on scripted models."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from consensus import Approve, Rank
from consensus.engine import Engine
from consensus.errors import DeclarationError, LedgerError, TaskError
from consensus.ledger import Ledger
from consensus.ledger.attribution import attribute
from consensus.ledger.shadows import shadow_of, shadow_outcomes
from consensus.ledger.verify import verify
from consensus.models.coins import drawn
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from tests.engine_fixtures import MODELS, engine_of

TASK = Approve(type="t", subject="Refund of 40 EUR.", criteria="At most 50 EUR.")

ROW = """
[prices."scripted/f"]
input = 5
output = 25
[tasks.t]
max_usd = 0.5
shadow = { share = 1, route = "frontier" }
"""


def says(small: Any = "approve", frontier: Any = "approve") -> Any:
    def answer(request: Request) -> Any:
        said = frontier if request.model == "scripted/f" else small
        return said(request) if callable(said) else said

    return answer


async def settled(engine: Engine) -> Ledger:
    """The engine's ledger once every shadow is kept; the engine stays open."""
    await engine.release()
    assert engine.ledger is not None
    return engine.ledger


async def test_the_caller_has_the_answer_before_the_shadow_is_asked(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def slow(_: Request) -> str:
        await held.wait()
        return "reject"

    engine, client = engine_of(tmp_path, ROW, says(frontier=slow))
    async with engine:
        decision = await engine.decide(TASK)
        assert decision.outcome == "approve"
        assert [request.model for request in client.requests] == ["scripted/a"]
        held.set()
        ledger = await settled(engine)
        shadow = shadow_of(ledger, str(decision.receipt_id))
    assert shadow is not None
    assert (shadow.status, shadow.outcome, shadow.agrees) == ("answered", "reject", False)
    assert (shadow.inclusion, shadow.route, shadow.served_models) == (
        1.0,
        "frontier",
        ("scripted/f",),
    )


async def test_its_cost_stands_apart_from_the_decisions_and_everything_adds_up(
    tmp_path: Path,
) -> None:
    engine, _ = engine_of(tmp_path, ROW, says())
    async with engine:
        decision = await engine.decide(TASK)
        ledger = await settled(engine)
        shadow = shadow_of(ledger, str(decision.receipt_id))
        calls = ledger.calls_of(str(decision.receipt_id))
        report = attribute(ledger, by=("type",))
        assert verify(ledger).problems == ()
    assert shadow is not None
    assert shadow.cost_pico > 0
    assert shadow.cost_pico == sum(c.cost_pico for c in calls if c.purpose == "shadow")
    assert decision.cost.pico_usd == sum(c.cost_pico for c in calls if c.purpose == "ballot")
    assert report.balance.open_pico == 0
    assert report.total.beside_pico == shadow.cost_pico


async def test_a_repair_of_a_shadow_is_paid_as_the_shadows(tmp_path: Path) -> None:
    once = iter([Reply(text="no JSON at all"), "approve"])
    engine, _ = engine_of(tmp_path, ROW, says(frontier=lambda _: next(once)))
    async with engine:
        decision = await engine.decide(TASK)
        ledger = await settled(engine)
        purposes = [call.purpose for call in ledger.calls_of(str(decision.receipt_id))]
        assert verify(ledger).problems == ()
    assert purposes == ["ballot", "shadow", "shadow"]


async def test_the_share_is_drawn_by_a_hash_of_the_decisions_id_alone(tmp_path: Path) -> None:
    row = ROW.replace("share = 1", "share = 0.4")
    engine, _ = engine_of(tmp_path, row, says())
    async with engine:
        ids = [
            str(decision.receipt_id)
            async for decision in engine.decide_many([TASK] * 40, concurrency=2)
        ]
        ledger = await settled(engine)
        kept = {shadow.receipt_id for shadow in shadow_outcomes(ledger, "t")}
    assert kept == {name for name in ids if drawn(name, 0.4)}
    assert 0 < len(kept) < 40
    assert engine.shadows.drawn == engine.shadows.answered == len(kept)


async def test_a_row_without_a_share_asks_nobody(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, "[tasks.t]\n", says())
    async with engine:
        await engine.decide(TASK)
        await engine.release()
    assert len(client.requests) == 1
    assert engine.shadows.drawn == 0


async def test_what_finds_no_place_is_dropped_counted_and_kept_as_such(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def slow(_: Request) -> str:
        await held.wait()
        return "approve"

    engine, _ = engine_of(tmp_path, ROW, says(frontier=slow))
    async with engine:
        assert engine._shadowing is not None
        engine._shadowing._at_once, engine._shadowing._most_waiting = 1, 2
        for _ in range(6):
            await engine.decide(TASK)
        held.set()
        ledger = await settled(engine)
        statuses = [shadow.status for shadow in shadow_outcomes(ledger)]
        assert verify(ledger).problems == ()
    assert sorted(statuses) == ["answered"] * 3 + ["dropped"] * 3
    assert (engine.shadows.drawn, engine.shadows.dropped) == (6, 3)


async def test_closing_waits_for_a_shadow_within_its_grace(tmp_path: Path) -> None:
    async def slow(_: Request) -> str:
        await asyncio.sleep(0.05)
        return "approve"

    engine, _ = engine_of(tmp_path, ROW, says(frontier=slow))
    async with engine:
        decision = await engine.decide(TASK)
    with Ledger(tmp_path / "ledger.db") as ledger:
        shadow = shadow_of(ledger, str(decision.receipt_id))
    assert shadow is not None
    assert shadow.status == "answered"
    assert shadow.latency_s >= 0.05


async def test_closing_cuts_off_what_outlives_the_grace_and_keeps_what_was_paid(
    tmp_path: Path,
) -> None:
    started = asyncio.Event()

    async def second(request: Request) -> Any:
        if request.sample == 0 and not started.is_set():
            started.set()
            return Reply(text="no JSON at all")
        await asyncio.sleep(60)
        return "approve"

    engine, _ = engine_of(tmp_path, ROW, says(frontier=second), shadow_grace_s=0.2)
    async with engine:
        decisions = [await engine.decide(TASK) for _ in range(6)]
        await started.wait()
    with Ledger(tmp_path / "ledger.db") as ledger:
        shadows = [shadow_of(ledger, str(one.receipt_id)) for one in decisions]
        assert verify(ledger).problems == ()
    assert [shadow and shadow.status for shadow in shadows] == ["cancelled"] * 6
    assert shadows[0] is not None
    assert shadows[0].cost_pico > 0
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_a_caller_who_goes_away_while_closing_leaves_nothing_running(tmp_path: Path) -> None:
    async def slow(_: Request) -> str:
        await asyncio.sleep(60)
        return "approve"

    engine, _ = engine_of(tmp_path, ROW, says(frontier=slow), shadow_grace_s=60)
    decision = await engine.decide(TASK)
    closing = asyncio.create_task(engine.aclose())
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert engine.ledger is not None
    shadow = shadow_of(engine.ledger, str(decision.receipt_id))
    await engine.aclose()
    assert shadow is not None
    assert shadow.status == "cancelled"


async def test_a_failing_frontier_is_a_failed_shadow_and_no_trouble_of_the_callers(
    tmp_path: Path,
) -> None:
    engine, _ = engine_of(tmp_path, ROW, says(frontier=Reply(failure="refusal")))
    async with engine:
        decision = await engine.decide(TASK)
        ledger = await settled(engine)
        shadow = shadow_of(ledger, str(decision.receipt_id))
    assert decision.action == "act"
    assert shadow is not None
    assert (shadow.status, shadow.reason, shadow.agrees) == ("failed", "refusal", None)


async def test_a_shadow_has_a_budget_of_its_own(tmp_path: Path) -> None:
    head = '[prices."scripted/a"]\ninput = 0\noutput = 0\n'
    row = head + ROW.replace("max_usd = 0.5", "max_usd = 0.000001")
    engine, client = engine_of(tmp_path, row, says())
    async with engine:
        decision = await engine.decide(TASK)
        ledger = await settled(engine)
        shadow = shadow_of(ledger, str(decision.receipt_id))
    assert decision.action == "act"
    assert not decision.partial
    assert shadow is not None
    assert (shadow.status, shadow.reason, shadow.cost_pico) == ("failed", "budget", 0)
    assert [request.model for request in client.requests] == ["scripted/a"]


async def test_the_rows_losses_and_gate_do_not_silence_the_shadow(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(
        "def limit(answer, reference, task):\n    return False\n", encoding="utf-8"
    )
    row = (
        '[oracles.limit]\nkind = "python"\nfile = "gate.py"\nfunction = "limit"\n'
        + ROW
        + 'gate = "limit"\nlosses = { false_approve = 1000, false_reject = 1 }\n'
    )
    engine, _ = engine_of(tmp_path, row, says())
    async with engine:
        decision = await engine.decide(TASK)
        ledger = await settled(engine)
        shadow = shadow_of(ledger, str(decision.receipt_id))
    assert decision.action == "escalate"
    assert shadow is not None
    assert (shadow.outcome, shadow.agrees) == ("approve", None)


async def test_a_shadows_judged_text_is_kept_neither_in_its_row_nor_in_its_calls(
    tmp_path: Path,
) -> None:
    task = Rank(type="t", subject="s", items=["first thing", "second thing"], criteria="c")
    engine, _ = engine_of(tmp_path, "[ledger]\nstore_text = false\n" + ROW, head=MODELS)
    async with engine:
        decision = await engine.decide(task)
        ledger = await settled(engine)
        shadow = shadow_of(ledger, str(decision.receipt_id))
        calls = ledger.calls_of(str(decision.receipt_id))
    assert shadow is not None
    assert shadow.outcome is None
    assert [call.completion for call in calls] == [None, None]


async def test_a_strategy_can_be_the_shadow(tmp_path: Path) -> None:
    row = ROW.replace('"frontier" }', '"panel" }') + (
        '[strategies.panel]\norchestrator = "vote"\ntier = "small"\nseats = 3\n'
    )
    engine, client = engine_of(tmp_path, row, says())
    async with engine:
        decision = await engine.decide(TASK)
        ledger = await settled(engine)
        shadow = shadow_of(ledger, str(decision.receipt_id))
        assert verify(ledger).problems == ()
    assert len(client.requests) == 4
    assert shadow is not None
    assert (shadow.agrees, shadow.served_models) == (True, ("scripted/a", "scripted/b"))


async def test_without_a_ledger_no_shadow_is_paid_for(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, ROW, says(), ledger=False)
    async with engine:
        await engine.decide(TASK)
    assert len(client.requests) == 1


async def test_a_shadow_goes_by_the_table_of_its_decision_after_a_reload(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def slow(_: Request) -> str:
        await held.wait()
        return "approve"

    engine, _ = engine_of(tmp_path, ROW, says(frontier=slow))
    async with engine:
        decision = await engine.decide(TASK)
        (tmp_path / "policy.toml").write_text(MODELS + "[tasks.t]\n", encoding="utf-8")
        assert (await engine.reload()).reloads == 1
        held.set()
        ledger = await settled(engine)
        shadow = shadow_of(ledger, str(decision.receipt_id))
    assert shadow is not None
    assert (shadow.status, shadow.policy_version) == ("answered", decision.policy_version)


async def test_feedback_is_kept_on_the_receipt_and_checked_against_its_task(tmp_path: Path) -> None:
    engine, _ = engine_of(tmp_path, "[tasks.t]\n", says())
    async with engine:
        decision = await engine.decide(TASK)
        label = await engine.feedback(
            str(decision.receipt_id), "reject", by="ada", source="chargeback", probability=1
        )
        assert (label.agrees, label.source, label.inclusion) == (False, "chargeback", 1)
        with pytest.raises(TaskError, match="one of approve, reject"):
            await engine.feedback(str(decision.receipt_id), "maybe")
        with pytest.raises(LedgerError, match="no receipt"):
            await engine.feedback("nowhere", "reject")


async def test_feedback_without_a_ledger_says_what_to_do(tmp_path: Path) -> None:
    engine, _ = engine_of(tmp_path, "[tasks.t]\n", says(), ledger=False)
    async with engine:
        with pytest.raises(DeclarationError, match="leave ledger=False out"):
            await engine.feedback("any", "reject")
