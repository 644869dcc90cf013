"""What other processes do to a ledger while a test looks on.

They are forked from a server that has imported everything, so a kill -9 costs no second's start.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import psycopg  # noqa: F401 - imported once, for every fork
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite  # noqa: F401 - the same

from consensus.errors import LedgerError
from consensus.ledger import Ledger
from consensus.ledger.database import Durability
from consensus.ledger.verify import verify  # noqa: F401 - the same
from tests.ledger.records import call, receipt_of


def context() -> ForkServerContext:
    """Where processes come from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__])
    return found


def decide_for_ever(path: str, acknowledged: str, tag: str, durability: Durability) -> None:
    """Keep decisions of five calls, ten at once, and note each record once it is acknowledged."""
    notes = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def decide(ledger: Ledger, name: str) -> None:
        records = [call(name, seat=seat) for seat in range(5)]

        async def keep(seat: int) -> None:
            await ledger.record(records[seat])
            os.write(notes, f"call {records[seat].call_id}\n".encode())

        await asyncio.gather(*(keep(seat) for seat in range(5)))
        await ledger.keep(receipt_of(records, receipt_id=name))
        os.write(notes, f"receipt {name}\n".encode())

    async def main() -> None:
        ledger = Ledger(path, durability=durability)
        for turn in range(100_000):
            await asyncio.gather(*(decide(ledger, f"{tag}-{turn}-{i}") for i in range(10)))

    asyncio.run(main())


def killed_after(
    path: Path, notes: Path, tag: str, durability: Durability, seconds: float
) -> set[str]:
    """Let a process decide for so long after its first record; what was acknowledged so far."""
    process = context().Process(
        target=decide_for_ever, args=(str(path), str(notes), tag, durability)
    )
    before = notes.stat().st_size if notes.exists() else 0
    process.start()
    patience = time.monotonic() + 60
    while (notes.stat().st_size if notes.exists() else 0) == before:
        assert time.monotonic() < patience, "the writer never wrote"
        assert process.is_alive(), "the writer failed"
        time.sleep(0.001)
    time.sleep(seconds)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return {line for line in notes.read_text().splitlines(keepends=True) if line.endswith("\n")}


def record_many(path: str, first: int, count: int) -> None:
    """Record so many calls of decision ``d``, fifty at once."""

    async def main() -> None:
        async with Ledger(path) as ledger:
            for start in range(first, first + count, 50):
                seats = range(start, start + 50)
                await asyncio.gather(*(ledger.record(call("d", seat=i)) for i in seats))

    asyncio.run(main())


def open_job(path: str, start: Event, found: Queue[tuple[str, bool]]) -> None:
    """Open the same job as others at the same moment; say its id, and whether it is held."""
    with Ledger(path) as ledger:
        start.wait()
        try:
            job = ledger.open_job(input_sha256="f" * 64, policy_version="policy-1")
        except LedgerError as error:
            found.put((str(error), False))
        else:
            found.put((job.job_id, True))
            time.sleep(3)


def open_job_and_die(path: str) -> None:
    """Hold a job, and be killed."""
    Ledger(path).open_job(input_sha256="f" * 64, policy_version="policy-1")
    os.kill(os.getpid(), 9)
