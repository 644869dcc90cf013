"""Recorded answers in the shape of a live panel's, with their truth; for fits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import FitError, canonical_mean
from consensus.aggregation.dawid_skene import dawid_skene
from consensus.benchmark._fit_families import Panel
from consensus.benchmark.evidence import Evidence, evidence_of, resolve_members
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from consensus.orchestrators.calibrated import SeatArrays
from consensus.statistics.weighted import effective_cases, truncated
from consensus.tasks import Approve, Compare

__all__ = [
    "Labelled",
    "by_model",
    "case_weights",
    "content_free_answers",
    "crowd_truth",
    "data_sha",
    "kind_of",
    "known_sha",
    "labelled",
    "of_type",
    "repeat_rows",
    "scale_of",
    "score_rows",
    "seats_of",
    "spread_rows",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_KINDS: Mapping[str, str] = {"choice": "choose", "pairwise": "compare", "approval": "approve"}
"""Kinds as recorded answers name them."""


@dataclass(frozen=True)
class Labelled:
    """Ballots on cases whose right option is known.

    Attributes:
        panel: whose ballots they are.
        seats: (cases, seats) arrays.
        truth: (cases,) the right option.
        valid: bool (cases, K); None where every case has all options.
        ids: of the cases.
        left_out: reason → cases that are not here.
        weights: (cases,) how many cases each stands for, if they were not looked at alike.
    """

    panel: Panel
    seats: SeatArrays
    truth: Ints
    valid: Bools | None
    ids: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    weights: Floats | None = None

    @property
    def effective(self) -> float:
        """As many cases of equal weight would say as much."""
        return float(len(self.ids)) if self.weights is None else effective_cases(self.weights)

    def repeats(self, fine: int) -> Ints:
        """Rows, each as often as its weight says, ``fine`` times the effective cases in all.

        Rounded along the cumulated weights, so that the total of any stretch is right within one.
        Without weights every row once.
        """
        if self.weights is None:
            return np.arange(len(self.ids))
        return repeat_rows(self.weights, fine)

    def balanced(self) -> Labelled:
        """The same cases, weighted so that each label that is right somewhere counts alike."""
        weights = np.ones(len(self.ids)) if self.weights is None else self.weights
        _, label = np.unique(self.truth, return_inverse=True)
        mass = np.bincount(label, weights)
        return replace(self, weights=weights * weights.sum() / (len(mass) * mass[label]))

    def take(self, rows: npt.NDArray[Any]) -> Labelled:
        """Some of the cases, by index or by mask."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Labelled(
            self.panel,
            _take(self.seats, index),
            self.truth[index],
            None if self.valid is None else self.valid[index],
            tuple(self.ids[i] for i in index),
            self.left_out,
            None if self.weights is None else self.weights[index],
        )


def repeat_rows(weights: Floats, fine: int) -> Ints:
    """See :meth:`Labelled.repeats`."""
    total = max(1, round(effective_cases(weights) * fine))
    ends = np.floor(np.cumsum(weights) / weights.sum() * total + 0.5).astype(np.int64)
    return np.repeat(np.arange(len(weights)), np.diff(ends, prepend=0))


def case_weights(run: RecordedRun) -> Floats | None:
    """(cases,) one over the chance that a labelled decision had to be looked at, truncated.

    None where the cases are no labelled decisions, or all were looked at alike.
    """
    if run.source.get("kind") != "ledger":
        return None
    raw = np.array([float(record.get("weight", 1.0)) for record in run.cases.records])
    if not raw.size or not np.isfinite(raw).all() or raw.min() <= 0 or np.ptp(raw) < 1e-9:
        return None
    return truncated(raw)


def seats_of(seats: SeatArrays, models: Sequence[int]) -> SeatArrays:
    """The seats of these models, groups counted anew."""
    keep = np.isin(seats.groups, models)
    place = {m: i for i, m in enumerate(models)}
    groups = np.array([place[int(g)] for g in seats.groups[keep]], dtype=np.int64)
    return SeatArrays(
        seats.votes[:, keep],
        groups,
        seats.distributions[:, keep],
        seats.confidence[:, keep],
        None if seats.scores is None else seats.scores[:, keep],
    )


def _take(seats: SeatArrays, rows: Ints) -> SeatArrays:
    """Some of the cases."""
    return SeatArrays(
        seats.votes[rows],
        seats.groups,
        seats.distributions[rows],
        seats.confidence[rows],
        None if seats.scores is None else seats.scores[rows],
    )


def of_type(run: RecordedRun, task_type: str | None) -> tuple[RecordedRun, str]:
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


def kind_of(run: RecordedRun) -> str:
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


def by_model(models: Sequence[str], counts: Sequence[int]) -> dict[str, list[int]]:
    """Model → the members that are its variants; those without a seat are left out."""
    found: dict[str, list[int]] = {}
    for member, (model, count) in enumerate(zip(models, counts, strict=True)):
        if count:
            found.setdefault(model, []).append(member)
    return found


