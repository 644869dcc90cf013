"""Shapes of a decision, cancelled at a random moment; and what must not be left of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from consensus.engine import Engine
from consensus.ledger.verify import verify
from consensus.models.protocol import Completion, Request
from consensus.models.scripted import Reply, ScriptedClient
from consensus.tasks import Approve, Generate, Task
from tests.loopback import LoopbackProvider

__all__ = ["SHAPES", "Shape", "Tally", "cancelled_over", "sockets"]

HEAD = """version = 1
[providers.scripted]
concurrency = 3
requests_per_minute = 1e6
[tiers]
small = ["scripted/a", "scripted/b"]
frontier = ["scripted/f"]
[defaults]
tier = "small"
[oracles.quality]
kind = "rubric"
grader = "scripted/g"
floor = 2.0
""" + "".join(f'[prices."scripted/{name}"]\ninput = 3\noutput = 15\n' for name in "abfg")

OVER_SOCKETS = """version = 1
[tiers]
small = ["anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"]
[defaults]
tier = "small"
"""

APPROVE: Final = Approve(type="t", subject="a kettle that broke", criteria="Unused, in 30 days.")
WRITE: Final = Generate(type="t", messages=[{"role": "user", "content": "A title for a kettle."}])


@dataclass(frozen=True, slots=True)
class Shape:
    """One way of deciding: its row, its task, and what else belongs to it."""

    row: str
    task: Task = APPROVE
    frontier: str | None = None
    many: bool = False
    neighbour: bool = False
    sockets: bool = False


VOTE = 'kind = "approve"\nstrategy = "vote"\nseats = 5\n'
SHAPES: dict[str, Shape] = {
    "vote": Shape(f"{VOTE}max_usd = 1\ndeadline_s = 60"),
    "fast and hedged": Shape(f'{VOTE}latency = "fast"\nhedge_after_s = 0.0001'),
    "in waves": Shape(f"{VOTE}waves = [2, 1]\nstop = {{}}"),
    "cascade": Shape(
        'kind = "approve"\nstrategy = "cascade"\nseats = 3\nescalate_to = ["frontier"]'
    ),
    "debate": Shape(
        'kind = "approve"\nstrategy = "debate"\nseats = 4\ndebate = { low = 0, high = 1 }'
    ),
    "best of n": Shape('kind = "generate"\nstrategy = "best_of_n"\nseats = 3', WRITE),
    "best of n by an oracle": Shape(
        'kind = "generate"\nstrategy = "best_of_n"\nseats = 3\noracle = "quality"', WRITE
    ),
    "gate": Shape(f'{VOTE}gate = "quality"\nescalate_to = ["frontier"]'),
    "fallback": Shape(f'{VOTE}fallback = ["scripted/f"]'),
    "frontier beside": Shape(VOTE, frontier="scripted/f"),
    "shadow": Shape(f'{VOTE}shadow = {{ share = 1, route = "frontier" }}'),
    "with a neighbour": Shape(f'{VOTE}latency = "fast"', neighbour=True),
    "many": Shape(VOTE, many=True),
    "over sockets": Shape(f'{VOTE}latency = "fast"\nhedge_after_s = 0.02', sockets=True),
}  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What was found: cancellations, those that hit something running, and what was left."""

    cancelled: int = 0
    running: int = 0
    twice: int = 0
    left: list[str] = field(default_factory=list)


class Steps(ScriptedClient):
    """Answers by hash after a few steps of the loop; some attempts fail; counts what it gave."""

    def __init__(self) -> None:
        super().__init__(self._after_steps)
        self.given = 0

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        completion = await super().complete(request, timeout_s=timeout_s)
        self.given += 1
        return completion

    async def _after_steps(self, request: Request) -> Reply:
        digest = hashlib.sha256(f"{request.turns} {self.calls}".encode()).digest()
        for _ in range(digest[0] % 7):
            await asyncio.sleep(0)
        if digest[1] < 40:
            return Reply(failure="overloaded" if digest[1] % 2 else "refusal")
        return Reply()


