"""The workers of a file that is decided: given blocks of it, their ledgers taken in at the end."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from consensus.cluster.budget import Till
from consensus.cluster.crew import DEATHS, Crew, Slot, raised
from consensus.cluster.worker import Answers, Order, Worker, WorkerSetup
from consensus.decisions import Decision
from consensus.errors import LedgerError
from consensus.jobs import Settled
from consensus.ledger.rows import job_of
from consensus.ledger.store import Ledger
from consensus.ledger.workers import take_in

__all__ = ["Pool"]


class Pool(Crew):
    """Workers that decide.

    Args:
        setup: what they are told; ``ledger`` is filled in for each.
        ledger: the run's.
        folder: where workers' own ledgers lie; None where they write to a server.
        till: what the run may cost; None: no cap.
        say: told, in a line, what the user should know.
    """

    worker = Worker
    kept = "what it had paid for is kept"

    def __init__(
        self,
        setup: WorkerSetup,
        ledger: Ledger,
        folder: Path | None,
        *,
        till: Till | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(setup.processes, till=till, say=say)
        self._given = setup
        self._ledger = ledger
        self._folder = folder

    def _setup(self, slot: Slot) -> WorkerSetup:
        return replace(self._given, ledger=self._file(slot))

    def _file(self, slot: Slot) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{slot.number:04d}-{slot.life:04d}.db"

    async def _left(self, slot: Slot) -> None:
        file = self._file(slot)
        if file is not None:
            await asyncio.to_thread(take_in, self._ledger, file)

    async def _end(self) -> None:
        await super()._end()
        if self._folder is not None and not any(self._folder.glob("*.db")):
            shutil.rmtree(self._folder, ignore_errors=True)  # locks of workers that kept nothing

    async def decide(self, orders: Sequence[Order]) -> list[Settled]:
        """Decide a block on whichever worker is free; results in its order.

        A worker that dies is replaced; what it had paid for and decided is found on its ledger.

        Raises:
            ConsensusError: what ended the block in the worker, or the third worker that it lost.
        """
        settled: dict[str, Settled] = {}
        left = list(orders)
        for _ in range(DEATHS):
            asked = list(left)
            answers: Answers | None = await self._tried(lambda actor: actor.decide.remote(asked))  # noqa: B023 - awaited at once
            if answers is not None:
                if answers.error is not None:
                    raise raised(*answers.error)
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
