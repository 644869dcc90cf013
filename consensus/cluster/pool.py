"""The workers of a run: kept alive, given blocks, replaced when they die, taken in at the end."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from consensus.cluster.budget import CapError, Till
from consensus.cluster.connecting import ray_of
from consensus.cluster.worker import Answers, Order, Worker, WorkerSetup
from consensus.decisions import Decision
from consensus.errors import ConsensusError, DeclarationError, LedgerError, PolicyError
from consensus.jobs import Settled
from consensus.ledger.rows import job_of
from consensus.ledger.store import Ledger
from consensus.ledger.workers import take_in

__all__ = ["AHEAD", "Pool"]

AHEAD = 3
"""Blocks that a worker has at once: the next are there when the slow tail of one is waited for."""

DEATHS = 3
"""How often one block may lose its worker before the run gives up."""

STOP_S = 30.0
"""How long a worker is given to end what it does and close its ledger."""


@dataclass(slots=True)
class _Slot:
    """A worker's place; its process changes when one dies."""

    number: int
    actor: Any = None
    ledger: Path | None = None
    life: int = 0
    replacing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Pool:
    """Worker processes under one driver.

    Args:
        setup: what they are told; ``ledger`` is filled in for each.
        ledger: the run's.
        folder: where workers' own ledgers lie; None where they write to a server.
        till: what the run may cost; None: no cap.
        say: told, in a line, what the user should know.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        ledger: Ledger,
        folder: Path | None,
        *,
        till: Till | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._ray = ray_of()
        self._setup = setup
        self._ledger = ledger
        self._folder = folder
        self._say = say or (lambda _: None)
        self._slots = [_Slot(number) for number in range(setup.processes)]
        self._free: asyncio.Queue[_Slot] = asyncio.Queue()
        self._cap = None if till is None else (till.left, till.processes)
        self._till: Any = None
        self.deaths = 0

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

    async def decide(self, orders: Sequence[Order]) -> list[Settled]:
        """Decide a block on whichever worker is free; results in its order.

        A worker that dies is replaced; what it had paid for and decided is found on its ledger.

        Raises:
            ConsensusError: what ended the block in the worker, or the third worker that it lost.
        """
        settled: dict[str, Settled] = {}
        left = list(orders)
        for _ in range(DEATHS):
            answers = await self._tried(left)
            if answers is not None:
                if answers.error is not None:
                    raise _raised(*answers.error)
                settled |= {o.decision_id: s for o, s in zip(left, answers.settled, strict=True)}
                return [settled[order.decision_id] for order in orders]
            found, left = await asyncio.to_thread(self._recovered, left)
            settled |= found
            if not left:
                return [settled[order.decision_id] for order in orders]
        raise LedgerError(
            f"{DEATHS} workers died one after another over the same tasks, the first of them line "
            f"{orders[0].line.number} (is there memory enough? what is finished is kept)"
        )

    async def _tried(self, orders: Sequence[Order]) -> Answers | None:
        """A worker's answers; None where it died."""
        from ray.exceptions import RayActorError

        slot = await self._free.get()
        life = slot.life
        try:
            answers: Answers = await slot.actor.decide.remote(list(orders))
        except RayActorError:
            async with slot.replacing:
                if slot.life == life:
                    await self._replace(slot)
            return None
        else:
            return answers
        finally:
            self._free.put_nowait(slot)

    def _recovered(self, orders: Sequence[Order]) -> tuple[dict[str, Settled], list[Order]]:
        """What a dead worker had decided of a block, and the rest with what it had paid for."""
        kept = self._kept(orders)
        found: dict[str, Settled] = {}
        left = []
        for order in orders:
            decision = kept.get(order.decision_id)
            if decision is not None:
                found[order.decision_id] = Settled.of(order.line, decision, reused=False)
            else:
                left.append(replace(order, paid=self._ledger.calls_of(order.decision_id)))
        return found, left

    def _kept(self, orders: Sequence[Order]) -> dict[str, Decision]:
        from sqlalchemy import select

        from consensus.ledger.schema import decisions

        job_id = job_of(orders[0].decision_id)[0]
        keys = [job_of(order.decision_id)[1] for order in orders]
        query = select(decisions.c.receipt_id).where(
            decisions.c.job_id == job_id, decisions.c.task_index.in_(keys)
        )
        ids = self._ledger.read(lambda connection: list(connection.scalars(query)))
        return {found: self._ledger.receipt(found).decision for found in ids}

    # -- processes ---------------------------------------------------------------------------------

    async def _begin(self, slot: _Slot) -> None:
        from ray.exceptions import RayActorError

        slot.life += 1
        if self._folder is not None:
            slot.ledger = self._folder / f"{slot.number:04d}-{slot.life:04d}.db"
        made = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Worker)
        slot.actor = made.remote(replace(self._setup, ledger=slot.ledger), self._till)
        try:
            answers: Answers = await slot.actor.begin.remote()
        except RayActorError as error:
            why = str(error).strip().splitlines()[-1].strip()
            raise DeclarationError(
                f"a worker could not begin: {why}",
                where="ray",
                fix="the same consensus-engine and Python must be on every machine of the cluster",
            ) from error
        if answers.error is not None:
            raise _raised(*answers.error)

    async def _replace(self, slot: _Slot) -> None:
        self.deaths += 1
        self._ray.kill(slot.actor, no_restart=True)
        self._say(f"worker {slot.number + 1} died; what it had paid for is kept, another begins")
        if slot.ledger is not None:
            await asyncio.to_thread(take_in, self._ledger, slot.ledger)
        await self._begin(slot)

    async def _end(self) -> None:
        """Stop every worker, then take their ledgers in."""
        slots = [slot for slot in self._slots if slot.actor is not None]
        stops = [asyncio.ensure_future(_stopped(slot.actor)) for slot in slots]
        await asyncio.gather(*stops, return_exceptions=True)
        for slot in slots:
            self._ray.kill(slot.actor, no_restart=True)
            slot.actor = None
        if self._till is not None:
            self._ray.kill(self._till)
        for slot in slots:
            if slot.ledger is not None:
                await asyncio.to_thread(take_in, self._ledger, slot.ledger)
        if self._folder is not None and not any(self._folder.glob("*.db")):
            shutil.rmtree(self._folder, ignore_errors=True)  # locks of workers that kept nothing


async def _stopped(actor: Any) -> None:
    async with asyncio.timeout(STOP_S):
        await actor.stop.remote()


_RAISED: dict[str, Callable[[str], ConsensusError]] = {
    "CapError": CapError,
    "LedgerError": LedgerError,
    "PolicyError": PolicyError,
    "ConsensusError": ConsensusError,
}


def _raised(name: str, line: str) -> ConsensusError:
    """A worker's error, here; one class stands for what this process need not tell apart."""
    return _RAISED.get(name, DeclarationError)(line)
