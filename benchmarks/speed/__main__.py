"""Measures speed side by side: ``python -m benchmarks.speed --out benchmarks/RESULTS.md``.

Each study prints its page; with ``--out`` it replaces its section there. CPU is that of the process
that is measured, so a busy machine stretches the run more than the ratios; a quiet one is better.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.speed import calls, imports, limiter, memory, replay, waiting
from benchmarks.speed.page import Part
from benchmarks.speed.shared import provider
from consensus.benchmark.study import replace_sections

STUDIES = {
    "calls": ("speed", "Speed"),
    "imports": ("speed-imports", "Speed of importing"),
    "limiter": ("speed-limiter", "Speed of the limiter"),
    "latency": ("speed-latency", "Latency"),
    "memory": ("speed-memory", "Memory"),
    "replay": ("replay-speed", "Speed of replay"),
}
"""By name: the section of RESULTS.md, and its heading."""

ROUNDS = {"calls": 5, "imports": 5, "limiter": 3, "latency": 20, "memory": 1, "replay": 3}


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def measure(
    name: str, *, quick: bool, with_peers: bool, rounds: int | None, say: Callable[[str], None]
) -> Part:
    """One study."""
    rounds = rounds or (1 if quick else ROUNDS[name])
    if name == "imports":
        return imports.study(say, rounds=rounds)
    if name == "limiter":
        return limiter.study(say, rounds=rounds, seconds=1.2 if quick else 4)
    if name == "memory":
        streams = ((500, True),) if quick else ((100_000, False), (100_000, True))
        return memory.study(say, streams=streams)
    if name == "replay":
        return replay.study(say, rounds=rounds, quick=quick)
    with provider() as server:
        if name == "latency":
            return waiting.study(server, say, rounds=rounds)
        return calls.study(
            server,
            say,
            rounds=rounds,
            with_peers=with_peers,
            loads=calls.QUICK if quick else calls.LOADS,
        )


def _section(title: str, command: str, part: Part) -> str:
    named = ", ".join(f"{name} {version(name)}" for name in ("anthropic", "openai", "litellm"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    where = (
        f"`{command}` on {datetime.now(UTC):%Y-%m-%d}: Python {platform.python_version()}, "
        f"{os.cpu_count()} cores shared with other work (load {load} at the end), {named}. "
        "Absolute figures move with the machine; take the ratios."
    )
    return "\n\n".join([f"## {title}", where, part.text()])


def main() -> None:
    """Run, print, and with ``--out`` write."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.speed")
    parser.add_argument("--out", type=Path, help="a Markdown file whose sections are replaced")
    parser.add_argument("--quick", action="store_true", help="little of each: does it run?")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rounds", type=int, help="of every study, in place of its own number")
    parser.add_argument("--only", action="append", choices=STUDIES, help="may be repeated")
    given = parser.parse_args()
    began = time.perf_counter()
    command = " ".join(["python -m benchmarks.speed", *sys.argv[1:]])
    sections = {}
    for name, (section, title) in STUDIES.items():
        if given.only and name not in given.only:
            continue
        part = measure(
            name, quick=given.quick, with_peers=given.peers, rounds=given.rounds, say=_say
        )
        sections[section] = _section(title, command, part)
    sys.stdout.write("\n\n".join(sections.values()) + "\n")
    if given.out is not None:
        before = given.out.read_text(encoding="utf-8")
        after = replace_sections(before, sections, where=str(given.out))
        given.out.write_text(after, encoding="utf-8")
    _say(f"{time.perf_counter() - began:.0f} s on the wall")


if __name__ == "__main__":
    main()
