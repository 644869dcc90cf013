"""One aggregator's numbers from labelled panels; ``fitting`` splits, crosses and measures."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import FitError, canonical_mean
from consensus.aggregation.confidence import fit_panel
from consensus.aggregation.learned import choose_l2, fit_conditional_logit
from consensus.aggregation.posteriors import COLD_CORRELATION, confusion_from_gold
from consensus.aggregation.score_ballots import fit_temperatures
from consensus.aggregation.scores import fit_scores
from consensus.orchestrators.calibrated import SeatArrays, stacked_features
from consensus.orchestrators.calibration import (
    BiasFrom,
    BlocksFit,
    ConfidenceFit,
    Fit,
    MeanFit,
    OptionScoresFit,
    ScoresFit,
    StackedFit,
    Stage,
    WeightedFit,
)
from consensus.statistics import error_correlation, within_correlation

__all__ = ["FamilyFit", "Panel", "fit_family", "fit_judges", "fold_stages"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ALL_PARTS_UP_TO = 4
"""Models up to which every part of the panel is a stage; beyond, those that cascades and a failed
model leave."""

STRENGTH = 8.0
"""Pseudo-cases at the panel's accuracy for each model's own."""

CONFUSION = 4.0
"""Pseudo-votes a row of a confusion matrix."""

LEAST = 1e-6


class Panel(NamedTuple):
    """Who answers: models by the policy's names, seats of each, and the options if fixed."""

    models: tuple[str, ...]
    seats: tuple[int, ...]
    options: tuple[str, ...] | None


class FamilyFit(NamedTuple):
    """Numbers of one aggregator.

    Attributes:
        fit: what a calibration keeps.
        panel: of whom.
        stages: parts of the panel, as indices of models; the whole is first.
        l2: of a stacked fit, chosen by folds.
    """

    fit: Fit
    panel: Panel
    stages: tuple[tuple[int, ...], ...]
    l2: float = 1.0


def fit_family(
    family: str,
    panel: Panel,
    seats: SeatArrays,
    truth: Ints,
    valid: Bools | None,
    *,
    like: FamilyFit | None = None,
    bias_from: BiasFrom = "labels",
    content_free: Floats | None = None,
    fine: int = 1,
    case_weights: Floats | None = None,
) -> FamilyFit:
    """Fit one aggregator on labelled cases.

    Args:
        family: ``weighted``, ``blocks``, ``stacked``, ``mean`` or ``option_scores``.
        panel: whose ballots these are.
        seats: (cases, seats) arrays, groups indexing ``panel.models``.
        truth: (cases,).
        valid: bool (cases, K), or None where all cases have all options.
        like: a fit whose choices (penalty, columns) are kept, for a fit across folds.
        bias_from: of a ``mean`` fit, see :class:`.calibration.MeanFit`.
        content_free: (models, K) mean answers to content-free questions; NaN rows where none.
        fine: how often a case of weight one stands here; priors weigh as many times more.
        case_weights: (cases,) of a stacked fit, whose cases stand once.
    """
    stages = _stages(len(panel.models))
    if family == "option_scores":
        return _option_scores(panel, seats, truth, valid, stages, fine)
    if family == "stacked":
        return _stacked(panel, seats, truth, valid, stages, like, case_weights)
    correct = np.where(seats.votes >= 0, seats.votes == truth[:, None], np.nan)
    if family == "mean":
        made = _mean(panel, seats, truth, correct, bias_from, content_free, fine)
        return FamilyFit(made, panel, stages)
    makers: dict[str, Callable[[Panel, SeatArrays, Ints, Floats, int], Fit]] = {
        "weighted": _weighted,
        "blocks": _blocks,
    }
    return FamilyFit(makers[family](panel, seats, truth, correct, fine), panel, stages)


def fold_stages(part: FamilyFit) -> tuple[Stage, ...]:
    """The stages of a fit before temperatures are known."""
    names = part.panel.models
    return tuple(Stage(models=tuple(names[m] for m in models), cases=0) for models in part.stages)


def fit_judges(said: Floats) -> ScoresFit:
    """Judges of scores (cases, models), NaN = none; one judge alone has nothing to be told from."""
    if said.shape[1] < 2:
        raise FitError("judges are told apart by two models or more", fix="name more in --panel")
    model = fit_scores(said)
    return ScoresFit(
        location=tuple(model.location.tolist()),
        slope=tuple(model.slope.tolist()),
        noise=tuple(model.noise.tolist()),
        centre=model.centre,
        scale=model.scale,
    )


