"""Several things at once, with one error and not a group of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
)
from typing import Any, TypeVar

__all__ = ["LOOKAHEAD", "both", "in_order", "together"]

T = TypeVar("T")
U = TypeVar("U")

LOOKAHEAD = 4
"""How many times ``concurrency`` finished results may wait for a slow one before them."""


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run these at once; results in the order given.

    First-error semantics: if one raises, the others are cancelled and awaited, and that error is
    raised itself. When this returns or is cancelled, none of them still runs.
    """
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return [task.result() for task in running]


async def both(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """:func:`together` for two things of different types."""
    first, second = await together([one, other])
    return first, second  # type: ignore[return-value]


async def in_order(
    items: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Awaitable[U]],
    concurrency: int,
) -> AsyncGenerator[U, None]:
    """Work on items, at most ``concurrency`` at once; results in input order, in flat memory.

    First-error semantics: an exception is raised where its result would have stood. When the
    iterator is closed, nothing of it still runs.
    """
    if concurrency < 1:
        raise ValueError("concurrency must be at least 1")
    places = asyncio.Semaphore(concurrency)
    running: deque[asyncio.Task[U]] = deque()

    async def one(item: T) -> U:
        try:
            return await work(item)
        finally:
            places.release()

    try:
        async for item in _aiter(items):
            while running and (running[0].done() or len(running) >= LOOKAHEAD * concurrency):
                yield await running.popleft()
            await places.acquire()
            running.append(asyncio.create_task(one(item)))
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _aiter(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
