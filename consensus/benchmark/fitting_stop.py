"""The stopping rule ``lead`` fitted on recorded panels, and written where a row reads it.

Spread and level come from the calibration half and from no label: the level is the lowest that
decides as the whole panel would on the share of cases asked for. Figures are of the other half, at
the very numbers that are written. Live and replay stop by one function
(:mod:`consensus.aggregation.stop_scores`), so a row stops where the replay did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consensus.aggregation.stop_scores import LeadEvidence
from consensus.benchmark._fit_data import of_type
from consensus.benchmark.evidence import calibration_mask, evidence_of, resolve_members
from consensus.benchmark.measure import measure
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.stopping_strategy import Stopping, parse_stopping
from consensus.errors import DataError, PolicyError
from consensus.policy.load import load_policy

__all__ = ["FittedStop", "fit_stop", "write_row"]

FEWEST = 20
"""Cases below which no spread is measured."""


@dataclass(frozen=True)
class FittedStop:
    """A fitted rule, and what it does on the half that it has not seen.

    Attributes:
        row: the keys of a policy's row that stops so: ``stop``, ``waves``, ``seats``, ``quorum``,
            and ``ballot`` where scores are added up.
        strategy: the same as a replay's strategy.
        cases, held_out: how many were fitted on, and measured.
        calls, calls_whole: a case on average, with the rule and of the whole panel.
        same: share of the cases decided as the whole panel decides them.
        accuracy, accuracy_whole: of both; credit of ties is shared.
    """

    row: Mapping[str, Any]
    strategy: Stopping
    cases: int
    held_out: int
    calls: float
    calls_whole: float
    same: float
    accuracy: float
    accuracy_whole: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("cases", "held_out", "calls", "calls_whole", "same", "accuracy", "accuracy_whole")
        return {"row": dict(self.row), **{name: getattr(self, name) for name in names}}


def fit_stop(
    run: RecordedRun,
    panel: Sequence[str],
    *,
    evidence: LeadEvidence = "scores",
    seats: int | None = None,
    variant: str | None = None,
    task_type: str | None = None,
    seed: int = 0,
    same: float = 0.98,
    waves: Sequence[int] = (1,),
) -> FittedStop:
    """Fit spread and level on the calibration half, and measure them on the other.

    Args:
        run: recorded answers, whole panels.
        panel: models, as the run names them.
        evidence: what is added up.
        seats: all seats, models in turn, samples in turn; one a model if not given.
        variant: see :func:`.evidence.resolve_members`.
        task_type: only cases of this stratum.
        seed: of the split.
        same: share of the cases that must be decided as the whole panel decides them.
        waves: seats asked at a time; the last number repeats.

    Raises:
        DataError: too few cases, no scores, or no level at which anything is saved.
    """
    run, _ = of_type(run, task_type)
    found = resolve_members(run, panel, variant)
    members = tuple(dict.fromkeys(m for part in found.values() for m in part))
    whole = evidence_of(run, members).compact()
    learn = calibration_mask(whole.case_ids, seed)
    if int(learn.sum()) < FEWEST:
        raise DataError(
            f"{int(learn.sum())} cases to fit on; {FEWEST} are the fewest", where=run.name
        )
    train, test = whole.take(np.flatnonzero(learn)), whole.take(np.flatnonzero(~learn))
    asked = parse_stopping(f"adaptive:{evidence}:same={same:g}", seats)
    fitted = replace(asked, waves=tuple(waves)).fit(train)
    said = fitted.describe()
    if "stop" not in said:
        raise DataError(
            f"no level of a lead in {evidence} saves a ballot and decides as the panel would on "
            f"{same:.1%} of the cases",
            where=run.name,
            fix="a lower --same, or more seats",
        )
    stop = said["stop"]
    strategy = replace(
        fitted, rule=replace(fitted.rule, spread=stop["spread"]), chosen=stop["level"]  # type: ignore[type-var]
    )  # fmt: skip
    everyone = replace(strategy, chosen=float("inf"))
    early, full = (measure(one, test, draws=16) for one in (strategy, everyone))
    total = len(members) if seats is None else seats
    row: dict[str, Any] = {} if evidence == "votes" else {"ballot": "scores"}
    row |= {"seats": total, "quorum": 1, "waves": list(waves), "stop": stop}
    return FittedStop(
        row,
        strategy,
        len(train),
        len(test),
        float(early.calls.mean()),
        float(full.calls.mean()),
        _overlap(strategy, everyone, test),
        float(early.credit.mean()),
        float(full.credit.mean()),
    )


def _overlap(strategy: Stopping, everyone: Stopping, test: Any) -> float:
    pairs = zip(
        strategy.runs(test, draws=16, seed=0), everyone.runs(test, draws=16, seed=0), strict=True
    )
    return float(np.mean([np.minimum(a.shares, b.shares).sum(axis=1).mean() for a, b in pairs]))


def write_row(policy: Path, task_type: str, values: Mapping[str, Any]) -> Path:
    """Set keys of a row in the policy's own file; comments and the other keys stay.

    A file that would not load with them is left as it was.

    Args:
        policy: the policy's folder or file.
        task_type: of the row.
        values: by key, as TOML has them.

    Returns:
        The file.

    Raises:
        PolicyError: there is no such row, or the table would not load with these keys.
    """
    import tomlkit

    table = load_policy(policy, strict=False)
    place = table.place("tasks", task_type)
    if task_type not in table.tasks or place is None:
        raise PolicyError(
            "has no such row",
            where=f"tasks.{task_type}",
            fix=f"one of {', '.join(table.tasks) or 'none'}",
        )
    file = Path(place.file)
    before = file.read_text(encoding="utf-8")
    document = tomlkit.parse(before)
    row: Any = document["tasks"][task_type]
    for key, value in values.items():
        made: Any = value
        if isinstance(value, Mapping):
            made = tomlkit.inline_table()
            made.update(value)
        row[key] = made
    part = file.with_name(file.name + ".part")
    part.write_text(tomlkit.dumps(document), encoding="utf-8")
    part.replace(file)
    try:
        load_policy(policy)
    except PolicyError:
        file.write_text(before, encoding="utf-8")
        raise
    return file
