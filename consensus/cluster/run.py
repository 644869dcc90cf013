"""Deciding a file on Ray, or under a cap: the same job as without, by the same code.

A job that was begun by one process may be gone on with by workers, and the other way about: it has
the same identity, its rows have the same ids, and what is paid for is found on the same ledger.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.ballots import PICO
from consensus.cluster.budget import Funds, RunEngine, Till, paid_for_job
from consensus.cluster.connecting import check_place, connected, ray_of
from consensus.cluster.cutting import cut, divided, most_workers
from consensus.cluster.lease import Lease, this_driver
from consensus.cluster.pool import Pool
from consensus.cluster.shipping import pack
from consensus.cluster.worker import Order, WorkerSetup
from consensus.errors import DataError
from consensus.jobs import JobRun, Line, Settled
from consensus.ledger.jobs import Job, PaidCalls
from consensus.ledger.store import Ledger
from consensus.ledger.workers import crew_of, workers_folder
from consensus.orchestrators.together import in_order
from consensus.policy.reload import Setup

__all__ = ["CappedRun", "ClusterRun"]


class _Near:
    """A till in this process, which is there when the job has begun."""

    till: Till | None = None

    async def draw(self, least: int) -> int:
        return 0 if self.till is None else self.till.draw(least)


@dataclass
class CappedRun(JobRun):
    """A job in this process that may cost so much and no more, earlier parts included.

    Attributes:
        max_usd: the cap; None: none. The engine must be a :class:`RunEngine` that has made no call.
    """

    max_usd: float | None = None
    _near: _Near | None = None

    def __post_init__(self) -> None:
        if self._cap is not None:
            if not isinstance(self.engine, RunEngine):
                raise TypeError("a run with a cap needs a RunEngine")
            self._near = _Near()
            self.engine.hold_to(Funds(self._near, self._cap))

    async def _decide(
        self, ledger: Ledger, setup: Setup, job: Job, done: set[int], paid: PaidCalls
    ) -> AsyncGenerator[dict[str, Any], None]:
        if self._near is not None:
            self._near.till = self._till(ledger, job, processes=1)
        async with aclosing(super()._decide(ledger, setup, job, done, paid)) as rows:
            async for row in rows:
                yield row

    @property
    def _cap(self) -> int | None:
        return None if self.max_usd is None else round(self.max_usd * PICO)

    def _till(self, ledger: Ledger, job: Job, *, processes: int) -> Till | None:
        if self._cap is None:
            return None
        spent = paid_for_job(ledger, job.job_id)
        return Till(self._cap, spent_pico=spent, processes=processes)


@dataclass
class ClusterRun(CappedRun):
    """A job whose rows are decided by worker processes on Ray.

    Attributes:
        policy: what the engine was given; shipped to the workers.
        workers: how many processes; None: one for each CPU of the cluster.
        concurrency: decisions in flight at once in all workers together.
        say: told, in a line, what the user should know.
    """

    policy: str | Path | None = None
    workers: int | None = None
    say: Callable[[str], None] | None = None
    pool: Pool | None = None

    def __post_init__(self) -> None:
        """This process asks nobody: the workers' engines are held to the cap."""

    async def _decide(
        self, ledger: Ledger, setup: Setup, job: Job, done: set[int], paid: PaidCalls
    ) -> AsyncGenerator[dict[str, Any], None]:
        if self.engine.table.version_hash != setup.table.version_hash:
            raise DataError("the policy was changed while the job began", fix="run it again")
        with connected(self.workers) as there:  # at once where the caller is connected
            nodes = sum(1 for node in ray_of().nodes() if node["Alive"])
            check_place(ledger, nodes)
            many = min(there, most_workers(setup.table), self.concurrency)
            if self.say is not None:
                self.say(divided(setup.table, many))
            till = self._till(ledger, job, processes=many)
            folder = workers_folder(ledger, job.job_id)
            each = max(1, self.concurrency // many)
            async with AsyncExitStack() as held:
                driver = this_driver()
                if folder is None:
                    lease = await held.enter_async_context(Lease(ledger, job.job_id))
                    driver = this_driver(lease=lease.name, crew=crew_of(job.job_id))
                workers = WorkerSetup(
                    pack(self.engine, self.policy),
                    None,
                    None if folder is not None else ledger.where,
                    self.frontier,
                    each,
                    many,
                    self._cap,
                    driver,
                )
                pool = Pool(workers, ledger, folder, till=till, say=self.say)
                self.pool = await held.enter_async_context(pool)

                async def block(lines: list[Line]) -> list[Settled]:
                    known = [self._known(ledger, setup, job, line, done) for line in lines]
                    orders = [
                        Order(line, identifier, paid.unused(identifier))
                        for line, (found, identifier) in zip(lines, known, strict=True)
                        if found is None
                    ]
                    asked = iter(await pool.decide(orders) if orders else ())
                    return [next(asked) if found is None else found for found, _ in known]

                blocks = cut(([line] for line in self._lines(setup)), each, many)
                async with aclosing(in_order(blocks, block, pool.places)) as decided:
                    async for settled in decided:
                        for one in settled:
                            yield self._counted(one)