def labelled(
    run: RecordedRun,
    evidence: Evidence,
    counts: Sequence[int],
    groups: Mapping[str, list[int]],
    kind: str,
    called: Mapping[str, str],
    *,
    gold: bool = True,
) -> Labelled:
    """Cases as the fits read them; without ``gold``, labelled by the models' own votes."""
    options, columns = _options(run, evidence, kind, called)
    credit = evidence.credit if columns is None else _columns(evidence.credit, columns)
    best = credit.max(axis=1)
    single = (credit >= best[:, None] - 1e-9).sum(axis=1) == 1
    usable = (best > 0) & single
    left = {
        "no option is right": int((best <= 0).sum()),
        "several options are equally right": int(((best > 0) & ~single).sum()),
    }
    votes, rows, stated, scored, of = [], [], [], [], []
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
                if evidence.scores is not None:
                    scored.append(score_rows(evidence.scores[:, m, s], evidence.valid, columns))
                stated.append(_confidence(evidence, m, s, votes[-1]))
                of.append(group)
    seats = SeatArrays(
        np.stack(votes, axis=1).astype(np.int64),
        np.array(of, dtype=np.int64),
        np.stack(rows, axis=1),
        np.stack(stated, axis=1),
        np.stack(scored, axis=1) if scored else None,
    )
    panel = Panel(
        tuple(groups),
        tuple(sum(counts[m] for m in members) for members in groups.values()),
        options,
    )
    truth = np.asarray(credit.argmax(axis=1), dtype=np.int64)
    if not gold:
        if options is None:
            raise FitError(
                "without labels only options that mean the same in every case can be learned",
                where=run.name,
            )
        truth, usable, left = crowd_truth(seats)
    data = Labelled(
        panel,
        seats,
        truth,
        None if options is not None or evidence.valid.all() else evidence.valid,
        evidence.case_ids,
        left,
        case_weights(run),
    )
    for group, model in enumerate(panel.models):
        if not (seats.votes[usable][:, seats.groups == group] >= 0).any():
            raise FitError(f"{model} has no readable answer to any usable case", where=run.name)
    return data.take(usable)


def crowd_truth(seats: SeatArrays) -> tuple[Ints, Bools, dict[str, int]]:
    """What the votes alone say of each case (Dawid & Skene 1979), and where they say anything."""
    found = dawid_skene(seats.votes, seats.options, smoothing=1.0)
    ordered = np.sort(found.posterior, axis=1)
    voted = (seats.votes >= 0).any(axis=1)
    open_ = ordered[:, -1] - ordered[:, -2] <= 1e-9
    left = {"no vote": int((~voted).sum()), "the votes say nothing": int((voted & open_).sum())}
    truth = np.asarray(found.posterior.argmax(axis=1), dtype=np.int64)
    return truth, np.asarray(voted & ~open_), left


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


def spread_rows(given: npt.NDArray[Any] | None, valid: Bools, shape: tuple[int, ...]) -> Floats:
    """(cases, K) scores that are a distribution over each case's options, else rows of NaN."""
    return _distribution(given, valid, varies=True, shape=shape)


def score_rows(raw: npt.NDArray[Any], valid: Bools, columns: Sequence[int] | None = None) -> Floats:
    """Scores of the options, NaN where none; an option without a recorded column has none."""
    values = np.where(valid, raw, np.nan)
    if columns is None:
        return np.asarray(values, dtype=np.float64)
    none = np.full(len(values), np.nan)
    return np.stack([values[:, c] if c >= 0 else none for c in columns], axis=1)


def _confidence(evidence: Evidence, member: int, sample: int, votes: Ints) -> Floats:
    column = evidence.extra.get("confidence")
    if column is None:
        return np.full(len(evidence), np.nan)
    c = column[:, member, sample]
    with np.errstate(invalid="ignore"):
        return np.where((votes >= 0) & (c >= 0) & (c <= 1), c, np.nan)


def content_free_answers(
    run: RecordedRun,
    names: Sequence[str],
    panel: Panel,
    variant: str | None,
    task_type: str | None,
    called: Mapping[str, str],
) -> Floats:
    """(models, K) mean answer of each model of the panel to content-free cases; NaN rows: none.

    Args:
        run: their answers; what is called right in it does not matter.
        names: the models, as both runs name them.
        panel: whose order of models and options holds.
        variant: as in the run that is fitted on.
        task_type: only these cases.
        called: recorded name → the policy's.

    Raises:
        DataError: other options, or no probabilities at all.
    """
    run, _ = of_type(run, task_type)
    found = resolve_members(run, names, variant)
    members = tuple(dict.fromkeys(m for part in found.values() for m in part))
    evidence = evidence_of(run, members)
    options, columns = _options(run, evidence, kind_of(run), called)
    if options is None or columns is None or set(options) != set(panel.options or ()):
        raise DataError("its cases have other options than the panel's", where=run.name)
    order = [columns[options.index(option)] for option in panel.options or ()]
    answers = np.full((len(panel.models), len(order)), np.nan)
    for g, model in enumerate(panel.models):
        rows = []
        for m, member in enumerate(members):
            if called.get(member.model, member.model) != model or evidence.scores is None:
                continue
            given = evidence.scores[:, m].reshape(-1, evidence.scores.shape[-1])
            spread = _columns(given, order)
            rows.append(_distribution(spread, evidence.valid, varies=False, shape=spread.shape))
        if rows:
            every = np.concatenate(rows)
            held = every[~np.isnan(every).any(axis=1)]
            if len(held):
                answers[g] = canonical_mean(held, axis=0)
    if np.isnan(answers).all():
        raise DataError("holds no token probabilities of these models", where=run.name)
    return answers


def data_sha(data: Labelled) -> str:
    digest = hashlib.sha256("\n".join(data.ids).encode())
    seats = data.seats
    held = [data.truth, seats.votes, seats.groups, seats.distributions, seats.confidence]
    for array in held if seats.scores is None else [*held, seats.scores]:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def known_sha(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return text if len(text) == 64 and set(text) <= set("0123456789abcdef") else ""


def scale_of(run: RecordedRun) -> tuple[float, float]:
    scales = {tuple(record.get("scale") or ()) for record in run.cases.records}
    if len(scales) != 1 or len(next(iter(scales))) != 2:
        raise DataError("its score cases have no single scale", where=run.name)
    low, high = next(iter(scales))
    return float(low), float(high)
