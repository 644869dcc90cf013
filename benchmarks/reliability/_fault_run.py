"""Decisions against a provider that does everything wrong, while the wall clock jumps."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks.serving.fleet import Provider
from consensus import Approve, Choose, Engine, Generate
from consensus.decisions import Decision
from consensus.tasks import Task

__all__ = ["ROWS", "Driver", "Outage", "Row", "Seen", "jumping", "policy"]

REAL_TIME = time.time
TIMEOUT_S = 1.0
MAX_ATTEMPTS = 4
COOLDOWN_S = 1.0
OFFSETS = (0.0, -86_400.0, 86_400.0, -3600.0, 3.0, -3.0, 315_360_000.0)
SEGMENT_S = 0.5
STEP_S = 0.02


class Row(NamedTuple):
    """What is promised of a row's decisions; written here, not read from the engine."""

    seats: int
    quorum: int
    text: str
    max_usd: float | None = None
    deadline_s: float | None = None
    copies: int = 1


HAIKU, NANO, MINI = "anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano", "openai/gpt-5.4-mini"
NARROW = "openai/narrow"
NARROW_WINDOW = 6000

ROWS: dict[str, Row] = {
    "vote": Row(5, 4, 'strategy = "vote"\ntier = "small"', max_usd=0.05, deadline_s=20.0),
    "fast": Row(5, 3, 'strategy = "vote"\ntier = "small"\nlatency = "fast"', max_usd=0.05),
    "hedged": Row(3, 2, 'strategy = "vote"\ntier = "small"\nhedge_after_s = 0.04', copies=2),
    "waves": Row(5, 3, 'strategy = "vote"\ntier = "small"\nwaves = [3, 1]\nstop = {}'),
    "cascade": Row(3, 2, 'strategy = "cascade"\ntier = "small"\nescalate_to = ["strong"]'),
    "debate": Row(3, 2, 'strategy = "debate"\ntier = "small"'),
    "best": Row(3, 2, 'strategy = "best_of_n"\ntier = "small"'),
    "poor": Row(5, 4, f'strategy = "vote"\nmodels = ["{NANO}"]', max_usd=0.006),
    "hurried": Row(3, 2, 'strategy = "vote"\ntier = "small"', deadline_s=0.15),
    "stood_in": Row(3, 2, f'strategy = "vote"\nmodels = ["{NANO}"]\nfallback = ["{HAIKU}"]',
                    deadline_s=30.0),
    "stood_in_too": Row(3, 2, f'strategy = "vote"\nmodels = ["{HAIKU}"]\nfallback = ["{NARROW}"]',
                        deadline_s=30.0),
    "watched": Row(1, 1, f'strategy = "single"\nmodels = ["{MINI}"]\nescalate_to = ["{HAIKU}"]\n'
                         "triggers = { failure_rate = 0.3, window = 40 }"),
}  # fmt: skip
"""Row → what is promised. The last three are for a provider that is dead or mad."""

MIXED = tuple(name for name in ROWS if name not in ("stood_in", "stood_in_too", "watched"))
GENERATE = {"best"}
CHOOSE = {"debate", "waves"}


def policy() -> str:
    """All rows, as TOML."""
    provider = (
        f"timeout_s = {TIMEOUT_S}\nmax_attempts = {MAX_ATTEMPTS}\ncooldown_s = {COOLDOWN_S}\n"
        "concurrency = 128\nrequests_per_minute = 600_000\n"
    )
    rows = []
    for name, row in ROWS.items():
        kind = "generate" if name in GENERATE else "choose" if name in CHOOSE else "approve"
        lines = [f"[tasks.{name}]", f'kind = "{kind}"', row.text, f"quorum = {row.quorum}"]
        if row.seats > 1:
            lines.append(f"seats = {row.seats}")
        if row.max_usd is not None:
            lines.append(f"max_usd = {row.max_usd}")
        if row.deadline_s is not None:
            lines.append(f"deadline_s = {row.deadline_s}")
        rows.append("\n".join(lines))
    return "\n".join(
        [
            "version = 1",
            f"[providers.anthropic]\n{provider}[providers.openai]\n{provider}",
            f'[prices."{NARROW}"]\ninput = 0.2\noutput = 1.25\nmax_input_tokens = {NARROW_WINDOW}',
            f'[tiers]\nsmall = ["{HAIKU}", "{NANO}"]\nstrong = ["{MINI}"]',
            *rows,
        ]
    )


SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}


def task_of(row: str, case: int, *, long: bool = False) -> Task:
    """The task of a case; no two are the same text."""
    subject = f"Case {case}. The kettle came back unused within {case % 40} days."
    if long:
        subject += " It has a long story." * 1000
    if row in GENERATE:
        return Generate(
            type=row, messages=[{"role": "user", "content": f"{subject} Title it."}], schema=SCHEMA
        )
    if row in CHOOSE:
        options = ["refund", "repair", "refuse"]
        return Choose(type=row, subject=subject, options=options, criteria="What is due?")
    return Approve(type=row, subject=subject, criteria="Unused, within 30 days.")


@dataclass(slots=True)
class Seen:
    """One decision as its caller saw it; moments are real ones."""

    case: int
    row: str
    began: float
    ended: float = 0.0
    decision: Decision | None = None
    error: str | None = None
    left: tuple[str, ...] = ()
    long: bool = False


@dataclass(slots=True)
class Outage:
    """A provider that was dead for a while: what its models' breakers did.

    ``states`` are the breaker's, each with the moment at which it was first seen so.
    """

    api: str
    model: str
    began: float
    ended: float = 0.0
    states: list[tuple[float, str]] = field(default_factory=list)


