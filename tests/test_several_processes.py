"""Four processes, one policy: the ledger on PostgreSQL, limits and a budget in Redis."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from consensus.ledger import Ledger
from consensus.ledger.schema import calls, decisions
from consensus.ledger.verify import verify
from consensus.models.redis_store import RedisStore
from tests.servers.real import Redis
from tests.several_processes import decide_for_ever

pytestmark = [pytest.mark.needs("postgres", "redis"), pytest.mark.waits]

CAP_USD = 20.0
POLICY = f"""
version = 1
[ledger]
url_env = "CONSENSUS_LEDGER_URL"
[limits]
shared = "redis"
url_env = "CONSENSUS_LIMITS_URL"
daily_usd = {CAP_USD}
[providers.acme]
concurrency = 10
[prices."acme/a"]
input = 100.0
output = 5.0
max_input_tokens = 10000
max_output_tokens = 2000
[tiers]
small = ["acme/a"]
[tasks.refund]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 3
"""


def test_one_of_four_is_killed_and_nothing_acknowledged_is_lost_and_no_budget_overrun(
    postgres_url: str, redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONSENSUS_LEDGER")
    monkeypatch.setenv("CONSENSUS_LEDGER_URL", postgres_url)
    monkeypatch.setenv("CONSENSUS_LIMITS_URL", redis_server.url)
    (tmp_path / "policy.toml").write_text(POLICY)
    notes = [tmp_path / f"acknowledged-{i}" for i in range(4)]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=decide_for_ever, args=(str(tmp_path / "policy.toml"), str(one)))
        for one in notes
    ]
    for process in processes:
        process.start()
    patience = time.monotonic() + 60
    while not (notes[0].exists() and notes[0].stat().st_size > 200):
        assert time.monotonic() < patience, "it did not decide"
        time.sleep(0.01)
    processes[0].kill()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [-9, 0, 0, 0]
    acknowledged = {line for one in notes for line in one.read_text().split() if len(line) == 26}
    with Ledger(postgres_url, must_exist=True) as ledger:
        checked = verify(ledger)
        kept = ledger.read(lambda c: set(c.scalars(select(decisions.c.receipt_id))))
        paid = ledger.read(lambda c: int(c.scalar(select(func.sum(calls.c.cost_pico))) or 0))
    assert checked.ok, checked.problems
    assert acknowledged <= kept

    async def booked() -> int:
        store = RedisStore(redis_server.url)
        day, _ = await store.spent("all")
        await store.aclose()
        return day

    held = asyncio.run(booked())
    assert paid <= held <= CAP_USD * 1e12
    # What the killed process had in flight, at most ten calls, stays booked at its worst case.
    assert held - paid <= 10 * 0.25e12
    assert paid > 0.5 * CAP_USD * 1e12
