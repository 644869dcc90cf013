"""Memory of a long stream: tasks through ``decide_many``, one process, the scripted model.

``python -m benchmarks.speed.memory TASKS LEDGER`` runs one, in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.page import Claim, Part, table
from benchmarks.speed.shared import ROOT, policy, task
from consensus import Engine
from consensus.models.scripted import ScriptedClient
from consensus.tasks import Approve

POINTS = 10
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def resident_mb() -> float:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE_KB / 1024


def tasks(number: int) -> Iterator[Approve]:
    """As they are needed."""
    for case in range(number):
        yield task(case)


def _policy() -> str:
    """Without rate limits: their windows hold a minute's calls, so as many as the machine makes."""
    return policy("scripted", model="scripted/yes", row="seats = 3", limits=False)


async def run(number: int, *, ledger: bool) -> dict[str, Any]:
    """Resident memory after each tenth."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "policy.toml"
        file.write_text(_policy(), "utf-8")
        client = ScriptedClient.answering({"scripted/yes": "approve"}, keep=100)
        curve, done = [], 0
        cpu = time.process_time()
        kept = folder / "ledger.db" if ledger else False
        async with Engine(file, ledger=kept, clients={"scripted": client}) as engine:
            async for decision in engine.decide_many(tasks(number)):
                if decision.outcome != "approve":
                    raise RuntimeError(f"decided {decision.outcome}: {decision.reasons}")
                done += 1
                if done % (number // POINTS) == 0:
                    curve.append(round(resident_mb(), 1))
        return {"curve": curve, "cpu_s": time.process_time() - cpu}


def study(say: Callable[[str], None], *, streams: tuple[tuple[int, bool], ...]) -> Part:
    """Run them."""
    claims, rows = [], []
    for number, ledger in streams:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed.memory", str(number), str(int(ledger))],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        curve = np.array(found["curve"])
        # The first tenths fill what is bounded: caches, the allocator's own reserves.
        late = np.arange(POINTS)[3:]
        slope = float(np.polyfit(late * number / POINTS / 1000, curve[3:], 1)[0])
        name = f"{number:,} tasks, {'with' if ledger else 'no'} ledger"
        claims.append(
            Claim(
                f"MB gained each 1,000 tasks, after the first 30 % ({name})",
                slope,
                0.05,
                form="{:.3f}",
            )
        )
        shown = ", ".join(f"{value:.0f}" for value in curve)
        rows.append([name, shown, f"{1000 * found['cpu_s'] / number:.2f}"])
        say(f"memory, {name}: done")
    note = (
        "Three seats of the scripted model, a hundred decisions at once, tasks from a generator; "
        "no rate limits, whose windows hold a minute's calls at 0.1 kB each."
    )
    head = ("", "resident MB at each tenth", "ms of CPU a decision")
    return Part("Memory of a stream", claims, [note, table(head, rows)])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(int(sys.argv[1]), ledger=sys.argv[2] == "1"))))
