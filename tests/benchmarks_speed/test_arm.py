from __future__ import annotations

import asyncio
import math

import pytest

from benchmarks.speed import arm
from benchmarks.speed.page import Claim, spread, table
from benchmarks.speed.rounds import Arm, Figures, Load


def test_a_majority_needs_one_leader() -> None:
    assert arm.majority(["approve", "reject", "approve"]) == "approve"
    assert arm.majority(["approve", "reject"]) == "tie"
    assert arm.majority([]) == "none"


async def test_a_batch_decides_every_case_once_and_no_more_than_asked_at_once() -> None:
    running = most = 0
    cases: list[int] = []

    async def decide(case: int) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        cases.append(case)
        return "approve"

    seen = await arm.batch(decide, 20, 4, first=100)
    assert sorted(cases) == list(range(100, 120))
    assert (seen["approve"], most) == (20, 4)


def test_a_claim_whose_figure_is_missing_is_not_met() -> None:
    missing = Claim("x", math.nan, 1.0)
    assert not missing.met
    assert "not measured" in missing.row()


@pytest.mark.parametrize(("value", "least", "met"), [(0.9, True, True), (0.9, False, False)])
def test_a_claim_is_held_against_its_bound(value: float, least: bool, met: bool) -> None:
    assert Claim("x", value, 0.9 if least else 0.8, least=least).met is met


def test_a_spread_is_the_median_with_least_and_greatest() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00–3.00)"
    assert spread([]) == "–"


def test_a_table_has_a_rule_as_wide_as_its_head() -> None:
    head, rule, row = table(("a", "b"), [["1", "2"]]).splitlines()
    assert head.count("|") == rule.count("|") == row.count("|") == 3


def test_a_slow_arm_does_a_twelfth_but_as_many_as_are_at_once() -> None:
    slow, quick = Arm("s", ("m",), slow=True), Arm("q", ("m",))
    assert Load("l", 300, 10).of(slow) == 25
    assert Load("l", 120, 100).of(slow) == 100
    assert Load("l", 120, 100).of(quick) == 120


def test_throughput_is_the_inverse_of_the_median_wall_time() -> None:
    assert Figures(cpu_ms=[1.0], wall_ms=[10.0, 20.0, 40.0]).per_second == 50.0
