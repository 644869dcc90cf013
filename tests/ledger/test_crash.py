"""kill -9 at random moments: what was acknowledged is there, and the file is sound."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from consensus.ledger import Ledger
from consensus.ledger.database import Durability
from consensus.ledger.verify import verify
from tests.ledger import other_process


@pytest.mark.parametrize("durability", ["process", "power"])
def test_killed_at_a_random_moment_no_acknowledged_record_is_lost(
    tmp_path: Path, durability: Durability
) -> None:
    path, notes = tmp_path / "ledger.db", tmp_path / "acknowledged"
    moments = random.Random(f"kill {durability}")
    for run in range(8):
        acknowledged = other_process.killed_after(
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
