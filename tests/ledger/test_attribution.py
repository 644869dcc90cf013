from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from consensus.ballots import Cost, Usage
from consensus.decisions import Frontier
from consensus.errors import DeclarationError
from consensus.ledger import Ledger
from consensus.ledger.attribution import (
    DIMENSIONS,
    NO_OWNER,
    NO_RECEIPT,
    UNSERVED,
    attribute,
    observed_days,
)
from consensus.ledger.verify import verify
from consensus.models.rates import from_policy
from consensus.tasks import Approve
from tests.ledger.records import call, receipt_of

DAY = 86_400
NOON = 20_000 * DAY + DAY // 2
OPUS = from_policy("x/opus", "x/opus", {"input": 4, "output": 20})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as book:
        yield book


def decide(
    ledger: Ledger,
    name: str,
    *costs: int,
    type_: str = "refund",
    at: float = NOON,
    frontier: int | None = None,
    agrees: bool | None = None,
    hops: int = 1,
    **fields: Any,
) -> None:
    """A decision of so many seats at these prices."""
    records = [
        call(name, seat=i, cost_pico=cost, task_type=type_, started_at=at, **fields)
        for i, cost in enumerate(costs)
    ]
    beside = None
    if frontier is not None:
        asked = call(
            name, seat=9, purpose="frontier", cost_pico=frontier, task_type=type_, started_at=at
        )
        beside = Frontier(model="x/opus", agrees=agrees, cost=Cost(pico_usd=frontier))
        records.append(asked)
    for record in records:
        ledger.record_here(record)
    receipt = receipt_of(
        records,
        receipt_id=name,
        task=Approve(type=type_, subject="s"),
        frontier=beside,
        hops=hops,
        created_at=at,
    )
    ledger.keep_here(receipt)


def wild(ledger: Ledger, seed: int) -> int:
    """Decisions of all sorts, shared answers and unfinished work too; what was really paid."""
    rng = random.Random(seed)
    paid = 0
    for i in range(40):
        at = NOON + rng.randrange(4) * DAY
        costs = [rng.randrange(10**13) for _ in range(rng.randrange(1, 5))]
        beside = rng.randrange(10**13) if rng.random() < 0.3 else None
        decide(
            ledger, f"d{i}", *costs, type_=rng.choice("abc"), at=at, frontier=beside,
            served_model=rng.choice(["x/s", "x/m"]), requested_model=rng.choice(["x/s", "x/t"]),
            hops=rng.choice([1, 2]),
        )  # fmt: skip
        paid += sum(costs) + (beside or 0)
    for i in range(5):
        again = call(f"r{i}", cost_pico=rng.randrange(10**13), replayed=True, started_at=NOON)
        ledger.record_here(again)
        ledger.keep_here(receipt_of([again], receipt_id=f"r{i}", created_at=NOON))
        torn = call(f"u{i}", cost_pico=rng.randrange(10**13), task_type="a", started_at=NOON)
        ledger.record_here(torn)
        ledger.record_here(call(f"u{i}", text=None, cost_pico=7, task_type="b", started_at=NOON))
        paid += torn.cost_pico + 7
    return paid


@pytest.mark.parametrize("seed", range(3))
def test_the_groups_of_any_dimensions_sum_to_what_was_paid_to_the_pico_dollar(
    ledger: Ledger, seed: int
) -> None:
    paid = wild(ledger, seed)
    pairs = [*((name,) for name in DIMENSIONS), *combinations(DIMENSIONS, 2), DIMENSIONS]
    for by in pairs:
        report = attribute(ledger, by=by)
        assert sum(group.cost_pico for group in report.groups) == paid, by
        assert report.total.cost_pico == paid
        assert sum(group.calls for group in report.groups) == report.total.calls
        used = sum((group.usage for group in report.groups), Usage())
        assert used == report.total.usage


def test_paid_and_replayed_are_what_decisions_frontiers_and_unfinished_work_cost(
    ledger: Ledger,
) -> None:
    wild(ledger, 7)
    assert verify(ledger).ok
    balance = attribute(ledger).balance
    assert balance.open_pico == 0
    assert balance.unfinished_pico > 0
    assert balance.replayed_pico > 0
    assert balance.beside_pico > 0


