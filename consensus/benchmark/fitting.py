"""Calibrations fitted on recorded answers: learned on one half of the cases, measured on the other.

The calibration half (first bit of sha256(``seed:case_id``), as in every replay) gives the numbers.
What is fitted on it is also predicted across folds, each fold by a fit without it: the temperature
and the conformal scores come from those predictions, so that they are of cases unseen by the fit.
The report is on the other half alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import FitError
from consensus.aggregation.calibration import brier, ece, fit_temperature, log_loss, reliability
from consensus.aggregation.conformal import act_report, prediction_sets
from consensus.aggregation.posteriors import block_discount, block_posterior
from consensus.aggregation.scores import median
from consensus.aggregation.votes import plurality, tally_blocks
from consensus.benchmark._fit_data import (
    Labelled,
    by_model,
    case_weights,
    content_free_answers,
    data_sha,
    kind_of,
    known_sha,
    labelled,
    of_type,
    scale_of,
    seats_of,
)
from consensus.benchmark._fit_families import FamilyFit, fit_family, fit_judges, fold_stages
from consensus.benchmark.evidence import (
    Evidence,
    calibration_mask,
    evidence_of,
    resolve_members,
)
from consensus.benchmark.replay_strategies import front, seat_counts
from consensus.benchmark.run_format import RecordedRun
from consensus.errors import DataError
from consensus.orchestrators.calibrated import SeatArrays, judge_model, posterior
from consensus.orchestrators.calibration import (
    CALIBRATION_FORMAT,
    BiasFrom,
    Calibration,
    MeanFit,
    OptionScoresFit,
    ScoresFit,
)
from consensus.orchestrators.spec import ColdStart
from consensus.statistics.weighted import effective_cases

__all__ = [
    "Figures",
    "FitReport",
    "Fitted",
    "calibrated_posteriors",
    "fit_calibration",
    "fit_closed",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Family = Literal["weighted", "blocks", "stacked", "mean", "scores"]
ClosedKind = Literal["approve", "choose", "compare"]

FEWEST = 20
"""Labelled cases below which nothing is fitted."""

FOLDS = 5

FINE = 16
"""Rows that a case of weight one has, where weights are rounded to rows."""

SPREAD = 2.0
"""Of the prior on a temperature's logarithm."""


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
    report = _measure(calibration, test, aggregator, alpha)
    if train.weights is not None:
        cut = int((train.weights >= train.weights.max() - 1e-12).sum())
        report = replace(report, effective=train.effective, heaviest=cut)
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


# -- fitting ---------------------------------------------------------------------------------------


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
        here = _who_answered(train.seats, whole.fit)[:, list(models)].all(axis=1)
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


def _who_answered(seats: SeatArrays, fit: object) -> Bools:
    """(cases, models) who has a ballot that this fit reads.

    Fitting and reading must mean the same by it, or sets that are drawn on one sort of cases are
    promised for another.
    """
    has = seats.ballots(scored=isinstance(fit, OptionScoresFit))
    number = int(seats.groups.max()) + 1
    who = [has[:, seats.groups == m].any(axis=1) for m in range(number)]
    return np.asarray(np.stack(who, axis=1), dtype=np.bool_)


# -- measuring -------------------------------------------------------------------------------------


def _measure(
    calibration: Calibration, test: Labelled, aggregator: Family, alpha: float
) -> FitReport:
    """Cold start against calibrated, on cases where at least one seat answered."""
    answered: Bools = np.asarray(_who_answered(test.seats, calibration.fit).any(axis=1))
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
    for rows, place, own, p in _by_pattern(calibration, seen):
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
    if seen.weights is not None:
        notes.append("weighted by one over the chance that a case had to be looked at")
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
        acted_error=_number(report.error_among_acted) if report else None,
        notes=tuple(notes),
        held_out_effective=None if seen.weights is None else seen.effective,
    )


def calibrated_posteriors(calibration: Calibration, data: Labelled) -> tuple[Floats, Floats]:
    """(cases, K) what the calibrated panel says of each case; even where nobody can be read.

    And (cases,) the quantile of its prediction set: inf where the calibration cases are too few for
    its α, NaN where no stage is that of those who answered.
    """
    result = np.empty((len(data.ids), data.seats.options))
    quantile = np.full(len(data.ids), np.nan)
    for rows, place, own, p in _by_pattern(calibration, data):
        result[rows] = p
        if own:
            q = calibration.stages[place].quantile
            quantile[rows] = np.inf if q is None else q
    return result, quantile


def _by_pattern(
    calibration: Calibration, data: Labelled
) -> Iterator[tuple[Ints, int, bool, Floats]]:
    """Cases by who answered: rows, the stage that reads them, whether it is theirs, posteriors."""
    seats = data.seats
    who = _who_answered(seats, calibration.fit)
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


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# -- scores ----------------------------------------------------------------------------------------


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
