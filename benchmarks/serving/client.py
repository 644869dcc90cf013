"""The client: so many requests at once, sent again under the same name until they are answered."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

__all__ = ["Answered", "Drive", "drive"]

AGAIN = frozenset({409, 429, 500, 502, 503})
LONGEST_S = 120.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One acknowledged decision, as its client saw it."""

    number: int
    key: str
    receipt: str
    action: str
    usd: float
    partial: bool
    at: float
    seconds: float
    attempts: int


@dataclass(slots=True)
class Drive:
    """What came of all requests.

    Attributes:
        refused, refused_numbers: requests that a spent key was refused, by key; their tasks.
        trouble: what made a request be sent again, counted.
        most: requests of one key at once, by key.
        lost: tasks that were not answered in the end.
    """

    answered: list[Answered] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    trouble: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    refused_numbers: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


async def drive(
    urls: Sequence[str],
    numbers: Sequence[int],
    key_of: Callable[[int], str],
    *,
    at_once: int,
    told: Callable[[int], None] = lambda _: None,
    within_s: float = math.inf,
) -> Drive:
    """Have these tasks decided.

    Args:
        urls: asked in turn; after trouble the next one.
        key_of: the key that a task is asked with.
        told: how many are answered, after each.
        within_s: after so many seconds nothing new is asked.
    """
    found = Drive()
    waiting, until = iter(numbers), time.monotonic() + within_s
    now: Counter[str] = Counter()
    connector = aiohttp.TCPConnector(limit=at_once)
    timeout = aiohttp.ClientTimeout(total=LONGEST_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def one(number: int) -> None:
            key = key_of(number)
            now[key] += 1
            found.most[key] = max(found.most[key], now[key])
            try:
                await _ask(session, urls, number, key, found)
            finally:
                now[key] -= 1

        async def worker() -> None:
            for number in waiting:
                if time.monotonic() >= until:
                    return
                await one(number)
                told(len(found.answered))

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
    return found


async def _ask(
    session: aiohttp.ClientSession, urls: Sequence[str], number: int, key: str, found: Drive
) -> None:
    body = {"type": "refund", "subject": f"Case {number}: unused, {number % 60} days old."}
    headers = {"authorization": f"Bearer {key}", "idempotency-key": f"case-{number}"}
    began = time.perf_counter()
    for attempt in range(1, 200):
        url = urls[(number + attempt) % len(urls)]
        pause = 0.1
        try:
            async with session.post(f"{url}/v1/decide", json=body, headers=headers) as answer:
                said = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            found.trouble[type(error).__name__] += 1
            await asyncio.sleep(pause)
            continue
        if answer.status == 200:
            found.answered.append(
                Answered(
                    number,
                    key,
                    answer.headers["x-consensus-receipt"],
                    said["action"],
                    said["cost"]["usd"],
                    said["partial"],
                    time.time(),
                    time.perf_counter() - began,
                    attempt,
                )
            )
            return
        code = said["error"]["code"]
        if code == "insufficient_quota":
            found.refused[key] += 1
            found.refused_numbers.append(number)
            return
        found.trouble[f"{answer.status} {code}"] += 1
        if answer.status not in AGAIN:
            break
        await asyncio.sleep(min(float(answer.headers.get("retry-after", pause)), 1.0))
    found.lost.append(number)
