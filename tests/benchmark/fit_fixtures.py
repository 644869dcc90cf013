"""Simulated panels as recorded runs: seats that err together, with known p and ρ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consensus.benchmark.run_format.columns import CaseTable
from consensus.benchmark.run_format.reading import RowBuilder
from consensus.benchmark.run_format.report import ImportReport
from consensus.benchmark.run_format.run import RecordedRun

MODELS = ("m/a", "m/b", "m/c")


def simulated(
    cases: int,
    *,
    models: Mapping[str, float] | None = None,
    seats: int = 1,
    rho: float = 0.44,
    options: Sequence[str] = ("approve", "reject"),
    kind: str = "approve",
    confidence: bool = False,
    distributions: bool = False,
    bias: Mapping[str, float] | None = None,
    failing: float = 0.0,
    seed: int = 0,
) -> RecordedRun:
    """Every model's seats share a case's difficulty, which is Beta with the model's accuracy.

    ``bias`` is a model's chance of saying the first option whatever the truth. Distributions and
    confidences are sharper where the model is right.
    """
    rng = np.random.default_rng(seed)
    models = models or dict.fromkeys(MODELS, 0.8)
    s = 1.0 / rho - 1.0
    truth = rng.integers(len(options), size=cases)
    records: list[tuple[str, dict[str, Any], tuple[str, ...]]] = []
    lines: list[dict[str, Any]] = []
    for case in range(cases):
        name = f"c{case}"
        right = options[truth[case]]
        records.append(
            (
                name,
                {
                    "case_id": name,
                    "task_kind": kind,
                    "task_type": "t",
                    "label": right,
                    "options": list(options),
                },
                tuple(options),
            )
        )
        others = [o for o in options if o != right]
        for model, p in models.items():
            chance = rng.beta(p * s, (1 - p) * s)
            for sample in range(seats):
                hit = rng.random() < chance
                said = right if hit else others[rng.integers(len(others))]
                if bias and rng.random() < bias.get(model, 0.0):
                    said = options[0]
                line: dict[str, Any] = {
                    "case": name,
                    "model": model,
                    "variant": "plain",
                    "sample": sample,
                    "answer": said,
                }
                if rng.random() < failing:
                    line |= {"answer": None, "failure": "timeout"}
                elif confidence:
                    line["confidence"] = float(np.clip(chance, 0.02, 0.98)) if hit else 0.6
                if distributions and line["answer"]:
                    top = 0.52 + (0.46 * chance if hit else 0.2) * rng.random()
                    rest = (1 - top) / (len(options) - 1)
                    line["scores"] = [top if o == said else rest for o in options]
                lines.append(line)
    return recorded(records, lines)


def recorded(
    records: Sequence[tuple[str, Mapping[str, Any], tuple[str, ...]]],
    lines: Sequence[Mapping[str, Any]],
) -> RecordedRun:
    report = ImportReport()
    table = CaseTable.build(records, report)
    builder = RowBuilder(table, report)
    for line in lines:
        builder.add("line", line)
    assert not report.broken, report.messages
    members, rows = builder.finish()
    return RecordedRun("simulated", table, members, rows, {}, report)
