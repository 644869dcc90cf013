"""Best of n: several candidates, and whoever may say which is best.

First the row's oracle, where it has one that needs no label: what it does not accept is out, and of
the rest those with the highest score stay. Where that leaves several, or there is no oracle, the
panel judges, by a pick or (``ballot = "scores"``) by a score of each. Nobody judges its own: a seat
is shown only what no seat of its model wrote, not even in the same words. Leaving its own out of
what it reads, and not only of what is counted, matters for scores: they are given against what else
stands there. A panel of one model can therefore not choose among its own answers, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consensus.ballots import Answer, Ballot, Failure
from consensus.oracles.rubric import same_model
from consensus.orchestrators.checks import NOT_ACCEPTED, Judgement, answer_sha256
from consensus.orchestrators.judging import served_by
from consensus.orchestrators.leading import best_judged, candidate_names, canonical_answer
from consensus.orchestrators.session import Session, poll_seats
from consensus.orchestrators.spec import Poll, StrategySpec
from consensus.orchestrators.together import together
from consensus.orchestrators.vote import vote
from consensus.panel.seats import Seat
from consensus.tasks import Generate, Task

__all__ = ["JUDGE_SEATS", "best_of_n"]

JUDGE_SEATS = 500_000
"""A judge's place is this plus its seat's: apart from every candidate's."""


async def best_of_n(task: Task, spec: StrategySpec, session: Session) -> Poll:
    """Candidates from every seat; then the oracle, then the panel, choose."""
    if not isinstance(task, Generate):
        return await vote(task, spec, session)
    poll = await poll_seats(session, session.panel)
    candidates = tuple(b.model_copy(update={"role": "candidate"}) for b in poll.ballots)
    notes: list[str] = []
    judgements = await _judgements(session, candidates)
    accepted = {j.answer for j in judgements if j.passed}
    standing = [b for b in candidates if not judgements or answer_sha256(b.answer) in accepted]
    out = [b for b in candidates if b not in standing]
    failures = [*poll.failures, *(_rejected(b) for b in out)]
    if out:
        seats = ", ".join(str(b.seat) for b in out)
        notes.append(f"the oracle does not accept the candidates of seats {seats}")
    judged = best_judged(standing, judgements)
    distinct = _distinct(judged)
    if judgements and len(distinct) == 1 and len(_distinct(standing)) > 1:
        notes.append(f"the oracle scores the candidate of seat {distinct[0].seat} highest")
    judges: list[Ballot] = []
    if len(distinct) > 1:
        names = candidate_names(judged)
        votes = await together(_judge(session, seat, distinct, names) for seat in session.panel)
        for said in votes:
            if isinstance(said, Ballot):
                judges.append(said)
            elif said is not None:
                failures.append(said)
        if not judges:
            notes.append("nobody could judge: no seat has candidates of other models before it")
    return Poll(
        ballots=(*standing, *sorted(judges, key=lambda b: b.seat)),
        failures=tuple(sorted(failures, key=lambda f: f.seat)),
        notes=tuple(notes),
        judgements=judgements,
    )


async def _judgements(session: Session, candidates: Sequence[Ballot]) -> tuple[Judgement, ...]:
    """The oracle's judgement of each different answer; none where there is no oracle to ask."""
    answers = {answer_sha256(ballot.answer): ballot for ballot in reversed(candidates)}
    said = await together(session.judge(ballot) for ballot in reversed(answers.values()))
    return tuple(judgement for judgement in said if judgement is not None)


class _Candidate(NamedTuple):
    """One answer, the first seat that gave it, and every model that did."""

    answer: Answer
    seat: int
    models: tuple[str, ...]


def _distinct(candidates: Sequence[Ballot]) -> list[_Candidate]:
    """Each different answer once, capitals and blanks aside."""
    found: dict[str, list[Ballot]] = {}
    for ballot in candidates:
        found.setdefault(canonical_answer(ballot.answer).casefold(), []).append(ballot)
    return [_Candidate(same[0].answer, same[0].seat, served_by(same)) for same in found.values()]


async def _judge(
    session: Session, seat: Seat, candidates: Sequence[_Candidate], names: Mapping[str, str]
) -> Ballot | Failure | None:
    """A seat's word on the candidates of other models; None where there are fewer than two."""
    others = [c for c in candidates if not any(same_model(seat.model, m) for m in c.models)]
    if len(others) < 2:
        return None
    said = await session.choose(seat, [c.answer for c in others], JUDGE_SEATS + seat.index)
    if isinstance(said, Failure):
        return said
    place, ballot = said
    update: dict[str, object] = {"answer": others[place].answer, "role": "judge"}
    if ballot.scores is not None:
        update["scores"] = {
            names[canonical_answer(other.answer)]: ballot.scores[str(at)]
            for at, other in enumerate(others)
        }
        update["distribution"] = None
    return ballot.model_copy(update=update)


def _rejected(ballot: Ballot) -> Failure:
    fields = {name: getattr(ballot, name) for name in Failure.model_fields if hasattr(ballot, name)}
    return Failure(**fields, failure="schema", message=NOT_ACCEPTED)
