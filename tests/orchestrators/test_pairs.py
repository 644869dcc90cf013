"""Rankings by pairs over the whole path: budget, both orders, the next pair, what is reported."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import Rank
from consensus.aggregation.paired import bradley_terry
from consensus.models.protocol import Request
from consensus.orchestrators.pairs import Asking, choose_pairs, first_pairs
from tests.orchestrators.test_live_strategies import decided

ITEMS = tuple(f"text number {name}" for name in ("ash", "birch", "cedar", "elm", "fir", "oak"))

ROW = """
[tasks.t]
kind = "rank"
strategy = "pairs"
tier = "small"
seats = {seats}
"""


def task(**fields: Any) -> Rank:
    return Rank(type="t", items=ITEMS, criteria="Alphabetical order of the tree.", **fields)


def shown(request: Request) -> list[str]:
    text = "\n".join(part.text for turn in request.turns for part in turn.parts)
    return re.findall(r"text number \w+", text)


def alphabetical(request: Request) -> str:
    first, second = shown(request)[:2]
    return "first" if first < second else "second"


async def test_comparisons_give_the_order_and_stop_within_the_budget(tmp_path: Path) -> None:
    decision, client = await decided(tmp_path, ROW.format(seats=60), alphabetical, task())
    assert (decision.action, decision.outcome) == ("act", ITEMS)
    assert client.calls <= 60
    assert client.calls % 2 == 0
    assert any("comparisons of" in reason for reason in decision.reasons)


async def test_every_pair_is_asked_in_both_orders(tmp_path: Path) -> None:
    seen: Counter[tuple[str, ...]] = Counter()

    def answer(request: Request) -> str:
        seen[tuple(shown(request)[:2])] += 1
        return alphabetical(request)

    await decided(tmp_path, ROW.format(seats=24), answer, task())
    assert all(seen[pair] == seen[pair[::-1]] for pair in seen)


async def test_a_liking_for_the_first_place_is_no_order_and_is_reported(tmp_path: Path) -> None:
    decision, client = await decided(tmp_path, ROW.format(seats=24), lambda _: "first", task())
    assert client.calls <= 24
    assert decision.action == "escalate"
    assert set(decision.tied) == set(ITEMS)
    assert any("shown first won 24 of 24" in reason for reason in decision.reasons)


async def test_the_best_two_are_found_with_fewer_calls_than_the_whole_order(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, all_calls = await decided(tmp_path / "a", ROW.format(seats=60), alphabetical, task())
    best, few_calls = await decided(tmp_path / "b", ROW.format(seats=60), alphabetical, task(top=2))
    assert best.outcome == ITEMS[:2]
    assert best.probability > 0.6
    assert few_calls.calls < all_calls.calls


async def test_too_few_seats_to_tie_the_items_together_leave_the_order_open(tmp_path: Path) -> None:
    decision, client = await decided(tmp_path, ROW.format(seats=4), alphabetical, task())
    assert client.calls == 4
    assert decision.action == "escalate"
    assert any("do not tie all items together" in reason for reason in decision.reasons)


async def test_a_cap_on_dollars_ends_it_with_what_there_is(tmp_path: Path) -> None:
    priced = "".join(f'[prices."scripted/{m}"]\ninput = 10\noutput = 10\n' for m in "ab")
    row = ROW.format(seats=60) + "max_usd = 0.1\n" + priced
    decision, client = await decided(tmp_path, row, alphabetical, task())
    assert client.calls < 60
    assert decision.partial
    assert any("budget or deadline ended it" in reason for reason in decision.reasons)


async def test_ties_are_half_a_win_for_each(tmp_path: Path) -> None:
    decision, _ = await decided(tmp_path, ROW.format(seats=20), lambda _: "tie", task())
    assert decision.action == "escalate"
    assert decision.posterior == pytest.approx(dict.fromkeys(ITEMS, 1 / 6), abs=0.03)


@given(st.permutations(ITEMS))
def test_the_first_round_is_the_same_whatever_the_order_of_the_list(items: list[str]) -> None:
    def texts(given: Any) -> set[frozenset[str]]:
        return {frozenset((given[i], given[j])) for i, j in first_pairs(given, len(given))}

    assert texts(items) == texts(ITEMS)


def test_a_ring_ties_all_items_together() -> None:
    wins = np.zeros((6, 6))
    for i, j in first_pairs(ITEMS, 6):
        wins[i, j] = 1.0
    assert bradley_terry(wins).linked


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30), st.integers(1, 3))
def test_no_item_is_in_two_pairs_of_a_wave(met: list[tuple[int, int]], size: int) -> None:
    wins = np.zeros((6, 6))
    for i, j in met:
        wins[i, j] += i != j
    chosen = choose_pairs(ITEMS, bradley_terry(wins), Asking(Counter(), 1), size)
    items = [item for pair in chosen for item in pair]
    assert len(items) == len(set(items))
    assert len(chosen) <= size


def test_near_the_border_is_asked_first_where_only_the_best_are_wanted() -> None:
    ladder = np.zeros((6, 6))
    for i in range(6):
        for j in range(i + 1, 6):
            ladder[i, j] = 3.0
    chosen = choose_pairs(ITEMS, bradley_terry(ladder), Asking(Counter(), 1), 1, top=2)
    assert set(chosen[0]) & {1, 2}
