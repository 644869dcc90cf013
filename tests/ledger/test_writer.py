from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import LedgerError
from consensus.ledger import Ledger, writer
from tests.ledger import other_process
from tests.ledger.records import call, receipt_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def together(ledger: Ledger, number: int) -> None:
    """Records that come at once: after them, the next commit waits for company."""
    await asyncio.gather(*(ledger.record(call(seat=i)) for i in range(number)))


async def test_many_at_once_take_few_commits(path: Path) -> None:
    async with Ledger(path) as ledger:
        before = ledger.stats.commits
        await asyncio.gather(*(ledger.record(call(seat=i)) for i in range(1000)))
        assert ledger.stats.commits - before <= 5
        assert len(ledger.calls_of("d")) == 1000


async def test_a_steady_stream_is_grouped_too(path: Path) -> None:
    async with Ledger(path) as ledger:
        before = ledger.stats.commits

        async def caller(seat: int) -> None:
            for i in range(20):
                await ledger.record(call(seat=seat, key=str(i)))

        await asyncio.gather(*(caller(seat) for seat in range(50)))
        assert ledger.stats.rows == 1000
        assert ledger.stats.commits - before <= 100


class Clock:
    """Time that passes only where someone sleeps or the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(writer, "time", found)
    return found


def test_what_comes_alone_is_committed_at_once(clock: Clock) -> None:
    gathering = writer.Gathering(0.005)
    for _ in range(10):
        gathering.wait()
        gathering.gathered(1)
        clock.now += 0.006
    assert clock.slept == []


def test_under_load_commits_are_apart(clock: Clock) -> None:
    gathering = writer.Gathering(0.005)
    for _ in range(10):
        gathering.wait()
        gathering.gathered(20)
        clock.now += 0.001
    assert clock.slept == pytest.approx([0.004] * 9)


def test_one_after_another_soon_stops_waiting(clock: Clock) -> None:
    gathering = writer.Gathering(0.005)
    for _ in range(1000):
        gathering.wait()
        gathering.gathered(1)
    assert len(clock.slept) <= 21


def test_company_makes_it_wait_again(clock: Clock) -> None:
    gathering = writer.Gathering(0.005)
    for _ in range(1000):
        gathering.wait()
        gathering.gathered(1)
    gathering.gathered(2)
    clock.slept.clear()
    gathering.wait()
    assert clock.slept == pytest.approx([0.005])


async def test_the_event_loop_is_woken_once_a_group(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Ledger(path) as ledger:
        loop = asyncio.get_running_loop()
        wakes = 0
        wake = loop.call_soon_threadsafe

        def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
            nonlocal wakes
            wakes += 1
            return wake(*args, **kwargs)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        await asyncio.gather(*(ledger.record(call(seat=i)) for i in range(500)))
        assert wakes <= 5


async def test_what_is_acknowledged_is_in_the_file(path: Path) -> None:
    async with Ledger(path) as ledger:
        await ledger.record(call())
        assert count(path) == 1


async def test_cancelling_writes_it_once_and_returns_after_it_is_written(path: Path) -> None:
    async with Ledger(path, group_s=0.05) as ledger:
        await together(ledger, 2)
        tasks = [asyncio.create_task(ledger.record(call(seat=1 + i))) for i in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert count(path) == 22


async def test_a_second_cancellation_ends_the_wait_and_not_the_writing(path: Path) -> None:
    async with Ledger(path, group_s=1.0) as ledger:
        await together(ledger, 2)
        task = asyncio.create_task(ledger.record(call(seat=2)))
        for _ in range(2):
            await asyncio.sleep(0.01)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert count(path) == 2
    assert count(path) == 3


async def test_cancelled_at_any_moment_every_record_is_written_once(path: Path) -> None:
    async with Ledger(path, group_s=0.001) as ledger:
        for i in range(100):
            task = asyncio.create_task(ledger.record(call(seat=i)))
            for _ in range(i % 7):
                await asyncio.sleep(0)
            await asyncio.sleep((i % 5) * 0.0005)
            task.cancel()
            await asyncio.wait([task])
        assert [record.seat for record in ledger.calls_of("d")] == list(range(100))


async def test_a_cancelled_record_that_fails_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Ledger(path, group_s=0.05) as ledger:
        await ledger.record(call())
        task = asyncio.create_task(ledger.record(call(cost_pico=2**70)))
        await asyncio.sleep(0)
        task.cancel()
        with caplog.at_level(logging.ERROR), pytest.raises(asyncio.CancelledError):
            await task
    assert "could not be kept" in caplog.text


async def test_a_failure_under_many_cancelled_calls_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file/ledger.db")
    keeping = [asyncio.create_task(ledger.record(call(seat=i))) for i in range(50)]
    await asyncio.sleep(0)
    with caplog.at_level(logging.ERROR):
        for task in keeping[1:]:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
    assert isinstance(keeping[0].exception(), LedgerError)
    assert caplog.text.count("could not be kept") <= 1
    await ledger.aclose()


async def test_an_event_loop_that_closes_early_harms_nobody(path: Path) -> None:
    with Ledger(path, group_s=0.05) as ledger:

        def hasty() -> None:
            loop = asyncio.new_event_loop()
            task = loop.create_task(ledger.record(call(seat=0)))
            loop.run_until_complete(asyncio.sleep(0))
            task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
            loop.close()

        await ledger.record(call(seat=7))
        thread = threading.Thread(target=hasty)
        thread.start()
        thread.join()
        await ledger.record(call(seat=1))
        assert len(ledger.calls_of("d")) == 3


async def test_many_rows_go_in_few_statements(path: Path) -> None:
    """The driver gives the GIL up at each one; a busy event loop hands it back in up to 5 ms."""
    async with Ledger(path) as ledger:
        statements: list[str] = []

        def listen(connection: Any) -> None:
            connection.connection.driver_connection.set_trace_callback(statements.append)

        ledger._work(listen)
        await asyncio.gather(*(ledger.record(call(seat=i)) for i in range(200)))
        inserts = [sql for sql in statements if sql.startswith("INSERT")]
    assert len(inserts) <= 8
    assert count(path) == 200


def test_a_forked_child_writes_through_a_thread_of_its_own(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record_here(call(seat=0))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                ledger.record_here(call(seat=1))
                ledger.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ledger.record_here(call(seat=2))
        assert sorted(record.seat for record in ledger.calls_of("d")) == [0, 1, 2]


def test_two_processes_write_at_once_and_nothing_is_lost(path: Path) -> None:
    processes = [
        other_process.context().Process(
            target=other_process.record_many, args=(str(path), first, 1000)
        )
        for first in (0, 1000)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    with Ledger(path, must_exist=True) as ledger:
        assert sorted(record.seat for record in ledger.calls_of("d")) == list(range(2000))


async def test_calls_and_their_receipt_queued_together_are_one_commit(path: Path) -> None:
    async with Ledger(path) as ledger:
        await ledger.record(call("warm"))
        records = [call(seat=i) for i in range(5)]
        before = ledger.stats.commits
        await asyncio.gather(
            *(ledger.record(record) for record in records), ledger.keep(receipt_of(records))
        )
        assert ledger.stats.commits == before + 1


async def test_after_a_failure_the_next_record_is_written(path: Path) -> None:
    async with Ledger(path) as ledger:
        with pytest.raises(LedgerError):
            await ledger.record(call(cost_pico=2**70))
        await ledger.record(call())
        assert count(path) == 1


async def test_an_error_never_holds_what_was_said(path: Path) -> None:
    async with Ledger(path) as ledger:
        with pytest.raises(LedgerError) as caught:
            await ledger.record(call(text="a secret", cost_pico=2**70))
    assert "secret" not in str(caught.value)


def count(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM calls").fetchone()[0])
    finally:
        connection.close()
