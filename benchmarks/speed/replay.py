"""How fast settings are replayed over recorded answers, and how that grows.

``python -m benchmarks.speed.replay KIND SETTINGS CASES`` runs one, in a process of its own.
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.page import Claim, Part, spread, table
from benchmarks.speed.shared import ROOT
from consensus.benchmark.evidence import evidence_of, resolve_members
from consensus.benchmark.replay import Replayer, ReplaySettings, replay
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.run_format.writing import RunWriter
from consensus.benchmark.sweep import sweep_votes

MODELS, SAMPLES, CASES, SETTINGS = 5, 5, 655, 1000
NAMES = tuple(f"scripted/m{number}" for number in range(MODELS))
ENOUGH_S = 10.0
STRATEGIES = ("vote", "adaptive", "cascade")


def synthetic(cases: int, folder: Path) -> RecordedRun:
    """Answers of five models of different skill, five samples each."""
    rng = np.random.default_rng(20261122)
    options, labels = ["A", "B", "C", "D"], []
    with RunWriter(folder, name="synthetic") as writer:
        for case in range(cases):
            label = options[int(rng.integers(4))]
            record = {"case_id": f"c{case}", "task_kind": "choose", "task_type": "made"}
            writer.case({**record, "options": options, "label": label})
            labels.append(label)
        for case, (number, model) in itertools.product(range(cases), enumerate(NAMES)):
            for sample in range(SAMPLES):
                right = rng.random() < 0.45 + 0.1 * number
                answer = labels[case] if right else options[int(rng.integers(4))]
                line = {
                    "case": f"c{case}",
                    "model": model,
                    "variant": "plain",
                    "sample": sample,
                    "answer": answer,
                    "cost_usd": 0.001 * (number + 1),
                    "latency_s": 0.4,
                }
                writer.answer(line)
    return RecordedRun.load(folder)


def once(kind: str, settings: int, cases: int) -> dict[str, float]:
    """Seconds of CPU, and megabytes that the work added at its peak."""
    with tempfile.TemporaryDirectory() as folder:
        run = synthetic(cases, Path(folder))
        members = [m for found in resolve_members(run, NAMES, None).values() for m in found]
        evidence = evidence_of(run, members)
    every = list(itertools.product(range(SAMPLES + 1), repeat=MODELS))[1:]
    rng = np.random.default_rng(0)
    rng.shuffle(every)
    asked = [
        ReplaySettings(NAMES[-1], NAMES, STRATEGIES[n % 3], seats=5 + n % 16, draws=16)
        for n in range(settings)
    ]
    replay(run, asked[0])
    before = _peak()
    cpu = time.process_time()
    if kind == "sweep":
        sweep_votes(evidence, every[:settings], draws=16)
    else:
        again = Replayer(run)
        for one in asked:
            again(one)
    return {"cpu": time.process_time() - cpu, "mb": _peak() - before}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _apart(kind: str, settings: int, cases: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed.replay", kind, str(settings), str(cases)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _slope(sizes: list[int], seconds: list[float]) -> float:
    """The exponent of growth: 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def study(say: Callable[[str], None], *, rounds: int, quick: bool = False) -> Part:
    """Run it."""
    settings = [SETTINGS // 4, SETTINGS // 2, SETTINGS]
    cases = [CASES, 2 * CASES, 4 * CASES]
    full = 12 if quick else SETTINGS // 4
    claims, rows = [], []
    for kind, what, by_settings in (
        ("sweep", "panels by plurality (`sweep_votes`)", settings),
        (
            "replay",
            "whole replays (`Replayer`: figures, intervals, controls, verdict)",
            [full, 2 * full, 4 * full],
        ),
    ):
        runs: dict[tuple[int, int], list[dict[str, float]]] = {}
        fewest = by_settings[-1] if kind == "sweep" else by_settings[0]
        pairs = {(n, CASES) for n in by_settings} | {(fewest, n) for n in cases}
        for _ in range(rounds):
            for pair in sorted(pairs):
                runs.setdefault(pair, []).append(_apart(kind, *pair))
        middle = {k: statistics.median(one["cpu"] for one in v) for k, v in runs.items()}
        memory = {k: statistics.median(one["mb"] for one in v) for k, v in runs.items()}
        largest = by_settings[-1]
        thousand = middle[largest, CASES] * SETTINGS / largest
        grows = _slope(by_settings, [middle[n, CASES] for n in by_settings])
        wider = _slope(cases, [middle[fewest, n] for n in cases])
        held = memory[largest, CASES] / max(memory[by_settings[0], CASES], 1.0)
        name = kind if kind == "sweep" else "whole replays"
        claims += [
            Claim(
                f"{name}: s of CPU for {SETTINGS:,} settings × {CASES} cases × {MODELS} models",
                thousand,
                ENOUGH_S,
                form="{:.1f}",
            ),
            Claim(f"{name}: exponent of growth in settings (1: linear)", grows, 1.1),
            Claim(f"{name}: exponent of growth in cases", wider, 1.1),
            Claim(
                f"{name}: peak memory added, {largest} settings over {by_settings[0]}", held, 1.25
            ),
        ]
        rows += [
            [
                what,
                f"{n:,}",
                f"{m:,}",
                spread([o["cpu"] for o in runs[n, m]]),
                f"{memory[n, m]:.0f}",
            ]
            for n, m in sorted(pairs)
        ]
        say(f"replay, {kind}: done")
    note = (
        f"Synthetic answers: {MODELS} models, {SAMPLES} samples each, four options, 16 sample "
        "orders a setting; every size in a process of its own. Whole replays are vote, adaptive "
        "and cascade of 5 to 20 seats in turn, all on the same sample orders."
    )
    head = ("", "settings", "cases", "s of CPU", "MB added")
    return Part("Replay", claims, [note, table(head, rows)])


if __name__ == "__main__":
    arguments: list[Any] = sys.argv[1:]
    print(json.dumps(once(arguments[0], int(arguments[1]), int(arguments[2]))))
