"""The engine for code that is not async."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import consensus
from consensus import Approve
from consensus.errors import PolicyError
from tests.engine_fixtures import policy_file

TASK = Approve(type="refund", subject="Unused.")


def test_it_decides(tmp_path: Path) -> None:
    decision = consensus.decide(TASK, policy=policy_file(tmp_path, ""))
    assert decision.action == "act"


async def test_it_decides_inside_a_running_loop_too(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, "")
    decision = await asyncio.to_thread(consensus.decide, TASK, policy=policy)
    assert decision.action == "act"


def test_many_threads_share_one_engine(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, "")
    found: list[str | None] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(consensus.decide(TASK, policy=policy).receipt_id)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*found}) == 8


def test_a_changed_policy_is_read_again(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, "")
    first = consensus.decide(TASK, policy=policy)
    policy.write_text(policy.read_text() + '[tasks.refund]\nstrategy = "vote"\nseats = 3\n')
    second = consensus.decide(TASK, policy=policy)
    assert (len(first.ballots), len(second.ballots)) == (1, 3)
    assert first.policy_version != second.policy_version


def test_a_broken_policy_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"policy\.toml:\d+"):
        consensus.decide(TASK, policy=policy_file(tmp_path, "[tasks.refund]\nseets = 3\n"))


def test_many_come_in_order_and_an_early_end_is_clean(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, "")
    tasks = [Approve(type="refund", subject=f"s{i}", id=str(i)) for i in range(30)]
    decided = consensus.decide_many(tasks, policy=policy, concurrency=5)
    assert [next(decided).task_id for _ in range(5)] == ["0", "1", "2", "3", "4"]
    decided.close()  # type: ignore[attr-defined]
