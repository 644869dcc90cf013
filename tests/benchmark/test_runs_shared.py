"""A benchmark run keeps to what its policy shares with other processes: limits and a budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus import Engine
from consensus.batching import Batching, BatchSettings
from consensus.benchmark.plan import Plan
from consensus.models.limit_store import Caps
from consensus.models.redis_store import RedisStore
from tests.benchmark.suite_fixtures import POLICY, SUITE, opened, refunds, suite_folder
from tests.loopback.server import LoopbackProvider
from tests.servers.real import Redis
from tests.test_batching import POLICY as BATCHED
from tests.test_batching import tasks

pytestmark = [
    pytest.mark.needs("redis"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

VARIABLE = "CONSENSUS_LIMITS_URL"
SHARED = f"""
[limits]
shared = "redis"
url_env = "{VARIABLE}"
daily_usd = {{usd}}
"""


async def booked(url: str) -> int:
    """What all processes have spent or set aside today, in pico-dollars."""
    store = RedisStore(url)
    day, _ = await store.spent("all")
    await store.aclose()
    return day


async def test_what_a_run_pays_is_booked_to_the_pico_dollar(
    redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, redis_server.url)
    suite_folder(tmp_path, SUITE, refunds(10))
    text = POLICY + SHARED.format(usd=100)
    with await opened(tmp_path, plan=Plan(("scripted/a",)), text=text) as run:
        outcome = await run.go()
    assert outcome.complete
    assert await booked(redis_server.url) == outcome.spent_pico > 0


async def test_a_run_asks_nothing_where_others_have_spent_the_budget(
    redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, redis_server.url)
    store = RedisStore(redis_server.url)
    await store.reserve("all", Caps(10**12, None), 10**12)
    await store.aclose()
    suite_folder(tmp_path, SUITE, refunds(6))
    text = POLICY + SHARED.format(usd=1)
    with await opened(tmp_path, plan=Plan(("scripted/a",)), text=text) as run:
        outcome = await run.go()
    assert (outcome.answers, outcome.over_budget, outcome.sent) == (0, 6, 0)


async def test_what_a_batch_pays_is_booked_to_the_pico_dollar(
    redis_server: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loopback_env: LoopbackProvider,
) -> None:
    monkeypatch.setenv(VARIABLE, redis_server.url)
    file = tmp_path / "policy.toml"
    file.write_text(BATCHED + SHARED.format(usd=100))
    quick = BatchSettings(settle_s=0.1, gather_s=5.0, poll_s=(0.02, 0.1))
    batch = Batching(tmp_path / "batches.jsonl", settings=quick)
    async with Engine(file, ledger=tmp_path / "ledger.db", batch=batch) as engine:
        decisions = [decision async for decision in engine.decide_many(tasks(4))]
    assert {decision.action for decision in decisions} == {"act"}
    paid = sum(decision.cost.pico_usd for decision in decisions)
    assert await booked(redis_server.url) == paid > 0
