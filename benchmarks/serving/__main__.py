"""``python -m benchmarks.serving [--decisions N] [--write]``: see :data:`METHOD`."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.serving.checks import lines_table
from benchmarks.serving.run import Outcome, run
from consensus.benchmark.study import replace_sections
from tests.servers.real import postgres

DECISIONS = 20_000
SHORT = 0.95
"""Of what the first way cost, so much may the second one spend: its budget runs out."""

RESULTS = Path("benchmarks/RESULTS.md")

METHOD = (
    "`python -m benchmarks.serving`: four `consensus serve` processes over real HTTP on loopback, "
    "ledger and shared limits on one PostgreSQL server (commits on disk), a provider in a process "
    "of its own that speaks both protocols and answers a part of all calls with faults (429 with "
    "and without retry-after, 500, 529, no answer in time, cut streams, half JSON, refusals). "
    "Each decision is a vote of three seats. In the middle one process is killed with -9. The "
    "client sends a request that was not answered again, under the same `Idempotency-Key`. Every "
    "line is checked against the ledger and the provider's own log."
)


def page(outcomes: list[Outcome], load: float) -> str:
    """The tables, as Markdown."""
    machine = f"{os.cpu_count()} cores shared with the client, the provider and the database"
    lines = [
        "## Several serving processes, one of them killed",
        "",
        METHOD,
        "",
        f"Python {platform.python_version()}, {machine}; load average at the start {load:.1f}.",
    ]
    for one in outcomes:
        lines += ["", f"**{one.title}**: {one.said}", "", lines_table(one.lines)]
    return "\n".join(lines)


def main() -> int:
    """Run, print, and with ``--write`` put the tables into benchmarks/RESULTS.md."""
    parser = argparse.ArgumentParser(description=METHOD, prog="python -m benchmarks.serving")
    parser.add_argument("--decisions", type=int, default=DECISIONS, help="in all, half each way")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=64, help="requests of the client")
    parser.add_argument("--minutes", type=float, help="begin nothing after so long, half each way")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="replace the section of RESULTS.md")
    given = parser.parse_args()
    load, began = os.getloadavg()[0], time.monotonic()
    outcomes: list[Outcome] = []
    with postgres() as server:
        for workers in (True, False):
            with tempfile.TemporaryDirectory(prefix="consensus-serving-") as folder:
                outcome = asyncio.run(
                    run(
                        server,
                        Path(folder),
                        decisions=given.decisions // 2,
                        processes=given.processes,
                        at_once=given.at_once,
                        workers=workers,
                        seed=given.seed,
                        cap_usd=round(SHORT * outcomes[0].cost_usd, 6) if outcomes else 1000.0,
                        within_s=30 * given.minutes if given.minutes else math.inf,
                    )
                )
            outcomes.append(outcome)
            sys.stderr.write(f"{outcome.title}: {outcome.said}\n")
            text = page(outcomes, load)
            if given.write:  # after each way: what was measured is kept if the next one fails
                before = RESULTS.read_text(encoding="utf-8")
                after = replace_sections(before, {"serving": text}, where=str(RESULTS))
                RESULTS.write_text(after, encoding="utf-8")
    sys.stdout.write(f"{text}\n\n{time.monotonic() - began:.0f} s\n")
    return 1 if any(line.broken for one in outcomes for line in one.lines) else 0


if __name__ == "__main__":
    sys.exit(main())
