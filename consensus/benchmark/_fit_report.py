"""What a fit does on the half that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import FitError
from consensus.aggregation.calibration import brier, ece, log_loss, reliability
from consensus.aggregation.conformal import act_report, prediction_sets
from consensus.aggregation.posteriors import block_posterior
from consensus.aggregation.votes import plurality, tally_blocks
from consensus.benchmark._fit_closed import FINE, Family, by_pattern, who_answered
from consensus.benchmark._fit_data import (
    Labelled,
)
from consensus.orchestrators.calibration import (
    Calibration,
)
from consensus.orchestrators.spec import ColdStart

__all__ = ["Figures", "FitReport", "Fitted", "measure_fit", "number_or_none"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
ClosedKind = Literal["approve", "choose", "compare"]


class Figures(NamedTuple):
    """A posterior on labelled cases.

    Attributes:
        accuracy: of the leader, ties split.
        log_loss: nats.
        brier: sum over the options, 0 … 2.
        ece: expected calibration error of the leader's probability, ten bins of equal mass.
        bins: (predicted, observed, cases) of each.
    """

    accuracy: float
    log_loss: float
    brier: float
    ece: float
    bins: tuple[tuple[float, float, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self._asdict(), "bins": [list(row) for row in self.bins]}


@dataclass(frozen=True)
class FitReport:
    """What the fit is worth on the half that it has not seen.

    Attributes:
        cases, held_out: how many calibrated, and how many measured.
        left_out: reason → cases.
        before, after: a cold start of the same seats, and the calibrated aggregator. Of scores the
            mean distance from the right score, under ``error``.
        coverage, acted, acted_error: of conformal sets at ``alpha``; None with too few cases.
        notes: what a reader must know.
        bias_from, bias_log_loss: of ``mean``: how label bias is taken out, and the log loss (nats,
            across folds of the calibration half) of every way that was tried.
        effective, held_out_effective: as many cases of equal weight would say as much, of both
            halves (n_eff); None where all weigh alike.
        heaviest: calibrating cases of the greatest weight, truncated or not.
    """

    aggregator: Family
    cases: int
    held_out: int
    left_out: Mapping[str, int]
    before: Figures | None = None
    after: Figures | None = None
    error: tuple[float, float] | None = None
    alpha: float = 0.05
    coverage: float | None = None
    acted: float | None = None
    acted_error: float | None = None
    notes: tuple[str, ...] = ()
    bias_from: str | None = None
    bias_log_loss: Mapping[str, float] = field(default_factory=dict)
    effective: float | None = None
    held_out_effective: float | None = None
    heaviest: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "aggregator": self.aggregator,
            "cases": self.cases,
            "held_out": self.held_out,
            "left_out": dict(self.left_out),
            "before": self.before.to_dict() if self.before else None,
            "after": self.after.to_dict() if self.after else None,
            "error_before": self.error[0] if self.error else None,
            "error_after": self.error[1] if self.error else None,
            "conformal": {
                "alpha": self.alpha,
                "coverage": self.coverage,
                "acted": self.acted,
                "error_among_acted": self.acted_error,
            },
            "weights": None
            if self.effective is None
            else {
                "n_eff": self.effective,
                "held_out_n_eff": self.held_out_effective,
                "heaviest": self.heaviest,
            },
            "label_bias": {"from": self.bias_from, "log_loss": dict(self.bias_log_loss)},
            "notes": list(self.notes),
        }


class Fitted(NamedTuple):
    """A calibration and what it is worth."""

    calibration: Calibration
    report: FitReport


def measure_fit(
    calibration: Calibration, test: Labelled, aggregator: Family, alpha: float
) -> FitReport:
    """Cold start against calibrated, on cases where at least one seat answered."""
    answered: Bools = np.asarray(who_answered(test.seats, calibration.fit).any(axis=1))
    seen = test.take(answered)
    left_out = {**test.left_out, "held out, without any vote": int((~answered).sum())}
    if not len(seen.ids):
        raise FitError("no labelled cases are left to measure the fit on")
    counts = tally_blocks(seen.seats.votes, seen.seats.options, np.zeros_like(seen.seats.groups))
    cold = ColdStart()
    floor = 1.0 / seen.seats.options + 1e-3
    before = block_posterior(
        counts, max(cold.accuracy, floor), cold.correlation, options=seen.valid
    )
    after = np.empty_like(before)
    sets = np.zeros(before.shape, dtype=np.bool_)
    exact = np.zeros(len(seen.ids), dtype=np.bool_)
    slim = calibration.at(alpha)
    for rows, place, own, p in by_pattern(calibration, seen):
        after[rows] = p
        q = slim.stages[place].quantile
        if own and q is not None:
            exact[rows] = True
            sets[rows] = prediction_sets(p, q, None if seen.valid is None else seen.valid[rows])
    fine = 1 if seen.weights is None else FINE
    often = seen.repeats(fine)
    own_stage = often[exact[often]]
    report = act_report(sets[own_stage], seen.truth[own_stage]) if own_stage.size else None
    first, second = (_figures(p[often], seen.take(often), fine) for p in (before, after))
    notes = []
    if not calibration.unlabelled and len(calibration.stages[0].misses) < 100:
        notes.append("fewer than 100 cases: temperature and prediction sets are rough")
    if second.log_loss >= first.log_loss:
        notes.append("no better than a cold start on the cases held out: try another aggregator")
    return FitReport(
        aggregator,
        calibration.cases,
        len(seen.ids),
        {reason: count for reason, count in left_out.items() if count},
        first,
        second,
        alpha=alpha,
        coverage=report.coverage if report else None,
        acted=report.acted if report else None,
        acted_error=number_or_none(report.error_among_acted) if report else None,
        notes=tuple(notes),
        held_out_effective=None if seen.weights is None else seen.effective,
    )


def _figures(p: Floats, data: Labelled, fine: int) -> Figures:
    leading = plurality(p, data.valid)
    rows = np.arange(len(p))
    credit = leading.credit[rows, data.truth]
    top = np.clip(p.max(axis=1), 0.0, 1.0)
    curve = reliability(top, credit)
    return Figures(
        float(credit.mean()),
        log_loss(p, data.truth),
        brier(p, data.truth),
        ece(top, credit),
        tuple(
            (float(a), float(b), round(n / fine))
            for a, b, n in zip(curve.predicted, curve.observed, curve.cases, strict=True)
        ),
    )


def number_or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
