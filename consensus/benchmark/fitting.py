"""Calibrations fitted on recorded answers: learned on one half of the cases, measured on the other.

The calibration half (first bit of sha256(``seed:case_id``), as in every replay) gives the numbers.
What is fitted on it is also predicted across folds, each fold by a fit without it: the temperature
and the conformal scores come from those predictions, so that they are of cases unseen by the fit.
The report is on the other half alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import FitError
from consensus.aggregation.calibration import brier, ece, fit_temperature, log_loss, reliability
from consensus.aggregation.conformal import act_report, prediction_sets
from consensus.aggregation.posteriors import block_posterior
from consensus.aggregation.scores import median
from consensus.aggregation.votes import plurality, tally_blocks
from consensus.benchmark._fit_families import Panel, fit_family, fit_judges, fold_stages
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
from consensus.orchestrators.calibration import CALIBRATION_FORMAT, Calibration, ScoresFit
from consensus.orchestrators.spec import ColdStart
from consensus.tasks import Approve, Compare

__all__ = ["Figures", "FitReport", "Fitted", "fit_calibration"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Family = Literal["weighted", "blocks", "stacked", "mean", "scores"]
ClosedKind = Literal["approve", "choose", "compare"]

FEWEST = 20
"""Labelled cases below which nothing is fitted."""

FOLDS = 5

_KINDS: Mapping[str, str] = {"choice": "choose", "pairwise": "compare", "approval": "approve"}
"""Kinds as recorded answers name them."""


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
            "notes": list(self.notes),
        }


class Fitted(NamedTuple):
    """A calibration and what it is worth."""

    calibration: Calibration
    report: FitReport


@dataclass(frozen=True)
class _Labelled:
    """Recorded answers in the shape of a live panel's."""

    panel: Panel
    seats: SeatArrays
    truth: Ints
    valid: Bools | None
    ids: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def take(self, rows: npt.NDArray[Any]) -> _Labelled:
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return _Labelled(
            self.panel,
            take_seats(self.seats, index),
            self.truth[index],
            None if self.valid is None else self.valid[index],
            tuple(self.ids[i] for i in index),
            self.left_out,
        )


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

    Raises:
        DataError: cases of several kinds, too few cases, options that no task of the kind has.
    """
    run, stratum = _of_type(run, task_type)
    kind = _kind(run)
    found = resolve_members(run, panel, variant)
    members = tuple(dict.fromkeys(m for part in found.values() for m in part))
    evidence = evidence_of(run, members).compact()
    counts = seat_counts(seats, evidence)
    evidence = front(evidence, counts)
    called = names or {}
    common: dict[str, Any] = {
        "format": CALIBRATION_FORMAT,
        "task_type": stratum,
        "prompts_sha256": _sha(run.source.get("prompts_sha256")),
        "fitted_on": fitted_on,
    }
    groups = _by_model([called.get(m.model, m.model) for m in members], counts)
    if (kind == "score") != (aggregator == "scores"):
        fix = "--aggregator scores" if kind == "score" else "--aggregator blocks"
        raise DataError(f'"{aggregator}" is not for tasks of kind {kind}', where=run.name, fix=fix)
    if kind == "score":
        return _fit_scores(run, evidence, groups, common, seed)
    data = _labelled(run, evidence, counts, groups, kind, called)
    learn = calibration_mask(data.ids, seed)
    train, test = data.take(learn), data.take(~learn)
    if len(train.ids) < FEWEST:
        raise FitError(
            f"{len(train.ids)} labelled cases to fit on; {FEWEST} are the fewest", where=run.name
        )
    common |= {
        "kind": kind,
        "options": data.panel.options,
        "models": data.panel.models,
        "seats": data.panel.seats,
        "cases": len(train.ids),
        "data_sha256": _data_sha(train),
    }
    calibration = _fit(train, aggregator, common)
    return Fitted(calibration, _measure(calibration, test, aggregator, alpha))


# -- fitting ---------------------------------------------------------------------------------------


def _fit(train: _Labelled, aggregator: Family, common: dict[str, Any]) -> Calibration:
    """The family on all cases; temperatures and misses from predictions across folds."""
    whole = fit_family(aggregator, train.panel, train.seats, train.truth, train.valid)
    fold: Ints = np.arange(len(train.ids)) % FOLDS
    across = [np.full(train.seats.distributions.shape[::2], np.nan) for _ in whole.stages]
    for number in range(FOLDS):
        held: Bools = np.asarray(fold == number)
        rest, own = train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))
        part = fit_family(aggregator, train.panel, rest.seats, rest.truth, rest.valid, like=whole)
        trial = Calibration(**common, fit=part.fit, stages=fold_stages(part))
        for place, models in enumerate(whole.stages):
            across[place][held] = _predict(trial, place, models, own)
    stages = []
    for models, p in zip(whole.stages, across, strict=True):
        names = tuple(train.panel.models[m] for m in models)
        full = _all_answered(train.seats, models) & ~np.isnan(p).any(axis=1)
        stage: dict[str, Any] = {"models": names, "cases": int(full.sum())}
        if full.any():
            valid = None if train.valid is None else train.valid[full]
            rows = np.arange(int(full.sum()))
            t = fit_temperature(p[full], train.truth[full], options=valid)
            stage["temperature"] = t = float(np.clip(t, 0.02, 50.0))
            logs = np.log(np.maximum(p[full], 1e-300)) / t
            sharp = np.exp(logs - logs.max(axis=1, keepdims=True))
            right = (sharp / sharp.sum(axis=1, keepdims=True))[rows, train.truth[full]]
            # Rounded up: a coarser score may only widen a set.
            misses = np.minimum(np.ceil((1.0 - right) * 1e6) / 1e6, 1.0)
            stage["misses"] = tuple(np.sort(misses).tolist())
        stages.append(stage)
    return Calibration.model_validate({**common, "fit": whole.fit, "stages": stages})


def _predict(
    calibration: Calibration, place: int, models: Sequence[int], data: _Labelled
) -> Floats:
    """Posteriors of one stage on all cases; rows without all of its models mean nothing."""
    return posterior(calibration, place, models, seats_of(data.seats, models), data.valid)


def _all_answered(seats: SeatArrays, models: Sequence[int]) -> Bools:
    has = [(seats.votes[:, seats.groups == m] >= 0).any(axis=1) for m in models]
    return np.asarray(np.stack(has).all(axis=0), dtype=np.bool_)


def seats_of(seats: SeatArrays, models: Sequence[int]) -> SeatArrays:
    """The seats of these models, groups counted anew."""
    keep = np.isin(seats.groups, models)
    place = {m: i for i, m in enumerate(models)}
    groups = np.array([place[int(g)] for g in seats.groups[keep]], dtype=np.int64)
    return SeatArrays(
        seats.votes[:, keep], groups, seats.distributions[:, keep], seats.confidence[:, keep]
    )


def take_seats(seats: SeatArrays, rows: Ints) -> SeatArrays:
    """Some of the cases."""
    return SeatArrays(
        seats.votes[rows], seats.groups, seats.distributions[rows], seats.confidence[rows]
    )


# -- measuring -------------------------------------------------------------------------------------


def _measure(
    calibration: Calibration, test: _Labelled, aggregator: Family, alpha: float
) -> FitReport:
    """Cold start against calibrated, on cases where at least one seat answered."""
    answered: Bools = np.asarray((test.seats.votes >= 0).any(axis=1))
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
    who = np.stack(
        [
            (seen.seats.votes[:, seen.seats.groups == m] >= 0).any(axis=1)
            for m in range(len(calibration.models))
        ],
        axis=1,
    )
    for pattern in np.unique(who, axis=0):
        rows = np.flatnonzero((who == pattern).all(axis=1))
        here = np.flatnonzero(pattern).tolist()
        place, own = calibration.stage([calibration.models[m] for m in here])
        if aggregator == "stacked":
            stage = set(calibration.stages[place].models)
            here = [m for m in here if calibration.models[m] in stage]
        part = seen.take(rows)
        after[rows] = _predict(calibration, place, here, part)
        q = slim.stages[place].quantile
        if own and q is not None:
            exact[rows] = True
            sets[rows] = prediction_sets(after[rows], q, part.valid)
    report = act_report(sets[exact], seen.truth[exact]) if exact.any() else None
    first, second = _figures(before, seen), _figures(after, seen)
    notes = []
    if len(calibration.stages[0].misses) < 100:
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
    )


def _figures(p: Floats, data: _Labelled) -> Figures:
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
            (float(a), float(b), int(n))
            for a, b, n in zip(curve.predicted, curve.observed, curve.cases, strict=True)
        ),
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# -- recorded answers as a live panel's ------------------------------------------------------------


def _of_type(run: RecordedRun, task_type: str | None) -> tuple[RecordedRun, str]:
    strata = sorted(set(run.cases.strata))
    if task_type is None:
        return run, strata[0] if len(strata) == 1 else ""
    if task_type not in strata:
        raise DataError(
            f'has no cases of type "{task_type}"',
            where=run.name,
            fix=f"one of {', '.join(name for name in strata if name) or 'none'}",
        )
    keep = np.array([s == task_type for s in run.cases.strata])
    return run.take_cases(np.flatnonzero(keep)), task_type


def _kind(run: RecordedRun) -> str:
    kinds = sorted({_KINDS.get(kind, kind) for kind in run.cases.kinds})
    if len(kinds) != 1:
        found = ", ".join(kinds) or "no cases"
        raise DataError(
            f"a calibration is for one kind of task, and here are {found}",
            where=run.name,
            fix="--type NAME",
        )
    if kinds[0] not in ("approve", "choose", "compare", "score"):
        raise DataError(f"tasks of kind {kinds[0]} have no calibrated aggregator", where=run.name)
    return kinds[0]


def _by_model(models: Sequence[str], counts: Sequence[int]) -> dict[str, list[int]]:
    """Model → the members that are its variants; those without a seat are left out."""
    found: dict[str, list[int]] = {}
    for member, (model, count) in enumerate(zip(models, counts, strict=True)):
        if count:
            found.setdefault(model, []).append(member)
    return found


def _labelled(
    run: RecordedRun,
    evidence: Evidence,
    counts: Sequence[int],
    groups: Mapping[str, list[int]],
    kind: str,
    called: Mapping[str, str],
) -> _Labelled:
    options, columns = _options(run, evidence, kind, called)
    credit = evidence.credit if columns is None else _columns(evidence.credit, columns)
    best = credit.max(axis=1)
    single = (credit >= best[:, None] - 1e-9).sum(axis=1) == 1
    usable = (best > 0) & single
    left = {
        "no option is right": int((best <= 0).sum()),
        "several options are equally right": int(((best > 0) & ~single).sum()),
    }
    votes, rows, stated, of = [], [], [], []
    for group, members in enumerate(groups.values()):
        for m in members:
            for s in range(counts[m]):
                shares = evidence.votes[:, m, s].astype(np.float64)
                given: npt.NDArray[Any] | None = None
                if evidence.scores is not None:
                    given = evidence.scores[:, m, s]
                if columns is not None:
                    shares = _columns(shares, columns)
                    given = None if given is None else _columns(given, columns)
                votes.append(np.where(shares.max(axis=1) > 0.999, shares.argmax(axis=1), -1))
                rows.append(_distribution(given, evidence.valid, options is None, shares.shape))
                stated.append(_confidence(evidence, m, s, votes[-1]))
                of.append(group)
    seats = SeatArrays(
        np.stack(votes, axis=1).astype(np.int64),
        np.array(of, dtype=np.int64),
        np.stack(rows, axis=1),
        np.stack(stated, axis=1),
    )
    panel = Panel(
        tuple(groups),
        tuple(sum(counts[m] for m in members) for members in groups.values()),
        options,
    )
    data = _Labelled(
        panel,
        seats,
        np.asarray(credit.argmax(axis=1), dtype=np.int64),
        None if options is not None or evidence.valid.all() else evidence.valid,
        evidence.case_ids,
        left,
    )
    for group, model in enumerate(panel.models):
        if not (seats.votes[usable][:, seats.groups == group] >= 0).any():
            raise FitError(f"{model} has no readable answer to any labelled case", where=run.name)
    return data.take(usable)


def _options(
    run: RecordedRun, evidence: Evidence, kind: str, called: Mapping[str, str]
) -> tuple[tuple[str, ...] | None, list[int] | None]:
    """The fixed options by the policy's names, and the recorded column of each (−1: none)."""
    if kind == "choose" and not evidence.labelled:
        return None, None
    recorded = run.cases.options[0]
    if any(options != recorded for options in run.cases.options):
        recorded = tuple(dict.fromkeys(name for each in run.cases.options for name in each))
        raise DataError(
            f"cases offer different options ({', '.join(recorded[:6])} …)", where=run.name
        )
    renamed = [called.get(name, name) for name in recorded]
    wanted = {"approve": Approve.OPTIONS, "compare": Compare.OPTIONS}.get(kind, tuple(renamed))
    strange = [name for name in renamed if name not in wanted]
    if strange or len(set(renamed)) != len(renamed):
        raise DataError(
            f"a task of kind {kind} has no option {', '.join(strange) or 'twice'}",
            where=run.name,
            fix=f"--as {strange[0] if strange else renamed[0]}={wanted[0]}",
        )
    return wanted, [renamed.index(name) if name in renamed else -1 for name in wanted]


