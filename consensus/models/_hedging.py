"""A second copy of an attempt that takes long: the first answer wins, the other is cut off."""

from __future__ import annotations

import asyncio

from consensus.errors import ProviderError
from consensus.models._attempts import Attempts
from consensus.models._lanes import Hop
from consensus.models.context import CallContext
from consensus.models.ending import end
from consensus.models.protocol import CallRecord, Completion

__all__ = ["hedged"]


async def hedged(
    attempts: Attempts, hop: Hop, ctx: CallContext, records: list[CallRecord], *, again: bool
) -> Completion:
    """One attempt and, once ``ctx.hedge_after_s`` have passed without its end, a second one.

    Each has its own place in the queue, reservation and record; the loser's is ``cancelled`` and
    carries an estimate of its cost. A second copy that cannot begin (budget, queue, breaker) is
    none; if both fail, the error is the first one's. Cancelling this ends both.
    """
    first = asyncio.create_task(attempts.make(hop, ctx, records, again=again))
    tasks = [first]
    try:
        await asyncio.wait(tasks, timeout=ctx.hedge_after_s)
        if not first.done():
            number = len(records) + 2
            second = attempts.make(hop, ctx, records, again=again, number=number)
            tasks.append(asyncio.create_task(second))
            await _first_answer(tasks)
    finally:
        await end(tasks)
    won = next((task for task in tasks if not task.cancelled() and task.exception() is None), first)
    completion = won.result()
    # The last record is the answer's own; the one that was cut off may have been kept after it.
    records.sort(key=lambda record: record.completion is completion)
    return completion


async def _first_answer(tasks: list[asyncio.Task[Completion]]) -> None:
    """Wait until one has an answer, or none can have one any more."""
    running = set(tasks)
    while running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = None if task.cancelled() else task.exception()
            ours = task is not tasks[0]
            if error is None or not (ours or isinstance(error, ProviderError)):
                return
