"""The evidence in ballots: posteriors, and a middle score. Orders are read in ``ranking``.

Thin: it turns ballots into the arrays of :mod:`consensus.aggregation` and back. Sums are exact or
canonical, so the order of ballots cannot change a bit of the result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import canonical_mean, canonical_sum, softmax
from consensus.aggregation.confidence import cisc
from consensus.aggregation.posteriors import block_posterior
from consensus.aggregation.score_ballots import standardised
from consensus.ballots import Ballot, Failure
from consensus.orchestrators.calibrated import SeatArrays, judge_model, posterior
from consensus.orchestrators.calibration import (
    Calibration,
    OptionScoresFit,
    ScoresFit,
    Stage,
)
from consensus.orchestrators.spec import HopRecord
from consensus.tasks import Kind

__all__ = [
    "TIE_TOLERANCE",
    "Opinion",
    "Reading",
    "combine",
    "leaders",
    "median_score",
    "read_scores",
    "score_rows",
    "vote_shares",
]

Floats = npt.NDArray[np.float64]

LEAST = 1e-12
"""Least probability that is carried on into a product with other parts."""

TIE_TOLERANCE = 1e-9
"""Probabilities this close share first place."""


def vote_shares(options: Sequence[str], ballots: Sequence[Ballot]) -> Floats:
    """(ballots, K) shares of one vote: options that a seat scored alike highest share its vote."""
    rows = np.zeros((len(ballots), len(options)))
    for row, ballot in zip(rows, ballots, strict=True):
        said = ballot.answer if isinstance(ballot.answer, tuple | list) else (ballot.answer,)
        row[:] = [(option in said) / len(said) for option in options]
    return rows


class Opinion(NamedTuple):
    """What the ballots of all hops say together.

    Attributes:
        posterior: option → probability.
        stage: of the calibration behind all of it; None where any part is a cold start.
        cases: that the calibration rests on; 0 without one.
        notes: why it is not calibrated although it was meant to be.
    """

    posterior: dict[str, float]
    stage: Stage | None = None
    cases: int = 0
    notes: tuple[str, ...] = ()


class Reading(NamedTuple):
    """Scores as read.

    Attributes:
        score: of all ballots together.
        own: what each seat's ballot says alone, by seat, on the same scale.
        error: standard error; None without a model of the judges.
        cases: behind that model.
        notes: what a reader must know.
    """

    score: float
    own: Mapping[int, float]
    error: float | None = None
    cases: int = 0
    notes: tuple[str, ...] = ()


class _Part(NamedTuple):
    """Hops whose ballots are read by one calibration, or one hop read by none."""

    calibration: Calibration | None
    hops: list[HopRecord]
    stronger: list[bool]


def leaders(posterior: Mapping[str, float]) -> tuple[str, ...]:
    """Every option in first place, in the task's order; more than one is a tie."""
    best = max(posterior.values())
    return tuple(option for option, p in posterior.items() if best - p <= TIE_TOLERANCE)


def combine(
    kind: Kind, options: Sequence[str], hops: Sequence[HopRecord], escalated: Sequence[bool]
) -> Opinion:
    """Probability of each option after these hops (design/engine.md, aggregators).

    Hops that one calibration covers are one panel. Everything else is a block of its own: the part
    with the last hop counts in full, the log-likelihood of the others is discounted by 1 − ρ, since
    stronger models err on much the same cases as weaker ones.
    """
    if len(hops) == 1 and hops[0].spec.calibration is None:
        counts = _whole_votes(options, hops[0].spec.aggregator, hops[0].ballots)
        if counts is not None:
            cold = hops[0].spec.cold_start
            accuracy = cold.stronger_accuracy if escalated[0] else cold.accuracy
            shares = _shares_of_counts(counts, accuracy, cold.correlation)
            return Opinion(dict(zip(options, shares, strict=True)))
    parts, notes = _parts(kind, options, hops, escalated)
    said = [_say(options, part) for part in parts]
    notes += [note for one in said for note in one.notes]
    if len(said) == 1 and said[0].stage is not None:
        by_option = dict(zip(options, said[0].p.tolist(), strict=True))
        return Opinion(by_option, said[0].stage, said[0].cases, tuple(notes))
    if len(said) > 1 and any(one.stage is not None for one in said):
        notes.append("not every hop is covered by the calibration: the posterior is uncalibrated")
    log = np.zeros(len(options))
    for part, one in zip(parts, said, strict=True):
        last = any(hop is hops[-1] for hop in part.hops)
        discount = 1.0 if last else 1.0 - part.hops[-1].spec.cold_start.correlation
        log += discount * np.log(one.p)
    return Opinion(_normalised(options, log), notes=tuple(notes))


