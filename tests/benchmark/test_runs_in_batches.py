"""A benchmark run through the batch endpoints: the same answers, half the money, never twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.batching import Batching, BatchSettings
from consensus.benchmark.plan import Plan
from consensus.benchmark.runs import RunOutcome
from tests.benchmark.suite_fixtures import lines, opened, refunds, suite_folder
from tests.loopback.server import LoopbackProvider

HAIKU, NANO = "anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"
POLICY = f'version = 1\n[tiers]\nsmall = ["{HAIKU}", "{NANO}"]\n'

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]


async def _run(folder: Path, out: str, *, batch: bool) -> RunOutcome:
    suite_folder(folder, cases=refunds(6))
    plan = Plan((HAIKU, NANO), ballot="structured")
    settings = BatchSettings(settle_s=0.2, poll_s=(0.02, 0.1))
    with await opened(folder, plan=plan, text=POLICY, out=out) as run:
        batching = Batching(run.folder / "batches.jsonl", settings=settings) if batch else None
        return await run.go(concurrency=1000, batch=batching)


async def test_a_run_in_batches_gives_the_answers_of_a_live_one_at_half_the_price(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    loopback_env.set_script({"answers": "hash"})
    live = await _run(tmp_path, "live", batch=False)
    loopback_env.cache.clear()
    batched = await _run(tmp_path, "batched", batch=True)
    assert batched.complete
    assert len(loopback_env.batches.made) == 2
    assert 2 * batched.spent_pico == live.spent_pico > 0
    told = [
        [
            (row["case"], row["model"], row["answer"])
            for row in lines(tmp_path / name / "answers.jsonl")
        ]
        for name in ("live", "batched")
    ]
    assert told[0] == told[1]


async def test_a_run_that_is_there_asks_no_batch_again(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    first = await _run(tmp_path, "run", batch=True)
    again = await _run(tmp_path, "run", batch=True)
    assert (again.sent, again.spent_pico) == (0, first.spent_pico)
    assert len(loopback_env.batches.made) == 2
    assert loopback_env.log.paid_twice == {}