def _columns(values: npt.NDArray[Any], columns: Sequence[int]) -> Floats:
    picked = [values[:, c] if c >= 0 else np.zeros(len(values)) for c in columns]
    return np.stack(picked, axis=1).astype(np.float64)


def _distribution(
    given: npt.NDArray[Any] | None, valid: Bools, varies: bool, shape: tuple[int, ...]
) -> Floats:
    """Scores that are a distribution over the case's options, else rows of NaN."""
    if given is None:
        return np.full(shape, np.nan)
    values = given.astype(np.float64)
    if varies:
        values = np.where(valid, values, 0.0)
    total = values.sum(axis=1)
    good = (values >= 0).all(axis=1) & (np.abs(total - 1.0) < 1e-3)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(good[:, None], values / total[:, None], np.nan)


def _confidence(evidence: Evidence, member: int, sample: int, votes: Ints) -> Floats:
    column = evidence.extra.get("confidence")
    if column is None:
        return np.full(len(evidence), np.nan)
    c = column[:, member, sample]
    with np.errstate(invalid="ignore"):
        return np.where((votes >= 0) & (c >= 0) & (c <= 1), c, np.nan)


def _data_sha(data: _Labelled) -> str:
    digest = hashlib.sha256("\n".join(data.ids).encode())
    for array in (data.truth, *data.seats):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _sha(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return text if len(text) == 64 and set(text) <= set("0123456789abcdef") else ""


# -- scores ----------------------------------------------------------------------------------------


def _fit_scores(
    run: RecordedRun,
    evidence: Evidence,
    groups: Mapping[str, list[int]],
    common: dict[str, Any],
    seed: int,
) -> Fitted:
    scale = _scale(run)
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
    if rows.any():
        error = (
            float(np.abs(before - gold[rows]).mean()),
            float(np.abs(after - gold[rows]).mean()),
        )
    return Fitted(
        calibration,
        FitReport("scores", calibration.cases, int(rows.sum()), {}, error=error),
    )


def _scale(run: RecordedRun) -> tuple[float, float]:
    scales = {tuple(record.get("scale") or ()) for record in run.cases.records}
    if len(scales) != 1 or len(next(iter(scales))) != 2:
        raise DataError("its score cases have no single scale", where=run.name)
    low, high = next(iter(scales))
    return float(low), float(high)
