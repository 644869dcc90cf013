"""From one ledger into another: complete, resumable, checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from consensus.errors import LedgerError
from consensus.ledger import Ledger, schema
from consensus.ledger import transfer as transferring
from consensus.ledger.transfer import transfer
from consensus.ledger.verify import verify
from tests.ledger.records import call, receipt_of


def filled(target: str | Path, decisions: int = 7, first: int = 0) -> Ledger:
    ledger = Ledger(target)
    for number in range(first, first + decisions):
        records = [call(f"d{number:04d}", seat=seat) for seat in range(3)]
        for record in records:
            ledger.record_here(record)
        ledger.keep_here(receipt_of(records, receipt_id=f"d{number:04d}"))
    ledger.open_job(input_sha256="f" * 64, policy_version="p")
    return ledger


def everything(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    def rows(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
        return {
            table.name: [
                tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)
                for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in schema.metadata.sorted_tables
            if table.name != "meta"
        }

    return ledger.read(rows)


def test_every_record_of_a_file_is_in_the_other(tmp_path: Path) -> None:
    with filled(tmp_path / "old.db") as old, Ledger(tmp_path / "new.db") as new:
        found = transfer(old, new, batch=2)
        assert everything(new) == everything(old)
    figures = {table.table: table for table in found.tables}
    assert figures["calls"].rows == figures["calls"].copied == 21
    assert figures["calls"].sums["cost_pico (sum)"] == 21 * 123_456_789


@pytest.mark.needs("postgres")
def test_rows_of_a_job_whose_numbers_are_more_than_64_bits_together_are_compared(
    tmp_path: Path, postgres_url: str
) -> None:
    numbers = [2**63 - 1, 2**63 - 2, 2**62 + 5]
    with (
        Ledger(tmp_path / "old.db") as old,
        Ledger(postgres_url) as server,
        Ledger(tmp_path / "new.db") as new,
    ):
        for number in numbers:
            record = call(f"01JOB.{number:07d}")
            old.record_here(record)
            old.keep_here(receipt_of([record], receipt_id=record.decision_id))
        found = transfer(old, server)
        transfer(server, new)
        assert everything(new) == everything(old)
    figures = {table.table: table for table in found.tables}
    assert figures["decisions"].sums["task_index (sum)"] == sum(numbers)


@pytest.mark.needs("postgres")
def test_to_postgresql_and_back_every_byte_is_the_same(tmp_path: Path, postgres_url: str) -> None:
    with (
        filled(tmp_path / "old.db") as old,
        Ledger(postgres_url) as server,
        Ledger(tmp_path / "new.db") as new,
    ):
        transfer(old, server, batch=4)
        assert verify(server).ok
        transfer(server, new, batch=4)
        assert everything(new) == everything(server) == everything(old)


def test_cut_short_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(tmp_path / "old.db") as old, Ledger(tmp_path / "new.db") as new:
        put = transferring._put
        batches: list[object] = []

        def three_batches(*arguments: object) -> None:
            if len(batches) == 3:
                raise LedgerError("cut short")
            batches.append(arguments)
            put(*arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(transferring, "_put", three_batches)
            with pytest.raises(LedgerError, match="cut short"):
                transfer(old, new, batch=5)
        found = transfer(old, new, batch=5)
        assert found.copied == sum(table.rows for table in found.tables) - 15
        assert everything(new) == everything(old)


def test_run_again_nothing_is_there_twice_and_what_is_new_comes_too(tmp_path: Path) -> None:
    with filled(tmp_path / "old.db") as old, Ledger(tmp_path / "new.db") as new:
        transfer(old, new)
        more = [call("zz")]
        old.record_here(more[0])
        old.keep_here(receipt_of(more, receipt_id="a-first"))
        transfer(old, new)
        assert everything(new) == everything(old)


def test_a_difference_is_said_and_is_no_success(tmp_path: Path) -> None:
    with filled(tmp_path / "old.db") as old, Ledger(tmp_path / "new.db") as new:
        new.record_here(call("of another"))
        with pytest.raises(LedgerError, match=r"calls differs from .*rows \(22 here, 21 there\)"):
            transfer(old, new)
        new.work(lambda c: c.execute(text("DELETE FROM calls WHERE decision_id = 'of another'")))
        transfer(old, new)


def test_a_ledger_is_not_taken_over_into_itself(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path / "a.db") as old,
        Ledger(tmp_path / "a.db") as new,
        pytest.raises(LedgerError, match="at once"),
    ):
        transfer(old, new)


def test_progress_is_of_all_rows_also_when_it_goes_on(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with filled(tmp_path / "old.db") as old, Ledger(tmp_path / "new.db") as new:
        transfer(old, new, batch=10, progress=lambda *said: told.append(said))
    assert [(done, total) for table, done, total in told if table == "calls"] == [
        (0, 21),
        (10, 21),
        (20, 21),
        (21, 21),
    ]
