"""What a whole run may cost: never more, and nothing refused while a call may still settle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.cluster import CapError, CappedRun, RunEngine
from consensus.cluster.budget import Funds, Till
from consensus.models.scripted import ScriptedClient
from tests.engine_fixtures import policy_file

POLICY = """
version = 1
[tiers]
small = ["acme/a"]
[prices."acme/a"]
input = 10
output = 10
max_input_tokens = 100000
max_output_tokens = 8000
[tasks.refund]
kind = "approve"
criteria = "Unused."
strategy = "single"
tier = "small"
"""


class Here:
    """A till in this process."""

    def __init__(self, till: Till) -> None:
        self.till = till

    async def draw(self, least: int) -> int:
        return self.till.draw(least)


@given(st.lists(st.integers(1, 100), max_size=60), st.integers(0, 2000), st.integers(1, 8))
def test_a_till_never_gives_out_more_than_it_has(
    draws: list[int], cap: int, processes: int
) -> None:
    till = Till(cap, processes=processes)
    given_out = 0
    for least in draws:
        drawn = till.draw(least)
        assert drawn == 0 or drawn >= least
        given_out += drawn
    assert given_out + till.left == cap


def test_what_earlier_parts_have_cost_is_gone() -> None:
    assert Till(100, spent_pico=70).draw(31) == 0


async def test_a_call_waits_for_those_under_way_before_it_is_refused() -> None:
    funds = Funds(Here(Till(100)), 100)
    await funds.take(80)
    waiting = asyncio.create_task(funds.take(50))
    await asyncio.sleep(0)
    assert not waiting.done()
    funds.settle(80, 10)
    await waiting
    funds.settle(50, 50)
    with pytest.raises(CapError, match=r"could cost \$0\.000000"):
        await funds.take(41)
    await funds.take(40)


async def test_a_run_in_one_process_stops_at_its_cap_and_goes_on_with_a_higher_one(
    tmp_path: Path,
) -> None:
    source = tmp_path / "tasks.jsonl"
    source.write_text("".join(json.dumps({"subject": f"s{i}"}) + "\n" for i in range(60)))
    client = ScriptedClient(lambda request: "approve")

    def run_of(cap: float | None) -> CappedRun:
        engine = RunEngine(
            policy_file(tmp_path, POLICY, head=""),
            ledger=tmp_path / "ledger.db",
            clients={"acme": client},
        )
        out = tmp_path / "out.jsonl"
        return CappedRun(engine, source, out, "refund", concurrency=4, max_usd=cap)

    first = run_of(0.05)
    async with first.engine:
        with pytest.raises(CapError, match="may cost"):
            async for _ in first.rows():
                pass
    asked = len(client.requests)
    assert 0 < asked < 60
    again = run_of(0.05)  # the same cap is met at once: earlier parts count
    async with again.engine:
        with pytest.raises(CapError):
            async for _ in again.rows():
                pass
    assert len(client.requests) == asked
    last = run_of(None)
    async with last.engine:
        async for _ in last.rows():
            pass
    assert len(client.requests) == 60
    assert last.actions["act"] == 60
