"""The arithmetic of the two documents that this project began from, by its own public means."""

from __future__ import annotations

import pytest

from consensus.benchmark.projection import Projection, project, traffic_of
from tests.benchmark.projection.traffic import audit, policy

SONNET_AND_HAIKU = """\
[prices."x/sonnet"]
input = 3.0
output = 0
[prices."x/haiku"]
input = 0.80
output = 0
[tiers]
small = ["x/haiku"]
frontier = ["x/sonnet"]
[tasks.easy]
tier = "small"
[tasks.hard]
tier = "frontier"
"""

A_DAY, DAYS = 50_000, 30


def bill(tokens: int) -> Projection:
    """50,000 requests a day, 65 % of them routed to the small model; input tokens only."""
    requests = A_DAY * DAYS
    lengths = {"input_tokens": {"p50": tokens, "p95": tokens}}
    flows = traffic_of(
        audit(
            easy={"monthly_volume": requests * 65 // 100, **lengths},
            hard={"monthly_volume": requests * 35 // 100, **lengths},
        )
    )
    return project(policy(head=SONNET_AND_HAIKU), flows)


def test_fifty_thousand_requests_a_day_of_300_tokens_at_3_dollars_are_1350_a_month() -> None:
    assert bill(300).total.before == pytest.approx(1_350.00)


def test_with_65_per_cent_at_80_cents_they_are_706_a_month() -> None:
    assert bill(300).total.after == pytest.approx(706.50)


def test_the_22500_that_were_claimed_need_5000_tokens_a_request() -> None:
    assert bill(5_000).total.before == pytest.approx(22_500.00)


def test_no_length_gives_both_claimed_bills() -> None:
    # $22,500 and $6,500: at 5,000 tokens the routed bill is $11,775.
    assert bill(5_000).total.after == pytest.approx(11_775.00)


TIERS = {"low": (0.012, 0.0002), "medium": (0.038, 0.009), "high": (0.065, 0.052)}
"""Dollars a call: all-Opus, and after routing."""

SPENT = {"low": 1_278, "medium": 994, "high": 568}
"""Dollars a month before, as the table prints them: shares of the spend, not of the tasks."""


def routed(volumes: dict[str, float]) -> Projection:
    rows = "".join(
        f"[tasks.{name}]\n[tasks.{name}.profile]\nn = 15\nusd_per_decision = {after}\n"
        f"input_tokens = 500\noutput_tokens = 50\nfrontier_n = 15\nfrontier_usd = {before}\n"
        for name, (before, after) in TIERS.items()
    )
    flows = traffic_of(
        audit(
            **{
                name: {"monthly_volume": round(volume), "complexity": name}
                for name, volume in volumes.items()
            }
        )
    )
    return project(policy(rows), flows)


def test_the_table_of_spend_comes_to_711_at_its_own_prices_and_not_to_486() -> None:
    found = routed({name: SPENT[name] / TIERS[name][0] for name in TIERS})
    groups = {line.name: line for line in found.groups}
    for name, spent in SPENT.items():
        assert groups[name].before == pytest.approx(spent, abs=0.05)
    after = {name: round(line.after) for name, line in groups.items()}
    assert after == {"low": 21, "medium": 235, "high": 454}
    assert found.total.before == pytest.approx(2_840, abs=0.1)
    assert found.total.after == pytest.approx(711, abs=0.5)
    assert found.total.change == pytest.approx(-0.75, abs=0.005)


def test_read_as_shares_of_tasks_the_same_prices_give_1222() -> None:
    calls = 2_840 / (0.45 * 0.012 + 0.35 * 0.038 + 0.20 * 0.065)
    found = routed({"low": 0.45 * calls, "medium": 0.35 * calls, "high": 0.20 * calls})
    assert found.total.before == pytest.approx(2_840, abs=0.1)
    assert found.total.after == pytest.approx(1_222, abs=0.5)


def test_ten_mid_tier_calls_are_dearer_than_one_frontier_call_at_todays_prices() -> None:
    table = policy(
        head='[tiers]\nsmall = ["anthropic/claude-haiku-5-5"]\n'
        'mid = ["anthropic/claude-sonnet-5-5"]\nfrontier = ["anthropic/claude-opus-5-5"]\n'
        '[defaults]\ntier = "small"\n'
    )
    found = project(table, traffic_of(audit(t={}))).ten_calls
    assert found is not None
    assert found.ratio is not None
    assert found.ratio > 1
    assert "dearer" in found.words()
