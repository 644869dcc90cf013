"""One worker process of a run: our own engine, deciding blocks of tasks that a driver sends."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.cluster.budget import Funds, RunEngine, Source
from consensus.cluster.lease import Driver, end_all, ended_with
from consensus.cluster.shipping import Shipment
from consensus.errors import ConsensusError, LedgerError
from consensus.jobs import Line, Settled, ask_line
from consensus.ledger.jobs import PaidCalls
from consensus.ledger.place import LedgerServer, ledger_path
from consensus.ledger.store import Ledger
from consensus.ledger.workers import WorkerLock
from consensus.models.protocol import CallRecord
from consensus.orchestrators.together import in_order

__all__ = ["Answers", "FarTill", "Order", "Worker", "WorkerSetup", "said"]


@dataclass(frozen=True, slots=True)
class Order:
    """One task to decide: under which id, and what it has paid for before it was cut short."""

    line: Line
    decision_id: str
    paid: tuple[CallRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of a block; ``error`` is the class and the line of what ended it."""

    settled: tuple[Settled, ...] = ()
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What every worker of a run is told. It holds no key and no password.

    Attributes:
        shipment: the policy.
        ledger: the file this worker writes; None: the server that its environment names.
        ledger_server: the driver's server, without user and password, for comparison.
        frontier: asked beside each decision.
        concurrency: decisions at once in this worker.
        processes: how many workers there are.
        cap_pico: what the run may cost; None: no cap.
        driver: whose workers they are; None: nobody's that could be told.
    """

    shipment: Shipment
    ledger: Path | None
    ledger_server: str | None
    frontier: str | None
    concurrency: int
    processes: int
    cap_pico: int | None = None
    driver: Driver | None = None


class FarTill:
    """The run's till in another process."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def draw(self, least: int) -> int:
        """As :meth:`consensus.cluster.budget.Till.draw`."""
        return int(await self._actor.draw.remote(least))


class Worker:
    """A process of its own, by Ray. Its keys are those of its environment."""

    def __init__(self, setup: WorkerSetup, till: Any = None) -> None:
        self._setup = setup
        self._till = till
        self._folder = Path(tempfile.mkdtemp(prefix="consensus-worker-"))
        self._running: set[asyncio.Task[Any]] = set()
        self._lock: WorkerLock | None = None
        self._engine: RunEngine | None = None
        self._places = asyncio.Semaphore(setup.concurrency)
        self._watching: asyncio.Task[None] | None = None

    async def begin(self) -> tuple[str, str] | None:
        """Read the policy, open the ledger; the class and the line of why it cannot work."""
        try:
            self._engine = self._opened()
            driver = self._setup.driver
            if driver is not None:
                self._join(self._engine.ledger, driver)
        except ConsensusError as error:
            return said(error)
        if driver is not None:
            watch = ended_with(driver, self._engine.ledger, self.stop)
            self._watching = asyncio.create_task(watch)
        return None

    def _opened(self) -> RunEngine:
        setup = self._setup
        policy, prompts = setup.shipment.unpack(self._folder)
        if setup.ledger is not None:
            self._lock = WorkerLock(setup.ledger)
        place: str | Path
        if setup.ledger is not None:
            place = setup.ledger
        else:
            there = ledger_path(policy=policy)
            place = there.url if isinstance(there, LedgerServer) else there
        engine = RunEngine(
            policy, prompts=prompts, ledger=place, processes=setup.processes, dedicated=True
        )
        setup.shipment.check(engine)
        where = "" if engine.ledger is None else engine.ledger.where
        if setup.ledger is None and where != setup.ledger_server:
            raise LedgerError(
                f"a worker's ledger is {where}, the driver's {setup.ledger_server} (set the same "
                "variable in the environment of every machine of the Ray cluster)"
            )
        if setup.cap_pico is not None:
            source: Source = FarTill(self._till)
            engine.hold_to(Funds(source, setup.cap_pico))
        return engine

    @staticmethod
    def _join(ledger: Ledger | None, driver: Driver) -> None:
        """Be one of the job's workers, for as long as this process lives."""
        if ledger is None or driver.lease is None or driver.crew is None:
            return
        ledger.hold(driver.crew, shared=True)
        if not ledger.is_held(driver.lease):  # looked at second: who waits for us sees us now
            raise LedgerError(f"{ledger.where}: the process that drives this run has gone")

    async def process_id(self) -> int:
        """The process's id on its machine."""
        return os.getpid()

    async def decide(self, orders: Sequence[Order]) -> Answers:
        """Decide a block; results in its order. What ends it leaves what was paid on the ledger."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._running.add(task)
        try:
            return Answers(tuple([settled async for settled in self._decided(orders)]))
        except ConsensusError as error:
            return Answers(error=said(error))
        except asyncio.CancelledError:
            return Answers(error=("ConsensusError", "the run was stopped"))
        finally:
            self._running.discard(task)

    async def _decided(self, orders: Sequence[Order]) -> Any:
        engine = self._engine
        assert engine is not None  # noqa: S101 - begin() came first
        paid = PaidCalls(record for order in orders for record in order.paid)
        async with engine.pinned() as setup:

            async def one(order: Order) -> Settled:
                async with self._places:
                    decision = await ask_line(
                        engine,
                        setup,
                        order.line,
                        order.decision_id,
                        paid=paid,
                        frontier=self._setup.frontier,
                    )
                return Settled.of(order.line, decision, reused=False)

            async with aclosing(in_order(orders, one, len(orders))) as decided:
                async for settled in decided:
                    yield settled

    async def stop(self) -> None:
        """End what runs, close the ledger: what was acknowledged is in its file."""
        await end_all(self._running, self._watching)
        if self._engine is not None:
            await self._engine.aclose()
            ledger, driver = self._engine.ledger, self._setup.driver
            if ledger is not None and driver is not None and driver.crew is not None:
                ledger.let_go(driver.crew)
        if self._lock is not None:
            self._lock.release()
        shutil.rmtree(self._folder, ignore_errors=True)


def said(error: ConsensusError) -> tuple[str, str]:
    """An error on its way to another process: its class and its line."""
    return type(error).__name__, str(error)
