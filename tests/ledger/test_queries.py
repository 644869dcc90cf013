from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.ballots import Cost
from consensus.decisions import Frontier
from consensus.ledger import Ledger
from consensus.ledger.queries import list_decisions, type_stats
from consensus.ledger.verify import verify
from consensus.tasks import Approve, Rank
from tests.ledger.records import call, receipt_of

DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as book:
        yield book


def decide(ledger: Ledger, name: str, *, age_days: float = 0, **fields: object) -> None:
    at = time.time() - age_days * DAY
    records = [call(name, seat=seat, started_at=at) for seat in range(2)]
    for record in records:
        ledger.record_here(record)
    ledger.keep_here(receipt_of(records, receipt_id=name, created_at=at, **fields))  # type: ignore[arg-type]


def test_the_latest_decisions_come_first_and_no_more_than_asked_for(ledger: Ledger) -> None:
    for i in range(5):
        decide(ledger, f"d{i}", age_days=5 - i)
    found = list_decisions(ledger, limit=3)
    assert [one.receipt_id for one in found] == ["d4", "d3", "d2"]


def test_decisions_are_found_by_type_action_and_time(ledger: Ledger) -> None:
    decide(ledger, "old", age_days=3)
    decide(ledger, "new")
    decide(ledger, "other", task=Approve(type="another", subject="s"))
    assert {one.receipt_id for one in list_decisions(ledger, task_type="another")} == {"other"}
    since = time.time() - DAY
    assert {one.receipt_id for one in list_decisions(ledger, since=since)} == {"new", "other"}
    assert list_decisions(ledger, action="abstain") == ()
    assert len(list_decisions(ledger, action="act")) == 3


def test_a_list_shows_no_judged_text(ledger: Ledger) -> None:
    task = Rank(type="t", items=("a secret item", "another secret"))
    order = ("a secret item", "another secret")
    decide(ledger, "d", task=task, answers=[order, order])
    (found,) = list_decisions(ledger)
    assert found.outcome is None
    assert "secret" not in json.dumps(found.to_json())


def test_a_list_shows_outcomes_that_are_of_a_closed_set(ledger: Ledger) -> None:
    decide(ledger, "d", answers=["reject", "reject"])
    (found,) = list_decisions(ledger)
    assert found.outcome == "reject"
    assert found.to_json()["cost"] == {"usd": 2 * 123_456_789 / 1e12}


def test_sums_are_by_type_and_served_model_and_exact(ledger: Ledger) -> None:
    records = [call(seat=i, cost_pico=10**15 + i) for i in range(3)]
    records.append(call(seat=3, text=None))
    records.append(call(seat=0, served_model="openai/gpt-5.4-mini", cost_pico=5))
    for record in records:
        ledger.record_here(record)
    ledger.keep_here(receipt_of(records, hops=2))
    (stats,) = type_stats(ledger)
    assert (stats.decisions, stats.acted, stats.escalations) == (1, 1, 1)
    assert stats.cost_pico == 3 * 10**15 + 3 + 5
    by_model = {model.served_model: model for model in stats.models}
    assert set(by_model) == {
        "openai/gpt-5.4-nano-2026-03-05",
        "openai/gpt-5.4-mini",
        "openai/gpt-5.4-nano",
    }
    nano = by_model["openai/gpt-5.4-nano-2026-03-05"]
    assert (nano.calls, nano.failures, nano.cost_pico) == (3, 0, 3 * 10**15 + 3)
    assert nano.usage == sum((r.usage for r in records[1:3]), records[0].usage)
    assert by_model["openai/gpt-5.4-nano"].failures == 1


def test_an_answer_from_a_tape_is_counted_apart_and_costs_nothing_again(ledger: Ledger) -> None:
    ledger.record_here(call("one"))
    ledger.record_here(call("two", replayed=True))
    ((model,),) = [stats.models for stats in type_stats(ledger)]
    assert (model.calls, model.replayed, model.cost_pico) == (1, 1, 123_456_789)


def test_frontier_calls_are_counted_with_their_model_and_in_no_decisions_cost(
    ledger: Ledger,
) -> None:
    panel = call(seat=0, cost_pico=10)
    beside = call(seat=9, cost_pico=999, purpose="frontier", served_model="anthropic/opus")
    frontier = Frontier(model="anthropic/opus", outcome="approve", cost=Cost(pico_usd=999))
    for record in (panel, beside):
        ledger.record_here(record)
    ledger.keep_here(receipt_of([panel, beside], frontier=frontier))
    (stats,) = type_stats(ledger)
    assert stats.cost_pico == 10
    opus = next(model for model in stats.models if model.served_model == "anthropic/opus")
    assert (opus.frontier_calls, opus.cost_pico) == (1, 999)
    assert verify(ledger).ok


def test_sums_since_a_day_leave_older_days_out(ledger: Ledger) -> None:
    decide(ledger, "old", age_days=3)
    decide(ledger, "new")
    (stats,) = type_stats(ledger, since=time.time() - DAY)
    assert stats.decisions == 1
    assert stats.models[0].calls == 2


def test_an_empty_ledger_has_empty_answers(ledger: Ledger) -> None:
    assert list_decisions(ledger) == ()
    assert type_stats(ledger) == ()
    assert verify(ledger).ok


def change(path: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql, values)
    connection.commit()
    connection.close()


def test_a_sound_ledger_is_verified(ledger: Ledger) -> None:
    decide(ledger, "d")
    ledger.record_here(call("cut-short"))
    result = verify(ledger)
    assert result.ok
    assert (result.decisions, result.calls, result.unfinished) == (1, 3, 1)


def test_a_changed_receipt_is_found(ledger: Ledger, path: Path) -> None:
    decide(ledger, "d")
    plain = ledger.receipt("d").to_bytes()
    forged = plain.replace(b'"act"', b'"act" ')
    change(path, "UPDATE decisions SET receipt = ?", forged)
    assert verify(ledger).problems == (
        "receipt d: was changed after it was kept (its hash differs)",
    )


def test_a_receipt_that_cannot_be_read_is_found(ledger: Ledger, path: Path) -> None:
    decide(ledger, "d")
    change(path, "UPDATE decisions SET receipt = ?", b"gone")
    (problem,) = verify(ledger).problems
    assert problem.startswith("receipt d: is not a receipt")


def test_a_cost_that_does_not_add_up_is_found_to_the_last_digit(ledger: Ledger, path: Path) -> None:
    decide(ledger, "d")
    change(path, "UPDATE calls SET cost_pico = cost_pico + 1 WHERE seat = 0")
    assert verify(ledger).problems == (
        "receipt d: the decision cost 246913578 pico-dollars, its calls 246913579",
    )


def test_a_missing_call_is_found(ledger: Ledger, path: Path) -> None:
    decide(ledger, "d")
    change(path, "DELETE FROM calls")
    (problem,) = verify(ledger).problems
    assert "its calls 0" in problem


def test_a_changed_column_is_found(ledger: Ledger, path: Path) -> None:
    decide(ledger, "d")
    change(path, "UPDATE decisions SET action = 'escalate'")
    assert verify(ledger).problems == ('receipt d: its row\'s "action" differs from the receipt',)


def test_many_problems_are_counted_and_not_all_named(ledger: Ledger, path: Path) -> None:
    for i in range(5):
        decide(ledger, f"d{i}")
    change(path, "DELETE FROM calls")
    problems = verify(ledger, most=2).problems
    assert len(problems) == 3
    assert problems[2] == "and 3 more"
