"""The watch over a ledger on a real PostgreSQL server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consensus.errors import LedgerError
from consensus.ledger import Ledger
from consensus.ledger.watch import acknowledge, incidents, look
from consensus.ledger.watch import state as watch_state
from tests.ledger.watch.fixtures import DAY, START, day_of, keep, table_of

pytestmark = pytest.mark.needs("postgres")


def test_a_drift_is_found_told_once_and_acknowledged(postgres_url: str, tmp_path: Path) -> None:
    table = table_of(tmp_path / "p")
    with Ledger(postgres_url) as ledger:
        keep(ledger, day_of(0, 120, 50))
        found = look(ledger, table, now=START + DAY)
        assert [one.cause for one in found.opened] == ["escalation"]
        assert found.read == 120
        assert look(ledger, table, now=START + DAY + 5).opened == ()
        acknowledge(ledger, found.opened[0].incident_id, by="ann")
        assert incidents(ledger) == ()


def test_processes_that_look_at_once_count_nothing_twice(postgres_url: str, tmp_path: Path) -> None:
    table = table_of(tmp_path / "p")
    with Ledger(postgres_url) as ledger:
        look(ledger, table, now=START)
        keep(ledger, day_of(0, 60, 6))

    def one(_: int) -> int:
        with Ledger(postgres_url) as own:
            try:
                return look(own, table, now=START + DAY).read
            except LedgerError:
                return 0

    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(one, range(4)))
    with Ledger(postgres_url) as ledger:
        _, counts = ledger.read(watch_state.load)
    assert sum(read) == 60
    assert list(counts["refund_approval"].rates["escalation"].values()) == [[60, 6]]
