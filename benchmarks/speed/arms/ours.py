"""A decision of the engine, with limits and prices: ``ours PROVIDER LEDGER [dedicated]``.

LEDGER: ``off`` (no receipts); ``nowhere`` (records and receipts are made, and dropped); ``process``
(on disk before an answer is used; survives a kill); ``power`` (survives the plug). ``dedicated``:
with the garbage collector arranged as in ``consensus serve`` and ``consensus decide``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.speed import arm
from benchmarks.speed.shared import policy, task
from consensus import Engine
from consensus.ledger.receipts import Receipt
from consensus.ledger.store import Ledger
from consensus.models.protocol import CallRecord

PROVIDER, KEPT, *REST = sys.argv[1:]


class Nowhere(Ledger):
    """A ledger that forgets: what making a receipt costs without keeping it."""

    async def record(self, call: CallRecord) -> None:
        """Drop it."""

    async def keep(self, receipt: Receipt) -> None:
        """Drop it."""


@asynccontextmanager
async def opened() -> AsyncIterator[arm.Decide]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "policy.toml"
        file.write_text(policy(PROVIDER), "utf-8")
        ledger: Ledger | bool = False
        if KEPT == "nowhere":
            ledger = Nowhere(folder / "ledger.db")
        elif KEPT != "off":
            ledger = Ledger(folder / "ledger.db", durability=KEPT)  # type: ignore[arg-type]
        async with Engine(file, ledger=ledger, dedicated="dedicated" in REST) as engine:

            async def decide(case: int) -> str:
                decision = await engine.decide(task(case))
                return str(decision.outcome) if len(decision.ballots) == 10 else "short panel"

            yield decide
        if isinstance(ledger, Ledger):
            await ledger.aclose()


arm.serve(opened)
