"""One process of several that decide under one policy."""

from __future__ import annotations

import asyncio
import os

from consensus import Approve, Engine
from consensus.models.scripted import ScriptedClient


def decide_for_ever(policy: str, notes: str) -> None:
    """Decide eight tasks at once until the budget is spent; note each receipt once it is there."""
    out = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def main() -> None:
        client = ScriptedClient(latency_s=0.01)
        async with Engine(policy, clients={"acme": client}) as engine:

            async def one(number: int) -> None:
                for turn in range(10_000):
                    task = Approve(type="refund", subject=f"{number} {turn}", criteria="Unused.")
                    decision = await engine.decide(task)
                    if decision.partial:
                        return
                    os.write(out, f"{decision.receipt_id}\n".encode())

            await asyncio.gather(*(one(i) for i in range(8)))

    asyncio.run(main())
