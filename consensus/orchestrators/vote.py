"""A panel asked at once, or in waves that stop when enough has been said."""

from __future__ import annotations

from consensus.orchestrators.session import Session, join_polls, poll_seats, poll_until
from consensus.orchestrators.spec import Poll, StrategySpec
from consensus.orchestrators.stopping import CLOSED, settled, wave_sizes
from consensus.tasks import Task

__all__ = ["FIRST_WAVES", "vote"]

FIRST_WAVES = (3, 2)
"""Seats a wave where a row has a stopping rule and says nothing else."""


async def vote(task: Task, spec: StrategySpec, session: Session) -> Poll:
    """Ask the panel, seats blind to one another.

    Without ``waves`` and ``stop`` every seat is asked in parallel. With either, a wave is asked at
    a time, and after each the stopping rule (``margin`` by default, which changes no decision)
    says whether the rest is needed. With ``latency = "fast"`` every seat is asked at once, the rule
    is asked after each ballot, and the seats that are then still being waited for are cut off:
    each is a failure (``cancelled``) with the estimated cost of its call.
    """
    if spec.latency == "fast" and spec.stop and task.kind in CLOSED and spec.seats > 1:
        return await _fast(task, spec, session)
    if not (spec.waves or spec.stop) or task.kind not in CLOSED or spec.seats == 1:
        return await poll_seats(session, session.panel)
    done = Poll()
    asked = 0
    for size in wave_sizes(spec.waves or FIRST_WAVES, spec.seats):
        wave = await poll_seats(session, session.panel[asked : asked + size])
        done = join_polls(done, wave)
        asked += size
        if asked < spec.seats:
            why = settled(task, spec, done, spec.seats - asked)
            if why is not None:
                note = f"stopped after {asked} of {spec.seats} seats: {why}"
                return done.model_copy(update={"notes": (note,)})
    return done


async def _fast(task: Task, spec: StrategySpec, session: Session) -> Poll:
    def enough(so_far: Poll, waited_for: int) -> str | None:
        return settled(task, spec, so_far, waited_for)

    poll, why = await poll_until(session, session.panel, enough)
    if why is None:
        return poll
    off = sum(failure.not_needed for failure in poll.failures)
    if not off:
        return poll
    note = f"stopped with {off} of {spec.seats} seats still being waited for: {why}"
    return poll.model_copy(update={"notes": (note,)})
