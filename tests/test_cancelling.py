"""Cancelling ``decide`` at every step of the event loop: nothing of it is left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability._cancelling import sockets
from consensus.engine import Engine
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from consensus.tasks import Approve
from tests.engine_fixtures import engine_of
from tests.loopback import LoopbackProvider
from tests.loopback import Reply as Answer

TASK = Approve(type="t", subject="a kettle that broke")
HEAD = """
version = 1
[tiers]
small = ["scripted/a", "scripted/b"]
[prices."scripted/a"]
input = 3
output = 15
[defaults]
strategy = "vote"
tier = "small"
[providers.scripted]
concurrency = 2
requests_per_minute = 1e6
[tasks.t]
kind = "approve"
seats = 4
max_usd = 1
deadline_s = 60
"""
STEPS = 400
"""More steps of the loop than a decision here takes."""


async def steps(request: Request) -> Any:
    """Some answers take steps of the loop, some fail first; none takes time."""
    for _ in range(3):
        await asyncio.sleep(0)
    return Reply("approve", confidence=0.9)


async def cancelled_at(engine: Engine, step: int) -> bool:
    """Decide, cancel after so many steps of the loop; whether it was still running then."""
    before = asyncio.all_tasks()
    deciding = asyncio.create_task(engine.decide(TASK))
    for _ in range(step):
        await asyncio.sleep(0)
    running = not deciding.done()
    deciding.cancel()
    result = (await asyncio.gather(deciding, return_exceptions=True))[0]
    assert isinstance(result, asyncio.CancelledError) == running
    assert asyncio.all_tasks() == before
    return running


def held(engine: Engine) -> list[tuple[str, int, int]]:
    """What its providers' limits still hold: calls under way and calls that wait."""
    lanes = engine._rules.setup.gateway._lanes._lanes
    return [
        (model, lane.limits.active, lane.limits.waiting)
        for model, lane in lanes.items()
        if lane.limits.active or lane.limits.waiting
    ]


@pytest.mark.parametrize(
    "row", ["", 'latency = "fast"', "hedge_after_s = 0.0001", "waves = [2, 2]\nstop = {}"]
)
async def test_without_a_ledger_at_every_step(tmp_path: Path, row: str) -> None:
    engine, client = engine_of(tmp_path, row, steps, head=HEAD, ledger=False)
    async with engine:
        await engine.decide(TASK)
        for step in range(STEPS):
            running = await cancelled_at(engine, step)
            assert (held(engine), client.in_flight) == ([], 0)
            if not running:
                break
        assert 10 < step < STEPS - 1
        assert (await engine.decide(TASK)).action == "act"  # no lock is held, no place is lost


async def test_with_a_ledger_every_record_is_kept_and_no_lock_is_held(tmp_path: Path) -> None:
    engine, client = engine_of(tmp_path, 'latency = "fast"', steps, head=HEAD)
    async with engine:
        await engine.decide(TASK)
        for step in range(0, 60, 2):
            await cancelled_at(engine, step)
            assert (held(engine), client.in_flight) == ([], 0)
        decision = await engine.decide(TASK)
        assert engine.ledger is not None
        assert engine.ledger.calls_of(decision.receipt_id or "")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets in /proc")
async def test_over_sockets_none_is_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "sk-planted-key")
    async with LoopbackProvider(lambda _: Answer(answer="approve", latency_s=0.01)) as provider:
        head = HEAD.replace("scripted/a", "anthropic/claude-haiku-5-5")
        head = head.replace("scripted/b", "openai/gpt-5.4-nano")
        settings = (
            f'[providers.anthropic]\nbase_url = "{provider.url}"\napi_key_env = "PLANTED"\n'
            f'[providers.openai]\nbase_url = "{provider.openai_url}"\napi_key_env = "PLANTED"\n'
        )
        (tmp_path / "policy.toml").write_text(head + settings)
        before = sockets()
        async with Engine(tmp_path / "policy.toml", ledger=False) as engine:
            await engine.decide(TASK)
            for step in range(0, 120, 5):
                deciding = asyncio.create_task(engine.decide(TASK))
                for _ in range(step):
                    await asyncio.sleep(0)
                deciding.cancel()
                await asyncio.gather(deciding, return_exceptions=True)
                assert held(engine) == []
            assert (await engine.decide(TASK)).action == "act"
        for _ in range(500):  # the provider's ends close when it has seen ours close
            if sockets() == before:
                break
            await asyncio.sleep(0.01)
        assert sockets() == before
