"""Twenty thousand calls of a provider that does everything wrong: what is held all the same.

Over the real anthropic and openai SDKs on loopback; the engine's wall clock jumps meanwhile. Then
each provider is dead for a while, twice, and one model answers nonsense for a while. Every promise
is checked on every decision, against the ledger and the provider's own log.

    python -m benchmarks.reliability faults --calls 20000 --seed 7 --write
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from benchmarks.reliability import _fault_provider, _fault_run
from benchmarks.reliability._fault_checks import Evidence, checks, gather
from benchmarks.reliability._writing import keep
from benchmarks.serving.checks import Line, lines_table
from benchmarks.serving.fleet import provider

PROGRAM = _fault_provider.__name__
AT_ONCE = 16
OUTAGE_S = 7.0


async def run(folder: Path, *, calls: int, seed: int, outage_s: float) -> Evidence:
    """All three parts in one engine."""
    with (
        provider(folder, seed, program=PROGRAM) as provided,
        patch.dict(os.environ, provided.environment),
        _fault_run.jumping(seed) as jumps,
    ):
        async with _fault_run.driver(folder, provided) as driver:
            rows = itertools.cycle(_fault_run.MIXED)
            await driver.many(rows, at_once=AT_ONCE, until=lambda: driver.calls >= calls)
            for _ in range(2 if outage_s else 0):
                await driver.outage("openai", _fault_run.NANO, "stood_in", seconds=outage_s)
                await driver.outage("anthropic", _fault_run.HAIKU, "stood_in_too", seconds=outage_s)
            if outage_s:
                await driver.madness(_fault_run.MINI, "watched")
            book = driver.engine.prices
        provided.finish()
        found = gather(
            folder / "ledger.db", folder / "provider.jsonl", book, driver.seen, driver.outages
        )
        found.jumps, found.stalls = jumps(), driver.stalls
    return found


def page(evidence: Evidence, lines: list[Line], *, seed: int, seconds: float) -> str:
    """The section, as Markdown."""
    requests = sum(map(len, evidence.log.values()))
    met = ", ".join(f"{evidence.met[name]:,} {name}" for name in _fault_provider.FAULTS)
    dead, mad = evidence.met["dead"], evidence.met["mad"]
    actions = {"act": 0, "escalate": 0, "abstain": 0}
    for one in evidence.seen:
        if one.decision is not None:
            actions[one.decision.action] += 1
    told = ", ".join(f"{count:,} {name}" for name, count in actions.items())
    broken = sum(line.broken > 0 for line in lines)
    how = (
        f"`python -m benchmarks.reliability faults`, seed {seed}: {len(evidence.seen):,} decisions "
        f"({told}), {requests:,} requests over the anthropic and openai SDKs, "
        f"{len(_fault_run.ROWS)} rows (votes, fast, hedged, in waves, cascade, debate, best of n, "
        f"with a cap, with a deadline, with fallbacks), {AT_ONCE} decisions at once, {seconds:.0f} "
        f"s. Python {platform.python_version()}, {os.cpu_count()} cores shared."
    )
    what = (
        f"What was met: {met}; {dead:,} requests to a dead provider, {mad:,} answers of a model "
        "gone mad."
    )
    kept = f"**{len(lines) - broken} of {len(lines)} promises kept.**"
    return "\n\n".join(["## Faults", how, what, kept, lines_table(lines)])


def main(arguments: list[str]) -> int:
    """Run, print, and with ``--write`` replace the section of RESULTS.md."""
    parser = argparse.ArgumentParser("faults", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="at least, before the outages")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--outage", type=float, default=OUTAGE_S, help="seconds; 0: none")
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="consensus-faults-") as name:
        work = run(Path(name), calls=given.calls, seed=given.seed, outage_s=given.outage)
        evidence = asyncio.run(work)
    lines = checks(evidence)
    text = page(evidence, lines, seed=given.seed, seconds=time.monotonic() - began)
    sys.stdout.write(f"{text}\n")
    if given.write:
        keep("faults", text)
    return 1 if any(line.broken for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
