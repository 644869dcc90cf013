"""Cancelling ``decide`` at a thousand random moments: no task, socket, lock or place is left.

Over fourteen shapes of a decision, with and without a ledger, a quarter of them cancelled twice.

    python -m benchmarks.reliability cancellation --points 1000 --seed 7 --write
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.reliability._cancelling import SHAPES, Tally, cancelled_over
from benchmarks.reliability._writing import keep
from benchmarks.speed.page import table


def run(points: int, seed: int) -> dict[str, Tally]:
    """So many moments at which something ran, divided among the shapes; half with a ledger."""
    found: dict[str, Tally] = {}
    each = -(-points // (2 * len(SHAPES)))
    for name, shape in SHAPES.items():
        whole = found[name] = Tally()
        for ledger in (False, True):
            with tempfile.TemporaryDirectory(prefix="consensus-cancel-") as folder:
                work = cancelled_over(
                    shape, Path(folder), each, seed=f"{seed} {name} {ledger}", ledger=ledger
                )
                part = asyncio.run(work)
            whole.cancelled += part.cancelled
            whole.running += part.running
            whole.twice += part.twice
            whole.left += part.left
        sys.stderr.write(f"{name}: {whole.running} of {whole.cancelled}, {len(whole.left)} left\n")
    return found


def page(found: dict[str, Tally], *, seed: int, seconds: float) -> str:
    """The section, as Markdown."""
    rows = [
        [name, str(t.cancelled), str(t.running), str(t.twice), str(len(t.left))]
        for name, t in found.items()
    ]
    every = [sum(int(row[i]) for row in rows) for i in range(1, 5)]
    rows.append(["all", *(f"{number:,}" for number in every)])
    how = (
        f"`python -m benchmarks.reliability cancellation`, seed {seed}: `decide` is cancelled at a "
        "random step of the event loop (over sockets: after a random time), and looked at once it "
        "has ended: no task that it began, no place in a provider's queue, no call, no probe of a "
        "breaker, no lock, no hold on its rules; at the end of each shape the engine still "
        "decides, every answer that was given is on the ledger, the ledger adds up, and no socket "
        f"is open. {seconds:.0f} s. Python {platform.python_version()}, {os.cpu_count()} cores "
        "shared."
    )
    said = (
        f"**{every[1]:,} decisions cancelled while they ran ({every[0] - every[1]:,} came too "
        f"late); {every[3]} left something.**"
    )
    head = ("shape", "cancelled", "while it ran", "twice", "left something")
    left = [f"- {name}: {what}" for name, t in found.items() for what in t.left[:5]]
    return "\n\n".join(["## Cancellation", how, said, table(head, rows), *left])


def main(arguments: list[str]) -> int:
    """Run, print, and with ``--write`` replace the section of RESULTS.md."""
    parser = argparse.ArgumentParser("cancellation", description=__doc__)
    parser.add_argument("--points", type=int, default=1000, help="moments, at least")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    found = run(given.points, given.seed)
    text = page(found, seed=given.seed, seconds=time.monotonic() - began)
    sys.stdout.write(f"{text}\n")
    if given.write:
        keep("cancellation", text)
    return 1 if any(tally.left for tally in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
