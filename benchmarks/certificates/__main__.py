"""Counts false certificates over many splits: ``python -m benchmarks.certificates``.

Writes its own section of ``benchmarks/RESULTS.md``. Nothing is called; candidates are rows without
a calibration, because what a calibration says depends on the split that it was fitted on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from consensus.benchmark.proposals.candidates import search, table_with
from consensus.benchmark.proposals.figures import typical
from consensus.benchmark.proposals.recording import Recording, recording_of, task_types
from consensus.benchmark.proposals.serving import NotRecordedError, serve
from consensus.benchmark.proposals.truth import Floats, TruthCell, false_certificates, tally
from consensus.benchmark.proposals.trying import front
from consensus.benchmark.recorded import load_run
from consensus.benchmark.study import data_folder, replace_sections
from consensus.models.prices import PriceBook
from consensus.panel.book import PromptBook, load_prompts
from consensus.policy.mix import coin
from consensus.policy.table import PolicyTable

GRID = tuple(round(0.30 + 0.05 * step, 2) for step in range(14))
DELTAS = (0.05, 0.10)
LEAST_CASES = 60
COINS = (0.5,)


@dataclass(frozen=True)
class Source:
    """One data set: its folder, the models that candidates are made of, the strongest last."""

    folder: str
    models: tuple[str, ...]
    variant: str | None = None


SOURCES = (
    Source("rb2_judges_dev", ("gpt-5.4-nano", "gpt-5.4-mini", "gpt-5.4"), "base"),
    Source(
        "medagents",
        ("gpt-4o-mini", "Llama-3.3-70B-Instruct-Turbo", "gpt-4o", "o3-mini", "DeepSeek-R1"),
        "zero_shot",
    ),
    Source(
        "mmlu_pro",
        (
            "Meta-Llama-3_1-8B-Instruct",
            "gemini-1.5-flash-002",
            "gemini-1.5-pro-002",
            "gpt4o-may24",
            "gemini-3.1-pro",
        ),
    ),
    Source("iclr_review", ("gpt-4o-mini", "claude-3.5-sonnet", "gpt-4o")),
    Source("prd_vicuna80", ("vicuna-13b", "bard", "gpt-3.5", "claude-1", "gpt-4")),
)


def main() -> int:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certificates")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--only", help="data sets, with commas")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/RESULTS.md"))
    asked = parser.parse_args()
    folder = data_folder(asked.data)
    book = load_prompts(None)
    names = set((asked.only or "").split(",")) - {""}
    found: dict[str, list[TruthCell]] = {}
    for source in SOURCES:
        if not names or source.folder in names:
            found[source.folder] = measure(folder / source.folder, source, book, asked.splits)
    text = asked.out.read_text(encoding="utf-8") if asked.out.exists() else ""
    section = render(found, asked.splits)
    asked.out.write_text(
        replace_sections(text, {"certificates": section}, where=str(asked.out)), encoding="utf-8"
    )
    sys.stdout.write(section)
    return 0


def measure(folder: Path, source: Source, book: PromptBook, splits: int) -> list[TruthCell]:
    """Every task type of a data set against the grid, and against the hardest floors."""
    run = load_run(folder)
    cells: list[TruthCell] = []
    for stratum in task_types(run):
        if sum(s == stratum for s in run.cases.strata) < LEAST_CASES:
            continue
        began = time.perf_counter()
        recording = recording_of(
            run,
            stratum,
            folder=folder,
            book=book,
            prices=PriceBook(),
            variant=source.variant,
            models=source.models,
        )
        credits_, costs = candidates(recording, source, book)
        # Just above a candidate's own rate a certificate is false whenever it is given: no floor
        # is harder to hold.
        rates = {
            *(float(c.mean()) for c in credits_.values()),
            *mixed_rates(recording, credits_, costs),
        }
        hardest = sorted(rate + 1e-6 for rate in rates if rate < 0.999)
        for delta in DELTAS:
            cells += false_certificates(
                recording.task_type,
                recording.case_ids,
                credits_,
                costs,
                floors=sorted({*GRID, *hardest}),
                delta=delta,
                splits=splits,
                coins=COINS,
            )
        sys.stderr.write(
            f"{source.folder} {recording.task_type}: {len(recording):,} cases, {len(credits_)} "
            f"candidates, {time.perf_counter() - began:.1f} s\n"
        )
    return cells


def candidates(
    recording: Recording, source: Source, book: PromptBook
) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    """Credit and cost of every candidate on every case; calls where no price is known."""
    cost = typical(recording)
    priced = all(np.isfinite(list(cost.values())))
    strength = {f"recorded/{name}": place for place, name in enumerate(source.models)}
    cost = cost if priced else dict.fromkeys(recording.models, 1.0)
    ordered = sorted(recording.models, key=lambda m: (cost[m], strength[m]))
    frontier = ordered[-1]
    credits_: dict[str, Floats] = {}
    costs: dict[str, Floats] = {}
    for candidate in search(recording, cost, frontier, keep=ordered[:-1][:4]):
        try:
            served = serve(recording, table_with(PolicyTable(), recording, candidate), book)
        except NotRecordedError:
            continue
        credits_[candidate.name] = served.credit
        costs[candidate.name] = served.usd if priced else served.calls
    return credits_, costs


def mixed_rates(
    recording: Recording, credits_: Mapping[str, Floats], costs: Mapping[str, Floats]
) -> set[float]:
    """The rates, over all cases, of the coins between neighbours of the whole recording's front."""
    thrown = np.array([coin(case) for case in recording.case_ids])
    quality = {name: float(values.mean()) for name, values in credits_.items()}
    cost = {name: float(values.mean()) for name, values in costs.items()}
    return {
        float(np.where(thrown < share, credits_[dear], credits_[cheap]).mean())
        for dear, cheap in pairwise(front(sorted(quality), cost, quality))
        for share in COINS
    }


