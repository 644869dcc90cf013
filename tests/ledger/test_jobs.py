from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import LedgerError
from consensus.ledger import CallScope, Ledger
from consensus.ledger.jobs import PaidCalls
from consensus.ledger.rows import decision_id, job_of
from consensus.ledger.verify import verify
from consensus.models.tape import PaidSource
from tests.ledger import other_process
from tests.ledger.records import call, receipt_of

FILE: dict[str, Any] = {"input_sha256": "f" * 64, "policy_version": "policy-1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_the_same_file_and_policy_cut_short_is_the_same_job(path: Path) -> None:
    with Ledger(path) as ledger:
        first = ledger.open_job(**FILE)
    with Ledger(path) as ledger:
        again = ledger.open_job(**FILE)
    assert not first.resumed
    assert again.resumed
    assert again.job_id == first.job_id


@pytest.mark.parametrize(
    "other",
    [
        {"input_sha256": "e" * 64},
        {"policy_version": "policy-2"},
        {"options": {"frontier": "anthropic/claude-opus-5-5"}},
    ],
)
def test_another_file_policy_or_option_is_another_job(path: Path, other: dict[str, object]) -> None:
    with Ledger(path) as ledger:
        first = ledger.open_job(**FILE)
        assert ledger.open_job(**{**FILE, **other}).job_id != first.job_id


def test_a_finished_job_is_not_taken_up(path: Path) -> None:
    with Ledger(path) as ledger:
        first = ledger.open_job(**FILE)
        ledger.finish_job(first)
        second = ledger.open_job(**FILE)
    assert not second.resumed
    assert second.job_id != first.job_id


def test_one_job_is_run_by_one_process_at_a_time(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.open_job(**FILE)
        with Ledger(path) as other, pytest.raises(LedgerError, match="run by another process"):
            other.open_job(**FILE)


def test_a_killed_process_lets_its_job_go(path: Path) -> None:
    process = other_process.context().Process(
        target=other_process.open_job_and_die, args=(str(path),)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -9
    with Ledger(path) as ledger:
        assert ledger.open_job(**FILE).resumed


def test_a_job_that_was_left_can_be_taken_up_and_leaves_no_lock_file(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.leave_job(ledger.open_job(**FILE))
        assert [name for name in os.listdir(path.parent) if name.endswith(".lock")] == []  # noqa: PTH208
        assert ledger.open_job(**FILE).resumed


@pytest.mark.parametrize("index", [0, 7, 12_345_678, 2**62])
def test_a_rows_decision_has_an_id_that_says_job_and_row(index: int) -> None:
    assert job_of(decision_id("01ABC", index)) == ("01ABC", index)


@pytest.mark.parametrize("identifier", ["01ABC", "", "a.b", "a.", ".", "a.1b"])
def test_other_ids_are_of_no_job(identifier: str) -> None:
    assert job_of(identifier) == (None, None)


async def test_only_what_is_not_yet_decided_is_paid_calls(path: Path) -> None:
    async with Ledger(path) as ledger:
        job = ledger.open_job(**FILE)
        done, open_ = job.decision_id(0), job.decision_id(1)
        finished = [call(done, seat=0), call(done, seat=1)]
        for record in [*finished, call(open_, key="paid"), call(open_, key="failed", text=None)]:
            await ledger.record(record)
        await ledger.record(call("elsewhere", key="paid"))
        await ledger.keep(receipt_of(finished, receipt_id=done))
        paid = ledger.paid_calls(job.job_id)
        assert len(paid) == 1
        assert paid.lookup("paid", CallScope(open_)) is not None
        assert ledger.finished(job.job_id) == {0}
        assert dict(ledger.decision_rows(job.job_id))[0]["receipt_id"] == done


def test_an_answer_is_handed_out_once_so_equal_seats_get_one_each() -> None:
    first, second = call("d", seat=0, key="same"), call("d", seat=1, key="same")
    paid = PaidCalls([first, second])
    scope = CallScope("d")
    given = [paid.lookup("same", scope), paid.lookup("same", scope), paid.lookup("same", scope)]
    assert [record and record.call_id for record in given] == [
        first.call_id,
        second.call_id,
        None,
    ]


def test_a_row_with_the_same_text_does_not_get_its_neighbours_answer() -> None:
    paid = PaidCalls([call(decision_id("job", 1), key="same")])
    assert paid.lookup("same", CallScope(decision_id("job", 2))) is None
    assert len(paid) == 1


def test_the_frontiers_answer_and_the_panels_are_kept_apart() -> None:
    paid = PaidCalls([call("d", key="same", purpose="frontier"), call("d", key="same")])
    panel, beside = CallScope("d", frontier=False), CallScope("d", frontier=True)
    first, second = paid.lookup("same", panel), paid.lookup("same", beside)
    assert first is not None
    assert first.purpose == "ballot"
    assert second is not None
    assert second.purpose == "frontier"


def test_what_was_paid_and_not_asked_for_again_is_still_counted() -> None:
    used, left = call("d", key="a", cost_pico=5), call("d", key="b", cost_pico=7)
    broken = call("d", key="a", text=None, cost_pico=2)
    paid = PaidCalls([broken, used, left])
    assert paid.lookup("a", CallScope("d")) is used
    assert paid.unused("d") == (broken, left)
    paid.forget("d")
    assert paid.unused("d") == ()


def test_the_gateways_view_knows_the_payment() -> None:
    record = call("d", key="a", cost_pico=5)
    source = PaidCalls([record]).of(CallScope("d"))
    assert isinstance(source, PaidSource)
    paid = source.recall("a")
    assert paid is not None
    assert (paid.call_id, paid.cost_pico, paid.completion) == (
        record.call_id,
        5,
        record.completion,
    )
    assert source.recall("a") is None
    assert source.lookup("a") is None


async def test_a_job_killed_and_taken_up_pays_for_every_answer_once(path: Path) -> None:
    """Forty rows by five seats; killed after 90 calls; the second run asks for what is missing."""
    asked: list[str] = []

    async def seat(ledger: Ledger, paid: PaidCalls, name: str, index: int) -> object:
        key = f"key-{index % 2}"  # seats 0, 2 and 4 ask the very same thing
        record = paid.lookup(key, CallScope(name))
        if record is None:
            record = call(name, seat=index, key=key)
            asked.append(name)
            await ledger.record(record)
        return record

    async def run(ledger: Ledger, stop_after: int | None) -> None:
        job = ledger.open_job(**FILE)
        paid, done = ledger.paid_calls(job.job_id), ledger.finished(job.job_id)
        for row in range(40):
            if row in done:
                continue
            name = job.decision_id(row)
            records = await asyncio.gather(*(seat(ledger, paid, name, i) for i in range(5)))
            if stop_after is not None and len(asked) >= stop_after:
                return
            await ledger.keep(receipt_of(records, receipt_id=name))  # type: ignore[arg-type]

    async with Ledger(path) as ledger:
        await run(ledger, stop_after=93)
    async with Ledger(path) as ledger:
        await run(ledger, stop_after=None)
        assert len(asked) == 200
        assert all(asked.count(name) == 5 for name in asked)
        checked = verify(ledger)
    assert checked.ok
    assert (checked.decisions, checked.calls, checked.unfinished) == (40, 200, 0)


async def test_a_finished_job_without_text_keeps_no_answers(path: Path) -> None:
    async with Ledger(path, store_text=False) as ledger:
        job = ledger.open_job(**FILE)
        await ledger.record(call(job.decision_id(3)))
        assert len(ledger.paid_calls(job.job_id)) == 1
        ledger.finish_job(job)
        assert len(ledger.paid_calls(job.job_id)) == 0
