"""The best-supported answer of each kind of task, out of ballots (design/engine.md)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

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
from consensus.orchestrators.spec import HopRecord
from consensus.tasks import Kind

__all__ = ["SCORE_TOLERANCE", "Leader", "best_judged", "canonical_answer", "find_leader"]

SCORE_TOLERANCE = 0.1
"""Scores within this share of the scale's width count as agreeing."""


class Leader(BaseModel):
    """The best-supported answer: one, or several that are tied."""

    model_config = ConfigDict(frozen=True)

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
    """The candidate that most judges chose; without judges, the answer that most seats gave."""
    judges = [b for b in hops[-1].ballots if b.role == "judge"]
    written = [b for b in hops[-1].ballots if b.role != "judge"]
    candidates = best_judged(written, hops[-1].judgements)
    names = {
        key: f"candidate-{i}"
        for i, key in enumerate(sorted({canonical_answer(b.answer) for b in candidates}))
    }
    groups: dict[str, list[Ballot]] = {key: [] for key in names}
    voters = judges or candidates
    for ballot in voters:
        groups[canonical_answer(ballot.answer)].append(ballot)
    most = max(len(group) for group in groups.values())
    leaders = sorted(key for key, group in groups.items() if len(group) == most)
    group = groups[leaders[0]]
    alone = len(leaders) == 1
    return Leader(
        answer=group[0].answer if alone else None,
        tied=() if alone else tuple(names[key] for key in leaders),
        posterior={names[k]: len(groups[k]) / len(voters) for k in names} if len(names) > 1 else {},
        probability=most / len(voters) if len(voters) > 1 else None,
        supporters=frozenset(ballot.seat for ballot in group),
        by_oracle=alone and not judges and any(j.of == "candidate" for j in hops[-1].judgements),
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
