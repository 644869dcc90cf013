"""What one process of several does with shared limits, while a test looks on."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TextIO

from consensus.errors import BudgetError
from consensus.models.limit_store import Caps, LimitStore
from consensus.models.purse import Purse
from consensus.models.shared_limits import SharedLimits, SharedPermit


def store_at(url: str) -> LimitStore:
    if url.startswith("redis"):
        from consensus.models.redis_store import RedisStore

        return RedisStore(url, timeout_s=15.0)
    from consensus.models.postgres_store import PostgresStore

    return PostgresStore(url, timeout_s=15.0)


def open_notes(path: str) -> TextIO:
    """Written line by line: a kill loses none that is whole."""
    return Path(path).open("a", encoding="utf-8", buffering=1)


def call_for(
    url: str,
    notes: str,
    seconds: float,
    calls_at_once: int,
    length_s: float,
    limits: dict[str, float],
) -> None:
    """Make calls for so long, so many at once; note each one's beginning, end and tokens."""

    async def main() -> None:
        store = store_at(url)
        shared = SharedLimits(store, name="p", **limits)  # type: ignore[arg-type]
        until = time.monotonic() + seconds
        with open_notes(notes) as out:

            async def caller(number: int) -> None:
                while (left := until - time.monotonic()) > 0:
                    try:
                        permit = await shared.admit(10, within_s=left)
                    except Exception as error:  # noqa: BLE001 - the deadline of the test
                        if "no place" not in str(error) and "no time" not in str(error):
                            out.write(json.dumps({"error": str(error)}) + "\n")
                        return
                    assert isinstance(permit, SharedPermit), "the store was away"
                    began = time.monotonic()
                    out.write(
                        json.dumps({"began": began, "at": permit.at, "id": permit.name}) + "\n"
                    )
                    await asyncio.sleep(length_s)
                    out.write(json.dumps({"ended": time.monotonic(), "id": permit.name}) + "\n")
                    permit.done(10)

            await asyncio.gather(*(caller(i) for i in range(calls_at_once)))
        await shared.aclose()
        await store.aclose()

    asyncio.run(main())


def spend(url: str, notes: str, cap: int, worst: int, real: int) -> None:
    """Spend from a day's budget until it refuses; note every payment once it is settled."""

    async def main() -> None:
        store = store_at(url)
        purse = Purse(store, Caps(cap, None))
        with open_notes(notes) as out:

            async def payer() -> None:
                while True:
                    try:
                        hold = await purse.reserve(worst)
                    except BudgetError:
                        return
                    out.write(f"{real}\n")
                    await asyncio.sleep(0.002)
                    hold.settle(real)

            await asyncio.gather(*(payer() for _ in range(5)))
        await purse.aclose()
        await store.aclose()

    asyncio.run(main())


def hold_and_die(url: str, number: int) -> None:
    """Take so many places at once and be killed."""

    async def main() -> None:
        shared = SharedLimits(store_at(url), concurrency=4, name="p", lease_s=1.0)
        for _ in range(number):
            await shared.admit()
        await Purse(store_at(url), Caps(1_000, None)).reserve(400)
        os.kill(os.getpid(), 9)

    asyncio.run(main())