_OWNER: ContextVar[int | None] = ContextVar("owner", default=None)


@dataclass(slots=True)
class Driver:
    """Makes decisions and looks at what each leaves behind."""

    engine: Engine
    provider: Provider
    seen: list[Seen] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    stalls: list[tuple[float, float]] = field(default_factory=list)
    _cases: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _tasks: dict[int, set[asyncio.Task[Any]]] = field(default_factory=dict)

    def watch(self) -> None:
        """From now on every task is known to belong to its decision."""

        def made(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
            task = asyncio.Task(coro, loop=loop, **more)
            owner = _OWNER.get()
            if owner is not None:
                self._tasks.setdefault(owner, set()).add(task)
            return task

        asyncio.get_running_loop().set_task_factory(made)

    async def look_for_stalls(self) -> None:
        """Note when the event loop stood still (a busy machine), and for how long."""
        while True:
            before = REAL_TIME()
            await asyncio.sleep(STEP_S)
            late = REAL_TIME() - before - STEP_S
            if late > STEP_S:
                self.stalls.append((before, late))

    async def one(self, row: str, *, long: bool = False) -> Seen:
        """One decision."""
        case = next(self._cases)
        task = task_of(row, case, long=long)
        _OWNER.set(case)
        seen = Seen(case, row, REAL_TIME(), long=long)
        try:
            seen.decision = await self.engine.decide(task)
        except Exception as error:  # noqa: BLE001 - told of in the page
            seen.error = f"{type(error).__name__}: {error}"
        seen.ended = REAL_TIME()
        own = self._tasks.pop(case, set()) - {asyncio.current_task()}
        seen.left = tuple(repr(one.get_coro()) for one in own if not one.done())
        _OWNER.set(None)
        self.seen.append(seen)
        return seen

    async def many(
        self, rows: Iterator[str], *, at_once: int, until: Callable[[], bool], pause_s: float = 0.0
    ) -> None:
        """Decisions, so many at once, until it is enough."""

        async def worker() -> None:
            while not until():
                await self.one(next(rows))
                await asyncio.sleep(pause_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())

    @property
    def calls(self) -> int:
        """Attempts that the decisions made so far."""
        found = (one.decision for one in self.seen if one.decision is not None)
        return sum(len(s.calls) for d in found for s in (*d.ballots, *d.failures))

    def breaker(self, model: str) -> str:
        """The state of a model's breaker."""
        gateway = self.engine._rules.setup.gateway
        return gateway.breaker_states().get(model, "closed")

    async def outage(self, api: str, model: str, row: str, *, seconds: float) -> None:
        """Let a provider die for so long while decisions go on; then until its breaker closes."""
        found = Outage(api, model, REAL_TIME())
        self.outages.append(found)
        self.provider.tell(f"dead {api}")
        over = asyncio.Event()

        async def look() -> None:
            while not over.is_set():
                state = self.breaker(model)
                if not found.states or found.states[-1][1] != state:
                    found.states.append((REAL_TIME(), state))
                await asyncio.sleep(0.005)

        async def worker(number: int) -> None:
            for turn in itertools.count():
                if over.is_set():
                    return
                await self.one(row, long=row == "stood_in_too" and (turn + number) % 4 == 0)
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            looking = group.create_task(look())
            for number in range(6):
                group.create_task(worker(number))
            await asyncio.sleep(seconds)
            found.ended = REAL_TIME()
            self.provider.tell(f"alive {api}")
            patience = time.monotonic() + 10 * COOLDOWN_S
            while time.monotonic() < patience:
                await asyncio.sleep(0.05)
                if self.breaker(model) == "closed":
                    break
            await asyncio.sleep(1.0)
            over.set()
            await looking

    async def madness(self, model: str, row: str) -> None:
        """One decision after another while a model's answers fit no schema, and after."""
        for number in range(400):
            if number == 30:
                self.provider.tell(f"mad {model.partition('/')[2]}")
            if number == 90:
                self.provider.tell(f"sane {model.partition('/')[2]}")
            await self.one(row)


@asynccontextmanager
async def driver(folder: Path, provider: Provider) -> AsyncIterator[Driver]:
    """An engine with a ledger on these rows."""
    place = folder / "policy.toml"
    place.write_text(policy(), encoding="utf-8")
    async with Engine(place, ledger=folder / "ledger.db") as engine:
        await engine.decide(task_of("vote", 0))  # whatever is loaded once belongs to no decision
        made = Driver(engine, provider)
        made.watch()
        looking = asyncio.create_task(made.look_for_stalls())
        try:
            yield made
        finally:
            looking.cancel()
            asyncio.get_running_loop().set_task_factory(None)


@contextmanager
def jumping(seed: int) -> Iterator[Callable[[], int]]:
    """The wall clock of this process jumps twice a second; yields how often it has."""
    began = time.monotonic()

    def segment() -> int:
        return int((time.monotonic() - began) / SEGMENT_S)

    def offset() -> float:
        return random.Random(f"{seed} {segment()}").choice(OFFSETS)  # noqa: S311 - a jump

    def now() -> float:
        return REAL_TIME() + offset()

    def now_ns() -> int:
        return int(now() * 1e9)

    with patch("time.time", now), patch("time.time_ns", now_ns):
        taken = [
            module
            for name, module in sys.modules.items()
            if name.startswith("consensus.") and vars(module).get("time") is REAL_TIME
        ]
        for module in taken:
            module.time = now  # type: ignore[attr-defined]
        try:
            yield segment
        finally:
            for module in taken:
                module.time = REAL_TIME  # type: ignore[attr-defined]
