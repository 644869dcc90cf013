"""Debate: blind ballots first; talk only where the panel is torn, and not for long.

Known of debate: it is a martingale over the panel's beliefs (2508.17536), often no better than
voting at two to three times the tokens, so it is off by default and triggered by a posterior in a
middle band (2504.05047, 2511.11306). Every change of mind is kept on its ballot, so that flips for
better and for worse can be counted, and compared with what the same money buys in plain votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from consensus.aggregation.independence import accuracy_of_majority
from consensus.ballots import PICO, Ballot, Failure
from consensus.orchestrators.concluding import conclude
from consensus.orchestrators.session import Session, poll_seats, sort_poll
from consensus.orchestrators.spec import HopRecord, Poll, StrategySpec
from consensus.orchestrators.stopping import CLOSED
from consensus.orchestrators.together import together
from consensus.panel.seats import Seat
from consensus.tasks import Task

__all__ = ["debate"]


async def debate(task: Task, spec: StrategySpec, session: Session) -> Poll:
    """Blind ballots; then, if the leader's posterior lies in the band, up to ``max_rounds`` more.

    In a round every seat with a ballot sees the others' answers and reasons, without names, in an
    order of its own, and answers again. A seat whose new answer cannot be had keeps its old one. It
    ends when nobody changes.
    """
    poll = await poll_seats(session, session.panel)
    if task.kind not in CLOSED or len(poll.ballots) < max(2, spec.quorum):
        return poll
    hop = HopRecord(name=spec.name, spec=spec, ballots=poll.ballots, failures=poll.failures)
    leader = conclude(task.kind, task.options, [hop]).probability or 0.0
    band = spec.debate
    if not band.low <= leader <= band.high:
        within = f"{band.low:g} – {band.high:g}"
        note = f"no debate: the leader's posterior {leader:.3f} is not in {within}"
        return poll.model_copy(update={"notes": (note,)})
    notes: list[str] = []
    ballots = poll.ballots
    seats = {seat.index: seat for seat in session.panel}
    for number in range(1, band.max_rounds + 1):
        answered = await together(
            _again(session, seats[own.seat], own, ballots, number) for own in ballots
        )
        changed = [
            b.seat for b, old in zip(answered, ballots, strict=True) if b.answer != old.answer
        ]
        ballots = tuple(answered)
        said = f"seats {', '.join(map(str, changed))} changed" if changed else "nobody changed"
        notes.append(f"debate round {number}: {said}")
        if not changed:
            break
    notes.append(_worth(spec, poll.ballots, ballots))
    whole = sort_poll([*ballots, *poll.failures])
    return whole.model_copy(update={"notes": tuple(notes)})


def _worth(spec: StrategySpec, blind: Sequence[Ballot], after: Sequence[Ballot]) -> str:
    """What the talk changed, its price, and what the same money buys in plain votes.

    Whether a change is for the better nobody knows live; ``bench replay --strategy debate`` counts
    that. The gain of plain votes is that of a majority over two options at the cold start's p, ρ.
    """
    moves = Counter(
        (_short(old.answer), _short(new.answer))
        for old, new in zip(blind, after, strict=True)
        if old.answer != new.answer
    )
    changed = ", ".join(f"{old} → {new} {n}" for (old, new), n in sorted(moves.items()))
    said = f"debate changed {moves.total()} of {len(blind)} ballots" + (
        f" ({changed}; for the better or not is unknown here)" if moves else ""
    )
    paid = sum(b.cost.pico_usd for b in blind)
    more = sum(b.cost.pico_usd for b in after) - paid
    if paid > 0:
        votes = more * len(blind) // paid
        price = f"${more / PICO:.6f}, {more / paid:.1f} × the blind votes"
        bought = "the same money buys"
    else:
        first = sum(max(len(b.calls), 1) for b in blind)
        calls = sum(max(len(b.calls), 1) for b in after) - first
        votes = calls * len(blind) // first
        price = f"{calls} calls, {calls / first:.1f} × the blind votes"
        bought = "as many calls are"
    cold = spec.cold_start
    now, then = (
        accuracy_of_majority(len(blind) + extra, cold.accuracy, cold.correlation)
        for extra in (0, votes)
    )
    return (
        f"{said} for {price}; {bought} {votes} more plain votes, which take a majority from "
        f"{now:.3f} to {then:.3f} (p = {cold.accuracy:g}, ρ = {cold.correlation:g})"
    )


def _short(answer: object) -> str:
    line = " ".join(str(answer).split())
    return line if len(line) <= 40 else line[:37] + "…"


async def _again(
    session: Session, seat: Seat, own: Ballot, ballots: Sequence[Ballot], turn: int
) -> Ballot:
    """The seat's next ballot, with everything it has cost so far; or its old one."""
    others = [ballot for ballot in ballots if ballot.seat != own.seat]
    new: Ballot | Failure = await session.ask_again(seat, own, others, turn)
    paid = {
        "calls": (*own.calls, *new.calls),
        "usage": own.usage + new.usage,
        "cost": own.cost + new.cost,
        "latency_s": own.latency_s + new.latency_s,
        "earlier": (*own.earlier, own.answer),
    }
    return (own if isinstance(new, Failure) else new).model_copy(update=paid)
