from __future__ import annotations

from pathlib import Path

import pytest

from consensus.errors import PriceError
from consensus.models.prices import PriceBook
from consensus.policy import PolicyTable, route_type
from consensus.policy.estimate import PROMPT_TOKENS, estimate
from tests.policy.books import table_of

TEXT = """\
[prices."x/cheap"]
input = 1
output = 10
[prices."x/dear"]
input = 100
output = 1_000
[tiers]
small = ["x/cheap"]
frontier = ["x/dear"]
[tasks.t]
strategy = "vote"
tier = "small"
seats = 3
escalate_to = ["frontier"]
expected_input_tokens = 650
expected_output_tokens = 100
"""


def book(table: PolicyTable) -> PriceBook:
    return PriceBook(overrides=table.price_overrides())


def test_a_panel_costs_its_seats_and_every_escalation_on_top(tmp_path: Path) -> None:
    table = table_of(tmp_path, TEXT)
    cost = estimate(table, route_type(table, "t"), book(table))
    assert (cost.input_tokens, cost.output_tokens) == (650 + PROMPT_TOKENS, 100)
    assert cost.first_usd == pytest.approx(3 * (1_000 * 1 + 100 * 10) / 1e6)
    assert cost.all_usd == pytest.approx(cost.first_usd + (1_000 * 100 + 100 * 1_000) / 1e6)
    assert cost.hops[0].seats == {"x/cheap": 3}


def test_the_first_choice_is_set_beside_one_frontier_call(tmp_path: Path) -> None:
    table = table_of(tmp_path, TEXT)
    cost = estimate(table, route_type(table, "t"), book(table))
    assert cost.frontier == "x/dear"
    assert cost.ratio == pytest.approx(3 / 100)


def test_lengths_that_no_row_expects_are_marked_as_assumed(tmp_path: Path) -> None:
    table = table_of(tmp_path, TEXT.replace("expected_output_tokens = 100\n", ""))
    assert estimate(table, route_type(table, "t"), book(table)).assumed


def test_without_a_frontier_tier_there_is_no_comparison(tmp_path: Path) -> None:
    text = TEXT.replace('frontier = ["x/dear"]', "").replace('escalate_to = ["frontier"]', "")
    table = table_of(tmp_path, text)
    cost = estimate(table, route_type(table, "t"), book(table))
    assert (cost.frontier, cost.ratio) == (None, None)


def test_an_unknown_price_is_an_error_and_not_a_zero(tmp_path: Path) -> None:
    table = table_of(tmp_path, TEXT.replace('small = ["x/cheap"]', 'small = ["x/nobody"]'))
    with pytest.raises(PriceError, match="x/nobody"):
        estimate(table, route_type(table, "t"), book(table))
