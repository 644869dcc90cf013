"""The whole path: OpenAI's client, this server, the real SDKs, a provider on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path

import openai
import pytest

from tests.loopback.replies import Reply
from tests.loopback.server import LoopbackProvider
from tests.server.serving import bearer, serving, until

POLICY = """
version = 1
[tiers]
small = ["anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"]
[defaults]
tier = "small"
[tasks.refund]
kind = "approve"
criteria = "Within 30 days."
strategy = "vote"
tier = "small"
seats = 4
quorum = 3
[tasks.triage]
kind = "approve"
strategy = "single"
tier = "small"
"""

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def _is_ours(task: asyncio.Task[object]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    file = str(getattr(code, "co_filename", ""))
    return "/consensus/" in file and "/server/" not in file


async def test_two_providers_answer_an_openai_client(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    real = {"head": POLICY}
    async with serving(tmp_path, rows="", keys=True, engine_options=real) as served:
        key = served.key("refund")
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=key) as client:
            answer = await client.chat.completions.create(
                model="refund", messages=[{"role": "user", "content": "Unused, 12 days old."}]
            )
        decided = answer.model_extra or {}
        receipt = decided["consensus"]["receipt_id"]
        ledger = served.engine.ledger
        assert ledger is not None
        calls = ledger.calls_of(receipt)
    assert answer.choices[0].message.content == "approve"
    assert decided["consensus"]["served_models"] == [
        "anthropic/claude-haiku-5-5",
        "openai/gpt-5.4-nano",
    ]
    assert sum(call.cost_pico for call in calls) / 1e12 == decided["consensus"]["cost"]["usd"] > 0
    for file in tmp_path.glob("*"):
        assert key.encode() not in file.read_bytes()


async def test_after_a_hang_up_no_call_goes_on(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    slow = False
    loopback_env.set_script(lambda asked: Reply(latency_s=3) if slow else None)
    real = {"head": POLICY}
    async with serving(tmp_path, rows="", keys=True, engine_options=real) as served:
        headers = bearer(served.key("refund"))
        task = {"type": "refund", "subject": "Unused."}
        assert (await served.decide(task, headers=headers)).status_code == 200
        slow = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(served.decide(task, headers=headers), 0.5)
        await until(lambda: served.service.in_flight == 0)
        ours = [task for task in asyncio.all_tasks() if _is_ours(task)]
        asked = len(loopback_env.requests)
        await asyncio.sleep(0.1)
        assert (ours, served.service.gate.running) == ([], 0)
        assert len(loopback_env.requests) == asked
