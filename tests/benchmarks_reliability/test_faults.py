"""A little of the long run under faults; and its checks find what is broken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.reliability._fault_checks import Evidence, checks
from benchmarks.reliability._fault_run import ROWS
from benchmarks.reliability.faults import run

pytestmark = pytest.mark.waits


async def test_what_is_promised_holds_and_the_checks_see_where_it_does_not(tmp_path: Path) -> None:
    evidence = await run(tmp_path, calls=80, seed=3, outage_s=0)
    assert [line.promise for line in checks(evidence) if line.broken] == []
    for break_it, promise in BREAKS.items():
        spoiled = copy.deepcopy(evidence)
        break_it(spoiled)
        broken = [line.promise for line in checks(spoiled) if line.broken]
        assert any(promise in said for said in broken), promise


def a_bill_is_lost(evidence: Evidence) -> None:
    for calls in evidence.calls.values():
        calls[:] = [call for call in calls if call["failure"] is not None]


def a_bill_stands_twice(evidence: Evidence) -> None:
    for calls in evidence.calls.values():
        calls += [call for call in calls if call["failure"] is None]


def an_answer_costs_less(evidence: Evidence) -> None:
    for calls in evidence.calls.values():
        for call in calls:
            call["cost_pico"] = min(call["cost_pico"], 1)


def a_task_is_left(evidence: Evidence) -> None:
    evidence.seen[0].left = ("a task",)


def a_seat_is_forgotten(evidence: Evidence) -> None:
    for name, receipt in evidence.receipts.items():
        hops = [h.model_copy(update={"ballots": (), "failures": ()}) for h in receipt.hops]
        evidence.receipts[name] = receipt.model_copy(update={"hops": tuple(hops)})


def a_ballot_rests_on_a_refusal(evidence: Evidence) -> None:
    for entry in evidence.by_id.values():
        entry["fault"] = "refusal"


def it_comes_too_late(evidence: Evidence) -> None:
    one = next(one for one in evidence.seen if ROWS[one.row].deadline_s is not None)
    one.ended += 60.0


BREAKS: dict[Callable[[Evidence], None], str] = {
    a_bill_is_lost: "none missing",
    a_bill_stands_twice: "none twice",
    an_answer_costs_less: "the provider's own bill",
    a_task_is_left: "still runs",
    a_seat_is_forgotten: "every one is a ballot",
    a_ballot_rests_on_a_refusal: "no ballot rests",
    it_comes_too_late: "the deadline of a decision",
}
