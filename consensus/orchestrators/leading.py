"""The best-supported answer of each kind of task, out of ballots (design/engine.md)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consensus.aggregation.candidate_scores import judge_candidates
from consensus.ballots import Answer, Ballot
from consensus.orchestrators.calibration import Stage
from consensus.orchestrators.checks import (
    Judgement,
    answer_sha256,
)
from consensus.orchestrators.evidence import (
    combine,
    leaders,
    read_scores,
)
from consensus.orchestrators.ranking import compare_position, read_ranking
from consensus.orchestrators.spec import HopRecord, StrategySpec
from consensus.tasks import Kind

__all__ = [
    "SCORE_TOLERANCE",
    "Leader",
    "best_judged",
    "candidate_names",
    "canonical_answer",
    "find_leader",
]

SCORE_TOLERANCE = 0.1
"""Scores within this share of the scale's width count as agreeing."""


class Leader(NamedTuple):
    """The best-supported answer: one, or several that are tied."""

    answer: Answer | None
    tied: tuple[str, ...]
    posterior: dict[str, float]
    probability: float | None
    supporters: frozenset[int]
    """Seats (of all voiced hops) whose ballot agrees with the leader."""
    stage: Stage | None = None
    """Of the calibration that stands behind the posterior, if one covers all of it."""
    cases: int = 0
    """Labelled cases behind it; 0 is a cold start."""
    by_oracle: bool = False
    """Whether an oracle's score chose it among candidates, so that no seats need agree."""
    notes: tuple[str, ...] = ()


def find_leader(
    kind: Kind,
    options: Sequence[str],
    hops: Sequence[HopRecord],
    escalated: Sequence[bool],
    scale: tuple[float, float] | None,
    top: int | None,
) -> Leader:
    """The leader of all hops that have a voice, the last of which has the say.

    ``escalated`` says of each hop whether others were asked before it; ``scale`` is that of a score
    task, ``top`` a ranking's number of places.
    """
    if kind == "rank":
        return _rank_leader(options, hops, escalated, top)
    if kind == "score":
        assert scale is not None  # noqa: S101 - a score task always has one
        return _score_leader(hops, scale)
    if kind == "generate":
        return _generate_leader(hops)
    return _option_leader(kind, options, hops, escalated)


def _option_leader(
    kind: Kind, options: Sequence[str], hops: Sequence[HopRecord], escalated: Sequence[bool]
) -> Leader:
    opinion = combine(kind, options, hops, escalated)
    posterior = opinion.posterior
    best = max(posterior.values())
    tied = leaders(posterior)
    supporters = frozenset(
        b.seat for hop in hops for b in hop.ballots if len(tied) == 1 and b.answer == tied[0]
    )
    if len(tied) > 1:
        supporters = _largest_group(hops, tied)
    return Leader(
        answer=tied[0] if len(tied) == 1 else None,
        tied=tied if len(tied) > 1 else (),
        posterior=posterior,
        probability=best,
        supporters=supporters,
        stage=opinion.stage,
        cases=opinion.cases,
        notes=(*opinion.notes, *(compare_position(options, hops) if kind == "compare" else ())),
    )


def _largest_group(hops: Sequence[HopRecord], tied: Sequence[str]) -> frozenset[int]:
    """The seats behind the best-backed of several tied options: agreement is that of a leader."""
    groups = [
        frozenset(b.seat for hop in hops for b in hop.ballots if b.answer == option)
        for option in tied
    ]
    return max(groups, key=len)


def _rank_leader(
    options: Sequence[str],
    hops: Sequence[HopRecord],
    escalated: Sequence[bool],
    top: int | None,
) -> Leader:
    ranked = read_ranking(options, hops, top)
    first = ranked.first
    if first is None:
        places = [_first_places(hop) for hop in hops]
        first = combine("rank", options, places, escalated).posterior
    probability = ranked.probability
    if probability is None:
        probability = max(first.values()) if ranked.order is None else first[ranked.order[0]]
    return Leader(
        answer=ranked.order,
        tied=ranked.tied,
        posterior=first,
        probability=probability,
        supporters=ranked.supporters,
        notes=ranked.notes,
    )


def _first_places(hop: HopRecord) -> HopRecord:
    ballots = tuple(
        b.model_copy(update={"answer": b.answer[0], "distribution": None})
        for b in hop.ballots
        if isinstance(b.answer, tuple)
    )
    return hop.model_copy(update={"ballots": ballots})


