"""What could serve a task type: rows that the engine can follow, made from the models of a run.

Nothing here is a finding. A candidate is a row; the calibration half says which are worth testing,
the evaluation half which may serve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consensus.benchmark.proposals.recording import Recording
from consensus.orchestrators.calibration import Calibration
from consensus.policy.history import CHOICE_KEYS
from consensus.policy.rows import StrategyTable, TaskRow
from consensus.policy.table import PolicyTable

__all__ = ["CHOICE_KEYS", "Candidate", "choice_of", "search", "single", "table_with"]

POSTERIORS = (0.6, 0.7, 0.8, 0.9, 0.95)
"""Thresholds of a cascade that are tried."""

PANELS = (3, 5)
"""Seats of the panels that are tried: odd, so that two options cannot tie."""


@dataclass(frozen=True)
class Candidate:
    """A row that could serve.

    Attributes:
        name: for people.
        row: the keys of :data:`CHOICE_KEYS` that it gives, as TOML has them.
        source: ``search``, ``current``, or who named it.
        fitted: the calibration that it names under ``calibration``; the file is written when the
            row is accepted.
        strategies: named strategies that it needs.
    """

    name: str
    row: Mapping[str, Any]
    source: str = "search"
    fitted: Calibration | None = None
    strategies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def choice_of(row: TaskRow) -> dict[str, Any]:
    """How a row is answered: its own keys of :data:`CHOICE_KEYS`, as TOML has them."""
    said = row.model_dump(mode="json", exclude_unset=True, exclude_none=True, by_alias=True)
    return {key: said[key] for key in CHOICE_KEYS if key in said}


def table_with(table: PolicyTable, recording: Recording, candidate: Candidate) -> PolicyTable:
    """The policy with this candidate as the row of the recording's task type.

    A calibration goes in by content, without a file.

    Raises:
        ConsensusError: the candidate is no row.
    """
    kept: dict[str, Any] = {}
    row = table.tasks.get(recording.task_type)
    if row is not None:
        kept = row.model_dump(mode="json", exclude_unset=True, exclude_none=True, by_alias=True)
        for key in (*CHOICE_KEYS, "certificate", "profile", "shadow"):
            kept.pop(key, None)
    kept.setdefault("kind", recording.kind)
    fresh = TaskRow.model_validate({**kept, **candidate.row})
    named = {
        name: StrategyTable.model_validate(dict(strategy))
        for name, strategy in candidate.strategies.items()
    }
    fields = {name: getattr(table, name) for name in PolicyTable.model_fields}
    fields["tasks"] = {**table.tasks, recording.task_type: fresh}
    fields["strategies"] = {**table.strategies, **named}
    made = PolicyTable(**fields).located(table._places, table.source)
    made._oracles.update(table._oracles)
    if candidate.fitted is not None:
        place = made.place("tasks", recording.task_type, "calibration")
        folder = Path(place.file).parent if place is not None else Path()
        made._read[folder / str(candidate.row["calibration"])] = candidate.fitted
    return made


def search(
    recording: Recording,
    cost: Mapping[str, float],
    frontier: str,
    *,
    keep: Sequence[str],
    fitted: Sequence[tuple[tuple[str, ...], Calibration]] = (),
) -> Iterator[Candidate]:
    """Every candidate of the search.

    Args:
        recording: which models there are, and how often they answered.
        cost: of one call of each model, in any unit.
        frontier: what a cascade ends with.
        keep: models that panels and cascades are made of, the cheapest first: a panel of weak ones
            costs tests and wins nothing.
        fitted: calibrations of sets of models.
    """
    for model in sorted(recording.models, key=lambda m: (cost[m], m)):
        yield single(recording, model)
    cheap = [model for model in keep if model != frontier]
    for candidate in _votes(recording, cheap):
        yield candidate
        row = {**candidate.row, "escalate_to": [frontier]}
        yield Candidate(f"{candidate.name}, undecided → {short(frontier)}", row)
    yield from _cascades(recording, cheap, frontier)
    yield from _debates(recording, cheap)
    for models, calibration in fitted:
        yield from _calibrated(recording, models, calibration, frontier)


def single(recording: Recording, model: str) -> Candidate:
    """One call of a model, asked as the run asked."""
    row = {"strategy": "single", "models": [model], **_form(recording)}
    return Candidate(f"single {short(model)}", row)


def short(model: str) -> str:
    """A model's name without its provider."""
    return model.rpartition("/")[2]


def _form(recording: Recording) -> dict[str, Any]:
    """The form of ballot, where the run's is not what a row has by default."""
    return {"ballot": "scores"} if recording.asked_for_scores else {}


