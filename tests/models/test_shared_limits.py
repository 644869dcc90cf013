"""Limits that several processes share, on a real Redis and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import BudgetError, DeadlineError, PolicyError, ProviderError
from consensus.ledger import Ledger
from consensus.models.limit_store import Caps, LimitStore
from consensus.models.purse import Purse
from consensus.models.shared_limits import SharedLimits, SharedPermit
from tests.models import shared_process
from tests.models.shared_process import store_at

pytestmark = pytest.mark.waits

BOTH = pytest.mark.parametrize(
    "server",
    [
        pytest.param("redis", marks=pytest.mark.needs("redis")),
        pytest.param("postgres", marks=pytest.mark.needs("postgres")),
    ],
    indirect=True,
)
"""Every store keeps the same promises."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_server").url)
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def store(server: str) -> AsyncIterator[LimitStore]:
    found = store_at(server)
    yield found
    await found.aclose()


def together(target: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=one) for one in arguments]
    for process in processes:
        process.start()
    return processes


def notes_of(files: list[Path]) -> list[list[dict[str, Any]]]:
    return [
        [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        for file in files
    ]


def most_within(moments: list[float], span: float) -> int:
    """The fullest half-open stretch of so many seconds."""
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while ordered[first] < moment - span:
            first += 1
        most = max(most, last - first + 1)
    return most


# -- one process -----------------------------------------------------------------------------------


@BOTH
async def test_requests_of_two_holders_fill_one_window(store: LimitStore) -> None:
    a, b = (SharedLimits(store, 600, None, None, window_s=1.0, name="p") for _ in range(2))
    permits = await asyncio.gather(*(one.admit() for one in (a, b) for _ in range(12)))
    stamps = [permit.at for permit in permits if isinstance(permit, SharedPermit)]
    assert len(stamps) == 24
    assert most_within(stamps, 1.0) == 10
    assert max(stamps) - min(stamps) < 4


@BOTH
async def test_tokens_used_replace_the_estimate(store: LimitStore) -> None:
    limits = SharedLimits(store, None, 6000, None, window_s=1.0, name="p")
    first = await limits.admit(100)
    with pytest.raises(DeadlineError):
        await limits.admit(50, within_s=0.1)
    first.done(40)
    began = time.monotonic()
    await limits.admit(50, within_s=5)
    assert time.monotonic() - began < 0.6
    await limits.aclose()


@BOTH
async def test_a_call_larger_than_the_limit_passes_when_the_window_is_empty(
    store: LimitStore,
) -> None:
    limits = SharedLimits(store, None, 600, None, window_s=1.0, name="p")
    (await limits.admit(5000, within_s=1)).done()
    await limits.aclose()


@BOTH
async def test_what_was_not_sent_takes_no_place(store: LimitStore) -> None:
    limits = SharedLimits(store, 60, 60, 1, window_s=60.0, name="p")
    for _ in range(5):
        (await limits.admit(60, within_s=2)).unused()
    await limits.aclose()


@BOTH
async def test_nobody_overtakes_and_retries_stand_before_newcomers(store: LimitStore) -> None:
    limits = SharedLimits(store, None, None, 1, name="p")
    held = await limits.admit()
    order: list[str] = []

    async def wait(name: str, again: bool) -> None:
        permit = await limits.admit(again=again)
        order.append(name)
        permit.done()

    waiting = [asyncio.create_task(wait(f"new {i}", again=False)) for i in range(5)]
    await asyncio.sleep(0.1)
    waiting.append(asyncio.create_task(wait("again", again=True)))
    await asyncio.sleep(0.1)
    held.done()
    await asyncio.gather(*waiting)
    assert order == ["again", *(f"new {i}" for i in range(5))]
    await limits.aclose()


@BOTH
async def test_cancelled_at_any_moment_no_place_is_lost(store: LimitStore) -> None:
    limits = SharedLimits(store, None, None, 2, name="p")
    for delay in (0, 0.001, 0.002, 0.004, 0.008, 0.02) * 3:
        tasks = [asyncio.create_task(limits.admit()) for _ in range(4)]
        await asyncio.sleep(delay)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(result, BaseException):
                result.done()
    both = [await limits.admit(within_s=3) for _ in range(2)]
    assert limits.active == 2
    assert limits.waiting == 0
    for permit in both:
        permit.done()
    await limits.aclose()


@BOTH
async def test_a_pause_holds_in_every_process_and_refuses_who_cannot_wait(
    store: LimitStore,
) -> None:
    a, b = (SharedLimits(store, 6000, None, None, name="p") for _ in range(2))
    a.pause(3.0)
    await asyncio.sleep(0.2)
    with pytest.raises(ProviderError, match="asked for") as caught:
        await b.admit(within_s=1.0)
    assert caught.value.failure == "rate_limited"
    began = time.monotonic()
    await b.admit(within_s=20)
    assert time.monotonic() - began > 0.15
    await a.aclose()
    await b.aclose()


@BOTH
async def test_a_renewed_place_is_kept_and_one_of_the_dead_falls_free(
    store: LimitStore, server: str
) -> None:
    (process,) = together(shared_process.hold_and_die, [(server, 4)])
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    limits = SharedLimits(store, None, None, 4, name="p", lease_s=1.0)
    mine = [await limits.admit(within_s=10) for _ in range(4)]
    other = SharedLimits(store, None, None, 4, name="p", lease_s=1.0)
    with pytest.raises(DeadlineError):
        await other.admit(within_s=2.5)
    for permit in mine:
        permit.done()
    (await other.admit(within_s=1)).done()
    await limits.aclose()
    await other.aclose()


# -- four processes --------------------------------------------------------------------------------


@BOTH
def test_four_processes_together_pass_no_limit_and_share_it(server: str, tmp_path: Path) -> None:
    files = [tmp_path / f"notes-{i}" for i in range(4)]
    limits: dict[str, float] = {"requests_per_minute": 3000, "tokens_per_minute": 24_000}
    limits |= {"concurrency": 12, "window_s": 1.0, "lease_s": 5.0}
    processes = together(
        shared_process.call_for, [(server, str(file), 5.0, 8, 0.05, limits) for file in files]
    )
    time.sleep(3.0)
    processes[0].kill()
    for process in processes:
        process.join(60)
    said = notes_of(files)
    assert not [line for lines in said for line in lines if "error" in line]
    stamps = [line["at"] for lines in said for line in lines if "began" in line]
    assert most_within(stamps, 1.0) == 40  # the tokens are the narrower limit: 400 a second
    ended = {line["id"]: line["ended"] for lines in said for line in lines if "ended" in line}
    spans = [
        (line["began"], ended[line["id"]])
        for lines in said
        for line in lines
        if "began" in line and line["id"] in ended
    ]
    changes = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    assert most <= 12
    alive = Counter(i for i in (1, 2, 3) for line in said[i] if "began" in line)
    assert min(alive.values()) > 0.4 * max(alive.values()), alive


@BOTH
def test_four_processes_overrun_no_budget_and_use_it_up(server: str, tmp_path: Path) -> None:
    files = [tmp_path / f"notes-{i}" for i in range(4)]
    cap, worst, real = 100_000, 500, 130
    processes = together(
        shared_process.spend, [(server, str(file), cap, worst, real) for file in files]
    )
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    paid = sum(int(line) for file in files for line in file.read_text().split())
    assert paid <= cap
    assert paid > cap - 20 * worst  # what is left is less than the calls in flight could cost

    async def booked() -> tuple[int, int]:
        store = store_at(server)
        found = await store.spent("all")
        await store.aclose()
        return found

    assert asyncio.run(booked()) == (paid, paid)


# -- budgets ---------------------------------------------------------------------------------------


@BOTH
async def test_a_budget_says_which_cap_and_what_is_left(store: LimitStore) -> None:
    purse = Purse(store, Caps(5 * 10**12, 6 * 10**12))
    hold = await purse.reserve(4 * 10**12)
    with pytest.raises(BudgetError, match=r"\$1\.000000 is left of the \$5\.00 a day"):
        await purse.reserve(2 * 10**12)
    hold.settle(4 * 10**12 + 500_000_000_000)
    hold.settle(0)
    assert await purse.spent() == (4_500_000_000_000, 4_500_000_000_000)
    await Purse(store, Caps(None, None)).reserve(10**18)
    with pytest.raises(BudgetError, match=r"\$0\.000000 is left"):
        await purse.reserve(1)
    await Purse(store, Caps(1, 1), name="another").reserve(1)


@BOTH
async def test_what_a_killed_process_had_reserved_stays_booked(
    store: LimitStore, server: str
) -> None:
    (process,) = together(shared_process.hold_and_die, [(server, 0)])
    process.join(30)
    purse = Purse(store, Caps(1_000, None))
    assert await purse.spent() == (400, 400)
    with pytest.raises(BudgetError):
        await purse.reserve(601)
    await purse.reserve(600)


@BOTH
async def test_the_day_and_the_month_are_those_of_the_calendar(store: LimitStore) -> None:
    hold = await Purse(store, Caps(10, 10)).reserve(1)
    assert hold._booked.day == time.strftime("%Y-%m-%d", time.gmtime())
    assert hold._booked.month == time.strftime("%Y-%m", time.gmtime())


@pytest.mark.needs("postgres")
async def test_a_ledger_and_limits_may_be_in_one_database(postgres_url: str) -> None:
    store = store_at(postgres_url)
    await Purse(store, Caps(10, None)).reserve(1)
    await store.aclose()
    Ledger(postgres_url).open().close()


# -- without the store -----------------------------------------------------------------------------


@pytest.mark.needs("redis")
async def test_without_the_store_rates_fall_to_a_share_and_budgets_close(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = store_at("redis://:secret@127.0.0.1:1/0")
    limits = SharedLimits(store, 2400, None, 8, window_s=1.0, name="p", without_store=0.25)
    with caplog.at_level(logging.WARNING, logger="consensus.limits"):
        permits = await asyncio.gather(*(limits.admit() for _ in range(2)))
        with pytest.raises(DeadlineError):
            await limits.admit(within_s=0.1)
        for permit in permits:
            permit.done()
    assert limits.degraded
    (said,) = caplog.records
    assert "keeps to 25% of each limit" in said.getMessage()
    assert "secret" not in said.getMessage()
    with pytest.raises(BudgetError, match="cannot be checked"):
        await Purse(store, Caps(10**15, None)).reserve(1)
    await limits.aclose()


@pytest.mark.needs("redis")
async def test_a_bug_of_the_store_leaves_nobody_waiting(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(redis_server.url)

    async def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(store, "admit", fails)
    limits = SharedLimits(store, 6000, None, 8, name="p")
    (await limits.admit(within_s=5)).done()
    assert limits.degraded
    await store.aclose()


@pytest.mark.needs("redis")
async def test_when_the_store_is_back_the_shared_limits_hold_again(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.models.shared_limits.ASK_AGAIN_S", 0.2)
    store = store_at(redis_server.url)
    limits = SharedLimits(store, 6000, None, 8, name="p")
    first = await limits.admit()
    redis_server.stop()
    (await limits.admit()).done()
    states = [limits.degraded]
    first.done()
    redis_server.start()
    await asyncio.sleep(0.3)
    permit = await limits.admit()
    assert isinstance(permit, SharedPermit)
    states.append(limits.degraded)
    assert states == [True, False]
    permit.done()
    await limits.aclose()
    await store.aclose()


@pytest.mark.needs("redis")
def test_an_address_that_is_none_is_not_repeated() -> None:
    with pytest.raises(PolicyError, match="no URL of Redis") as caught:
        store_at("redishttp://:secret@host")
    assert "secret" not in str(caught.value)
