"""Back-pressure: so many decisions at once, so many waiting, and a clear no beyond."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consensus.server.errors import ApiError

__all__ = ["Gate"]

MEMORY = 0.2
"""Weight of the newest decision in the mean of how long one takes."""


class Gate:
    """Lets decisions through in order of arrival.

    Args:
        at_once: how many may run.
        waiting: how many may wait; the next is refused with 429 and ``retry-after``.
        streams: how many streams of tasks may be open.
    """

    def __init__(self, *, at_once: int, waiting: int, streams: int) -> None:
        self.at_once, self.max_waiting, self.max_streams = at_once, waiting, streams
        self.running = 0
        self.queued = 0
        self.streams = 0
        self._free = asyncio.Semaphore(at_once)
        self._mean_s = 1.0

    @asynccontextmanager
    async def place(self, *, bounded: bool = True) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Args:
            bounded: refuse where too many wait. The tasks of a stream are not refused: the stream
                was admitted, and has only a few of them waiting at a time.

        Raises:
            ApiError: 429.
        """
        if bounded and self._free.locked() and self.queued >= self.max_waiting:
            raise self._busy()
        self.queued += 1
        try:
            await self._free.acquire()
        finally:
            self.queued -= 1
        self.running += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.running -= 1
            self._mean_s += MEMORY * (time.monotonic() - began - self._mean_s)
            self._free.release()

    def enter_stream(self) -> None:
        """Take one of the places for streams; :meth:`leave_stream` gives it back.

        Raises:
            ApiError: 429: none is free.
        """
        if self.streams >= self.max_streams:
            raise self._busy()
        self.streams += 1

    def leave_stream(self) -> None:
        """Give the place of a stream back."""
        self.streams -= 1

    def retry_after_s(self) -> int:
        """Seconds until half of what waits now should be through: one to sixty."""
        rounds = (self.queued / 2 + 1) / self.at_once
        return max(1, min(60, math.ceil(rounds * self._mean_s)))

    def _busy(self) -> ApiError:
        return ApiError(
            429,
            "too_busy",
            "too many decisions are waiting; try again in a moment",
            headers={"retry-after": str(self.retry_after_s())},
        )
