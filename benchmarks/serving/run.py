"""One way of serving, from an empty database to the last check."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.checks import Line, checks, read_kept, read_log
from benchmarks.serving.client import drive
from benchmarks.serving.fleet import LIMITS, fleet, policy, prepare, provider, until
from benchmarks.serving.provider import fault_of
from consensus.server.keys import new_key
from tests.servers.real import Postgres

__all__ = ["Outcome", "run"]

WARM_UP = 24
SMALL_KEY_EVERY = 10
"""Each so-manieth request comes with the key that has a small budget."""

LEAST_FOR_A_BUDGET = 2000
"""With fewer decisions a key's budget would be spent before anybody knows its pace."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way of serving came to; ``cost_usd`` is what its tasks cost together."""

    title: str
    said: str
    lines: list[Line]
    cost_usd: float


async def run(
    server: Postgres,
    folder: Path,
    *,
    decisions: int,
    processes: int,
    at_once: int,
    workers: bool,
    seed: int = 1,
    cap_usd: float = 1000.0,
    within_s: float = math.inf,
) -> Outcome:
    """Decide so many tasks, kill one process in the middle, check everything.

    Args:
        cap_usd: the budget that all processes share.
        within_s: after so many seconds no new task is begun.
    """
    database = prepare(server, "workers" if workers else "separate")
    keys = folder / "keys.toml"
    _, main_key = new_key(keys, name="main", types=["refund"])
    place = policy(folder, daily_usd=cap_usd)
    with (
        provider(folder, seed) as provided,
        fleet(folder, place, database, provided, processes=processes, workers=workers) as serving,
    ):
        if workers:
            until(lambda: _live(serving.urls[0]) == processes, 300, "all workers live")
        warm = await drive(serving.urls, range(-WARM_UP, 0), lambda _: main_key, at_once=at_once)
        mean = statistics.fmean(one.usd for one in warm.answered)
        budget = round(mean * decisions / SMALL_KEY_EVERY / 2, 6)
        small_key = main_key
        if decisions >= LEAST_FOR_A_BUDGET:
            _, small_key = new_key(keys, name="small", types=["refund"], usd_per_day=budget)
            await asyncio.sleep(1.5)  # keys are read again every second

        killed: list[tuple[float, int]] = []

        def told(answered: int) -> None:
            late = time.monotonic() - began >= within_s / 2
            if (late or answered >= decisions // 2) and not killed:
                killed.append((time.time(), serving.kill_one()))

        def key_of(number: int) -> str:
            return main_key if number % SMALL_KEY_EVERY else small_key

        cpu, began = serving.cpu(), time.monotonic()
        # Those that the small key is refused are asked with the other one: all are decided.
        driven = await drive(
            serving.urls, range(decisions), key_of, at_once=at_once, told=told, within_s=within_s
        )
        done = {one.number for one in driven.answered}
        refused = driven.refused_numbers
        rest = await drive(serving.urls, refused, lambda _: main_key, at_once=at_once)
        seconds, cpu = time.monotonic() - began, serving.cpu() - cpu
        sample = range(0, decisions, max(1, decisions // 200))
        again = await drive(serving.urls, [n for n in sample if n in done], key_of, at_once=at_once)
        if workers:
            until(lambda: _live(serving.urls[0]) == processes, 300, "the killed worker's successor")
        provided.finish()
    drives = [warm, driven, rest, again]
    log = read_log(provided.log)
    lines = checks(
        read_kept(f"{database}?options=-csearch_path%3Dledger"),
        log,
        drives,
        limits=LIMITS,
        cap_usd=cap_usd,
        key_budgets={} if small_key == main_key else {small_key: budget},
        killed_at=killed[0][0],
        most_in_flight=2 * int(LIMITS.at_once * LIMITS.share),
    )
    if workers:
        lines.append(Line("the killed worker has a successor, and /health says so", 1, 0))
    new = [*driven.answered, *rest.answered]
    times = sorted(one.seconds for one in new)
    met = Counter(fault_of(entry["n"], seed) for entry in log)
    faults = ", ".join(f"{met[name]:,} {name}" for name in sorted(filter(None, met)))
    sent_again = sum((one.trouble for one in drives), Counter())
    trouble = (
        ", ".join(f"{count:,} {what}" for what, count in sent_again.most_common()) or "nothing"
    )
    said = (
        f"{len(new):,} decisions in {seconds:.0f} s ({len(new) / seconds:.0f} a second), {at_once} "
        f"requests at once; p50 {times[len(times) // 2]:.2f} s, p95 "
        f"{times[int(0.95 * len(times))]:.2f} s; {1000 * cpu / len(new):.1f} ms of CPU a decision "
        f"in the serving processes; {len(log):,} calls of which {faults}. What made the client "
        f"send again: {trouble}."
    )
    title = f"One port, --workers {processes}" if workers else f"{processes} processes, a port each"
    return Outcome(title, said, lines, sum(one.usd for one in new))


def _live(url: str) -> int:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:  # noqa: S310 - ours
            return int(json.load(answer)["workers"]["live"])
    except OSError:
        return 0
