"""An arm: one way to decide, in a process of its own, told by line what to run.

Nothing but the standard library is used here, so that a peer can use it from its own environment.
An arm's script calls :func:`serve` with a function that makes one decision. The harness writes a
line of JSON (``{"decisions": 100, "at_once": 10}``) to its standard input and reads one back:
seconds of CPU of the whole process, threads included, and seconds on the wall.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECTIONS = 2048
"""Of every client's pool: none may throttle a hundred panels."""
POOL = {"max_connections": CONNECTIONS, "max_keepalive_connections": CONNECTIONS}
"""The same, in the words of httpx."""

Decide = Callable[[int], Awaitable[str]]
"""From the case's number to the outcome of one ten-seat decision."""


@dataclass(frozen=True)
class Workload:
    """What every arm sends.

    Attributes:
        system: of every seat.
        users: a user's message for each seat; ``CASE-NUMBER`` stands where the case's goes.
        schema: of a ballot: ``rationale``, ``answer``, ``confidence``.
        subject, criteria: of the task, for an arm that writes its own prompts.
        url: of the provider, without ``/v1``.
        anthropic_model, openai_model: without provider.
    """

    system: str
    users: tuple[str, ...]
    schema: dict[str, Any]
    subject: str
    criteria: str
    url: str
    anthropic_model: str
    openai_model: str

    def texts(self, case: int) -> list[str]:
        """The seats' messages for one case."""
        return [user.replace("CASE-NUMBER", str(case)) for user in self.users]


def workload() -> Workload:
    """The workload that the harness has left for this process."""
    given = json.loads(Path(os.environ["SPEED_WORKLOAD"]).read_text("utf-8"))
    return Workload(**{**given, "users": tuple(given["users"])})


def majority(answers: Iterable[str]) -> str:
    """The one most frequent answer; ``tie`` where there are two."""
    (leader, most), *others = Counter(answers).most_common(2) or [("none", 0)]
    return "tie" if others and others[0][1] == most else leader


def plain(decide: Decide) -> Callable[[], AbstractAsyncContextManager[Decide]]:
    """A maker of decisions that has nothing to open or close."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Decide]:
        yield decide

    return opened


async def batch(decide: Decide, decisions: int, at_once: int, first: int) -> Counter[str]:
    """Make so many decisions, at most ``at_once`` at a time; their outcomes."""
    cases = iter(range(first, first + decisions))
    seen: Counter[str] = Counter()

    async def worker() -> None:
        for case in cases:
            seen[await decide(case)] += 1

    await asyncio.gather(*(worker() for _ in range(min(at_once, decisions))))
    return seen


async def _answer(opened: AbstractAsyncContextManager[Decide], out: Any) -> None:
    loop = asyncio.get_running_loop()
    done = 0
    async with opened as decide:
        print(json.dumps({"ready": True}), file=out, flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            told = json.loads(line)
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            said: dict[str, Any] = {}
            try:
                seen = await batch(decide, told["decisions"], told["at_once"], done)
                said["outcomes"] = dict(seen)
            except Exception as error:  # noqa: BLE001 - a peer fails with whatever it has
                said["error"] = f"{type(error).__name__}: {error}"[:300]
            said["cpu_s"] = time.process_time() - cpu
            said["wall_s"] = time.perf_counter() - wall
            done += told["decisions"]
            print(json.dumps(said), file=out, flush=True)


def serve(open_: Callable[[], AbstractAsyncContextManager[Decide]]) -> None:
    """Answer the harness until it closes our standard input.

    What a library prints goes to standard error: standard output is the harness's.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    async def main() -> None:
        await _answer(open_(), out)

    asyncio.run(main())
