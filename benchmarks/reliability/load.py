"""Ten thousand decisions in flight at once: ``python -m benchmarks.reliability load [--write]``.

Every decision is a whole one, with receipt, limits and prices, over the anthropic SDK's path to the
provider of ``benchmarks/speed`` on loopback. The same number of decisions is made in three waves;
memory and file handles must not grow from one wave to the next, and latency must not either.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.speed.memory import resident_mb
from benchmarks.speed.page import Claim, table
from benchmarks.speed.shared import Provider, policy, provider, task
from consensus import Engine
from consensus.benchmark.study import replace_sections

IN_FLIGHT, WAVES, DELAY_MS = 10_000, 3, 400
GROWTH = 1.15


class Wave(NamedTuple):
    """What one wave took."""

    p50_s: float
    p99_s: float
    wall_s: float
    cpu_s: float
    resident_mb: float
    handles: int
    most_handles: int
    right: int


def handles() -> int:
    """Open file handles of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number is wanted


async def wave(engine: Engine, number: int, first: int) -> Wave:
    """So many decisions at once."""
    taken: list[float] = []
    right = most = 0

    async def one(case: int) -> None:
        nonlocal right, most
        began = time.perf_counter()
        decision = await engine.decide(task(case))
        taken.append(time.perf_counter() - began)
        right += decision.outcome == "approve"
        if len(taken) % 500 == 1:
            most = max(most, handles())

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(first + k) for k in range(number)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await asyncio.sleep(0.2)
    ends = statistics.quantiles(taken, n=100)
    return Wave(ends[49], ends[98], wall, cpu, resident_mb(), handles(), most, right)


async def run(server: Provider, number: int, folder: Path) -> list[Wave]:
    """All waves in one engine."""
    file = folder / "policy.toml"
    row = "seats = 1"
    file.write_text(policy("anthropic", row=row), "utf-8")
    async with Engine(file, ledger=folder / "ledger.db") as engine:
        await engine.decide(task("warm"))
        server.delay(DELAY_MS)
        return [await wave(engine, number, k * number) for k in range(WAVES)]


def page(waves: list[Wave], number: int) -> str:
    """Claims and figures, as Markdown."""
    first, last = waves[0], waves[-1]
    claims = [
        Claim(
            "decisions that came out right",
            sum(w.right for w in waves),
            number * WAVES,
            least=True,
            form="{:.0f}",
        ),
        Claim(
            "memory after the last wave over after the first",
            last.resident_mb / first.resident_mb,
            GROWTH,
        ),
        Claim(
            "file handles after the last wave over after the first",
            last.handles / first.handles,
            1.0,
        ),
        Claim("CPU of the last wave over the first's", last.cpu_s / first.cpu_s, GROWTH),
    ]
    rows = [
        [
            str(k + 1),
            f"{w.p50_s:.1f}",
            f"{w.p99_s:.1f}",
            f"{w.wall_s:.1f}",
            f"{1000 * w.cpu_s / number:.2f}",
            f"{w.resident_mb:.0f}",
            f"{w.handles} ({w.most_handles})",
        ]
        for k, w in enumerate(waves)
    ]
    head = ("wave", "p50, s", "p99, s", "wall, s", "ms of CPU each", "MB", "handles (most)")
    said = (
        f"`python -m benchmarks.reliability load`: {WAVES} waves of {number:,} one-seat decisions "
        f"begun at the same moment, answers after {DELAY_MS} ms, at most 2,048 connections, ledger "
        "on. Latency is from the beginning of the wave, so it is the wave's own length."
    )
    shown = table(("claim", "measured", "target", ""), [claim.row() for claim in claims])
    return "\n\n".join(["## Load", said, shown, table(head, rows)])


def main(arguments: list[str]) -> None:
    """Run, print, and with ``--write`` replace the section of RESULTS.md."""
    parser = argparse.ArgumentParser("load", description=__doc__)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as name,
        provider() as server,
        patch.dict(os.environ, server.environment()),
    ):
        waves = asyncio.run(run(server, given.in_flight, Path(name)))
    text = page(waves, given.in_flight)
    sys.stdout.write(f"{text}\n")
    if given.write:
        results = Path("benchmarks/RESULTS.md")
        before = results.read_text(encoding="utf-8")
        after = replace_sections(before, {"load": text}, where=str(results))
        results.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
