"""Ending tasks that are of no use any more, so that nothing of them is left."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

__all__ = ["end"]


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel these and wait until each has ended, whoever cancels meanwhile.

    What they return or raise is left with them. A cancellation of the caller's own is raised once
    all have ended.
    """
    for task in tasks:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while running := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: whoever needs it has asked
    if cancelled is not None:
        raise cancelled
