"""One model, one call."""

from __future__ import annotations

from consensus.orchestrators.session import Session, poll_seats
from consensus.orchestrators.spec import Poll, StrategySpec
from consensus.tasks import Task

__all__ = ["single"]


async def single(task: Task, spec: StrategySpec, session: Session) -> Poll:
    """Ask the first seat."""
    return await poll_seats(session, session.panel[:1])
