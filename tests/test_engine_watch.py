from __future__ import annotations

import asyncio
from pathlib import Path

from consensus.engine import Engine
from consensus.ledger import Ledger
from consensus.ledger.watch import incidents
from consensus.models.scripted import ScriptedClient
from consensus.tasks import Approve
from consensus.telemetry import Metrics, Telemetry
from tests.ledger.watch.fixtures import day_of, keep, policy

TASK = Approve(type="refund_approval", subject="Unused.", criteria="Within 30 days.")


async def until(found: object, wait_s: float = 20.0) -> None:
    """Wait for something that a background task brings about."""
    end = asyncio.get_running_loop().time() + wait_s
    while not found():  # type: ignore[operator]
        assert asyncio.get_running_loop().time() < end, "it did not happen"
        await asyncio.sleep(0.01)


async def test_an_engine_that_watches_demotes_a_drifting_row_while_it_runs(tmp_path: Path) -> None:
    folder = policy(
        tmp_path / "strategies", row="demote = true", more="[watch]\nevery_s = 0.05\n[alarms]"
    )
    with Ledger(tmp_path / "l.db") as ledger:
        keep(ledger, day_of(0, 200, 80))
    telemetry = Telemetry(metrics=Metrics())
    async with Engine(
        folder,
        ledger=tmp_path / "l.db",
        clients={"scripted": ScriptedClient()},
        watch=True,
        telemetry=telemetry,
    ) as engine:
        await until(lambda: "refund_approval" in engine.table.demoted)
        decided = await engine.decide(TASK)
        assert decided.route == ("frontier",)
        assert decided.ballots[0].model == "scripted/f"
        assert any("demoted.refund_approval" in reason for reason in decided.reasons)
        await until(lambda: "consensus_demoted{" in telemetry.metrics_text())
        assert 'consensus_incidents_open{monitor="escalation"' in telemetry.metrics_text()
        assert engine.ledger is not None
        assert [one.cause for one in incidents(engine.ledger)] == ["escalation"]


async def test_an_engine_that_is_not_told_to_watches_nothing(tmp_path: Path) -> None:
    folder = policy(tmp_path / "strategies", more="[watch]\nevery_s = 0.01")
    async with Engine(
        folder, ledger=tmp_path / "l.db", clients={"scripted": ScriptedClient()}
    ) as engine:
        await engine.decide(TASK)
        await asyncio.sleep(0.05)
        assert engine.watcher is not None
        assert engine.watcher.last is None
