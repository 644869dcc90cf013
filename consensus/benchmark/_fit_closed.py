"""Fits of closed kinds: a family, temperatures and misses across folds, and how they are read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from consensus.aggregation.calibration import fit_temperature
from consensus.benchmark._fit_data import (
    Labelled,
    seats_of,
)
from consensus.benchmark._fit_families import FamilyFit, fit_family, fold_stages
from consensus.orchestrators.calibrated import SeatArrays, posterior
from consensus.orchestrators.calibration import (
    BiasFrom,
    Calibration,
    OptionScoresFit,
)

__all__ = ["FINE", "Family", "by_pattern", "calibrated_posteriors", "fit_closed", "who_answered"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Family = Literal["weighted", "blocks", "stacked", "mean", "scores"]

FOLDS = 5

FINE = 16
"""Rows that a case of weight one has, where weights are rounded to rows."""

SPREAD = 2.0
"""Of the prior on a temperature's logarithm."""


def fit_closed(
    train: Labelled, aggregator: Family, common: dict[str, Any], content_free: Floats | None
) -> tuple[Calibration, dict[str, float]]:
    """The family on all cases; temperatures and misses from predictions across folds.

    Of several ways to take label bias out, the one with the least log loss across the folds.
    """
    family = "option_scores" if aggregator == "scores" else aggregator
    tried: dict[str, tuple[Calibration, float]] = {}
    for bias_from in _ways(train, aggregator, content_free):
        calibration, loss = _fit_one(train, family, common, bias_from, content_free)
        tried[bias_from] = (calibration, loss)
    # A way that is no better than none by more than rounding is not worth its assumptions.
    best = min(tried, key=lambda way: (round(tried[way][1], 6), way != "none"))
    losses = {way: loss for way, (_, loss) in tried.items()} if len(tried) > 1 else {}
    return tried[best][0], losses


def _ways(train: Labelled, aggregator: Family, content_free: Floats | None) -> tuple[BiasFrom, ...]:
    has = ~np.isnan(train.seats.distributions).all()
    if aggregator != "mean" or train.panel.options is None or not has:
        return ("none",)
    ways: tuple[BiasFrom, ...] = ("none", "batch", "labels")
    return ways if content_free is None else (*ways, "content_free")


def _fit_one(
    train: Labelled,
    family: str,
    common: dict[str, Any],
    bias_from: BiasFrom,
    content_free: Floats | None,
) -> tuple[Calibration, float]:
    """One calibration, and the log loss of the whole panel's predictions across the folds."""
    given: dict[str, Any] = {"bias_from": bias_from, "content_free": content_free}
    whole = _family(family, train, None, given)
    fold: Ints = np.arange(len(train.ids)) % FOLDS
    across = [np.full(train.seats.distributions.shape[::2], np.nan) for _ in whole.stages]
    for number in range(FOLDS):
        held: Bools = np.asarray(fold == number)
        rest, own = train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))
        part = _family(family, rest, whole, given)
        trial = Calibration(**common, fit=part.fit, stages=fold_stages(part))
        for place, models in enumerate(whole.stages):
            across[place][held] = _predict(trial, place, models, own)
    stages = []
    losses = []
    for models, p in zip(whole.stages, across, strict=True):
        names = tuple(train.panel.models[m] for m in models)
        here = who_answered(train.seats, whole.fit)[:, list(models)].all(axis=1)
        full: Bools = np.asarray(here & ~np.isnan(p).any(axis=1))
        stage: dict[str, Any] = {"models": names, "cases": int(full.sum())}
        if full.any():
            cases = train.take(np.flatnonzero(full))
            fine = 1 if cases.weights is None else FINE
            often = cases.repeats(fine)
            t = fit_temperature(
                p[full][often],
                cases.truth[often],
                options=None if cases.valid is None else cases.valid[often],
                spread=SPREAD / math.sqrt(fine),
            )
            stage["temperature"] = t = float(np.clip(t, 0.02, 50.0))
            logs = np.log(np.maximum(p[full], 1e-300)) / t
            sharp = np.exp(logs - logs.max(axis=1, keepdims=True))
            sharp /= sharp.sum(axis=1, keepdims=True)
            right = sharp[np.arange(len(cases.ids)), cases.truth]
            loss = -np.log(np.maximum(right, 1e-12))
            losses.append(float(np.average(loss, weights=cases.weights)))
            # Rounded up: a coarser score may only widen a set.
            misses = np.minimum(np.ceil((1.0 - right) * 1e6) / 1e6, 1.0)
            order = np.argsort(misses, kind="stable")
            stage["misses"] = tuple(misses[order][cases.take(order).repeats(1)].tolist())
        stages.append(stage)
    made = Calibration.model_validate({**common, "fit": whole.fit, "stages": stages})
    return made, losses[0] if losses else float("inf")