def render(found: Mapping[str, Sequence[TruthCell]], splits: int) -> str:
    """The section: a row a data set and delta, and all of it pooled."""
    method = (
        f"`python -m benchmarks.certificates --splits {splits}`. Each task type of each data set "
        f"is split {splits} times by hashes of its case ids. One half orders the candidate rows "
        "(single models, votes, cascades, debates where none came to words; measured through the "
        "engine's own conclusion; and between every two neighbours of their front a coin of one "
        "half, thrown for each case as it would be served) by quality and cost, the other "
        "certifies by a fixed sequence at δ. A certificate is false where the "
        "chosen row's rate over *all* cases is below the floor. Floors: .30 to .95 by .05, and a "
        "hair above each candidate's own rate, where any certificate for it is false. *Coins*: "
        "certificates that went to one, and how many of them were false. *Naive*: the cheapest "
        "row whose rate on the evaluation half reaches the floor, as one would choose without a "
        "bound. Every run counts, certified or not. Splits of one data set "
        "overlap, so the interval is narrower than it should be."
    )
    out = [
        "## Certificates: how many are false",
        "",
        method,
        "",
        "| data set | δ | runs | certified | false | share (95 %) | coins | false | naive |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    pooled: dict[float, list[TruthCell]] = {delta: [] for delta in DELTAS}
    for name, cells in found.items():
        for delta in DELTAS:
            mine = [cell for cell in cells if cell.delta == delta]
            pooled[delta] += mine
            out.append(_row(name, delta, mine))
    out += [_row("**all**", delta, pooled[delta]) for delta in DELTAS]
    worst = max(
        (cell for cells in found.values() for cell in cells),
        key=lambda c: c.false / c.runs / c.delta,
    )
    out.append("")
    out.append(
        f"Worst single floor: {worst.task_type} at {worst.floor:.4f}, δ = {worst.delta:g}: "
        f"{worst.false} false in {worst.runs} runs."
    )
    out.append("")
    out.append(
        "Halves are drawn from a finite set, which is why the shares lie well below δ: a half's "
        "rate strays from the whole's by less than a fresh sample's would. "
        "`tests/statistics/test_bounds.py` holds the bound itself to δ, exactly, at every n."
    )
    return "\n".join(out)


def _row(name: str, delta: float, cells: Sequence[TruthCell]) -> str:
    total = tally(cells)
    low, high = total.interval()
    naive = total.naive / total.runs if total.runs else 0.0
    return (
        f"| {name} | {delta:g} | {total.runs:,} | {total.certified:,} | {total.false:,} | "
        f"{total.share:.4f} ({low:.4f} to {high:.4f}) | {total.coins:,} | {total.coins_false:,} | "
        f"{naive:.4f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
