"""A panel asked at once, or in waves that stop when enough has been said."""

from __future__ import annotations

from consensus.orchestrators.session import Session, join_polls, poll_seats
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
    says whether the rest is needed.
    """
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
