"""An hour of service, compressed: ``python -m benchmarks.reliability soak [--write]``.

What an hour of a busy service brings goes through one engine as fast as it can: decisions of every
kind and several strategies, a provider with faults, a policy that is rewritten (and at times
broken) under way, a ledger that grows, a watcher that reads it. Sixty *minutes* of equal work;
after each, with nothing in flight, this process is looked at. What must not grow: memory, file
handles, tasks, threads, CPU and latency of a decision. Those last two move with the machine, so
they are held against as many bare calls, made right after each minute.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.reliability._writing import keep
from benchmarks.reliability.load import bare, handles
from benchmarks.serving.fleet import provider
from benchmarks.speed.memory import resident_mb
from benchmarks.speed.page import Claim, table
from benchmarks.speed.shared import CRITERIA, subject
from consensus import Approve, Choose, Compare, Engine, Generate, Rank, Score
from consensus.decisions import Decision
from consensus.tasks import Task

MINUTES, A_MINUTE, AT_ONCE, BARE = 60, 300, 32, 192
WARM = 15
"""Minutes in which bounded things fill: caches, connections, the allocator's reserves."""
GROWTH = 1.15
BROKEN_EVERY = 7
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
LABELS = ["refund", "repair", "refuse"]
ROWS = {
    "vote": 'kind = "approve"\nstrategy = "vote"\nseats = 3',
    "fast": 'kind = "approve"\nstrategy = "vote"\nseats = 3\nlatency = "fast"\nhedge_after_s = 0.5',
    "waves": 'kind = "choose"\nstrategy = "vote"\nseats = 3\nwaves = [2, 1]\nstop = {}',
    "cascade": 'kind = "choose"\nstrategy = "cascade"\nseats = 2\nescalate_to = ["strong"]',
    "compare": 'kind = "compare"\nstrategy = "vote"\nseats = 2',
    "rank": 'kind = "rank"\nstrategy = "vote"\nseats = 2',
    "score": 'kind = "score"\nstrategy = "vote"\nseats = 2',
    "title": 'kind = "generate"\nstrategy = "single"',
}


class Minute(NamedTuple):
    """What one minute's work took, and what was there after it."""

    p50_ms: float
    p99_ms: float
    wall_s: float
    cpu_ms: float
    bare_p50_ms: float
    bare_cpu_ms: float
    resident_mb: float
    handles: int
    tasks: int
    threads: int
    ledger_mb: float


def policy(minute: int) -> str:
    """The table of a minute: every one has another hash."""
    provider = "timeout_s = 5\nconcurrency = 256\nrequests_per_minute = 600_000\n"
    rows = "\n".join(
        f'[tasks.{name}]\n{row}\ntier = "small"\ndeadline_s = {30 + minute}'
        for name, row in ROWS.items()
    )
    return f"""version = 1
[providers.anthropic]
{provider}
[providers.openai]
{provider}
[tiers]
small = ["anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"]
strong = ["openai/gpt-5.4-mini"]
[watch]
every_s = 5
{rows}
"""


def task(number: int) -> Task:
    """The kinds in turn; no two are the same text."""
    name = list(ROWS)[number % len(ROWS)]
    text = subject(number)
    match name:
        case "waves" | "cascade":
            return Choose(type=name, subject=text, options=LABELS, criteria=CRITERIA)
        case "compare":
            a, b = f"Refund case {number}.", f"Repair case {number}."
            return Compare(type=name, subject=text, a=a, b=b, criteria=CRITERIA)
        case "rank":
            return Rank(type=name, subject=text, items=LABELS, criteria=CRITERIA)
        case "score":
            return Score(type=name, subject=text, scale=(0, 10), criteria=CRITERIA)
        case "title":
            messages = [{"role": "user", "content": f"{text} Title it."}]
            return Generate(type=name, messages=messages, schema=SCHEMA)
    return Approve(type=name, subject=text, criteria=CRITERIA)


