from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Index,
    MetaData,
    String,
    Table,
    create_engine,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import registry
from sqlalchemy.schema import CreateIndex, CreateTable

from consensus.errors import LedgerError
from consensus.ledger import Ledger, migrations, schema
from consensus.ledger.rows import CALL_COLUMNS, DECISION_COLUMNS, call_row, decision_row
from tests.ledger.records import call, receipt_of


@pytest.mark.parametrize("name", ["postgresql", "sqlite"])
def test_the_same_tables_compile_for_both_databases(name: str) -> None:
    dialect: Dialect = registry.load(name)()
    ddl = [
        str(CreateTable(table).compile(dialect=dialect)) for table in schema.metadata.sorted_tables
    ]
    ddl += [
        str(CreateIndex(index).compile(dialect=dialect))
        for table in schema.metadata.sorted_tables
        for index in table.indexes
    ]
    assert len(ddl) > 4
    money = [line for one in ddl for line in one.splitlines() if "cost_pico" in line]
    assert len(money) == 4
    assert all("BIGINT" in line for line in money)


def test_no_type_is_of_one_database_only() -> None:
    for table in schema.metadata.sorted_tables:
        for column in table.columns:
            assert type(column.type).__module__ == "sqlalchemy.sql.sqltypes", column


def test_rows_are_in_the_order_of_the_columns() -> None:
    assert [column.name for column in schema.calls.columns] == list(CALL_COLUMNS)
    assert [column.name for column in schema.decisions.columns] == list(DECISION_COLUMNS)
    assert len(call_row(call())) == len(CALL_COLUMNS)
    assert len(decision_row(receipt_of([call()]))) == len(DECISION_COLUMNS)


FIRST = {"meta", "calls", "decisions", "jobs"}


def described(path: Path) -> dict[str, Any]:
    engine = create_engine(f"sqlite:///{path}")
    inspector = inspect(engine)
    found = {
        table: (
            {column["name"]: str(column["type"]) for column in inspector.get_columns(table)},
            sorted(str(index["name"]) for index in inspector.get_indexes(table)),
        )
        for table in inspector.get_table_names()
    }
    engine.dispose()
    return found


def test_the_steps_make_of_the_first_version_what_a_new_ledger_is(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    engine = create_engine(f"sqlite:///{old}")
    with engine.begin() as connection:
        first = [table for name, table in schema.metadata.tables.items() if name in FIRST]
        schema.metadata.create_all(connection, tables=first)
        connection.execute(schema.meta.insert().values(key="schema_version", value="1"))
    engine.dispose()
    for path in (old, new):
        Ledger(path).open().close()
        assert version(path) == str(migrations.latest_version())
    assert described(old) == described(new)
    assert described(new).keys() == schema.metadata.tables.keys()


def test_a_new_column_with_its_index_is_added_and_once_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = MetaData()
    jobs = Table(
        "jobs",
        metadata,
        *(column._copy() for column in schema.jobs.columns),
        Column("owner", String(128), nullable=False, server_default="nobody"),
        Index("jobs_by_owner", "owner"),
    )
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.open_job(input_sha256="f" * 64, policy_version="p")
    monkeypatch.setattr(schema, "metadata", metadata)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for _ in range(2):
            migrations.new_columns("jobs", "owner")(connection)
        assert connection.scalar(select(jobs.c.owner)) == "nobody"
    engine.dispose()
    columns, indexes = described(path)["jobs"]
    assert "owner" in columns
    assert "jobs_by_owner" in indexes


def _add_owner(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE decisions ADD COLUMN owner VARCHAR(128)"))


def _add_and_fill_again(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE decisions ADD COLUMN again INTEGER"))
    connection.execute(text("UPDATE decisions SET again = hops"))


def newer(monkeypatch: pytest.MonkeyPatch, **steps: migrations.Step) -> None:
    """As if these steps had been appended to those that there are."""
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, *steps.values()))


def columns(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {row[1] for row in connection.execute("PRAGMA table_info(decisions)")}
    connection.close()
    return found


def version(path: Path) -> str:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    connection.close()
    return str(found)


def test_an_older_ledger_is_brought_up_step_by_step_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    before = migrations.latest_version()
    receipt = receipt_of([call()], hops=2)
    with Ledger(path) as ledger:
        ledger.keep_here(receipt)
    newer(monkeypatch, owner=_add_owner, again=_add_and_fill_again)
    with Ledger(path) as ledger:
        assert ledger.receipt("d") == receipt
        ledger.keep_here(receipt_of([call("e")], receipt_id="e"))
    assert {"owner", "again"} <= columns(path)
    assert version(path) == str(migrations.latest_version()) == str(before + 2)


def test_a_step_that_fails_leaves_the_older_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    before = migrations.latest_version()
    with Ledger(path) as ledger:
        ledger.keep_here(receipt_of([call()]))

    def fails(connection: Connection) -> None:
        _add_owner(connection)
        connection.execute(text("ALTER TABLE nowhere ADD COLUMN x INTEGER"))

    newer(monkeypatch, owner=fails)
    with pytest.raises(LedgerError):
        Ledger(path).open()
    assert "owner" not in columns(path)
    assert version(path) == str(before)


def test_a_newer_ledger_is_refused_and_says_to_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    with monkeypatch.context() as patch:
        newer(patch, owner=_add_owner)
        written = migrations.latest_version()
        Ledger(path).open().close()
    said = rf"newer version \(schema {written}.*upgrade consensus-engine"
    with pytest.raises(LedgerError, match=said):
        Ledger(path).open()


def test_an_unfinished_making_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch(mode=0o600)
    with Ledger(path) as ledger:
        ledger.record_here(call())


def test_decisions_of_a_job_are_found_by_an_index(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).open().close()
    connection = sqlite3.connect(path)
    for query, index in (
        ("SELECT * FROM calls WHERE decision_id = 'd'", "autoindex_calls"),
        ("SELECT * FROM calls WHERE job_id = 'j'", "calls_by_job"),
        ("SELECT * FROM calls WHERE task_type = 't' AND day >= 3", "calls_by_type_and_day"),
        ("SELECT * FROM decisions WHERE job_id = 'j' AND task_index = 3", "decisions_by_job"),
        ("SELECT * FROM decisions ORDER BY created_at DESC", "decisions_by_time"),
    ):
        (plan,) = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert index in plan[3], plan
    connection.close()


def test_making_a_ledger_does_not_import_sqlalchemy() -> None:
    code = (
        "import sys, consensus.ledger, consensus.cli.ledger\n"
        "ledger = consensus.ledger.Ledger('x.db')\n"
        "assert 'sqlalchemy' not in sys.modules, 'imported too early'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