def test_an_answer_shared_by_two_decisions_is_paid_once(ledger: Ledger) -> None:
    decide(ledger, "first", 500)
    shared = call("second", cost_pico=500, replayed=True, started_at=NOON, task_type="refund")
    ledger.record_here(shared)
    ledger.keep_here(receipt_of([shared], receipt_id="second", created_at=NOON))
    total = attribute(ledger).total
    assert (total.cost_pico, total.replayed_pico) == (500, 500)
    assert (total.calls, total.replayed) == (1, 1)


def test_decisions_are_counted_by_how_they_ended(ledger: Ledger) -> None:
    decide(ledger, "plain", 1)
    decide(ledger, "higher", 1, 1, hops=2)
    nothing = call("none", text=None, started_at=NOON)
    ledger.record_here(nothing)
    ledger.keep_here(receipt_of([nothing], receipt_id="none", created_at=NOON))
    total = attribute(ledger).total
    assert (total.decisions, total.acted, total.abstained) == (3, 2, 1)
    assert total.escalations == 1
    assert total.failures == 1


def test_an_owner_is_that_of_the_policys_row(ledger: Ledger) -> None:
    decide(ledger, "a", 3, type_="refund")
    decide(ledger, "b", 4, type_="triage")
    decide(ledger, "c", 5, type_="other")
    report = attribute(
        ledger, by=["owner"], owners={"refund": "payments", "triage": "payments", "other": None}
    )
    assert {one.key[0]: one.cost_pico for one in report.groups} == {"payments": 7, NO_OWNER: 5}
    assert sum(one.decisions for one in report.groups) == 3


def test_a_day_is_the_day_in_utc_and_days_stand_in_order(ledger: Ledger) -> None:
    decide(ledger, "late", 1, at=NOON + DAY)
    decide(ledger, "early", 9, at=NOON)
    report = attribute(ledger, by=["day"])
    assert [one.key for one in report.groups] == [("2024-10-04",), ("2024-10-05",)]
    assert observed_days(ledger) == 2


def test_since_takes_the_moment_in_and_until_leaves_it_out(ledger: Ledger) -> None:
    for i in range(3):
        decide(ledger, f"d{i}", 10**i, at=NOON + i)
    found = attribute(ledger, since=NOON, until=NOON + 2)
    assert found.total.cost_pico == 11
    assert found.total.decisions == 2


def test_calls_without_a_receipt_and_attempts_that_nobody_served_have_their_own_names(
    ledger: Ledger,
) -> None:
    ledger.record_here(call("torn", cost_pico=5, started_at=NOON))
    ledger.record_here(call("torn", text=None, cost_pico=2, started_at=NOON))
    routes = attribute(ledger, by=["route"]).groups
    assert [(one.key, one.cost_pico) for one in routes] == [((NO_RECEIPT,), 7)]
    served = {one.key[0]: one.failures for one in attribute(ledger, by=["served"]).groups}
    assert served[UNSERVED] == 1


def test_latency_is_of_decisions_and_grouped_by_model_of_calls(ledger: Ledger) -> None:
    for i in range(1, 21):
        decide(ledger, f"d{i}", 1, latency_s=float(i))
    total = attribute(ledger).total
    assert (total.latency_p50_s, total.latency_p95_s) == (0.5, 0.5)
    (served,) = attribute(ledger, by=["served"]).groups
    assert (served.latency_p50_s, served.latency_p95_s) == (10.0, 19.0)


def test_all_frontier_is_one_call_a_decision_at_the_mean_length_of_its_own(ledger: Ledger) -> None:
    short = Usage(input=100, output=10)
    decide(ledger, "d", 1_000_000, 1_000_000, usage=short)
    report = attribute(ledger, frontier=("x/opus", OPUS))
    one_call = 100 * 4_000_000 + 10 * 20_000_000
    assert report.total.frontier_pico == one_call
    assert report.total.saved_pico == one_call - 2_000_000
    assert report.saved_pico == one_call - 2_000_000
    assert report.could_save_pico == 0