def _family(
    family: str, data: Labelled, like: FamilyFit | None, given: Mapping[str, Any]
) -> FamilyFit:
    """One fit on weighted cases: a logit takes the weights, the others each case so many times.

    The confidence maps of ``weighted`` go by their own error, so their cases stand no oftener than
    they say something.
    """
    if data.weights is None or family == "stacked":
        scale = None
        if data.weights is not None:
            scale = data.weights * (data.effective / data.weights.sum())
        return fit_family(family, data.panel, data.seats, data.truth, data.valid, like=like,
                          case_weights=scale, **given)  # fmt: skip
    fine = 1 if family == "weighted" else FINE
    part = data.take(data.repeats(fine))
    return fit_family(
        family, data.panel, part.seats, part.truth, part.valid, like=like, fine=fine, **given
    )


def _predict(calibration: Calibration, place: int, models: Sequence[int], data: Labelled) -> Floats:
    """Posteriors of one stage on all cases; rows without all of its models mean nothing."""
    return posterior(calibration, place, models, seats_of(data.seats, models), data.valid)


def who_answered(seats: SeatArrays, fit: object) -> Bools:
    """(cases, models) who has a ballot that this fit reads.

    Fitting and reading must mean the same by it, or sets that are drawn on one sort of cases are
    promised for another.
    """
    has = seats.ballots(scored=isinstance(fit, OptionScoresFit))
    number = int(seats.groups.max()) + 1
    who = [has[:, seats.groups == m].any(axis=1) for m in range(number)]
    return np.asarray(np.stack(who, axis=1), dtype=np.bool_)


def calibrated_posteriors(calibration: Calibration, data: Labelled) -> tuple[Floats, Floats]:
    """(cases, K) what the calibrated panel says of each case; even where nobody can be read.

    And (cases,) the quantile of its prediction set: inf where the calibration cases are too few for
    its α, NaN where no stage is that of those who answered.
    """
    result = np.empty((len(data.ids), data.seats.options))
    quantile = np.full(len(data.ids), np.nan)
    for rows, place, own, p in by_pattern(calibration, data):
        result[rows] = p
        if own:
            q = calibration.stages[place].quantile
            quantile[rows] = np.inf if q is None else q
    return result, quantile


def by_pattern(
    calibration: Calibration, data: Labelled
) -> Iterator[tuple[Ints, int, bool, Floats]]:
    """Cases by who answered: rows, the stage that reads them, whether it is theirs, posteriors."""
    seats = data.seats
    who = who_answered(seats, calibration.fit)
    for pattern in np.unique(who, axis=0):
        rows = np.flatnonzero((who == pattern).all(axis=1))
        here = np.flatnonzero(pattern).tolist()
        place, own = calibration.stage([calibration.models[m] for m in here])
        stage = set(calibration.stages[place].models)
        if calibration.by_stage:
            here = [m for m in here if calibration.models[m] in stage]
        part = data.take(rows)
        if not here or (calibration.by_stage and len(here) < len(stage)):
            mask = np.ones((len(rows), seats.options)) if part.valid is None else part.valid
            yield rows, place, False, mask / mask.sum(axis=1, keepdims=True)
        else:
            yield rows, place, own, _predict(calibration, place, here, part)
