from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from consensus.ballots import Usage
from consensus.errors import LedgerError
from consensus.ledger import CallScope, Ledger, NullLedger
from consensus.ledger.verify import verify
from consensus.models.protocol import CallRecord, CallSink, Completion
from tests.ledger.records import call, receipt_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "ledger.db"


def fields(record: CallRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in CallRecord.__slots__}


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def contents(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_call_comes_back_with_every_field(path: Path) -> None:
    record = call(replayed=False)
    record.completion = Completion(
        text='"quoted" \\ \u2028 \x00 ünï \ud800',
        served_model=str(record.served_model),
        usage=record.usage,
        finish="length",
        latency_s=record.latency_s,
        request_id=record.request_id,
        choice_probabilities=(0.25, 0.75),
        coverage=0.99,
    )
    async with Ledger(path) as ledger:
        await ledger.record(record)
        (kept,) = ledger.calls_of("d")
    assert fields(kept) == fields(record)


async def test_a_failed_attempt_comes_back_as_one(path: Path) -> None:
    record = call(text=None)
    async with Ledger(path) as ledger:
        await ledger.record(record)
        (kept,) = ledger.calls_of("d")
    assert fields(kept) == fields(record)


async def test_a_providers_headers_are_not_kept(path: Path) -> None:
    record = call()
    assert record.completion is not None
    record.completion.headers["set-cookie"] = "session"
    async with Ledger(path) as ledger:
        await ledger.record(record)
        (kept,) = ledger.calls_of("d")
    assert kept.completion is not None
    assert kept.completion.headers == {}


async def test_a_receipt_comes_back_by_its_id_and_by_how_it_begins(path: Path) -> None:
    receipt = receipt_of([call("01ABCDEF")], receipt_id="01ABCDEF")
    async with Ledger(path) as ledger:
        await ledger.keep(receipt)
        assert ledger.receipt("01ABCDEF") == receipt
        assert ledger.receipt("01ABCD") == receipt


async def test_a_prefix_of_several_receipts_is_refused(path: Path) -> None:
    async with Ledger(path) as ledger:
        for name in ("01ABCDEF", "01ABCDEG"):
            await ledger.keep(receipt_of([call(name)], receipt_id=name))
        with pytest.raises(LedgerError, match="several receipts"):
            ledger.receipt("01ABCDE")


@pytest.mark.parametrize("name", ["", "01", "nowhere", "%", "01ABC\x7f"])
async def test_an_unknown_receipt_is_one_clear_error(path: Path, name: str) -> None:
    async with Ledger(path) as ledger:
        await ledger.keep(receipt_of([call()], receipt_id="01ABCDEF"))
        with pytest.raises(LedgerError, match="no receipt"):
            ledger.receipt(name)


async def test_a_decision_can_be_kept_once(path: Path) -> None:
    async with Ledger(path) as ledger:
        await ledger.keep(receipt_of([call()]))
        with pytest.raises(LedgerError, match="holds this record already"):
            await ledger.keep(receipt_of([call()]))


async def test_a_call_can_be_recorded_once(path: Path) -> None:
    record = call()
    async with Ledger(path) as ledger:
        await ledger.record(record)
        with pytest.raises(LedgerError, match="holds this record already"):
            await ledger.record(record)
        assert len(ledger.calls_of("d")) == 1


async def test_a_replayed_call_that_is_kept_already_is_not_kept_twice(path: Path) -> None:
    record = call()
    again = call(call_id=record.call_id, replayed=True)
    async with Ledger(path) as ledger:
        await ledger.record(record)
        await ledger.record(again)
        (kept,) = ledger.calls_of("d")
    assert not kept.replayed


async def test_a_replayed_call_stands_under_every_decision_that_used_it(path: Path) -> None:
    record = call("one")
    async with Ledger(path) as ledger:
        await ledger.record(record)
        await ledger.record(call("two", call_id=record.call_id, replayed=True))
        assert [kept.call_id for kept in ledger.calls_of("two")] == [record.call_id]


async def test_one_record_that_cannot_be_written_fails_alone(path: Path) -> None:
    good = [call(key=str(i)) for i in range(20)]
    bad = call(cost_pico=2**70)
    async with Ledger(path) as ledger:
        results = await asyncio.gather(
            *(ledger.record(record) for record in [*good[:10], bad, *good[10:]]),
            return_exceptions=True,
        )
        kept = {record.call_id for record in ledger.calls_of("d")}
    assert isinstance(results[10], LedgerError)
    assert [result for i, result in enumerate(results) if i != 10] == [None] * 20
    assert kept == {record.call_id for record in good}


async def test_costs_are_exact_to_the_last_digit(path: Path) -> None:
    costs = [1, 999_999_999_999, 123_456_789_012_345_678, 7]
    records = [call(seat=i, cost_pico=cost) for i, cost in enumerate(costs)]
    async with Ledger(path) as ledger:
        await asyncio.gather(*(ledger.record(record) for record in records))
        await ledger.keep(receipt_of(records))
        assert sum(kept.cost_pico for kept in ledger.calls_of("d")) == sum(costs)
        assert ledger.receipt("d").decision.cost.pico_usd == sum(costs)
        assert verify(ledger).ok


async def test_files_are_private(path: Path) -> None:
    async with Ledger(path) as ledger:
        await ledger.record(call())
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_default_folder_is_kept_out_of_version_control(tmp_path: Path) -> None:
    async with Ledger(tmp_path / ".consensus" / "ledger.db"):
        assert (tmp_path / ".consensus" / ".gitignore").read_text() == "*\n"


async def test_in_memory_it_keeps_and_finds(tmp_path: Path) -> None:
    async with Ledger(":memory:") as ledger:
        records = [call(seat=i) for i in range(30)]
        await asyncio.gather(*(ledger.record(record) for record in records))
        await ledger.keep(receipt_of(records))
        assert len(ledger.calls_of("d")) == 30
        assert ledger.receipt("d").receipt_id == "d"
    assert names(tmp_path) == []


async def test_a_url_and_a_path_name_the_same_file(path: Path) -> None:
    async with Ledger(f"sqlite:///{path}") as ledger:
        await ledger.record(call())
    with Ledger(str(path)) as ledger:
        assert ledger.path == path
        assert len(ledger.calls_of("d")) == 1


async def test_closing_writes_what_is_queued(path: Path) -> None:
    ledger = Ledger(path)
    waiting = [asyncio.create_task(ledger.record(call(seat=i))) for i in range(50)]
    await asyncio.sleep(0)
    await ledger.aclose()
    await asyncio.gather(*waiting)
    with Ledger(path) as again:
        assert len(again.calls_of("d")) == 50


async def test_a_closed_ledger_refuses(path: Path) -> None:
    ledger = Ledger(path)
    await ledger.record(call())
    await ledger.aclose()
    await ledger.aclose()
    with pytest.raises(LedgerError, match="is closed"):
        await ledger.record(call())


def test_closed_journals_are_folded_into_the_file(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record_here(call())
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


def test_threads_without_an_event_loop_record_too(path: Path) -> None:
    with Ledger(path) as ledger:
        threads = [
            threading.Thread(target=lambda i=i: ledger.record_here(call(seat=i))) for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ledger.keep_here(receipt_of([call()]))
        assert len(ledger.calls_of("d")) == 8


def test_several_event_loops_share_one_ledger(path: Path) -> None:
    with Ledger(path) as ledger:

        async def many(first: int) -> None:
            await asyncio.gather(*(ledger.record(call(seat=first + i)) for i in range(25)))

        threads = [
            threading.Thread(target=lambda i=i: asyncio.run(many(100 * i))) for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ledger.calls_of("d")) == 100


async def test_lookup_finds_a_paid_answer_only_in_its_scope(path: Path) -> None:
    async with Ledger(path) as ledger:
        await ledger.record(call("d1", key="same", seat=2))
        await ledger.record(call("d1", key="failed", text=None))
        await ledger.record(call("d1", key="front", purpose="frontier", seat=9))
        assert ledger.lookup("same", CallScope("d1")) is not None
        assert ledger.lookup("same", CallScope("d1", seat=2)) is not None
        assert ledger.lookup("same", CallScope("d1", seat=3)) is None
        assert ledger.lookup("same", CallScope("d2")) is None
        assert ledger.lookup("other", CallScope("d1")) is None
        assert ledger.lookup("failed", CallScope("d1")) is None
        assert ledger.lookup("front", CallScope("d1", frontier=False)) is None
        assert ledger.lookup("front", CallScope("d1", frontier=True)) is not None


async def test_without_text_nothing_said_is_left_once_it_is_decided(path: Path) -> None:
    said = "the rationale quotes the customer"
    async with Ledger(path, store_text=False) as ledger:
        records = [call(seat=i, text=said) for i in range(3)]
        for record in records:
            await ledger.record(record)
        assert [kept.completion for kept in ledger.calls_of("d")].count(None) == 0
        await ledger.keep(receipt_of(records))
        assert [kept.completion for kept in ledger.calls_of("d")].count(None) == 3
        assert not ledger.receipt("d").text_stored
    data = contents(path)
    assert said.encode() not in data
    assert b"Unused, 12 days old." not in data


async def test_usage_is_kept_by_class(path: Path) -> None:
    usage = Usage(input=1, cache_read=2, cache_write=3, cache_write_1h=4, output=5, reasoning=6)
    async with Ledger(path) as ledger:
        await ledger.record(call(usage=usage))
        assert ledger.calls_of("d")[0].usage == usage


async def test_the_null_ledger_keeps_nothing() -> None:
    ledger = NullLedger()
    sink: CallSink = ledger
    await sink.record(call())
    await ledger.keep(receipt_of([call()]))
    await ledger.aclose()


def test_making_a_ledger_touches_no_file(path: Path) -> None:
    Ledger(path)
    assert not path.parent.exists()


async def test_starting_opens_the_file_in_the_background(path: Path) -> None:
    ledger = Ledger(path).start()
    await ledger.record(call())
    assert ledger.stats.commits >= 1
    await ledger.aclose()


async def test_what_starting_could_not_open_the_first_record_says(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path).start()
    with pytest.raises(LedgerError, match="cannot be opened"):
        await ledger.record(call())
    await ledger.aclose()
