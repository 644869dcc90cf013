"""Workers end with the process that gives them work; who goes on with its job waits for them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from consensus.cluster import lease
from consensus.cluster.lease import Lease, ended_with, this_driver
from consensus.errors import LedgerError
from consensus.ledger.store import Ledger
from consensus.ledger.workers import crew_of, take_in_all
from tests.server.serving import until
from tests.servers.real import Postgres

WORKERS = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str | int]:
    """What a worker did at its end, which is not this process's."""
    done: list[str | int] = []
    monkeypatch.setattr(lease, "end_process", done.append)
    monkeypatch.setattr(lease, "LOOK_S", 0.02)
    return done


@contextmanager
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_worker_stops_and_ends_when_its_drivers_process_is_killed(
    ended: list[str | int],
) -> None:
    async def stop() -> None:
        ended.append("stopped")

    with other_process() as driver:
        mark = replace(this_driver(), pid=driver.pid)
        watching = asyncio.create_task(ended_with(mark, None, stop))
        await asyncio.sleep(0.1)
        assert not ended
        driver.kill()
        await asyncio.wait_for(watching, 30)
    assert ended == ["stopped", 1]


async def test_a_worker_whose_driver_has_gone_before_it_began_ends_at_once(
    ended: list[str | int],
) -> None:
    async def stop() -> None:
        raise RuntimeError("what is being stopped breaks")

    with other_process() as driver:
        mark = replace(this_driver(), pid=driver.pid)
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(ended_with(mark, None, stop), 30)
    assert ended == [1]


async def test_the_same_process_id_on_another_machine_is_somebody_elses(
    ended: list[str | int],
) -> None:
    async def stop() -> None:
        ended.append("stopped")

    with other_process() as gone:
        mark = replace(this_driver(), pid=gone.pid, machine="another")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ended_with(mark, None, stop), 0.2)
    assert not ended


@pytest.mark.needs("postgres")
async def test_a_worker_ends_when_nobody_holds_the_lease_on_its_ledgers_server(
    postgres_url: str, ended: list[str | int]
) -> None:
    async def stop() -> None:
        ended.append("stopped")

    with Ledger(postgres_url) as mine, Ledger(postgres_url) as theirs:
        held = Lease(mine, "job")
        async with held:
            driver = replace(this_driver(lease=held.name, crew=crew_of("job")), machine=None)
            watching = asyncio.create_task(ended_with(driver, theirs, stop))
            await asyncio.sleep(0.3)
            assert not ended
        await asyncio.wait_for(watching, 30)
    assert ended == ["stopped", 1]


@pytest.mark.needs("postgres")
async def test_a_server_that_forgets_its_locks_ends_no_run(
    postgres_server: Postgres,
    postgres_url: str,
    ended: list[str | int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stop() -> None:
        ended.append("stopped")

    monkeypatch.setattr(lease, "LOOKS", 100)
    with Ledger(postgres_url) as mine, Ledger(postgres_url) as theirs:
        held = Lease(mine, "job")
        async with held:
            theirs.hold(crew_of("job"), shared=True)
            driver = replace(this_driver(lease=held.name, crew=crew_of("job")), machine=None)
            watching = asyncio.create_task(ended_with(driver, theirs, stop))
            postgres_server.run(WORKERS)
            await until(lambda: theirs.is_held(held.name) and _busy(mine))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert not ended


def _busy(ledger: Ledger) -> bool:
    try:
        take_in_all(ledger, "job", patience_s=0)
    except LedgerError:
        return True
    return False


@pytest.mark.needs("postgres")
def test_who_goes_on_with_a_job_waits_until_its_workers_have_ended(postgres_url: str) -> None:
    with Ledger(postgres_url) as mine, Ledger(postgres_url) as one, Ledger(postgres_url) as two:
        for worker in (one, two):
            worker.hold(crew_of("job"), shared=True)
        one.let_go(crew_of("job"))
        with pytest.raises(LedgerError, match="workers of an earlier run of job job still run"):
            take_in_all(mine, "job", patience_s=0)
        take_in_all(mine, "another", patience_s=0)
        two.let_go(crew_of("job"))
        take_in_all(mine, "job")


@pytest.mark.needs("postgres")
async def test_a_name_is_held_by_one_alone_or_by_several_together(postgres_url: str) -> None:
    with Ledger(postgres_url) as mine, Ledger(postgres_url) as other:
        assert not mine.is_held("a")
        other.hold("a")
        assert mine.is_held("a")
        with pytest.raises(LedgerError, match="another process"):
            mine.hold("a", shared=True)
        other.let_go("a")
        await until(lambda: not mine.is_held("a"))
        other.hold("a", shared=True)
        mine.hold("a", shared=True)
        assert not mine.is_held("a")
