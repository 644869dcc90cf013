"""The plain engine beside Ray with two workers: ``python -m benchmarks.cluster [--write]``.

The command ``consensus decide`` is run as a user would run it, on the same file, by this process's
engine and by two workers. The loopback provider is a process of its own on the same machine. CPU is
that of the command and of everything it has started, sampled from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from consensus.benchmark.study import replace_sections

METHOD = (
    "`python -m benchmarks.cluster`: `consensus decide` on one file by the plain engine and by "
    "`--engine ray --workers 2`, three seats a decision, whole commands from start to exit. CPU is "
    "that of the command and all its processes, the provider's not counted. One run a cell, on a "
    "machine that others use too: take the ratios, roughly."
)

POLICY = """
version = 1
[providers.anthropic]
base_url = "{url}"
concurrency = 100
{limits}
[tiers]
small = ["anthropic/claude-haiku-5-5"]
here = ["scripted/a"]
[tasks.refund]
kind = "approve"
criteria = "Unused."
strategy = "vote"
tier = "{tier}"
seats = 3
"""

WORKERS = 2

COLUMNS = (
    "", "tasks", "plain: s", "tasks/s while deciding", "CPU s", "Ray: s", "tasks/s while deciding",
    "CPU s", "s before the first call and after the last decision: plain, Ray",
)  # fmt: skip


class Case(NamedTuple):
    """One condition: how many tasks, answered by whom, and how fast that may be asked."""

    name: str
    tasks: int
    tier: str = "small"
    limits: str = ""


CASES = (
    Case("few tasks", 20),
    Case("fast provider", 600),
    Case(
        "provider's limit: 20 calls a second",
        120,
        limits="requests_per_minute = 1200\nwindow_s = 1",
    ),
    Case("no provider (scripted model)", 2000, tier="here"),
)


class Run(NamedTuple):
    """One command: seconds, CPU seconds, and seconds from the first answer to the end."""

    wall: float
    cpu: float
    working: float


class CpuWatch(threading.Thread):
    """CPU seconds of a process and all its descendants, those that have ended included."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.seen: dict[int, float] = {}
        self.ours = {root}
        self.over = threading.Event()

    def run(self) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        while not self.over.wait(0.2):
            found = []
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        text = (entry / "stat").read_text().rpartition(")")[2].split()
                    except (OSError, IndexError):
                        continue
                    used = (int(text[11]) + int(text[12])) / tick
                    found.append((int(entry.name), int(text[1]), used))
            grown = True
            while grown:  # a parent may be listed after its child
                more = {pid for pid, parent, _ in found if parent in self.ours} - self.ours
                self.ours |= more
                grown = bool(more)
            self.seen |= {pid: used for pid, _, used in found if pid in self.ours}

    def seconds(self) -> float:
        self.over.set()
        self.join()
        return sum(self.seen.values())


def measured(case: Case, url: str, options: list[str]) -> Run:
    """Run the command once in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="consensus-cluster-") as name:
        folder = Path(name)
        (folder / "policy.toml").write_text(
            POLICY.format(url=url, limits=case.limits, tier=case.tier)
        )
        lines = (json.dumps({"subject": f"ticket {i}"}) for i in range(case.tasks))
        (folder / "tasks.jsonl").write_text("".join(f"{line}\n" for line in lines))
        command = [
            sys.executable, "-m", "consensus.cli.main", "decide", "refund", "--policy",
            "policy.toml", "-i", "tasks.jsonl", "-o", "out.jsonl", "--quiet", "--json", *options,
        ]  # fmt: skip
        environment = os.environ | {
            "ANTHROPIC_API_KEY": "sk-ant-loopback",
            "CONSENSUS_LEDGER": str(folder / "ledger.db"),
        }
        began = time.perf_counter()
        running = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        watch = CpuWatch(running.pid)
        watch.start()
        said, _ = running.communicate()
        wall = time.perf_counter() - began
        cpu = watch.seconds()
        summary = json.loads(said)
        assert summary["act"] == summary["tasks"] == case.tasks, summary
        return Run(wall, cpu, _span(folder / "ledger.db"))


def _span(path: Path) -> float:
    """Seconds from the first call to the last decision."""
    from sqlalchemy import func, select

    from consensus.ledger.schema import calls, decisions
    from consensus.ledger.store import Ledger

    with Ledger(path) as ledger:
        first = ledger.read(lambda c: c.scalar(select(func.min(calls.c.started_at))))
        last = ledger.read(lambda c: c.scalar(select(func.max(decisions.c.created_at))))
    return float(last or 0) - float(first or 0)


def table(found: dict[str, tuple[Case, Run, Run]]) -> str:
    """The measurements as a section of Markdown."""
    lines = [
        METHOD,
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (case, plain, ray) in found.items():
        cells: list[str] = [name, f"{case.tasks:,}"]
        for run in (plain, ray):
            cells += [f"{run.wall:.1f}", f"{case.tasks / run.working:.0f}", f"{run.cpu:.1f}"]
        cells.append(f"{plain.wall - plain.working:.1f}, {ray.wall - ray.working:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    load = os.getloadavg()[0]
    lines += ["", f"{os.cpu_count()} CPUs; load of the machine at the end {load:.1f}."]
    return "\n".join(lines)


def main() -> None:
    """Measure every case both ways; print the section, and write it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    parser.add_argument(
        "--only", default="", help="cases whose name holds this, to look at; not to be written"
    )
    options = parser.parse_args()
    if options.only and options.write:
        parser.error("--write takes every case")
    provider = subprocess.Popen(
        [sys.executable, "-m", "tests.loopback", "--latency", "0.02", "--answers", "first"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert provider.stdout is not None
        url = provider.stdout.readline().strip()
        found = {}
        for case in (case for case in CASES if options.only in case.name):
            plain = measured(case, url, [])
            ray = measured(case, url, ["--engine", "ray", "--workers", str(WORKERS)])
            found[case.name] = case, plain, ray
            print(case.name, plain, ray, file=sys.stderr, flush=True)
    finally:
        provider.terminate()
        provider.wait()
    text = table(found)
    print(text)
    if options.write:
        results = Path("benchmarks/RESULTS.md")
        section = f"## One process and Ray\n\n{text}"
        before = results.read_text(encoding="utf-8")
        after = replace_sections(before, {"cluster": section}, where=str(results))
        results.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