def test_a_panel_dearer_than_one_frontier_call_could_save(ledger: Ledger) -> None:
    short = Usage(input=100, output=10)
    decide(ledger, "d", 10**12, usage=short, type_="dear")
    decide(ledger, "e", 1, usage=short, type_="cheap")
    report = attribute(ledger, frontier=("x/opus", OPUS))
    one_call = 100 * 4_000_000 + 10 * 20_000_000
    assert report.could_save_pico == 10**12 - one_call
    assert report.saved_pico == one_call - 1


def test_real_frontier_calls_beside_decisions_are_told_apart(ledger: Ledger) -> None:
    decide(ledger, "a", 5, frontier=50, agrees=True)
    decide(ledger, "b", 6, frontier=60, agrees=False)
    decide(ledger, "c", 7, frontier=70)
    decide(ledger, "d", 8)
    (group,) = attribute(ledger).groups
    assert group.beside is not None
    assert (group.beside.n, group.beside.cost_pico, group.beside.frontier_pico) == (3, 18, 180)
    assert (group.beside.compared, group.beside.agreed) == (2, 1)
    assert group.beside_pico == 180
    assert group.cost_pico == 18 + 8 + 180


def test_what_is_only_an_estimate_is_told_apart_and_counted_in_what_was_paid(
    ledger: Ledger,
) -> None:
    decide(ledger, "a", 5, 6)
    decide(ledger, "b", 7, price_basis="estimated_price")
    cut = call("c", text=None, cost_pico=30, price_basis="estimated_usage", started_at=NOON)
    again = call("c", cost_pico=9, price_basis="estimated_price", replayed=True, started_at=NOON)
    for record in (cut, again):
        ledger.record_here(record)
    report = attribute(ledger, by=("served",))
    assert report.total.estimated_pico == 7 + 30
    assert report.total.cost_pico == 5 + 6 + 7 + 30
    assert sum(group.estimated_pico for group in report.groups) == 37
    assert report.to_json()["total"]["estimated"]["pico_usd"] == 37
    assert report.balance.open_pico == 0


def test_an_empty_ledger_is_a_report_of_nothing(ledger: Ledger) -> None:
    report = attribute(ledger, frontier=("x/opus", OPUS))
    assert report.groups == ()
    assert report.total.cost_pico == 0
    assert report.saved_pico is None
    assert observed_days(ledger) == 0
    json.dumps(report.to_json(), allow_nan=False)


def test_the_flat_table_has_a_cell_for_every_head(ledger: Ledger) -> None:
    decide(ledger, "a", 5)
    heads, rows = attribute(ledger, by=["type", "day"]).table()
    assert heads[:2] == ("type", "day")
    assert all(len(row) == len(heads) for row in rows)
    assert rows[0][heads.index("cost_pico")] == 5


@pytest.mark.parametrize("by", [["colour"], [], ["type", "type"]])
def test_a_wrong_dimension_is_one_clear_error(ledger: Ledger, by: list[Any]) -> None:
    with pytest.raises(DeclarationError, match="--by"):
        attribute(ledger, by=by)


def test_no_judged_text_stands_in_a_report(ledger: Ledger) -> None:
    decide(ledger, "a", 5, text='{"answer":"a secret"}', at=time.time())
    assert "secret" not in json.dumps(attribute(ledger, by=list(DIMENSIONS)).to_json())


def test_all_frontier_of_a_stretch_is_of_its_own_decisions(ledger: Ledger) -> None:
    short = Usage(input=100, output=10)
    for i in range(3):
        decide(ledger, f"d{i}", 5, usage=short, at=NOON + i * DAY)
    report = attribute(ledger, since=NOON + DAY, frontier=("x/opus", OPUS))
    assert report.total.frontier_pico == 2 * (100 * 4_000_000 + 10 * 20_000_000)
    assert report.total.compared_pico == 10
