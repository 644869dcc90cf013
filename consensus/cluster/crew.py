"""Worker processes under one driver: kept alive, given work, replaced when they die."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

from consensus.cluster.budget import CapError, Till
from consensus.cluster.connecting import ray_of
from consensus.errors import ConsensusError, DeclarationError, LedgerError, PolicyError

__all__ = ["AHEAD", "DEATHS", "Crew", "Slot", "raised"]

AHEAD = 3
"""Blocks that a worker has at once: the next are there when the slow tail of one is waited for."""

DEATHS = 3
"""How often one block may lose its worker before the run gives up."""

STOP_S = 30.0
"""How long a worker is given to end what it does and close what it holds."""

T = TypeVar("T")


@dataclass(slots=True)
class Slot:
    """A worker's place; its process changes when one dies."""

    number: int
    actor: Any = None
    life: int = 0
    replacing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Crew(ABC):
    """Workers of one class.

    Args:
        many: how many there are.
        till: what the run may cost; None: no cap.
        say: told, in a line, what the user should know.
    """

    worker: ClassVar[type]
    kept: ClassVar[str]
    """What is not lost with a worker, for the message."""

    def __init__(
        self,
        many: int,
        *,
        till: Till | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._ray = ray_of()
        self._say = say or (lambda _: None)
        self._slots = [Slot(number) for number in range(many)]
        self._free: asyncio.Queue[Slot] = asyncio.Queue()
        self._cap = None if till is None else (till.left, till.processes)
        self._till: Any = None
        self.deaths = 0

    @abstractmethod
    def _setup(self, slot: Slot) -> Any:
        """What the next worker in this place is told."""

    async def _left(self, slot: Slot) -> None:  # noqa: B027 - most leave nothing
        """Take in what a worker that has ended has left."""

    async def __aenter__(self) -> Self:
        if self._cap is not None:
            left, processes = self._cap
            self._till = self._ray.remote(num_cpus=0)(Till).remote(left, processes=processes)
        try:
            await asyncio.gather(*(self._begin(slot) for slot in self._slots))
        except BaseException:
            await self._end()
            raise
        for _ in range(AHEAD):
            for slot in self._slots:
                self._free.put_nowait(slot)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(self._end())

    @property
    def places(self) -> int:
        """How many blocks can be under way at once."""
        return AHEAD * len(self._slots)

    async def process_ids(self) -> list[int]:
        """The workers' process ids, each on its machine."""
        return [int(await slot.actor.process_id.remote()) for slot in self._slots]

    async def _tried(self, work: Callable[[Any], Awaitable[T]]) -> T | None:
        """What whichever worker is free makes of it; None where it died, and another has begun."""
        from ray.exceptions import RayActorError

        slot = await self._free.get()
        life = slot.life
        try:
            return await work(slot.actor)
        except RayActorError:
            async with slot.replacing:
                if slot.life == life:
                    await self._replace(slot)
            return None
        finally:
            self._free.put_nowait(slot)

    # -- processes ---------------------------------------------------------------------------------

    async def _begin(self, slot: Slot) -> None:
        from ray.exceptions import RayActorError

        slot.life += 1
        made = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(self.worker)
        slot.actor = made.remote(self._setup(slot), self._till)
        try:
            error: tuple[str, str] | None = await slot.actor.begin.remote()
        except RayActorError as died:
            why = str(died).strip().splitlines()[-1].strip()
            raise DeclarationError(
                f"a worker could not begin: {why}",
                where="ray",
                fix="the same consensus-engine and Python must be on every machine of the cluster",
            ) from died
        if error is not None:
            raise raised(*error)

    async def _replace(self, slot: Slot) -> None:
        self.deaths += 1
        self._ray.kill(slot.actor, no_restart=True)
        self._say(f"worker {slot.number + 1} died; {self.kept}, another begins")
        await self._left(slot)
        await self._begin(slot)

    async def _end(self) -> None:
        """Stop every worker, then take in what they have left."""
        slots = [slot for slot in self._slots if slot.actor is not None]
        stops = [asyncio.ensure_future(_stopped(slot.actor)) for slot in slots]
        await asyncio.gather(*stops, return_exceptions=True)
        for slot in slots:
            self._ray.kill(slot.actor, no_restart=True)
            slot.actor = None
        if self._till is not None:
            self._ray.kill(self._till)
        for slot in slots:
            await self._left(slot)


async def _stopped(actor: Any) -> None:
    async with asyncio.timeout(STOP_S):
        await actor.stop.remote()


_RAISED: dict[str, Callable[[str], ConsensusError]] = {
    "CapError": CapError,
    "LedgerError": LedgerError,
    "PolicyError": PolicyError,
    "ConsensusError": ConsensusError,
}


def raised(name: str, line: str) -> ConsensusError:
    """A worker's error, here; one class stands for what this process need not tell apart."""
    return _RAISED.get(name, DeclarationError)(line)