class Soak:
    """The engine, and what was seen of it."""

    def __init__(self, engine: Engine, place: Path, ledger: Path, url: str) -> None:
        self.engine, self.place, self.ledger, self.url = engine, place, ledger, url
        self.minutes: list[Minute] = []
        self.actions: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.errors: list[str] = []
        self.usd = 0.0

    async def minute(self, number: int, decisions: int) -> None:
        """Its work, a new policy in the middle of it, and a look at what is left."""
        taken: list[float] = []
        cases = iter(range(number * decisions, (number + 1) * decisions))

        async def worker() -> None:
            for case in cases:
                began = time.perf_counter()
                try:
                    self._note(await self.engine.decide(task(case)))
                except Exception as error:  # noqa: BLE001 - told of in the page
                    self.errors.append(f"{type(error).__name__}: {error}")
                taken.append(time.perf_counter() - began)
                if case % decisions == decisions // 2:
                    await self._rewrite(number)

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        beside = await bare(self.url, BARE, AT_ONCE)
        await asyncio.sleep(0.1)
        ends = [1000 * at for at in statistics.quantiles(taken, n=100)]
        kept = sum(file.stat().st_size for file in self.ledger.parent.glob("ledger.db*")) / 2**20
        self.minutes.append(
            Minute(
                ends[49], ends[98], wall, 1000 * cpu / decisions, *beside, resident_mb(), handles(),
                len(asyncio.all_tasks()), threading.active_count(), kept,
            )
        )  # fmt: skip

    def _note(self, decision: Decision) -> None:
        self.actions[decision.action] += 1
        self.usd += decision.cost.usd
        for failure in decision.failures:
            self.failures[failure.failure] += 1

    async def _rewrite(self, number: int) -> None:
        broken = number % BROKEN_EVERY == BROKEN_EVERY - 1
        self.place.write_text("version = one" if broken else policy(number + 1), "utf-8")
        status = await self.engine.reload()
        if broken == (status.error is None):
            self.errors.append(f"minute {number}: a policy was {status.error or 'taken'}")


async def run(folder: Path, url: str, minutes: int, decisions: int, say: bool) -> Soak:
    """All of it, in one engine."""
    place, ledger = folder / "policy.toml", folder / "ledger.db"
    place.write_text(policy(0), "utf-8")
    async with Engine(place, ledger=ledger, watch=True) as engine:
        soak = Soak(engine, place, ledger, url)
        for number in range(minutes):
            await soak.minute(number, decisions)
            if say:
                sys.stderr.write(f"{number + 1}/{minutes} {soak.minutes[-1]}\n")
    return soak


class Books(NamedTuple):
    """What the ledger holds: what SQLite says of its file, decisions, calls, their dollars."""

    sound: str
    decisions: int
    calls: int
    usd: float


def books(path: Path) -> Books:
    """Read them."""
    with closing(sqlite3.connect(path)) as base:
        sound = str(base.execute("PRAGMA integrity_check").fetchone()[0])
        (decisions,) = base.execute("SELECT count(*) FROM decisions").fetchone()
        calls, pico = base.execute("SELECT count(*), sum(cost_pico) FROM calls").fetchone()
    return Books(sound, decisions, calls, (pico or 0) / 1e12)