def _framings(recording: Recording) -> dict[str, Any]:
    """A panel asks as the run asked: its framings are named, so that no other is dealt."""
    named = {} if recording.framings is None else {"framings": list(recording.framings)}
    return {**named, **_form(recording)}


def _available(recording: Recording, model: str) -> int:
    return recording.depth[model] * len(recording.framings or ("",))


def _panel(recording: Recording, models: Sequence[str], seats: int) -> bool:
    """Whether every model has an answer for each of its seats."""
    turns = [seats // len(models) + (i < seats % len(models)) for i in range(len(models))]
    return all(t <= _available(recording, m) for t, m in zip(turns, models, strict=True))


def _votes(recording: Recording, cheap: Sequence[str]) -> Iterator[Candidate]:
    for seats in PANELS:
        for model in cheap:
            if _panel(recording, [model], seats):
                yield Candidate(
                    f"vote {seats} × {short(model)}",
                    {"strategy": "vote", "models": [model], "seats": seats, **_framings(recording)},
                )
        for size in range(2, min(seats, len(cheap)) + 1):
            models = list(cheap[:size])
            if _panel(recording, models, seats):
                yield Candidate(
                    f"vote {seats} of {', '.join(map(short, models))}",
                    {"strategy": "vote", "models": models, "seats": seats, **_framings(recording)},
                )


def _cascades(recording: Recording, cheap: Sequence[str], frontier: str) -> Iterator[Candidate]:
    for size in (2, 3):
        for first in range(len(cheap)):
            models = list(cheap[first : first + size])
            if len(models) == size and _panel(recording, models, size):
                yield _agreeing(recording, models, size, frontier)
        for model in cheap:
            if _panel(recording, [model], size):
                yield _agreeing(recording, [model], size, frontier)
    for model in cheap:
        if _has_distributions(recording, model):
            for threshold in POSTERIORS:
                yield Candidate(
                    f"cascade {short(model)} → {short(frontier)} at P ≥ {threshold:g}",
                    {
                        "strategy": "cascade",
                        "models": [model],
                        "aggregator": "mean",
                        "escalate_to": [frontier],
                        "cascade": {"accept": "posterior", "thresholds": [threshold]},
                    },
                )


def _agreeing(recording: Recording, models: Sequence[str], seats: int, frontier: str) -> Candidate:
    who = f"{seats} × {short(models[0])}" if len(models) == 1 else ", ".join(map(short, models))
    return Candidate(
        f"cascade {who} → {short(frontier)} unless all agree",
        {
            "strategy": "cascade",
            "models": list(models),
            "seats": seats,
            "quorum": seats,
            "escalate_to": [frontier],
            "cascade": {"accept": "agreement", "thresholds": [1.0]},
            **_framings(recording),
        },
    )


def _has_distributions(recording: Recording, model: str) -> bool:
    found = [
        samples
        for (name, _), cases in recording.answers.items()
        if name == model
        for samples in cases[:50]
    ]
    return any(s.distribution is not None for samples in found for s in samples)


def _debates(recording: Recording, cheap: Sequence[str]) -> Iterator[Candidate]:
    """Measured only where no case would come to words: what seats say in a debate is recorded by
    nobody but the engine itself."""
    if len(cheap) >= 2 and _panel(recording, cheap[:3], 3):
        models = list(cheap[:3])
        yield Candidate(
            f"debate of {', '.join(map(short, models))}",
            {"strategy": "debate", "models": models, "seats": 3, **_framings(recording)},
        )


def _calibrated(
    recording: Recording, models: Sequence[str], calibration: Calibration, frontier: str
) -> Iterator[Candidate]:
    file = f"calibrations/{recording.task_type}.json"
    if len(models) > 1 and _panel(recording, models, len(models)):
        yield Candidate(
            f"{calibration.aggregator} vote of {', '.join(map(short, models))}",
            {
                "strategy": "vote",
                "models": list(models),
                "seats": len(models),
                "quorum": len(models) // 2 + 1,
                "min_agreement": 0.01,
                "calibration": file,
                **_framings(recording),
            },
            fitted=calibration,
        )
    first = [model for model in models if model != frontier]
    if frontier not in models or not first:
        return
    for threshold in POSTERIORS:
        yield Candidate(
            f"calibrated cascade {', '.join(map(short, first))} → {short(frontier)} "
            f"at P ≥ {threshold:g}",
            {
                "strategy": "cascade",
                "models": first,
                "seats": len(first),
                "quorum": len(first) // 2 + 1,
                "min_agreement": 0.01,
                "calibration": file,
                "escalate_to": [frontier],
                "cascade": {"accept": "posterior", "thresholds": [threshold]},
                **_framings(recording),
            },
            fitted=calibration,
        )
