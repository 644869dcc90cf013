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
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import aiohttp

from benchmarks.reliability._writing import keep
from benchmarks.speed.memory import resident_mb
from benchmarks.speed.page import Claim, table
from benchmarks.speed.shared import Provider, policy, provider, subject, task
from consensus import Engine

IN_FLIGHT, WAVES, DELAY_MS = 10_000, 3, 400
PATIENCE_S = 600
"""For an answer: on a machine with other work the provider itself may be late by minutes."""
GROWTH = 1.15


class Wave(NamedTuple):
    """What one wave took."""

    p50_s: float
    p99_s: float
    wall_s: float
    cpu_s: float
    bare_cpu_ms: float
    resident_mb: float
    handles: int
    most_handles: int
    right: int
    wrong: Counter[str]


def handles() -> int:
    """Open file handles of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number is wanted


async def bare(url: str, number: int, at_once: int) -> tuple[float, float]:
    """Calls by hand, so many at once: their median in ms, and ms of CPU each."""
    taken: list[float] = []
    asked = {"model": "gpt-5.4-nano", "messages": [{"role": "user", "content": subject("bare")}]}

    async def worker(session: aiohttp.ClientSession) -> None:
        for _ in range(number // at_once):
            began = time.perf_counter()
            # Some of these meet a fault as well.
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(f"{url}/v1/chat/completions", json=asked) as answer:
                    await answer.read()
                taken.append(time.perf_counter() - began)

    cpu = time.process_time()
    patience = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=patience) as session:
        await asyncio.gather(*(worker(session) for _ in range(at_once)))
    cpu = time.process_time() - cpu
    return 1000 * statistics.median(taken), 1000 * cpu / number


async def wave(engine: Engine, url: str, number: int, first: int) -> Wave:
    """So many decisions at once."""
    taken: list[float] = []
    wrong: Counter[str] = Counter()
    right = most = 0

    async def one(case: int) -> None:
        nonlocal right, most
        began = time.perf_counter()
        decision = await engine.decide(task(case))
        taken.append(time.perf_counter() - began)
        right += decision.outcome == "approve"
        wrong.update(failure.failure for failure in decision.failures)
        if len(taken) % 500 == 1:
            most = max(most, handles())

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(first + k) for k in range(number)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    _, beside = await bare(url, 1000, 100)
    await asyncio.sleep(0.2)
    ends = statistics.quantiles(taken, n=100)
    return Wave(ends[49], ends[98], wall, cpu, beside, resident_mb(), handles(), most, right, wrong)


async def run(server: Provider, number: int, folder: Path) -> list[Wave]:
    """All waves in one engine."""
    file = folder / "policy.toml"
    patient = policy("anthropic", row="seats = 1").replace(
        "concurrency", f"timeout_s = {PATIENCE_S}\nconcurrency"
    )
    file.write_text(patient, "utf-8")
    async with Engine(file, ledger=folder / "ledger.db") as engine:
        await engine.decide(task("warm"))
        server.delay(DELAY_MS)
        return [await wave(engine, server.url, number, k * number) for k in range(WAVES)]


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
        Claim(
            "CPU of a decision over a bare call's, the last wave's over the first's",
            (last.cpu_s / last.bare_cpu_ms) / (first.cpu_s / first.bare_cpu_ms),
            GROWTH,
        ),
    ]
    rows = [
        [
            str(k + 1),
            f"{w.p50_s:.1f}",
            f"{w.p99_s:.1f}",
            f"{w.wall_s:.1f}",
            f"{1000 * w.cpu_s / number:.2f}",
            f"{w.bare_cpu_ms:.2f}",
            f"{w.resident_mb:.0f}",
            f"{w.handles} ({w.most_handles})",
        ]
        for k, w in enumerate(waves)
    ]
    head = (
        "wave",
        "p50, s",
        "p99, s",
        "wall, s",
        "ms of CPU each",
        "bare call",
        "MB",
        "handles (most)",
    )
    said = (
        f"`python -m benchmarks.reliability load`: {WAVES} waves of {number:,} one-seat decisions "
        f"begun at the same moment, answers after {DELAY_MS} ms, at most 2,048 connections, ledger "
        "on. Latency is from the beginning of the wave, so it is the wave's own length. "
        "*Bare call*: ms of CPU of one by hand right after, a hundred at once."
    )
    wrong = sum((w.wrong for w in waves), Counter[str]())
    if wrong:
        said += f" Failed seats: {', '.join(f'{k} {v:,}' for k, v in wrong.most_common())}."
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
        keep("load", text)


if __name__ == "__main__":
    main(sys.argv[1:])
