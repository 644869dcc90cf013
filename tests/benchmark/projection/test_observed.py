from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.ballots import Usage
from consensus.benchmark.projection import observe, project
from consensus.errors import DataError
from consensus.ledger import Ledger
from tests.benchmark.projection.traffic import policy
from tests.ledger.records import call, receipt_of
from tests.ledger.test_attribution import DAY, NOON, decide

ROWS = '[tasks.refund]\ntier = "small"\nescalate_to = ["frontier"]\nowner = "payments"\n'
CENT = 10**10
LENGTH = Usage(input=900, cache_read=100, output=90, reasoning=10)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as book:
        yield book


def month(ledger: Ledger) -> None:
    """20 decisions on two days: 15 settled at a cent, 5 escalated to a frontier call at ten."""
    for i in range(20):
        name, at = f"d{i}", NOON + (i % 2) * DAY
        records = [
            call(name, cost_pico=CENT, requested_model="x/small", served_model="x/small",
                 task_type="refund", usage=LENGTH, started_at=at, latency_s=1.0)
        ]  # fmt: skip
        if i < 5:
            records.append(
                call(name, seat=1, cost_pico=10 * CENT, requested_model="x/front",
                     served_model="x/front", task_type="refund", usage=LENGTH, started_at=at)
            )  # fmt: skip
        for record in records:
            ledger.record_here(record)
        hops = 2 if i < 5 else 1
        receipt = receipt_of(records, receipt_id=name, hops=hops, created_at=at)
        decision = receipt.decision.model_copy(update={"task_type": "refund"})
        ledger.keep_here(receipt.model_copy(update={"decision": decision}))


def test_the_ledgers_days_are_scaled_to_a_month(ledger: Ledger) -> None:
    month(ledger)
    seen = observe(ledger, policy(ROWS))
    (flow,) = seen.flows
    assert (seen.days, seen.decisions) == (2, 20)
    assert flow.monthly == pytest.approx(20 * 30 / 2)
    assert flow.owner == "payments"
    assert "20 decisions of 2 days" in seen.words


def test_a_projection_of_what_the_ledger_saw_repeats_what_was_paid(ledger: Ledger) -> None:
    month(ledger)
    table = policy(ROWS)
    seen = observe(ledger, table)
    (line,) = project(table, seen.flows, measurements=seen.measurements).types
    assert line.source == "ledger"
    assert line.after == pytest.approx(300 * (20 * 0.01 + 5 * 0.10) / 20)
    assert line.escalation == pytest.approx(0.25)
    assert line.latency_p50_s == pytest.approx(0.5)
    # The frontier was asked in the cascade, not beside it: before is its list price.
    assert not line.before_measured
    assert line.before == pytest.approx(300 * (1_000 * 10 + 90 * 50) / 1e6)


def test_frontier_calls_beside_decisions_are_before_and_no_part_of_after(ledger: Ledger) -> None:
    for i in range(4):
        decide(ledger, f"d{i}", CENT, frontier=7 * CENT, requested_model="x/small",
               served_model="x/small")  # fmt: skip
    table = policy(ROWS)
    seen = observe(ledger, table)
    (line,) = project(table, seen.flows, measurements=seen.measurements).types
    assert line.before_measured
    assert line.before == pytest.approx(line.monthly * 0.07)
    assert line.after == pytest.approx(line.monthly * 0.01)


def test_repairs_failed_attempts_and_graders_are_told_apart(ledger: Ledger) -> None:
    records = [
        call("d", cost_pico=CENT, task_type="refund", requested_model="x/small",
             served_model="x/small", started_at=NOON),
        call("d", cost_pico=2 * CENT, task_type="refund", purpose="repair", started_at=NOON,
             requested_model="x/small", served_model="x/small"),
        call("d", cost_pico=3 * CENT, task_type="refund", text=None, started_at=NOON),
        call("d", cost_pico=4 * CENT, task_type="refund", purpose="grade", started_at=NOON,
             requested_model="x/mid", served_model="x/mid"),
    ]  # fmt: skip
    for record in records:
        ledger.record_here(record)
    receipt = receipt_of(records, receipt_id="d", created_at=NOON)
    decision = receipt.decision.model_copy(update={"task_type": "refund"})
    ledger.keep_here(receipt.model_copy(update={"decision": decision}))
    table = policy(ROWS)
    seen = observe(ledger, table)
    (line,) = project(table, seen.flows, measurements=seen.measurements).types
    assert line.roles.retries == pytest.approx(line.monthly * 0.05)
    assert line.roles.graders == pytest.approx(line.monthly * 0.04)
    assert line.roles.settled == pytest.approx(line.monthly * 0.01)
    assert line.after == pytest.approx(line.monthly * 0.10)


def test_an_empty_stretch_of_the_ledger_is_one_clear_error(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="no decision of that time"):
        observe(ledger, policy(ROWS))
    month(ledger)
    with pytest.raises(DataError, match="no decision of that time"):
        observe(ledger, policy(ROWS), since=NOON + 5 * DAY)


def test_a_cascade_that_never_escalated_yet_is_priced_by_its_next_hop(ledger: Ledger) -> None:
    for i in range(10):
        decide(ledger, f"d{i}", CENT, requested_model="x/small", served_model="x/small",
               usage=LENGTH)  # fmt: skip
    table = policy(ROWS)
    seen = observe(ledger, table)
    (line,) = project(table, seen.flows, measurements=seen.measurements).types
    assert line.cascade is not None
    assert line.cascade.second > line.cascade.first
    assert line.cascade.rate == 0
    assert line.worst > line.after
