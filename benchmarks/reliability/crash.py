"""kill -9 at random moments, two hundred times: everything is there once, and nothing paid is lost.

Killed are ``consensus decide`` on a file, ``consensus bench run``, and a process that writes a
ledger; each is begun again until it ends. Then disks that are full and folders that are read-only.
What is done is in the work folder: a run that was cut short goes on where it was.

    python -m benchmarks.reliability crash --kills 200 --seed 7 --write
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.reliability._full_disk import full_disk
from benchmarks.reliability._killing import JOBS, Report
from benchmarks.reliability._writing import ROOT, fingerprint, keep
from benchmarks.serving.checks import Line, lines_table

SHARES = {"decide": 0.4, "bench run": 0.2, "ledger": 0.4}
A_JOB = 6
"""Kills of one job at most; then it may end."""


def main(arguments: list[str]) -> int:
    """Kill, look, print; with ``--write`` replace the section of RESULTS.md."""
    parser = argparse.ArgumentParser("crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7, help="which moments")
    parser.add_argument("--work", type=Path, default=ROOT / ".crash", help="what is done")
    parser.add_argument("--no-disk", action="store_true", help="without mounting anything")
    parser.add_argument("--only", choices=(*JOBS, "disk"), help="one part, kept for later")
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    given = parser.parse_args(arguments)
    work = given.work / f"{fingerprint()}-{given.seed}"
    work.mkdir(parents=True, exist_ok=True)
    reports: list[Report] = []
    for part in JOBS:
        if given.only in (None, part):
            wanted = round(given.kills * SHARES[part])
            reports += _kill(part, wanted, given.seed, work / f"{part}.jsonl")
    lines = [] if given.no_disk or given.only in JOBS else _disk(work / "disk.json")
    if given.only is not None:
        return 0
    text, broken = page(reports, lines, seed=given.seed)
    sys.stdout.write(f"{text}\n")
    if given.write:
        keep("crash", text)
    return 1 if broken else 0


def _kill(part: str, wanted: int, seed: int, kept: Path) -> list[Report]:
    """Job after job until the part has its kills; a job that was finished before is read."""
    done: list[Report] = []
    if kept.exists():
        done = [Report(**json.loads(line)) for line in kept.read_text().splitlines()]
    while (left := wanted - sum(report.kills for report in done)) > 0:
        number = len(done)
        draw = random.Random(f"{seed} {part} {number}")  # noqa: S311 - moments
        folder = Path(tempfile.mkdtemp(prefix="consensus-crash-"))
        try:
            report = JOBS[part](folder, number, min(left, A_JOB), draw)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        done.append(report)
        with kept.open("a") as file:
            file.write(json.dumps(report.as_dict()) + "\n")
        sys.stderr.write(f"{part}: {wanted - left + report.kills}/{wanted} kills\n")
    return done


def _disk(kept: Path) -> list[Line]:
    """The full disks; what was found before is read."""
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="consensus-disk-") as name:
            kept.write_text(json.dumps([asdict(line) for line in full_disk(Path(name))]))
    return [Line(**line) for line in json.loads(kept.read_text())]


def page(reports: list[Report], disk: list[Line], *, seed: int) -> tuple[str, bool]:
    """The section, as Markdown; and whether anything was broken."""
    blocks = []
    every: list[Line] = []
    for part in JOBS:
        own = [report for report in reports if report.part == part]
        kills, runs = sum(r.kills for r in own), sum(r.runs for r in own)
        lines = _lines(own)
        every += lines
        lost = [s for report in own for s in report.lost_s]
        said = f"**{part}**: {kills} kills in {runs} runs of {len(own)} jobs."
        if part != "ledger":
            said += f" Sent by the provider and not on disk at the kill: {len(lost)} answers"
            said += (
                f", {1000 * statistics.median(lost):.0f} ms old in the median, "
                f"{1000 * max(lost):.0f} ms at most (they are asked for again)."
                if lost
                else "."
            )
        blocks += [said, lines_table(lines)]
    if disk:
        every += disk
        blocks += ["**Full disks and read-only folders**", lines_table(disk)]
    broken = sum(line.broken > 0 for line in every)
    how = (
        f"`python -m benchmarks.reliability crash`, seed {seed}: "
        f"{sum(r.kills for r in reports)} times kill -9, at moments drawn at random from the start "
        f"of the process on. Python {platform.python_version()}, "
        f"{os.cpu_count()} cores shared."
    )
    kept = f"**{len(every) - broken} of {len(every)} promises kept.**"
    return "\n\n".join(["## Crashes", how, kept, *blocks]), broken > 0


def _lines(reports: list[Report]) -> list[Line]:
    sums: dict[str, tuple[int, int]] = {}
    for report in reports:
        for promise, (checked, broken) in report.held.items():
            before = sums.get(promise, (0, 0))
            sums[promise] = before[0] + checked, before[1] + broken
    notes = [(promise, why) for report in reports for promise, why in report.notes]
    return [
        Line(promise, checked, broken, next((w for p, w in notes if p == promise), ""))
        for promise, (checked, broken) in sums.items()
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
