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

STUDIES = ("calls", "imports", "limiter", "latency", "memory", "replay")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def measure(name: str, *, quick: bool, with_peers: bool, say: Callable[[str], None]) -> Part:
    """One study."""
    if name == "imports":
        return imports.study(say, rounds=1 if quick else 5)
    if name == "limiter":
        return limiter.study(say, rounds=1 if quick else 3, seconds=1.2 if quick else 4)
    if name == "memory":
        streams = ((500, True),) if quick else ((100_000, False), (20_000, True))
        return memory.study(say, streams=streams)
    if name == "replay":
        return replay.study(say, rounds=1 if quick else 3, quick=quick)
    with provider() as server:
        if name == "latency":
            return waiting.study(server, say, rounds=1 if quick else 10)
        return calls.study(
            server,
            say,
            rounds=1 if quick else 5,
            with_peers=with_peers,
            loads=calls.QUICK if quick else calls.LOADS,
        )


def _section(title: str, command: str, parts: list[Part]) -> str:
    named = ", ".join(f"{name} {version(name)}" for name in ("anthropic", "openai", "litellm"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    where = (
        f"`{command}` on {datetime.now(UTC):%Y-%m-%d}: Python {platform.python_version()}, "
        f"{os.cpu_count()} cores shared with other work (load {load} at the end), {named}. "
        "Absolute figures move with the machine; take the ratios."
    )
    return "\n\n".join([f"## {title}", where, *(part.text() for part in parts)])


def main() -> None:
    """Run, print, and with ``--out`` write."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.speed")
    parser.add_argument("--out", type=Path, help="a Markdown file whose sections are replaced")
    parser.add_argument("--quick", action="store_true", help="little of each: does it run?")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", action="append", choices=STUDIES, help="may be repeated")
    given = parser.parse_args()
    began = time.perf_counter()
    names = [name for name in STUDIES if not given.only or name in given.only]
    parts = {
        name: measure(name, quick=given.quick, with_peers=given.peers, say=_say) for name in names
    }
    command = " ".join(["python -m benchmarks.speed", *sys.argv[1:]])
    first = [part for name, part in parts.items() if name != "replay"]
    sections = {}
    if first:
        sections["speed"] = _section("Speed", command, first)
    if "replay" in parts:
        sections["replay-speed"] = _section("Speed of replay", command, [parts["replay"]])
    sys.stdout.write("\n\n".join(sections.values()) + "\n")
    if given.out is not None:
        before = given.out.read_text(encoding="utf-8")
        after = replace_sections(before, sections, where=str(given.out))
        given.out.write_text(after, encoding="utf-8")
    _say(f"{time.perf_counter() - began:.0f} s on the wall")


if __name__ == "__main__":
    main()