def _normalised(options: Sequence[str], log: Floats) -> dict[str, float]:
    return dict(zip(options, _shares(log), strict=True))


def _shares(log: Floats) -> list[float]:
    weights = np.exp(log - log.max())
    total = math.fsum(weights.tolist())
    shares: list[float] = (weights / total).tolist()
    return shares


def _parts(
    kind: Kind, options: Sequence[str], hops: Sequence[HopRecord], escalated: Sequence[bool]
) -> tuple[list[_Part], list[str]]:
    """Hops by the calibration that reads them: their own, else an earlier one that covers them."""
    parts: list[_Part] = []
    notes: list[str] = []
    for hop, stronger in zip(hops, escalated, strict=True):
        own = hop.spec.calibration
        if own is not None and not own.fits(kind, options):
            notes.append(f"{hop.name}: its calibration is for other tasks; this is a cold start")
            own = None
        asked = {ballot.model for ballot in hop.ballots}
        for part in parts:
            found = part.calibration
            if found is not None and (own == found or (own is None and asked <= set(found.models))):
                part.hops.append(hop)
                part.stronger.append(stronger)
                break
        else:
            parts.append(_Part(own, [hop], [stronger]))
    return parts, notes


class _Said(NamedTuple):
    p: Floats
    stage: Stage | None = None
    cases: int = 0
    notes: tuple[str, ...] = ()


def _say(options: Sequence[str], part: _Part) -> _Said:
    """What one part says: calibrated as far as it is covered, the rest as cold-start blocks."""
    calibration, hops = part.calibration, part.hops
    if calibration is None:
        return _Said(_cold(options, hops[0], hops[0].ballots, part.stronger[0]))
    ballots = [ballot for hop in hops for ballot in hop.ballots]
    scored = isinstance(calibration.fit, OptionScoresFit)
    present = {b.model for b in ballots if b.scores is not None or not scored}
    present &= set(calibration.models)
    place, exact = calibration.stage(present)
    stage = calibration.stages[place]
    used = present & set(stage.models) if calibration.by_stage else present
    if calibration.by_stage and used != set(stage.models):
        used = set()
    notes: list[str] = []
    log = np.zeros(len(options))
    if used:
        models = [i for i, model in enumerate(calibration.models) if model in used]
        failures = [failure for hop in hops for failure in hop.failures]
        fitted = calibration.options or tuple(options)  # a list in another order means the same
        seats = _arrays(fitted, [*ballots, *failures], [calibration.models[i] for i in models])
        p = posterior(calibration, place, models, seats)[[fitted.index(o) for o in options]]
        unseen = sorted({ballot.model for ballot in ballots} - used)
        if exact and not unseen:
            if calibration.unlabelled:
                return _Said(p, notes=("the calibration was fitted without labels",))
            return _Said(p, stage, calibration.cases)
        log += np.log(np.maximum(p, LEAST))
        if not exact:
            notes.append("the calibration has no cases on which just these models answered")
    else:
        unseen = sorted({ballot.model for ballot in ballots})
    if unseen:
        notes.append(
            f"the calibration has not seen {', '.join(unseen)} here: "
            "these seats count as at a cold start"
        )
    for hop, stronger in zip(hops, part.stronger, strict=True):
        left = [ballot for ballot in hop.ballots if ballot.model not in used]
        if left:
            whole = not used and hop is hops[-1]
            discount = 1.0 if whole else 1.0 - hop.spec.cold_start.correlation
            log += discount * np.log(_cold(options, hop, left, stronger))
    p = np.array(list(_normalised(options, log).values()))
    return _Said(np.maximum(p, LEAST), notes=tuple(notes))


def _arrays(
    options: Sequence[str], seats: Sequence[Ballot | Failure], models: Sequence[str]
) -> SeatArrays:
    """The seats of these models as arrays; a failed seat is a vote of −1."""
    mine = [seat for seat in seats if seat.model in models]
    place = {option: i for i, option in enumerate(options)}
    votes = [-1 if isinstance(s, Failure) else _place(place, s) for s in mine]
    stated = [s.confidence if isinstance(s, Ballot) else None for s in mine]
    rows = np.full((len(mine), len(options)), np.nan)
    for i, seat in enumerate(mine):
        if isinstance(seat, Ballot) and seat.distribution is not None:
            shares = [seat.distribution.get(option, 0.0) for option in options]
            total = math.fsum(shares)
            if total > 0:
                rows[i] = [share / total for share in shares]
    return SeatArrays(
        np.array(votes, dtype=np.int64),
        np.array([models.index(seat.model) for seat in mine], dtype=np.int64),
        rows,
        np.array([np.nan if c is None else c for c in stated], dtype=np.float64),
        score_rows(options, mine),
    )


