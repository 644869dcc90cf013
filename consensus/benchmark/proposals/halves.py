"""One task type of a run: who answered it, who is the frontier, and its two halves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.evidence import calibration_mask
from consensus.benchmark.proposals.figures import typical
from consensus.benchmark.proposals.filling import Filled, fill
from consensus.benchmark.proposals.recording import Recording, recording_of, task_types, type_name
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from consensus.models.prices import PriceBook
from consensus.panel.book import PromptBook
from consensus.policy.audit.model import Audit
from consensus.policy.consequences import Bars, bar_of
from consensus.policy.table import PolicyTable

__all__ = [
    "TypeRun",
    "comparable",
    "frontier_of",
    "left_out",
    "notes_of",
    "recordings_of",
    "split_type",
]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TypeRun:
    """One task type's run, split in two."""

    recording: Recording
    table: PolicyTable
    filled: Filled
    book: PromptBook
    prices: PriceBook
    frontier: str
    bar: Bars
    learn: Ints
    test: Ints
    priced: bool
    latency_need_s: float | None


def notes_of(run: RecordedRun, path: Path) -> list[str]:
    """What a reader should know of the run before anything else."""
    notes = [*run.report.notes[:5]]
    if not (path / "run.json").exists():
        notes.append(
            "these answers were not made with this project's prompts: the figures are the "
            "recording's, and policy check will ask for a run of consensus bench"
        )
    return notes


def recordings_of(
    run: RecordedRun,
    path: Path,
    table: PolicyTable,
    settings: ProposalSettings,
    book: PromptBook,
    prices: PriceBook,
    skipped: dict[str, str],
) -> list[Recording]:
    """A recording of every task type asked for; why not, in ``skipped``, for the others."""
    found = []
    strata = {type_name(run, stratum): stratum for stratum in task_types(run)}
    for name in settings.types or ():
        if name not in strata:
            raise DataError(
                f'has no cases of type "{name}"',
                where=str(path),
                fix=f"one of {', '.join(sorted(strata))}",
            )
    for name, stratum in sorted(strata.items()):
        if settings.types is not None and name not in settings.types:
            continue
        try:
            found.append(
                recording_of(
                    run,
                    stratum,
                    folder=path,
                    book=book,
                    prices=prices,
                    names=settings.names,
                    variant=settings.variant,
                    models=settings.models,
                )
            )
        except DataError as error:
            skipped[name] = str(error)
    return found


def left_out(recording: Recording) -> str:
    """That some cases have no answer of some model; empty where all have.

    Raises:
        DataError: the run is of decisions of production, so that who was asked hung on the case:
            what a cascade escalated is what its first models could not answer.
    """
    if not recording.left_out:
        return ""
    total = recording.left_out + len(recording)
    said = f"{recording.left_out:,} of {total:,} cases were not answered by every model"
    if recording.source.get("kind") == "ledger":
        raise DataError(
            f"{said}, and those that were (what was escalated, say) are no random part of "
            "production: nothing can be proposed from them",
            where=recording.name,
            fix="consensus policy refresh --labelled certifies the row that serves from all of its "
            "decisions; or --models: only those that every decision asked",
        )
    return f"{said} and are left out; the rest may not be a random part of them"


def frontier_of(recording: Recording, table: PolicyTable, settings: ProposalSettings) -> str:
    """The model to compare with: as asked, the policy's, else the dearest of the run."""
    if settings.frontier is not None:
        for name in (settings.frontier, f"recorded/{settings.frontier}"):
            if name in recording.models:
                return name
        raise DataError(
            f'"{settings.frontier}" did not answer the cases of "{recording.task_type}"',
            where="--frontier",
            fix=f"one of {', '.join(recording.models)}",
        )
    for model in table.tiers.get("frontier", ()):
        if model in recording.models:
            return model
    cost = typical(recording)
    priced = [model for model in sorted(recording.models) if math.isfinite(cost[model])]
    return max(priced or sorted(recording.models), key=lambda model: cost[model])


def comparable(recording: Recording, frontier: str) -> tuple[Recording, list[str]]:
    """The recording without models whose price is not known, where the frontier's is."""
    cost = typical(recording)
    unpriced = [model for model in recording.models if not math.isfinite(cost[model])]
    if not unpriced or frontier in unpriced:
        return recording, []
    return recording.only([m for m in recording.models if m not in unpriced]), unpriced


def split_type(
    recording: Recording,
    folder: Path,
    table: PolicyTable,
    book: PromptBook,
    prices: PriceBook,
    frontier: str,
    settings: ProposalSettings,
    audit: Audit | None,
) -> TypeRun:
    """A task type cut in two by the hash of its case ids, with its bar and its prices."""
    mask = calibration_mask(recording.case_ids, settings.seed)
    learn, test = np.flatnonzero(mask), np.flatnonzero(~mask)
    if learn.size < 2 or test.size < 2:
        raise DataError(f"{len(recording)} cases are too few to split", where=recording.name)
    name = recording.task_type
    asked = audit.tasks.get(name) if audit is not None else None
    filled = fill(table, recording, asked, folder)
    row = filled.table.tasks[name]
    if row.consequence is None:
        row = row.model_copy(update={"consequence": table.defaults.consequence})
    bar = bar_of(
        table.certificates,
        row,
        floor=asked.floor if asked is not None else None,
        delta=asked.delta if asked is not None else None,
    )
    priced = all(math.isfinite(cost) for cost in typical(recording).values())
    needs = [
        need.p95_s
        for need in (row.latency_need, asked.latency if asked is not None else None)
        if need is not None
    ]
    return TypeRun(
        recording,
        table,
        filled,
        book,
        prices,
        frontier,
        bar,
        learn,
        test,
        priced,
        min(needs, default=None),
    )
