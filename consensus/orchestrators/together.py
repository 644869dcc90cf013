"""Several things at once, with one error and not a group of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["both", "together"]

T = TypeVar("T")
U = TypeVar("U")


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
