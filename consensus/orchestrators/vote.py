"""A panel asked at once."""

from __future__ import annotations

from consensus.orchestrators.session import Session, poll_seats
from consensus.orchestrators.spec import Poll, StrategySpec
from consensus.tasks import Task

__all__ = ["vote"]


async def vote(task: Task, spec: StrategySpec, session: Session) -> Poll:
    """Ask every seat of the panel, blind to one another, in parallel."""
    return await poll_seats(session, session.panel)