def _score_leader(hops: Sequence[HopRecord], scale: tuple[float, float]) -> Leader:
    ballots = [b for b in hops[-1].ballots if isinstance(b.answer, int | float)]
    values = [float(b.answer) for b in ballots if isinstance(b.answer, int | float)]
    reading = read_scores(hops, scale)
    middle = reading.score
    near = SCORE_TOLERANCE * (scale[1] - scale[0])
    supporters = frozenset(
        seat for seat, value in reading.own.items() if abs(value - middle) <= near + 1e-12
    )
    counts = Counter(f"{value:g}" for value in values)
    posterior = {key: counts[key] / len(values) for key in sorted(counts, key=float)}
    probability = sum(1 for b in ballots if b.seat in supporters) / len(values)
    if reading.error is not None:  # the judges' model: the chance that the score lies this near
        probability = math.erf(near / (reading.error * math.sqrt(2.0)))
    return Leader(
        answer=middle,
        tied=(),
        posterior=posterior,
        probability=probability,
        supporters=supporters,
        cases=reading.cases,
        notes=reading.notes,
    )


def _generate_leader(hops: Sequence[HopRecord]) -> Leader:
    """The judges' candidate; without judges, the answer that most seats gave."""
    last = hops[-1]
    judges = [b for b in last.ballots if b.role == "judge"]
    written = [b for b in last.ballots if b.role != "judge"]
    candidates = best_judged(written, last.judgements)
    names = candidate_names(candidates)
    answers = {names[canonical_answer(b.answer)]: b.answer for b in reversed(candidates)}
    if judges and last.spec.aggregator == "scores" and all(b.scores for b in judges):
        return _scored_leader(judges, list(names.values()), answers, last.spec)
    voters = judges or candidates
    shares = dict.fromkeys(names.values(), 0.0)
    backers: dict[str, set[int]] = {name: set() for name in shares}
    for ballot in voters:
        backed = _backed(ballot, names)
        for name in backed:
            shares[name] += 1.0 / len(backed)
        if len(backed) == 1:
            backers[backed[0]].add(ballot.seat)
    most = max(shares.values())
    first = tuple(name for name, share in shares.items() if share >= most - 1e-9)
    alone = len(first) == 1
    behind = max((backers[name] for name in first), key=len)
    return Leader(
        answer=answers[first[0]] if alone else None,
        tied=() if alone else first,
        posterior={k: share / len(voters) for k, share in shares.items()} if len(names) > 1 else {},
        probability=most / len(voters) if len(voters) > 1 else None,
        supporters=frozenset(behind),
        by_oracle=alone and not judges and any(j.of == "candidate" for j in last.judgements),
    )


def candidate_names(candidates: Sequence[Ballot]) -> dict[str, str]:
    """Canonical answer → ``candidate-N``, whatever the order of the ballots."""
    keys = sorted({canonical_answer(ballot.answer) for ballot in candidates})
    return {key: f"candidate-{number}" for number, key in enumerate(keys)}


def _backed(ballot: Ballot, names: Mapping[str, str]) -> list[str]:
    """The candidates that a ballot is for: of a judge's scores, all that share the highest."""
    if ballot.role != "judge" or not ballot.scores:
        return [names[canonical_answer(ballot.answer)]]
    best = max(ballot.scores.values())
    return [name for name, score in ballot.scores.items() if score >= best]


def _scored_leader(
    judges: Sequence[Ballot],
    names: Sequence[str],
    answers: Mapping[str, Answer],
    spec: StrategySpec,
) -> Leader:
    """The candidate whose scores are best, each judge's own location taken out."""
    rows = [[(b.scores or {}).get(name, math.nan) for name in names] for b in judges]
    found = judge_candidates(rows, correlation=spec.cold_start.correlation)
    first = [names[k] for k in found.leaders]
    alone = len(first) == 1
    note = f"{len(judges)} judges' whole scores"
    if len(found.groups) > 1:
        note += f" fall into {len(found.groups)} groups of candidates that nobody compared"
    elif alone:
        points = sorted((float(q) for q in found.quality if not math.isnan(q)), reverse=True)
        note += f": {first[0]} leads by {points[0] - points[1]:.2f} points"
        if len(points) < len(names):
            note += f"; {len(names) - len(points)} of {len(names)} candidates were judged by nobody"
    behind = max(({b.seat for b in judges if _backed(b, {}) == [name]} for name in first), key=len)
    return Leader(
        answer=answers[first[0]] if alone else None,
        tied=() if alone else tuple(first),
        posterior=dict(zip(names, found.first.tolist(), strict=True)),
        probability=float(max(found.first[k] for k in found.leaders)),
        supporters=frozenset(behind),
        notes=(note,),
    )


def best_judged(candidates: Sequence[Ballot], judgements: Sequence[Judgement]) -> list[Ballot]:
    """The candidates with the oracle's highest score; all of them where it gave none."""
    scores = {j.answer: j.score for j in judgements if j.of == "candidate" and j.score is not None}
    if not scores or not candidates:
        return list(candidates)
    scored = [scores.get(answer_sha256(b.answer), -1.0) for b in candidates]
    best = max(scored)
    return [b for b, score in zip(candidates, scored, strict=True) if score >= best - 1e-9]


def canonical_answer(answer: Answer) -> str:
    """An answer in one spelling: texts by their words, objects by their content."""
    if isinstance(answer, str):
        return " ".join(answer.split())
    return json.dumps(answer, sort_keys=True, ensure_ascii=False)