def _stages(models: int) -> tuple[tuple[int, ...], ...]:
    everyone = tuple(range(models))
    parts = [everyone]
    if models <= ALL_PARTS_UP_TO:
        for size in range(models - 1, 0, -1):
            parts += itertools.combinations(everyone, size)
    else:
        parts += [everyone[:size] for size in range(models - 1, 0, -1)]
        parts += [tuple(m for m in everyone if m != out) for out in everyone]
        parts += [(m,) for m in everyone]
    return tuple(dict.fromkeys(parts))


def _weighted(
    panel: Panel, seats: SeatArrays, truth: Ints, correct: Floats, fine: int
) -> WeightedFit:
    maps = fit_panel(seats.confidence, correct, seats.groups, strength=STRENGTH * fine)
    return WeightedFit(
        maps=tuple(
            ConfidenceFit(a=_within(m.a, 60), b=_within(m.b, 60), base=_unit(m.base)) for m in maps
        ),
        correlation=_between(1.0 - correct, 0.98),
    )


def _blocks(panel: Panel, seats: SeatArrays, truth: Ints, correct: Floats, fine: int) -> BlocksFit:
    number = range(len(panel.models))
    errors = [1.0 - correct[:, seats.groups == g] for g in number]
    within = []
    for own in errors:
        rho = within_correlation(own)
        within.append(COLD_CORRELATION if rho is None else float(np.clip(rho, 0.0, 0.98)))
    fields = {
        "accuracy": _accuracy(panel, seats, correct, fine),
        "within": tuple(within),
        "between": _between(np.stack([_row_mean(own) for own in errors], axis=1), 1.0),
    }
    if panel.options is not None:
        width = len(panel.options)
        pooled = [_stacked_votes(seats, truth, g) for g in number]
        longest = max(len(v) for v, _ in pooled)
        confusion = []
        for votes, z in pooled:
            column = np.full((longest, 1), -1, dtype=np.int64)
            column[: len(votes), 0] = votes
            gold = np.full(longest, -1, dtype=np.int64)
            gold[: len(z)] = z
            found = confusion_from_gold(column, gold, width, strength=CONFUSION * fine)
            confusion.append(found[0])
        shares = np.bincount(truth, minlength=width) + float(fine)
        fields["prior"] = tuple((shares / shares.sum()).tolist())
        fields["confusion"] = tuple(_rows(matrix) for matrix in confusion)
    return BlocksFit.model_validate(fields)


def _mean(
    panel: Panel,
    seats: SeatArrays,
    truth: Ints,
    correct: Floats,
    bias_from: BiasFrom,
    content_free: Floats | None,
    fine: int,
) -> MeanFit:
    """Averaged distributions, with each model's label bias measured as asked.

    A model with fewer distributions than options has no bias that could be measured.
    """
    accuracy = _accuracy(panel, seats, correct, fine)
    if panel.options is None or bias_from == "none":
        return MeanFit(accuracy=accuracy, bias=None, bias_from="none")
    width = len(panel.options)
    even = np.full(width, 1.0 / width)
    shares = np.bincount(truth, minlength=width) + float(fine)
    rows = []
    for g in range(len(panel.models)):
        if bias_from == "content_free":
            assert content_free is not None  # noqa: S101 - offered only with answers to such
            row = np.where(np.isnan(content_free[g]), even, content_free[g])
        else:
            d = seats.distributions[:, seats.groups == g]
            given = d[~np.isnan(d).any(axis=-1)]
            row = even if len(given) < width else canonical_mean(given, axis=0)
            if bias_from == "labels" and len(given) >= width:
                row = np.maximum(row, 1e-4) / (shares / shares.sum())
        row = np.maximum(row, 1e-4)
        rows.append(tuple(np.clip(row / row.sum(), LEAST, 1 - LEAST).tolist()))
    return MeanFit(accuracy=accuracy, bias=tuple(rows), bias_from=bias_from)


