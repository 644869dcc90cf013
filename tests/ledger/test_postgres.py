"""The ledger on a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, select, text

from consensus.errors import LedgerError
from consensus.ledger import Ledger, migrations, schema
from consensus.ledger.attribution import attribute
from consensus.ledger.queries import list_decisions, type_stats
from consensus.ledger.verify import verify
from tests.ledger.records import call, receipt_of
from tests.servers.real import PASSWORD, Postgres

pytestmark = pytest.mark.needs("postgres")


def as_sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


async def test_a_call_comes_back_with_every_field(postgres_url: str) -> None:
    given = call(key="k1", text='{"answer":"ja — "}')
    failed = call(seat=1, text=None)
    async with Ledger(postgres_url) as ledger:
        await ledger.record(given)
        await ledger.record(failed)
        found = {record.seat: record for record in ledger.calls_of("d")}
    assert found[0].completion is not None
    assert given.completion is not None
    assert found[0].completion.text == given.completion.text
    assert (found[0].usage, found[0].cost_pico) == (given.usage, given.cost_pico)
    assert found[0].started_at == given.started_at
    assert (found[1].failure, found[1].completion) == ("overloaded", None)


async def test_a_receipt_comes_back_byte_for_byte_by_how_it_begins(postgres_url: str) -> None:
    receipt = receipt_of([call("Abcdefgh")], receipt_id="Abcdefgh")
    async with Ledger(postgres_url) as ledger:
        await ledger.keep(receipt)
        await ledger.keep(receipt_of([call("abcdefgz")], receipt_id="abcdefgz"))
        assert ledger.receipt("Abcdef") == receipt
        with pytest.raises(LedgerError, match="no receipt"):
            ledger.receipt("Abcdeg")


async def test_many_at_once_take_few_commits(postgres_url: str) -> None:
    async with Ledger(postgres_url) as ledger:
        before = ledger.stats.commits
        await asyncio.gather(*(ledger.record(call(seat=i)) for i in range(500)))
        assert ledger.stats.commits - before <= 10
        assert len(ledger.calls_of("d")) == 500


async def test_one_record_that_cannot_be_written_fails_alone(postgres_url: str) -> None:
    first = call(seat=0)
    async with Ledger(postgres_url) as ledger:
        await ledger.record(first)
        results = await asyncio.gather(
            ledger.record(call(seat=1)),
            ledger.record(first),
            ledger.record(call(seat=2, cost_pico=2**63)),
            ledger.record(call(seat=3)),
            return_exceptions=True,
        )
        kept = {record.seat for record in ledger.calls_of("d")}
    assert [type(result) for result in results] == [
        type(None),
        LedgerError,
        LedgerError,
        type(None),
    ]
    assert "holds this record already" in str(results[1])
    assert kept == {0, 1, 3}


async def test_a_replayed_call_that_is_kept_already_is_not_kept_twice(postgres_url: str) -> None:
    record = call()
    async with Ledger(postgres_url) as ledger:
        await ledger.record(record)
        record.replayed = True
        await ledger.record(record)
        assert len(ledger.calls_of("d")) == 1


async def test_a_providers_odd_names_cost_no_paid_answer(postgres_url: str) -> None:
    odd = call(request_id="r\0eq" + "x" * 5000, served_model="m" * 3000)
    async with Ledger(postgres_url) as ledger:
        await ledger.record(odd)
        (found,) = ledger.calls_of("d")
    assert found.request_id == "r\ufffdeq" + "x" * 5000


async def test_without_text_nothing_said_is_left_once_it_is_decided(postgres_url: str) -> None:
    async with Ledger(postgres_url, store_text=False) as ledger:
        record = call(text='{"answer":"zebra"}')
        await ledger.record(record)
        assert ledger.calls_of("d")[0].completion is not None
        await ledger.keep(receipt_of([record]))
        assert ledger.calls_of("d")[0].completion is None
        assert "Unused" not in str(ledger.receipt("d"))


async def test_both_databases_say_the_same_of_the_same_records(
    postgres_url: str, tmp_path: Path
) -> None:
    records = []
    for number in range(12):
        name = f"{'aB'[number % 2]}-{number}"
        calls = [
            call(name, seat=0, task_type=("refund", "Zone")[number % 2]),
            call(name, seat=1, text=None, task_type=("refund", "Zone")[number % 2]),
        ]
        records.append((calls, receipt_of(calls, receipt_id=name, hops=1 + number % 2)))
    said: list[Any] = []
    for target in (tmp_path / "ledger.db", postgres_url):
        async with Ledger(target) as ledger:
            for calls, receipt in records:
                for record in calls:
                    await ledger.record(record)
                await ledger.keep(receipt)
            checked = verify(ledger)
            assert checked.problems == ()
            said.append((type_stats(ledger), list_decisions(ledger), checked, attribute(ledger)))
    assert said[0] == said[1]


async def test_a_sum_that_was_changed_is_found(postgres_url: str) -> None:
    async with Ledger(postgres_url) as ledger:
        record = call()
        await ledger.record(record)
        await ledger.keep(receipt_of([record]))
        engine = create_engine(as_sqlalchemy(postgres_url))
        with engine.begin() as connection:
            connection.execute(text("UPDATE calls SET cost_pico = cost_pico + 1"))
        engine.dispose()
        (problem,) = verify(ledger).problems
    assert "its calls 123456790" in problem


# -- the schema ------------------------------------------------------------------------------------


def test_the_steps_make_of_the_first_version_what_a_new_ledger_is(postgres_url: str) -> None:
    def described() -> dict[str, Any]:
        engine = create_engine(as_sqlalchemy(postgres_url))
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

    Ledger(postgres_url).open().close()
    new = described()
    engine = create_engine(as_sqlalchemy(postgres_url))
    with engine.begin() as connection:
        schema.metadata.drop_all(connection)
        first = [schema.meta, schema.calls, schema.decisions, schema.jobs]
        schema.metadata.create_all(connection, tables=first)
        connection.execute(schema.meta.insert().values(key="schema_version", value="1"))
    engine.dispose()
    Ledger(postgres_url).open().close()
    assert described() == new
    assert new.keys() == schema.metadata.tables.keys()


def test_a_step_that_fails_leaves_the_older_ledger_as_it_was(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = str(migrations.latest_version())
    Ledger(postgres_url).open().close()

    def fails(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE decisions ADD COLUMN owner VARCHAR(128)"))
        connection.execute(text("ALTER TABLE nowhere ADD COLUMN x INTEGER"))

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, fails))
    with pytest.raises(LedgerError):
        Ledger(postgres_url).open()
    engine = create_engine(as_sqlalchemy(postgres_url))
    with engine.connect() as connection:
        kept = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key != "x"))
        assert kept == before
        assert "owner" not in {c["name"] for c in inspect(connection).get_columns("decisions")}
    engine.dispose()


def test_a_database_of_something_else_is_left_alone(postgres_url: str) -> None:
    engine = create_engine(as_sqlalchemy(postgres_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id INTEGER)"))
        connection.execute(text("CREATE SCHEMA beside"))
    with pytest.raises(LedgerError, match="is a database of something else"):
        Ledger(postgres_url).open()
    beside = f"{postgres_url}?options=-csearch_path%3Dbeside"
    with Ledger(beside) as ledger:
        ledger.record_here(call())
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["users"]
    engine.dispose()
    with pytest.raises(LedgerError, match="schema of its search_path does not exist"):
        Ledger(beside.replace("Dbeside", "Dnowhere")).open()


def test_a_command_that_reads_makes_no_tables(postgres_url: str) -> None:
    with pytest.raises(LedgerError, match="there is no ledger here"):
        Ledger(postgres_url, must_exist=True).open()


# -- errors ----------------------------------------------------------------------------------------


def test_no_error_holds_the_password(postgres_server: Postgres, postgres_url: str) -> None:
    gone = f"postgresql://me:{PASSWORD}@127.0.0.1:1/ledger"
    for url, says in (
        (gone, "cannot be reached"),
        (postgres_server.url("nowhere"), "there is no such database"),
        (postgres_server.url("postgres", password=f"x{PASSWORD}"), "refused the user or the pass"),
    ):
        with pytest.raises(LedgerError, match=says) as caught:
            Ledger(url).open()
        error: BaseException | None = caught.value
        assert "\n" not in str(error)
        while error is not None:
            assert PASSWORD not in str(error)
            error = error.__cause__
    assert PASSWORD not in Ledger(postgres_url).where


async def test_an_error_never_holds_what_was_said(postgres_url: str) -> None:
    async with Ledger(postgres_url) as ledger:
        record = call(text='{"answer":"zebra"}')
        await ledger.record(record)
        with pytest.raises(LedgerError) as caught:
            await ledger.record(record)
    assert "zebra" not in str(caught.value)


# -- durability ------------------------------------------------------------------------------------


def test_a_commit_waits_for_the_disk_even_where_the_server_does_not(postgres_url: str) -> None:
    lazy = f"{postgres_url}?options=-csynchronous_commit%3Doff"
    for url, expected in ((postgres_url, "on"), (lazy, "on")):
        with Ledger(url) as ledger:
            found = ledger._work(lambda c: c.execute(text("SHOW synchronous_commit")).scalar())
            assert found == expected
    with Ledger(f"{postgres_url}?options=-csynchronous_commit%3Dremote_apply") as ledger:
        found = ledger._work(lambda c: c.execute(text("SHOW synchronous_commit")).scalar())
        assert found == "remote_apply"


async def test_a_connection_that_ended_between_two_records_is_made_again(
    postgres_url: str,
) -> None:
    async with Ledger(postgres_url) as ledger:
        await ledger.record(call(seat=0))
        engine = create_engine(as_sqlalchemy(postgres_url))
        with engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        engine.dispose()
        await ledger.record(call(seat=1))
        assert ledger.open_job(input_sha256="f" * 64, policy_version="p").resumed is False
        assert {record.seat for record in ledger.calls_of("d")} == {0, 1}


@pytest.mark.waits
async def test_a_server_killed_and_started_again_has_lost_nothing_acknowledged(
    postgres_server: Postgres, postgres_url: str
) -> None:
    acknowledged: set[int] = set()
    failed: list[LedgerError] = []
    enough, back = asyncio.Event(), asyncio.Event()

    async def keep_on(ledger: Ledger, first: int) -> None:
        after = 0
        for seat in range(first, first + 100_000):
            try:
                await ledger.record(call(seat=seat))
            except LedgerError as error:
                failed.append(error)
                await asyncio.sleep(0.05)
            else:
                acknowledged.add(seat)
                if len(acknowledged) > 100:
                    enough.set()
                after += back.is_set()
                if after > 10:
                    return

    async with Ledger(postgres_url) as ledger:
        writing = [asyncio.create_task(keep_on(ledger, 1_000_000 * i)) for i in range(4)]
        await enough.wait()
        await asyncio.to_thread(postgres_server.restart, signal.SIGQUIT)
        back.set()
        await asyncio.gather(*writing)
        kept = {record.seat for record in ledger.calls_of("d")}
    assert failed, "the server was away"
    assert acknowledged <= kept
