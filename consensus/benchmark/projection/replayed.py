"""Routes measured on a run's recorded answers, each served as the engine would serve it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from consensus.benchmark.projection.measurement import FrontierCost, Measurement, from_profile
from consensus.benchmark.projection.tariff import tariff_of
from consensus.benchmark.proposals.recording import (
    Recording,
    recording_of,
    task_types,
    type_name,
)
from consensus.benchmark.proposals.serving import NotRecordedError, Served, serve
from consensus.benchmark.recorded import load_run
from consensus.errors import DataError
from consensus.models.prices import PriceBook
from consensus.panel.book import PromptBook
from consensus.policy.certificate import Profile
from consensus.policy.route import route_type
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable

__all__ = ["measure_routes"]


def measure_routes(
    folder: str | Path,
    table: PolicyTable,
    book: PromptBook,
    names: Iterable[str],
    *,
    frontier: str | None,
    called: Mapping[str, str] | None = None,
    variant: str | None = None,
) -> tuple[dict[str, Measurement], tuple[str, ...]]:
    """Measure the table's row of each task type on the run, and one plain frontier call.

    Args:
        folder: of the run, or of recorded answers.
        table: whose rows are served.
        book: the prompts that the engine would ask with.
        names: task types; those without cases in the run are told in the second result.
        frontier: the model of *before*.
        called: recorded name → the policy's.
        variant: of a recording with other prompts.

    Returns:
        Measurements by task type, and a sentence for each type that could not be measured.

    Raises:
        DataError: the run cannot be read.
        PolicyError: a row cannot be followed.
    """
    run = load_run(folder)
    have = {type_name(run, stratum): stratum for stratum in task_types(run)}
    prices = PriceBook(table.price_overrides())
    found: dict[str, Measurement] = {}
    missing: list[str] = []
    for name in names:
        if name not in have:
            missing.append(f"{name}: the run has no cases of it")
            continue
        try:
            recording = recording_of(
                run,
                have[name],
                folder=Path(folder),
                book=book,
                prices=prices,
                names=called,
                variant=variant,
                models=_asked(table, name, frontier),
            )
            served = serve(recording, table, book)
        except (DataError, NotRecordedError) as error:
            missing.append(f"{name}: {error}")
            continue
        if not np.isfinite(served.usd).all():
            missing.append(f"{name}: some of its answers have no known price")
            continue
        found[name] = _measurement(name, served, _beside(recording, table, book, frontier), table)
    return found, tuple(missing)


def _asked(table: PolicyTable, name: str, frontier: str | None) -> list[str]:
    """The models whose answers matter: a case counts if these have answered it."""
    route = route_type(table, name)
    models = [model for hop in (*route.hops, *route.others) for model in hop.models]
    return list(dict.fromkeys([*models, *([] if frontier is None else [frontier])]))


def _beside(
    recording: Recording, table: PolicyTable, book: PromptBook, frontier: str | None
) -> FrontierCost | None:
    """One plain call of the frontier a case; None where the run does not hold it."""
    if frontier is None or frontier not in recording.models:
        return None
    name = recording.task_type
    old = table.tasks.get(name, TaskRow())
    row = TaskRow(
        kind=old.kind,
        criteria=old.criteria,
        options=old.options,
        scale=old.scale,
        strategy="single",
        models=(frontier,),
        escalate_to=(),
        fallback=(),
    )
    alone = table.model_copy(update={"tasks": {**table.tasks, name: row}})
    try:
        served = serve(recording, alone.located({}, table.source), book)
    except NotRecordedError:
        return None
    if not np.isfinite(served.usd).all():
        return None
    return FrontierCost(
        float(served.usd.mean()), len(served), served.usd, _quantile(served.latency_s, 0.5)
    )


def _measurement(
    name: str, served: Served, frontier: FrontierCost | None, table: PolicyTable
) -> Measurement:
    """As the profile of these cases would say it, with the cases themselves."""
    n = len(served)
    tokens = np.nan_to_num(served.tokens.mean(axis=0))
    profile = Profile(
        n=n,
        escalations=int((served.hops > 1).sum()),
        usd_per_decision=float(served.usd.mean()),
        usd_sd=float(served.usd.std()),
        calls_per_decision=float(served.calls.mean()),
        input_tokens=float(tokens[0]),
        cached_tokens=float(min(tokens[0], tokens[1])),
        output_tokens=float(tokens[2]),
        reasoning_tokens=float(min(tokens[2], tokens[3])),
    )
    measured = from_profile(profile, route_type(table, name), {}, tariff_of(table))
    return replace(
        measured,
        source="run",
        costs=served.usd,
        latency_p50_s=_quantile(served.latency_s, 0.5),
        latency_p95_s=_quantile(served.latency_s, 0.95),
        frontier=frontier,
    )


def _quantile(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], part: float
) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, part)) if known.size and known.max() > 0 else None
