"""One hop of a row as a resolved strategy: models, seats, framings, calibration."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from consensus.errors import DataError, PolicyError
from consensus.orchestrators.calibration import Calibration, load_calibration
from consensus.orchestrators.spec import (
    LEARNING,
    Aggregator,
    OrchestratorName,
    Stopping,
    StrategySpec,
)
from consensus.panel.framings import PLAIN
from consensus.policy._lines import KeyPath
from consensus.policy.rows import (
    TaskRow,
)
from consensus.policy.table import PolicyTable
from consensus.strangers import inside

__all__ = [
    "DEFAULT_SEATS",
    "calibration_of",
    "expand_framings",
    "expand_models",
    "is_model",
    "spec_of",
]

DEFAULT_SEATS = 5

SCORED = ("approve", "choose", "compare")
"""Kinds with a closed set of answers, each of which can be a word or be given a score."""

DEFAULT_COMPARISONS = 40
"""Seats of a ranking by pairs: twenty pairs in both orders."""


def is_model(name: str) -> bool:
    """Whether a name is a model's: ``provider/model``; no other name may hold a slash."""
    return "/" in name


def expand_models(table: PolicyTable, names: Iterable[str]) -> tuple[str, ...]:
    """Tiers replaced by their models; each model once, in order."""
    found: dict[str, None] = {}
    for name in names:
        found |= dict.fromkeys(table.tiers.get(name, (name,)))
    return tuple(found)


def expand_framings(table: PolicyTable, names: Iterable[str]) -> tuple[str, ...]:
    """Framing sets replaced by their framings."""
    return tuple(f for name in names for f in table.framing_sets.get(name, (name,)))


def _models(table: PolicyTable, row: TaskRow, path: KeyPath) -> tuple[str, ...]:
    if row.models:
        return row.models
    where = table.cite(*path)
    if row.tier is None:
        raise PolicyError("has neither a tier nor models", where=where, fix='add tier = "small"')
    if row.tier not in table.tiers:
        raise PolicyError(
            f'tier "{row.tier}" is nowhere',
            where=where,
            fix=f"known: {', '.join(sorted(table.tiers)) or 'none'}; add it under [tiers]",
        )
    if not table.tiers[row.tier]:
        raise PolicyError(
            f'tier "{row.tier}" has no models', where=table.cite("tiers", row.tier), fix="name one"
        )
    return table.tiers[row.tier]


def calibration_of(table: PolicyTable, path: KeyPath, name: str) -> Calibration:
    """The calibration file that the key at ``path`` names, beside the file that names it.

    Read once a table: a file that changes is for the table that is loaded next.

    Raises:
        PolicyError: naming the key's place, and the file with what is wrong with it.
    """
    place = table.place(*path)
    folder = Path(place.file).parent if place is not None else Path()
    known = table._read.get(folder / name)
    if isinstance(known, Calibration):
        return known
    try:
        if place is not None:  # a table made in Python names what its program likes
            inside(folder, name)
        made = load_calibration(folder / name)
    except DataError as error:
        raise PolicyError(str(error), where=table.cite(*path)) from None
    table._read[folder / name] = made
    return made


def spec_of(
    table: PolicyTable,
    name: str,
    orchestrator: OrchestratorName,
    row: TaskRow,
    path: KeyPath,
    calibration_at: KeyPath,
) -> StrategySpec:
    """What an orchestrator is given: everything resolved, nothing left to look up.

    ``calibration_at`` is the path of the key that names the calibration.

    Raises:
        PolicyError: the row has no models, or its calibration cannot be read.
    """
    models = _models(table, row, path)
    framings = expand_framings(table, row.framings or ())
    alone = orchestrator == "single"
    by_pairs = orchestrator == "pairs"
    seats = 1 if alone else (row.seats or (DEFAULT_COMPARISONS if by_pairs else DEFAULT_SEATS))
    values: dict[str, Any] = {
        "name": name,
        "orchestrator": orchestrator,
        "models": models[:1] if alone else models,
        "seats": seats,
        # What few comparisons can say of an order is the order's own question, not a quorum's.
        "quorum": 1 if alone else (row.quorum or (1 if by_pairs else seats // 2 + 1)),
        "framings": (framings or (PLAIN,))[:1] if alone else framings,
        "ballot": _ballot(row, models, orchestrator),
        "fallbacks": expand_models(table, row.fallback or ()),
    }
    if row.calibration is not None:
        calibration = calibration_of(table, calibration_at, row.calibration)
        # What a receipt carries: the numbers of this row's α, not every calibration case.
        values["calibration"] = calibration.at(row.alpha)
        values["aggregator"] = row.aggregator or calibration.aggregator
    elif row.aggregator is not None:
        values["aggregator"] = row.aggregator
    elif values["ballot"] == "scores":
        values["aggregator"] = "scores"
    if _never_settled(row, values.get("aggregator", "majority")):
        values["waves"], values["stop"] = (), None
    elif row.latency == "fast":
        values["waves"] = ()
        values["stop"] = Stopping() if row.stop is None else row.stop.model_dump()
    for key in StrategySpec.model_fields:
        if key in values or (alone and key in ("min_agreement", "veto")):
            continue
        value = getattr(row, key, None)
        if value is not None:
            values[key] = value.model_dump() if hasattr(value, "model_dump") else value
    return StrategySpec.model_validate(values)


def _never_settled(row: TaskRow, aggregator: Aggregator) -> bool:
    """Whether waves could only delay: that the rest changes nothing is certain of counts alone."""
    exact = row.stop is None or row.stop.rule == "margin"
    return exact and (aggregator in LEARNING | {"cisc"} or row.calibration is not None)


def _ballot(
    row: TaskRow, models: tuple[str, ...], orchestrator: OrchestratorName
) -> Literal["structured", "token", "scores"]:
    """One form for the whole panel: tokens where every model runs here and one word can answer.

    Scores are of a closed set, or of the candidates that a best-of-n puts to its judges; elsewhere
    the answer is a structured one.
    """
    if row.ballot == "scores":
        scored = row.kind in (*SCORED, None) or orchestrator == "best_of_n"
        return "scores" if scored else "structured"
    if row.ballot in ("structured", "token"):
        return row.ballot
    here = all(model.startswith("local/") for model in models)
    return "token" if here and row.kind in SCORED else "structured"
