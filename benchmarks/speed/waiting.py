"""Latency: a panel that stops at the deciding ballot, one call, and a wait for all of three."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.speed.page import Claim, Part, spread, table
from benchmarks.speed.shared import Provider, policy, task
from consensus import Engine
from consensus.errors import DeclarationError

MEDIAN_MS, SIGMA = 400, 0.5
SPREAD_S = 4.0
"""A round's decisions begin over so long."""
ROWS = {
    "one call": 'strategy = "single"',
    "one call, hedged after 0.5 s": 'strategy = "single"\nhedge_after_s = 0.5',
    "three, waiting for all": 'strategy = "vote"\nseats = 3',
    "three, fast": 'strategy = "vote"\nseats = 3\nlatency = "fast"',
    "five, fast": 'strategy = "vote"\nseats = 5\nlatency = "fast"',
}


async def _measure(
    folder: Path, rows: dict[str, str], rounds: int, at_once: int
) -> tuple[dict[str, list[list[float]]], dict[str, list[int]]]:
    seconds: dict[str, list[list[float]]] = {name: [] for name in rows}
    asked: dict[str, list[int]] = {name: [] for name in rows}
    engines = {}
    for number, (name, row) in enumerate(rows.items()):
        file = folder / f"{number}.toml"
        text = policy("anthropic", row=row).replace('strategy = "vote"\ntier', "tier", 1)
        file.write_text(text, "utf-8")
        engines[name] = Engine(file, ledger=False)

    async def one(engine: Engine, case: int, after_s: float = 0.0) -> tuple[float, int]:
        await asyncio.sleep(after_s)
        began = time.perf_counter()
        decision = await engine.decide(task(case))
        if decision.outcome != "approve":
            raise RuntimeError(f"decided {decision.outcome}: {decision.reasons}")
        return time.perf_counter() - began, len(decision.ballots)

    for engine in engines.values():
        await one(engine, 0)  # imports and connections
    for number in range(rounds):
        # All rows at the same time, so that a busy machine delays all of them alike; and one after
        # another within them, so that they wait for their answers and not for each other's work.
        jobs = {
            name: [
                one(engine, number * at_once + k, SPREAD_S * (k + turn / len(engines)) / at_once)
                for k in range(at_once)
            ]
            for turn, (name, engine) in enumerate(engines.items())
        }
        gathered = await asyncio.gather(*(asyncio.gather(*each) for each in jobs.values()))
        for name, done in zip(jobs, gathered, strict=True):
            seconds[name].append([took for took, _ in done])
            asked[name] += [ballots for _, ballots in done]
    for engine in engines.values():
        await engine.aclose()
    return seconds, asked


def _known(folder: Path) -> tuple[dict[str, str], list[str]]:
    """The rows that this version's policy takes."""
    known, unknown = {}, []
    for name, row in ROWS.items():
        file = folder / "try.toml"
        file.write_text(policy("anthropic", row=row).replace('strategy = "vote"\ntier', "tier", 1))
        try:
            Engine(file, ledger=False)
        except DeclarationError as error:
            unknown.append(f"{name}: {error}")
        else:
            known[name] = row
    return known, unknown


def study(
    provider: Provider, say: Callable[[str], None], *, rounds: int, at_once: int = 20
) -> Part:
    """Run it."""
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, provider.environment()):
        folder = Path(name)
        rows, unknown = _known(folder)
        provider.delay(MEDIAN_MS, SIGMA)
        seconds, asked = asyncio.run(_measure(folder, rows, rounds, at_once))
        provider.delay(0)
    say("latency: done")
    middle = {name: [statistics.median(each) for each in found] for name, found in seconds.items()}

    def over(name: str) -> list[float]:
        pairs = zip(middle.get(name, ()), middle["one call"], strict=False)
        return [a / b for a, b in pairs]

    late = {
        name: statistics.quantiles([one for each in found for one in each], n=20)[-1]
        for name, found in seconds.items()
    }
    lines: list[list[Any]] = [
        [
            name,
            spread([1000 * value for value in middle[name]], "{:.0f}"),
            spread(over(name)),
            f"{1000 * late[name]:.0f}",
            f"{statistics.mean(asked[name]):.2f}",
        ]
        for name in rows
    ]
    fast = over("three, fast")
    return Part(
        "Latency of a unanimous panel",
        [
            Claim(
                'median latency of `latency = "fast"`, three seats, over one call\'s',
                statistics.median(fast) if fast else float("nan"),
                1.3,
            ),
            Claim(
                "p95 of a call that is hedged after 0.5 s, over that of one that is not",
                late.get("one call, hedged after 0.5 s", float("nan")) / late["one call"],
                1.0,
            ),
        ],
        [
            (
                f"Answers take {MEDIAN_MS} ms in the median, log-normal with σ = {SIGMA:g}. "
                f"{rounds} rounds of {at_once} decisions a row, begun over {SPREAD_S:g} s in all "
                "rows at the same time; medians of a round, then the median of the rounds (least "
                "to greatest); p95 of all."
            ),
            table(("", "ms", "over one call", "p95, ms", "ballots"), lines),
            *("\n".join(f"- not measured: {line}" for line in unknown),) * bool(unknown),
        ],
    )
