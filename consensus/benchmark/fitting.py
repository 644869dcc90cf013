"""Calibrations fitted on recorded answers: learned on one half of the cases, measured on the other.

The calibration half (first bit of sha256(``seed:case_id``), as in every replay) gives the numbers.
What is fitted on it is also predicted across folds, each fold by a fit without it: the temperature
and the conformal scores come from those predictions, so that they are of cases unseen by the fit.
The report is on the other half alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import FitError
from consensus.aggregation.posteriors import block_discount
from consensus.aggregation.scores import median
from consensus.benchmark._fit_closed import Family, fit_closed
from consensus.benchmark._fit_data import (
    by_model,
    case_weights,
    content_free_answers,
    data_sha,
    kind_of,
    known_sha,
    labelled,
    of_type,
    scale_of,
)
from consensus.benchmark._fit_families import fit_judges
from consensus.benchmark._fit_report import Figures, FitReport, Fitted, measure_fit
from consensus.benchmark.evidence import (
    Evidence,
    calibration_mask,
    evidence_of,
    resolve_members,
)
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.strategy import front, seat_counts
from consensus.errors import DataError
from consensus.orchestrators.calibrated import judge_model
from consensus.orchestrators.calibration import (
    CALIBRATION_FORMAT,
    Calibration,
    MeanFit,
    ScoresFit,
)
from consensus.orchestrators.spec import ColdStart
from consensus.statistics.weighted import effective_cases

__all__ = ["Figures", "FitReport", "Fitted", "fit_calibration"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_CHANCE = "weighted by one over the chance that a case had to be looked at"
_ALIKE = "each label counts alike: probabilities and sets are those of labels equally common"

FEWEST = 20
"""Labelled cases below which nothing is fitted."""


def fit_calibration(
    run: RecordedRun,
    panel: Sequence[str],
    *,
    aggregator: Family = "blocks",
    seats: int | None = None,
    variant: str | None = None,
    task_type: str | None = None,
    names: Mapping[str, str] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
    fitted_on: str = "",
    content_free: RecordedRun | None = None,
    gold: bool = True,
    balanced: bool = False,
) -> Fitted:
    """Fit a panel's calibration on the calibration half of a run, and measure it on the other.

    Args:
        run: recorded answers with their gold, of one kind of task.
        panel: models, as the run names them (or ``model@variant``).
        aggregator: whose numbers are fitted.
        seats: all seats, models in turn, samples in turn; one a model if not given.
        variant: see :func:`.evidence.resolve_members`.
        task_type: only cases of this stratum, and the calibration's name; else the run's only one.
        names: recorded name → the policy's, for models and for fixed options.
        seed: of the split.
        alpha: for the report on prediction sets.
        fitted_on: the day, YYYY-MM-DD.
        content_free: the same models' answers to content-free cases (:mod:`.content_free`), one
            more way for ``mean`` to measure label bias.
        gold: without, no label is looked at in fitting: what the models' votes make of each case
            (Dawid–Skene) stands in. The report still goes by labels, where there are any.
        balanced: each label counts alike, however common it is here, in the fit and in the report.

    Raises:
        DataError: cases of several kinds, too few cases, options that no task of the kind has.
    """
    run, stratum = of_type(run, task_type)
    kind = kind_of(run)
    found = resolve_members(run, panel, variant)
    members = tuple(dict.fromkeys(m for part in found.values() for m in part))
    evidence = evidence_of(run, members).compact()
    counts = seat_counts(seats, evidence)
    evidence = front(evidence, counts)
    called = names or {}
    common: dict[str, Any] = {
        "format": CALIBRATION_FORMAT,
        "task_type": stratum,
        "prompts_sha256": known_sha(run.source.get("prompts_sha256")),
        "fitted_on": fitted_on,
    }
    groups = by_model([called.get(m.model, m.model) for m in members], counts)
    if kind == "score" and aggregator != "scores":
        raise DataError(
            f'"{aggregator}" is not for tasks of kind score',
            where=run.name,
            fix="--aggregator scores",
        )
    if balanced and (kind == "score" or not evidence.labelled):
        raise DataError("needs the same labels in every case", where="--balanced")
    if kind == "score":
        return _fit_scores(run, evidence, groups, common, seed)
    data = labelled(run, evidence, counts, groups, kind, called, gold=gold)
    learn = calibration_mask(data.ids, seed)
    train, test = data.take(learn), data.take(~learn)
    if not gold:
        test = labelled(run, evidence, counts, groups, kind, called)
        test = test.take(~calibration_mask(test.ids, seed))
        common["unlabelled"] = True
        if aggregator != "blocks":
            raise DataError(
                "without labels only confusions can be learned",
                where="--no-labels",
                fix="--aggregator blocks",
            )
    if balanced:
        train, test = train.balanced(), test.balanced()
    if train.effective < FEWEST:
        weighted = "" if train.weights is None else f" that say as much as {train.effective:.1f}"
        raise FitError(
            f"{len(train.ids)} labelled cases{weighted} to fit on; {FEWEST} are the fewest",
            where=run.name,
        )
    common |= {
        "kind": kind,
        "options": data.panel.options,
        "models": data.panel.models,
        "seats": data.panel.seats,
        "cases": len(train.ids),
        "data_sha256": data_sha(train),
    }
    free = None
    if content_free is not None:
        free = content_free_answers(content_free, panel, data.panel, variant, task_type, called)
    calibration, tried = fit_closed(train, aggregator, common, free)
    if not gold:
        calibration = _without_certainty(calibration)
    report = measure_fit(calibration, test, aggregator, alpha)
    if train.weights is not None:
        cut = int((train.weights >= train.weights.max() - 1e-12).sum())
        chance = () if data.weights is None else (_CHANCE,)
        notes = (*chance, *((_ALIKE,) if balanced else ()), *report.notes)
        report = replace(report, effective=train.effective, heaviest=cut, notes=notes)
    if tried and isinstance(calibration.fit, MeanFit):
        report = replace(report, bias_from=calibration.fit.bias_from, bias_log_loss=tried)
    return Fitted(calibration, report)


def _without_certainty(calibration: Calibration) -> Calibration:
    """A fit to the votes' own verdicts, with none of the certainty that these lend one another.

    Seats look as if they hardly erred together, and every posterior right. So log-odds are divided
    as a cold start would discount so many seats, and there are no scores to draw sets with.
    """
    correlation = ColdStart().correlation
    seats = dict(zip(calibration.models, calibration.seats, strict=True))
    stages = []
    for stage in calibration.stages:
        number = sum(seats[model] for model in stage.models)
        temperature = 1.0 / float(block_discount(number, correlation))
        stages.append(stage.model_copy(update={"temperature": temperature, "misses": ()}))
    return calibration.model_copy(update={"stages": tuple(stages)})


def _fit_scores(
    run: RecordedRun,
    evidence: Evidence,
    groups: Mapping[str, list[int]],
    common: dict[str, Any],
    seed: int,
) -> Fitted:
    scale = scale_of(run)
    points = [np.array([float(name) for name in options]) for options in run.cases.options]
    said = np.full((len(evidence), len(groups)), np.nan)
    gold = np.full(len(evidence), np.nan)
    for case, values in enumerate(points):
        width = len(values)
        credit = evidence.credit[case, :width]
        if credit.sum() > 0:
            gold[case] = float(credit @ values / credit.sum())
        for group, members in enumerate(groups.values()):
            shares = evidence.votes[case, members, :, :width].astype(np.float64)
            cast = shares.sum(axis=2) > 0
            if cast.any():
                said[case, group] = float((shares[cast] @ values).mean())
    learn = calibration_mask(evidence.case_ids, seed)
    if int(learn.sum()) < FEWEST:
        raise FitError(
            f"{int(learn.sum())} cases to fit on; {FEWEST} are the fewest", where=run.name
        )
    fit: ScoresFit = fit_judges(said[learn])
    ids = [name for name, mine in zip(evidence.case_ids, learn, strict=True) if mine]
    digest = hashlib.sha256("\n".join(ids).encode() + said[learn].tobytes()).hexdigest()
    counts = [
        int(evidence.present[:, members].sum(axis=(1, 2)).max()) for members in groups.values()
    ]
    calibration = Calibration(
        **common,
        kind="score",
        scale=scale,
        models=tuple(groups),
        seats=tuple(max(count, 1) for count in counts),
        cases=int(learn.sum()),
        fit=fit,
        data_sha256=digest,
    )
    rows = ~learn & np.isfinite(gold) & np.isfinite(said).any(axis=1)
    judges = judge_model(fit, list(range(len(groups))), calibration.cases)
    after = np.clip(judges.estimate(said[rows]).score, *scale)
    before = median(said[rows])
    error = None
    weights = case_weights(run)
    if rows.any():
        by = None if weights is None else weights[rows]
        error = (
            float(np.average(np.abs(before - gold[rows]), weights=by)),
            float(np.average(np.abs(after - gold[rows]), weights=by)),
        )
    report = FitReport("scores", calibration.cases, int(rows.sum()), {}, error=error)
    if weights is not None:
        report = replace(
            report,
            effective=effective_cases(weights[learn]),
            held_out_effective=effective_cases(weights[rows]),
            notes=("judges are told apart without labels: weights count in the figures alone",),
        )
    return Fitted(calibration, report)