def _place(places: Mapping[str, int], ballot: Ballot) -> int:
    """The option that a ballot is for; −1 where it is for several."""
    return -1 if isinstance(ballot.answer, tuple | list) else places[str(ballot.answer)]


def score_rows(options: Sequence[str], seats: Sequence[Ballot | Failure]) -> Floats:
    """(seats, K) the score that each seat gave each option; NaN where it gave none."""
    rows = np.full((len(seats), len(options)), np.nan)
    for row, seat in zip(rows, seats, strict=True):
        if isinstance(seat, Ballot) and seat.scores is not None:
            row[:] = [seat.scores.get(option, math.nan) for option in options]
    return rows


# -- without a calibration -------------------------------------------------------------------------


def _cold(
    options: Sequence[str], hop: HopRecord, ballots: Sequence[Ballot], stronger: bool
) -> Floats:
    """A hop as one block of seats of which nothing is known but the policy's ``cold_start``."""
    cold = hop.spec.cold_start
    accuracy = cold.stronger_accuracy if stronger else cold.accuracy
    if hop.spec.aggregator == "mean":
        return _mean_of_distributions(options, ballots, accuracy)
    if hop.spec.aggregator in ("weighted", "cisc") and (stated := _comparable(ballots)) is not None:
        place = {option: i for i, option in enumerate(options)}
        votes = [_place(place, b) for b in ballots]
        shares = cisc(votes, stated, len(options), hop.spec.confidence_temperature)
        counts = (shares * len(ballots))[None, :]
    elif hop.spec.aggregator == "scores" and any(b.scores is not None for b in ballots):
        return _cold_scores(options, ballots, accuracy, cold.correlation)
    else:
        whole = _whole_votes(options, hop.spec.aggregator, ballots)
        if whole is not None:
            return _of_counts(whole, accuracy, cold.correlation)
        counts = np.array([canonical_sum(vote_shares(options, ballots), axis=0)])
    return np.asarray(block_posterior(counts, accuracy, cold.correlation), dtype=np.float64)


def _whole_votes(
    options: Sequence[str], aggregator: str, ballots: Sequence[Ballot]
) -> tuple[float, ...] | None:
    """Votes for each option, where nothing else of the ballots counts; None where more does."""
    if aggregator in _BEYOND_VOTES:
        return None
    voted = Counter([b.answer for b in ballots if isinstance(b.answer, str)])
    if voted.total() != len(ballots):
        return None
    return tuple([float(voted[option]) for option in options])


_BEYOND_VOTES = frozenset({"mean", "weighted", "cisc", "scores"})


@lru_cache(maxsize=4096)
def _shares_of_counts(
    counts: tuple[float, ...], accuracy: float, correlation: float
) -> tuple[float, ...]:
    """A posterior of whole votes alone; a panel of ten has few ways to vote, and each recurs."""
    log = np.zeros(len(counts)) + 1.0 * np.log(_of_counts(counts, accuracy, correlation))
    return tuple(_shares(log))


@lru_cache(maxsize=4096)
def _of_counts(counts: tuple[float, ...], accuracy: float, correlation: float) -> Floats:
    """What one block's whole votes say."""
    said = np.asarray(block_posterior(np.array([counts]), accuracy, correlation), dtype=np.float64)
    said.flags.writeable = False
    return said


def _cold_scores(
    options: Sequence[str], ballots: Sequence[Ballot], accuracy: float, correlation: float
) -> Floats:
    """Mean z-scores of the ballots, on the scale of the same number of votes.

    A ballot's scores are standardised within it, since seats differ in location and spread; a
    ballot without scores is its vote, standardised likewise. Where all ballots agree that one
    option is best and the others alike, the posterior is that of as many votes for it.
    """
    width = len(options)
    votes = vote_shares(options, ballots)
    given = score_rows(options, ballots)
    bare = np.isnan(given).any(axis=-1, keepdims=True)
    z = canonical_mean(standardised(np.where(bare, votes, given)), axis=0)
    unanimous = np.zeros((1, width))
    unanimous[0, 0] = len(ballots)
    top = block_posterior(unanimous, accuracy, correlation)
    gap = width / math.sqrt(width - 1)  # between the one option's z-score and the others'
    return np.asarray(softmax(z * float(np.log(top[0] / top[1])) / gap), dtype=np.float64)