def sockets() -> int:
    """Sockets that this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one with which the folder itself is read
            found += str(entry.readlink()).startswith("socket:")
    return found


async def cancelled_over(
    shape: Shape, folder: Path, points: int, *, seed: str, ledger: bool
) -> Tally:
    """Cancel a decision of this shape while it runs, at so many random moments, in one engine.

    Afterwards the engine must still decide, its ledger must add up, and hold every answer that was
    given, and its sockets must close.
    """
    tally = Tally()
    draw = random.Random(seed)  # noqa: S311 - moments
    before = sockets()
    async with _engine(shape, folder, ledger=ledger) as (engine, client):
        whole = await _steps(engine, shape)
        while tally.running < points and tally.cancelled < 5 * points:
            await _cancel_one(engine, client, shape, draw, whole, tally)
        decision = await engine.decide(shape.task)
        if not decision.ballots:
            tally.left.append("it decides no more")
        await engine.release()
        tally.left += _left(engine, client, {asyncio.current_task()})
        if engine.ledger is not None:
            checked = await asyncio.to_thread(verify, engine.ledger)
            tally.left += checked.problems
            kept = await asyncio.to_thread(engine.ledger.read, _answers)
            if client is not None and kept != client.given:
                tally.left.append(f"{client.given} answers were given, {kept} are on the ledger")
    for _ in range(1000):  # the provider's ends close when it has seen ours close
        if sockets() <= before:
            break
        await asyncio.sleep(0.01)
    if sockets() > before:
        tally.left.append(f"{sockets() - before} sockets")
    return tally


@asynccontextmanager
async def _engine(
    shape: Shape, folder: Path, *, ledger: bool
) -> AsyncIterator[tuple[Engine, Steps | None]]:
    place = folder / "policy.toml"
    where: Any = folder / "ledger.db" if ledger else False

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    with contextlib.ExitStack() as stack:
        stack.enter_context(patch("consensus.models.retry.sleep", at_once))
        client: Steps | None = None
        if shape.sockets:
            provider = LoopbackProvider(latency_s=0.01).start()
            stack.callback(provider.stop)
            stack.enter_context(patch.dict(os.environ, provider.environment))
            place.write_text(f"{OVER_SOCKETS}[tasks.t]\n{shape.row}\n", encoding="utf-8")
            engine = Engine(place, ledger=where)
        else:
            client = Steps()
            place.write_text(f"{HEAD}[tasks.t]\n{shape.row}\n", encoding="utf-8")
            engine = Engine(place, ledger=where, clients={"scripted": client})
        async with engine:
            yield engine, client


async def _decide(engine: Engine, shape: Shape) -> None:
    if shape.many:
        async for _ in engine.decide_many([shape.task] * 6, concurrency=3):
            pass
    else:
        await engine.decide(shape.task, frontier=shape.frontier)


async def _steps(engine: Engine, shape: Shape) -> int:
    """Steps of the loop that it takes when nobody cancels: the least of a few, once warm."""
    taken = []
    for _ in range(4):
        running = asyncio.create_task(_decide(engine, shape))
        steps = 0
        while not running.done():
            await asyncio.sleep(0)
            steps += 1
        await running
        taken.append(steps)
    return max(min(taken[1:]), 5)


async def _cancel_one(
    engine: Engine,
    client: Steps | None,
    shape: Shape,
    draw: random.Random,
    whole: int,
    tally: Tally,
) -> None:
    others = asyncio.all_tasks()
    neighbour = asyncio.create_task(engine.decide(shape.task)) if shape.neighbour else None
    deciding = asyncio.create_task(_decide(engine, shape))
    if shape.sockets:
        await asyncio.sleep(draw.uniform(0.0, 0.05))
    else:
        for _ in range(draw.randrange(whole)):
            await asyncio.sleep(0)
    running = not deciding.done()
    deciding.cancel()
    again = draw.random() < 0.25
    if again:
        for _ in range(draw.randrange(4)):
            await asyncio.sleep(0)
        deciding.cancel()
    result = (await asyncio.gather(deciding, return_exceptions=True))[0]
    tally.cancelled += 1
    tally.running += running
    tally.twice += again and running
    if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
        tally.left.append(f"{type(result).__name__}: {result}")
    if running and result is None:
        tally.left.append("the cancellation was swallowed")
    if neighbour is not None and not (await neighbour).ballots:
        tally.left.append("its neighbour was disturbed")
    shadowing = engine._shadowing
    while shadowing is not None and shadowing._running:  # of a decision that had ended before
        await asyncio.wait(set(shadowing._running), timeout=30)
    tally.left += _left(engine, client, others)


def _left(engine: Engine, client: Steps | None, others: set[Any]) -> list[str]:
    """What a decision that is over still holds."""
    found = [f"a task: {task!r}" for task in asyncio.all_tasks() - others]
    setup = engine._rules.setup
    for model, lane in setup.gateway._lanes._lanes.items():
        if lane.limits.active or lane.limits.waiting:
            found.append(f"{model}: {lane.limits.active} places, {lane.limits.waiting} waiting")
        if lane.breaker._probing:
            found.append(f"{model}: a probe")
    found += [f"a lock: {name}" for name, lock in engine._preparing.items() if lock.locked()]
    if setup.held_by:
        found.append(f"rules held by {setup.held_by}")
    if client is not None and client.in_flight:
        found.append(f"{client.in_flight} calls")
    return found


def _answers(connection: Any) -> int:
    from sqlalchemy import func, select

    from consensus.ledger.schema import calls

    query: Callable[..., Any] = select(func.count()).select_from(calls).where
    return int(connection.scalar(query(calls.c.failure.is_(None))))
