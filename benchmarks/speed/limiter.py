"""What ten thousand waiting calls cost: our queue, and asyncio-throttle alone and behind a lock.

``python -m benchmarks.speed.limiter KIND`` runs one of them, in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from asyncio_throttle import Throttler

from benchmarks.speed.page import Claim, Part, spread, table
from benchmarks.speed.shared import ROOT
from consensus.models.limits import ProviderLimits

WAITING, RATE, WINDOW_S = 10_000, 100, 1.0
KINDS = {
    "ours": "our queue",
    "lock": "asyncio-throttle behind a lock",
    "throttle": "asyncio-throttle as it comes",
}


def gate(kind: str) -> Callable[[], Any]:
    """What a call enters."""
    if kind == "ours":
        limits = ProviderLimits(RATE * 60, None, None, window_s=WINDOW_S)

        @asynccontextmanager
        async def enter() -> AsyncIterator[float]:
            permit = await limits.admit()
            # The moment of the grant: the task that waits runs a turn of the event loop later.
            yield permit._stamp
            permit.done()

        return enter
    throttler = Throttler(RATE, WINDOW_S)
    if kind == "throttle":
        return lambda: throttler
    lock = asyncio.Lock()

    @asynccontextmanager
    async def behind() -> AsyncIterator[None]:
        async with lock, throttler:
            yield

    return behind


async def run(kind: str, waiting: int, seconds: float) -> dict[str, float]:
    """Let them wait, and look at the CPU once all of them do."""
    enter = gate(kind)
    admitted: list[tuple[float, int]] = []

    async def call(number: int) -> None:
        async with enter() as granted:
            at = granted if isinstance(granted, float) else time.monotonic()
            admitted.append((at, number))

    calls = [asyncio.create_task(call(number)) for number in range(waiting)]
    await asyncio.sleep(WINDOW_S / 2)  # all stand in the queue, the first share has gone
    wall, cpu, before = time.monotonic(), time.process_time(), len(admitted)
    await asyncio.sleep(seconds)
    watched = time.monotonic() - wall
    share = (time.process_time() - cpu) / watched
    after = len(admitted)
    for one in calls:
        one.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    times = [at for at, _ in admitted[:after]]
    most = max(sum(1 for other in times[i:] if other < at + WINDOW_S) for i, at in enumerate(times))
    moved = max(abs(place - number) for place, (_, number) in enumerate(admitted[:after]))
    return {"share": share, "most": most, "moved": moved, "rate": (after - before) / watched}


def study(say: Callable[[str], None], *, rounds: int, seconds: float) -> Part:
    """Run all, in turn, ``rounds`` times."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.speed.limiter", kind, str(seconds)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            found[kind].append(json.loads(done.stdout))
    say("limiter: done")
    ours = found["ours"]
    middle = sorted(one["share"] for one in ours)[len(ours) // 2]
    rows = [
        [
            label,
            spread([100 * one["share"] for one in found[kind]]) + " %",
            f"{max(one['moved'] for one in found[kind]):.0f}",
            f"{max(one['most'] for one in found[kind]):.0f}",
            spread([one["rate"] for one in found[kind]], "{:.0f}"),
        ]
        for kind, label in KINDS.items()
    ]
    return Part(
        "The limiter",
        [
            Claim("share of a core with 10,000 waiting, %", 100 * middle, 1.5),
            Claim(
                "places by which a call was overtaken",
                max(o["moved"] for o in ours),
                0,
                form="{:.0f}",
            ),
            Claim(
                f"most calls admitted in any {WINDOW_S:g} s",
                max(o["most"] for o in ours),
                RATE,
                form="{:.0f}",
            ),
        ],
        [
            (
                f"{WAITING:,} tasks wait at {RATE} a {WINDOW_S:g} s, watched for {seconds:g} s "
                "after all stand in the queue."
            ),
            table(
                (
                    "",
                    "of a core",
                    "places moved, at most",
                    "in one window, at most",
                    "admitted a second",
                ),
                rows,
            ),
        ],
    )


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], WAITING, float(sys.argv[2])))))
