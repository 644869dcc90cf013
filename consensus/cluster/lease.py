"""Workers end with the process that gives them work, and not when Ray gets round to it.

A driver that is killed leaves workers that go on with the blocks they have: for seconds, on a busy
machine. What they pay for then is of use only if it is on the ledger before the job is gone on
with, so a driver is known by two marks, and who finds one of them gone stops: its process, to
workers on the same machine, and a name held on the ledger's server, to all of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from consensus.errors import LedgerError
from consensus.ledger.store import Ledger
from consensus.models.ids import new_id

__all__ = ["Driver", "Lease", "end_all", "ended_with", "this_driver"]

LOOK_S = 1.0
"""How often a lease is looked at, and renewed."""

LOOKS = 3
"""Found free so often in turn, a lease is over: a server that restarts forgets all locks."""

LAST_S = 10.0
"""How long a worker may take to end what it does."""


@dataclass(frozen=True, slots=True)
class Driver:
    """By what a worker tells whether the process that gives it work still lives.

    Attributes:
        machine: where it runs; None: that cannot be told.
        pid: its process there.
        lease: the name that it holds on the ledger's server; None: its ledger is a file.
        crew: the name that its workers hold there together.
    """

    machine: str | None
    pid: int
    lease: str | None = None
    crew: str | None = None


def this_driver(*, lease: str | None = None, crew: str | None = None) -> Driver:
    """This process, as its workers know it."""
    return Driver(_machine(), os.getpid(), lease, crew)


def _machine() -> str | None:
    """This machine since its start, and the processes that are seen here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


class Lease:
    """Held on a ledger's server while this process drives a job there; renewed until left."""

    def __init__(self, ledger: Ledger, job_id: str) -> None:
        self.name = f"driver {new_id()}"
        self._ledger = ledger
        self._job_id = job_id
        self._left = asyncio.Event()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._ledger.hold, self.name)
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._left.set()
        await asyncio.shield(self._renewing)
        self._ledger.let_go(self.name)

    async def _renew(self) -> None:
        while not self._left.is_set():
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._left.wait()
            except TimeoutError:
                await asyncio.to_thread(self._look)

    def _look(self) -> None:
        try:
            self._ledger.renew(self._job_id)  # first: another process that has it ends this run
            self._ledger.renew(self.name)
        except LedgerError:
            return  # its workers say so, when they have waited


async def ended_with(
    driver: Driver, ledger: Ledger | None, stop: Callable[[], Awaitable[None]]
) -> None:
    """When the driver has gone, stop, and end this process."""
    waits = [asyncio.ensure_future(_process_gone(driver))]
    if ledger is not None and driver.lease is not None:
        waits.append(asyncio.ensure_future(_lease_gone(driver, ledger)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    try:
        async with asyncio.timeout(LAST_S):
            await stop()
    finally:
        end_process(1)


async def end_all(
    running: Iterable[asyncio.Future[Any]], watching: asyncio.Future[None] | None
) -> None:
    """Cancel a worker's work and its :func:`ended_with`, unless that is who asks for it."""
    tasks = list(running)
    if watching is not None and watching is not asyncio.current_task():
        tasks.append(watching)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


end_process: Callable[[int], object] = os._exit
"""Ray has nobody left to tell why."""


async def _process_gone(driver: Driver) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    if driver.machine is None or driver.machine != _machine():
        await gone.wait()  # somebody else's process: only its lease can tell
    try:
        watched = os.pidfd_open(driver.pid)
    except ProcessLookupError:
        return
    try:
        loop.add_reader(watched, gone.set)
        await gone.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


async def _lease_gone(driver: Driver, ledger: Ledger) -> None:
    free = 0
    while free < LOOKS:
        await asyncio.sleep(LOOK_S)
        try:
            held = await asyncio.to_thread(_look, driver, ledger)
        except LedgerError:
            continue  # nothing is decided either on what cannot be kept
        free = 0 if held else free + 1


def _look(driver: Driver, ledger: Ledger) -> bool:
    held = ledger.is_held(str(driver.lease))
    if held and driver.crew is not None:
        ledger.renew(driver.crew)
    return held