def _comparable(ballots: Sequence[Ballot]) -> list[float] | None:
    """Confidences for a softmax within the question; None where they differ in provenance.

    A stated number and a token probability are not of one scale, and neither is calibrated here.
    """
    sources = {b.confidence_source for b in ballots if b.confidence is not None}
    if len(sources) != 1:
        return None
    return [math.nan if b.confidence is None else b.confidence for b in ballots]


def _mean_of_distributions(
    options: Sequence[str], ballots: Sequence[Ballot], accuracy: float
) -> Floats:
    """Average the seats' distributions (linear opinion pool, Stone 1961).

    A ballot that is a word and not a distribution counts as ``accuracy`` on its word and the rest
    spread evenly. Probabilities are kept off zero by 1e-6: no finite panel excludes an option.
    """
    rest = (1.0 - accuracy) / (len(options) - 1)
    bare = (rest + (accuracy - rest) * vote_shares(options, ballots)).tolist()
    rows = [
        [b.distribution.get(o, 0.0) for o in options] if b.distribution is not None else word
        for b, word in zip(ballots, bare, strict=True)
    ]
    mean = np.array([math.fsum(column) / len(rows) for column in zip(*rows, strict=True)])
    clipped = np.maximum(mean, 1e-6)
    return np.asarray(clipped / math.fsum(clipped.tolist()), dtype=np.float64)


# -- scores -----------------------------------------------------------------------------


def read_scores(hops: Sequence[HopRecord], scale: tuple[float, float]) -> Reading:
    """One score from the ballots of these hops, by a calibration of its judges if there is one.

    With one, the hops that it covers are read together: each model's mean score, by its location,
    scale and noise; a model that it has not seen counts as an average judge. Without, the median
    of the last hop.
    """
    last = hops[-1]
    calibration = last.spec.calibration or next(
        (
            hop.spec.calibration
            for hop in hops
            if hop.spec.calibration is not None
            and {b.model for b in last.ballots} <= set(hop.spec.calibration.models)
        ),
        None,
    )
    notes: tuple[str, ...] = ()
    if calibration is not None and isinstance(calibration.fit, ScoresFit):
        if calibration.scale == scale:
            return _judged(hops, calibration, calibration.fit, scale)
        notes = (f"{last.name}: its calibration is for another scale; this is the median",)
    own = {b.seat: value for hop in hops for b in hop.ballots for value in _numbers([b])}
    return Reading(median_score(_numbers(last.ballots)), own, notes=notes)


def _judged(
    hops: Sequence[HopRecord], calibration: Calibration, fit: ScoresFit, scale: tuple[float, float]
) -> Reading:
    known = set(calibration.models)
    read = [hop for hop in hops if hop is hops[-1] or {b.model for b in hop.ballots} <= known]
    by_model: dict[str, list[float]] = {}
    said: list[tuple[Ballot, float]] = []
    for ballot in (ballot for hop in read for ballot in hop.ballots):
        for value in _numbers([ballot]):
            by_model.setdefault(ballot.model, []).append(value)
            said.append((ballot, value))
    models = sorted(by_model)
    places = [calibration.models.index(m) if m in known else None for m in models]
    judges = judge_model(fit, places, calibration.cases)
    means = np.array([float(canonical_mean(by_model[model])) for model in models])
    found = judges.estimate(means)
    unseen = [model for model in models if model not in known]
    notes = (
        f"the calibration has not seen {', '.join(unseen)} here: each counts as an average judge",
    )
    alone = np.full((len(said), len(models)), np.nan)
    for row, (ballot, value) in enumerate(said):
        alone[row, models.index(ballot.model)] = value
    each = np.clip(judges.estimate(alone).score, *scale).tolist()
    own = {ballot.seat: value for (ballot, _), value in zip(said, each, strict=True)}
    score = min(max(float(found.score), scale[0]), scale[1])
    return Reading(score, own, float(found.error), calibration.cases, notes if unseen else ())


def _numbers(ballots: Sequence[Ballot]) -> list[float]:
    return [float(b.answer) for b in ballots if isinstance(b.answer, int | float)]


def median_score(values: Sequence[float]) -> float:
    """The median; of an even number, the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
