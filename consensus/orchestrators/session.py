"""What an orchestrator may do: ask a seat. Nothing else spends money."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from consensus.ballots import Answer, Ballot, Failure
from consensus.models.ending import end
from consensus.orchestrators.checks import Judgement
from consensus.orchestrators.spec import Poll, StrategySpec
from consensus.orchestrators.together import together
from consensus.panel.asking import Cut
from consensus.panel.seats import Seat
from consensus.tasks import Task

__all__ = ["Orchestrator", "Session", "join_polls", "poll_seats", "poll_until", "sort_poll"]


class Session(Protocol):
    """One hop's access to its panel."""

    @property
    def panel(self) -> Sequence[Seat]:
        """The configured seats, in order."""
        ...

    async def ask(self, seat: Seat, cut: Cut | None = None) -> Ballot | Failure:
        """Put the task to one seat; a seat's trouble is a failure, never an exception.

        Cancelled once ``cut`` says why it is no longer needed, that too is a failure.
        """
        ...

    def first(self, seats: Sequence[Seat]) -> Sequence[Seat]:
        """The seats to ask before the others, so that those can read what these let be cached."""
        ...

    async def ask_again(
        self, seat: Seat, own: Ballot, others: Sequence[Ballot], turn: int
    ) -> Ballot | Failure:
        """Put the task to a seat that has read the others' ballots, in this round of a debate."""
        ...

    async def choose(
        self, seat: Seat, candidates: Sequence[Answer], number: int
    ) -> tuple[int, Ballot] | Failure:
        """Let a seat choose the best of several answers to the task; its ballot's seat is
        ``number``. A seat that scores scores each: its ballot's ``scores`` are by place, as text,
        and the place is that of one of the best."""
        ...

    async def compare(
        self, seat: Seat, shown_first: int, shown_second: int, number: int
    ) -> Ballot | Failure:
        """Let a seat compare two items of a ranking, shown in this order.

        Its ballot's seat is ``number`` and its answer the two items, the better one first; equals
        are one list in a list. ``order`` says which was shown first.
        """
        ...

    async def judge(self, candidate: Ballot) -> Judgement | None:
        """What the row's oracle says of a candidate; None where it has none that could say."""
        ...


class Orchestrator(Protocol):
    """How ballots are obtained."""

    async def __call__(self, task: Task, spec: StrategySpec, session: Session) -> Poll:
        """Run one hop. Cancelling it leaves nothing running."""
        ...


async def poll_seats(session: Session, seats: Sequence[Seat]) -> Poll:
    """Ask these seats at once (those that fill a prompt cache first); results in seat order.

    Group semantics: one seat's failure never stops the others; a bug in our own code (any
    exception at all) cancels them and is raised.
    """
    if len(seats) == 1:
        return sort_poll([await session.ask(seats[0])])
    first = session.first(seats)
    early = await together(session.ask(seat) for seat in first) if first else []
    asked = {seat.index for seat in first}
    rest = (session.ask(seat) for seat in seats if seat.index not in asked)
    return sort_poll([*early, *await together(rest)])


async def poll_until(
    session: Session, seats: Sequence[Seat], enough: Callable[[Poll, int], str | None]
) -> tuple[Poll, str | None]:
    """Ask these seats all at once, until their answers are enough; cut the others off.

    Args:
        session: of the seats.
        seats: who is asked.
        enough: from the answers so far and the number of seats without one (at least 1) to why no
            more is needed, or None. It is asked after each answer.

    Returns:
        What came back, with a failure (``cancelled``) of each seat that was cut off, and why.
        Cancelled or ended by a bug of ours, it leaves no seat running.
    """
    cut = Cut()
    tasks = [asyncio.create_task(session.ask(seat, cut)) for seat in seats]
    running = set(tasks)
    results: list[Ballot | Failure] = []
    try:
        while running and cut.why is None:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            results += [task.result() for task in tasks if task in done]
            if running:
                cut.why = enough(sort_poll(results), len(running))
    finally:
        await end(tasks)
    results += [task.result() for task in tasks if task in running]
    return sort_poll(results), cut.why


def join_polls(first: Poll, second: Poll) -> Poll:
    """Two polls of different seats as one."""
    return sort_poll([*first.ballots, *first.failures, *second.ballots, *second.failures])


def sort_poll(results: Sequence[Ballot | Failure]) -> Poll:
    """Ballots and failures apart, each by seat."""
    ordered = sorted(results, key=lambda result: result.seat)
    return Poll(
        ballots=tuple(r for r in ordered if isinstance(r, Ballot)),
        failures=tuple(r for r in ordered if isinstance(r, Failure)),
    )
