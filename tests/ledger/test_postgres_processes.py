"""Four processes on one PostgreSQL ledger: nothing acknowledged is lost, a job has one runner."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from consensus.errors import LedgerError
from consensus.ledger import Ledger
from consensus.ledger.verify import verify
from tests.ledger import other_process

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.waits]


def lines(notes: Path) -> list[str]:
    """What was acknowledged so far; a line cut short by the kill was not."""
    if not notes.exists():
        return []
    return [line for line in notes.read_text().splitlines(keepends=True) if line[-1] == "\n"]


def test_kill_9_of_one_of_four_loses_no_acknowledged_decision(
    postgres_url: str, tmp_path: Path
) -> None:
    Ledger(postgres_url).open().close()
    notes = [tmp_path / f"acknowledged-{i}" for i in range(4)]
    processes = [
        other_process.context().Process(
            target=other_process.decide_for_ever,
            args=(postgres_url, str(notes[i]), f"process{i}", "process"),
        )
        for i in range(4)
    ]
    for process in processes:
        process.start()
    patience = time.monotonic() + 60

    def decided_by(i: int) -> int:
        return sum(line.startswith("receipt ") for line in lines(notes[i]))

    def wait_for_more(which: list[int]) -> None:
        before = [decided_by(i) for i in which]
        while any(decided_by(i) < n + 5 for i, n in zip(which, before, strict=True)):
            assert time.monotonic() < patience, "they did not write"
            time.sleep(0.02)

    wait_for_more([0, 1, 2, 3])
    killed = processes[0].pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_for_more([1, 2, 3])
    for process in processes[1:]:
        process.kill()
    for process in processes:
        process.join()
    acknowledged = [line.strip() for one in notes for line in lines(one)]
    with psycopg.connect(postgres_url) as connection:
        kept = {f"call {row[0]}" for row in connection.execute("SELECT call_id FROM calls")}
        decided = connection.execute("SELECT receipt_id FROM decisions").fetchall()
    kept |= {f"receipt {row[0]}" for row in decided}
    assert set(acknowledged) <= kept
    assert Counter(acknowledged).most_common(1)[0][1] == 1
    assert all(any(f"process{i}-" in line for line in acknowledged) for i in range(4))
    with Ledger(postgres_url, must_exist=True) as ledger:
        checked = verify(ledger)
    assert checked.ok, checked.problems
    assert checked.decisions == len(decided) > 0


def test_four_that_open_one_job_at_once_make_one_and_one_of_them_runs_it(
    postgres_url: str,
) -> None:
    Ledger(postgres_url).open().close()
    context = other_process.context()
    start, found = context.Event(), context.Queue()
    processes = [
        context.Process(target=other_process.open_job, args=(postgres_url, start, found))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    start.set()
    said = [found.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    holders = [text for text, held in said if held]
    assert len(holders) == 1
    assert all(f"job {holders[0]} is being run" in text for text, held in said if not held)


def test_a_killed_process_lets_its_job_go_and_a_held_one_is_refused(postgres_url: str) -> None:
    process = other_process.context().Process(
        target=other_process.open_job_and_die, args=(postgres_url,)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with Ledger(postgres_url) as mine, Ledger(postgres_url) as other:
        job = mine.open_job(input_sha256="f" * 64, policy_version="policy-1")
        assert job.resumed
        with pytest.raises(LedgerError, match="is being run by another process"):
            other.open_job(input_sha256="f" * 64, policy_version="policy-1")
        mine.leave_job(job)
        assert other.open_job(input_sha256="f" * 64, policy_version="policy-1") == job
        other.finish_job(job)
        assert not mine.open_job(input_sha256="f" * 64, policy_version="policy-1").resumed
