"""A file decided by two worker processes on Ray, one of them killed; a cap; who goes on."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from consensus.cluster import CapError, CappedRun, ClusterRun, RunEngine
from consensus.ledger.receipts import Receipt
from consensus.ledger.store import Ledger
from consensus.ledger.verify import verify
from consensus.models.protocol import CallRecord
from tests.cluster.conftest import KEY, RayUp
from tests.loopback.server import LoopbackProvider

pytestmark = [
    pytest.mark.needs("ray"),
    # Ray's own: file handles of processes that it has killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

POLICY = """
version = 1
[providers.anthropic]
base_url = "{url}"
concurrency = 12
[tiers]
small = ["anthropic/claude-haiku-5-5"]
[tasks.refund]
kind = "approve"
criteria = "Unused."
strategy = "vote"
tier = "small"
seats = 3
gate = "sane"
[oracles.sane]
kind = "python"
file = "sane.py"
function = "check"
"""

ORACLE = """
def check(answer, reference=None):
    return answer in ("approve", "reject")
"""


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    made = LoopbackProvider(latency_s=0.05, answers="hash").start()
    yield made
    made.stop()


@pytest.fixture
def policy(tmp_path: Path, provider: LoopbackProvider) -> Path:
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "policy.toml").write_text(POLICY.format(url=provider.url))
    (folder / "sane.py").write_text(ORACLE)
    return folder


def tasks_in(folder: Path, many: int) -> Path:
    """So many tasks, every tenth text twice, and a bad line."""
    lines = [
        json.dumps({"id": f"t{i}", "subject": f"ticket {i - i % 10 // 9}"}) for i in range(many)
    ]
    lines.insert(5, "broken")
    source = folder / "tasks.jsonl"
    source.write_text("".join(f"{line}\n" for line in lines))
    return source


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def said(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says that does not depend on when and under which id it was decided."""
    names = "id", "index", "action", "outcome", "posterior", "agreement", "cost", "error"
    return {name: row[name] for name in names} | {"seats": len(row["ballots"])}


def kept(ledger: Path) -> tuple[list[CallRecord], list[Receipt]]:
    """Every call and receipt of a ledger."""
    from sqlalchemy import select

    from consensus.ledger.schema import calls, decisions

    with Ledger(ledger) as opened:
        of = opened.read(lambda c: sorted(set(c.scalars(select(calls.c.decision_id)))))
        receipts = opened.read(lambda c: sorted(c.scalars(select(decisions.c.receipt_id))))
        return [r for d in of for r in opened.calls_of(d)], [opened.receipt(r) for r in receipts]


def evidence(receipt: Receipt) -> tuple[Any, ...]:
    """What a decision was drawn from, and by which rules."""
    hops = tuple(
        (
            hop.name,
            tuple((b.seat, b.model, b.framing, b.answer) for b in hop.ballots),
            tuple((j.oracle_sha256, j.answer, j.passed) for j in hop.judgements),
        )
        for hop in receipt.hops
    )
    sums = receipt.policy_version, receipt.prices_sha256, receipt.prompts_sha256
    return receipt.task, hops, receipt.decision.action, receipt.decision.outcome, sums


async def test_one_worker_killed_costs_no_decision_no_paid_call_and_changes_nothing(
    ray_cluster: RayUp, tmp_path: Path, policy: Path, provider: LoopbackProvider
) -> None:
    source = tasks_in(tmp_path, 90)
    engine = RunEngine(policy, ledger=tmp_path / "ledger.db")
    out = tmp_path / "out.jsonl"
    run = ClusterRun(engine, source, out, "refund", concurrency=16, policy=policy, workers=2)
    async with engine, aclosing(run.rows()) as rows:
        async for row in rows:
            if row["index"] == 0:
                assert run.pool is not None
                victim, survivor = await run.pool.process_ids()
                assert len({victim, survivor, os.getpid()}) == 3
                os.kill(victim, signal.SIGKILL)
    assert run.pool is not None
    assert run.pool.deaths == 1
    asked = len(provider.requests)

    plain = RunEngine(policy, ledger=tmp_path / "plain.db")
    os.environ["ANTHROPIC_API_KEY"] = "sk-ant-other"
    async with plain:
        alone = CappedRun(plain, source, tmp_path / "plain.jsonl", "refund")
        async for _ in alone.rows():
            pass
    rows_here, rows_there = rows_of(tmp_path / "plain.jsonl"), rows_of(tmp_path / "out.jsonl")
    assert [said(row) for row in rows_there] == [said(row) for row in rows_here]
    assert run.bad_lines == alone.bad_lines == 1
    assert run.actions == alone.actions

    calls, receipts = kept(tmp_path / "ledger.db")
    _, other = kept(tmp_path / "plain.db")
    assert len(receipts) == 90
    assert sorted(map(repr, map(evidence, receipts))) == sorted(map(repr, map(evidence, other)))
    answers = Counter((c.decision_id, c.seat) for c in calls if c.completion is not None)
    assert len(answers) == 270
    assert set(answers.values()) == {1}
    # What the dead worker had open may have been paid in vain, and answers not yet on disk: three
    # calls of each of its eight decisions at once.
    assert 270 <= asked <= 270 + 24
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert verify(ledger).ok
    assert not list(tmp_path.glob("ledger.db.*.workers"))

    for path in [*ray_cluster.logs.rglob("*"), *tmp_path.rglob("*")]:
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


async def test_a_run_stops_at_its_cap_and_another_engine_goes_on_where_it_stopped(
    ray_cluster: RayUp, tmp_path: Path, policy: Path, provider: LoopbackProvider
) -> None:
    source, cap = tasks_in(tmp_path, 60), 0.004
    engine = RunEngine(policy, ledger=tmp_path / "ledger.db")
    out = tmp_path / "out.jsonl"
    run = ClusterRun(engine, source, out, "refund", concurrency=8, policy=policy, max_usd=cap)
    async with engine:
        with pytest.raises(CapError, match="higher --max-usd"):
            async for _ in run.rows():
                pass
    calls, receipts = kept(tmp_path / "ledger.db")
    paid = sum(call.cost_pico for call in calls)
    assert 0 < paid <= cap * 10**12
    assert len(receipts) < 60
    assert not (tmp_path / "out.jsonl").exists()

    asked = len(provider.requests)
    os.environ["ANTHROPIC_API_KEY"] = "sk-ant-other"
    async with RunEngine(policy, ledger=tmp_path / "ledger.db") as alone:
        rest = CappedRun(alone, source, tmp_path / "out.jsonl", "refund")
        async for _ in rest.rows():
            pass
    assert rest.reused == len(receipts)
    answered = sum(call.completion is not None for call in calls)
    assert len(provider.requests) - asked == 180 - answered
    assert len(rows_of(tmp_path / "out.jsonl")) == 61