def _stacked(
    panel: Panel,
    seats: SeatArrays,
    truth: Ints,
    valid: Bools | None,
    stages: tuple[tuple[int, ...], ...],
    like: FamilyFit | None,
    case_weights: Floats | None,
) -> FamilyFit:
    if like is not None and isinstance(like.fit, StackedFit):
        kinds: tuple[str, ...] = like.fit.features
    else:
        number = np.maximum(seats.ballots().sum(), 1)
        with_d = (~np.isnan(seats.distributions).any(axis=-1)).sum() / number
        with_c = (~np.isnan(seats.confidence)).sum() / number
        kinds = ("votes",)
        kinds += ("distributions",) if with_d > 0.5 else ()
        kinds += ("confidence",) if with_c > 0.5 else ()
    weights = []
    l2 = None if like is None else like.l2
    for models in stages:
        keep = np.isin(seats.groups, models)
        part = SeatArrays(
            seats.votes[:, keep],
            np.searchsorted(models, seats.groups[keep]),
            seats.distributions[:, keep],
            seats.confidence[:, keep],
        )
        x = stacked_features(kinds, panel.options, [panel.seats[m] for m in models], part)
        cast = part.ballots()
        has = [cast[:, part.groups == g].any(axis=1) for g in range(len(models))]
        rows = np.stack(has).all(axis=0)
        if not rows.any():
            weights.append((0.0,) * x.shape[-1])
            continue
        mask = None if valid is None else valid[rows]
        if l2 is None:
            l2 = choose_l2(x[rows], truth[rows], options=mask)
        own = None if case_weights is None else case_weights[rows]
        fit = fit_conditional_logit(x[rows], truth[rows], options=mask, l2=l2, case_weights=own)
        weights.append(tuple(np.clip(fit.weights, -1e6, 1e6).tolist()))
    made = StackedFit.model_validate({"features": kinds, "weights": tuple(weights)})
    return FamilyFit(made, panel, stages, l2 or 1.0)


def _option_scores(
    panel: Panel,
    seats: SeatArrays,
    truth: Ints,
    valid: Bools | None,
    stages: tuple[tuple[int, ...], ...],
    fine: int,
) -> FamilyFit:
    """One softmax temperature a model, for each stage on the cases that all of it scored."""
    scores = seats.scores
    if scores is None or np.isnan(scores).all():
        raise FitError("no seat scored the options", fix="another --aggregator")
    scored = [
        (~np.isnan(scores[:, seats.groups == g]).all(axis=(1, 2))) for g in range(len(panel.models))
    ]
    weights = []
    for models in stages:
        keep = np.isin(seats.groups, models)
        rows = np.stack([scored[m] for m in models]).all(axis=0)
        if not rows.any():
            weights.append((0.0,) * len(models))
            continue
        temperatures = fit_temperatures(
            scores[rows][:, keep],
            truth[rows],
            np.searchsorted(models, seats.groups[keep]),
            options=None if valid is None else valid[rows],
            l2=float(fine),
        )
        weights.append(tuple(np.minimum(1.0 / temperatures, 1e6).tolist()))
    return FamilyFit(OptionScoresFit(weights=tuple(weights)), panel, stages)


def _accuracy(panel: Panel, seats: SeatArrays, correct: Floats, fine: int) -> tuple[float, ...]:
    """Each model's accuracy, shrunk to the panel's; samples of one case are one case."""
    pooled = (np.nansum(correct) + fine) / (np.isfinite(correct).sum() + 2.0 * fine)
    strength = STRENGTH * fine
    found = []
    for g in range(len(panel.models)):
        own = _row_mean(correct[:, seats.groups == g])
        own = own[np.isfinite(own)]
        found.append(_unit((own.sum() + strength * pooled) / (own.size + strength)))
    return tuple(found)


def _between(errors: Floats, most: float) -> float:
    """Mean correlation over pairs of columns; the cold start's where none can be measured."""
    if errors.shape[1] < 2:
        return COLD_CORRELATION
    phi = error_correlation(errors)
    pairs = phi[np.triu_indices(len(phi), 1)]
    pairs = pairs[np.isfinite(pairs)]
    return float(np.clip(pairs.mean(), 0.0, most)) if len(pairs) else COLD_CORRELATION


def _row_mean(values: Floats) -> Floats:
    given = np.isfinite(values)
    total = np.where(given, values, 0.0).sum(axis=1)
    count = given.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _stacked_votes(seats: SeatArrays, truth: Ints, group: int) -> tuple[Ints, Ints]:
    own = seats.votes[:, seats.groups == group]
    return own.ravel(), np.repeat(truth, own.shape[1])


def _rows(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    held = np.clip(matrix, LEAST, 1 - LEAST)
    held /= held.sum(axis=1, keepdims=True)
    return tuple(tuple(row) for row in held.tolist())


def _unit(value: float) -> float:
    return float(np.clip(value, 1e-4, 1 - 1e-4))


def _within(value: float, most: float) -> float:
    return float(np.clip(value, -most, most))
