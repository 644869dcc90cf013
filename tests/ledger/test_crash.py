"""kill -9 at random moments: what was acknowledged is there, and the file is sound."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from consensus.ledger import Ledger
from consensus.ledger.verify import verify
from tests.ledger import other_process


def killed_after(path: Path, notes: Path, tag: str, durability: str, seconds: float) -> set[str]:
    """Let a process decide for so long after its first record; what was acknowledged so far."""
    process = other_process.context().Process(
        target=other_process.decide_for_ever, args=(str(path), str(notes), tag, durability)
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


@pytest.mark.parametrize("durability", ["process", "power"])
def test_killed_at_a_random_moment_no_acknowledged_record_is_lost(
    tmp_path: Path, durability: str
) -> None:
    path, notes = tmp_path / "ledger.db", tmp_path / "acknowledged"
    moments = random.Random(f"kill {durability}")
    for run in range(8):
        acknowledged = killed_after(
            path, notes, f"run{run}", durability, moments.uniform(0.0, 0.25)
        )
        connection = sqlite3.connect(path)
        kept = {f"call {row[0]}\n" for row in connection.execute("SELECT call_id FROM calls")}
        decided = connection.execute("SELECT receipt_id FROM decisions")
        kept |= {f"receipt {row[0]}\n" for row in decided}
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        assert acknowledged <= kept
    with Ledger(path, must_exist=True) as ledger:
        checked = verify(ledger)
    assert checked.ok
    assert checked.decisions >= sum(line.startswith("receipt") for line in acknowledged) > 0