def page(soak: Soak, kept: Books, decisions: int) -> str:
    """Claims and figures, as Markdown."""
    minutes, n = soak.minutes, len(soak.minutes)
    warm, made = min(WARM, n // 4), n * decisions
    steady = minutes[warm:]
    third = max(len(steady) // 3, 1)
    first, last = steady[:third], steady[-third:]

    def grown(name: str) -> float:
        before, after = ([float(getattr(m, name)) for m in part] for part in (first, last))
        return statistics.median(after) / statistics.median(before)

    def beside(name: str) -> float:
        before, after = (
            statistics.median(float(getattr(m, name) / getattr(m, f"bare_{name}")) for m in part)
            for part in (first, last)
        )
        return after / before

    slope = np.polyfit(
        np.arange(len(steady)) * decisions / 1000, [m.resident_mb for m in steady], 1
    )
    claims = [
        Claim("decisions that raised, policies wrongly taken", len(soak.errors), 0, form="{:.0f}"),
        Claim("decisions in the ledger over those made", kept.decisions / made, 1, form="{:.4f}"),
        Claim("the same", kept.decisions / made, 1, least=True, form="{:.4f}"),
        Claim(
            "dollars in the ledger over the decisions'", kept.usd / soak.usd, 1.0001, form="{:.4f}"
        ),
        Claim("resident memory, last third over first", grown("resident_mb"), 1.05),
        Claim("file handles, last third over first", grown("handles"), 1.1),
        Claim("tasks at rest, last third over first", grown("tasks"), 1.0),
        Claim("threads, last third over first", grown("threads"), 1.0),
        Claim(
            "CPU of a decision over a bare call's, last third over first", beside("cpu_ms"), GROWTH
        ),
        Claim("median latency over a bare call's, last third over first", beside("p50_ms"), GROWTH),
    ]
    every = max(n // 12, 1)
    rows = [
        [
            str(k + 1), f"{m.p50_ms:.0f}", f"{m.p99_ms:.0f}", f"{m.cpu_ms:.1f}",
            f"{m.bare_p50_ms:.0f}", f"{m.bare_cpu_ms:.2f}",
            f"{m.resident_mb:.0f}", str(m.handles), str(m.tasks), str(m.threads),
            f"{m.ledger_mb:.0f}",
        ]
        for k, m in enumerate(minutes) if k % every == every - 1
    ]  # fmt: skip
    head = (
        "minute", "p50, ms", "p99, ms", "ms of CPU", "bare, p50", "ms of CPU", "MB", "handles",
        "tasks", "threads", "ledger, MB",
    )  # fmt: skip
    said = (
        f"`python -m benchmarks.reliability soak`: {n} minutes' work of {decisions} decisions "
        f"({made:,} in all, {AT_ONCE} at once) of six kinds in {len(ROWS)} rows, over both "
        f"SDKs' paths to a provider of which 4 % of the answers are faults; {n} rewritings of the "
        f"policy, every {BROKEN_EVERY}th of them broken; ledger and watcher on. It took "
        f"{sum(m.wall_s for m in minutes) / 60:.0f} minutes on a shared machine. Looked at after "
        f"each minute with nothing in flight; the first {warm} are for warming up. Latency holds "
        f"the waits of retries. *Bare*: {BARE} calls by hand right after, as many at once."
    )
    said += f" Memory grew by {float(slope[0]):.3f} MB each 1,000 decisions."
    counted = ", ".join(f"{k} {v:,}" for k, v in soak.actions.most_common())
    failed = ", ".join(f"{k} {v:,}" for k, v in soak.failures.most_common())
    after = (
        f"Decisions: {counted}. Failed seats: {failed}. Ledger: {kept.calls:,} calls, "
        f"integrity check {kept.sound}. " + " ".join(f"Error: {one}." for one in soak.errors[:5])
    )
    shown = table(("claim", "measured", "target", ""), [claim.row() for claim in claims])
    return "\n\n".join(["## Soak", said, shown, table(head, rows), after.strip()])


def main(arguments: Sequence[str]) -> None:
    """Run, print, and with ``--write`` replace the section of RESULTS.md."""
    parser = argparse.ArgumentParser("soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=MINUTES)
    parser.add_argument("--decisions", type=int, default=A_MINUTE, help="in a minute")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with provider(folder, 7) as server, patch.dict(os.environ, server.environment):
            soak = asyncio.run(run(folder, server.url, given.minutes, given.decisions, say=True))
        text = page(soak, books(folder / "ledger.db"), given.decisions)
    sys.stdout.write(f"{text}\n")
    if given.write:
        keep("soak", text)


if __name__ == "__main__":
    main(sys.argv[1:])
